"""Makes the checkout importable in its own environment and writes its `clawd` command."""

import os
import shlex
import sys
import sysconfig
from pathlib import Path

COMMAND = """\
#!/bin/sh
'''exec' {python} -I "$0" "$@"
' '''
import sys

from clawd.cli.main import main

sys.exit(main())
"""


def main() -> None:
    checkout = Path(__file__).resolve().parents[2]
    packages = Path(sysconfig.get_path("purelib"))
    # Relative, so that the name of the folder never meets the encoding of a .pth file.
    (packages / "clawd-checkout.pth").write_text(os.path.relpath(checkout, packages) + "\n")
    replace(Path(sysconfig.get_path("scripts")) / "clawd", COMMAND)


def replace(command: Path, text: str) -> None:
    """In one step: a `clawd` that is being started right now never sees half a file."""
    # Through `sh`, because the kernel splits a `#!` line at spaces and caps its length.
    new = command.with_name("clawd.new")
    new.write_text(text.format(python=shlex.quote(sys.executable)), encoding="utf-8")
    new.chmod(0o755)
    new.replace(command)


main()
