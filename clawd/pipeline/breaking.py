"""Circuit breakers at work: who may be asked now, with which model, and what an outcome counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from clawd.model import Agent, Project, Role, Run
from clawd.pipeline import report
from clawd.pipeline.desk import Desk
from clawd.policy import breaker
from clawd.policy.failure import Reason
from clawd.store import agents, breakers, projects
from clawd.store.breakers import Key
from clawd.store.rows import Db

Resting = Mapping[Key, breaker.Breaker]


def idle(desk: Desk, db: Db, role: Role, resting: Resting, now: datetime) -> list[Agent]:
    """Idle agents whose breakers let them try; an open model is stood in for by its fallback."""
    found = agents.idle(db, role)
    if not resting:
        return found
    fallback = desk.config.agents.of(role).fallback
    able = []
    for agent in found:
        if not _may(resting, ("agent", agent.name), now):
            continue
        if _may(resting, ("model", agent.model), now):
            able.append(agent)
        elif fallback and _may(resting, ("model", fallback), now):
            able.append(replace(agent, model=fallback))
    return able


def away(db: Db, resting: Resting, wanted: set[int], now: datetime) -> set[int]:
    """Which of the agents that tasks are kept for will not come: they rest, or left."""
    found = {agent: agents.by_id(db, agent) for agent in wanted}
    return {
        number
        for number, agent in found.items()
        if agent is None or agent.state != "active" or not _may(resting, ("agent", agent.name), now)
    }


def may_work(resting: Resting, project: Project, now: datetime) -> bool:
    """Whether a project's breaker lets a run start."""
    return _may(resting, ("project", project.slug), now)


def begin(db: Db, resting: Resting, agent: Agent, project: Project) -> None:
    """A run starts: where a breaker was open this is its one probe."""
    if not resting:
        return
    breakers.probe(db, [("agent", agent.name), ("model", agent.model), ("project", project.slug)])


def after(db: Db, run: Run, reason: Reason | None, now: datetime) -> None:
    """Counts an ended run for its agent, its model and its project."""
    agent, project = agents.by_id(db, run.agent), projects.by_id(db, run.project)
    if agent is None or project is None:
        return
    for scope, key in (("agent", agent.name), ("model", run.model), ("project", project.slug)):
        said = breaker.counts_for(scope, reason)
        if not key:
            continue
        opened = breakers.note(db, scope, key, ok=said, now=now)
        if opened is not None and opened.probe_at is not None:
            text = (
                f"{scope.capitalize()} {key} rests until {opened.probe_at:%H:%M} UTC: "
                f"{opened.fails} failures in a row, the last was {reason}."
            )
            report.needs_you(db, project, text, dedupe=f"breaker:{scope}:{key}:{run.id}")


def _may(resting: Resting, key: Key, now: datetime) -> bool:
    return key not in resting or breaker.may_try(resting[key], now)
