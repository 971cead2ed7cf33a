"""SQL of agents and their tiers."""

from __future__ import annotations

from clawd.model import Agent
from clawd.store.rows import Db, columns, many, one

_COLUMNS = columns(Agent)


def ensure(db: Db, name: str, role: str, model: str, kind: str = "claude") -> Agent:
    """The agent of this name, made or brought up to date with the configuration."""
    found = one(
        db,
        Agent,
        f"""insert into agent (name, role, model, kind) values (%s, %s, %s, %s)
            on conflict (name) do update set role = excluded.role, model = excluded.model,
              kind = excluded.kind, state = 'active' returning {_COLUMNS}""",
        (name, role, model, kind),
    )
    assert found is not None
    return found


def retire_others(db: Db, names: list[str]) -> None:
    """Agents the configuration no longer names rest; their past stays."""
    db.execute(
        "update agent set state = 'resting' where not (name = any (%s)) and state = 'active'",
        (names,),
    )


def idle(db: Db, role: str) -> list[Agent]:
    """Agents of a role with nothing to do, the longest rested first."""
    return many(
        db,
        Agent,
        f"""select {_COLUMNS} from agent where role = %s and state = 'active'
            and live_run is null order by last_used nulls first, id""",
        (role,),
    )


def everyone(db: Db) -> list[Agent]:
    """Every agent, by name."""
    return many(db, Agent, f"select {_COLUMNS} from agent order by name")


def by_id(db: Db, agent: int) -> Agent | None:
    """The agent with this id."""
    return one(db, Agent, f"select {_COLUMNS} from agent where id = %s", (agent,))


def tier(db: Db, agent: int, project: int) -> str | None:
    """The tier an agent has earned in a project; None before its first."""
    row = db.execute(
        "select tier from agent_tier where (agent, project) = (%s, %s)", (agent, project)
    ).fetchone()
    return None if row is None else str(row["tier"])
