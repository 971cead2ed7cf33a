"""Python projects: pytest or unittest, and a virtual environment where there are dependencies."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

from clawd.policy.detect.proposal import Look, Proposal, table, texts

_VENV = ".venv"
_PYTHON = f"{_VENV}/bin/python"
_TEST_FILES = ("test_*.py", "*_test.py", "*/test_*.py", "*/tests.py", "tests.py")
_TEST_FILES_READ = 30
_REQUIREMENTS = re.compile(
    r"(?:[\w.-]*/)?[\w.-]*requirements[\w.-]*\.(?:txt|in)|requirements/.*\.txt"
)
_NEEDS_PYTEST = re.compile(r"^(?:import pytest|from pytest\b|(?:async )?def test_)", re.MULTILINE)
_NAMES_PYTEST = re.compile(r"^\s*['\"]?pytest\b", re.MULTILINE | re.IGNORECASE)
_GROUPS = ("test", "tests", "testing", "dev", "develop", "development")


def python(look: Look) -> Proposal | None:
    """A project with Python's marks, or with tests written in Python."""
    tests = look.match(*_TEST_FILES)
    manifests = look.exists("pyproject.toml", "setup.py", "setup.cfg", "Pipfile", "tox.ini")
    if not tests and not manifests and not _requirements(look):
        return None
    if not tests:
        return Proposal("Python", program="python3")
    wants_pytest = _wants_pytest(look, tests)
    setup = _setup(look, wants_pytest)
    if setup is None:
        pytest = wants_pytest or look.has("pytest")
        command = _prefix(look) + "python3 " + (_PYTEST if pytest else _unittest(look, tests))
        return Proposal("Python", command, program="python3")
    pytest = wants_pytest or setup.brings_pytest
    command = _prefix(look) + f"{_PYTHON} " + (_PYTEST if pytest else _unittest(look, tests))
    return Proposal(
        "Python", command, setup.command, setup.key, (_VENV,), setup.program, setup.warnings
    )


_PYTEST = "-m pytest -q"


@dataclass(frozen=True, slots=True)
class _Setup:
    command: str
    key: tuple[str, ...]
    program: str = "python3"
    brings_pytest: bool = False
    warnings: tuple[str, ...] = ()


def _setup(look: Look, wants_pytest: bool) -> _Setup | None:
    project = look.toml("pyproject.toml")
    if look.exists("uv.lock") and look.has("uv"):
        key = look.exists("uv.lock", "pyproject.toml", ".python-version")
        # Without this uv fetches a Python into the home, which is gone after the set-up.
        return _Setup("UV_PYTHON_DOWNLOADS=never uv sync --frozen --all-groups", key, "uv",
                      _names_pytest(look))  # fmt: skip
    if look.exists("poetry.lock") and look.has("poetry"):
        command = "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction"
        return _Setup(command, look.exists("poetry.lock", "pyproject.toml"), "poetry",
                      _names_pytest(look))  # fmt: skip
    return _with_pip(look, project, wants_pytest)


def _with_pip(look: Look, project: dict[str, Any], wants_pytest: bool) -> _Setup | None:
    wanted: list[str] = []
    for name in _requirements(look):
        wanted += ["-r", name]
    extras, groups = _extras(project), _group_rows(project)
    if _is_installable(look, project):
        wanted += ["-e", f".[{','.join(extras)}]" if extras else "."]
    wanted += groups
    brings = _names_pytest(look)
    if wants_pytest and not brings and (wanted or not look.has("pytest")):
        wanted, brings = [*wanted, "pytest"], True
    if not wanted:
        return None
    key = (*_requirements(look), *look.exists("pyproject.toml", "setup.py", "setup.cfg"))
    key += look.exists("uv.lock", "poetry.lock")
    command = f"python3 -m venv {_VENV} && {_PYTHON} -m pip install -q {shlex.join(wanted)}"
    return _Setup(command, key, brings_pytest=brings, warnings=_locked(look))


def _locked(look: Look) -> tuple[str, ...]:
    return tuple(
        f"{lock} is not used: `{program}` is not reachable in the cage, so pip chooses versions."
        for lock, program in (("uv.lock", "uv"), ("poetry.lock", "poetry"))
        if look.exists(lock)
    )


def _requirements(look: Look) -> tuple[str, ...]:
    """Requirement lists of the project itself: not those of examples and documents."""
    found = [name for name in look.files if _REQUIREMENTS.fullmatch(name)]
    return tuple(sorted(name for name in found if not re.search(r"doc|lint|bench", name)))[:10]


def _is_installable(look: Look, project: dict[str, Any]) -> bool:
    """Whether installing it brings anything: dependencies, or a layout only an install finds."""
    if look.exists("setup.py", "setup.cfg") and not project:
        return bool(re.search(r"\bsetup\(|^\[metadata\]", _old_manifests(look), re.MULTILINE))
    own = table(project, "project")
    needs = bool(texts(own.get("dependencies"))) or bool(_extras(project))
    return needs or bool(table(project, "tool", "poetry", "dependencies").keys() - {"python"})


def _old_manifests(look: Look) -> str:
    return "\n".join(look.text(name) for name in look.exists("setup.py", "setup.cfg"))


def _extras(project: dict[str, Any]) -> tuple[str, ...]:
    offered = table(project, "project", "optional-dependencies")
    return tuple(name for name in _GROUPS if name in offered)


def _group_rows(project: dict[str, Any]) -> list[str]:
    """Requirements of the groups tests need, spelled out: older pips know no groups."""
    groups = table(project, "dependency-groups")
    found: list[str] = []
    seen: set[str] = set()
    waiting = [name for name in _GROUPS if name in groups]
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        rows = groups.get(name)
        found += texts(rows)
        included = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        waiting += [str(row["include-group"]) for row in included if "include-group" in row]
    return list(dict.fromkeys(found))


def _wants_pytest(look: Look, tests: tuple[str, ...]) -> bool:
    if look.exists("pytest.ini", ".pytest.ini") or look.match("conftest.py", "*/conftest.py"):
        return True
    if table(look.toml("pyproject.toml"), "tool", "pytest"):
        return True
    if "[tool:pytest]" in look.text("setup.cfg") or "[pytest]" in look.text("tox.ini"):
        return True
    return any(_NEEDS_PYTEST.search(look.text(name)) for name in tests[:_TEST_FILES_READ])


def _names_pytest(look: Look) -> bool:
    project = look.toml("pyproject.toml")
    rows = [*texts(table(project, "project").get("dependencies")), *_group_rows(project)]
    for name in _extras(project):
        rows += texts(table(project, "project", "optional-dependencies").get(name))
    rows += table(project, "tool", "poetry", "dependencies")
    for group in table(project, "tool", "poetry", "group").values():
        rows += table(group, "dependencies")
    rows += [look.text(name) for name in _requirements(look)]
    return any(_NAMES_PYTEST.search(row) for row in rows)


def _prefix(look: Look) -> str:
    """With a src layout the tree under test must win over whatever was installed from main."""
    return "PYTHONPATH=src " if look.match("src/*/__init__.py") else ""


def _unittest(look: Look, tests: tuple[str, ...]) -> str:
    folders = {name.rpartition("/")[0] for name in tests}
    packages = all(not folder or look.exists(f"{folder}/__init__.py") for folder in folders)
    if packages:
        return "-m unittest -q"
    top = sorted({folder.partition("/")[0] for folder in folders if folder})
    return f"-m unittest discover -q -s {shlex.quote(top[0])}"
