"""Starts, finds, stops and awaits runs: the daemon's side of the keeper.

A run is its folder. What is true about it is read from there each time, so that a daemon that was
just started knows as much as the one that started the run.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import Any

from clawd.adapters import cage, process
from clawd.errors import ClawdError, Refused
from clawd.running.records import (
    Alive,
    CommandResult,
    Ended,
    Launch,
    Limits,
    Lost,
    Missing,
    Result,
    Secret,
    Why,
)

__all__ = [
    "Alive",
    "CommandResult",
    "Ended",
    "Launch",
    "Limits",
    "Lost",
    "Missing",
    "Result",
    "Secret",
    "Why",
    "look",
    "run_command",
    "start",
    "stop",
    "sweep",
    "tail",
    "wait",
]

KEEPER = Path(__file__).with_name("keeper.py")
START_DEADLINE_S = 15.0
LONGEST_COMMAND_CHARS = 100_000  # one argument of exec holds 128 KiB


def start(launch: Launch) -> None:
    """Write the folder and spawn the keeper; returns when it holds the run."""
    folder = launch.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    lock = _take_lock(folder)
    try:
        if (folder / "spec.json").exists():
            raise Refused(f"The run folder {folder.name} was used before.")
        _write(folder / "prompt.md", launch.stdin_text)
        _write(folder / "spec.json", json.dumps(_spec(launch), default=str))
        _spawn_keeper(folder, lock)
    finally:
        os.close(lock)


def look(folder: Path) -> Alive | Ended | Lost | Missing:
    """What is true about this run now: result, else lock and identity, else lost."""
    result = _read_result(folder)
    if result is not None:
        return Ended(result)
    if not (folder / "lock").exists():
        return Lost(_marker(folder)) if (folder / "spec.json").exists() else Missing()
    if _lock_held(folder):
        known = _read_json(folder / "keeper.json")
        if known is None:
            return Alive(None)
        if process.alive(known["pid"], known["start_time"]):
            return Alive(process.Identity(known["pid"], known["start_time"]))
    result = _read_result(folder)  # it may have ended between the two looks
    if result is not None:
        return Ended(result)
    return Lost(_marker(folder)) if (folder / "spec.json").exists() else Missing()


def stop(folder: Path, reason: str) -> None:
    """Ask the keeper to end the run; it polls for the reason, the signal only makes it prompt."""
    _write(folder / "stop", reason[:2000])
    state = look(folder)
    if isinstance(state, Alive) and state.keeper is not None:
        process.signal_process(state.keeper, signal.SIGTERM)


def wait(folder: Path, timeout_s: float, stop: threading.Event) -> Result | None:
    """The run's result; None when the time is over or `stop` is set and it still runs."""
    deadline = monotonic() + timeout_s
    pause_s = 0.005
    while True:
        state = look(folder)
        if isinstance(state, Ended):
            return state.result
        if isinstance(state, Lost):
            return _lost(state)
        if isinstance(state, Missing):
            raise ClawdError(f"There is no run in {folder}.", "It was never started.")
        left_s = deadline - monotonic()
        if left_s <= 0 or stop.is_set():
            return None
        if not _wait_for_exit(state.keeper, min(left_s, 0.1), stop):
            stop.wait(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, 0.02)


def sweep(marker: str) -> int:
    """Kill whatever a run left behind; how many processes that were."""
    return process.kill_marked(marker)


def run_command(
    command: str,
    launch: Launch,
    stop_event: threading.Event,
    tail_bytes: int = 16_384,
) -> CommandResult:
    """Run a shell command to its end in the launch's cage; its argv is replaced.

    A set event ends the command too: nobody would read what it says.
    """
    if len(command) > LONGEST_COMMAND_CHARS:
        raise Refused("The command is too long to run.", "Put it into a script of the project.")
    start(replace(launch, argv=["/bin/sh", "-c", command], stderr_to_stream=True))
    timeout_s = (launch.limits.wall_s or 86_400) + launch.grace_s + 30
    result = wait(launch.folder, timeout_s, stop_event)
    if result is None:
        stop(launch.folder, "the daemon is stopping" if stop_event.is_set() else "out of time")
        result = wait(launch.folder, launch.grace_s + 10, threading.Event())
    if result is None:
        raise ClawdError(f"The command in {launch.folder.name} did not end.", "See `clawd doctor`.")
    return CommandResult(result, tail(launch.folder / "stream.jsonl", tail_bytes))


def tail(path: Path, limit_bytes: int) -> str:
    """The end of a file as text, whatever bytes are in it."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - limit_bytes))
            return file.read(limit_bytes).decode("utf-8", "replace").replace("\0", "\ufffd")
    except OSError:
        return ""


def _spec(launch: Launch) -> dict[str, Any]:
    """The keeper's request, with the command already wrapped."""
    argv, env, cwd = list(launch.argv), dict(launch.env), launch.cwd
    status = launch.cage is not None and cage.has_status()
    if launch.cage is not None:
        env = cage.environment(launch.cage, env)
        argv = cage.wrap(launch.cage, argv, cage.write_etc(launch.folder / "etc"))
        cwd = launch.folder if status else launch.cage.workspace
    else:
        argv = cage.gate(argv)
        env = {"PATH": cage.search_path(), "LANG": "C.UTF-8", **env}
    return {
        "marker": launch.marker,
        "argv": argv,
        "gate": True,
        "cage_status": status,
        "env": env,
        "cwd": str(cwd or launch.folder),
        "stdin": str(launch.folder / "prompt.md"),
        "limits": asdict(launch.limits),
        "prices": {model: dict(price) for model, price in launch.prices.items()},
        "secret": asdict(launch.secret) if launch.secret else None,
        "freeze_file": launch.freeze_file,
        "beat_file": launch.beat_file,
        "no_daemon_s": launch.no_daemon_s,
        "wake_socket": launch.wake_socket,
        "grace_s": launch.grace_s,
        "stderr_to_stream": launch.stderr_to_stream,
    }


def _spawn_keeper(folder: Path, lock: int) -> None:
    """The lock is handed down, so the run is never seen unheld between us and the keeper."""
    heard, said = os.pipe()
    try:
        with (folder / "keeper.err").open("wb") as errors:
            first = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), str(folder), str(lock), str(said)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(lock, said),
                env={"LANG": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        os.close(said)
        said = -1
        ready = select.poll()
        ready.register(heard, select.POLLIN)
        ready.poll(START_DEADLINE_S * 1000)
        os.set_blocking(heard, False)
        try:
            held = os.read(heard, 1) == b"1"
        except BlockingIOError:
            held = False
        with contextlib.suppress(subprocess.TimeoutExpired):
            first.wait(timeout=5)  # it forks the keeper proper and leaves
    finally:
        os.close(heard)
        if said != -1:
            os.close(said)
    if not held:
        text = tail(folder / "keeper.err", 2000).strip().splitlines()
        raise ClawdError(
            f"The run's keeper did not start: {text[-1] if text else 'no word from it'}",
            "Run `clawd doctor`.",
        )


def _take_lock(folder: Path) -> int:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise Refused(f"The run in {folder.name} is already held.") from None
    return lock


def _lock_held(folder: Path) -> bool:
    """Tried shared, so that two who look do not take each other for a keeper."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _wait_for_exit(keeper: process.Identity | None, wait_s: float, stop: threading.Event) -> bool:
    """Sleep until the keeper ends; False where that cannot be asked for."""
    if keeper is None or not hasattr(os, "pidfd_open") or stop.is_set():
        return False
    try:
        handle = os.pidfd_open(keeper.pid)
    except OSError:
        return False
    try:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        ended.poll(wait_s * 1000)
    finally:
        os.close(handle)
    return True


def _lost(state: Lost) -> Result:
    swept = sweep(state.marker) if state.marker else 0
    return Result(
        rc=-1, why=Why.LOST, reason="the keeper died without a result", started=True,
        started_at=0, ended_at=0, wall_ms=0, turns=0, cost_micros=0, swept=swept,
    )  # fmt: skip


def _read_result(folder: Path) -> Result | None:
    found = _read_json(folder / "result.json")
    if found is None:
        return None
    try:
        return Result(**{**found, "why": Why(found["why"])})
    except (KeyError, TypeError, ValueError):
        return None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _marker(folder: Path) -> str:
    spec = _read_json(folder / "spec.json") or {}
    return str(spec.get("marker", ""))


def _write(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".tmp")
    draft.touch(mode=0o600)
    draft.write_text(text, "utf-8", "replace")
    draft.rename(path)
