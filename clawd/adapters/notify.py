"""Tells systemd how the daemon is; without a NOTIFY_SOCKET nobody asks and nothing is said."""

from __future__ import annotations

import os
import socket

READY, WATCHDOG, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"


def tell(*states: str) -> bool:
    """Sends states such as READY or `STATUS=text`; False when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.settimeout(1.0)
            door.sendto("\n".join(states).encode(), address.replace("@", "\0", 1))
    except OSError:
        return False
    return True
