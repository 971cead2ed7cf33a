"""The commands cost and budget."""

from __future__ import annotations

from dataclasses import dataclass

import click

from clawd.cli import show
from clawd.cli.session import Session, open_db
from clawd.cli.verbs import ID, USD, json_option, tell, verb
from clawd.store.views_money import WAYS, Cost, EnvelopeLine


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of money and what is gone."""

    envelopes: list[EnvelopeLine]


@verb("cost", "clawd cost", "clawd cost --by task --days 30", "clawd cost --by agent --json",
      shape=Cost)  # fmt: skip
@click.option("--by", type=click.Choice(WAYS), default="day", show_default=True, help="Sum by.")
@click.option("--days", type=click.IntRange(1, 3650), default=7, show_default=True,
              help="How far to look back.")  # fmt: skip
@click.pass_obj
def cost_command(session: Session, by: str, days: int, as_json: bool) -> None:
    """What was spent, at list price."""
    from clawd.store import views_money  # noqa: PLC0415

    with open_db(session) as db:
        found = views_money.cost(db, by, days)
    if as_json:
        show.as_json(found)
        return
    show.table(
        (by, "runs", "minutes", "cost"),
        [(row.key, row.runs, row.minutes, show.usd(row.cost_micros)) for row in found.lines],
        f"Nothing was spent in {days} days.",
    )
    show.line(f"{show.usd(found.total_micros)} in {days} days; {money_line(found)}")


def money_line(found: Cost) -> str:
    """Today against its envelope."""
    today = found.today
    if not today.is_set:
        return "no limit of a day is set yet"
    return f"{today.period}: {show.usd(today.spent_micros)} of {show.usd(today.limit_micros)}"


@click.group("budget", invoke_without_command=True)
@json_option
@click.pass_context
def budget_command(ctx: click.Context, as_json: bool) -> None:
    """Limits of money: `show` (what you get without a verb) and `set`."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show_, as_json=as_json)


@verb("show", "clawd budget", "clawd budget show --json", shape=Budget)
@click.pass_obj
def show_(session: Session, as_json: bool) -> None:
    """The newest days, and the tasks whose envelope is in use or used up."""
    from clawd.store import views_money  # noqa: PLC0415

    with open_db(session) as db:
        found = Budget(views_money.envelopes(db))
    if as_json:
        show.as_json(found)
        return
    show.table(
        ("envelope", "limit", "spent", "reserved", "left"),
        [(f"{e.scope} {e.period or e.scope_id}", show.usd(e.limit_micros),
          show.usd(e.spent_micros), show.usd(e.reserved_micros), show.usd(e.left_micros))
         for e in found.envelopes],
        "Nothing was spent yet; the limits are in clawd.yaml (clawd config show).",
    )  # fmt: skip


@verb("set", "clawd budget set --day 25", "clawd budget set --task 12 6.50")
@click.argument("usd", type=USD, required=False)
@click.option("--day", type=USD, metavar="USD", help="The limit of today for everything.")
@click.option("--task", type=ID, metavar="ID", help="The task whose limit USD becomes.")
@click.pass_obj
def set_(
    session: Session, usd: int | None, day: int | None, task: int | None, as_json: bool
) -> None:
    """Set a limit; what waited for money goes on.

    For every day, set budget.day_usd in clawd.yaml.
    """
    from clawd import steer  # noqa: PLC0415
    from clawd.store import views_idle  # noqa: PLC0415

    if task is not None and usd is not None and day is None:
        with open_db(session) as db:
            tell(steer.set_task_budget(db, task, usd), as_json)
    elif day is not None and usd is None and task is None:
        with open_db(session) as db:
            tell(steer.set_day_budget(db, views_idle.today(db), day), as_json)
    else:
        raise click.UsageError("Say --day USD, or --task ID USD.")


for _verb in (show_, set_):
    budget_command.add_command(_verb)
