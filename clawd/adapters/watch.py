"""Tells when a file's content changed: by events of its folder, and by its hash as a net.

Editors save by replacing the file, so the folder is watched, not the file. Events only ever lead
to a comparison of hashes; a lost event is found by `poll()`, a superfluous one costs one read.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from clawd.adapters.regular import read_regular

_LOG = logging.getLogger("clawd")
_STOP_WAIT_S = 5.0
_LOOK_S = 60.0
_READ_LIMIT_BYTES = 64 << 20
# Opening and reading a file are events too: acting on them would answer our own reads for ever.
_ACTED_ON = frozenset({"created", "modified", "moved", "deleted", "closed"})


class RoadmapWatch:
    """Calls `on_change()` once after the content of any of the files has changed and settled.

    It watches from the start; a folder that is not there yet is picked up by `poll()`.
    `trouble` says why only polling is left, empty while events arrive. The callback runs on a
    thread of this class or on the one that calls `poll()`, never on two at once.
    """

    def __init__(
        self, paths: Path | Iterable[Path], on_change: Callable[[], None], debounce_s: float = 0.5
    ) -> None:
        given = [paths] if isinstance(paths, Path) else list(paths)
        self._paths = tuple(path.absolute() for path in given)
        self._on_change = on_change
        self._debounce_s = debounce_s
        self._stopped = threading.Event()
        self._stirred = threading.Event()
        self._compare = threading.Lock()
        self._observing = threading.Lock()
        self._observer: BaseObserver | None = None
        self._folders: dict[Path, int] = {}
        self._thread = threading.Thread(target=self._settle, name="roadmap-watch", daemon=True)
        self._seen = self._digests()
        self.trouble = ""
        self._thread.start()
        self._observe()
        self._check()  # a save while the watch was being set up left no event

    def poll(self) -> bool:
        """Compares the hashes now, whatever the events said; whether something had changed."""
        if self._stopped.is_set():
            return False
        if self._folders != self._present():
            self._observe()
        return self._check()

    def stop(self) -> None:
        """Ends the threads; no callback begins after it returned."""
        self._stopped.set()
        self._stirred.set()
        with self._observing:
            self._drop_observer()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_STOP_WAIT_S)

    def stir(self, event: FileSystemEvent) -> None:
        """Notes an event that may concern one of the files."""
        if event.event_type not in _ACTED_ON:
            return
        touched = {Path(str(name)) for name in (event.src_path, event.dest_path) if name}
        folders = {path.parent for path in self._paths}
        if touched & ({*self._paths} | folders):
            self._stirred.set()

    def _settle(self) -> None:
        """Waits for a stir, at most a minute, then for quiet, then compares."""
        while not self._stopped.is_set():
            self._stirred.wait(_LOOK_S)
            while self._stirred.is_set() and not self._stopped.is_set():
                self._stirred.clear()
                self._stopped.wait(self._debounce_s)
            if not self._stopped.is_set():
                self._check()

    def _check(self) -> bool:
        with self._compare:
            found = self._digests()
            if found == self._seen or self._stopped.is_set():
                return False
            self._seen = found
            try:
                self._on_change()
            except Exception:
                _LOG.exception("roadmap watch callback failed", extra={"action": "watch"})
            return True

    def _digests(self) -> tuple[str, ...]:
        return tuple(_digest(path) for path in self._paths)

    def _present(self) -> dict[Path, int]:
        """The folders that exist, with their inode: a re-made folder needs a new watch."""
        found = {}
        for folder in {path.parent for path in self._paths}:
            try:
                found[folder] = folder.stat().st_ino
            except OSError:
                continue
        return found

    def _observe(self) -> None:
        """Watches every folder that exists; without events, says so once and polls on."""
        with self._observing:
            self._drop_observer()
            if self._stopped.is_set():
                return
            present = self._present()
            observer = Observer()
            handler = _Handler(self)
            try:
                for folder in present:
                    observer.schedule(handler, str(folder), recursive=False)
                observer.start()
            except (OSError, RuntimeError) as error:
                self._say_trouble(str(error))
                _end(observer)
                return
            self._observer, self._folders, self.trouble = observer, present, ""

    def _drop_observer(self) -> None:
        observer, self._observer, self._folders = self._observer, None, {}
        if observer is not None:
            _end(observer)

    def _say_trouble(self, why: str) -> None:
        if not self.trouble:
            _LOG.warning(
                "no file events (%s); ROADMAP.md is only polled", why, extra={"action": "watch"}
            )
        self.trouble = why


class _Handler(FileSystemEventHandler):
    def __init__(self, watch: RoadmapWatch) -> None:
        self._watch = watch

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._watch.stir(event)


def _end(observer: BaseObserver) -> None:
    try:
        observer.stop()
        if observer.is_alive():
            observer.join(_STOP_WAIT_S)
    except (OSError, RuntimeError, KeyError) as error:
        _LOG.debug("file watch did not end cleanly: %s", error)


def _digest(path: Path) -> str:
    """The hash of the content; empty when there is no readable file."""
    try:
        return hashlib.sha256(read_regular(path, _READ_LIMIT_BYTES)).hexdigest()
    except OSError:
        return ""
