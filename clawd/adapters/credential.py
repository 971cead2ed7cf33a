"""Reads agent.env: the one credential agents work with, and nothing else."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from clawd.errors import ClawdError

OAUTH = "CLAUDE_CODE_OAUTH_TOKEN"
API_KEY = "ANTHROPIC_API_KEY"
BASE_URL = "ANTHROPIC_BASE_URL"
_DESCRIPTORS = {
    OAUTH: "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR",
    API_KEY: "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR",
}
_LARGEST_BYTES = 64 * 1024
_LOGIN_AGAIN = "Run `clawd init`, it writes the file."


@dataclass(frozen=True, slots=True)
class Credential:
    """Where the secret is and how it is handed over; never the secret itself."""

    file: Path
    key: str
    base_url: str | None

    @property
    def descriptor_variable(self) -> str:
        """The variable that names the descriptor the client reads the secret from."""
        return _DESCRIPTORS[self.key]

    @property
    def subscription(self) -> bool:
        """Whether it draws on a plan's limits and not on a prepaid account."""
        return self.key == OAUTH


def read_credential(path: Path) -> Credential:
    """Check agent.env and say what is in it; every complaint names line and cure."""
    values = _parse(_read_private(path), path)
    given = [key for key in _DESCRIPTORS if key in values]
    if len(given) != 1:
        both = "both" if given else "neither"
        raise ClawdError(
            f"{path} has {both} of {OAUTH} and {API_KEY}; it must have exactly one.", _LOGIN_AGAIN
        )
    url = values.get(BASE_URL)
    if url is not None and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", url):
        raise ClawdError(f"{BASE_URL} in {path} is not an http address.", "Mend or remove it.")
    return Credential(path, given[0], url)


def _read_private(path: Path) -> str:
    try:
        # Not blocking: a named pipe put there must not hang us.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise ClawdError(f"There is no login yet: {path} is missing.", _LOGIN_AGAIN) from error
    except OSError as error:
        raise ClawdError(f"{path} cannot be read: {error.strerror}.", _LOGIN_AGAIN) from error
    try:
        _check_private(os.fstat(file), path)
        return os.read(file, _LARGEST_BYTES).decode("utf-8", "replace")
    finally:
        os.close(file)


def _check_private(seen: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise ClawdError(f"{path} is not a plain file.", _LOGIN_AGAIN)
    if seen.st_mode & 0o077:
        raise ClawdError(
            f"{path} can be read by others (mode {stat.S_IMODE(seen.st_mode):04o}).",
            f"Run `chmod 600 {path}`; renew the token if others use this machine.",
        )
    if seen.st_uid not in (os.geteuid(), 0):
        raise ClawdError(f"{path} belongs to another user.", _LOGIN_AGAIN)


def _parse(text: str, path: Path) -> dict[str, str]:
    """Strict KEY=VALUE: no export, no quotes, no key twice, nothing clawd does not know."""
    values: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        key, found, value = line.partition("=")
        where = f"Line {number} of {path}"
        if not found or not re.fullmatch(r"[A-Z_]+", key):
            raise ClawdError(f"{where} is not KEY=VALUE.", "Write it without `export` or spaces.")
        if key not in (*_DESCRIPTORS, BASE_URL):
            known = f"{OAUTH}, {API_KEY}, {BASE_URL}"
            raise ClawdError(f"{where} sets {key}, which is none of {known}.", "Remove it.")
        if key in values:
            raise ClawdError(f"{where} sets {key} a second time.", "Keep one of them.")
        if not re.fullmatch(r"[!#-&(-~]+", value):
            raise ClawdError(
                f"The value in line {number} of {path} is empty or has spaces, quotes or control "
                "characters.", "Write the bare value.",
            )  # fmt: skip
        values[key] = value
    return values
