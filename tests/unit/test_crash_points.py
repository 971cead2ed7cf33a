"""Wherever the daemon changes the world, a test can kill it there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from clawd.adapters import crash

ROOT = Path(__file__).parents[2]
STAGES = sorted((ROOT / "clawd" / "pipeline").glob("*.py"))
# What leaves a mark outside the caller's transaction, by the last names of the call.
WRITERS = {
    "merge.swap", "merge.delete_ref", "launch.start", "launch.run_command", "launch.stop",
    "operator.follow", "tree.remove", "tree.merge_markers", "making.rename",
    ".import_candidate", ".salvage", ".sync_from", ".take", ".clone_to", ".transaction",
}  # fmt: skip
ONE = "one transaction and nothing beside it: it is there or it is not"
AGAIN = "made anew from what is in the hub whenever it is missing"
NEAR = "its only caller has the points"
ALLOWED = {
    "baseline._hold_landings": ONE,
    "baseline._note_new_main": NEAR,
    "baseline._settle": ONE,
    "baseline.refresh": ONE,
    "check._settle": NEAR,
    "check.run_clauses": AGAIN,
    "claim.open_goal_run": "plan.opened is after it",
    "claim._task_is_empty": ONE,
    "ending.candidate_lost": ONE,
    "landing._intend": "land.before is after it",
    "landing._void": ONE,
    "layer._make": NEAR,
    "layer.run_in_tree": AGAIN,
    "lost._let_go": ONE,
    "lost.compare": ONE,
    "patrol._environment": ONE,
    "patrol._green_again": ONE,
    "patrol._main_is_red": ONE,
    "patrol._take_back": ONE,
    "recover.could_not_start": ONE,
    "recover.end_left_commands": "asks a process to end; asked again at the next start",
    "recover.end_stale": "asks a process to end; asked again as long as it lives",
    "recover.heartbeat": "asks a process to end; asked again as long as it lives",
    "recover.scan": ONE,
    "retention._drop_layers": "removes what has ended; the next round removes the rest",
    "retention._drop_refs": "removes what has ended; the next round removes the rest",
    "retention._keep_under_cap": "removes what has ended; the next round removes the rest",
    "retention._drop_folders": "removes what has ended; the next round removes the rest",
    "review.reuse": ONE,
    "roadmap._broken": ONE,
    "roadmap._confirmed": ONE,
    "roadmap._drop_open_tasks": NEAR,
    "takeover.show": "land.mid and land.after, tick.after are around it",
    "testing._run_once": AGAIN,
    "testing.end_tests": "asks a process to end; nobody wants its answer",
    "undo._refuse": ONE,
    "workspace.lay": NEAR,
    "workspace.lay_candidate": NEAR,
}


def _functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for source in STAGES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield f"{source.stem}.{node.name}", node


def _calls(function: ast.FunctionDef) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            yield f"{owner.id if isinstance(owner, ast.Name) else ''}.{node.func.attr}", node


def _writes(name: str) -> bool:
    return name in WRITERS or "." + name.rpartition(".")[2] in WRITERS


def _points() -> Iterator[str]:
    for source in (ROOT / "clawd").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "point"
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "crash"
            ):
                argument = node.args[0]
                assert isinstance(argument, ast.Constant), f"{source}: a point is a plain name"
                yield str(argument.value)


def test_every_function_that_changes_the_world_can_be_killed_in_the_middle() -> None:
    bare = {}
    for name, function in _functions():
        called = {call for call, _ in _calls(function)}
        written = {call for call in called if _writes(call)}
        if written and "crash.point" not in called:
            bare[name] = written
    missing = {name: sorted(written) for name, written in bare.items() if name not in ALLOWED}
    assert missing == {}, "put a crash.point near it, or say in ALLOWED why none is needed"
    assert sorted(set(ALLOWED) - set(bare)) == [], "exceptions that are not needed any more"


def test_every_point_is_listed_once_and_stands_somewhere_in_the_code() -> None:
    assert len(set(crash.POINTS)) == len(crash.POINTS)
    assert set(_points()) == set(crash.POINTS)
