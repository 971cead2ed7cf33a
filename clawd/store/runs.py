"""SQL of runs, candidates and verdicts."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from clawd.model import Candidate, Json, Run, VerdictRow
from clawd.store.rows import Db, columns, many, one

_COLUMNS = columns(Run)
_LIVE = "('created', 'context_loaded', 'executing')"


def by_id(db: Db, run: int) -> Run | None:
    """The run with this id."""
    return one(db, Run, f"select {_COLUMNS} from run where id = %s", (run,))


def live(db: Db, host: str | None = None) -> list[Run]:
    """Runs that have not ended, of one host or of all."""
    return many(
        db,
        Run,
        f"""select {_COLUMNS} from run where state in {_LIVE}
            and (%(host)s::text is null or host = %(host)s) order by id""",
        {"host": host},
    )


def count_live(db: Db) -> int:
    """How many runs of all hosts have not ended."""
    row = db.execute(f"select count(*)::int as n from run where state in {_LIVE}").fetchone()
    assert row is not None
    return int(row["n"])


def of_task(db: Db, task: int) -> list[Run]:
    """Every run of a task, oldest first."""
    return many(db, Run, f"select {_COLUMNS} from run where task = %s order by id", (task,))


def last_reasons(db: Db, limit: int) -> list[str]:
    """Why the last runs ended as they did, the newest first."""
    rows = db.execute(
        """select reason from run where ended_at is not null
           order by id desc limit %s""",
        (limit,),
    )
    return [row["reason"] for row in rows]


def of_goal(db: Db, goal: int) -> list[Run]:
    """The planning runs of a goal, oldest first."""
    return many(
        db,
        Run,
        f"select {_COLUMNS} from run where goal = %s and task is null order by id",
        (goal,),
    )


def note(db: Db, run: int, **changes: Any) -> None:
    """Telemetry of a run: what it does, turns, money so far. No decision, so no lineage."""
    sets = ", ".join(f'"{name}" = %({name})s' for name in changes)
    with db.transaction():
        db.execute("set local synchronous_commit = off")
        db.execute(f"update run set {sets} where id = %(id)s", {**changes, "id": run})


def add_candidate(
    db: Db,
    *,
    task: int,
    run: int,
    host: str,
    ref: str,
    oid: str,
    base_oid: str,
    tree: str,
    patch_digest: str,
    no_change: bool,
    stat: Json,
) -> Candidate:
    """The commit a run produced; the same run gives the same row."""
    found = one(
        db,
        Candidate,
        f"""insert into candidate (task, run, host, ref, oid, base_oid, tree, patch_digest,
              no_change, stat) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            on conflict (run) do update set stat = excluded.stat returning {columns(Candidate)}""",
        (task, run, host, ref, oid, base_oid, tree, patch_digest, no_change, Jsonb(stat)),
    )
    assert found is not None
    return found


def candidate(db: Db, candidate_id: int) -> Candidate | None:
    """The candidate with this id."""
    return one(
        db, Candidate, f"select {columns(Candidate)} from candidate where id = %s", (candidate_id,)
    )


def candidates(db: Db, task: int) -> list[Candidate]:
    """Every candidate of a task, oldest first."""
    return many(
        db,
        Candidate,
        f"select {columns(Candidate)} from candidate where task = %s order by id",
        (task,),
    )


def checked(db: Db, candidate_id: int, state: str, checks: list[Json]) -> None:
    """What the daemon's own check said of a candidate."""
    db.execute(
        "update candidate set check_state = %s, checks = %s where id = %s",
        (state, Jsonb(checks), candidate_id),
    )


def add_verdict(
    db: Db,
    *,
    task: int,
    candidate: int,
    run: int,
    contract_version: int,
    answer: str,
    summary: str,
    findings: list[Json],
) -> VerdictRow:
    """QA's answer; the same run gives the same row."""
    found = one(
        db,
        VerdictRow,
        f"""insert into verdict (task, candidate, run, contract_version, answer, summary, findings)
            values (%s, %s, %s, %s, %s, %s, %s)
            on conflict (run) do update set summary = excluded.summary
            returning {columns(VerdictRow)}""",
        (task, candidate, run, contract_version, answer, summary, Jsonb(findings)),
    )
    assert found is not None
    return found


def verdicts(db: Db, task: int) -> list[VerdictRow]:
    """Every verdict of a task, oldest first."""
    return many(
        db,
        VerdictRow,
        f"select {columns(VerdictRow)} from verdict where task = %s order by id",
        (task,),
    )


def passed(db: Db, task: int, contract_version: int, patch_digest: str) -> VerdictRow | None:
    """A pass that still holds: the same contract and the same effective patch."""
    return one(
        db,
        VerdictRow,
        f"""select {columns(VerdictRow, "v")} from verdict v
            join candidate c on c.id = v.candidate
            where v.task = %s and v.contract_version = %s and v.answer = 'pass'
              and c.patch_digest = %s order by v.id desc limit 1""",
        (task, contract_version, patch_digest),
    )


def failures_in_a_row(db: Db, project: int, role: str) -> int:
    """How many of a role's last runs in a project failed, counted back from the newest."""
    row = db.execute(
        """select count(*) as n from run r where r.project = %(project)s and r.role = %(role)s
             and r.state = 'failed' and r.id > coalesce((select max(id) from run
               where project = %(project)s and role = %(role)s and state = 'completed'), 0)""",
        {"project": project, "role": role},
    ).fetchone()
    assert row is not None
    return int(row["n"])


def stale(db: Db, host: str) -> list[tuple[int, str]]:
    """Live runs whose task is no longer theirs, with the word that says why."""
    rows = db.execute(
        f"""select r.id, case when t.state = 'cancelled' then 'cancelled' else 'fenced' end as word
            from run r join task t on t.id = r.task
            where r.state in {_LIVE} and r.host = %s and t.leased_by_run is distinct from r.id""",
        (host,),
    )
    return [(row["id"], row["word"]) for row in rows]
