"""Opens a home: database up and migrated, the configuration's agents and projects in it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clawd import config as configuration
from clawd.adapters import postgres, server
from clawd.adapters.git.operator import inspect
from clawd.config import Config
from clawd.model import Role
from clawd.pipeline.desk import Desk
from clawd.store import agents, projects, schema
from clawd.store.rows import Db

Say = Callable[[str], None]
POOL_SIZE = 12


def silent(_line: str) -> None:
    return


@contextmanager
def open_desk(home: Path, *, say: Say = silent) -> Iterator[Desk]:
    """A desk with the database up, migrated, and the configuration's agents and projects in it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = configuration.load(home)
    conninfo = database(home, say)
    with postgres.connect(conninfo, application_name="clawd migrate") as db:
        schema.migrate(db)
        bring_in(db, config)
    pool = postgres.open_pool(conninfo, size=POOL_SIZE)
    try:
        yield Desk(home=home, config=config, host=host_name(), pool=pool)
    finally:
        pool.close()


def database(home: Path, say: Say = silent) -> str:
    """The operator's own Postgres when named, else the embedded one, started."""
    given = configuration.database_url(os.environ)
    if given:
        return given
    return server.ensure_running(home, say=say).conninfo


def host_name() -> str:
    """This machine's name in rows: short, and the same after a restart."""
    return socket.gethostname().split(".")[0] or "host"


def bring_in(db: Db, config: Config) -> None:
    """Agents and projects as the configuration names them; what it drops rests."""
    with db.transaction():
        for role in Role:
            model = config.agents.of(role).model
            for name in config.agents.names_of(role):
                agents.ensure(db, name, role.value, model)
        agents.retire_others(db, [n for role in Role for n in config.agents.names_of(role)])
        projects.retire_others(db, list(config.projects))
        for slug in config.projects:
            bring_in_project(db, config, slug)


def bring_in_project(db: Db, config: Config, slug: str) -> None:
    """One project's row from its settings."""
    chosen = config.project(slug)
    path = Path(chosen.path).expanduser()
    branch = chosen.branch or inspect(path).require_branch()[0]
    projects.save(
        db,
        slug=slug,
        path=str(path),
        main_ref=f"refs/heads/{branch}",
        home_host=host_name(),
        weight=chosen.weight,
        landing=config.landing_of(slug).value,
        test_cmd=chosen.test,
        setup_cmd=chosen.setup,
        settings={
            "setup_key": list(chosen.setup_key),
            "setup_paths": list(chosen.setup_paths),
            "known_red": list(chosen.known_red),
            "max_agents": chosen.max_agents,
            "overlap": chosen.overlap,
            "test_timeout_s": chosen.test_timeout_s,
            "network_for_tests": chosen.network_for_tests,
        },
    )
