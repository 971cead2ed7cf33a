"""The lines on stdout: one JSON object each, as `--output-format stream-json --verbose` writes."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from typing import Any, NoReturn

from agentlib.argv import Options

MODEL = "scripted"
VERSION = "0.0.0"
# List price of a middle-sized model, dollars per million tokens: the sums are plausible, not real.
USD_PER_MILLION = {"input": 2.0, "output": 10.0, "cache_write": 2.5, "cache_read": 0.1}


class Stream:
    """Writes the events of one run and adds up its bill."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.session = options.session
        self.started = time.monotonic()
        self.turns = 0
        self.claimed_usd: float | None = None
        self.tokens = {"input": 0, "output": 0, "cache_write": 0, "cache_read": 0}

    def emit(self, event: dict[str, Any]) -> None:
        """One event, one line, at once; a reader that went away does not stop the run."""
        event = {**event, "session_id": self.session, "uuid": str(uuid.uuid4())}
        self.emit_bytes(json.dumps(event).encode() + b"\n")

    def emit_bytes(self, data: bytes) -> None:
        """Writes bytes as they are: the odd behaviours need lines that are no JSON."""
        try:
            while data:
                data = data[os.write(1, data) :]
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def init(self) -> None:
        """The first line of every run."""
        self.emit(
            {
                "type": "system",
                "subtype": "init",
                "cwd": os.getcwd(),
                "tools": self.options.tools,
                "mcp_servers": [],
                "model": MODEL,
                "permissionMode": self.options.values.get("--permission-mode", "default"),
                "apiKeySource": "none",
                "claude_code_version": VERSION,
                "agents": [],
                "skills": [],
                "plugins": [],
            }
        )

    def say(self, text: str) -> None:
        """A message in words."""
        self._assistant({"type": "text", "text": text}, words=len(text) // 4)

    def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """A tool call; returns its id for `answer`."""
        call_id = "toolu_" + uuid.uuid4().hex[:24]
        block = {"type": "tool_use", "id": call_id, "name": tool, "input": arguments}
        self._assistant(block, words=len(json.dumps(arguments)) // 4)
        return call_id

    def answer(self, call_id: str, output: str, *, failed: bool = False) -> None:
        """What the tool gave back."""
        result = {
            "type": "tool_result",
            "tool_use_id": call_id,
            "content": output,
            "is_error": failed,
        }
        self.emit(
            {
                "type": "user",
                "message": {"role": "user", "content": [result]},
                "parent_tool_use_id": None,
                "tool_use_result": {"stdout": output, "stderr": "", "interrupted": False},
            }
        )
        self.tokens["input"] += len(output) // 4

    def finish(self, text: str, structure: dict[str, Any] | None = None) -> NoReturn:
        """The result line of a run that went well."""
        extra = {} if structure is None else {"structured_output": structure}
        self._result("success", 0, result=text, terminal_reason="completed", **extra)

    def fail(self, text: str, error: str, **extra: Any) -> NoReturn:
        """An error of the API: subtype success and is_error true, as the real command says it."""
        message = {
            "id": str(uuid.uuid4()),
            "type": "message",
            "role": "assistant",
            "model": "<synthetic>",
            "content": [{"type": "text", "text": text}],
            "usage": _usage(dict.fromkeys(self.tokens, 0)),
        }
        self.emit({"type": "assistant", "message": message, "error": error})
        self._result("success", 1, result=text, is_error=True, **extra)

    @property
    def cost_usd(self) -> float:
        """What the run would have cost; `[behave: cost]` claims another sum."""
        if self.claimed_usd is not None:
            return self.claimed_usd
        return sum(self.tokens[kind] * price for kind, price in USD_PER_MILLION.items()) / 1e6

    def _assistant(self, block: dict[str, Any], words: int) -> None:
        self._stop_at_limits()
        self.turns += 1
        spent = {
            "input": 900,
            "output": 120 + words,
            "cache_write": 2400 if self.turns == 1 else 350,
            "cache_read": 0 if self.turns == 1 else 9000 + 400 * self.turns,
        }
        for kind, count in spent.items():
            self.tokens[kind] += count
        message = {
            "id": "msg_" + uuid.uuid4().hex[:24],
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": [block],
            "stop_reason": None,
            "usage": _usage(spent),
        }
        self.emit({"type": "assistant", "message": message, "parent_tool_use_id": None})

    def _stop_at_limits(self) -> None:
        """Like the real command: counted before a turn, so the money overshoots by one at most."""
        turns, usd = self.options.max_turns, self.options.max_usd
        if turns and self.turns >= turns:
            said = f"Reached maximum number of turns ({turns})"
            self._stopped("max_turns", "error_max_turns", said)
        if usd and self.cost_usd >= usd:
            said = f"Reached maximum budget (${usd})"
            self._stopped("max_budget_usd", "error_max_budget_usd", said)

    def _stopped(self, reason: str, subtype: str, text: str) -> NoReturn:
        self._result(subtype, 1, is_error=True, errors=[text], terminal_reason=reason)

    def _result(self, subtype: str, code: int, **extra: Any) -> NoReturn:
        spent_ms = int((time.monotonic() - self.started) * 1000)
        cost = round(self.cost_usd, 6)
        by_model = {
            "inputTokens": self.tokens["input"],
            "outputTokens": self.tokens["output"],
            "cacheReadInputTokens": self.tokens["cache_read"],
            "cacheCreationInputTokens": self.tokens["cache_write"],
            "costUSD": cost,
            "contextWindow": 200000,
            "maxOutputTokens": 32000,
            "costBasis": "scripted",
        }
        self.emit(
            {
                "type": "result",
                "subtype": subtype,
                "is_error": False,
                "num_turns": self.turns,
                "duration_ms": spent_ms,
                "duration_api_ms": spent_ms,
                "total_cost_usd": cost,
                "usage": _usage(self.tokens),
                "modelUsage": {MODEL: by_model} if self.turns else {},
                "permission_denials": [],
                "stop_reason": "end_turn" if code == 0 else None,
                **extra,
            }
        )
        sys.exit(code)


def _usage(tokens: dict[str, int]) -> dict[str, int]:
    return {
        "input_tokens": tokens["input"],
        "output_tokens": tokens["output"],
        "cache_creation_input_tokens": tokens["cache_write"],
        "cache_read_input_tokens": tokens["cache_read"],
    }
