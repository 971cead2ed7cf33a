"""SQL of what may be forgotten, and of the partitions lineage grows into."""

from __future__ import annotations

from datetime import timedelta

from clawd.store.rows import Db

_ENDED_RUN = "('completed', 'failed', 'cancelled', 'fenced', 'lost')"
_ENDED_TASK = "('done', 'cancelled', 'rolled_back')"


def ended_runs(db: Db, host: str, age: timedelta) -> list[int]:
    """This host's runs that ended longer ago than `age`, the oldest first."""
    rows = db.execute(
        f"""select id from run where state in {_ENDED_RUN} and host = %s
              and ended_at < clawd_now() - %s order by id""",
        (host, age),
    )
    return [row["id"] for row in rows]


def ended_tasks(db: Db, age: timedelta) -> list[int]:
    """Tasks that ended longer ago than `age`: nobody resumes their sessions any more."""
    rows = db.execute(
        f"""select id from task where state in {_ENDED_TASK}
              and changed_at < clawd_now() - %s order by id""",
        (age,),
    )
    return [row["id"] for row in rows]


def runs_of_ended_tasks(db: Db, project: int, age: timedelta) -> list[int]:
    """Runs whose task ended longer ago than `age`; the row says landed before a ref may go."""
    rows = db.execute(
        f"""select r.id from run r join task t on t.id = r.task
            where r.project = %s and t.state in {_ENDED_TASK}
              and t.changed_at < clawd_now() - %s
              and not exists (select from landing l where l.task = t.id
                and l.state in ('asked', 'intent')) order by r.id""",
        (project, age),
    )
    return [row["id"] for row in rows]


def make_partitions(db: Db, months: int = 2) -> None:
    """Partitions of lineage for the months ahead; rows already in the rest stay there."""
    for ahead in range(1, months + 1):
        db.execute("select clawd_lineage_partition(%s)", (ahead,))
