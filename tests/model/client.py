"""A desk for the real `claude` program: home, workspace, the pinned invocation, the judged end."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clawd.adapters.claude import Binary, Order, environment, invocation
from clawd.model import Role
from clawd.policy.facts import StreamFacts
from clawd.policy.outcome import Ending, Outcome, judge
from clawd.running.stream import Reader
from tests.model.server import ModelServer

API_KEY, OAUTH = "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"
QUICK = {"CLAUDE_CODE_MAX_RETRIES": "0", "API_TIMEOUT_MS": "3000"}


def newest() -> str:
    """The program the claude-agent-sdk wheel carries; without it the tests fail, never skip."""
    found = importlib.util.find_spec("claude_agent_sdk")
    assert found is not None, "the tests need the claude-agent-sdk wheel: it carries the program"
    assert found.origin is not None
    return str(Path(found.origin).parent / "_bundled" / "claude")


@dataclass(frozen=True)
class Done:
    facts: StreamFacts
    outcome: Outcome
    rc: int
    stderr: str
    calls: int
    wall_s: float


class Desk:
    """A home and a workspace; runs orders of the real invocation and judges their end."""

    def __init__(self, folder: Path, binary: Binary) -> None:
        self.binary = binary
        self.home, self.work = folder / "home", folder / "work"
        self.home.mkdir()
        self.work.mkdir()
        self.role_file = folder / "role.md"
        self.role_file.write_text("ROLE-TEXT")

    def order(self, **changes: Any) -> Order:
        plain = Order(Role.DEV, "claude-sonnet-5-5", str(uuid.uuid4()), str(self.role_file))
        return replace(plain, **changes)

    def start(self, url: str, order: Order, **env: str) -> subprocess.Popen[bytes]:
        secret = {API_KEY: "scripted"} if OAUTH not in env else {}
        return subprocess.Popen(
            invocation(str(self.binary.path), self.binary.version, order),
            cwd=self.work,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8",
                 **environment(url), **QUICK, **secret, **env},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def run(
        self, server: ModelServer, order: Order | None = None, prompt: str = "Role: dev\nGo.",
        judged: dict[str, Any] | None = None, **env: str,
    ) -> Done:  # fmt: skip
        began, before = time.monotonic(), len(server.calls)
        order = order or self.order()
        process = self.start(server.url, order, **env)
        try:
            out, err = process.communicate(prompt.encode(), timeout=30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        reader = Reader()
        reader.feed(out)
        reader.close()
        ending = Ending(process.returncode, "exit", "", err.decode("utf-8", "replace"))
        outcome = judge(reader.facts(), ending, now=datetime.now(UTC),
                        wants_schema=order.schema is not None, **(judged or {}))  # fmt: skip
        return Done(reader.facts(), outcome, process.returncode, ending.stderr,
                    len(server.calls) - before, time.monotonic() - began)  # fmt: skip
