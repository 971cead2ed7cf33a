"""Ready scenarios for the scripted model, and the small repository they work on."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.model.script import Call, Reply, Rule

TEST_COMMAND = "python3 -m unittest discover -s tests -t ."
_FILES = {
    "calc/__init__.py": '"""A tiny calculator."""\n',
    "calc/add.py": "def add(a, b):\n    return a + b\n",
    "tests/__init__.py": "",
    "tests/test_add.py": (
        "import unittest\n\nfrom calc.add import add\n\n\n"
        "class Add(unittest.TestCase):\n    def test_adds(self):\n"
        "        self.assertEqual(add(2, 3), 5)\n"
    ),
    "ROADMAP.md": (
        "# Roadmap\n\n"
        "- [ ] Subtract numbers <!-- id: subtract -->\n"
        "  A function `subtract(a, b)` beside `add`.\n"
        "- [ ] Divide numbers <!-- id: divide -->\n"
        "  A function `divide(a, b)`; dividing by zero is a ValueError.\n"
    ),
}


def tiny_repo(path: Path) -> Path:
    """A repository with one module, a green test and two open roadmap items."""
    for name, text in _FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    git = ["git", "-c", "user.name=Op", "-c", "user.email=op@example.invalid", "-C", str(path)]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "start"], check=True)
    return path


def bash(command: str) -> dict[str, Any]:
    return {"name": "Bash", "input": {"command": command}}


def write(path: str, text: str) -> dict[str, Any]:
    return {"name": "Write", "input": {"file_path": path, "content": text}}


def read(path: str) -> dict[str, Any]:
    return {"name": "Read", "input": {"file_path": path}}


def commit(message: str) -> dict[str, Any]:
    return bash(f"git add -A && git commit -q -m '{message}' && git log --oneline -1")


def work(message: str, files: dict[str, str], test: str = TEST_COMMAND) -> Reply:
    """A developer who reads the contract, writes the files, tests, commits and stops."""
    return {
        "steps": [
            {"tools": [bash("cat .clawd/current-task.json 2>/dev/null; ls")]},
            {"tools": [write(path, text) for path, text in files.items()]},
            {"tools": [bash(test)]},
            {"tools": [commit(message)]},
            {"text": "Done: the acceptance commands are green."},
        ]
    }


def liar(claim: str = "All done, every test is green.") -> list[Rule]:
    """A developer who claims and does nothing."""
    return [Rule({"role": "dev"}, {"text": claim}, name="liar")]


def endless() -> list[Rule]:
    """A developer who calls a tool for ever."""
    return [Rule({}, {"tools": [bash("true")]}, name="endless")]


def failing(status: int, **more: Any) -> list[Rule]:
    """A model that always answers with an HTTP error."""
    return [Rule({}, {"status": status, **more}, name=f"status {status}")]


def limited(resets_at: int, kind: str = "five_hour") -> list[Rule]:
    """An account whose subscription window is used up until `resets_at`."""
    return failing(
        429,
        headers={
            "retry-after": "3600",
            "anthropic-ratelimit-unified-status": "rejected",
            "anthropic-ratelimit-unified-reset": resets_at,
            "anthropic-ratelimit-unified-representative-claim": kind,
        },
    )


_SUBTRACT = {
    "calc/subtract.py": "def subtract(a, b):\n    return a - b\n",
    "tests/test_subtract.py": (
        "import unittest\n\nfrom calc.subtract import subtract\n\n\n"
        "class Subtract(unittest.TestCase):\n    def test_subtracts(self):\n"
        "        self.assertEqual(subtract(5, 3), 2)\n"
    ),
}
_DIVIDE_HASTY = {
    "calc/divide.py": "def divide(a, b):\n    return a / b\n",
    "tests/test_divide.py": (
        "import unittest\n\nfrom calc.divide import divide\n\n\n"
        "class Divide(unittest.TestCase):\n    def test_divides(self):\n"
        "        self.assertEqual(divide(6, 3), 2)\n"
    ),
}
_DIVIDE_SOUND = {
    "calc/divide.py": (
        "def divide(a, b):\n    if b == 0:\n"
        "        raise ValueError('cannot divide by zero')\n    return a / b\n"
    ),
    "tests/test_divide.py": _DIVIDE_HASTY["tests/test_divide.py"]
    + "\n    def test_refuses_zero(self):\n        with self.assertRaises(ValueError):\n"
    "            divide(1, 0)\n",
}
FINDING = {
    "id": "F1", "path": "calc/divide.py", "line": 2, "severity": "blocker",
    "text": "divide(1, 0) raises ZeroDivisionError; the contract asks for a ValueError.",
}  # fmt: skip


def spine() -> list[Rule]:
    """PM, planner, developer and reviewer of the tiny repository, from roadmap to two landings.

    The first candidate of "divide" lacks the zero case; the reviewer reads the file and says
    revise, the developer mends it, and the same reviewer passes it for what it then reads.
    """
    return [
        Rule({"role": "pm"}, specify, name="pm"),
        Rule({"role": "planner", "prompt": r"[Dd]ivide numbers"}, plan("divide"), name="plan"),
        Rule({"role": "planner"}, plan("subtract"), name="plan subtract"),
        Rule({"role": "qa", "turn": 0, "prompt": r"calc[./]divide"},
             {"tools": [read("calc/divide.py")]}, name="qa reads"),
        Rule({"role": "qa", "prompt": r"calc[./]divide"}, review_divide, name="qa judges"),
        Rule({"role": "qa"}, {"structured": verdict("pass", "Does what is asked.")}, name="qa"),
        Rule({"role": "dev", "prompt": r"Add subtract"}, work("calc: subtract", _SUBTRACT)),
        Rule({"role": "dev", "prompt": r"F1 \[blocker\]"},
             work("calc: refuse zero", _DIVIDE_SOUND), name="dev revises"),
        Rule({"role": "dev", "prompt": r"Add divide"}, work("calc: divide", _DIVIDE_HASTY)),
        Rule({"role": "probe"}, {"text": "ready"}, name="probe"),
    ]  # fmt: skip


def specify(call: Call) -> Reply:
    """A goal for every roadmap item in the prompt's JSON block."""
    block = re.search(r"```(?:json)?\n(.*?)\n```", call.prompt, re.DOTALL)
    items = json.loads(block.group(1)) if block else []
    goals = [
        {
            "ident": item["ident"],
            "spec": f"{item.get('title', '')}. {item.get('body', '')}".strip(),
            "done_when": ["the function exists and its tests are green"],
        }
        for item in items
    ]
    return {"structured": {"goals": goals, "questions": []}}


def plan(verb: str) -> Reply:
    """A plan of one task."""
    asks = " Dividing by zero raises ValueError." if verb == "divide" else ""
    task = {
        "key": "t1",
        "title": f"Add {verb}",
        "spec": f"Add {verb}(a, b) in calc/{verb}.py with tests.{asks}",
        "acceptance": [
            {"run": f"python3 -m unittest tests.test_{verb}", "why": "its own tests"},
            {"run": f'python3 -c "import calc.{verb}"', "why": "it can be imported"},
        ],
        "scope": [f"calc/{verb}.py", f"tests/test_{verb}.py"],
        "may_change": [],
        "needs": [],
        "size_minutes": 10,
        "difficulty": "easy",
        "risk": "low",
    }
    return {"structured": {"tasks": [task], "questions": []}}


def review_divide(call: Call) -> Reply:
    """Judges by what the Read tool showed in this very session."""
    if "raise ValueError" in call.last:
        return {"structured": verdict("pass", "Zero is refused as asked.")}
    return {"structured": verdict("revise", "Zero is not refused.", [FINDING])}


def verdict(answer: str, summary: str, findings: list[dict[str, Any]] | None = None) -> Reply:
    return {"answer": answer, "summary": summary, "findings": findings or []}


def named(name: str) -> list[Rule]:
    """A scenario by name, for the program."""
    known: dict[str, Callable[[], list[Rule]]] = {"spine": spine, "liar": liar, "endless": endless}
    if name not in known:
        raise SystemExit(f"no scenario {name!r}; there are: {', '.join(sorted(known))}")
    return known[name]()
