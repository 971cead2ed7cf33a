"""The `claude` program: finding it, its exact command line, environment and credential."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawd.errors import ClawdError, UsageError
from clawd.model import Role

TESTED = ("2.1.197", "2.1.329")
MINIMUM = TESTED[0]
# The oldest version known to take it; between the tested two nobody has looked.
_SNAPSHOT_SINCE = (2, 1, 329)
PROMPT_LIMIT_BYTES = 1 << 20  # the client refuses 10 MB, the model far less
_ARGUMENT_LIMIT_BYTES = 100_000  # one argument of exec holds 128 KiB
_VERSION_DEADLINE_S = 30  # 2 to 4 seconds from a cold disk, more on a busy machine

TOOLS: Mapping[Role, tuple[str, ...]] = {
    Role.PM: (),
    Role.PLANNER: ("Read", "Glob", "Grep"),
    Role.DEV: ("Bash", "Read", "Edit", "Write", "Glob", "Grep"),
    Role.QA: ("Read", "Glob", "Grep"),
}
_USUAL_PLACES = (
    "~/.local/bin/claude", "~/.claude/local/claude", "/usr/local/bin/claude",
    "/opt/homebrew/bin/claude", "/usr/bin/claude",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Binary:
    """The program as found: `script` = it needs an interpreter (npm's wrapper, a test agent)."""

    path: Path
    version: str
    sha256: str
    script: bool

    @property
    def tested(self) -> bool:
        """Whether this very version is in the test matrix."""
        return self.version in TESTED


@dataclass(frozen=True, slots=True)
class Order:
    """One run's command line, as far as it differs from run to run."""

    role: Role
    model: str
    session: str
    role_file: str
    resume: bool = False
    effort: str = ""
    turns: int | None = None
    budget_micros: int | None = None
    schema: Mapping[str, Any] | None = None
    tools: Sequence[str] | None = None


class Outdated(ClawdError):
    """The program is there, but older than what clawd was tested with."""


_known: dict[tuple[int, ...], Binary] = {}
_known_lock = threading.Lock()


def find_binary(
    configured: str | Path | None, environ: Mapping[str, str], minimum: str = MINIMUM
) -> Binary:
    """The program of the configuration, else of PATH and the usual places; version and hash."""
    binary = _describe(_locate(configured, environ), environ)
    if version_parts(binary.version) < version_parts(minimum):
        raise Outdated(
            f"{binary.path} is Claude Code {binary.version}; clawd needs {minimum} or newer.",
            "Update it with `claude update`.",
        )
    return binary


def _locate(configured: str | Path | None, environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    if configured:
        asked = str(configured)
        path = Path(home + asked[1:] if asked.startswith("~/") else asked)
        if not os.access(path, os.X_OK) or not path.is_file():
            raise ClawdError(
                f"There is no program at {path}.", "Set `claude.path` in clawd.yaml, or empty it."
            )
        return _native(path.resolve())
    found = shutil.which("claude", path=environ.get("PATH", os.defpath))
    places = [found] if found else []
    places += [home + place[1:] if place[0] == "~" else place for place in _USUAL_PLACES]
    for place in places:
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return _native(Path(place).resolve())
    raise ClawdError(
        "Claude Code is not installed: there is no `claude` in PATH.",
        "Install it (`npm install -g @anthropic-ai/claude-code`), or set `claude.path`.",
    )


def _native(path: Path) -> Path:
    """Behind npm's wrapper script, the platform package's own program; it needs no node."""
    if path.suffix not in (".js", ".cjs", ".mjs"):
        return path
    scopes = (path.parent, path.parent.parent, path.parent / "node_modules" / "@anthropic-ai")
    for scope in scopes:
        for candidate in sorted(scope.glob("claude-code-*/claude")):
            if os.access(candidate, os.X_OK):
                return candidate
    return path


def _describe(path: Path, environ: Mapping[str, str]) -> Binary:
    """Version and hash, looked up once for each state of the file."""
    seen = path.stat()
    key = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns)
    with _known_lock:
        known = _known.get(key)
        if known is None or known.path != path:
            with path.open("rb") as file:
                script = file.read(2) == b"#!"
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            known = Binary(path, _ask_version(path, environ), digest, script)
            _known[key] = known
    return known


def _ask_version(path: Path, environ: Mapping[str, str]) -> str:
    with tempfile.TemporaryDirectory(prefix="clawd-version-") as home:
        env = {"PATH": environ.get("PATH", os.defpath), "HOME": home, **_QUIET}
        try:
            done = subprocess.run(
                [str(path), "--version"],
                env=env, cwd=home, stdin=subprocess.DEVNULL, capture_output=True,
                timeout=_VERSION_DEADLINE_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ClawdError(f"{path} does not run: {error}.", "Reinstall Claude Code.") from error
    said = done.stdout.decode("utf-8", "replace")
    found = re.search(r"\d+\.\d+\.\d+", said)
    if done.returncode != 0 or found is None:
        told = (said + done.stderr.decode("utf-8", "replace")).strip()[:200]
        raise ClawdError(f"{path} is not Claude Code: {told or 'it says no version'}.",
                         "Set `claude.path` in clawd.yaml.")  # fmt: skip
    return found.group()


def version_parts(version: str) -> tuple[int, ...]:
    """A version as numbers, for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


_QUIET = {
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}


def invocation(program: str, version: str, order: Order) -> list[str]:
    """The pinned command line; the prompt comes on stdin (docs/adr/005)."""
    tools = TOOLS[order.role] if order.tools is None else tuple(order.tools)
    argv = [
        program, "-p", "--output-format", "stream-json", "--verbose",
        "--include-partial-messages",
        "--resume" if order.resume else "--session-id", order.session,
        "--setting-sources", "", "--strict-mcp-config",
        "--permission-mode", "dontAsk",
        "--tools", ",".join(tools),
    ]  # fmt: skip
    if tools:
        argv += ["--allowedTools", ",".join(tools)]
    if order.model:
        argv += ["--model", order.model]
    if order.effort:
        argv += ["--effort", order.effort]
    if order.turns is not None:
        argv += ["--max-turns", str(_positive(order.turns, "turns"))]
    if order.budget_micros is not None:
        micros = _positive(order.budget_micros, "money")
        argv += ["--max-budget-usd", f"{micros // 1_000_000}.{micros % 1_000_000:06d}"]
    argv += ["--append-system-prompt-file", order.role_file]
    if version_parts(version) >= _SNAPSHOT_SINCE:
        argv += ["--system-prompt-snapshot", "off"]
    if order.schema is not None:
        argv += ["--json-schema", _schema_text(order.schema)]
    return argv


def _positive(value: int, what: str) -> int:
    """Zero turns would mean "no limit" to the client, and zero money is refused by it."""
    if value <= 0:
        raise ClawdError(f"A run cannot start with no {what} left.")
    return value


def _schema_text(schema: Mapping[str, Any]) -> str:
    text = json.dumps(schema, separators=(",", ":"))
    if schema.get("type") != "object":
        raise UsageError("A schema for an answer must be of type object.")
    if len(text.encode()) > _ARGUMENT_LIMIT_BYTES:
        raise UsageError("A schema for an answer must be shorter than 100 kB.")
    return text


def environment(
    base_url: str | None = None, *, retries: int = 8, timeout_ms: int = 600_000
) -> dict[str, str]:
    """What the client's environment has beside PATH and HOME; the credential comes apart.

    CLAUDE_CODE_SUBPROCESS_ENV_SCRUB is left out on purpose: it switches the permission mode back
    and makes Bash refuse to run without the client's own sandbox.
    """
    env = {
        **_QUIET,
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
        "CLAUDE_CODE_MAX_RETRIES": str(retries),
        "API_TIMEOUT_MS": str(timeout_ms),
    }
    return {**env, "ANTHROPIC_BASE_URL": base_url} if base_url else env


_KEPT_OUTSIDE = ("PATH", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME", "SHELL", "TZ")


def bare_environment(
    environ: Mapping[str, str], home: Path, extra: Mapping[str, str]
) -> dict[str, str]:
    """The environment without a cage: an allow-list of the daemon's, and never a proxy."""
    kept = {name: environ[name] for name in _KEPT_OUTSIDE if name in environ}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **kept, **extra, "HOME": str(home)}


@dataclass(frozen=True, slots=True)
class Probe:
    """A one-turn run that shows whether the login works; the caller runs it in the cage."""

    argv: list[str]
    prompt: str
    env: dict[str, str]


def probe_login(program: str, version: str, model: str, session: str, role_file: str) -> Probe:
    """The smallest run there is: one turn, no tools, five cents at most, few retries."""
    order = Order(Role.PM, model, session, role_file, turns=1, budget_micros=50_000)
    argv = invocation(program, version, order)
    return Probe(argv, "Role: probe\nAnswer with the one word: ready", environment(retries=2))
