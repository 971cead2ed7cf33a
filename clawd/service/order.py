"""What the service is to run: the exact command, its whole environment, its place."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clawd.errors import ClawdError, Refused

_USUAL = ("/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LOOK_LIMIT_S = 60.0
_URL = "CLAWD_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class Order:
    """One home's service, the same for every service manager; it holds no secret."""

    home: Path
    name: str
    python: str
    environment: Mapping[str, str]

    @property
    def daemon(self) -> list[str]:
        """The daemon in the foreground; -P keeps the working folder off the module path."""
        up = ["up", "--foreground", "--home", str(self.home)]
        return [self.python, "-P", "-m", "clawd", *up]

    @property
    def database(self) -> list[str]:
        """The embedded server with somebody who minds it."""
        return [self.python, "-P", "-m", "clawd.service.database", str(self.home)]

    @property
    def keeps_database(self) -> bool:
        """Whether the database is ours to run."""
        return _URL not in self.environment

    def look(self, *, probe: bool) -> list[str]:
        """The look at the login from inside."""
        asked = ["--probe"] if probe else []
        answer = str(self.look_answer)
        return [self.python, "-P", "-m", "clawd.service.look", str(self.home), answer, *asked]

    @property
    def look_answer(self) -> Path:
        return self.home / "logs" / "service-login.json"

    @property
    def log(self) -> Path:
        """Where first and last words go that the daemon's own log does not have."""
        return self.home / "logs" / "service.log"


def order_for(
    home: Path,
    environ: Mapping[str, str],
    *,
    python: str = sys.executable,
    platform: str = sys.platform,
) -> Order:
    """The order for this home, for this person, with what this shell knows."""
    if _CONTROL.search(f"{home}{python}"):
        raise Refused("A service cannot have line ends in its paths.", "Use another CLAWD_HOME.")
    return Order(home, name_of(home), python, _environment(environ, python, platform))


def name_of(home: Path) -> str:
    """`clawd` for the usual home; others have a suffix, so that several can be services."""
    if home.resolve() == (Path.home() / ".clawd").resolve():
        return "clawd"
    return "clawd-" + hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:8]


def _environment(environ: Mapping[str, str], python: str, platform: str) -> dict[str, str]:
    """Literal values: a service manager knows no shell profile and expands nothing."""
    person = pwd.getpwuid(os.geteuid())
    home = environ.get("HOME", "")
    found = {
        "PATH": _search_path(environ.get("PATH", ""), python),
        "HOME": home if os.path.isabs(home) else person.pw_dir,
        "USER": person.pw_name,
        "LOGNAME": person.pw_name,
        "LANG": _language(environ, platform),
    }
    if url := _database_url(environ):
        found[_URL] = url
    for name, value in found.items():
        if _CONTROL.search(value):
            raise Refused(f"{name} holds control characters.", f"Mend {name} and try again.")
    return found


def _search_path(path: str, python: str) -> str:
    """The operator's own PATH, without what others could write to, then the usual places."""
    places = [*path.split(os.pathsep), os.path.dirname(python), *_USUAL]
    kept: list[str] = []
    for place in places:
        if os.path.isabs(place) and place not in kept and _is_safe(place):
            kept.append(place)
    return os.pathsep.join(kept)


def _is_safe(folder: str) -> bool:
    try:
        found = os.stat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and not found.st_mode & stat.S_IWOTH


def _language(environ: Mapping[str, str], platform: str) -> str:
    given = environ.get("LC_ALL") or environ.get("LANG") or ""
    if given.lower().replace("-", "").endswith("utf8"):
        return given
    return "en_US.UTF-8" if platform == "darwin" else "C.UTF-8"


def _database_url(environ: Mapping[str, str]) -> str | None:
    """The operator's own Postgres, if its address holds no password: unit files are no safe."""
    url = environ.get(_URL)
    if not url:
        return None
    from psycopg import ProgrammingError  # noqa: PLC0415 - slow to import, seldom needed
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        secret = conninfo_to_dict(url).get("password")
    except ProgrammingError:
        raise Refused(f"{_URL} is no address of a Postgres.", "Mend it or unset it.") from None
    if secret:
        raise Refused(
            f"{_URL} holds a password, and a service's file is no place for one.",
            "Put the password into ~/.pgpass (chmod 600), take it out of the address, try again.",
        )
    return url


def check(order: Order) -> None:
    """Whether the interpreter can run clawd from anywhere, as the service will ask it to."""
    try:
        done = subprocess.run(
            [order.python, "-P", "-c", "import clawd.cli.main"],
            cwd="/", env=dict(order.environment), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=_LOOK_LIMIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClawdError(f"{order.python} does not run: {error}.", _INSTALL_FIRST) from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
        raise ClawdError(f"{order.python} cannot run clawd by itself: {said}", _INSTALL_FIRST)


_INSTALL_FIRST = (
    "Install clawd into a Python of its own (scripts/run --setup makes .venv), then call "
    "`clawd service install` with that one."
)
