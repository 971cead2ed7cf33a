"""The cage shows its own workspace and home and nothing of the operator's."""

from __future__ import annotations

import http.server
import os
import shlex
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clawd.adapters import cage, process
from clawd.adapters.cage import CageSpec, Network
from clawd.running import launch

Run = Callable[..., launch.CommandResult]

linux = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is for Linux")


@pytest.fixture
def spec(tmp_path: Path) -> CageSpec:
    for name in ("work", "home"):
        (tmp_path / name).mkdir()
    return CageSpec(workspace=tmp_path / "work", home=tmp_path / "home")


@pytest.fixture
def run(tmp_path: Path, spec: CageSpec) -> Iterator[Run]:
    found = cage.probe()
    if not found.ok and not os.environ.get("CI"):
        pytest.skip(f"no cage here: {found.reason}")
    marker = f"test-{uuid.uuid4().hex}"
    count = iter(range(100))

    def caged(command: str, using: CageSpec = spec, **more: object) -> launch.CommandResult:
        folder = tmp_path / "runs" / str(next(count))
        asked = launch.Launch(folder=folder, marker=marker, argv=[], cage=using, **more)  # type: ignore[arg-type]
        return launch.run_command(command, asked, threading.Event())

    yield caged
    process.kill_marked(marker)


@linux
def test_only_the_cages_own_environment_is_visible_inside(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_OF_THE_DAEMON", "chirp-4711")
    done = run(
        "env; cat /proc/*/environ | tr '\\0' '\\n'; cat /proc/*/cmdline", env={"OWN": "mine"}
    )
    assert "chirp-4711" not in done.output
    assert "OWN=mine" in done.output
    assert f"HOME={cage.HOME_INSIDE}" in done.output


@linux
def test_home_and_workspace_are_at_the_same_place_in_every_cage(run: Run, spec: CageSpec) -> None:
    done = run("pwd; echo kept > ~/kept; echo made > made; whoami; ls -A /root /home || true")
    assert done.ok, done
    assert done.output.splitlines()[:2] == [cage.WORK_INSIDE, "agent"]
    assert (spec.home / "kept").read_text() == "kept\n"
    assert (spec.workspace / "made").stat().st_uid == os.getuid()


@linux
def test_nothing_of_the_host_is_there(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "hub" / "secret"
    secret.parent.mkdir()
    secret.write_text("the hub")
    home = str(Path.home())
    done = run(f"ls -A {home}; cat {secret}; ls /sys; ls -d /proc/[0-9]* | wc -l; ls -A /var; true")
    assert "the hub" not in done.output
    listed = [line for line in done.output.splitlines() if "No such file" not in line]
    assert len(listed) <= 2, f"of the home only a Python's own folder: {listed}"
    assert int(listed[-1]) < 10


@linux
def test_the_system_and_the_kernels_settings_cannot_be_written(run: Run) -> None:
    places = "/proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /usr/x /etc/x /run/x /x /opt/x"
    done = run(f"for p in {places}; do (: >> $p) 2>/dev/null && echo WROTE $p; done; echo end")
    assert done.output.strip() == "end"


@linux
def test_a_bound_folder_is_read_only_unless_said(run: Run, spec: CageSpec, tmp_path: Path) -> None:
    for name in ("hub", "cache"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("before")
    using = replace(
        spec,
        read_only=((tmp_path / "hub", "/hub"),),
        writable=((tmp_path / "cache", "/cache"),),
    )
    done = run("chmod u+w /hub/file; echo x > /hub/file; echo after > /cache/file", using)
    assert "Read-only file system" in done.output
    assert (tmp_path / "hub" / "file").read_text() == "before"
    assert (tmp_path / "cache" / "file").read_text() == "after\n"


@linux
def test_a_reviewers_workspace_is_read_only_with_layers_inside(
    run: Run, spec: CageSpec, tmp_path: Path
) -> None:
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "dep").write_text("there")
    (spec.workspace / "code").write_text("kept")
    using = replace(
        spec,
        workspace_read_only=True,
        read_only=((tmp_path / "layer", f"{cage.WORK_INSIDE}/node_modules"),),
    )
    done = run(
        "cat node_modules/dep; echo x > code; echo x > new; rm -f code; echo x > ~/mine", using
    )
    assert done.output.startswith("there")
    assert (spec.workspace / "code").read_text() == "kept"
    assert not (spec.workspace / "new").exists()
    assert (spec.home / "mine").exists()


@linux
@pytest.mark.parametrize("network", [Network.NONE, Network.GATEWAY, Network.OPEN])
def test_the_network_is_there_only_when_asked_for(
    run: Run, spec: CageSpec, network: Network
) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    try:
        connect = (
            f"import socket; socket.create_connection(('localhost', {server.server_port}), 3);"
            "print('reached')"
        )
        done = run(
            f'python3 -c "{connect}"; test -s /etc/resolv.conf && echo names',
            replace(spec, network=network),
        )
    finally:
        server.server_close()
    assert ("reached" in done.output) is (network is Network.OPEN)
    has_names = Path("/etc/resolv.conf").exists() and network is Network.OPEN
    assert ("names" in done.output) is has_names


@linux
def test_a_project_can_still_serve_on_localhost_without_a_network(run: Run) -> None:
    code = (
        "import socket; s = socket.create_server(('localhost', 0));"
        "socket.create_connection(s.getsockname()); print('ok')"
    )
    assert run(f'python3 -c "{code}"').output == "ok\n"


@linux
def test_the_gateways_folder_is_bound_so_that_a_new_socket_is_seen(
    run: Run, spec: CageSpec, tmp_path: Path
) -> None:
    folder = tmp_path / "gw"
    folder.mkdir()
    using = replace(spec, network=Network.GATEWAY, gateway_folder=folder)
    (folder / "gw.sock").touch()
    assert run(
        f"ls {cage.GATEWAY_INSIDE}; touch {cage.GATEWAY_INSIDE}/x || true", using
    ).output.startswith("gw.sock\n")
    assert not (folder / "x").exists()


@linux
def test_the_run_folder_is_reachable_through_no_descriptor(run: Run, tmp_path: Path) -> None:
    done = run("ls /proc/self/fd; for f in 0 1 2; do readlink /proc/self/fd/$f; done")
    numbers = [line for line in done.output.splitlines() if line.isdigit()]
    assert numbers == ["0", "1", "2", "3"], "3 is the folder ls reads"
    assert "prompt.md" not in done.output, "the prompt is an anonymous copy"


@linux
def test_scratch_space_is_writable_and_bounded(run: Run, spec: CageSpec) -> None:
    using = replace(spec, tmp_bytes=1 << 20)
    done = run(
        "head -c 900000 /dev/zero > /tmp/a && echo fits;"
        "head -c 9000000 /dev/zero > /dev/shm/b || echo full",
        using,
    )
    assert "fits" in done.output
    assert "full" in done.output


@linux
def test_no_new_user_namespace_can_be_made_inside(run: Run) -> None:
    done = run("unshare -Ur true && echo ESCAPED; grep -E 'CapBnd|NoNewPrivs' /proc/self/status")
    assert "ESCAPED" not in done.output
    assert "CapBnd:\t0000000000000000" in done.output
    assert "NoNewPrivs:\t1" in done.output


@linux
def test_the_daemons_python_runs_inside_wherever_it_is_installed(run: Run) -> None:
    done = run(
        "python3 -c 'import sys, json; print(1)';"
        f"{shlex.quote(sys.executable)} -c 'import sys, json; print(2)'"
    )
    assert done.output == "1\n2\n"


@linux
def test_paths_with_spaces_quotes_and_unicode_work(
    run: Run, spec: CageSpec, tmp_path: Path
) -> None:
    odd = tmp_path / "ein 'Raum\" $(x) ü"
    odd.mkdir()
    done = run("echo here > made", replace(spec, workspace=odd))
    assert done.ok, done
    assert (odd / "made").read_text() == "here\n"


@linux
def test_the_probe_runs_the_full_profile() -> None:
    found = cage.probe(Network.OPEN)
    assert found.ok or (found.reason and found.remedy)


@linux
def test_a_missing_cage_program_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cage, "_program", lambda: None)
    found = cage.probe()
    assert not found.ok
    assert "bubblewrap" in found.remedy


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        (
            "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namesp",
            "max_user_namespaces",
        ),
        (
            "bwrap: No permissions to create new namespace, likely because the kernel",
            "unprivileged_userns_clone",
        ),
        ("bwrap: Creating new namespace failed: Operation not permitted", "container"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "unmasked /proc"),
        ("bwrap: setting up uid map: Permission denied", "AppArmor"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "network: open"),
        ("bwrap: Unknown option --disable-userns", "0.8.0"),
        ("bwrap: Can't find source path /x: No such file or directory", "missing"),
        ("bwrap: something nobody has seen", "sandbox: none"),
    ],
)
def test_every_known_refusal_has_a_remedy(line: str, remedy: str) -> None:
    assert remedy in cage.remedy_for(line)


def test_the_operators_home_is_never_bound_as_an_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    python = home / ".pyenv" / "versions" / "3.11"
    (python / "bin").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert cage.interpreter_binds([home, tmp_path, Path("/"), Path("/usr"), Path("/gone")]) == ()
    assert cage.interpreter_binds([python]) == ((python, str(python)),)
    assert cage.search_path([python]).startswith(f"{python}/bin:")


def test_the_seatbelt_profile_denies_first_and_opens_only_what_is_named(spec: CageSpec) -> None:
    text = cage.seatbelt(replace(spec, read_only=((Path('/a "b"'), "/x"),)))
    assert text.startswith("(version 1)\n(deny default)\n")
    writes = next(line for line in text.splitlines() if line.startswith("(allow file-write* (sub"))
    assert f'(subpath "{spec.workspace}")' in writes
    assert f'(subpath "{spec.home}")' in writes
    assert '/a \\"b\\"' in text
    assert '/a \\"b\\"' not in writes
    assert "network" not in text
    assert "(allow network*)" in cage.seatbelt(replace(spec, network=Network.OPEN))
    gateway = replace(spec, network=Network.GATEWAY, gateway_folder=Path("/gw"))
    assert '(remote unix-socket (subpath "/gw"))' in cage.seatbelt(gateway)
    review = cage.seatbelt(replace(spec, workspace_read_only=True))
    assert f'(deny file-write* (subpath "{spec.workspace}"))' in review


def test_on_a_mac_the_profile_wraps_the_gated_command_in_place(
    spec: CageSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    command = cage.wrap(spec, ["claude", "-p"], tmp_path)
    assert command[:3] == ["/usr/bin/sandbox-exec", "-p", cage.seatbelt(spec)]
    assert command[3:] == cage.gate(["claude", "-p"])
    assert cage.environment(spec, {})["HOME"] == str(spec.home), "seatbelt cannot move paths"
