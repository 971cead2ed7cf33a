"""The commands log and diff."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clawd.cli import show
from clawd.cli.session import Session, open_db
from clawd.cli.verbs import ID, verb
from clawd.errors import ClawdError, Refused

if TYPE_CHECKING:
    from clawd.model import Candidate, Run
    from clawd.store.rows import Db

_LINE_LIMIT_BYTES = 8 << 20
_SHOWN_INPUTS = ("command", "file_path", "pattern", "path", "url", "description")
_DIFF_LIMIT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Said:
    """One thing an agent said or did."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Log:
    """What a run said and did."""

    run: int
    task: int | None
    role: str
    state: str
    reason: str
    detail: str
    folder: str
    events: list[Said]


@dataclass(frozen=True, slots=True)
class Diff:
    """What a candidate changed."""

    task: int
    candidate: int
    run: int
    base_oid: str
    oid: str
    stat: dict[str, Any]
    patch: str


@verb("log", "clawd log 12", "clawd log 12 --follow", "clawd log --run 31 --json", shape=Log)
@click.argument("task", type=ID, metavar="[ID]", required=False)
@click.option("--run", type=ID, metavar="RUN", help="This run instead of the task's newest.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--full", is_flag=True, help="Whole texts instead of their first lines.")
@click.pass_obj
def log_command(
    session: Session, task: int | None, run: int | None, follow: bool, full: bool, as_json: bool
) -> None:
    """What an agent said and did: the newest run of task ID, or --run RUN.

    With --follow and --json each event is a line of its own.
    """
    if (task is None) == (run is None):
        raise click.UsageError("Name a task, or a run with --run.")
    with open_db(session) as db:
        found = _find_run(db, task, run)
    folder = Path(found.folder or session.home / "runs" / str(found.id))
    stream = folder / "stream.jsonl"
    if follow:
        for said in _follow(stream, folder / "result.json"):
            _print(said, full, as_json)
        return
    events = [said for raw in _lines(stream) for said in read_event(raw)]
    if as_json:
        show.as_json(Log(found.id, found.task, found.role, str(found.state), found.reason,
                         found.detail, str(folder), events))  # fmt: skip
        return
    reason = f": {found.reason} {found.detail}" if found.reason else ""
    show.heading(f"run {found.id}  {found.role}  {found.state}{show.one_line(reason)}")
    for said in events:
        _print(said, full, as_json)
    show.line(f"all of it: {folder}")


@verb("diff", "clawd diff 12", "clawd diff 12 | git apply --check", shape=Diff)
@click.argument("task", type=ID, metavar="ID")
@click.option("--run", type=ID, metavar="RUN", help="The candidate of this run, not the newest.")
@click.pass_obj
def diff_command(session: Session, task: int, run: int | None, as_json: bool) -> None:
    """What task ID changed: its candidate against the base it was made from."""
    with open_db(session) as db:
        slug, candidate = _find_candidate(db, task, run)
    from clawd.adapters.git import merge  # noqa: PLC0415 - git only here
    from clawd.adapters.git.bare import Bare  # noqa: PLC0415

    path = session.home / "hubs" / f"{slug}.git"
    if not path.is_dir():
        raise Refused(f"The commits of {slug} are not in {path}.", "Ask on the project's own host.")
    hub = Bare(path)
    patch = merge.patch_text(hub, candidate.base_oid, candidate.oid, _DIFF_LIMIT_BYTES)
    if as_json:
        show.as_json(Diff(task, candidate.id, candidate.run, candidate.base_oid, candidate.oid,
                          candidate.stat, patch))  # fmt: skip
        return
    if not sys.stdout.isatty():
        sys.stdout.write(patch)  # exact, for git apply
        return
    for row in patch.splitlines():
        show.line(_coloured(show.clean(row)))


def read_event(raw: bytes) -> Iterator[Said]:
    """What a line of the stream says to a person; most lines say nothing."""
    try:
        event = json.loads(raw)
    except ValueError:
        yield Said("noise", raw.decode("utf-8", "replace")[:2000])
        return
    if not isinstance(event, dict):
        return
    kind = event.get("type")
    if kind == "system" and event.get("subtype") == "init":
        yield Said("started", f"{event.get('model', '')} session {event.get('session_id', '')}")
    elif kind == "system" and event.get("subtype") == "api_retry":
        yield Said("retry", f"{event.get('error', '')}, attempt {event.get('attempt', '')}")
    elif kind in ("assistant", "user"):
        yield from _blocks(event.get("message"))
    elif kind == "rate_limit_event":
        info = event.get("rate_limit_info")
        if isinstance(info, dict) and info.get("status") != "allowed":
            yield Said("limit", f"{info.get('rateLimitType', '')}: {info.get('status', '')}")
    elif kind == "result":
        cost = event.get("total_cost_usd")
        price = f", ${cost:.4f}" if isinstance(cost, int | float) else ""
        yield Said("ended", f"{event.get('subtype', '')}{price}: {event.get('result') or ''}")


def _blocks(message: Any) -> Iterator[Said]:
    content = message.get("content") if isinstance(message, dict) else None
    for block in content if isinstance(content, list) else []:
        if not isinstance(block, dict):
            continue
        if block.get("type") == "text" and str(block.get("text", "")).strip():
            yield Said("says", str(block["text"]).strip())
        elif block.get("type") == "tool_use":
            asked = block.get("input")
            given: dict[str, Any] = asked if isinstance(asked, dict) else {}
            shown = next((str(given[key]) for key in _SHOWN_INPUTS if given.get(key)), "")
            yield Said("does", f"{block.get('name', '')} {shown}".strip())
        elif block.get("type") == "tool_result":
            text = _result_text(block.get("content"))
            yield Said("failed" if block.get("is_error") else "sees", text)


def _result_text(content: Any) -> str:
    if isinstance(content, str):
        return content.strip()
    parts = content if isinstance(content, list) else []
    return "\n".join(str(p.get("text", "")) for p in parts if isinstance(p, dict)).strip()


def _print(said: Said, full: bool, as_json: bool) -> None:
    if as_json:
        show.line(json.dumps(show.plain(said), ensure_ascii=False))
        return
    rows = show.clean(said.text).splitlines() or [""]
    shown = rows if full else rows[:6]
    show.line(f"{said.kind:>8}  {shown[0] if full else shown[0][:200]}")
    for row in shown[1:]:
        show.line(f"{'':>8}  {row if full else row[:200]}")
    if len(rows) > len(shown):
        show.line(f"{'':>8}  ... {len(rows) - len(shown)} more lines (--full)")


def _lines(stream: Path) -> Iterator[bytes]:
    try:
        with stream.open("rb") as file:
            while line := file.readline(_LINE_LIMIT_BYTES):
                if line.strip():
                    yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise ClawdError(f"{stream} cannot be read: {error.strerror}.") from None


def _follow(stream: Path, result: Path) -> Iterator[Said]:
    """Events as they come, until the run has its result and the file has no more."""
    pause, offset, rest = threading.Event(), 0, b""
    while True:
        ended = result.exists()
        piece = b""
        if stream.exists():
            with stream.open("rb") as file:
                file.seek(offset)
                piece = file.read(_LINE_LIMIT_BYTES)
        offset += len(piece)
        *complete, rest = (rest + piece).split(b"\n")
        for raw in complete:
            if raw.strip():
                yield from read_event(raw)
        if piece:
            continue
        if ended:
            return
        pause.wait(0.3)


def _find_run(db: Db, task: int | None, run: int | None) -> Run:
    from clawd.store import moves, runs, tasks  # noqa: PLC0415

    if run is not None:
        found = runs.by_id(db, run)
        if found is None:
            raise moves.Missing(f"There is no run {run}.", "See them: clawd task show ID")
        return found
    assert task is not None  # noqa: S101 - the caller checked
    if tasks.by_id(db, task) is None:
        raise moves.Missing(f"There is no task {task}.", "See them: clawd task list --all")
    all_runs = runs.of_task(db, task)
    if not all_runs:
        raise Refused(f"Nobody has worked on task {task} yet.", "See: clawd queue")
    return all_runs[-1]


def _find_candidate(db: Db, task: int, run: int | None) -> tuple[str, Candidate]:
    from clawd.store import moves, projects, runs, tasks  # noqa: PLC0415

    found = tasks.by_id(db, task)
    if found is None:
        raise moves.Missing(f"There is no task {task}.", "See them: clawd task list --all")
    candidates = [c for c in runs.candidates(db, task) if run is None or c.run == run]
    if not candidates:
        raise Refused(f"Task {task} has no candidate yet.", f"Look at clawd log {task}")
    project = projects.by_id(db, found.project)
    assert project is not None  # noqa: S101 - a foreign key holds it
    return project.slug, candidates[-1]


def _coloured(row: str) -> str:
    if not show.is_rich():
        return row
    colour = {"+": "32", "-": "31", "@": "36"}.get(row[:1])
    return f"\x1b[{colour}m{row}\x1b[0m" if colour else row
