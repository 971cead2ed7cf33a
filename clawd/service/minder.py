"""Stands for the database in its unit: passes the stop on, ends when the server ends.

Stand-alone and standard library only, so that it costs a few megabytes for the months it waits.
"""

from __future__ import annotations

import os
import select
import signal
import sys


def main(pid: int, pid_file: str) -> int:
    """0 after a stop that was wanted, 1 after a crash, so that the unit starts again."""
    asked: list[int] = []
    try:
        server = os.pidfd_open(pid)
    except ProcessLookupError:
        return 1 if os.path.exists(pid_file) else 0

    def pass_on(number: int, _frame: object) -> None:
        asked.append(number)
        signal.pidfd_send_signal(server, signal.SIGINT)  # Postgres' fast stop

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    gone = select.poll()
    gone.register(server, select.POLLIN)
    gone.poll()
    return 0 if asked or not os.path.exists(pid_file) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
