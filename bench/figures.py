"""What the benches share: percentiles, tables, bars, and a private home that is gone afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clawd.adapters import server


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all lie, no interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return percentile(values, 0.5)


def bar(name: str, value: float, limit: float, unit: str = "", *, least: bool = False) -> bool:
    """One line against its bar; the figure is printed whatever it is."""
    held = value >= limit if least else value < limit
    sign = ">=" if least else "<"
    print(f"  {'ok  ' if held else 'MISS'} {name}: {value:.3g}{unit} (bar {sign} {limit:g}{unit})")
    return held


def machine() -> str:
    """What the figures were taken on."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"


@contextmanager
def private_home(prefix: str) -> Iterator[Path]:
    """A home under the temporary folder; its database and every file of it go with the bench."""
    home = Path(tempfile.mkdtemp(prefix=f"clawd-bench-{prefix}-")).resolve()
    try:
        yield home
    finally:
        server.discard(home)
        shutil.rmtree(home, ignore_errors=True)
