"""How a verb is declared: examples in its help, `--json` everywhere, `--home` anywhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import click

from clawd.cli import show
from clawd.cli.session import Session
from clawd.errors import UsageError

if TYPE_CHECKING:
    from clawd.model import Project
    from clawd.steer.words import Outcome
    from clawd.store.rows import Db

_LARGEST_ID = 2**53
_STDIN_LIMIT_BYTES = 2 * 1024 * 1024


class Verb(click.Command):
    """A command with examples; `shape` is the dataclass a read command answers with."""

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        shape: type | None = None,
        lines: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.shape = shape
        self.lines = lines
        self.params.append(
            click.Option(["--home"], hidden=True, expose_value=False, callback=_choose_home)
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"  {example}\n")
        if self.shape is not None:
            with formatter.section("JSON keys"):
                formatter.write_text(", ".join(show.keys_of(self.shape)))


def verb(
    name: str, *examples: str, shape: type | None = None, lines: bool = False, **attrs: Any
) -> Callable[[Callable[..., Any]], Verb]:
    """Declares a command; one with a `shape` reads and answers `--json` with its keys."""

    def declare(function: Callable[..., Any]) -> Verb:
        return click.command(name, cls=Verb, examples=examples, shape=shape, lines=lines, **attrs)(
            json_option(function)
        )

    return declare


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Answer in JSON with stable keys."
)
project_option = click.option(
    "--project", metavar="SLUG", help="Which project (default: the one you stand in, or the only)."
)


def _choose_home(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        import os  # noqa: PLC0415

        ctx.obj = Session.of(value, os.environ)


class Id(click.ParamType):  # type: ignore[type-arg]
    """The number of a row: 12 or #12."""

    name = "id"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip().removeprefix("#")
        if not (text.isascii() and text.isdecimal() and 0 < int(text[:18]) < _LARGEST_ID):
            self.fail(f"{show.one_line(value, 40)!r} is no number of a task, goal or question.")
        if len(text) > 16:
            self.fail(f"There is no number {show.one_line(text, 40)}.")
        return int(text)


class Finite(click.FloatRange):
    """A number within bounds; "nan" is within all of them and no number."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{show.one_line(value, 40)!r} is no number.", param, ctx)
        return found


class Usd(click.ParamType):  # type: ignore[type-arg]
    """An amount of money in dollars, kept as micro-dollars."""

    name = "usd"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip().removeprefix("$").replace("_", "")
        try:
            amount = Decimal(text)
        except InvalidOperation:
            amount = Decimal("nan")
        if not amount.is_finite() or not 0 <= amount <= 100_000:
            self.fail(f"{show.one_line(value, 40)!r} is no amount: give dollars, for example 12.50")
        return int(amount * 1_000_000)


ID = Id()
USD = Usd()


def tell(outcome: Outcome, as_json: bool) -> None:
    """What a verb did, and the command that comes next."""
    if as_json:
        show.as_json(outcome)
        return
    show.line(show.one_line(outcome.said))
    if outcome.next:
        show.line(f"  next: {show.one_line(outcome.next)}")


def text_of(value: str) -> str:
    """The value itself; `-` reads stdin."""
    if value != "-":
        return value
    return sys.stdin.buffer.read(_STDIN_LIMIT_BYTES).decode("utf-8", "replace")


def pick_project(db: Db, slug: str | None) -> Project:
    """The project named, else the one the shell stands in, else the only one."""
    import os  # noqa: PLC0415

    from clawd.store import edits, projects  # noqa: PLC0415

    known = edits.projects_by_path(db)
    if slug is not None:
        found = projects.by_slug(db, show.clean(slug))
        if found is None:
            names = ", ".join(sorted(project.slug for project in known)) or "none yet"
            raise UsageError(f"There is no project {show.one_line(slug, 60)!r}.", f"Known: {names}")
        return found
    if not known:
        raise UsageError("No project is under care.", "Add one: clawd init PATH")
    try:
        here = os.getcwd()
    except OSError:
        here = ""
    for project in known:
        if here == project.path or here.startswith(project.path.rstrip("/") + "/"):
            return project
    if len(known) == 1:
        return known[0]
    names = ", ".join(sorted(project.slug for project in known))
    raise UsageError(f"Which project? There are {len(known)}: {names}", "Name it with --project.")
