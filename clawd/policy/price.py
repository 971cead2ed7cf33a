"""What a model call costs at list price, in micro-dollars."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call; the prompt is input + writes + read."""

    input: int = 0
    output: int = 0
    write_5m: int = 0
    write_1h: int = 0
    read: int = 0

    @property
    def prompt(self) -> int:
        """What counts for a price tier by prompt size."""
        return self.input + self.write_5m + self.write_1h + self.read

    @property
    def total(self) -> int:
        """Every token, whatever its price."""
        return self.prompt + self.output


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars per million tokens, valid from a day on; `prompt_above` opens a tier."""

    input: int
    output: int
    write_5m: int
    write_1h: int
    read: int
    effective_from: date
    prompt_above: int = 0

    def micros(self, usage: Usage) -> int:
        """The price of one call, rounded up: a budget must never be beaten by rounding."""
        scaled = (
            usage.input * self.input
            + usage.output * self.output
            + usage.write_5m * self.write_5m
            + usage.write_1h * self.write_1h
            + usage.read * self.read
        )
        return -(-scaled // _MILLION)


@dataclass(frozen=True, slots=True)
class Cost:
    """A priced call; `unknown` = the model is in no table and was priced as the dearest."""

    micros: int
    model: str
    unknown: bool


_MILLION = 1_000_000


def _row(day: str, *dollars: float, prompt_above: int = 0) -> Price:
    """A row as the price pages print it: input, output, write 5 min, write 1 h, read."""
    entry, output, write_5m, write_1h, read = (round(each * _MILLION) for each in dollars)
    return Price(entry, output, write_5m, write_1h, read, date.fromisoformat(day), prompt_above)


# Source: the public pricing and model pages, standard tier, as of 2026-10-24.
PRICES: Mapping[str, tuple[Price, ...]] = {
    "claude-fable-5-1": (_row("2026-09-01", 10, 50, 12.50, 20, 0.25),),
    "claude-fable-5": (_row("2026-01-01", 10, 50, 12.50, 20, 1.00),),
    "claude-opus-5-5": (_row("2026-09-22", 4, 20, 5, 8, 0.20),),
    "claude-opus-5": (_row("2026-07-24", 5, 25, 6.25, 10, 0.50),),
    **{
        f"claude-opus-4-{minor}": (_row("2025-11-01", 5, 25, 6.25, 10, 0.50),)
        for minor in (5, 6, 7, 8)
    },
    "claude-sonnet-5-5": (
        _row("2026-01-01", 2, 10, 2.50, 4, 0.20),
        _row("2026-10-07", 2, 10, 2.50, 4, 0.10),
    ),
    "claude-sonnet-5": (_row("2026-01-01", 2, 10, 2.50, 4, 0.20),),
    "claude-sonnet-4-6": (_row("2025-09-01", 3, 15, 3.75, 6, 0.30),),
    "claude-sonnet-4-5": (_row("2025-09-01", 3, 15, 3.75, 6, 0.30),),
    "claude-haiku-5-5": (
        _row("2026-10-07", 0.10, 0.50, 0.125, 0.20, 0.01),
        _row("2026-10-07", 0.50, 2.50, 0.625, 1.00, 0.05, prompt_above=100_000),
    ),
    "claude-haiku-4-5": (_row("2025-10-01", 1, 5, 1.25, 2, 0.10),),
}

# The short names Claude Code takes for the newest of a family.
ALIASES: Mapping[str, str] = {
    "fable": "claude-fable-5-1",
    "opus": "claude-opus-5-5",
    "sonnet": "claude-sonnet-5-5",
    "haiku": "claude-haiku-5-5",
    "scripted": "claude-sonnet-5-5",  # what the demo's agents call themselves: nominal prices
}
_NEWEST = date.max
_SUFFIX = re.compile(r"(-\d{8}|-latest)?(\[\w+\])?$")


def cost_micros(model: str, usage: Usage, day: date = _NEWEST) -> Cost:
    """The list price of one call; a model nobody knows costs what the dearest one costs."""
    rows = _rows(model)
    if rows is None:
        return Cost(max(_at(r, usage, day).micros(usage) for r in PRICES.values()), model, True)
    return Cost(_at(rows, usage, day).micros(usage), model, False)


def is_known(model: str) -> bool:
    """Whether the model has a price of its own."""
    return _rows(model) is not None


def plain_name(model: str) -> str:
    """The model's name in the table's spelling, without date, window size or alias."""
    asked = _SUFFIX.sub("", model.strip().lower())
    return ALIASES.get(asked, asked)


def keeper_prices(day: date = _NEWEST) -> dict[str, dict[str, int]]:
    """The table as the keeper's meter takes it; the dearer tier, for it knows no prompt size."""
    dearest = Usage(input=_MILLION)
    named = {**PRICES, **{alias: PRICES[model] for alias, model in ALIASES.items()}}
    return {
        name: {
            "in": price.input,
            "out": price.output,
            "write_5m": price.write_5m,
            "write_1h": price.write_1h,
            "read": price.read,
        }
        for name, rows in named.items()
        for price in [_at(rows, dearest, day)]
    }


def _rows(model: str) -> tuple[Price, ...] | None:
    """Prices of the model; a date may follow its name, a further version makes it another one."""
    return PRICES.get(plain_name(model))


def _at(rows: tuple[Price, ...], usage: Usage, day: date) -> Price:
    """The row in force on `day` for this prompt size; the first one for days before all."""
    sized = [row for row in rows if row.prompt_above == 0 or usage.prompt > row.prompt_above]
    valid = [row for row in sized if row.effective_from <= day] or sized[:1]
    return max(valid, key=lambda row: (row.effective_from, row.prompt_above))
