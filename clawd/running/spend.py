"""A run's own ledger: what each reply of the model used, also when the run was killed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clawd.policy.facts import CallSpend
from clawd.policy.price import Usage, plain_name

_CHARS_PER_TOKEN = 3  # on the dear side, for replies that were cut before their final count


@dataclass(slots=True)
class _Reply:
    model: str
    input: int = 0
    output: int = 0
    write_5m: int = 0
    write_1h: int = 0
    read: int = 0
    streamed_chars: int = 0
    final: bool = False

    def usage(self) -> Usage:
        guess = 0 if self.final else self.streamed_chars // _CHARS_PER_TOKEN
        return Usage(self.input, max(self.output, guess), self.write_5m, self.write_1h, self.read)


class SpendBook:
    """One entry a reply; what was once counted stays counted."""

    def __init__(self) -> None:
        self._replies: dict[str, _Reply] = {}
        self._lanes: dict[str, str] = {}
        self._total: dict[str, Usage] = {}

    def note(self, message: dict[str, Any], final: bool = False) -> None:
        """A message's usage; the stream repeats it, and only its end knows the output tokens."""
        ident = message.get("id")
        if not isinstance(ident, str) or not ident:
            return
        reply = self._replies.setdefault(ident, _Reply(str(message.get("model") or "")))
        usage = message.get("usage")
        if not isinstance(usage, dict):
            return
        short, long = _writes(usage)
        reply.input = max(reply.input, number(usage.get("input_tokens")))
        reply.output = max(reply.output, number(usage.get("output_tokens")))
        reply.write_5m = max(reply.write_5m, short)
        reply.write_1h = max(reply.write_1h, long)
        reply.read = max(reply.read, number(usage.get("cache_read_input_tokens")))
        reply.final = reply.final or final or bool(message.get("stop_reason"))

    def note_partial(self, event: dict[str, Any], lane: str) -> None:
        """An event of a reply under way; parallel agents each have their lane."""
        kind = event.get("type")
        if kind == "message_start":
            message = event.get("message")
            if isinstance(message, dict):
                self._lanes[lane] = str(message.get("id") or "")
                self.note(message)
        elif kind == "message_delta":
            usage = event.get("usage")
            self.note({"id": self._lanes.get(lane), "usage": usage}, final=True)
        elif kind == "content_block_delta":
            reply = self._replies.get(self._lanes.get(lane, ""))
            delta = event.get("delta")
            if reply is not None and isinstance(delta, dict):
                for key in ("text", "partial_json", "thinking"):
                    reply.streamed_chars += len(str(delta.get(key) or ""))

    def note_totals(self, result: dict[str, Any]) -> None:
        """The client's own totals: since 2.1.329 per result, before that for the process."""
        since = result.get("model_usage_since_last_result")
        if isinstance(since, dict):
            self._total = {
                model: _plus(self._total.get(model, Usage()), usage)
                for model, usage in {**self._total_zero(), **_by_model(since)}.items()
            }
        elif isinstance(result.get("modelUsage"), dict):
            self._total = _by_model(result["modelUsage"])

    def _total_zero(self) -> dict[str, Usage]:
        return {model: Usage() for model in self._total}

    def spends(self) -> tuple[CallSpend, ...]:
        """Every reply, and per model what only the totals know (retries, summaries)."""
        seen: dict[str, Usage] = {}
        entries = []
        for ident, reply in self._replies.items():
            usage = reply.usage()
            entries.append(CallSpend(ident, reply.model, usage, estimated=not reply.final))
            name = plain_name(reply.model)
            seen[name] = _plus(seen.get(name, Usage()), usage)
        for name, total in self._total.items():
            missing = _minus(total, seen.get(name, Usage()))
            if missing.total:
                entries.append(CallSpend(f"unseen:{name}", name, missing, estimated=True))
        return tuple(entries)


def _writes(usage: dict[str, Any]) -> tuple[int, int]:
    """Cache writes for five minutes and for an hour; without the split they are the former."""
    whole = number(usage.get("cache_creation_input_tokens"))
    split = usage.get("cache_creation")
    long = number(split.get("ephemeral_1h_input_tokens")) if isinstance(split, dict) else 0
    return max(0, whole - long), long


def _by_model(totals: dict[str, Any]) -> dict[str, Usage]:
    found: dict[str, Usage] = {}
    for model, entry in totals.items():
        if not isinstance(entry, dict):
            continue
        long = number(entry.get("cacheCreationEphemeral1hInputTokens"))
        usage = Usage(
            input=number(entry.get("inputTokens")),
            output=number(entry.get("outputTokens")),
            write_5m=max(0, number(entry.get("cacheCreationInputTokens")) - long),
            write_1h=long,
            read=number(entry.get("cacheReadInputTokens")),
        )
        name = plain_name(str(model))
        found[name] = _plus(found.get(name, Usage()), usage)
    return found


def _plus(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.input + other.input,
        one.output + other.output,
        one.write_5m + other.write_5m,
        one.write_1h + other.write_1h,
        one.read + other.read,
    )


def _minus(one: Usage, other: Usage) -> Usage:
    """What `one` has beyond `other`; writes are compared as a whole, old totals do not split."""
    short = one.write_5m - other.write_5m
    long = one.write_1h - other.write_1h
    written = max(0, short + long)
    return Usage(
        input=max(0, one.input - other.input),
        output=max(0, one.output - other.output),
        write_5m=written - min(written, max(0, long)),
        write_1h=min(written, max(0, long)),
        read=max(0, one.read - other.read),
    )


def number(value: Any) -> int:
    """A count out of untrusted JSON: never negative, never a float, never absurd."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(min(max(value, 0), 1 << 53)) if value == value else 0  # noqa: PLR0124 - NaN
