"""The one error base: what happened and what to do about it."""

from __future__ import annotations


class ClawdError(Exception):
    """Something clawd can explain; `remedy` says what the operator can do about it."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class UsageError(ClawdError):
    """The request itself is malformed: a flag, a file, a value."""

    exit_code = 2


class NotRunning(ClawdError):
    """The daemon or its database is not there."""

    exit_code = 3


class Refused(ClawdError):
    """A policy, a fence or the state machine said no; nothing was changed."""

    exit_code = 4
