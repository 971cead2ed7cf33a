"""What clawd keeps: the daemon, its database, its projects and their hubs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from clawd import config as configuration
from clawd import daemon, service
from clawd.adapters import postgres, server
from clawd.adapters.git import operator
from clawd.adapters.git.bare import Bare
from clawd.adapters.git.command import GitError
from clawd.config import Config, ProjectSettings
from clawd.doctor.finding import Finding
from clawd.errors import ClawdError
from clawd.model import Project
from clawd.setup.mainline import remedies
from clawd.store import projects, schema
from clawd.store.rows import Db

BEAT_LIMIT_S = 60.0
_FSCK_LIMIT_S = 20.0


def daemon_works(home: Path) -> Iterator[Finding]:
    """Whether a daemon holds this home, and whether it is alive and not only there."""
    pid = daemon.is_running(home)
    if pid is None:
        words = daemon.last_words(home)
        if words.exists():
            said = words.read_text("utf-8", "replace").strip()
            yield Finding("daemon", False, said, "See logs/clawd.log, then clawd up")
        else:
            yield Finding("daemon", None, "it does not run", "Start it: clawd up")
        return
    try:
        age_s = time.time() - (home / "daemon.beat").stat().st_mtime
    except FileNotFoundError:
        age_s = 0.0  # it has only just begun
    if age_s > BEAT_LIMIT_S:
        detail = f"process {pid} holds {home}, but its last beat is {age_s:.0f} s old"
        yield Finding("daemon", False, detail, f"clawd restart; else kill -9 {pid} and clawd up")
    else:
        yield Finding("daemon", True, f"process {pid} works, last beat {age_s:.0f} s ago")


def service_of(home: Path) -> Iterator[Finding]:
    """Whether it comes back by itself after a crash or a login."""
    if not home.is_dir():
        return
    found = service.status(home)
    if not found.installed:
        advice = found.advice[0] if found.advice else "Make it a service: clawd service install"
        yield Finding("service", None, "clawd is none: it ends with this login or a crash", advice)
    elif found.advice:
        yield Finding("service", False, f"{found.name} is {found.state}", " ".join(found.advice))
    else:
        yield Finding("service", True, f"{found.name} is {found.state}")


def freeze(home: Path) -> Iterator[Finding]:
    """A kill switch that is still on explains why nothing happens."""
    if (home / "freeze").exists():
        yield Finding("kill switch", False, "it is on: no agent may run", "Lift it: clawd resume")


def database(home: Path) -> Iterator[Finding]:
    """Whether it runs, which version it is, and whether its tables are this clawd's."""
    if configuration.database_url(os.environ) is None:
        status = server.status(home) if home.is_dir() else None
        if status is None or status.data is None or not status.data.exists():
            yield Finding("database", None, "there is none yet", "Make it: clawd init PATH")
            return
        if not status.running:
            yield Finding("database", None, f"it rests ({status.data})", "Start it: clawd up")
            return
    try:
        with _connected(home) as db:
            yield _version(home, db)
            yield _schema(db)
    except psycopg.Error as error:
        known = postgres.explain(error)
        yield Finding("database", False, known.message, known.remedy or "Look at its log.")


@contextmanager
def _connected(home: Path) -> Iterator[Db]:
    """A connection to what runs already; nothing is started."""
    conninfo = postgres.resolve(home, os.environ, start=False)
    db = postgres.connect(conninfo, application_name="clawd doctor")
    try:
        yield db
    finally:
        db.close()


def _version(home: Path, db: Db) -> Finding:
    version = db.info.server_version
    number = f"{version // 10_000}.{version % 10_000}"
    if configuration.database_url(os.environ):
        where = f"{postgres.URL_VARIABLE} at {db.info.host}"
    else:
        found = server.status(home)
        where = f"process {found.pid}, {found.data}"
    return Finding("database", True, f"PostgreSQL {number}, {where}")


def _schema(db: Db) -> Finding:
    there = db.execute("select to_regclass('schema_migration') is not null as there").fetchone()
    if not there or not there["there"]:
        return Finding("schema", None, "no tables yet", "They are made by: clawd init PATH")
    row = db.execute("select max(version) as version from schema_migration").fetchone()
    found = int(row["version"] or 0) if row else 0
    ours = max((step.version for step in schema.migrations()), default=0)
    if found > ours:
        detail = f"version {found}, written by a newer clawd (this one knows {ours})"
        return Finding("schema", False, detail, "Install the newer clawd, or use another home.")
    if found < ours:
        return Finding(
            "schema", None, f"version {found} of {ours}", "clawd up brings it up to date."
        )
    return Finding("schema", True, f"version {found}, this clawd's")


def projects_of(home: Path, config: Config) -> Iterator[Finding]:
    """Each project: its repository, its main, its roadmap, its hub."""
    if not config.projects:
        yield Finding("projects", None, "there are none yet", "Add one: clawd init PATH")
    rows = _rows(home)
    for slug, chosen in config.projects.items():
        try:
            yield _repository(slug, chosen)
        except ClawdError as error:
            remedy = error.remedy or f"Look at projects.{slug} in clawd.yaml."
            yield Finding(f"repository of {slug}", False, error.message, remedy)
        if slug in rows:
            yield from _main(rows[slug])
        yield from _hub(home, slug)


def _rows(home: Path) -> dict[str, Project]:
    try:
        with _connected(home) as db:
            return {row.slug: row for row in projects.active(db)}
    except (ClawdError, psycopg.Error):
        return {}


def _repository(slug: str, chosen: ProjectSettings) -> Finding:
    name = f"repository of {slug}"
    found = operator.inspect(Path(chosen.path).expanduser())
    branch = chosen.branch or found.require_branch()[0]
    if (
        Bare(found.git_dir)
        .git(
            ["rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"],
            ok=(0, 1),
            foreign_owner=True,
        )
        .rc
    ):
        remedy = f"Set projects.{slug}.branch in clawd.yaml, or make that branch."
        return Finding(name, False, f"{found.path} has no branch {branch!r}", remedy)
    if found.dirty:
        detail = f"{found.path}, branch {branch}; the checkout has changes"
        return Finding(name, None, detail, "Commit or stash them, so that it can follow landings.")
    return Finding(name, True, f"{found.path}, branch {branch}")


def _main(row: Project) -> Iterator[Finding]:
    name, verdict = f"main of {row.slug}", row.baseline_verdict
    again = f"clawd init {row.path}"
    if verdict == "green":
        yield Finding(name, True, f"green: {row.test_cmd}")
    elif verdict == "unknown":
        yield Finding(name, None, "not tested yet", f"It is by: {again}")
    elif verdict == "no_command":
        remedy = f"Set projects.{row.slug}.test in clawd.yaml, then `clawd restart`."
        yield Finding(name, False, "no test command, so nothing lands", remedy)
    elif verdict == "setup_failed":
        detail = f"the set-up failed: {_last_line(row.baseline_log)}"
        remedy = f"Set projects.{row.slug}.setup in clawd.yaml right, then {again}"
        yield Finding(name, False, detail, remedy)
    else:
        detail = f"{verdict}: {_last_line(row.baseline_log)}"
        yield Finding(name, False, detail, remedies(row.slug))
    if row.roadmap_problem:
        remedy = "Mend ROADMAP.md; the last good plan stays in force."
        yield Finding(f"roadmap of {row.slug}", False, row.roadmap_problem, remedy)
    if row.landings_held:
        remedy = "Merge clawd's branch into yours by hand; see clawd inbox."
        yield Finding(f"landings of {row.slug}", False, f"held: {row.landings_held}", remedy)


def _hub(home: Path, slug: str) -> Iterator[Finding]:
    """A quick look for missing objects; a long one has its own deadline and is no fault."""
    path, name = home / "hubs" / f"{slug}.git", f"hub of {slug}"
    if not (path / "HEAD").exists():
        yield Finding(name, None, "not made yet", "The first start makes it: clawd up")
        return
    try:
        Bare(path).git(["fsck", "--connectivity-only", "--no-dangling", "--no-progress"],
                       timeout_s=_FSCK_LIMIT_S)  # fmt: skip
    except GitError as error:
        if "did not finish" in error.message:
            remedy = f"Look yourself: git --git-dir={path} fsck"
            yield Finding(name, None, f"too large for a quick look ({path})", remedy)
            return
        remedy = f"Stop clawd and restore {path}; your repository has what landed, under clawd/."
        yield Finding(name, False, error.message, remedy)
        return
    warm = len(list((home / "warm" / slug).glob("slot-*")))
    yield Finding(name, True, f"whole; {warm} workspaces ready")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no output"
