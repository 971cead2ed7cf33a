"""The one child of a keeper: starts the command in its cage, asks it to end, kills it.

Standard library only, few imports. Descriptors 3 to 6 are a pact with `adapters/cage.py`.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal

from clawd.running.remains import children_of, die_with_parent, read_text, send

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs the keeper 3 ms
    from typing import Any

CHUNK_BYTES = 256 * 1024
GO_FD, READY_FD, STATUS_FD, SECRET_FD = 3, 4, 5, 6


class Command:
    """The run's command and its cage, as our child: start, gate, clean stop, kill."""

    def __init__(self, folder: str, spec: dict[str, Any]) -> None:
        self.folder, self.spec = folder, spec
        self.caged = bool(spec.get("cage_status"))
        self.gated = bool(spec.get("gate"))
        self.code: int | None = None
        self.started = self.ready = False
        self.refused = ""
        self.status = b""
        self.usage: dict[str, int] | None = None
        self.open_fds: dict[str, int] = {}
        self.pid = self.start()

    def start(self) -> int:
        spec = self.spec
        env = dict(spec["env"], CLAWD_RUN=spec["marker"])
        secret = self.secret(env)
        go, ready, status, failed = os.pipe(), os.pipe(), os.pipe(), os.pipe()
        handed = {0: self.stdin(), 1: self.output("stream.jsonl"), 2: self.output("stderr.txt")}
        if spec.get("stderr_to_stream"):
            handed[2] = handed[1]
        if self.gated:
            handed |= {GO_FD: go[0], READY_FD: ready[1]}
        if self.caged:
            handed[STATUS_FD] = status[1]
        if secret is not None:
            handed[SECRET_FD] = secret
        pid = os.fork()
        if pid == 0:
            self.become(handed, failed[1], env)
        for fd in {*handed.values(), go[0], ready[1], status[1], failed[1]}:
            os.close(fd)
        self.open_fds = {"go": go[1], "ready": ready[0], "status": status[0]}
        refused = os.read(failed[0], 500)
        os.close(failed[0])
        self.refused = refused.decode("utf-8", "replace")
        self.started = not refused and not self.gated
        return pid

    def become(self, handed: dict[int, int], failed: int, env: dict[str, str]) -> None:
        """In the forked child: put the descriptors in place and become the command."""
        try:
            if not self.caged:
                os.setsid()
                die_with_parent()
            failed = fcntl.fcntl(failed, fcntl.F_DUPFD_CLOEXEC, 20)
            clear = {at: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for at, fd in handed.items()}
            for at, fd in clear.items():
                os.dup2(fd, at, inheritable=True)
            os.chdir(self.spec.get("cwd") or "/")
            os.umask(0o022)
            limit_child(self.spec["limits"].get("file_bytes"))
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(self.spec["argv"][0], self.spec["argv"], env)  # noqa: S606 - no shell
        except OSError as error:
            text = f"cannot start {self.spec['argv'][0]}: {os.strerror(error.errno or 0)}"
            os.write(failed, text.encode())
        finally:
            os._exit(127)

    def secret(self, env: dict[str, str]) -> int | None:
        """The login, read now and handed over by descriptor: in no file and no environment."""
        wanted = self.spec.get("secret") or {}
        value = read_secret(wanted["file"], wanted["key"]) if wanted else ""
        if not value:
            return None
        if not wanted.get("fd_variable"):
            env[wanted["fallback_variable"]] = value
            return None
        env[wanted["fd_variable"]] = str(SECRET_FD)
        reader, writer = os.pipe()
        os.write(writer, value.encode())
        os.close(writer)
        return reader

    def stdin(self) -> int:
        """The prompt as an anonymous copy: a caged process could reopen and rewrite the file."""
        path = self.spec.get("stdin")
        if not path:
            return os.open(os.devnull, os.O_RDONLY)
        file = os.open(path, os.O_RDONLY)
        if not hasattr(os, "memfd_create"):
            return file
        copy = os.memfd_create("prompt")
        while chunk := os.read(file, CHUNK_BYTES):
            os.write(copy, chunk)
        os.close(file)
        os.lseek(copy, 0, os.SEEK_SET)
        return copy

    def output(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.open(os.path.join(self.folder, name), flags, 0o600)

    def hear(self, fd: int) -> None:
        """Read the ready or the status pipe; both may come in pieces."""
        name = next(name for name, mine in self.open_fds.items() if mine == fd)
        data = os.read(fd, 4096)
        if name == "status":
            self.status += data[: 4096 - len(self.status)]
        if not data or name == "ready":
            os.close(self.open_fds.pop(name))
        self.ready = name == "ready" and bool(data)

    def go(self) -> None:
        self.started = True
        os.write(self.open_fds["go"], b"go\n")
        os.close(self.open_fds.pop("go"))

    def reap(self) -> None:
        """Collect our child; uncaged orphans come to us too and are collected on the way."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code
                if not self.caged:
                    cpu_ms = int((usage.ru_utime + usage.ru_stime) * 1000)
                    self.usage = {"cpu_ms": cpu_ms, "max_rss_kb": usage.ru_maxrss}

    def terminate(self) -> bool:
        """Ask the command itself to end: TERM to bwrap would only kill the cage around it."""
        pid = self.inner_pid() if self.caged else self.pid
        if not self.started or pid is None:
            return False
        return send(pid, signal.SIGTERM)

    def inner_pid(self) -> int | None:
        """The command inside: the first child of the cage's pid 1."""
        for line in self.status.split(b"\n"):
            try:
                init = int(json.loads(line)["child-pid"])
            except (ValueError, KeyError, TypeError):
                continue
            children = children_of(init)
            return children[0] if children else None
        return None

    def kill(self) -> None:
        if not self.caged:
            with_group = send(-self.pid, signal.SIGKILL)
            if with_group:
                return
        send(self.pid, signal.SIGKILL)


def limit_child(file_bytes: int | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if file_bytes:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        cap = file_bytes if hard == resource.RLIM_INFINITY else min(file_bytes, hard)
        resource.setrlimit(resource.RLIMIT_FSIZE, (cap, cap))
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")  # short of memory, the kernel takes an agent, not the database
    except OSError:
        return


def read_secret(path: str, key: str) -> str:
    """One value of a KEY=VALUE file."""
    for line in read_text(path).splitlines():
        name, found, value = line.strip().removeprefix("export ").partition("=")
        if found and name.strip() == key:
            return value.strip().strip("\"'")
    return ""
