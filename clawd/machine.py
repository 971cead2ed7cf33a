"""The state machine: every legal move of a task, a goal and a run, in one table each."""

from __future__ import annotations

from collections.abc import Mapping

Table = Mapping[str, Mapping[str, str]]

# One target for each (state, event). The block in schema.sql and the drawing in docs/machine.md
# are generated from these tables; the database refuses anything that is not in them.

TASK: Table = {
    "backlog": {"claim": "claimed", "park": "parked", "cancel": "cancelled"},
    "claimed": {
        "start": "running",
        "yield": "backlog",
        "lose": "backlog",
        "fail": "backlog",
        "give_up": "parked",
        "cancel": "cancelled",
    },
    "running": {
        "finish": "review",
        "deliver": "verifying",
        "ask": "waiting",
        "hold": "waiting",
        "fail": "backlog",
        "give_up": "parked",
        "yield": "backlog",
        "lose": "backlog",
        "cancel": "cancelled",
    },
    "review": {
        "claim": "review",
        "yield": "review",
        "lose": "review",
        "fail": "review",
        "check_red": "backlog",
        "revise": "backlog",
        "bounce": "backlog",
        "pass": "merging",
        "no_change": "verifying",
        "hold": "waiting",
        "give_up": "parked",
        "cancel": "cancelled",
    },
    "merging": {
        "land": "verifying",
        "bounce": "backlog",
        "review": "review",
        "hold": "waiting",
        "give_up": "parked",
        "cancel": "cancelled",
    },
    "waiting": {
        "resume_dev": "backlog",
        "resume_review": "review",
        "resume_merge": "merging",
        "resume_proof": "verifying",
        "deny": "parked",
        "expire": "parked",
        "cancel": "cancelled",
    },
    "verifying": {
        "prove": "done",
        "miss": "waiting",
        "redo": "backlog",
        "give_up": "parked",
        "revert": "rolled_back",
    },
    "done": {"revert": "rolled_back"},
    "parked": {"retry": "backlog", "cancel": "cancelled"},
    "cancelled": {"reopen": "backlog"},
    "rolled_back": {},
}

GOAL: Table = {
    "seen": {"plan": "planning", "ask": "blocked", "withdraw": "withdrawn", "finish": "done"},
    "planning": {
        "planned": "planned",
        "refuse": "planning",
        "fail": "planning",
        "yield": "planning",
        "give_up": "blocked",
        "ask": "blocked",
        "edit": "seen",
        "withdraw": "withdrawn",
        "finish": "done",
    },
    "blocked": {"edit": "seen", "answer": "seen", "withdraw": "withdrawn", "finish": "done"},
    "planned": {"finish": "done", "edit": "seen", "withdraw": "withdrawn"},
    "done": {"redo": "planned", "reopen": "seen"},
    "withdrawn": {"reappear": "seen"},
}

_RUN_ENDS = {
    "complete": "completed",
    "fail": "failed",
    "cancel": "cancelled",
    "fence": "fenced",
    "lose": "lost",
}
RUN: Table = {
    "created": {"load": "context_loaded", "execute": "executing", **_RUN_ENDS},
    "context_loaded": {"execute": "executing", **_RUN_ENDS},
    "executing": dict(_RUN_ENDS),
    "completed": {},
    "failed": {},
    "cancelled": {},
    "fenced": {},
    "lost": {},
}

TABLES: Mapping[str, Table] = {"task": TASK, "goal": GOAL, "run": RUN}

# Counters a task move charges; nothing else ever raises them.
CHARGES = {"fail": "tries", "check_red": "tries", "revise": "round", "bounce": "bounces"}
# A QA agent's failure is never the developer's try.
UNCHARGED = {("review", "fail")}

# Moves that end a lease: the fence rises so that the former holder's writes find nobody.
LEASED = ("claimed", "running", "review")

ENDED = {
    "task": ("done", "cancelled", "rolled_back"),
    "goal": ("done", "withdrawn"),
    "run": ("completed", "failed", "cancelled", "fenced", "lost"),
}


def next_state(kind: str, state: str, event: str) -> str | None:
    """Where `event` takes a `kind` in `state`; None when the move is illegal."""
    return TABLES[kind].get(state, {}).get(event)


def states(kind: str) -> tuple[str, ...]:
    """Every state of a kind, in the order of its story."""
    return tuple(TABLES[kind])


def sql() -> str:
    """The transition functions as they stand in schema.sql, one line a move."""
    return "\n".join(_sql_function(kind, table) for kind, table in TABLES.items())


def _sql_function(kind: str, table: Table) -> str:
    """One JSON constant: a CASE of fifty branches would be set up anew in every transaction."""
    moves = [
        f'    "{state} {event}": "{target}"'
        for state, events in table.items()
        for event, target in events.items()
    ]
    return "\n".join(
        [
            f"create function clawd_{kind}_next(state text, event text) returns text",
            "  language sql immutable parallel safe as $$",
            "  select '{",
            ",\n".join(moves),
            "  }'::jsonb ->> (state || ' ' || event) $$;",
        ]
    )


def drawing(kind: str) -> str:
    """The table as a mermaid state diagram, for the docs."""
    lines = ["stateDiagram-v2"]
    for state, events in TABLES[kind].items():
        merged: dict[str, list[str]] = {}
        for event, target in events.items():
            merged.setdefault(target, []).append(event)
        lines += [f"    {state} --> {target}: {', '.join(evs)}" for target, evs in merged.items()]
    return "\n".join(lines)
