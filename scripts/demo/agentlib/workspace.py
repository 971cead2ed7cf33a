"""The three files under .clawd/: the task, what happened so far, and what the agent says back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(".clawd")


class Workspace:
    """The task and its story so far; everything missing reads as empty."""

    def __init__(self) -> None:
        self.task = _load("current-task.json")
        self.snapshot = _load("context-snapshot.json")
        self.outbox: dict[str, Any] = {}

    @property
    def title(self) -> str:
        """The task's title on one line."""
        words = str(self.task.get("title") or "untitled task").replace("\0", "").split()
        return " ".join(words)

    @property
    def spec(self) -> str:
        """Title and spec: the words that choose a recipe or a behaviour."""
        return f"{self.task.get('title', '')}\n{self.task.get('spec', '')}"

    @property
    def commands(self) -> list[str]:
        """The acceptance commands."""
        return [clause["run"] for clause in self.task.get("acceptance") or [] if clause.get("run")]

    @property
    def scope(self) -> list[str]:
        """The globs the task may change."""
        return list(self.task.get("scope") or [])

    @property
    def round(self) -> int:
        """How many reviews asked for more."""
        return int(self.snapshot.get("round") or self.task.get("round") or 0)

    @property
    def setbacks(self) -> int:
        """What speaks of earlier runs: failures, revise rounds, a conflict."""
        failures = self.snapshot.get("failures") or []
        return len(failures) + self.round + bool(self.snapshot.get("conflict"))

    @property
    def facts(self) -> dict[str, Any]:
        """What the machine found out, for the reviewer."""
        return self.snapshot.get("facts") or {}

    def answer_to(self, word: str) -> str | None:
        """The answer to the question that holds this word."""
        for pair in reversed(self.snapshot.get("answers") or []):
            if word.lower() in str(pair.get("question", "")).lower():
                return str(pair.get("answer", ""))
        return None

    def tell(self, key: str, entry: Any) -> None:
        """Puts something into the outbox."""
        if isinstance(entry, dict) and key == "no_change_needed":
            self.outbox[key] = entry
        else:
            self.outbox.setdefault(key, []).append(entry)
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "outbox.json").write_text(json.dumps(self.outbox, indent=2), "utf-8")


def slug(text: str) -> str:
    """The text as a file name: lower-case words joined by hyphens."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join(words)[:40].strip("-") or "note"


def _load(name: str) -> dict[str, Any]:
    try:
        found = json.loads((FOLDER / name).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
