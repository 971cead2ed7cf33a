"""Lets `python3 -m pocket` run the command line."""

import sys

from pocket.cli import main

if __name__ == "__main__":
    sys.exit(main())
