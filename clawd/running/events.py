"""The events of a run's stream, by type, in both tested versions' shapes."""

from __future__ import annotations

import hashlib
from typing import Any

from clawd.policy.facts import RateLimit, ResultLine, StreamFacts
from clawd.running.spend import SpendBook, number

_LINE_CHARS = 160
_INPUT_CHARS = 300
_SHOWN_INPUTS = ("command", "file_path", "pattern", "path", "url", "description")
_FILE_INPUTS = ("file_path", "path", "notebook_path")


class Journal:
    """Keeps what the events said; nothing in an event can raise."""

    def __init__(self, text_limit_bytes: int, inputs_limit: int) -> None:
        self._text_limit, self._inputs_limit = text_limit_bytes, inputs_limit
        self._book = SpendBook()
        self._known: dict[str, Any] = {}
        self._inits = self._results = self._retries = self._tool_calls = 0
        self._inputs: dict[str, None] = {}
        self._digest = hashlib.sha256()
        self._denials: list[str] = []

    def note(self, event: dict[str, Any]) -> None:
        """Take one event; unknown types are none of our business."""
        handlers = {
            "system": self._system,
            "assistant": self._assistant,
            "user": self._user,
            "stream_event": self._partial,
            "rate_limit_event": self._rate_limit,
            "result": self._result,
        }
        handler = handlers.get(str(event.get("type")))
        if handler is not None:
            handler(event)

    def facts(self) -> StreamFacts:
        """A snapshot of what the events said."""
        return StreamFacts(
            **self._known,
            inits=self._inits,
            results=self._results,
            retries=self._retries,
            tool_calls=self._tool_calls,
            spends=self._book.spends(),
            denials=tuple(self._denials),
            inputs=tuple(self._inputs),
            inputs_digest=self._digest.hexdigest() if self._inputs else "",
        )

    def _system(self, event: dict[str, Any]) -> None:
        subtype = event.get("subtype")
        if subtype == "init":
            self._init(event)
        elif subtype == "api_retry":
            self._retries += 1
            error = str(event.get("error") or "unknown")
            attempt, most = event.get("attempt"), event.get("max_retries")
            self._set(retry_error=error, waits_for="retry")
            self._say(f"waiting for the model: {error}, retry {attempt} of {most}")
        elif subtype == "status":
            if event.get("status") == "requesting" and self._known.get("waits_for") != "retry":
                self._set(waits_for="model")
            if event.get("status") == "compacting":
                self._set(compacted=True)
        elif subtype == "compact_boundary":
            self._set(compacted=True)

    def _init(self, event: dict[str, Any]) -> None:
        self._inits += 1
        tools = event.get("tools")
        self._set(
            session=str(event.get("session_id") or ""),
            model=str(event.get("model") or ""),
            cli_version=str(event.get("claude_code_version") or ""),
            permission_mode=str(event.get("permissionMode") or ""),
            tools=tuple(str(tool) for tool in tools) if isinstance(tools, list) else (),
        )
        self._say("started")

    def _assistant(self, event: dict[str, Any]) -> None:
        message = as_dict(event.get("message"))
        if event.get("error") or message.get("model") == "<synthetic>":
            self._set(error_kind=str(event.get("error") or self._known.get("error_kind") or ""))
            return
        self._book.note(message)
        self._set(waits_for="", error_kind="")
        for block in as_list(message.get("content")):
            if block.get("type") == "tool_use":
                self._tool(str(block.get("name")), as_dict(block.get("input")))
            elif block.get("type") == "text" and str(block.get("text")).strip():
                self._say(str(block.get("text")).strip())

    def _tool(self, name: str, given: dict[str, Any]) -> None:
        self._tool_calls += 1
        shown = next((str(given[key]) for key in _SHOWN_INPUTS if given.get(key)), "")
        self._set(last_tool=name, waits_for="tool")
        self._say(f"{name}: {shown}" if shown else name)
        what = next((str(given[key]) for key in _FILE_INPUTS if given.get(key)), "") or shown
        entry = f"{name} {what}"[:_INPUT_CHARS]
        self._digest.update(entry.encode("utf-8", "replace") + b"\0")
        if len(self._inputs) < self._inputs_limit:
            self._inputs[entry] = None

    def _user(self, event: dict[str, Any]) -> None:
        content = as_list(as_dict(event.get("message")).get("content"))
        if any(block.get("type") == "tool_result" for block in content):
            self._set(waits_for="model")

    def _partial(self, event: dict[str, Any]) -> None:
        inner = as_dict(event.get("event"))
        if inner.get("type") == "message_start":
            self._set(waits_for="")
        self._book.note_partial(inner, str(event.get("parent_tool_use_id")))

    def _rate_limit(self, event: dict[str, Any]) -> None:
        info = as_dict(event.get("rate_limit_info"))
        used = info.get("utilization")
        limit = RateLimit(
            status=str(info.get("status") or ""),
            kind=str(info.get("rateLimitType") or ""),
            resets_at=number(info.get("resetsAt")) or None,
            utilization=float(used) if isinstance(used, int | float) else None,
            overage=info.get("isUsingOverage") is True,
        )
        self._set(rate_limit=limit)
        if limit.status != "allowed":
            self._say(f"limit {limit.kind}: {limit.status}")

    def _result(self, event: dict[str, Any]) -> None:
        self._results += 1
        self._book.note_totals(event)
        for denial in as_list(event.get("permission_denials")):
            if len(self._denials) < self._inputs_limit:
                self._denials.append(str(denial.get("tool_name")))
        text = event.get("result") if isinstance(event.get("result"), str) else ""
        raw = str(text).encode("utf-8", "replace")
        kept = raw[: self._text_limit].decode("utf-8", "ignore")
        self._set(result=_result_line(event, kept), text=kept, text_bytes=len(raw), waits_for="")
        self._say(f"ended: {event.get('subtype')}")

    def _set(self, **facts: Any) -> None:
        self._known.update(facts)

    def _say(self, text: str) -> None:
        first = text.replace("\0", " ").strip().partition("\n")[0]
        short = first if len(first) <= _LINE_CHARS else first[: _LINE_CHARS - 1] + "…"
        self._set(last_line=short)


def _result_line(event: dict[str, Any], text: str) -> ResultLine:
    errors = event.get("errors")
    status = event.get("api_error_status")
    cost = event.get("total_cost_usd")
    output = event.get("structured_output")
    return ResultLine(
        subtype=str(event.get("subtype") or ""),
        is_error=event.get("is_error") is not False,
        text=text,
        errors=tuple(str(error)[:2000] for error in errors[:20])
        if isinstance(errors, list)
        else (),
        turns=number(event.get("num_turns")),
        stop_reason=str(event.get("stop_reason") or ""),
        terminal_reason=str(event.get("terminal_reason") or ""),
        api_error_status=status if isinstance(status, int) else None,
        api_error_type=str(event.get("api_error_type") or ""),
        cost_usd=float(cost) if isinstance(cost, int | float) else 0.0,
        has_output=output is not None,
        output=output,
    )


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
