"""Read model of one task: its contract, its story so far, its runs, reviews and landings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clawd.model import Json
from clawd.store import moves
from clawd.store.rows import Db


@dataclass(frozen=True, slots=True)
class Moment:
    """One move of the task, with the decision behind it."""

    at: datetime
    from_state: str
    event: str
    to_state: str
    actor: str
    reason: str
    why: str
    run: int | None
    lineage: int


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run of the task."""

    id: int
    role: str
    agent: str
    tier: str
    state: str
    reason: str
    detail: str
    model: str
    contract_version: int
    turns: int
    minutes: float
    cost_micros: int
    created_at: datetime
    ended_at: datetime | None
    folder: str


@dataclass(frozen=True, slots=True)
class CandidateLine:
    """One candidate: what a run produced and what the check said of it."""

    id: int
    run: int
    oid: str
    base_oid: str
    tree: str
    no_change: bool
    check_state: str
    checks: list[Json]
    stat: Json
    at: datetime


@dataclass(frozen=True, slots=True)
class VerdictLine:
    """One answer of QA."""

    id: int
    run: int
    agent: str
    candidate: int
    contract_version: int
    answer: str
    summary: str
    findings: list[Json]
    at: datetime


@dataclass(frozen=True, slots=True)
class LandingLine:
    """One move of main for this task, and what the tests said of the tree."""

    id: int
    kind: str
    state: str
    old_main: str
    new_main: str
    tree: str
    tests: str
    tests_ms: int | None
    tests_log: str
    landed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Asked:
    """One question about the task."""

    id: int
    kind: str
    question: str
    state: str
    by: str
    answer: str
    asked: datetime


@dataclass(frozen=True, slots=True)
class Detail:
    """Everything about one task."""

    id: int
    project: str
    goal: int | None
    goal_title: str
    roadmap_line: int
    kind: str
    state: str
    title: str
    reason: str
    action: str
    owner: str
    priority: int
    tries: int
    round: int
    bounces: int
    not_before: datetime | None
    contract_version: int
    contract: Json
    needs: list[int]
    wanted_by: list[int]
    cost_micros: int
    limit_micros: int
    timeline: list[Moment]
    runs: list[RunLine]
    candidates: list[CandidateLine]
    verdicts: list[VerdictLine]
    landings: list[LandingLine]
    questions: list[Asked]


def detail(db: Db, task: int) -> Detail:
    """One task with all its rows; Missing when there is none."""
    row = db.execute(
        """select t.id, p.slug as project, t.goal, coalesce(g.title, '') as goal_title,
             coalesce(g.line, 0) as roadmap_line, t.kind, t.state, t.title, t.reason, t.action,
             t.owner, t.priority, t.tries, t.round, t.bounces, t.not_before, t.contract_version,
             coalesce(c.body, '{}') as contract,
             array(select needs from task_dep where task = t.id order by needs) as needs,
             array(select d.task from task_dep d where d.needs = t.id order by d.task)
               as wanted_by,
             coalesce((select sum(spent_micros) from run where task = t.id), 0)::bigint
               as cost_micros,
             coalesce((select "limit" from envelope where scope = 'task'
               and scope_id = t.id::text and period = ''), 0) as limit_micros
           from task t join project p on p.id = t.project left join goal g on g.id = t.goal
           left join contract c on (c.task, c.version) = (t.id, t.contract_version)
           where t.id = %s""",
        (task,),
    ).fetchone()
    if row is None:
        raise moves.Missing(f"There is no task {task}.", "See them: clawd task list --all")
    return Detail(
        **row,
        timeline=timeline(db, "task", task),
        runs=_runs(db, task),
        candidates=_candidates(db, task),
        verdicts=_verdicts(db, task),
        landings=_landings(db, task),
        questions=_questions(db, task),
    )


def timeline(db: Db, kind: str, subject: int) -> list[Moment]:
    """Every move of a task or goal, each with its decision."""
    rows = db.execute(
        """select h.at, h.from_state, h.event, h.to_state, h.actor, h.reason,
             coalesce(l.why, '') as why, h.run, h.lineage
           from history h left join lineage l on l.chain = %(chain)s and l.id = h.lineage
           where h.kind = %(kind)s and h.subject = %(subject)s order by h.id""",
        {"chain": f"{kind}:{subject}", "kind": kind, "subject": subject},
    )
    return [Moment(**row) for row in rows]


def _runs(db: Db, task: int) -> list[RunLine]:
    rows = db.execute(
        """select r.id, r.role, a.name as agent, r.tier, r.state, r.reason, r.detail, r.model,
             r.contract_version, r.turns,
             round(extract(epoch from coalesce(r.ended_at, clawd_now())
               - coalesce(r.started_at, r.created_at)) / 60, 2)::float8 as minutes,
             r.spent_micros as cost_micros, r.created_at, r.ended_at, r.folder
           from run r join agent a on a.id = r.agent where r.task = %s order by r.id""",
        (task,),
    )
    return [RunLine(**row) for row in rows]


def _candidates(db: Db, task: int) -> list[CandidateLine]:
    rows = db.execute(
        """select id, run, oid, base_oid, tree, no_change, check_state, checks, stat, at
           from candidate where task = %s order by id""",
        (task,),
    )
    return [CandidateLine(**row) for row in rows]


def _verdicts(db: Db, task: int) -> list[VerdictLine]:
    rows = db.execute(
        """select v.id, v.run, a.name as agent, v.candidate, v.contract_version, v.answer,
             v.summary, v.findings, v.at
           from verdict v join run r on r.id = v.run join agent a on a.id = r.agent
           where v.task = %s order by v.id""",
        (task,),
    )
    return [VerdictLine(**row) for row in rows]


def _landings(db: Db, task: int) -> list[LandingLine]:
    rows = db.execute(
        """select l.id, l.kind, l.state, l.old_main, l.new_main, l.tree,
             coalesce(v.verdict, '') as tests, v.wall_ms as tests_ms,
             coalesce(v.log, '') as tests_log, l.landed_at
           from landing l left join lateral (select verdict, wall_ms, log from test_verdict
             where project = l.project and tree = l.tree order by id desc limit 1) v on true
           where l.task = %s order by l.id""",
        (task,),
    )
    return [LandingLine(**row) for row in rows]


def _questions(db: Db, task: int) -> list[Asked]:
    rows = db.execute(
        """select id, kind, question, state, by, answer, asked from approval
           where task = %s order by id""",
        (task,),
    )
    return [Asked(**row) for row in rows]
