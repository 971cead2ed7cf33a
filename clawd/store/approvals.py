"""SQL of approvals and questions: what waits for a person."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from psycopg.types.json import Jsonb

from clawd.model import Approval, Json
from clawd.store.rows import Db, columns, many, one

_COLUMNS = columns(Approval)


def ask(
    db: Db,
    *,
    kind: str,
    question: str,
    task: int | None = None,
    goal: int | None = None,
    project: int | None = None,
    options: Sequence[str] = (),
    subject: Json | None = None,
) -> Approval:
    """Asks a person; the same open question is asked once."""
    digest = hashlib.sha256(question.encode()).hexdigest()
    found = one(
        db,
        Approval,
        f"""insert into approval (task, goal, project, kind, question, options, digest, subject)
            values (%s, %s, %s, %s, %s, %s, %s, %s)
            on conflict (coalesce(task, 0), coalesce(goal, 0), coalesce(project, 0), kind, digest)
              where state = 'open' do update set question = excluded.question
            returning {_COLUMNS}""",
        (
            task,
            goal,
            project,
            kind,
            question,
            Jsonb(list(options)),
            digest,
            Jsonb(subject or {}),
        ),
    )
    assert found is not None
    return found


def by_id(db: Db, approval: int) -> Approval | None:
    """The approval with this id."""
    return one(db, Approval, f"select {_COLUMNS} from approval where id = %s", (approval,))


def waiting(db: Db) -> list[Approval]:
    """Everything that waits for a person, oldest first."""
    return many(db, Approval, f"select {_COLUMNS} from approval where state = 'open' order by id")


def of_task(db: Db, task: int) -> list[Approval]:
    """Every question ever asked about a task."""
    return many(
        db, Approval, f"select {_COLUMNS} from approval where task = %s order by id", (task,)
    )


def close(db: Db, approval: int, state: str, *, by: str, channel: str, answer: str = "") -> bool:
    """Settles an open approval, once; False when somebody else already did."""
    done = db.execute(
        """update approval set state = %s, by = %s, channel = %s, answer = %s,
             answered_at = clawd_now() where id = %s and state = 'open'""",
        (state, by, channel, answer, approval),
    )
    return done.rowcount > 0


def void_of_task(db: Db, task: int) -> None:
    """Questions of a task that ended wait for nobody."""
    db.execute("update approval set state = 'void' where task = %s and state = 'open'", (task,))


def agreed_to(db: Db, project: int) -> list[Approval]:
    """Roadmap changes the operator agreed to and nobody has acted on yet."""
    return many(
        db,
        Approval,
        f"""select {_COLUMNS} from approval where project = %s and kind = 'roadmap'
              and state = 'approved' and used_by_lineage is null order by id""",
        (project,),
    )


def use(db: Db, approval: int, lineage: int) -> bool:
    """An approval fits one action, once; False when it was used before."""
    done = db.execute(
        "update approval set used_by_lineage = %s where id = %s and used_by_lineage is null",
        (lineage, approval),
    )
    return done.rowcount > 0
