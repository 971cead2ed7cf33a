"""pytest fixtures of the long proofs."""

from __future__ import annotations

from tests.whole.conftest import line

__all__ = ["line"]
