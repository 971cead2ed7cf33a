"""Repairs a candidate that came back: conflict markers, and the findings of a review."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from agentlib.recipes import FIXES
from agentlib.session import Session
from agentlib.workspace import Workspace

MARKED = re.compile(
    r"^<{7} [^\n]*\n(?P<ours>.*?)(?:^\|{7}[^\n]*\n.*?)?^={7}\n(?P<theirs>.*?)^>{7} [^\n]*\n",
    re.DOTALL | re.MULTILINE,
)
COMMENT = {".py": "# {}", ".sh": "# {}", ".toml": "# {}", ".yaml": "# {}", ".yml": "# {}"}


def resolve_conflicts(session: Session) -> list[str]:
    """Keeps both sides of every conflict left in the tree; the files it settled."""
    settled = []
    for path in session.git("grep -lI -e '^<<<<<<< ' -- . || true").splitlines():
        text = Path(path).read_text("utf-8", "replace")
        for found in MARKED.finditer(text):
            session.edit(path, found[0], found["ours"] + found["theirs"])
            settled.append(path)
    if settled:
        session.say(f"Both sides are wanted in {', '.join(sorted(set(settled)))}: kept both.")
    return sorted(set(settled))


def answer_findings(session: Session, workspace: Workspace) -> None:
    """Does what each finding asks for, and nothing else; says so in the outbox."""
    for finding in workspace.snapshot.get("findings") or []:
        fixed = _fix(session, finding)
        answer = {
            "id": finding.get("id", ""),
            "status": "fixed" if fixed else "declined",
            "note": "done as asked" if fixed else "there is no such file in the tree",
        }
        workspace.tell("findings_answered", answer)


def _fix(session: Session, finding: dict[str, Any]) -> bool:
    text = " ".join(str(finding.get("text", "")).split())
    for fix in FIXES:
        if re.search(rf"\b{re.escape(fix.words)}", text) and Path(fix.path).exists():
            if fix.new not in Path(fix.path).read_text("utf-8"):
                session.edit(fix.path, fix.old, fix.new)
            return True
    return _note(session, finding, text)


def _note(session: Session, finding: dict[str, Any], text: str) -> bool:
    """A finding nobody prepared for: a line about it in the file it names."""
    path = Path(str(finding.get("path", "")))
    if path.is_absolute() or ".." in path.parts or not path.is_file():
        return False
    line = COMMENT.get(path.suffix, "{}").format(f"{finding.get('id', '')}: {text[:70]}")
    before = path.read_text("utf-8", "replace")
    if line not in before:
        session.write(str(path), f"{before.rstrip()}\n\n{line}\n")
    return True
