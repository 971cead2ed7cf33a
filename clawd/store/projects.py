"""SQL of projects, hosts, pauses and duties."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from clawd.model import Json, Project
from clawd.store.rows import Db, columns, many, one

_COLUMNS = columns(Project)


def save(
    db: Db,
    *,
    slug: str,
    path: str,
    main_ref: str,
    home_host: str,
    weight: int,
    landing: str,
    test_cmd: str,
    setup_cmd: str,
    settings: Json,
) -> Project:
    """Adds a project or brings its settings up to date."""
    found = one(
        db,
        Project,
        f"""insert into project (slug, path, main_ref, home_host, weight, landing, test_cmd,
              setup_cmd, settings) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            on conflict (slug) do update set path = excluded.path, main_ref = excluded.main_ref,
              weight = excluded.weight, landing = excluded.landing, test_cmd = excluded.test_cmd,
              setup_cmd = excluded.setup_cmd, settings = excluded.settings, state = 'active',
              baseline_verdict = case when (project.test_cmd, project.setup_cmd)
                = (excluded.test_cmd, excluded.setup_cmd) then project.baseline_verdict
                else 'unknown' end
            returning {_COLUMNS}""",
        (slug, path, main_ref, home_host, weight, landing, test_cmd, setup_cmd, Jsonb(settings)),
    )
    assert found is not None
    return found


def retire_others(db: Db, slugs: list[str]) -> None:
    """Projects the configuration no longer names rest; named again they go on where they were."""
    db.execute(
        "update project set state = 'removed' where not (slug = any (%s)) and state = 'active'",
        (slugs,),
    )


def active(db: Db) -> list[Project]:
    """Every project under care, in order of id."""
    return many(db, Project, f"select {_COLUMNS} from project where state = 'active' order by id")


def by_slug(db: Db, slug: str) -> Project | None:
    """The project called `slug`."""
    return one(db, Project, f"select {_COLUMNS} from project where slug = %s", (slug,))


def by_id(db: Db, project: int) -> Project | None:
    """The project with this id."""
    return one(db, Project, f"select {_COLUMNS} from project where id = %s", (project,))


def note(db: Db, project: int, **changes: Any) -> None:
    """Writes plain facts about a project (digests, baseline, what holds landings)."""
    sets = ", ".join(f'"{name}" = %({name})s' for name in changes)
    db.execute(f"update project set {sets} where id = %(id)s", {**changes, "id": project})


def beat_host(db: Db, name: str, boot_id: str, slots: int) -> None:
    """This host lives: one row, kept hot."""
    db.execute(
        """insert into host (name, boot_id, slots, beat) values (%s, %s, %s, clawd_now())
           on conflict (name) do update set boot_id = excluded.boot_id, slots = excluded.slots,
             beat = excluded.beat""",
        (name, boot_id, slots),
    )


def take_duty(db: Db, name: str, host: str, ttl: timedelta) -> int | None:
    """The epoch of a leader duty when this host holds it now, else None."""
    row = db.execute(
        """insert into duty (name, host, until) values (%(name)s, %(host)s, clawd_now() + %(ttl)s)
           on conflict (name) do update set
             epoch = duty.epoch + (duty.host <> excluded.host)::int,
             host = excluded.host, until = excluded.until
           where duty.host = excluded.host or duty.until < clawd_now()
           returning epoch""",
        {"name": name, "host": host, "ttl": ttl},
    ).fetchone()
    return None if row is None else int(row["epoch"])


AGENTS = "account"  # the key of the pause under which no agent starts and landings go on


def pause(db: Db, scope: str, key: str, reason: str, by: str, until: datetime | None) -> None:
    """No claims and no landings in this scope until it is resumed."""
    db.execute(
        """insert into pause (scope, key, reason, by, until) values (%s, %s, %s, %s, %s)
           on conflict (scope, key) do update set reason = excluded.reason, by = excluded.by,
             until = excluded.until, at = clawd_now()""",
        (scope, key, reason, by, until),
    )


def resume(db: Db, scope: str, key: str) -> bool:
    """Lifts a pause; False when there was none."""
    return db.execute("delete from pause where (scope, key) = (%s, %s)", (scope, key)).rowcount > 0


def on_trial(db: Db) -> bool:
    """Whether a pause of all agents is over by time and no run has got through since."""
    found = db.execute(
        "select from pause where (scope, key) = ('all', %s) and until <= clawd_now()", (AGENTS,)
    )
    return found.fetchone() is not None


def end_trial(db: Db) -> None:
    """A run got through: the others need not wait any longer."""
    db.execute("delete from pause where (scope, key) = ('all', %s) and until <= clawd_now()",
               (AGENTS,))  # fmt: skip


def pauses(db: Db) -> list[dict[str, Any]]:
    """Every pause in force; one whose time is over is no pause."""
    return db.execute(
        """select scope, key, until, reason, by, at from pause
           where until is null or until > clawd_now() order by scope, key"""
    ).fetchall()
