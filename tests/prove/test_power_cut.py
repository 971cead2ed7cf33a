"""Everything dies in one moment, as when the machine loses its power: all of it is found again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import psutil
import pytest

from clawd.adapters import process, server
from tests.prove import ground
from tests.prove.soak import calm
from tests.whole.line import FILES, Line, open_line, wait_for

pytestmark = pytest.mark.prove


def _cut_power(line: Line, found: Popen[bytes]) -> None:
    postmaster = server.status(line.home).pid
    assert postmaster
    backends = [each.pid for each in psutil.Process(postmaster).children(recursive=True)]
    everything = [found.pid, *ground.keepers(line), *process.find_marked(line.desk.mark)]
    for pid in [postmaster, *backends, *everything]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    found.wait(10)


def test_after_a_power_cut_everything_is_found_again(
    home: Path, make_repo: Callable[..., Path]
) -> None:
    own = server.ensure_running(home)
    try:
        with open_line(home, own.conninfo, {"sample": make_repo(FILES)}) as line:
            made = [line.add(f"Cut off {n}", "[behave: sleep 2 first 1]") for n in range(3)]
            first = ground.start(line, CLAWD_DATABASE_URL="")
            try:
                wait_for(lambda: len(ground.keepers(line)) == 3, 60)
                _cut_power(line, first)
            finally:
                ground.end(line, first)
            with ground.running(line, CLAWD_DATABASE_URL=""):
                done = wait_for(lambda: calm(_all_done, line, made), 90, ground.said(line))
            assert done
            assert {line.task(task).tries for task in made} == {0}
            assert ground.violations(line) == []
    finally:
        server.discard(home)


def _all_done(line: Line, made: list[int]) -> bool:
    ground.spare_waits(line)
    return all(line.task(task).state == "done" for task in made)
