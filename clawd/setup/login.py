"""How agents log in: a token of their own, an API key, the operator's login, or none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from clawd import config as configuration
from clawd.adapters.claude import Binary
from clawd.adapters.credential import API_KEY, OAUTH, Credential, read_credential
from clawd.config import Login
from clawd.errors import ClawdError, Refused, UsageError
from clawd.pipeline.desk import Desk
from clawd.setup import probe, settings
from clawd.setup.checklist import Checklist
from clawd.setup.choices import Choices
from clawd.setup.home import replace_file

FILE_NAME = "agent.env"
_SETUP_TOKEN_LIMIT_S = 900
_TOKEN = re.compile(r"[!#-&(-~]{20,4000}")  # what agent.env takes: no spaces, no quotes
_KINDS = {OAUTH: "a subscription token", API_KEY: "an API key"}
_BY_HAND = (
    f"Run `clawd init` in a terminal, or write {OAUTH}=... (from `claude setup-token`) or "
    f"{API_KEY}=... into {{file}} and close it: chmod 600 {{file}}"
)


def refuse_over_ssh(home: Path, wanted: Choices, environ: Mapping[str, str], platform: str) -> None:
    """macOS keeps its keychain shut for ssh: a login that lives there would look like none."""
    remote = bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))
    if platform != "darwin" or not remote or wanted.token or wanted.login == "none":
        return
    kind = configuration.load(home).login if home.is_dir() else Login.TOKEN
    if wanted.login == "inherit" or (wanted.login is None and kind is Login.INHERIT):
        raise _over_ssh(home)
    if kind is not Login.NONE and not (home / FILE_NAME).exists():
        raise _over_ssh(home)


def _over_ssh(home: Path) -> Refused:
    return Refused(
        "Over ssh macOS keeps its keychain shut, so agents could not use your login.",
        "Run `claude setup-token` in a terminal on the Mac itself and write the token as "
        f"{OAUTH}=... into {home / FILE_NAME} (chmod 600); then run this again.",
    )


def check(out: Checklist, desk: Desk, binary: Binary | None, wanted: Choices) -> bool:
    """Ticks the login, after asking for one where there is none; True when agents can start."""
    kind = configuration.load(desk.home).login
    if kind is Login.TOKEN and _wants_new(desk, wanted):
        kind = _obtain(out, desk, binary, wanted)
    desk.config = configuration.load(desk.home)
    if kind is Login.NONE:
        out.tick("login", "none: agents get no credential and no network (`login: none`)")
        return True
    if kind is Login.INHERIT:
        return _inherited(out)
    try:
        known = read_credential(desk.login_file)
    except ClawdError as error:
        out.miss("login", error.message, _BY_HAND.format(file=desk.login_file))
        return False
    return _proven(out, desk, binary, known, wanted)


def _wants_new(desk: Desk, wanted: Choices) -> bool:
    return wanted.token is not None or not desk.login_file.exists()


def _obtain(out: Checklist, desk: Desk, binary: Binary | None, wanted: Choices) -> Login:
    """Asks until there is something to write, or nobody answers."""
    if wanted.token is not None:
        write_token(desk.login_file, wanted.token, wanted.login or "token")
        return Login.TOKEN
    if not out.asks:
        return Login.TOKEN
    way = wanted.login or out.answer(
        "How do agents log in? token (claude setup-token), key (an API key), inherit (your login)",
        "token", ("token", "key", "inherit"),
    )  # fmt: skip
    if way == "inherit":
        settings.choose_login(desk.home, Login.INHERIT)
        return Login.INHERIT
    if way == "token" and binary is not None:
        _open_setup_token(out, binary)
    what = "the token" if way == "token" else "the API key"
    try:
        said = out.answer(f"Paste {what} (empty to do it later)", "", secret=True)
    except UsageError:  # nobody there to paste one: the row about the login says what to do
        return Login.TOKEN
    if said:
        write_token(desk.login_file, said, way)
    return Login.TOKEN


def _open_setup_token(out: Checklist, binary: Binary) -> None:
    """The command talks to the person itself; it prints the token, and only they see it."""
    if not sys.stdin.isatty():
        return
    out.note("`claude setup-token` opens your browser and prints a token at its end.")
    try:
        subprocess.run([str(binary.path), "setup-token"], timeout=_SETUP_TOKEN_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        out.note(f"`claude setup-token` did not finish: {type(error).__name__}.")


def write_token(file: Path, said: str, way: str) -> None:
    """agent.env with exactly this one credential; its own prefix tells a key from a token."""
    token = said.strip()
    if not _TOKEN.fullmatch(token):
        raise UsageError(
            "That is no token: it must be one word of 20 to 4000 plain characters.",
            "Copy the whole of it, without quotes or line ends.",
        )
    key = API_KEY if way == "key" else OAUTH
    if token.startswith("sk-ant-oat"):
        key = OAUTH
    elif token.startswith("sk-ant-api"):
        key = API_KEY
    replace_file(file, f"{key}={token}\n")


def _inherited(out: Checklist) -> bool:
    theirs = Path.home() / ".claude" / ".credentials.json"
    if sys.platform != "darwin" and not theirs.exists():
        out.miss(
            "login", f"`login: inherit` needs {theirs}, which is not there",
            "Log in with `claude`, or set `login: token` and run `clawd init` again.",
        )  # fmt: skip
        return False
    out.warn("login", "agents use your own login and can read it (`login: inherit`)")
    return True


def _proven(
    out: Checklist, desk: Desk, binary: Binary | None, known: Credential, wanted: Choices
) -> bool:
    """The shape is right; whether it works only a call to the model tells."""
    kind = _KINDS[known.key]
    asked = wanted.probe
    if asked is None and out.asks:
        asked = (
            out.answer("Try it with one tiny call (under a cent)?", "yes", ("yes", "no")) == "yes"
        )
    if not asked or binary is None:
        out.tick("login", f"{kind} in {known.file} (not tried)")
        return True
    tried = probe.login(desk, binary, os.environ)
    if not tried.ok:
        out.miss("login", tried.detail, tried.remedy)
        return False
    out.tick("login", f"{kind} in {known.file}; {tried.detail}")
    return True
