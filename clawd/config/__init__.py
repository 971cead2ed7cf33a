"""clawd.yaml: read strictly into frozen settings, written as a commented template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from clawd.config.keys import (
    BudgetSettings,
    ClaudeSettings,
    Config,
    LeaseSettings,
    LimitSettings,
    Login,
    ProjectSettings,
    ReviewSettings,
    RoadmapSettings,
    RoleSettings,
    Sandbox,
    TeamSettings,
    TrainSettings,
)
from clawd.config.pages import default_text, reference_markdown
from clawd.config.projects import with_project
from clawd.config.reading import read_section
from clawd.config.strict import ConfigBroken, read_yaml
from clawd.model import Landing, Role

FILE_NAME = "clawd.yaml"

__all__ = [
    "FILE_NAME",
    "BudgetSettings",
    "ClaudeSettings",
    "Config",
    "ConfigBroken",
    "LeaseSettings",
    "LimitSettings",
    "Login",
    "ProjectSettings",
    "ReviewSettings",
    "RoadmapSettings",
    "RoleSettings",
    "Sandbox",
    "TeamSettings",
    "TrainSettings",
    "database_url",
    "default_text",
    "home",
    "load",
    "read",
    "reference_markdown",
    "with_project",
]


def home(environ: Mapping[str, str]) -> Path:
    """The folder everything of clawd lives in: CLAWD_HOME, else ~/.clawd."""
    named = environ.get("CLAWD_HOME", "")
    return Path(named).expanduser().absolute() if named else Path.home() / ".clawd"


def database_url(environ: Mapping[str, str]) -> str | None:
    """A Postgres of the operator's own: CLAWD_DATABASE_URL; None starts the embedded one."""
    return environ.get("CLAWD_DATABASE_URL") or None


def load(folder: Path) -> Config:
    """The configuration of a home; without a file, the defaults."""
    file = folder / FILE_NAME
    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for
            raise ConfigBroken(f"{file} is no file.", "Put your settings into a plain text file.")
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return Config()
    except UnicodeDecodeError:
        raise ConfigBroken(f"{file} is not UTF-8 text.", "Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigBroken(f"{file} cannot be read: {error.strerror}.") from None
    return read(text)


def read(text: str) -> Config:
    """The configuration a text holds, or ConfigBroken with the key and the line."""
    config = read_section(Config(), read_yaml(text.removeprefix("\ufeff")), "")
    _judge_lease(config)
    _judge_names(config)
    _judge_paths(config)
    _judge_landing(config)
    return config


def _judge_lease(config: Config) -> None:
    if config.lease.heartbeat_s * 2 > config.lease.lease_s:
        raise ConfigBroken(
            "clawd.yaml: lease.heartbeat_s must be at most half of lease.lease_s, "
            "or one late heartbeat loses a task."
        )


def _judge_names(config: Config) -> None:
    names = Counter(name for role in Role for name in config.agents.names_of(role))
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ConfigBroken(f"clawd.yaml: two agents are called {twice[0][:40]!r}.")
    unfit = [name for name in names if not name.isprintable() or not 0 < len(name) <= 40]
    if unfit:
        raise ConfigBroken(f"clawd.yaml: {unfit[0][:40]!r} is no name for an agent.")


def _judge_landing(config: Config) -> None:
    for slug in ("", *config.projects):
        landing = config.landing_of(slug) if slug else config.landing
        if landing is Landing.PUSH:
            where = f"projects.{slug}.landing" if slug else "landing"
            raise ConfigBroken(
                f"clawd.yaml: {where}: push is off in this version.", "Choose follow or branch."
            )


def _judge_paths(config: Config) -> None:
    owner: dict[Path, str] = {}
    for slug, project in config.projects.items():
        path = Path(project.path).expanduser()
        if not path.is_absolute():
            raise ConfigBroken(f"clawd.yaml: projects.{slug}.path must be an absolute path.")
        if path in owner:
            raise ConfigBroken(
                f"clawd.yaml: projects.{owner[path]} and projects.{slug} name the same path."
            )
        owner[path] = slug
