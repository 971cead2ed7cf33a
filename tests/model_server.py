"""Runs the scripted Messages API: python tests/model_server.py --script S.json --port 0."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.model.server import main

if __name__ == "__main__":
    main()
