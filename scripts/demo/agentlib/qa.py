"""The reviewer: reads the candidate's changed files and answers with findings."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from agentlib.behave import Behaviour
from agentlib.session import Session
from agentlib.workspace import Workspace

Finding = dict[str, Any]
MOST_FINDINGS = 20
GLOB = re.compile(r"[*?\[]")
PROBE = """
import importlib, sys
sys.dont_write_bytecode = True
sys.path.insert(0, ".")
try:
    getattr(importlib.import_module(sys.argv[1]), sys.argv[2])([])
except Exception as error:
    sys.exit(type(error).__name__)
"""


def review(
    session: Session, workspace: Workspace, wanted: list[Behaviour]
) -> dict[str, Any] | None:
    """The verdict on the tree in front of us; None for a reviewer that gives none."""
    by_name = {each.name: each for each in wanted}
    if "no-verdict" in by_name:
        return None
    if "bad-verdict" in by_name:
        return {"verdict": "looks good to me", "score": 9}
    session.say(f"Reviewing: {workspace.title[:200]}")
    paths = _changed_paths(session, workspace)
    findings = _red_checks(workspace)
    revise = by_name.get("revise")
    if revise is not None and workspace.round < revise.number(1):
        path = paths[0] if paths else "README.md"
        findings.append(_finding(path, 1, "major", f"say more about round {workspace.round}"))
    for path in paths:
        findings += _inspect(session, path)
    del findings[MOST_FINDINGS:]
    for number, finding in enumerate(findings, 1):
        finding["id"] = f"F{number}"
    answer = "revise" if findings else "pass"
    said = f"{len(findings)} finding(s)" if findings else "the contract is met"
    session.think(0.8)
    return {
        "answer": answer,
        "summary": f"Read {len(paths)} file(s): {said}.",
        "findings": findings,
    }


def _changed_paths(session: Session, workspace: Workspace) -> list[str]:
    """The files the candidate changed: from git, else the files the scope names."""
    base = str(workspace.facts.get("base") or "")
    if re.fullmatch(r"[0-9a-f]{40,64}", base) and Path(".git").exists():
        listed = session.git(f"-c core.quotePath=off diff --name-only {base} HEAD --").splitlines()
    else:
        listed = [entry for entry in workspace.scope if not GLOB.search(entry)]
    return [path for path in listed if Path(path).is_file() and not path.startswith(".clawd/")]


def _red_checks(workspace: Workspace) -> list[Finding]:
    """A check the daemon saw red cannot pass."""
    return [
        _finding("", 0, "blocker", f"the check {check.get('id', '?')} is red")
        for check in workspace.facts.get("check") or []
        if isinstance(check, dict) and check.get("rc") not in (0, None)
    ]


def _inspect(session: Session, path: str) -> list[Finding]:
    text = session.read(path)
    findings = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("<<<<<<< ", ">>>>>>> ")):
            findings.append(_finding(path, number, "blocker", "a conflict marker was left here"))
    if path.endswith(".py") and not Path(path).name.startswith("test_") and not findings:
        findings += _inspect_functions(session, path, text)
    return findings


def _inspect_functions(session: Session, path: str, text: str) -> list[Finding]:
    """Every public function has a docstring; one that takes items survives an empty list."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return [_finding(path, error.lineno or 1, "blocker", f"this is no Python: {error.msg}")]
    findings = []
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
            continue
        name, line = function.name, function.lineno
        if ast.get_docstring(function) is None:
            findings.append(_finding(path, line, "minor", f"{name} has no docstring"))
        names = [argument.arg for argument in function.args.args]
        if names == ["items"]:
            findings += _try_empty(session, path, line, name)
        if names[:1] == ["items"]:
            findings += _look_for_empty_test(path, name)
    return findings


def _try_empty(session: Session, path: str, line: int, name: str) -> list[Finding]:
    """Calls the function with an empty list, in a process of its own."""
    module = ".".join(Path(path).with_suffix("").parts)
    call = session.stream.call("Bash", {"command": f"call {module}.{name}([])"})
    command = [sys.executable or "python3", "-I", "-B", "-c", PROBE, module, name]
    tried = subprocess.run(
        command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, check=False
    )
    error = tried.stderr.strip().splitlines()[-1:] or ["it ended badly"]
    session.stream.answer(call, "" if tried.returncode == 0 else error[0])
    if tried.returncode == 0:
        return []
    return [_finding(path, line, "blocker", f"{name} fails for an empty list: {error[0]}")]


def _look_for_empty_test(path: str, name: str) -> list[Finding]:
    tests = sorted(Path("tests").glob("test_*.py"))
    calls = re.compile(rf"\b{re.escape(name)}\(\[\]")
    if any(calls.search(test.read_text("utf-8", "replace")) for test in tests):
        return []
    wanted = f"tests/test_{Path(path).stem}.py"
    text = f"{name} is not tested with an empty list"
    return [_finding(wanted if Path(wanted).exists() else path, 1, "major", text)]


def _finding(path: str, line: int, severity: str, text: str) -> Finding:
    return {"id": "", "path": path, "line": line, "severity": severity, "text": text}


def as_text(verdict: dict[str, Any]) -> str:
    """The verdict for a caller that asked for no schema."""
    return json.dumps(verdict, indent=1)
