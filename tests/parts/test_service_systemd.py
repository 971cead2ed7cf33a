"""The service on Linux: unit files judged by systemd itself, and a whole life under a real one."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawd import service
from clawd.adapters import notify
from clawd.adapters.awake import Awake, command
from clawd.errors import ClawdError, Refused
from clawd.service import database, systemd
from clawd.service.order import Order, order_for
from clawd.service.systemd import Systemd, read_show
from tests.parts.service_ground import SYSTEMCTL, StandIn, stand_in
from tests.parts.systemd_scenario import NOT_HERE

ROOT = Path(__file__).resolve().parents[2]
AWKWARD = 'a folder, ünusual $(x) 100% it\'s "so"'


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setattr(systemd, "BOOTED", tmp_path)
    found = stand_in("systemctl", SYSTEMCTL, tmp_path, monkeypatch)
    loginctl = found.place / "loginctl"
    loginctl.write_text("#!/bin/sh\necho no\n")
    loginctl.chmod(0o755)
    return found


@pytest.fixture
def units(systemctl: StandIn, home: Path) -> Systemd:
    (home / "logs").mkdir()
    return Systemd(order_for(home, os.environ))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
@pytest.mark.parametrize("place", ["plain", AWKWARD])
def test_systemd_itself_finds_nothing_wrong_with_the_units(
    systemctl: StandIn, tmp_path: Path, place: str
) -> None:
    home = tmp_path / place
    (home / "logs").mkdir(parents=True)
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    order = order_for(home, os.environ)
    text = systemd._filled("clawd-probe", order, order.look(probe=True), LIMIT="60")
    found = Systemd(order)
    files = found.units() | {found.file.with_name("look.service"): text}
    for path, unit in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(unit)
    judged = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", *map(str, files)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    ours = [line for line in judged.stderr.splitlines() if "clawd" in line or "look" in line]
    assert (judged.returncode, ours) == (0, []), judged.stderr


def test_the_units_say_what_the_promises_need(units: Systemd) -> None:
    text = units.units()
    ours = text[units.file].splitlines()
    for line in (
        "Type=notify", "KillMode=process", "Restart=on-failure", "StartLimitIntervalSec=0",
        "OOMPolicy=continue", "UMask=0077", "WatchdogSec=120",
    ):  # fmt: skip
        assert line in ours
    assert "control-group" not in text[units.file]
    started = next(line for line in ours if line.startswith("ExecStart="))
    assert sys.executable in started
    assert "-P -m clawd up --foreground" in started.replace('"', "")
    for name in ("PATH", "HOME", "USER", "LANG"):
        assert any(line.lstrip('"').startswith(f"Environment={name}=") for line in ours) or any(
            line.startswith(f'Environment="{name}=') for line in ours
        )
    theirs = text[units._database_file].splitlines()
    assert "KillMode=mixed" in theirs
    assert "KillSignal=SIGINT" in theirs
    assert f"Wants={units._database_file.name}" in ours


def test_newer_managers_wait_longer_after_each_failure(units: Systemd) -> None:
    assert "RestartSteps" not in units.units(252)[units.file]
    assert "RestartMaxDelaySec=300" in units.units(254)[units.file]


def test_with_a_postgres_of_the_operators_own_there_is_no_unit_for_it(
    systemctl: StandIn, home: Path
) -> None:
    order = order_for(home, {"CLAWD_DATABASE_URL": "postgresql://db/clawd"})
    text = Systemd(order).units()
    assert len(text) == 1
    assert "postgres.service" not in "".join(text.values())
    assert "Environment=CLAWD_DATABASE_URL=postgresql://db/clawd" in "".join(text.values())


def test_install_writes_enables_and_starts(units: Systemd, systemctl: StandIn) -> None:
    advice = units.install()
    asked = [call for call in systemctl.calls if not call.startswith("show")]
    assert asked == ["daemon-reload", f"enable {units.file.name}", f"restart {units.file.name}"]
    assert units.installed_python() == sys.executable
    assert any("enable-linger" in line for line in advice)


def test_uninstall_stops_both_and_removes_them(units: Systemd, systemctl: StandIn) -> None:
    assert units.uninstall() is False
    units.install()
    systemctl.forget()
    assert units.uninstall() is True
    assert f"disable --now {units.file.name} {units._database_file.name}" in systemctl.calls
    assert not list(units.file.parent.glob("*.service"))


def test_a_bus_that_does_not_answer_is_one_sentence_with_the_cure(
    units: Systemd, systemctl: StandIn
) -> None:
    systemctl.play("show", "1 Failed to connect to bus: No medium found")
    with pytest.raises(Refused, match="does not answer") as refused:
        units.install()
    assert "enable-linger" in refused.value.remedy
    assert "XDG_RUNTIME_DIR" in refused.value.remedy
    assert not units.file.exists(), "nothing was written"


def test_a_start_that_fails_tells_the_daemons_last_words(
    units: Systemd, systemctl: StandIn
) -> None:
    units.order.log.write_text("clawd: Line 3 of clawd.yaml is not known.\n")
    systemctl.play("restart", "1 Job for clawd.service failed.")
    with pytest.raises(ClawdError, match="Line 3 of clawd"):
        units.install()


def test_a_machine_without_systemd_says_so_in_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "BOOTED", home / "nothing")
    with pytest.raises(Refused, match="No systemd runs") as refused:
        service.install(home, platform="linux")
    assert "clawd up --foreground" in refused.value.remedy
    found = service.status(home, "linux")
    assert (found.manager, found.installed) == ("none", False)
    assert service.start(home, "linux") is False


@pytest.mark.parametrize(
    ("shown", "state", "pid", "detail"),
    [
        ("LoadState=loaded\nActiveState=active\nResult=success\nMainPID=7\nStatusText=works",
         "running", 7, "works"),
        ("LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=exit-code",
         "starting", None, "exit-code; tried again soon"),
        ("LoadState=loaded\nActiveState=failed\nResult=watchdog\nMainPID=0",
         "failed", None, "watchdog"),
        ("LoadState=loaded\nActiveState=inactive\nResult=success", "stopped", None, ""),
        ("LoadState=not-found\nActiveState=inactive", "absent", None, "not loaded"),
        ("", "stopped", None, ""),
    ],
)  # fmt: skip
def test_systemctl_show_is_read_into_our_words(
    shown: str, state: str, pid: int | None, detail: str
) -> None:
    found = read_show(shown, installed=True)
    assert (found.state, found.pid, found.detail) == (state, pid, detail)


def test_a_moved_interpreter_is_noticed(units: Systemd, systemctl: StandIn, home: Path) -> None:
    gone = Order(home, units.order.name, "/opt/gone/python", units.order.environment)
    Systemd(gone).install()
    (systemctl.place / "show").write_text("LoadState=loaded\nActiveState=active\nMainPID=7")
    advice = service.status(home, "linux").advice
    assert any("is gone" in line and "clawd service install" in line for line in advice)


@contextlib.contextmanager
def namespaces() -> Iterator[list[str]]:
    """unshare, in control groups of its own where we may make some."""
    name, top = f"clawd-test-{os.getpid()}", Path("/sys/fs/cgroup")
    joins = []
    for base in (top / "unified", top / "systemd", top):
        if (base / "cgroup.procs").exists():
            with contextlib.suppress(OSError):
                (base / name).mkdir()
                joins.append(f"echo $$ > {base}/{name}/cgroup.procs; ")
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = "exec unshare " + " ".join([*rights, "--mount --pid --fork --kill-child"])
    try:
        yield ["/bin/sh", "-c", f'{"".join(joins)}{unshare} --mount-proc "$@"', "sh"]
    finally:
        for group in (*top.glob(f"*/{name}"), top / name):
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd is Linux's")
def test_a_real_manager_restarts_the_unit_and_the_keeper_lives_on(
    home: Path, tmp_path: Path
) -> None:
    if not Path("/lib/systemd/systemd").exists() or not shutil.which("unshare"):
        pytest.skip("no systemd to start here")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    scenario = [sys.executable, "-m", "tests.parts.systemd_scenario", str(home), str(tmp_path)]
    with namespaces() as apart:
        done = subprocess.run(
            [*apart, *scenario], cwd=ROOT, env=environ, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=150, check=False,
        )  # fmt: skip
    if done.returncode == NOT_HERE or "unshare failed" in done.stderr:
        pytest.skip(f"no user manager here: {(done.stdout + done.stderr).strip()[-300:]}")
    log = home / "logs" / "service.log"
    words = log.read_text() if log.exists() else ""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{words[-2000:]}"


def test_the_minder_ends_well_after_a_clean_stop_and_badly_after_a_crash(tmp_path: Path) -> None:
    if not hasattr(os, "pidfd_open"):
        pytest.skip("only systemd needs it")
    pid_file = tmp_path / "postmaster.pid"
    for pid_file_stays, asked, code in ((True, False, 1), (False, False, 0), (True, True, 0)):
        pid_file.touch()
        server = subprocess.Popen(["/bin/sleep", "60"])
        minder = subprocess.Popen(
            [sys.executable, "-I", "-S", str(database.MINDER), str(server.pid), str(pid_file)]
        )
        try:
            if not pid_file_stays:
                pid_file.unlink()
            threading.Event().wait(0.3)
            assert minder.poll() is None
            if asked:
                minder.terminate()
            else:
                server.kill()
            assert server.wait(10) != 0
            assert minder.wait(10) == code
        finally:
            for one in (server, minder):
                one.kill()
                one.wait(10)


def test_systemd_is_told_only_when_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify.tell(notify.READY) is False
    path = f"/tmp/clawd-n{os.getpid()}"
    for address in (path, "@" + path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address.replace("@", "\0"))
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            assert notify.tell(notify.READY, "STATUS=works") is True
            assert manager.recv(100) == b"READY=1\nSTATUS=works"
    Path(path).unlink()
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    assert notify.tell(notify.WATCHDOG) is False


def test_sleep_is_held_off_while_agents_work_and_no_longer() -> None:
    awake = Awake(["/bin/sleep", "300"])
    assert not awake.held
    awake.keep(True)
    first = awake._holder
    awake.keep(True)
    assert awake._holder is first, "once is enough"
    assert awake.held
    awake.keep(False)
    assert not awake.held
    assert first is not None
    assert first.poll() is not None
    awake.keep(True)
    assert awake.held
    awake.keep(False)


def test_a_machine_that_refuses_to_stay_awake_is_not_asked_again_and_again() -> None:
    awake = Awake(["/bin/false"])
    awake.keep(True)
    first = awake._holder
    assert first is not None
    first.wait(10)
    awake.keep(True)
    assert awake._holder is first
    missing = Awake(["/nonexistent/caffeinate"])
    missing.keep(True)
    assert not missing.held
    Awake([]).keep(True)


def test_macos_is_kept_awake_for_as_long_as_the_daemon_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caffeinate = tmp_path / "caffeinate"
    caffeinate.write_text("#!/bin/sh\n")
    caffeinate.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command(42, "darwin") == [str(caffeinate), "-i", "-w", "42"]
