"""pytest fixtures of the whole-line tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.whole.line import FILES, Line, open_line


@pytest.fixture
def line(home: Path, database: str, make_repo: Callable[..., Path]) -> Iterator[Line]:
    """A line over one small repository, driven by hand."""
    with open_line(home, database, {"sample": make_repo(FILES)}) as opened:
        yield opened
