"""Builds the cage that everything untrusted runs in: bubblewrap on Linux, seatbelt on macOS.

Inside there is an empty home, the workspace, the system's programs read-only, and nothing of the
operator's: no home, no other run, no database socket, no process of the host, and a network only
where it is asked for. The start gate and the four fixed descriptors are a pact with the keeper.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

HOME_INSIDE = "/home/agent"
WORK_INSIDE = "/home/agent/work"  # constant, so that a session resumes from any workspace
GATEWAY_INSIDE = "/run/clawd"
TOOLS_INSIDE = "/clawd"  # where callers bind the agent's binary and the files it needs

GATE_GO_FD, GATE_READY_FD, STATUS_FD, SECRET_FD = 3, 4, 5, 6  # dash knows only 0 to 9
_GATE_SCRIPT = 'echo r >&4; read x <&3 || exit 97; exec 3<&- 4>&- 5>&-; exec "$@"'

_DAEMON_PYTHON = (Path(sys.prefix), Path(sys.base_prefix))
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ETC_ALWAYS = (
    "alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "nsswitch.conf",
    "mime.types", "protocols", "services", "ssl/certs", "ssl/openssl.cnf", "pki/tls/certs",
    "pki/ca-trust", "crypto-policies", "ca-certificates",
)  # fmt: skip

Bind = tuple[Path, str]


class Network(StrEnum):
    """What a cage may reach."""

    NONE = "none"
    OPEN = "open"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class CageSpec:
    """What one cage shows and allows."""

    workspace: Path
    home: Path
    network: Network = Network.NONE
    read_only: tuple[Bind, ...] = ()
    writable: tuple[Bind, ...] = ()
    workspace_read_only: bool = False
    gateway_folder: Path | None = None
    tmp_bytes: int = 1 << 30
    interpreters: tuple[Path, ...] = _DAEMON_PYTHON


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a cage can be built here, and what to do when not."""

    ok: bool
    reason: str = ""
    remedy: str = ""


def available() -> bool:
    """Whether this platform has the cage's program; `probe` says whether it works."""
    return _program() is not None


def wrap(spec: CageSpec, argv: Sequence[str], etc: Path) -> list[str]:
    """The command that runs `argv` in the cage; `etc` is a folder made by `write_etc`."""
    if not has_status():
        return ["/usr/bin/sandbox-exec", "-p", seatbelt(spec), *gate(argv)]
    return [
        _program() or "bwrap",
        *["--json-status-fd", str(STATUS_FD)],
        *_namespaces(spec),
        *_system(spec),
        *_etc(spec, etc),
        *_private(spec),
        *["--remount-ro", "/", "--"],
        *gate(argv),
    ]


def gate(argv: Sequence[str]) -> list[str]:
    """The command behind a start gate: it begins only when a living keeper says so."""
    return ["/bin/sh", "-c", _GATE_SCRIPT, "gate", *argv]


def has_status() -> bool:
    """Whether the cage reports its own children, as bubblewrap does."""
    return sys.platform != "darwin"


def environment(spec: CageSpec, extra: Mapping[str, str]) -> dict[str, str]:
    """The whole environment inside; nothing is inherited."""
    return {
        "PATH": search_path(spec.interpreters),
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108 - the cage's own
        "SHELL": "/bin/sh",
        "USER": "agent",
        **extra,
        "HOME": home_inside(spec),
    }


def home_inside(spec: CageSpec) -> str:
    """HOME as the caged process sees it: seatbelt cannot move paths."""
    return str(spec.home) if sys.platform == "darwin" else HOME_INSIDE


def work_inside(spec: CageSpec) -> str:
    """The workspace as the caged process sees it."""
    return str(spec.workspace) if sys.platform == "darwin" else WORK_INSIDE


def write_etc(folder: Path) -> Path:
    """Write the few files of /etc a cage has of its own; returns their folder."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    (folder / "passwd").write_text(f"agent:x:1000:1000::{HOME_INSIDE}:/bin/sh\n", "utf-8")
    (folder / "group").write_text("agent:x:1000:\n", "utf-8")
    (folder / "hosts").write_text("127.0.0.1 localhost clawd\n::1 localhost\n", "utf-8")
    return folder


def interpreter_binds(prefixes: Iterable[Path] = _DAEMON_PYTHON) -> tuple[Bind, ...]:
    """Same-path binds for Pythons outside /usr; a venv needs its own prefix and its base's."""
    home = Path.home()
    found: dict[str, Path] = {}
    for prefix in prefixes:
        for path in (prefix, prefix.resolve()):
            shared = path.is_relative_to("/usr") or path.is_relative_to("/opt")
            whole_home = home.is_relative_to(path)
            if path.is_dir() and not shared and not whole_home:
                found[str(path)] = path
    return tuple((path, inside) for inside, path in found.items())


def search_path(prefixes: Iterable[Path] = _DAEMON_PYTHON) -> str:
    """PATH inside: interpreters outside /usr first, but never the daemon's own venv."""
    own_venv = Path(sys.prefix) if sys.prefix != sys.base_prefix else None
    folders = [
        str(prefix / "bin")
        for prefix in prefixes
        if prefix != own_venv and not prefix.is_relative_to("/usr") and (prefix / "bin").is_dir()
    ]
    return ":".join([*folders, _SYSTEM_PATH])


def probe(network: Network = Network.NONE) -> Probe:
    """Run `true` in the full profile and explain a refusal."""
    if _program() is None:
        return Probe(False, "bubblewrap is not installed.", _INSTALL)
    with tempfile.TemporaryDirectory(prefix="clawd-probe-") as folder:
        root = Path(folder)
        spec = CageSpec(workspace=root / "work", home=root / "home", network=network)
        for part in (spec.workspace, spec.home):
            part.mkdir()
        return _try_true(spec, write_etc(root / "etc"))


def _try_true(spec: CageSpec, etc: Path) -> Probe:
    command = wrap(spec, ["true"], etc)
    command = [*command[: -len(gate(["true"]))], "true"]  # no keeper here to open the gate
    if has_status():
        command = [command[0], *command[3:]]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(spec, {}),
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe(False, f"The cage did not start: {type(error).__name__}.", _INSTALL)
    if done.returncode == 0:
        return Probe(True)
    line = done.stderr.decode("utf-8", "replace").strip().splitlines()
    reason = line[-1][:300] if line else f"bwrap ended with {done.returncode}"
    return Probe(False, reason, remedy_for(reason))


def remedy_for(line: str) -> str:
    """What an operator can do about an error line of bubblewrap."""
    for text, remedy in _REMEDIES:
        if text.lower() in line.lower():
            return remedy
    return "Run `clawd doctor` on the host itself, or say `sandbox: none` to run without a cage."


def seatbelt(spec: CageSpec) -> str:
    """The sandbox-exec profile for macOS. Written from Apple's documents, never tried on a Mac."""
    readable = [spec.workspace, spec.home, *(host for host, _ in spec.read_only)]
    readable += [host for host, _ in (*interpreter_binds(spec.interpreters), *spec.writable)]
    writable = [spec.home, *(host for host, _ in spec.writable)]
    writable += [] if spec.workspace_read_only else [spec.workspace]
    system = ["/usr", "/bin", "/sbin", "/System", "/Library", "/opt", "/private/etc", "/dev",
              "/private/var/db", "/private/tmp", "/Applications/Xcode.app"]  # fmt: skip
    scratch = ["/private/tmp", "/private/var/folders"]
    lines = [
        "(version 1)",
        "(deny default)",
        "(allow process-exec process-fork signal sysctl-read mach-lookup ipc-posix-shm)",
        "(allow file-read-metadata)",
        f"(allow file-read* {_subpaths([*map(Path, [*system, *scratch]), *readable])})",
        f"(allow file-write* {_subpaths([*map(Path, scratch), *writable])})",
        '(allow file-write* (literal "/dev/null") (literal "/dev/tty"))',
    ]
    if spec.workspace_read_only:
        lines.append(f"(deny file-write* {_subpaths([spec.workspace])})")
    if spec.network is Network.OPEN:
        lines.append("(allow network*)")
    elif spec.network is Network.GATEWAY and spec.gateway_folder is not None:
        folder = _quoted(spec.gateway_folder)
        lines.append(f"(allow network-outbound (remote unix-socket (subpath {folder})))")
    return "\n".join(lines) + "\n"


def _program() -> str | None:
    if sys.platform == "darwin":
        return "/usr/bin/sandbox-exec" if Path("/usr/bin/sandbox-exec").exists() else None
    for folder in ("/usr/bin", "/bin", "/usr/local/bin"):  # never from an inherited PATH
        if os.access(f"{folder}/bwrap", os.X_OK):
            return f"{folder}/bwrap"
    return None


def _namespaces(spec: CageSpec) -> list[str]:
    network = [] if spec.network is Network.OPEN else ["--unshare-net"]
    return [
        *["--unshare-user", "--uid", "1000", "--gid", "1000", "--unshare-pid", "--unshare-ipc"],
        *["--unshare-uts", "--unshare-cgroup-try", *network, "--hostname", "clawd"],
        *["--die-with-parent", "--new-session", "--disable-userns", "--cap-drop", "ALL"],
    ]


def _system(spec: CageSpec) -> list[str]:
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/") / name
        if path.is_symlink():
            arguments += ["--symlink", os.readlink(path).lstrip("/"), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    size = ["--size", str(spec.tmp_bytes), "--perms", "1777", "--tmpfs"]
    arguments += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev"]
    arguments += [*size, "/dev/shm", *size, "/tmp"]  # noqa: S108
    arguments += ["--size", str(1 << 20), "--tmpfs", "/run", "--dir", "/etc"]
    for folder in ("/opt", "/nix"):
        arguments += ["--ro-bind-try", folder, folder]
    for host, inside in interpreter_binds(spec.interpreters):
        arguments += ["--ro-bind", str(host), inside]
    return arguments


def _etc(spec: CageSpec, etc: Path) -> list[str]:
    arguments = []
    for name in ("passwd", "group"):
        arguments += ["--ro-bind", str(etc / name), f"/etc/{name}"]
    for name in _ETC_ALWAYS:
        arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    if spec.network is Network.OPEN:
        for name in ("resolv.conf", "hosts"):  # often links to files outside the cage
            arguments += ["--ro-bind-try", os.path.realpath(f"/etc/{name}"), f"/etc/{name}"]
    else:
        arguments += ["--ro-bind", str(etc / "hosts"), "/etc/hosts"]
    if spec.network is Network.GATEWAY and spec.gateway_folder is not None:
        # The folder, not the socket: a restarted gateway makes a new one.
        arguments += ["--ro-bind", str(spec.gateway_folder), GATEWAY_INSIDE]
    return arguments


def _private(spec: CageSpec) -> list[str]:
    arguments = ["--bind", str(spec.home), HOME_INSIDE, "--bind", str(spec.workspace), WORK_INSIDE]
    for host, inside in spec.read_only:
        arguments += ["--ro-bind", str(host), inside]
    for host, inside in spec.writable:
        arguments += ["--bind", str(host), inside]
    if spec.workspace_read_only:  # last, so that layers can be mounted inside it
        arguments += ["--remount-ro", WORK_INSIDE]
    return [*arguments, "--remount-ro", "/run", "--chdir", WORK_INSIDE]


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _subpaths(paths: Iterable[Path]) -> str:
    return " ".join(f"(subpath {_quoted(path)})" for path in paths)


_INSTALL = "Install it (Debian, Ubuntu: `apt install bubblewrap`), or say `sandbox: none`."
_NESTED = "Give the container the right to make user namespaces, or say `sandbox: none`."
_REMEDIES = (
    ("nesting depth or", "Raise user.max_user_namespaces (sysctl), or say `sandbox: none`."),
    ("No permissions to create new namespace",
     "Allow it: `sysctl kernel.unprivileged_userns_clone=1`, or say `sandbox: none`."),
    ("Creating new namespace failed: Operation not permitted", _NESTED),
    ("Can't mount proc", "The container masks /proc: start it with an unmasked /proc "
     "(`--security-opt systempaths=unconfined`), or say `sandbox: none`."),
    ("setting up uid map", "AppArmor forbids it: add a profile for /usr/bin/bwrap with `userns,`, "
     "or set kernel.apparmor_restrict_unprivileged_userns=0."),
    ("RTM_NEWADDR", "This kernel refuses an own loopback: use `network: open` for the cage, "
     "or another container runtime, or say `sandbox: none`."),
    ("Unknown option", "Bubblewrap is too old: 0.8.0 or newer is needed."),
    ("Can't find source path", "A folder the cage shows is missing: run `clawd doctor`."),
)  # fmt: skip
