"""The ready scenario through the real client: every role answers as the pipeline will ask it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from clawd.adapters.claude import find_binary
from clawd.model import Role
from clawd.policy.outcome import Kind
from clawd.policy.plan import PLAN_SCHEMA, PM_SCHEMA, QA_SCHEMA
from tests.model import scenarios
from tests.model.client import Desk, newest
from tests.model.server import serving

ITEMS = '```json\n[{"ident": "divide", "title": "Divide numbers", "body": "x"}]\n```'
CONTRACT = '# Task 1: Add divide\n\nAcceptance: `python3 -c "import calc.divide"`'


def test_the_spine_goes_from_item_to_a_candidate_that_passes_its_second_review(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, find_binary(newest(), {}))
    scenarios.tiny_repo(desk.work)
    for key in ("user.name", "user.email"):
        subprocess.run(["git", "-C", str(desk.work), "config", key, "d"], check=True)
    with serving(scenarios.spine()) as server:

        def ask(role: Role, prompt: str, schema: dict[str, Any] | None = None) -> Any:
            order = desk.order(role=role, schema=schema, turns=20)
            done = desk.run(server, order, f"Role: {role}\n\n{prompt}")
            assert done.outcome.kind is Kind.COMPLETED, done.outcome
            assert done.facts.result is not None
            return done.facts.result.output

        goals = ask(Role.PM, ITEMS, PM_SCHEMA)["goals"]
        assert [goal["ident"] for goal in goals] == ["divide"]
        tasks = ask(Role.PLANNER, "# Goal 1: Divide numbers", PLAN_SCHEMA)["tasks"]
        assert [task["title"] for task in tasks] == ["Add divide"]
        ask(Role.DEV, CONTRACT)
        first = ask(Role.QA, CONTRACT, QA_SCHEMA)
        assert first["answer"] == "revise"
        found = first["findings"][0]
        finding = f"- {found['id']} [{found['severity']}] {found['path']}:{found['line']}: x"
        ask(Role.DEV, f"{CONTRACT}\n{finding}")
        assert ask(Role.QA, CONTRACT, QA_SCHEMA)["answer"] == "pass"
        assert server.unscripted == []
    for acceptance in [clause["run"] for task in tasks for clause in task["acceptance"]]:
        subprocess.run(["/bin/sh", "-c", acceptance], cwd=desk.work, check=True)
