"""Finds the files that ship beside the code: schema, prompts, the demo's project."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """The shipped file or folder `name`: inside the wheel, else at the top of the checkout."""
    installed = _PACKAGE / "_share" / name
    return installed if installed.exists() else _PACKAGE.parent / name
