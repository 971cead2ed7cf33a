"""Processes are named by pid and start time and found by their run's marker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest

from clawd.adapters import process


@pytest.fixture(params=["proc", "psutil"])
def marker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "psutil":
        monkeypatch.setattr(process, "_ON_LINUX", False)
    elif sys.platform != "linux":
        pytest.skip("no /proc here")
    name = f"test-{uuid.uuid4().hex}"
    yield name
    process.kill_marked(name)


def sleeper(marker: str, code: str = "import time; time.sleep(60)") -> subprocess.Popen[bytes]:
    started = subprocess.Popen([sys.executable, "-I", "-S", "-c", code], env={"CLAWD_RUN": marker})
    deadline = time.monotonic() + 10
    while started.pid not in process.find_marked(marker):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return started


def test_a_process_is_named_by_pid_and_start_time(marker: str) -> None:
    child = sleeper(marker)
    who = process.identity(child.pid)
    assert who is not None
    assert process.alive(who.pid, who.start_time)
    assert not process.alive(who.pid, who.start_time + 1), "another process with the same pid"
    assert process.alive(who.pid, 0), "an unknown start time falls back to the pid"
    child.kill()
    time.sleep(0.05)
    assert not process.alive(who.pid, who.start_time), "a zombie is not alive"
    child.wait()
    assert process.identity(who.pid) is None
    assert process.signal_process(who, signal.SIGTERM) is False


def test_marked_processes_are_found_by_prefix_and_killed_by_the_whole_marker(marker: str) -> None:
    first, second = sleeper(f"{marker}-1"), sleeper(f"{marker}-12")
    found = process.find_marked(marker)
    assert found == {first.pid: f"{marker}-1", second.pid: f"{marker}-12"}
    assert process.kill_marked(f"{marker}-1") == 1
    assert first.wait(5) == -signal.SIGKILL
    assert second.poll() is None, "run 12 is not run 1"
    assert process.kill_marked(f"{marker}-12") == 1
    second.wait(5)


def test_a_daemonised_child_is_found_by_the_marker_it_inherited(marker: str) -> None:
    code = "import os,time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
    env = {"CLAWD_RUN": marker}
    command = [sys.executable, "-I", "-S", "-c", code + "time.sleep(60)"]
    subprocess.run(command, env=env, check=True, timeout=10)
    assert process.kill_marked(marker) >= 1
    assert process.find_marked(marker) == {}


def test_nobody_is_killed_for_an_empty_marker_and_never_oneself() -> None:
    with pytest.raises(ValueError, match="empty marker"):
        process.kill_marked("")
    assert os.getpid() not in process.find_marked()
