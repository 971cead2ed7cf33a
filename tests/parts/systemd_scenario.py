"""A service's whole life under a real systemd user manager; run by test_service_systemd.py.

It needs namespaces of its own: `unshare --mount --pid --fork --mount-proc`. There it makes /run
its own, starts the manager, and everything it leaves behind ends with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from clawd import daemon, service
from clawd.adapters import process, server
from clawd.running import launch
from clawd.running.records import Alive, Launch, Limits

NOT_HERE = 77
PATIENCE = threading.Event()


def wait(condition: Callable[[], object], limit_s: float = 30) -> None:
    begun = monotonic()
    while not condition():
        assert monotonic() - begun < limit_s, "it took too long"
        PATIENCE.wait(0.1)


def not_here(why: str) -> None:
    print(why)
    sys.exit(NOT_HERE)


def start_manager(folder: Path) -> None:
    """A user manager as a login would start it, in this namespace only."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, check=False
    )
    if mounted.returncode:
        not_here("no right to mount in a namespace of one's own")
    runtime = Path("/run/user/test")
    for place in (Path("/run/systemd/system"), runtime):
        place.mkdir(parents=True)
    runtime.chmod(0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    with (folder / "manager.log").open("wb") as log:
        subprocess.Popen(
            ["/lib/systemd/systemd", "--user"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    begun = monotonic()
    while not (runtime / "systemd" / "private").exists():
        if monotonic() - begun > 10:
            not_here("systemd --user does not start here: " + (folder / "manager.log").read_text())
        PATIENCE.wait(0.1)


def unit(name: str, what: str) -> str:
    asked = ["systemctl", "--user", "show", "--value", f"--property={what}", name]
    return subprocess.run(
        asked, capture_output=True, text=True, timeout=20, check=False
    ).stdout.strip()


def move_into_unit_of(pid: int, *moved: int) -> None:
    """Where the daemon's own children are: in the control group of its unit."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        bases = ["systemd"] if names == "name=systemd" else ["", "unified"] if not names else []
        for base in bases:
            procs = Path("/sys/fs/cgroup", base, path.lstrip("/"), "cgroup.procs")
            for one in moved if procs.exists() and ".service" in path else ():
                procs.write_text(str(one))


def start_run(home: Path) -> Path:
    """A keeper with a child that works for long."""
    (home / "daemon.beat").touch()
    folder = home / "runs" / "1"
    argv = ["/bin/sleep", "300"]
    launch.start(Launch(folder, "unit-test-run", argv, {}, home, limits=Limits(wall_s=280)))
    return folder


def main(home: Path, folder: Path) -> None:
    start_manager(folder)
    (home / "clawd.yaml").write_text("login: none\nsandbox: none\n")
    print("install")
    found = service.install(home, print)
    assert found.state == "running", found
    assert found.pid == found.daemon == daemon.is_running(home)
    name, database = f"{found.name}.service", f"{found.name}-postgres.service"
    assert unit(name, "StatusText") == f"works in {home}"
    assert unit(database, "ActiveState") == "active"
    postgres = server.status(home).pid
    assert postgres

    print("a restart with a keeper alive in the unit")
    run = start_run(home)
    keeper = launch.look(run)
    assert isinstance(keeper, Alive)
    assert keeper.keeper
    working = process.find_marked("unit-test-run")
    assert working
    move_into_unit_of(found.pid or 0, keeper.keeper.pid, *working)
    assert str(found.pid) in tasks_of(name)
    assert str(keeper.keeper.pid) in tasks_of(name), "the keeper is in the daemon's unit"
    assert service.restart(home)
    again = daemon.is_running(home)
    assert again not in (None, found.pid)
    assert process.find_marked("unit-test-run").keys() >= working.keys()
    assert launch.look(run) == keeper
    assert server.status(home).pid == postgres

    print("kill -9: it comes back by itself, and so does its database")
    os.kill(again or 0, signal.SIGKILL)
    wait(lambda: daemon.is_running(home) not in (None, again))
    assert launch.look(run) == keeper
    assert server.status(home).pid == postgres
    os.kill(postgres, signal.SIGKILL)
    wait(lambda: server.status(home).running and server.status(home).pid != postgres)
    wait(lambda: unit(database, "ActiveState") == "active")

    print("down stays down, and up starts the service")
    wait(lambda: unit(name, "ActiveState") == "active")
    assert daemon.stop(home, end_runs=True)
    launch.stop(run, "the test is over")
    assert launch.wait(run, 20, PATIENCE)
    wait(lambda: unit(name, "ActiveState") == "inactive")
    subprocess.run(["systemctl", "--user", "stop", database], check=True, timeout=60)
    assert not server.status(home).running, "SIGINT was Postgres' fast stop"
    log = server.status(home).log
    assert log is not None
    assert "database system is shut down" in log.read_text()
    assert service.status(home).state == "stopped"
    assert service.start(home)
    assert unit(database, "ActiveState") == "active"
    server.stop(home)
    wait(lambda: unit(database, "ActiveState") == "inactive")
    subprocess.run(["systemctl", "--user", "start", database], check=True, timeout=60)

    print("the look from inside")
    rows = {one.name: one for one in service.look_inside(home, probe=False)}
    assert rows["USER"].ok, rows
    assert rows["HOME"].detail == str(folder), rows
    assert unit(f"{found.name}-look.service", "LoadState") == "not-found"

    print("uninstall")
    assert service.uninstall(home, print)
    assert daemon.is_running(home) is None
    assert not list((folder / ".config").rglob("clawd*"))
    assert service.status(home).installed is False


def tasks_of(name: str) -> list[str]:
    """The processes in a unit, as systemctl shows them."""
    shown = subprocess.run(
        ["systemctl", "--user", "status", "--no-pager", "-n", "0", name],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    return [word.lstrip("├─└") for word in shown.stdout.split()]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
