"""What a prompt says: the role on its first line, and the JSON blocks further down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

ROLE = re.compile(r"^Role:\s*(dev|qa|planner|pm)\b", re.IGNORECASE)
REFUSED = re.compile(r"^\W*(your last plan was )?refused:", re.IGNORECASE | re.MULTILINE)
GOAL = re.compile(r"^# Goal\b[^:\n]*:\s*(.+)$", re.MULTILINE)
GOAL_END = re.compile(r"^(The specification:|Cut this goal|Open tasks|Files on main)", re.MULTILINE)


def role_of(prompt: str) -> str | None:
    """The role named by the first line."""
    found = ROLE.match(prompt.lstrip())
    return found[1].lower() if found else None


def records(prompt: str, key: str = "ident") -> list[dict[str, Any]]:
    """Every JSON object in the prompt that has this key, however deep, the outermost only."""
    found: list[dict[str, Any]] = []
    for value in _json_values(prompt):
        found += _holding(value, key)
    return found


def goal_of(prompt: str) -> tuple[str, str]:
    """Title and body of the goal: under the heading `# Goal N: title`, else from JSON."""
    heading = GOAL.search(prompt)
    if heading is not None:
        end = GOAL_END.search(prompt, heading.end())
        body = prompt[heading.end() : end.start() if end else None].strip()
        return heading[1].strip(), body
    goals = records(prompt) or records(prompt, "title")
    goal = goals[0] if goals else {}
    body = "\n".join(str(goal[key]) for key in ("spec", "detail", "body") if goal.get(key))
    return str(goal.get("title") or goal.get("ident") or "untitled goal"), body


def was_refused(prompt: str) -> bool:
    """Whether the prompt hands an earlier plan back."""
    return bool(REFUSED.search(prompt))


def _json_values(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder(strict=False)
    at = 0
    while (opening := re.compile(r"[\[{]").search(text, at)) is not None:
        try:
            value, at = decoder.raw_decode(text, opening.start())
        except ValueError:
            at = opening.start() + 1
        else:
            yield value


def _holding(value: Any, key: str) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        if key in value:
            return [value]
        value = list(value.values())
    if isinstance(value, list):
        return [record for each in value for record in _holding(each, key)]
    return []
