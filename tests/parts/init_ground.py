"""What the tests of init and doctor share: a home on a database, an agent, an operator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from clawd import config, doctor, setup, share
from clawd.doctor import Finding
from clawd.setup import Checklist, Row, settings
from clawd.setup.home import replace_file

GREEN = {
    "tests/test_shop.py": "import unittest\n\n\nclass ShopTest(unittest.TestCase):\n"
    "    def test_it_sells(self):\n        self.assertTrue(True)\n",
    "ROADMAP.md": "# Roadmap\n\n- [ ] Sell more\n- [x] Sell\n",
}
UNITTEST = "python3 -m unittest discover -q -s tests"
TOKEN = "sk-ant-oat01-" + "a" * 40


@cache
def packed_agent(folder: Path) -> Path:
    """The scripted agent as one file, without pauses."""
    target = folder / "agent-for-init"
    agent = share.path("scripts/demo") / "agent"
    subprocess.run([sys.executable, agent, "--pack", target, "0"], check=True, timeout=60)
    return target


def use_agent(home: Path, agent: Path) -> None:
    """clawd.yaml of a home whose agents are the scripted one."""
    replace_file(home / config.FILE_NAME, config.default_text())
    file = home / config.FILE_NAME
    text = settings.with_key(file.read_text(), "claude", "path", str(agent))
    text = settings.with_key(text, "claude", "minimum", '"0.0.0"')
    replace_file(file, settings.with_key(text, "", "login", "none"))


@dataclass
class Operator:
    """Somebody who answers; what nobody told them to say is the default."""

    answers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def ask(
        self, question: str, *, default: str = "", choices: Sequence[str] = (), secret: bool = False
    ) -> str:
        self.asked.append(question)
        for words, answer in self.answers.items():
            if words in question:
                assert not choices or answer in choices
                return answer
        return default


@dataclass
class Listing:
    """One init: its rows and everything it printed."""

    done: Checklist
    said: list[str]

    def row(self, name: str) -> Row:
        found = [row for row in self.done.rows if row.name == name]
        assert found, f"no row {name!r} in {self.said}"
        return found[-1]

    def ticked(self, name: str) -> str:
        assert self.row(name).ok is True, self.row(name)
        return self.row(name).detail

    def missing(self, name: str) -> tuple[str, str]:
        row = self.row(name)
        assert row.ok is False, row
        assert row.remedy, f"{name} has no remedy"
        return row.detail, row.remedy


def run_init(home: Path, path: Path, operator: Operator | None = None, **choices: Any) -> Listing:
    """`clawd init`, without an operator as `--yes`."""
    said: list[str] = []
    ask = operator.ask if operator else None
    done = setup.init(
        home, path, ask=ask, say=lambda text, ok=None: said.append(text), yes=not operator,
        **choices,
    )  # fmt: skip
    return Listing(done, said)


def examine(home: Path, name: str, **options: Any) -> Finding:
    """The doctor's word on one thing; every ill one must come with a remedy."""
    found = doctor.check(home, **options)
    for one in found:
        assert one.ok is not False or one.remedy, one
    named = [one for one in found if one.name == name]
    assert named, f"no {name!r} in {[one.name for one in found]}"
    return named[0]
