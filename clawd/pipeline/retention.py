"""Throws away what nobody needs any more, oldest first, and never what a live task could use."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

from clawd.adapters import dump
from clawd.adapters.git import merge, tree
from clawd.adapters.git.intake import raw_ref, run_ref, salvage_ref
from clawd.errors import ClawdError
from clawd.model import Project
from clawd.pipeline import report
from clawd.pipeline.desk import Desk
from clawd.store import projects, retention

LAYERS_KEPT = 5
GIGABYTE = 1_000_000_000


def care(desk: Desk, conninfo: str) -> None:
    """One round: folders and refs past their days, then whatever is over the disk cap."""
    kept = timedelta(days=desk.config.retention.days)
    with desk.db() as db:
        retention.make_partitions(db)
        cared_for = projects.active(db)
    parts: dict[str, Callable[[], None]] = {
        "folders": lambda: _drop_folders(desk, kept),
        "layers": lambda: _drop_layers(desk),
        "disk cap": lambda: _keep_under_cap(desk),
        "backup": lambda: _back_up(desk, conninfo),
    }
    for project in cared_for:
        parts[f"refs of {project.slug}"] = partial(_drop_refs, desk, project, kept)
    for name, part in parts.items():
        _attempt(desk, name, part)


def _attempt(desk: Desk, name: str, part: Callable[[], None]) -> None:
    """No part of the house-keeping is worth the daemon: it is told, and tried again next round."""
    try:
        part()
    except (ClawdError, OSError) as error:
        desk.failed(f"care: {name}", error)
        with desk.db() as db:
            report.care_failed(db, name, error)


def _drop_folders(desk: Desk, kept: timedelta) -> None:
    with desk.db() as db:
        old_runs = retention.ended_runs(db, desk.host, kept)
        old_tasks = retention.ended_tasks(db, kept)
    for run in old_runs:
        tree.remove(desk.run_folder(run))
    for task in old_tasks:
        tree.remove(desk.home / "tasks" / str(task))


def _drop_refs(desk: Desk, project: Project, kept: timedelta) -> None:
    """Refs of a run go once its task has ended and its work is on main or long forgotten."""
    hub = desk.hub(project)
    with desk.db() as db:
        runs = retention.runs_of_ended_tasks(db, project.id, kept)
    known = hub.refs("refs/clawd")
    for run in runs:
        for name in (raw_ref(run), run_ref(run), salvage_ref(run)):
            if name in known:
                merge.delete_ref(hub, name, known[name])
    hub.tidy()


def _drop_layers(desk: Desk) -> None:
    layers = sorted(_folders(desk.layers), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in layers[LAYERS_KEPT:]:
        tree.remove(old)


def _keep_under_cap(desk: Desk) -> None:
    """Over the cap, ended runs' folders go before their days are over, the oldest first."""
    cap = int(desk.config.retention.disk_gb * GIGABYTE)
    used = sum(_size(desk.home / part) for part in ("runs", "tasks", "layers", "warm"))
    if used <= cap:
        return
    with desk.db() as db:
        spare = retention.ended_runs(db, desk.host, timedelta(0))
    for run in spare:
        folder = desk.run_folder(run)
        size = _size(folder)
        tree.remove(folder)
        used -= size
        if used <= cap:
            return


def _back_up(desk: Desk, conninfo: str) -> None:
    """A dump a day, the last few kept."""
    folder, now = desk.home / "backups", desk.now()
    known = dump.dumps(folder)
    if not known or not known[-1].name.startswith(f"clawd-{now:%Y%m%d}"):
        dump.dump(conninfo, folder, now)
    for old in dump.dumps(folder)[: -desk.config.retention.dumps]:
        old.unlink(missing_ok=True)


def _folders(path: Path) -> list[Path]:
    return [p for p in path.iterdir() if p.is_dir()] if path.is_dir() else []


def _size(path: Path) -> int:
    """What a folder takes on disk; what goes away meanwhile takes nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in (".", *names):
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return total
