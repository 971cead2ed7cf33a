"""Called by the service manager: looks at the login where the daemon runs and writes the answer."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from clawd.service import login
from clawd.service.state import write_file


def main(argv: list[str]) -> int:
    """The home, where the answer goes, --probe or not."""
    home, answer = Path(argv[0]), Path(argv[1])
    found = login.look(home, os.environ, sys.platform, probe="--probe" in argv[2:])
    write_file(answer, json.dumps([asdict(one) for one in found]).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
