"""Claims against a real database: each task won once, in the right order, within the money."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clawd import config, steer
from clawd.adapters import postgres
from clawd.model import Clause, Contract, Project, Run
from clawd.pipeline import claim
from clawd.pipeline.desk import Desk
from clawd.store import agents, ledger, lineage, moves, projects, runs, tasks
from clawd.store.moves import Claim
from clawd.store.rows import Db
from tests.parts.steer_ground import DAY, HOST, TREE, World, make_world
from tests.whole.line import clock

LEASE = timedelta(seconds=90)
SETTINGS = {"max_agents": 100}


@pytest.fixture
def world(db: Db, tmp_path: Path) -> World:
    found = make_world(db, tmp_path)
    db.execute("update project set settings = '{\"max_agents\": 100}'")
    return found


@pytest.fixture
def desk(world: World, database: str, home: Path) -> Iterator[Desk]:
    """A desk without a repository: claims need none."""
    (home / "clawd.yaml").write_text(
        "login: none\nlimits: {max_live: 64}\nbudget: {day_usd: 1000}\n"
    )
    pool = postgres.open_pool(database, size=4)
    opened = Desk(home=home, config=config.load(home), host=HOST, pool=pool)
    ledger.set_limit(world.db, "day", "all", claim.day_of(opened.now()), 10**12)
    yield opened
    pool.close()


def _agents(db: Db, number: int, role: str = "dev") -> list[int]:
    return [agents.ensure(db, f"{role}-x{n}", role, "m").id for n in range(number)]


def _claim(db: Db, wanted: list[int], agent: int, micros: int = 0) -> Run | None:
    request = {"reserved_micros": micros, "limits": {"day": DAY}}
    return moves.claim(db, Claim(tuple(wanted), "dev", agent, HOST, LEASE, request, "free"))


def _many(world: World, number: int, **more: Any) -> list[int]:
    made = [world.task(f"task {n}", **more).id for n in range(number)]
    for task in made:
        ledger.envelope(world.db, "task", str(task), "", 10**12)
    return made


def _other(world: World, slug: str, weight: int = 1) -> Project:
    made = projects.save(
        world.db, slug=slug, path="/nowhere", main_ref="refs/heads/main", home_host=HOST,
        weight=weight, landing="branch", test_cmd="true", setup_cmd="", settings=SETTINGS,
    )  # fmt: skip
    projects.note(world.db, made.id, baseline_verdict="green", baseline_tree=TREE)
    return made


def _add(world: World, project: int, title: str = "t", scope: str = "", **more: Any) -> int:
    contract = Contract(title, (Clause("A1", "true"),), (scope or f"{project}/{title}",))
    return tasks.add(
        world.db, project, title=title, contract=contract, why="a test", **more
    ).id  # fmt: skip


def _order(desk: Desk, limit: int = 100) -> list[int]:
    """Which tasks are claimed, one after the other, until nothing fits."""
    found: list[int] = []
    while len(found) < limit and (taken := claim.next_dev(desk)) is not None:
        found.append(taken.task.id)
    return found


# ------------------------------------------------------------ many at once


def _race(database: str, count: int, work: Callable[[Db, int], list[int]]) -> list[list[int]]:
    """The same work in many threads that start together, each with its own connection."""
    start = threading.Barrier(count)

    def one(number: int) -> list[int]:
        with postgres.connect(database, application_name="tests") as db:
            start.wait(30)
            return work(db, number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_sixteen_threads_win_three_hundred_tasks_once_each(world: World, database: str) -> None:
    wanted = _many(world, 300)
    workers = _agents(world.db, 16)

    def work(db: Db, number: int) -> list[int]:
        won = []
        while ready := [task.id for task in tasks.ready(db)]:
            run = _claim(db, ready, workers[number])
            if run is not None and run.task is not None:
                won.append(run.task)
                moves.move_run(db, run.id, "complete", why="done")
        return won

    won = [task for each in _race(database, 16, work) for task in each]
    assert Counter(won) == Counter(wanted)
    claims = world.db.execute(
        "select subject, count(*) as n from history where event = 'claim' group by subject"
    ).fetchall()
    assert {row["n"] for row in claims} == {1}
    assert len(claims) == 300
    assert lineage.first_bad_row(world.db) is None


def test_claims_ends_and_budgets_at_once_never_lock_each_other_out(
    world: World, database: str
) -> None:
    wanted = _many(world, 12)
    workers = _agents(world.db, 8)

    def work(db: Db, number: int) -> list[int]:
        for turn in range(20):
            if number == 0:
                steer.set_day_budget(db, DAY, 10_000_000_000 + turn)
                steer.set_task_budget(db, wanted[turn % 12], 10_000_000_000 + turn)
            elif (run := _claim(db, wanted, workers[number], micros=10)) is not None:
                with db.transaction():
                    moves.move_run(db, run.id, "complete", why="done", spent_micros=1)
                    moves.move_task(db, run.task or 0, "yield", why="x", fence=run.fence)
        return []

    _race(database, 8, work)
    assert runs.live(world.db) == []
    assert lineage.first_bad_row(world.db) is None


def test_claims_at_once_never_reserve_beyond_the_envelope(world: World, database: str) -> None:
    wanted = _many(world, 16)
    workers = _agents(world.db, 16)
    ledger.set_limit(world.db, "day", "all", DAY, 5_000_000)

    def work(db: Db, number: int) -> list[int]:
        try:
            run = _claim(db, wanted, workers[number], micros=700_000)
        except moves.NoRoom:
            return []
        return [run.task] if run is not None and run.task is not None else []

    won = [task for each in _race(database, 16, work) for task in each]
    assert len(won) == len(set(won)) == 7
    day = ledger.envelope(world.db, "day", "all", DAY, 0)
    assert (day.reserved, day.spent) == (4_900_000, 0)
    live = runs.live(world.db)
    assert len(live) == 7, "a refused claim leaves no run and no busy agent"
    for run in live:
        moves.move_run(world.db, run.id, "complete", why="done", spent_micros=100_000)
    day = ledger.envelope(world.db, "day", "all", DAY, 0)
    assert (day.reserved, day.spent) == (0, 700_000)


def test_one_agent_holds_one_run_however_many_ask(world: World, database: str) -> None:
    wanted = _many(world, 8)
    (worker,) = _agents(world.db, 1)

    def work(db: Db, number: int) -> list[int]:
        try:
            run = _claim(db, [wanted[number]], worker)
        except moves.NoRoom:
            return []
        return [run.id] if run is not None else []

    assert sum(len(each) for each in _race(database, 8, work)) == 1
    assert len(runs.live(world.db)) == 1


def test_an_agent_at_rest_takes_nothing(world: World) -> None:
    (task,) = _many(world, 1)
    (worker,) = _agents(world.db, 1)
    agents.retire_others(world.db, [])
    with pytest.raises(moves.NoRoom):
        _claim(world.db, [task], worker)


# ------------------------------------------------------------ the order


def test_front_comes_before_priority_before_age(desk: Desk, world: World) -> None:
    _agents(world.db, 4)
    late = _add(world, world.project.id, "late", priority=100)
    old = _add(world, world.project.id, "old", priority=100)
    urgent = _add(world, world.project.id, "urgent", priority=5)
    front = _add(world, world.project.id, "front", priority=900)
    world.db.execute("update task set front = true where id = %s", (front,))
    assert _order(desk) == [front, urgent, late, old]


def test_a_task_waits_for_its_time(desk: Desk, world: World) -> None:
    task = _add(world, world.project.id)
    run = world.claim(task)
    moves.move_task(world.db, task, "yield", why="later", run=run.id,
                    not_before=desk.now() + timedelta(hours=1))  # fmt: skip
    assert _order(desk) == []
    clock(world.db, timedelta(minutes=59))
    assert _order(desk) == []
    clock(world.db, timedelta(minutes=2))
    assert _order(desk) == [task]


def test_a_sent_back_task_is_kept_ten_minutes_for_its_author(desk: Desk, world: World) -> None:
    author, other = _agents(world.db, 2)
    agents.retire_others(world.db, ["dev-x0", "dev-x1"])
    task = _add(world, world.project.id)
    world.db.execute(
        "update task set prefer_agent = %s, prefer_until = clawd_now() + interval '10 minutes' "
        "where id = %s", (author, task),
    )  # fmt: skip
    # Busy elsewhere, not resting: nobody keeps a task for an agent that will not come.
    world.db.execute("update agent set role = 'planner' where id = %s", (author,))
    assert _order(desk) == []
    clock(world.db, timedelta(minutes=9))
    assert _order(desk) == []
    clock(world.db, timedelta(minutes=2))
    taken = claim.next_dev(desk)
    assert taken is not None
    assert taken.agent.id == other


def test_its_author_may_take_it_at_once(desk: Desk, world: World) -> None:
    _agents(world.db, 3)
    task = _add(world, world.project.id)
    author = agents.idle(world.db, "dev")[-1].id
    world.db.execute(
        "update task set prefer_agent = %s, prefer_until = clawd_now() + interval '10 minutes'",
        (author,),
    )
    taken = claim.next_dev(desk)
    assert taken is not None
    assert (taken.task.id, taken.agent.id) == (task, author)


def test_tasks_that_share_files_do_not_run_together(desk: Desk, world: World) -> None:
    _agents(world.db, 4)
    first = _add(world, world.project.id, "a", scope="src/**")
    second = _add(world, world.project.id, "b", scope="src/x.py")
    apart = _add(world, world.project.id, "c", scope="docs/x.md")
    assert _order(desk) == [first, apart]
    moves.move_task(world.db, first, "cancel", why="enough")
    assert _order(desk) == [second]


# ------------------------------------------------------------ projects


@pytest.mark.parametrize(("weight", "few"), [(1, 3), (3, 2), (9, 1)])
def test_a_long_queue_leaves_the_other_project_its_share(
    desk: Desk, world: World, weight: int, few: int
) -> None:
    world.db.execute("update agent set state = 'removed'")
    _agents(world.db, 6)
    big, small = _other(world, "big", weight), _other(world, "small")
    for number in range(500):
        _add(world, big.id, f"b{number}", priority=1)
    ours = {_add(world, small.id, f"s{number}", priority=900) for number in range(5)}
    won = _order(desk)
    assert len(won) == 6
    assert len(ours & set(won)) == few


@pytest.mark.parametrize("verdict", ["unknown", "red", "flaky", "no_command", "setup_failed"])
def test_nothing_is_claimed_in_a_project_whose_main_is_not_green(
    desk: Desk, world: World, verdict: str
) -> None:
    _add(world, world.project.id)
    projects.note(world.db, world.project.id, baseline_verdict=verdict)
    assert _order(desk) == []
    projects.note(world.db, world.project.id, baseline_verdict="green")
    assert len(_order(desk)) == 1


def test_only_a_task_that_mends_may_start_while_main_is_red(desk: Desk, world: World) -> None:
    _add(world, world.project.id, "plain", priority=1)
    mends = _add(world, world.project.id, "mends", mends=True)
    projects.note(world.db, world.project.id, baseline_verdict="red")
    assert _order(desk) == [mends]


def test_a_pause_holds_its_project_and_no_other(desk: Desk, world: World) -> None:
    _agents(world.db, 4)
    held = _add(world, world.project.id, "held")
    free = _add(world, _other(world, "free").id, "free")
    steer.pause(world.db, world.project)
    assert _order(desk) == [free]
    steer.resume(world.db, world.project)
    assert _order(desk) == [held]
    _add(world, world.project.id, "later")
    steer.pause(world.db)
    assert _order(desk) == []


def test_no_more_runs_live_than_the_machine_may_have(
    desk: Desk, world: World, database: str, home: Path
) -> None:
    _agents(world.db, 8)
    (home / "clawd.yaml").write_text("login: none\nlimits: {max_live: 3}\n")
    few = Desk(home=home, config=config.load(home), host=HOST, pool=desk.pool)
    for number in range(6):
        _add(world, world.project.id, f"t{number}")
    assert len(_order(few)) == 3
    (few.freeze_file).touch()
    moves.move_run(world.db, runs.live(world.db)[0].id, "complete", why="done")
    assert _order(few) == []


def test_one_agent_until_the_first_landing_of_a_project(desk: Desk, world: World) -> None:
    world.db.execute("update project set settings = '{}'")
    _agents(world.db, 4)
    for number in range(3):
        _add(world, world.project.id, f"t{number}")
    assert len(_order(desk)) == 1


# ------------------------------------------------------------ dependencies


def _land(world: World, task: int) -> None:
    world.land(task, _merging(world, task))


def _merging(world: World, task: int) -> int:
    ledger.envelope(world.db, "task", str(task), "", 10**9)
    candidate = world.finish(task)
    world.review(task, candidate, "pass")
    return candidate


def test_dependants_of_code_start_when_it_verifies(desk: Desk, world: World) -> None:
    first = _add(world, world.project.id, "first")
    second = _add(world, world.project.id, "second", needs=[first])
    assert claim.next_dev(desk) is not None
    assert _order(desk) == []
    run = runs.live(world.db)[0]
    moves.move_task(world.db, first, "start", why="x", run=run.id)
    candidate = world.candidate(first, run)
    moves.move_task(world.db, first, "finish", why="x", candidate=candidate)
    world.end(run)
    moves.move_task(world.db, first, "pass", why="x")
    assert _order(desk) == []
    moves.move_task(world.db, first, "land", why="x")
    assert _order(desk) == [second]


def test_dependants_of_a_job_start_when_it_is_done(desk: Desk, world: World) -> None:
    job = _add(world, world.project.id, "job", kind="job")
    after = _add(world, world.project.id, "after", needs=[job])
    run = world.start(job)
    moves.move_task(world.db, job, "deliver", why="x")
    world.end(run)
    assert _order(desk) == []
    moves.move_task(world.db, job, "prove", why="x")
    assert _order(desk) == [after]


def test_every_need_counts_once_whatever_way_it_goes(desk: Desk, world: World) -> None:
    needs = [_add(world, world.project.id, f"need {n}") for n in range(3)]
    task = _add(world, world.project.id, "last", needs=[*needs, needs[0]])
    for left, need in zip((2, 1, 0), needs, strict=True):
        _land(world, need)
        row = world.db.execute("select deps_open from task where id = %s", (task,)).fetchone()
        assert row == {"deps_open": left}
    assert _order(desk) == [task]


def test_a_need_that_landed_before_is_met_from_the_start(desk: Desk, world: World) -> None:
    first = _add(world, world.project.id, "first")
    _land(world, first)
    second = _add(world, world.project.id, "second", needs=[first])
    assert _order(desk) == [second]


@pytest.mark.parametrize("gone", ["cancelled", "rolled_back"])
def test_a_need_that_is_gone_parks_its_dependants(world: World, gone: str) -> None:
    first = _add(world, world.project.id, "first")
    second = _add(world, world.project.id, "second", needs=[first])
    if gone == "cancelled":
        moves.move_task(world.db, first, "cancel", why="x")
    else:
        _land(world, first)
        moves.move_task(world.db, first, "revert", why="x")
    found = tasks.by_id(world.db, second)
    assert found is not None
    assert (found.state, found.reason, found.owner) == ("parked", "dependency_gone", "operator")


# ------------------------------------------------------------ money


def test_an_empty_day_holds_everything_until_the_next(desk: Desk, world: World) -> None:
    task = _add(world, world.project.id)
    day = claim.day_of(desk.now())
    ledger.set_limit(world.db, "day", "all", day, 0)
    assert _order(desk) == []
    told = world.db.execute("select body from outbox where channel = 'operator'").fetchall()
    assert len(told) == 1
    assert _order(desk) == []
    assert len(world.db.execute("select from outbox where channel = 'operator'").fetchall()) == 1
    clock(world.db, timedelta(days=1))
    assert _order(desk) == [task]


def test_a_task_that_used_its_own_envelope_up_waits_for_the_operator(
    desk: Desk, world: World
) -> None:
    poor = _add(world, world.project.id, "poor")
    rich = _add(world, world.project.id, "rich")
    ledger.set_limit(world.db, "task", str(poor), "", 0)
    assert _order(desk) == [rich]
    found = tasks.by_id(world.db, poor)
    assert found is not None
    assert (found.state, found.reason, found.owner) == ("parked", "envelope_empty", "operator")


def test_a_run_gets_what_is_left_and_says_that_it_was_capped(desk: Desk, world: World) -> None:
    task = _add(world, world.project.id)
    ledger.set_limit(world.db, "task", str(task), "", 300_000)
    taken = claim.next_dev(desk)
    assert taken is not None
    assert taken.run.reserved_micros == 300_000
    assert taken.run.limits["capped"] is True
