"""Counts a run's turns and money from its output while it grows, for the keeper.

Standard library only, few imports: it lives in the keeper's small process. The stream is not
trusted: what was once counted stays counted, and nothing in it can do more than end its own run.
"""

from __future__ import annotations

import json
import os
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs the keeper 3 ms
    from typing import Any

CHUNK_BYTES = 256 * 1024
LONGEST_LINE_BYTES = 1 << 20  # longer ones are text, their usage is not worth the memory
KINDS = (b'"assistant"', b'"stream_event"', b'"result"')


class Meter:
    """Turns and money of a stream, counted tolerantly while the file grows."""

    def __init__(self, prices: dict[str, dict[str, int]]) -> None:
        self.prices = prices
        self.dearest = {
            key: max((price.get(key, 0) for price in prices.values()), default=0)
            for key in ("in", "out", "write_5m", "write_1h", "read")
        }
        self.offset = 0
        self.rest = b""
        self.skipping = False
        self.result_at: float | None = None
        self.messages: dict[str, dict[str, Any]] = {}
        self.streaming: dict[str, str] = {}
        self.cost = 0  # micro-dollars times a million, so that nothing is rounded away

    @property
    def turns(self) -> int:
        return len(self.messages)

    @property
    def cost_micros(self) -> int:
        return -(-self.cost // 1_000_000)

    def read(self, file: int, size: int) -> None:
        """Take in what was written since the last call."""
        while self.offset < size:
            chunk = os.pread(file, min(CHUNK_BYTES, size - self.offset), self.offset)
            if not chunk:
                return
            self.offset += len(chunk)
            *lines, self.rest = (self.rest + chunk).split(b"\n")
            for line in lines:
                if not self.skipping and len(line) <= LONGEST_LINE_BYTES:
                    self.take(line)
                self.skipping = False
            if len(self.rest) > LONGEST_LINE_BYTES:
                self.rest, self.skipping = b"", True

    def take(self, line: bytes) -> None:
        if not any(kind in line for kind in KINDS):
            return
        try:
            event = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return
        if not isinstance(event, dict):
            return
        if event.get("type") == "result":
            self.result_at = self.result_at or monotonic()
        elif event.get("type") == "assistant":
            self.note(as_dict(event.get("message")))
        elif event.get("type") == "stream_event":
            self.note_streamed(as_dict(event.get("event")), str(event.get("parent_tool_use_id")))

    def note_streamed(self, event: dict[str, Any], lane: str) -> None:
        if event.get("type") == "message_start":
            message = as_dict(event.get("message"))
            self.streaming[lane] = str(message.get("id"))
            self.note(message)
        elif event.get("type") == "message_delta" and lane in self.streaming:
            self.note({"id": self.streaming[lane], "usage": event.get("usage")}, final=True)

    def note(self, message: dict[str, Any], final: bool = False) -> None:
        ident = message.get("id")
        if not isinstance(ident, str) or message.get("model") == "<synthetic>":
            return
        before = self.price(self.messages[ident]) if ident in self.messages else 0
        spent = self.messages.setdefault(ident, {"model": "", "chars": 0, "final": False})
        if isinstance(message.get("model"), str):
            spent["model"] = message["model"]
        spent["final"] = spent["final"] or final
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            spent["chars"] += block_chars(as_dict(block))
        for key, tokens in tokens_of(as_dict(message.get("usage"))).items():
            spent[key] = max(spent.get(key, 0), tokens)  # only ever grows: a run cannot un-spend
        self.cost += self.price(spent) - before

    def price(self, spent: dict[str, Any]) -> int:
        price = self.price_list(spent["model"])
        out = spent.get("out", 0)
        if not spent["final"]:  # the stream names only a start value: estimate from the text
            out = max(out, spent["chars"] // 4, 1)
        rest = sum(
            spent.get(key, 0) * price.get(key, 0) for key in ("in", "write_5m", "write_1h", "read")
        )
        return int(out * price.get("out", 0) + rest)

    def price_list(self, model: str) -> dict[str, int]:
        """The model's prices; dated names match by prefix, an unknown model is the dearest."""
        if model in self.prices:
            return self.prices[model]
        known = [name for name in self.prices if name and model.startswith(name)]
        return self.prices[max(known, key=len)] if known else self.dearest


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def block_chars(block: dict[str, Any]) -> int:
    chars = sum(len(block[key]) for key in ("text", "thinking") if isinstance(block.get(key), str))
    return chars + (len(json.dumps(block["input"])) if "input" in block else 0)


def tokens_of(usage: dict[str, Any]) -> dict[str, int]:
    def count(source: dict[str, Any], key: str) -> int:
        value = source.get(key)
        return value if isinstance(value, int) and 0 <= value < 10**10 else 0

    parts = as_dict(usage.get("cache_creation"))
    hour = count(parts, "ephemeral_1h_input_tokens")
    written = max(count(usage, "cache_creation_input_tokens") - hour, 0)
    return {
        "in": count(usage, "input_tokens"),
        "out": count(usage, "output_tokens"),
        "write_5m": max(written, count(parts, "ephemeral_5m_input_tokens")),
        "write_1h": hour,
        "read": count(usage, "cache_read_input_tokens"),
    }
