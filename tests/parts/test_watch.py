"""The roadmap watch against a real folder: every way editors save, and what breaks watching."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.observers.api import BaseObserver

from clawd.adapters import watch as watching
from clawd.adapters.watch import RoadmapWatch


class Bell:
    """Counts the callbacks and waits for them."""

    def __init__(self) -> None:
        self.count = 0
        self._rung = threading.Condition()

    def ring(self) -> None:
        with self._rung:
            self.count += 1
            self._rung.notify_all()

    def wait_for(self, count: int, timeout_s: float = 10) -> bool:
        with self._rung:
            return self._rung.wait_for(lambda: self.count >= count, timeout_s)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "a project ü"
    folder.mkdir()
    file = folder / "ROADMAP.md"
    file.write_text("- [ ] one\n")
    return file


@pytest.fixture
def watch(file: Path, bell: Bell) -> Iterator[RoadmapWatch]:
    watch = RoadmapWatch(file, bell.ring, debounce_s=0.1)
    yield watch
    watch.stop()


def save_plainly(file: Path, text: str) -> None:
    file.write_text(text)


def save_by_rename(file: Path, text: str) -> None:
    new = file.with_name(".ROADMAP.md.new")
    new.write_text(text)
    new.replace(file)


def save_as_vim_does(file: Path, text: str) -> None:
    backup = file.with_name("ROADMAP.md~")
    file.rename(backup)
    file.write_text(text)
    backup.unlink()


@pytest.mark.parametrize("save", [save_plainly, save_by_rename, save_as_vim_does])
@pytest.mark.usefixtures("watch")
def test_every_way_of_saving_is_seen_every_time(save, file: Path, bell: Bell) -> None:  # type: ignore[no-untyped-def]
    for count in (1, 2, 3):
        save(file, f"- [ ] goal {count}\n")
        assert bell.wait_for(count)
    time.sleep(0.3)
    assert bell.count == 3


@pytest.mark.usefixtures("watch")
def test_a_burst_of_saves_is_one_change(file: Path, bell: Bell) -> None:
    for count in range(20):
        file.write_text(f"- [ ] goal {count}\n")
    assert bell.wait_for(1)
    time.sleep(0.4)
    assert bell.count == 1


@pytest.mark.usefixtures("watch")
def test_saving_the_same_text_is_no_change(file: Path, bell: Bell) -> None:
    file.write_text("- [ ] one\n")
    os.utime(file)
    time.sleep(0.5)
    assert bell.count == 0


@pytest.mark.usefixtures("watch")
def test_other_files_of_the_folder_are_no_change(file: Path, bell: Bell) -> None:
    file.with_name("README.md").write_text("hello")
    time.sleep(0.4)
    assert bell.count == 0


@pytest.mark.usefixtures("watch")
def test_a_removed_file_and_its_return_are_two_changes(file: Path, bell: Bell) -> None:
    file.unlink()
    assert bell.wait_for(1)
    file.write_text("- [ ] one\n")
    assert bell.wait_for(2)


def test_a_folder_that_vanishes_and_comes_back_is_watched_again(
    file: Path, bell: Bell, watch: RoadmapWatch
) -> None:
    shutil.rmtree(file.parent)
    watch.poll()
    assert bell.wait_for(1)
    file.parent.mkdir()
    file.write_text("- [ ] back\n")
    watch.poll()
    assert bell.wait_for(2)
    file.write_text("- [ ] seen by events again\n")
    assert bell.wait_for(3)
    assert watch.trouble == ""


def test_a_folder_replaced_behind_the_watch_is_watched_again(
    file: Path, bell: Bell, watch: RoadmapWatch
) -> None:
    file.parent.rename(file.parent.with_name("old"))
    file.parent.mkdir()
    file.write_text("- [ ] other\n")
    watch.poll()
    assert bell.wait_for(1)
    file.write_text("- [ ] again\n")
    assert bell.wait_for(2)


def test_the_poll_finds_what_no_event_told(
    file: Path, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching.RoadmapWatch, "stir", lambda self, event: None)
    watch = RoadmapWatch(file, bell.ring, debounce_s=0.05)
    try:
        file.write_text("- [ ] two\n")
        time.sleep(0.2)
        assert bell.count == 0
        assert watch.poll()
        assert bell.count == 1
        assert not watch.poll()
    finally:
        watch.stop()


def test_without_file_events_it_polls_and_says_so_once(
    file: Path,
    bell: Bell,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_args: object, **_named: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(BaseObserver, "schedule", refuse)
    watch = RoadmapWatch(file, bell.ring, debounce_s=0.05)
    try:
        assert "limit" in watch.trouble
        file.write_text("- [ ] two\n")
        assert watch.poll()
        watch.poll()
        assert sum("only polled" in line for line in caplog.messages) == 1
        monkeypatch.undo()
        watch.poll()
        assert watch.trouble == ""
        file.write_text("- [ ] three\n")
        assert bell.wait_for(2)
    finally:
        watch.stop()


def test_a_callback_that_fails_does_not_end_the_watch(file: Path) -> None:
    bell = Bell()

    def fail() -> None:
        bell.ring()
        raise ValueError("from the callback")

    watch = RoadmapWatch(file, fail, debounce_s=0.05)
    try:
        for count in (1, 2):
            file.write_text(f"- [ ] {count}\n")
            assert bell.wait_for(count)
    finally:
        watch.stop()


def test_several_files_are_watched_at_once(tmp_path: Path, bell: Bell) -> None:
    files = [tmp_path / name / "ROADMAP.md" for name in ("a", "b")]
    for file in files:
        file.parent.mkdir()
    watch = RoadmapWatch(files, bell.ring, debounce_s=0.05)
    try:
        for count, file in enumerate(files, start=1):
            file.write_text("- [ ] one\n")
            assert bell.wait_for(count)
    finally:
        watch.stop()


def test_nothing_is_called_after_stop_and_no_thread_is_left(file: Path, bell: Bell) -> None:
    before = set(threading.enumerate())
    watch = RoadmapWatch(file, bell.ring, debounce_s=0.05)
    watch.stop()
    file.write_text("- [ ] two\n")
    assert not watch.poll()
    time.sleep(0.2)
    assert bell.count == 0
    assert not [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
    watch.stop()
