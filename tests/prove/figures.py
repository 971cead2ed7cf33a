"""Where the long proofs leave their figures for docs/proof.md."""

from __future__ import annotations

import json
import os
from pathlib import Path

VARIABLE = "CLAWD_TEST_FIGURES"


def note(proof: str, figure: str) -> None:
    """One line of what a proof measured; printed, and kept where scripts/prove asks for it."""
    print(f"{proof}: {figure}")
    folder = os.environ.get(VARIABLE)
    if folder:
        (Path(folder) / f"{proof}.json").write_text(json.dumps({"figure": figure}))
