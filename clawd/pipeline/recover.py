"""Reconcile first: adopts living runs, settles ended ones, lets go of lost ones, keeps leases."""

from __future__ import annotations

from datetime import timedelta

from clawd.adapters import crash
from clawd.model import Facts, Project, Role, Run
from clawd.pipeline import develop, ending, plan, review, spawn, standstill, workspace
from clawd.pipeline.desk import Desk
from clawd.policy.failure import Reason
from clawd.running import launch, stream
from clawd.running.records import Alive, Ended, Lost, Missing, Result, Why
from clawd.store import goals, moves, projects, runs, tasks
from clawd.store.rows import Db

OTHER_HOST_GRACE = timedelta(minutes=10)
COMMAND_ENDS_WITHIN_S = 10.0


def ended(desk: Desk, starting: set[int]) -> list[tuple[Run, Result]]:
    """This host's runs that need settling: ended, or gone without a result."""
    with desk.db() as db:
        mine = runs.live(db, desk.host)
    found = []
    for run in mine:
        if run.id in starting or run.id in desk.starting:
            continue
        match launch.look(desk.run_folder(run.id)):
            case Ended(result):
                found.append((run, result))
            case Lost(marker):
                launch.sweep(marker)
                found.append((run, _gone("the keeper died")))
            case Missing():
                found.append((run, _gone("it never started")))
            case Alive():
                pass
    return found


def end_left_commands(desk: Desk) -> int:
    """Ends checks and tests that a dead daemon left: nobody reads what they say any more.

    At the daemon's start only: the same command is started again under the same mark.
    """
    folders = [path for path in desk.run_folder(0).parent.glob("*") if not path.name.isdigit()]
    left = []
    for folder in folders:
        match launch.look(folder):
            case Alive():
                launch.stop(folder, "its daemon died")
                left.append(folder)
            case Lost(marker):
                launch.sweep(marker)
    for folder in left:
        launch.wait(folder, COMMAND_ENDS_WITHIN_S, desk.stop)
    return len(left)


def _gone(reason: str) -> Result:
    return Result(
        rc=-1, why=Why.LOST, reason=reason, started=False, started_at=0.0, ended_at=0.0,
        wall_ms=0, turns=0, cost_micros=0, swept=0,
    )  # fmt: skip


def settle(desk: Desk, run: Run, result: Result) -> None:
    """One ended run, by its role; a run that lost its task changes nothing but its own row."""
    if result.why is Why.LOST:
        crash.point("lose.before")
    done = spawn.finished(desk, run, result)
    with desk.db() as db:
        project = projects.by_id(db, run.project)
    assert project is not None  # noqa: S101 - a run's project is never deleted
    try:
        _by_role(desk, project, run, done)
    except (moves.Fenced, moves.IllegalMove) as error:
        _fence(desk, project, run, done, str(error))
    if result.why is Why.LOST:
        crash.point("lose.after")


def _by_role(desk: Desk, project: Project, run: Run, done: spawn.Finished) -> None:
    with desk.db() as db:
        task = tasks.by_id(db, run.task) if run.task else None
        goal = goals.by_id(db, run.goal) if run.goal and not run.task else None
    if task is not None and task.leased_by_run != run.id:
        _fence(desk, project, run, done, f"task {task.id} is {task.state}, held by nobody of ours")
    elif task is not None and run.role is Role.DEV:
        develop.settle(desk, project, task, run, done)
    elif task is not None:
        review.settle(desk, project, task, run, done)
    elif goal is not None:
        plan.settle_planner(desk, project, goal, run, done)
    else:
        plan.settle_pm(desk, project, run, done)


def _fence(desk: Desk, project: Project, run: Run, done: spawn.Finished, why: str) -> None:
    """What a stale run left is salvaged; its row says fenced; nothing else is written."""
    work = workspace.workspace_path(desk, run)
    crash.point("fence.before")
    if run.role is Role.DEV:
        desk.hub(project).salvage(work, run.id, run.base_oid or None)
    crash.point("fence.mid")
    with desk.db() as db, db.transaction():
        spawn.close(db, run, done, spawn.fenced(why))
    crash.point("fence.after")
    workspace.clear(desk, run)


def could_not_start(desk: Desk, run: Run, error: Exception) -> None:
    """The clone, the cage or the program was not to be had: the task waits, nobody pays."""
    with desk.db() as db, db.transaction():
        reason, until = standstill.could_not_start(db, run, error, spawn.now(db))
        task = tasks.by_id(db, run.task) if run.task else None
        if task is not None and task.leased_by_run == run.id:
            ending.put_back(
                db, task, reason, str(error), fence=run.fence, run=run.id,
                not_before=until, facts=Facts({"error": str(error)[:500]}),
            )  # fmt: skip
    workspace.clear(desk, run)


def heartbeat(desk: Desk) -> None:
    """Renews what is ours; a run that lost its task is ended."""
    lease = timedelta(seconds=desk.config.lease.lease_s)
    with desk.db() as db:
        mine = [run for run in runs.live(db, desk.host) if run.task is not None]
        held = moves.heartbeat(db, desk.host, [run.id for run in mine], lease) if mine else set()
    for run in mine:
        if run.id not in held:
            launch.stop(desk.run_folder(run.id), "fenced: the task was taken from this run")


def end_stale(desk: Desk) -> None:
    """Ends runs whose task was cancelled, edited or taken while they worked."""
    with desk.db() as db:
        stale = runs.stale(db, desk.host)
    for run, reason in stale:
        launch.stop(desk.run_folder(run), f"{reason}: the task was taken from this run")


def scan(desk: Desk) -> int:
    """Leases that ran out: another host's after its grace; ours are settled, not scanned."""
    with desk.db() as db:
        lapsed = tasks.lapsed(db, desk.host, OTHER_HOST_GRACE)
        for task in lapsed:
            if task.host == desk.host:
                continue
            with db.transaction():
                _lose(db, task.id, task.leased_by_run, f"host {task.host} is silent")
    return len(lapsed)


def _lose(db: Db, task: int, run: int | None, why: str) -> None:
    moves.move_task(db, task, "lose", why=why, actor="reconcile", reason=Reason.LOST.value, run=run)
    if run is not None:
        moves.move_run(db, run, "lose", why=why, actor="reconcile", reason=Reason.LOST.value)


class Follower:
    """Reads the streams of living runs for the board, and confirms that the prompt arrived."""

    def __init__(self) -> None:
        self._readers: dict[int, stream.Reader] = {}

    def follow(self, desk: Desk) -> bool:
        """One look at every living run of this host; whether there is any."""
        with desk.db() as db:
            mine = runs.live(db, desk.host)
        for run in mine:
            reader = self._readers.setdefault(run.id, stream.Reader())
            if reader.poll(desk.run_folder(run.id) / "stream.jsonl"):
                self._note(desk, run, reader)
                crash.point("stream.after")
        living = {run.id for run in mine}
        for gone in set(self._readers) - living:
            del self._readers[gone]
        return bool(mine)

    def _note(self, desk: Desk, run: Run, reader: stream.Reader) -> None:
        facts = reader.facts()
        with desk.db() as db:
            if facts.delivered and run.delivered_at is None:
                self._deliver(db, run, facts.session)
            if facts.turns > run.turns:
                projects.end_trial(db)
            runs.note(
                db, run.id, doing=facts.last_line[:200], turns=facts.turns,
                spent_micros=facts.cost_micros,
            )  # fmt: skip

    def _deliver(self, db: Db, run: Run, session: str) -> None:
        """The receipt: the session's own first line, apart from whatever comes of it."""
        why = f"session {session} took the prompt"
        moment = spawn.now(db)
        try:
            moves.move_run(db, run.id, "execute", why=why, delivered_at=moment, started_at=moment)
        except moves.IllegalMove:
            return  # it ended meanwhile; settling reads the receipt from the stream
