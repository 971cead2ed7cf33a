"""The Messages API's wire format: a reply as a body or as server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from tests.model.script import STRUCTURED_TOOL, Reply

_ids = count(1)
_CHUNK = 4000
USAGE = {"input_tokens": 1000, "output_tokens": 100}


def message(reply: Reply, model: str) -> dict[str, Any]:
    """The whole reply as one message object (what a call without streaming gets)."""
    blocks = _blocks(reply)
    asks_tool = any(block["type"] == "tool_use" for block in blocks)
    return {
        "id": f"msg_{next(_ids):06d}",
        "type": "message",
        "role": "assistant",
        "model": reply.get("model", model),
        "content": blocks,
        "stop_reason": reply.get("stop_reason") or ("tool_use" if asks_tool else "end_turn"),
        "stop_sequence": None,
        "usage": {**USAGE, **reply.get("usage", {})},
    }


def _blocks(reply: Reply) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if "thinking" in reply:
        blocks.append({"type": "thinking", "thinking": reply["thinking"], "signature": "sig"})
    if reply.get("text"):
        blocks.append({"type": "text", "text": reply["text"]})
    tools = list(reply.get("tools", []))
    if "structured" in reply:
        tools.append({"name": STRUCTURED_TOOL, "input": reply["structured"]})
    blocks += [
        {
            "type": "tool_use",
            "id": f"toolu_{next(_ids):06d}",
            "name": t["name"],
            "input": t["input"],
        }
        for t in tools
    ]
    return blocks


def events(whole: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same message as the events of a stream."""
    usage = dict(whole["usage"])
    start = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield "message_start", {"type": "message_start", "message": start}
    for index, block in enumerate(whole["content"]):
        empty, deltas = _deltas(block)
        yield (
            "content_block_start",
            {"type": "content_block_start", "index": index, "content_block": empty},
        )
        for delta in deltas:
            yield (
                "content_block_delta",
                {"type": "content_block_delta", "index": index, "delta": delta},
            )
        yield "content_block_stop", {"type": "content_block_stop", "index": index}
    yield (
        "message_delta",
        {
            "type": "message_delta",
            "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
            "usage": {"output_tokens": usage["output_tokens"]},
        },
    )
    yield "message_stop", {"type": "message_stop"}


def _deltas(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "tool_use":
        pieces = _pieces(json.dumps(block["input"]))
        return {**block, "input": {}}, [
            {"type": "input_json_delta", "partial_json": piece} for piece in pieces
        ]
    if block["type"] == "thinking":
        return {**block, "thinking": "", "signature": ""}, [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    return {**block, "text": ""}, [
        {"type": "text_delta", "text": piece} for piece in _pieces(block["text"])
    ]


def _pieces(text: str) -> list[str]:
    return [text[i : i + _CHUNK] for i in range(0, len(text), _CHUNK)]


def sse(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def error(reply: Reply) -> dict[str, Any]:
    kinds = {
        400: "invalid_request_error",
        401: "authentication_error",
        404: "not_found_error",
        429: "rate_limit_error",
        529: "overloaded_error",
    }
    kind = reply.get("error_type") or kinds.get(reply["status"], "api_error")
    text = reply.get("message", f"scripted {reply['status']}")
    return {"type": "error", "error": {"type": kind, "message": text}}
