"""The service on macOS, played by a stand-in for launchctl that really starts what it loads."""

from __future__ import annotations

import os
import plistlib
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawd import daemon, service
from clawd.errors import ClawdError, NotRunning, Refused
from clawd.service import login
from clawd.service.calling import Done
from clawd.service.launchd import Launchd, read_print
from clawd.service.order import Order, check, name_of, order_for
from tests.parts.service_ground import LAUNCHCTL, StandIn, stand_in

MAC = "darwin"
PRINTED = """gui/501/clawd.daemon = {
\tactive count = 1
\tpath = /Users/ada/Library/LaunchAgents/clawd.daemon.plist
\ttype = LaunchAgent
\tstate = running

\tprogram = /Users/ada/clawd/.venv/bin/python
\tdomain = gui/501 [100008]
\tminimum runtime = 30
\texit timeout = 60
\truns = 3
\tpid = 4242
\timmediate reason = semaphore
\tlast exit code = 1

\tspawn type = interactive (4)
\tresource coalition = {
\t\tstate = active
\t\tID = 815
\t}
}
"""


@pytest.fixture
def launchctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setattr(os, "getuid", lambda: 501)
    found = stand_in("launchctl", LAUNCHCTL, tmp_path, monkeypatch)
    yield found
    found.end()


@pytest.fixture
def agent(launchctl: StandIn, home: Path) -> Launchd:
    """An agent that runs a long nothing in place of the daemon."""
    (home / "logs").mkdir(exist_ok=True)
    order = order_for(home, os.environ, platform=MAC)
    quick = Order(home, order.name, "/bin/sleep", order.environment)
    sleeping = Launchd(quick, 501)
    sleeping._filled = lambda label, _command: (  # type: ignore[method-assign]
        Launchd._filled(sleeping, label, ["/bin/sleep", "300"])
    )
    return sleeping


def test_the_agent_reads_back_from_its_file_as_it_was_meant(launchctl: StandIn, home: Path) -> None:
    order = order_for(home, os.environ, platform=MAC)
    agent = Launchd(order, 501)
    written = plistlib.loads(plistlib.dumps(agent.document()))
    assert written == agent.document()
    assert written["ProgramArguments"] == order.daemon
    assert os.path.isabs(written["ProgramArguments"][0])
    assert written["ProgramArguments"][1:] == [
        "-P", "-m", "clawd", "up", "--foreground", "--home", str(home),
    ]  # fmt: skip
    assert written["KeepAlive"] == {"SuccessfulExit": False, "Crashed": True}
    assert written["LimitLoadToSessionType"] == "Aqua"
    assert written["ProcessType"] != "Background"
    assert written["AbandonProcessGroup"] is True
    assert written["RunAtLoad"] is True
    assert (written["ExitTimeOut"], written["Umask"]) == (60, 0o077)
    assert written["SoftResourceLimits"]["NumberOfFiles"] >= 4096
    assert {"PATH", "HOME", "USER", "LANG"} <= set(written["EnvironmentVariables"])
    assert all(isinstance(value, str) for value in written["EnvironmentVariables"].values())


def test_no_secret_of_the_shell_gets_into_the_file(
    launchctl: StandIn, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, "sk-very-secret")
    text = plistlib.dumps(Launchd(order_for(home, os.environ, platform=MAC), 501).document())
    assert b"sk-very-secret" not in text


def test_a_database_address_goes_along_but_never_with_a_password(home: Path) -> None:
    plain = order_for(home, {"CLAWD_DATABASE_URL": "postgresql://ada@db/clawd"})
    assert plain.environment["CLAWD_DATABASE_URL"].endswith("@db/clawd")
    assert not plain.keeps_database
    with pytest.raises(Refused, match="password") as refused:
        order_for(home, {"CLAWD_DATABASE_URL": "postgresql://ada:hidden@db/clawd"})
    assert "pgpass" in refused.value.remedy
    assert "hidden" not in str(refused.value)


def test_the_path_is_made_of_safe_folders_that_are_there(home: Path, tmp_path: Path) -> None:
    for name, mode in (("mine", 0o755), ("everybody's", 0o777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    given = f"{tmp_path}/mine:bin:~/bin:{tmp_path}/everybody's:{tmp_path}/gone:/usr/bin:/usr/bin"
    path = order_for(home, {"PATH": given}).environment["PATH"].split(":")
    assert path[0] == f"{tmp_path}/mine"
    assert path.count("/usr/bin") == 1
    assert all(os.path.isabs(place) for place in path)
    assert not {f"{tmp_path}/gone", f"{tmp_path}/everybody's"} & set(path)
    assert os.path.dirname(sys.executable) in path


def test_what_a_bare_launchd_lacks_is_filled_in(home: Path) -> None:
    found = order_for(home, {}, platform=MAC).environment
    assert found["USER"] == found["LOGNAME"] != ""
    assert os.path.isabs(found["HOME"])
    assert found["LANG"] == "en_US.UTF-8"
    assert "/opt/homebrew/bin" in found["PATH"] or not Path("/opt/homebrew/bin").exists()
    assert order_for(home, {"LC_ALL": "de_DE.UTF-8"}).environment["LANG"] == "de_DE.UTF-8"


def test_two_homes_are_two_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert name_of(tmp_path / ".clawd") == "clawd"
    assert name_of(tmp_path / "a") != name_of(tmp_path / "b")


def test_an_interpreter_that_cannot_run_clawd_is_refused_before_anything(home: Path) -> None:
    order = order_for(home, os.environ)
    check(order)
    with pytest.raises(ClawdError, match="cannot run clawd") as refused:
        check(Order(home, "x", "/bin/false", order.environment))
    assert "clawd service install" in refused.value.remedy


def test_install_loads_into_the_persons_gui_session(agent: Launchd, launchctl: StandIn) -> None:
    agent.install()
    assert launchctl.calls == [
        f"bootout gui/501/{agent.label}",
        f"enable gui/501/{agent.label}",
        f"bootstrap gui/501 {agent.file}",
    ]
    assert stat.S_IMODE(agent.file.stat().st_mode) == 0o600
    assert agent.file.parent == Path(os.environ["HOME"]) / "Library/LaunchAgents"
    assert agent.state().state == "running"
    assert agent.installed_python() == "/bin/sleep"


def test_a_second_install_replaces_the_first(agent: Launchd, launchctl: StandIn) -> None:
    agent.install()
    first = agent.state().pid
    agent.install()
    assert agent.state().pid not in (None, first)


def test_restart_kicks_and_start_loads_what_was_booted_out(
    agent: Launchd, launchctl: StandIn
) -> None:
    agent.install()
    before = agent.state().pid
    agent.restart()
    assert f"kickstart -k gui/501/{agent.label}" in launchctl.calls
    assert agent.state().pid != before
    subprocess.run(["launchctl", "bootout", f"gui/501/{agent.label}"], check=True)
    assert agent.state().state == "absent"
    agent.start()
    assert agent.state().state == "running"


def test_uninstall_leaves_nothing(agent: Launchd) -> None:
    agent.install()
    assert agent.uninstall() is True
    assert not agent.file.exists()
    assert agent.uninstall() is False


def test_a_bootstrap_that_meets_the_old_one_going_is_tried_again(
    agent: Launchd, launchctl: StandIn
) -> None:
    launchctl.play("bootstrap", "5 Bootstrap failed: 5: Input/output error", "37 busy")
    agent.install()
    assert sum(call.startswith("bootstrap") for call in launchctl.calls) == 3


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        ("125 Bootstrap failed: 125: Domain does not support specified action", "own screen"),
        ("112 Could not find domain for user gui: 501", "own screen"),
        ("119 Bootstrap failed: 119: Service is disabled", "Login Items"),
        ("122 Path had bad ownership/permissions", "must be yours"),
        ("1 Operation not permitted", "company profile"),
        ("78 something new", "--report"),
    ],
)
def test_what_launchctl_refuses_comes_with_what_helps(
    agent: Launchd, launchctl: StandIn, answer: str, remedy: str
) -> None:
    launchctl.play("bootstrap", answer)
    with pytest.raises(ClawdError) as refused:
        agent.install()
    assert answer.partition(" ")[2] in refused.value.message
    assert remedy in refused.value.remedy


def test_root_has_no_login_session(home: Path) -> None:
    with pytest.raises(Refused, match="root has none"):
        Launchd(order_for(home, os.environ, platform=MAC), 0)


@pytest.mark.parametrize(
    ("printed", "state", "pid", "last"),
    [
        (PRINTED, "running", 4242, 1),
        (PRINTED.replace("\tpid = 4242\n", "").replace("= running", "= not running"),
         "failed", None, 1),
        (PRINTED.replace("\tpid = 4242\n", "").replace("= running", "= spawn scheduled"),
         "starting", None, 1),
        ("\tstate = not running\n\tlast exit code = 0\n", "stopped", None, 0),
        ("\tstate = not running\n\tlast exit code = (never exited)\n", "stopped", None, None),
        ("\tstate = not running\n\tlast terminating signal = Killed: 9\n", "failed", None, None),
        ("nothing that was ever seen", "stopped", None, None),
    ],
)  # fmt: skip
def test_launchctl_print_is_read_as_far_as_it_is_known(
    printed: str, state: str, pid: int | None, last: int | None
) -> None:
    found = read_print(printed)
    assert (found.state, found.pid, found.last_exit) == (state, pid, last)


def test_the_agents_own_command_and_environment_carry_a_daemon_through_its_life(
    launchctl: StandIn, home: Path
) -> None:
    (home / "clawd.yaml").write_text("login: none\nsandbox: none\n")
    said: list[str] = []
    found = service.install(home, said.append, MAC)
    assert found.state == "running"
    assert found.pid == found.daemon == daemon.is_running(home)
    looked = {one.name: one for one in service.look_inside(home, probe=False, platform=MAC)}
    assert looked["USER"].ok, "the look ran with the agent's own environment"
    assert looked["login"].ok or looked["login"].remedy
    assert not list(Path(os.environ["HOME"]).glob("Library/LaunchAgents/*look*"))

    assert service.restart(home, MAC)
    again = service.status(home, MAC)
    assert again.daemon not in (None, found.daemon)
    assert daemon.stop(home)
    assert service.start(home, MAC)
    assert daemon.stop(home)
    patience = threading.Event()
    while service.status(home, MAC).pid:
        patience.wait(0.05)
    assert service.status(home, MAC).state == "stopped"
    assert "clawd service restart" in service.status(home, MAC).advice[-1]
    assert service.start(home, MAC)
    assert service.uninstall(home, said.append, MAC)
    assert daemon.is_running(home) is None
    assert service.status(home, MAC).installed is False


def test_a_home_nobody_set_up_becomes_no_service(launchctl: StandIn, tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="no clawd"):
        service.install(tmp_path / "none", platform=MAC)
    assert launchctl.calls == []


@pytest.mark.parametrize(
    ("environ", "name", "ok"),
    [
        ({"HOME": "/", "PATH": "/opt/x:/usr/bin"}, "USER", False),
        ({"USER": "somebody-else", "HOME": "/", "PATH": "/opt/x"}, "USER", False),
        ({"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}, "PATH", None),
        ({"PATH": "$HOME/bin:/usr/bin"}, "PATH", False),
        ({"PATH": "/usr/bin"}, "HOME", False),
    ],
)
def test_surroundings_that_hide_a_login_are_named(
    environ: dict[str, str], name: str, ok: bool | None
) -> None:
    found = {one.name: one for one in login.surroundings(environ)}[name]
    assert found.ok is ok
    assert "clawd service install" in found.remedy


@pytest.mark.parametrize(
    ("done", "ok", "said"),
    [
        (Done(0, ""), True, "can be read"),
        (Done(36, "User interaction is not allowed."), False, "exit 36"),
        (Done(44, "could not be found"), None, "exit 44"),
    ],
)
def test_the_keychain_is_judged_by_the_exit_code_of_security(
    done: Done, ok: bool | None, said: str, home: Path
) -> None:
    found = login.keychain(done)
    assert found.ok is ok
    assert said in found.detail
    if ok is False:
        cured = login.with_remedy(found, home)
        assert "unlock-keychain" in cured.remedy
        assert "claude setup-token" in cured.remedy


@pytest.mark.parametrize(
    ("detail", "remedy"),
    [
        ("Not logged in · Please run /login", "claude setup-token"),
        ("API Error: 401 authentication_error", "claude setup-token"),
        ("Claude Code is not installed: there is no `claude` in PATH.", "`claude --version`"),
        ("sh: claude: command not found", "`claude --version`"),
    ],
)
def test_a_login_that_fails_comes_with_its_exact_cure(home: Path, detail: str, remedy: str) -> None:
    found = login.with_remedy(login.Finding("login probe", False, detail), home)
    assert remedy in found.remedy
    assert "{" not in found.remedy


def test_an_inherited_login_is_asked_of_the_client_in_the_services_environment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "clawd.yaml").write_text("login: inherit\n")
    client = tmp_path / "claude"
    client.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "2.1.329 (Claude Code)" && exit 0\n'
        'echo "{\\"loggedIn\\": $LOGGED_IN}"; [ $LOGGED_IN = true ]\n'
    )
    client.chmod(0o755)
    for logged_in in ("true", "false"):
        environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "USER": "x",
                   "LOGGED_IN": logged_in}  # fmt: skip
        monkeypatch.setenv("PATH", environ["PATH"])
        rows = {one.name: one for one in login.look(home, environ, "linux", probe=False)}
        assert rows["claude auth status"].ok is (logged_in == "true"), rows
    assert "claude setup-token" in rows["claude auth status"].remedy


def test_following_the_log_survives_its_rotation(tmp_path: Path) -> None:
    from clawd.service import journal

    log, stop, seen = tmp_path / journal.NAME, threading.Event(), []
    log.write_text('{"at":"x","level":"info","action":"old"}\n')

    def watch() -> None:
        for line in journal.follow(tmp_path, stop):
            seen.append(line.action)
            if len(seen) == 2:
                stop.set()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    patience = threading.Event()
    patience.wait(0.3)
    with log.open("a") as file:
        file.write('{"action":"first"}\n')
    log.rename(tmp_path / f"{journal.NAME}.1")
    log.write_text('{"action":"second"}\n')
    watcher.join(10)
    stop.set()
    assert seen == ["first", "second"]
    assert [line.action for line in journal.last(tmp_path, 3)] == ["old", "first", "second"]


def test_a_log_line_is_told_with_its_cause_and_never_with_a_traceback() -> None:
    from clawd.service import journal

    line = journal.read(
        '{"at":"2026-11-21T01:02:03Z","level":"error","action":"failed","where":"merge",'
        '"text":"no space","traceback":"Traceback ...\\n  File x\\nOSError: disk full"}'
    )
    told = journal.sentence(line)
    assert told == "2026-11-21 01:02:03  ERROR  failed  where=merge  no space (OSError: disk full)"
    assert journal.read("not json").text == "not json"


def test_the_report_shows_what_matters_and_no_secret(
    launchctl: StandIn, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clawd.service import report

    monkeypatch.setattr(service, "find", lambda _home: Launchd(order_for(home, os.environ), 501))
    monkeypatch.setattr(service, "look_inside", lambda _home, *, probe: [])
    (home / "logs").mkdir()
    secret = "sk-ant-oat01-abcdefghijklmnop"
    (home / "logs" / "service.log").write_text(
        f"CLAUDE_CODE_OAUTH_TOKEN={secret}\npostgresql://ada:hidden@db/x\n{Path.home()}/x\n"
    )
    text = report.report(home, probe=False)
    assert secret not in text
    assert "hidden" not in text
    assert str(Path.home()) not in text
    for part in ("== machine", "== service", "== from inside the service", "launchctl print: 113"):
        assert part in text
