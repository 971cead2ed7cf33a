"""Runs the project's own test command on a tree, once per tree, command and layer."""

from __future__ import annotations

import hashlib

from clawd.adapters import crash
from clawd.adapters.cage import Network
from clawd.adapters.git import tree
from clawd.model import Contract, Project
from clawd.pipeline.brief import cut
from clawd.pipeline.desk import Desk
from clawd.pipeline.layer import Layer, run_in_tree
from clawd.policy import flake
from clawd.running import launch
from clawd.running.records import Alive, Why
from clawd.store import evidence, landings, moves, tasks
from clawd.store.landings import TestVerdict
from clawd.store.rows import Db

STORED_OUTPUT_CHARS = 16_000


class Stopped(Exception):
    """The daemon stops or was frozen: the tests said nothing."""


def judge_tree(
    desk: Desk, project: Project, commit: str, layer: Layer, *, runs: int = 1, fresh: bool = False
) -> TestVerdict:
    """Green, red or flaky: a red run is repeated once, since only a second look tells them apart.

    `runs` asks for that many green runs in a row; `fresh` ignores what is remembered.
    """
    hub = desk.hub(project)
    oid = hub.tree_of(commit)
    command = hashlib.sha256(project.test_cmd.encode()).hexdigest()
    if not fresh:
        with desk.db() as db:
            known = landings.tested(db, project.id, oid, command, layer.digest)
        if known is not None and known.n >= runs:
            return known
    seen = [_run_once(desk, project, commit, layer, n) for n in range(runs)]
    if desk.config.train.retry_red and len(seen) == 1 and seen[0].verdict == "red":
        seen.append(_run_once(desk, project, commit, layer, 1))
    verdict = _join(seen)
    crash.point("tests.after")
    with desk.db() as db, db.transaction():
        landings.remember_tests(db, project.id, oid, command, layer.digest, verdict)
        if verdict.verdict == "flaky":
            note_flake(db, project, oid, verdict)
    return verdict


def note_flake(db: Db, project: Project, tree_oid: str, verdict: TestVerdict) -> None:
    """The same tree, two answers: evidence, and a task for what does it again and again."""
    names = flake.failing_tests(verdict.output) or ("the test command",)
    for name in names:
        evidence.flaked(db, project.id, name, tree_oid)
    why = f"red and green on tree {tree_oid[:12]}: {', '.join(names)}"
    moves.tell(db, "project", project.id, "flaky", why, actor="tests")
    for name in flake.due(evidence.flakes_of_week(db, project.id, names)):
        key = f"flaky:{project.id}:{name}:{evidence.week(db)}"
        spec = (
            f"The test `{name}` was red and green on the same tree more than "
            f"{flake.FLAKES_A_WEEK} times in a week. Find out why and make it reliable; "
            "do not delete, skip or weaken it."
        )
        tasks.add(
            db, project.id, title=f"Make {name} reliable"[:200], contract=Contract(spec),
            why=why, actor="tests", idem_key=key,
        )  # fmt: skip


def end_tests(desk: Desk, project: Project, commit: str) -> None:
    """Ends the tests of a commit that run now: nobody wants to know any more."""
    for folder in (desk.home / "runs").glob(f"tests-{project.slug}-{commit[:12]}-*"):
        if isinstance(launch.look(folder), Alive):
            launch.stop(folder, "cancelled: the train went another way")


def _join(seen: list[TestVerdict]) -> TestVerdict:
    red = [v for v in seen if v.verdict == "red"]
    name = "green" if not red else "red" if len(red) == len(seen) else "flaky"
    shown = red[0] if red else seen[-1]
    wall_ms = max(v.wall_ms for v in seen)
    return TestVerdict(name, len(seen), shown.rc, wall_ms, shown.log, shown.output)


def _run_once(desk: Desk, project: Project, commit: str, layer: Layer, n: int) -> TestVerdict:
    marker = f"tests-{project.slug}-{commit[:12]}-{n}"
    work = desk.scratch(marker)
    tree.remove(work)
    desk.warm(project).take(commit, work)
    network = Network.OPEN if project.settings.get("network_for_tests") else Network.NONE
    wall_s = float(project.settings.get("test_timeout_s") or desk.config.train.test_timeout_s)
    try:
        done = run_in_tree(
            desk, project, work, project.test_cmd, marker, layer, wall_s=wall_s, network=network
        )
    finally:
        tree.remove(work)
    if done.result.why in (Why.STOPPED, Why.FROZEN, Why.NO_DAEMON, Why.LOST):
        raise Stopped
    output = cut(done.output, STORED_OUTPUT_CHARS)
    if done.result.why is not Why.EXIT:
        output += f"\n[ended by clawd: {done.result.why} {done.result.reason}]"
    return TestVerdict(
        "green" if done.ok else "red",
        1,
        done.result.rc,
        done.result.wall_ms,
        f"runs/{marker}/stream.jsonl",
        output,
    )
