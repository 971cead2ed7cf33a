"""The look at the login from inside the service: what the daemon would see, not this shell."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from clawd import config as configuration
from clawd.adapters import claude
from clawd.adapters.credential import OAUTH
from clawd.config import Config, Login
from clawd.doctor import programs
from clawd.doctor.finding import Finding
from clawd.errors import ClawdError
from clawd.service.calling import Done, call
from clawd.service.state import Manager

KEYCHAIN_ITEM = "Claude Code-credentials"
_LIMIT_S = 60.0
_PROBE_LIMIT_S = 240.0
_AGAIN = "Run `clawd service install` again from a terminal: it writes {} into the service."
_TOKEN = (
    "Run `claude setup-token` in a terminal on this machine's own screen, write the token as "
    f"{OAUTH}=... into {{home}}/agent.env (chmod 600; `login: token` in clawd.yaml), then: "
    "clawd service restart"
)
_PATH_REMEDY = (
    "Run `clawd service install` again from a shell where `claude --version` answers, or set "
    "`claude.path` in clawd.yaml to its absolute place."
)
_LOCKED = "Unlock it (`security unlock-keychain`), or do without: {token}"
# What a login that failed says, and what helps; the first match counts.
_SAID = (
    (("not logged in", "please run /login", "not_logged_in", "invalid api key", "401"), _TOKEN),
    (("command not found", "no such file", "there is no `claude`", "exit 127"), _PATH_REMEDY),
    (("interaction is not allowed", "exit 36", "keychain"), _LOCKED),
)


def inside(manager: Manager, *, probe: bool = False) -> list[Finding]:
    """Runs the look where the daemon runs and brings back what it found."""
    answer = manager.order.look_answer
    answer.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    answer.unlink(missing_ok=True)
    manager.look(probe=probe, limit_s=_PROBE_LIMIT_S if probe else _LIMIT_S)
    try:
        rows = json.loads(answer.read_bytes())
        return [Finding(row["name"], row["ok"], row["detail"], row["remedy"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        remedy = f"Its last words are in {manager.order.log}; try again in a minute."
        return [Finding("look", False, "the look from inside gave no answer", remedy)]
    finally:
        answer.unlink(missing_ok=True)


def look(home: Path, environ: Mapping[str, str], platform: str, *, probe: bool) -> list[Finding]:
    """Everything a login needs, as it is right here; never raises."""
    found = list(surroundings(environ))
    try:
        config = configuration.load(home)
        found += programs.claude_found(config)
        if config.login is Login.INHERIT:
            found += _inherited(config, environ, platform)
        found += programs.login(home, config, probe=probe)
    except ClawdError as error:
        found.append(Finding("login", False, error.message, error.remedy))
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        found.append(Finding("login", False, said, "Run `clawd doctor --probe` for the same look."))
    return [one if one.ok is not False else with_remedy(one, home) for one in found]


def surroundings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """USER alone missing makes a login look absent; a bare PATH hides every program."""
    person = pwd.getpwuid(os.geteuid())
    for name, wanted in (("USER", person.pw_name), ("HOME", person.pw_dir)):
        given = environ.get(name, "")
        if not given:
            yield Finding(name, False, f"{name} is not set", _AGAIN.format(name))
        elif name == "USER" and given != wanted:
            yield Finding(
                name, False, f"USER is {given}, but this is {wanted}", _AGAIN.format(name)
            )
        else:
            yield Finding(name, True, given)
    places = [place for place in environ.get("PATH", "").split(os.pathsep) if place]
    bare = set(places) <= {"/usr/bin", "/bin", "/usr/sbin", "/sbin"}
    home = environ.get("HOME", "")
    if any("~" in place or "$" in place for place in places):
        yield Finding("PATH", False, "it has ~ or $, which nobody expands", _AGAIN.format("PATH"))
    elif bare:
        yield Finding("PATH", None, f"only {os.pathsep.join(places) or 'nothing'}", _PATH_REMEDY)
    else:
        yield Finding("PATH", True, f"{len(places)} folders, {places[0]} first")
    if home and not os.access(home, os.R_OK | os.X_OK):
        yield Finding("HOME", False, f"{home} cannot be read", "Log in once, so that it is there.")


def _inherited(config: Config, environ: Mapping[str, str], platform: str) -> Iterator[Finding]:
    """The operator's own login: the keychain on macOS, and what the client says of it."""
    if platform == "darwin":
        yield keychain(
            call_quietly(["security", "find-generic-password", "-s", KEYCHAIN_ITEM, "-w"])
        )
    binary = claude.find_binary(config.claude.path or None, environ, config.claude.minimum)
    done = call([str(binary.path), "auth", "status", "--json"], environ=environ)
    try:
        logged_in = json.loads(done.out)["loggedIn"] is True
    except (ValueError, KeyError, TypeError):
        yield Finding("claude auth status", None, f"it answered {done.rc}: {done.said}")
        return
    if logged_in:
        yield Finding("claude auth status", True, "logged in")
    else:
        yield Finding("claude auth status", False, "Not logged in")


def call_quietly(argv: list[str]) -> Done:
    """Its exit code and errors only: what it prints is the secret itself."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace", timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return Done(127, type(error).__name__)
    return Done(done.returncode, done.stderr)


def keychain(done: Done) -> Finding:
    """What `security` says about the client's own item."""
    name = "keychain"
    if done.ok:
        return Finding(name, True, f"{KEYCHAIN_ITEM} can be read here")
    if done.rc == 36:
        return Finding(name, False, "exit 36: the keychain is locked, or this is no Aqua session")
    if done.rc == 44:
        return Finding(name, None, f"exit 44: it has no item {KEYCHAIN_ITEM}", _TOKEN)
    return Finding(name, None, f"exit {done.rc}: {done.said}", "")


def with_remedy(one: Finding, home: Path) -> Finding:
    """The exact cure for what is known to go wrong under a service manager."""
    said = f"{one.name} {one.detail}".lower()
    token = _TOKEN.format(home=home)
    for words, remedy in _SAID:
        if any(word in said for word in words):
            return replace(one, remedy=remedy.format(home=home, token=token))
    return one if one.remedy else replace(one, remedy="Run `clawd doctor` in a terminal.")
