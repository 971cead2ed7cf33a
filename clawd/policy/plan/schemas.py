"""The JSON schemas agents answer by; the root is always an object."""

from __future__ import annotations

from typing import Any

_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _list(row: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": row}


def _one_of(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


PM_SCHEMA: dict[str, Any] = _object(
    {
        "goals": _list(_object({"ident": _TEXT, "spec": _TEXT, "done_when": _TEXTS})),
        "questions": _list(_object({"ident": _TEXT, "text": _TEXT})),
    }
)

PLAN_SCHEMA: dict[str, Any] = _object(
    {
        "tasks": _list(
            _object(
                {
                    "key": _TEXT,
                    "title": _TEXT,
                    "spec": _TEXT,
                    "acceptance": {
                        "type": "array",
                        "minItems": 1,
                        "items": _object({"run": _TEXT}, {"why": _TEXT}),
                    },
                    "scope": {"type": "array", "minItems": 1, "items": _TEXT},
                    "size_minutes": {"type": "integer", "minimum": 10, "maximum": 30},
                    "difficulty": _one_of("easy", "normal", "hard"),
                    "risk": _one_of("low", "medium", "high"),
                },
                {"may_change": _TEXTS, "needs": _TEXTS},
            )
        ),
        "questions": _TEXTS,
    }
)

QA_SCHEMA: dict[str, Any] = _object(
    {
        "answer": _one_of("pass", "revise"),
        "summary": _TEXT,
        "findings": _list(
            _object(
                {
                    "id": _TEXT,
                    "path": _TEXT,
                    "line": {"type": "integer", "minimum": 0},
                    "severity": _one_of("blocker", "major", "minor"),
                    "text": _TEXT,
                }
            )
        ),
    }
)
