"""Where a home's database lives: its folders, its owner, and how they are made safe."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clawd.adapters.server.locate import WHEEL, Binaries
from clawd.errors import ClawdError

# Root-owned places an unprivileged account can reach even when every home is 0700.
ROOT_PLACES = (Path("/var/lib/clawd"), Path("/srv/clawd"))
SOCKET_NAME = ".s.PGSQL.5432"
OWN_DATABASE = "Set CLAWD_DATABASE_URL to a PostgreSQL of your own, or run clawd as a plain user."
_SOCKET_PATH_LIMIT = 100  # sun_path is 104 bytes on macOS, 108 on Linux
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")  # libpq splits a host on commas, and so on
_ACCOUNTS = ("nobody", "daemon")


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one home's server, and the account it runs as."""

    home: Path
    cluster: Path
    uid: int
    gid: int

    @property
    def data(self) -> Path:
        return self.cluster / "data"

    @property
    def log(self) -> Path:
        return self.cluster / "server.log"

    @property
    def drops_privileges(self) -> bool:
        return self.uid != os.geteuid()

    @property
    def account(self) -> str:
        return account_name(self.uid)

    @property
    def socket_dir(self) -> Path:
        """Inside the home where the path allows it, else a short folder of this user's own."""
        inside = self.cluster / "run"
        path = str(inside / SOCKET_NAME)
        if len(path) <= _SOCKET_PATH_LIMIT and _PLAIN_PATH.fullmatch(path):
            return inside
        short = hashlib.sha256(os.fsencode(self.cluster)).hexdigest()[:8]
        return Path("/tmp") / f"clawd-{self.uid}" / short  # noqa: S108 (owner and mode are checked)


def account_name(uid: int) -> str:
    """The name peer authentication will see for `uid`."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise ClawdError(
            f"This user (uid {uid}) has no entry in the password database, which PostgreSQL needs.",
            f"Add one to /etc/passwd. {OWN_DATABASE}",
        ) from None


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turns the operating system's refusal into one sentence."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ClawdError(
            f"{doing} failed: {error.strerror or error}{where}.",
            "Free some space or fix the permissions there, then run the command again.",
        ) from error


def find_layout(home: Path) -> Layout | None:
    """The layout of a home whose database was set up before; changes nothing."""
    home = home.resolve()
    pointer = home / "pg" / "location"
    if os.geteuid() != 0:
        if pointer.exists():
            raise ClawdError(
                f"The database of {home} belongs to root.", "Run clawd as root, or use another home"
            )
        return Layout(home, home / "pg", os.geteuid(), os.getegid())
    if (home / "pg" / "data").exists():
        owner = account_name((home / "pg" / "data").stat().st_uid)
        raise ClawdError(
            f"The database of {home} belongs to the user {owner}.",
            f"Run clawd as {owner}, or set CLAWD_HOME to a folder of your own.",
        )
    try:
        cluster = Path(pointer.read_text().strip())
    except (FileNotFoundError, NotADirectoryError):
        return None
    uid, gid = _unprivileged_account()
    return Layout(home, _trusted_cluster(cluster, pointer), uid, gid)


def prepare_home(home: Path) -> Path:
    """Makes the home and its `pg` folder, where the lock lies, unless they can never work."""
    home = home.resolve()
    if any(not character.isprintable() for character in str(home)):
        raise ClawdError(f"The path {str(home)!r} has unprintable characters.", "Use another home.")
    account_name(os.geteuid())
    with explained(f"Preparing the database folder in {home}"):
        find_layout(home)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_folder(home / "pg", os.geteuid())
    return home


def make_layout(home: Path) -> Layout:
    """The layout of a prepared home, with every folder but the data; under the home's lock."""
    with explained(f"Preparing the database folder in {home}"):
        layout = find_layout(home) or _place_for_root(home)
        if layout.socket_dir.parent != layout.cluster:
            private_folder(layout.socket_dir.parent, layout.uid)
        private_folder(layout.socket_dir, layout.uid)
    return layout


def private_folder(path: Path, uid: int) -> None:
    """Makes `path` a real folder, 0700, owned by `uid`; refuses what somebody else put there."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        if uid != os.geteuid():
            _give_away(path, uid)
    if not is_private(path, uid):
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == uid == os.geteuid():
            path.chmod(0o700)
            return
        raise ClawdError(
            f"{path} is not a private folder of {account_name(uid)}, so nothing is put there.",
            "Look at who made it, then remove it.",
        )


def _give_away(path: Path, uid: int) -> None:
    try:
        os.chown(path, uid, -1)
    except OSError as error:
        path.rmdir()
        raise ClawdError(
            "PostgreSQL does not run as root, and this root may not use another account"
            f" ({account_name(uid)}: {error.strerror}).",
            OWN_DATABASE,
        ) from error


def is_private(path: Path, uid: int) -> bool:
    """A real folder (no link) of `uid` that nobody else can enter."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o077


def _unprivileged_account() -> tuple[int, int]:
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return entry.pw_uid, entry.pw_gid
    raise ClawdError(
        "PostgreSQL does not run as root, and this machine has no account named nobody or daemon.",
        OWN_DATABASE,
    )


def _trusted_cluster(cluster: Path, pointer: Path) -> Path:
    """A pointer is followed only to a folder of root's in one of root's own places."""
    if cluster.parent not in ROOT_PLACES:
        raise ClawdError(
            f"{pointer} points to {cluster}, which is none of clawd's.", "Remove the file."
        )
    try:
        found = cluster.lstat()
    except FileNotFoundError:
        raise ClawdError(
            f"The database of this home was in {cluster}, and that folder is gone.",
            f"Mount it again (a new container?), or remove {pointer} to begin with an empty one.",
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0:
        raise ClawdError(f"{cluster} is not a folder of root's.", "Look at who changed it.")
    return cluster


def _place_for_root(home: Path) -> Layout:
    """A new folder in a place the server's account can reach, and the pointer to it."""
    uid, gid = _unprivileged_account()
    place = _root_place()
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:8] + "-" + secrets.token_hex(4)
    cluster = place / name
    cluster.mkdir(mode=0o711)
    cluster.chmod(0o711)
    (cluster / "home").write_text(f"{home}\n")
    write_file(home / "pg" / "location", f"{cluster}\n", 0o600)
    return Layout(home, cluster, uid, gid)


def _root_place() -> Path:
    troubles = []
    for place in ROOT_PLACES:
        try:
            place.mkdir(mode=0o711, exist_ok=True)
            if place.lstat().st_uid != 0 or place.is_symlink():
                troubles.append(f"{place} is not a folder of root's")
            elif not all(parent.stat().st_mode & 0o001 for parent in (place, *place.parents)):
                troubles.append(f"{place} cannot be reached by other accounts")
            else:
                return place
        except OSError as error:
            troubles.append(f"{place}: {error.strerror}")
    raise ClawdError(
        "As root the database must live where an unprivileged account can reach it, and there is"
        f" no such place: {'; '.join(troubles)}.",
        OWN_DATABASE,
    )


def write_file(path: Path, text: str, mode: int) -> None:
    """Replaces a file in one step, so that nobody ever reads half of it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def reachable_binaries(layout: Layout, binaries: Binaries) -> Binaries:
    """The programs where the server's account can run them: as root, the wheel's are copied once.

    A system installation is reachable by everybody already.
    """
    if not (layout.drops_privileges and binaries.from_wheel):
        return binaries
    package = binaries.bin.parents[1]
    kept = layout.cluster.parent / "bin" / f"{WHEEL}-{binaries.version}-{_stamp(package)}"
    copied = Binaries(kept / WHEEL / "pginstall" / "bin", binaries.version, from_wheel=True)
    if kept.exists():
        return copied
    with explained("Copying the PostgreSQL programs"):
        kept.parent.mkdir(mode=0o711, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=kept.parent, prefix=".copy-"))
        try:
            _copy_programs(package, draft)
            draft.rename(kept)
        except OSError:
            if not kept.exists():  # another starter may have been quicker
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return copied


def _stamp(package: Path) -> str:
    """Tells two builds of one version apart."""
    found = (package / "pginstall" / "bin" / "postgres").stat()
    return hashlib.sha256(f"{found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:8]


def _copy_programs(package: Path, draft: Path) -> None:
    """Copies programs and libraries side by side (they find each other by relative path)."""
    skip = shutil.ignore_patterns("include", "*.a", "__pycache__")
    shutil.copytree(package / "pginstall", draft / WHEEL / "pginstall", ignore=skip, symlinks=True)
    libraries = package.parent / f"{WHEEL}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, draft / libraries.name, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
