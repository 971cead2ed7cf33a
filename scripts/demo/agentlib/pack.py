"""Packs the scripted agent into one executable file, with its pace inside.

A cage shows an agent one file, its `claude`; so the demo packs one and binds it there.
"""

from __future__ import annotations

import compileall
import shutil
import tempfile
import zipapp
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
START = "from agentlib.main import main\n\nraise SystemExit(main())\n"


def pack(target: Path, pace: float) -> None:
    """Writes the executable; `pace` scales its pauses: 1 for people, 0 for tests."""
    with tempfile.TemporaryDirectory(prefix="scripted-agent-") as folder:
        source = Path(folder)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE, source / "agentlib", ignore=ignore)
        (source / "agentlib" / "pace").write_text(f"{pace}\n")
        (source / "__main__.py").write_text(START)
        # Beside the sources: a python3 of another version falls back to those.
        compileall.compile_dir(source / "agentlib", maxlevels=0, legacy=True, quiet=1)
        target.parent.mkdir(parents=True, exist_ok=True)
        zipapp.create_archive(source, target, interpreter="/usr/bin/env python3")
    target.chmod(0o755)
