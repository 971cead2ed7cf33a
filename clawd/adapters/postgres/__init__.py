"""The door to Postgres: connections, notifications, and text made fit for it."""

from __future__ import annotations

from clawd.adapters.postgres.connection import (
    URL_VARIABLE,
    connect,
    cut,
    explain,
    is_local,
    is_transient,
    open_pool,
    resolve,
)
from clawd.adapters.postgres.listener import Listener
from clawd.adapters.postgres.text import scrub_json, scrub_text

__all__ = [
    "URL_VARIABLE",
    "Listener",
    "connect",
    "cut",
    "explain",
    "is_local",
    "is_transient",
    "open_pool",
    "resolve",
    "scrub_json",
    "scrub_text",
]
