"""Calls launchctl, systemctl and their like: a deadline, plain English, nothing inherited twice."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clawd.errors import ClawdError

LIMIT_S = 60.0
_SHOWN_CHARS = 400


@dataclass(frozen=True, slots=True)
class Done:
    """What a command answered."""

    rc: int
    out: str

    @property
    def ok(self) -> bool:
        return self.rc == 0

    @property
    def said(self) -> str:
        """Its last words on one line."""
        return " ".join(self.out.split())[-_SHOWN_CHARS:] or "it said nothing"


def call(
    argv: Sequence[str], *, environ: Mapping[str, str] | None = None, limit_s: float = LIMIT_S
) -> Done:
    """Runs it to its end; raises when it is not there or takes too long."""
    chosen = dict(os.environ if environ is None else environ) | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            list(argv), env=chosen, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=limit_s, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ClawdError(f"There is no {argv[0]} here.", "Is it in your PATH?") from error
    except subprocess.TimeoutExpired as error:
        what = " ".join(argv[:3])
        raise ClawdError(
            f"`{what}` did not answer within {limit_s:.0f} seconds.", "Try again in a minute."
        ) from error
    except OSError as error:
        raise ClawdError(f"{argv[0]} does not run: {error.strerror}.") from error
    return Done(done.returncode, done.stdout)
