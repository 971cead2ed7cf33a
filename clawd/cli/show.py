"""How answers look: JSON with stable keys, plain text when piped, tables on a terminal."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

_SEQUENCE = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links, the clipboard
    r"|\x1b[PX^_].*?(?:\x1b\\|$)"  # DCS and its kin
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, the cursor
    r"|\x1b.?",
    re.DOTALL,
)
# C0 and C1 controls, halves of characters, and marks that reorder what is read.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MICROS = 1_000_000
_WIDE = frozenset(
    {"title", "question", "doing", "claim", "key", "next", "settle it", "why", "path", "waits for"}
)


def clean(text: object) -> str:
    """Text of an agent or a stranger, safe for a terminal: no escape does anything."""
    return _UNSAFE.sub("", _SEQUENCE.sub("", str(text)))


def one_line(text: object, limit_chars: int = 0) -> str:
    """The same on one line, cut when it is longer than `limit_chars`."""
    found = " ".join(clean(text).split())
    if limit_chars and len(found) > limit_chars:
        return found[: limit_chars - 3] + "..."
    return found


def sentence(text: str) -> str:
    """Text that begins with a capital, as the start of a message."""
    found = one_line(text)
    if found.startswith("clawd"):
        return found
    return found[:1].upper() + found[1:]


def is_rich(stream: Any = None) -> bool:
    """Whether a person looks at a terminal that may have colours."""
    out = sys.stdout if stream is None else stream
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(out.isatty())


def usd(micros: int) -> str:
    """Micro-dollars as a person reads them."""
    value = micros / _MICROS
    return f"${value:,.4f}" if 0 < value < 0.01 else f"${value:,.2f}"


def when(moment: datetime | None) -> str:
    """A moment in the operator's own time; with the date unless it is today."""
    if moment is None:
        return ""
    local = moment.astimezone()
    today = datetime.now().astimezone().date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M}"


def line(text: object = "") -> None:
    """One line to stdout."""
    sys.stdout.write(f"{text}\n")


def heading(text: str) -> None:
    """A line that stands above others."""
    line(f"\x1b[1m{text}\x1b[0m" if is_rich() else text)


def tick(ok: bool | None) -> str:
    """The mark before a line that is well, ill or neither."""
    if not is_rich():
        return {True: "ok", False: "!!", None: "--"}[ok]
    return {True: "\x1b[32m✓\x1b[0m", False: "\x1b[31m✗\x1b[0m", None: "\x1b[2m-\x1b[0m"}[ok]


def block(text: str, indent: int = 2) -> None:
    """Text of several lines, moved in."""
    for row in clean(text).splitlines() or [""]:
        line(" " * indent + row if row else "")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "") -> None:
    """Rows under their columns: a rich table on a terminal, aligned text elsewhere."""
    cells = [[one_line("" if value is None else value) for value in row] for row in rows]
    if not cells:
        if empty:
            line(empty)
        return
    if is_rich():
        _rich_table(columns, cells)
    else:
        _plain_table(columns, cells)


def _plain_table(columns: Sequence[str], cells: list[list[str]]) -> None:
    heads = [column.upper() for column in columns]
    widths = [max(len(row[at]) for row in [heads, *cells]) for at in range(len(heads))]
    for row in [heads, *cells]:
        line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(columns: Sequence[str], cells: list[list[str]]) -> None:
    from rich import box  # noqa: PLC0415 - only on a terminal
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        wide = column in _WIDE  # these give way first on a narrow terminal
        shown.add_column(column, overflow="fold", no_wrap=not wide)
    for row in cells:
        shown.add_row(*(Text(cell) for cell in row))
    Console(file=sys.stdout, highlight=False).print(shown)


def as_json(value: object) -> None:
    """The value with stable keys: times as ISO 8601, money as `*_micros` and `*_usd`."""
    line(json.dumps(plain(value), ensure_ascii=False, indent=2))


def plain(value: Any) -> Any:
    """A dataclass as JSON knows it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            given = getattr(value, field.name)
            found[field.name] = plain(given)
            if field.name.endswith("_micros"):
                found[field.name.removesuffix("_micros") + "_usd"] = given / _MICROS
        return found
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def keys_of(shape: type) -> list[str]:
    """The keys a value of this shape has in JSON."""
    found: list[str] = []
    for field in dataclasses.fields(shape):
        found.append(field.name)
        if field.name.endswith("_micros"):
            found.append(field.name.removesuffix("_micros") + "_usd")
    return found
