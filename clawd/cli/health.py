"""The commands doctor, config and version."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any

import click

from clawd import __version__
from clawd.cli import show
from clawd.cli.session import Session
from clawd.cli.verbs import verb


@dataclass(frozen=True, slots=True)
class Found:
    """One line of the doctor."""

    name: str
    ok: bool | None
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Health:
    """Everything the doctor looked at."""

    ok: bool
    findings: list[Found]


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration in force, defaults filled in."""

    path: str
    exists: bool
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are."""

    home: str
    config: str
    exists: bool


@dataclass(frozen=True, slots=True)
class Version:
    """Which clawd this is."""

    clawd: str
    python: str
    system: str
    schema: int
    home: str


@verb("doctor", "clawd doctor", "clawd doctor --json | jq '.findings[] | select(.ok | not)'",
      shape=Health)  # fmt: skip
@click.option("--probe", is_flag=True, help="Try the login too, with one tiny call to the model.")
@click.pass_obj
def doctor_command(session: Session, probe: bool, as_json: bool) -> int:
    """What is well, what is not, and what to do about each.

    Exit code 1 when something is not well.
    """
    from clawd import doctor  # noqa: PLC0415

    findings = [
        Found(f.name, f.ok, f.detail, f.remedy) for f in doctor.check(session.home, probe=probe)
    ]
    found = Health(all(one.ok is not False for one in findings), findings)
    if as_json:
        show.as_json(found)
        return 0 if found.ok else 1
    for one in findings:
        show.line(f"{show.tick(one.ok)} {show.one_line(one.name)}: {show.one_line(one.detail)}")
        if one.remedy and not one.ok:
            show.line(f"   -> {show.one_line(one.remedy)}")
    bad = sum(one.ok is False for one in findings)
    show.line("All is well." if found.ok else f"{bad} of {len(findings)} need you.")
    return 0 if found.ok else 1


@click.group("config")
def config_command() -> None:
    """The configuration: clawd.yaml in the home."""


@verb("show", "clawd config show", "clawd config show --json | jq .settings.budget",
      shape=Settings)  # fmt: skip
@click.pass_obj
def show_(session: Session, as_json: bool) -> None:
    """Print clawd.yaml; with --json what is in force, defaults filled in.

    Fails with the key and the line when the file cannot be read.
    """
    from clawd import config  # noqa: PLC0415

    file = session.home / config.FILE_NAME
    settings = config.load(session.home)
    if as_json:
        show.as_json(Settings(str(file), file.exists(), show.plain(settings)))
        return
    text = file.read_text("utf-8") if file.exists() else config.default_text()
    if not file.exists():
        show.line(f"# {file} does not exist yet; these are the defaults.")
    for row in text.splitlines():
        show.line(show.clean(row))


@verb("path", "clawd config path", '$EDITOR "$(clawd config path)"', shape=Place)
@click.pass_obj
def path(session: Session, as_json: bool) -> None:
    """Print where clawd.yaml is."""
    file = session.home / "clawd.yaml"
    if as_json:
        show.as_json(Place(str(session.home), str(file), file.exists()))
        return
    show.line(file)


for _verb in (show_, path):
    config_command.add_command(_verb)


@verb("version", "clawd version", "clawd version --json", shape=Version)
@click.pass_obj
def version_command(session: Session, as_json: bool) -> None:
    """Which clawd this is, and on what it runs."""
    from clawd.store import schema  # noqa: PLC0415

    known = schema.migrations()
    found = Version(
        __version__,
        platform.python_version(),
        f"{platform.system()} {platform.machine()}",
        known[-1].version if known else 0,
        str(session.home),
    )
    if as_json:
        show.as_json(found)
        return
    show.line(f"clawd {found.clawd}, schema {found.schema}, Python {found.python}, {found.system}")
