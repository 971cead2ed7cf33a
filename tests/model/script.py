"""The scenario language of the scripted model: rules that match a call and say the reply.

A script is a list of rules, tried in order; the first that matches answers.

    {"when": {"role": "dev", "prompt": "add a parser", "turn": 0},
     "times": 1,
     "reply": {"tools": [{"name": "Bash", "input": {"command": "ls"}}]}}

`when` (all given keys must hold; texts are regular expressions, searched):
    role     the role named on the first line of the prompt ("Role: dev")
    prompt   the whole last prompt (a user message that is not a tool result)
    last     the last message of the conversation, tool results included
    system   the system prompt
    model    the model asked for
    tool     a tool that is offered (exact name)
    turn     how often the model has answered since the last prompt
    call     the how-manieth call the server sees, from 1
    session  the CLI's session id
`times` limits how often a rule answers. `reply` is one of:
    text, tools, structured   what the model says (may be mixed); `thinking` may go before
    steps                     a list of replies, one per turn, the last one repeated
    status (+ headers, error_type, message)   an HTTP error
    never                     the connection stays open and silent
    function                  "module:name", called with the Call, returns a reply
and may carry `usage`, `stop_reason`, `model`, `delay_s`, `cut_after` (events, then a reset).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Reply = dict[str, Any]
STRUCTURED_TOOL = "StructuredOutput"
_TEXT_KEYS = ("role", "prompt", "last", "system", "model", "session")
_REPLY_KEYS = {
    "text", "tools", "structured", "thinking", "steps", "status", "headers", "error_type",
    "message", "never", "function", "usage", "stop_reason", "model", "delay_s", "cut_after",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as the rules see it."""

    number: int
    role: str
    prompt: str
    last: str
    system: str
    model: str
    session: str
    turn: int
    tools: tuple[str, ...]
    stream: bool
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(slots=True)
class Rule:
    when: dict[str, Any]
    reply: Reply | Callable[[Call], Reply]
    times: int | None = None
    name: str = ""
    used: int = field(default=0)

    def matches(self, call: Call) -> bool:
        if self.times is not None and self.used >= self.times:
            return False
        return all(_holds(key, wanted, call) for key, wanted in self.when.items())


def _holds(key: str, wanted: Any, call: Call) -> bool:
    if key == "tool":
        return wanted in call.tools
    if key in ("turn", "call"):
        seen = call.turn if key == "turn" else call.number
        return seen in wanted if isinstance(wanted, list) else seen == wanted
    return re.search(str(wanted), getattr(call, key), re.DOTALL) is not None


def parse_rules(script: dict[str, Any] | list[Any]) -> list[Rule]:
    """Rules out of a JSON script; an unknown key is an error, not a rule that never matches."""
    rules = []
    for entry in script["rules"] if isinstance(script, dict) else script:
        when = entry.get("when", {})
        unknown = set(when) - {*_TEXT_KEYS, "tool", "turn", "call"}
        unknown |= set(entry) - {"when", "reply", "times", "name"}
        unknown |= set(entry["reply"]) - _REPLY_KEYS
        if unknown:
            raise ValueError(f"unknown keys in a rule: {sorted(unknown)}")
        rules.append(Rule(when, entry["reply"], entry.get("times"), entry.get("name", "")))
    return rules


def choose(rules: list[Rule], call: Call) -> Reply | None:
    """The reply of the first rule that matches, with steps and functions resolved."""
    for rule in rules:
        if rule.matches(call):
            rule.used += 1
            return resolve(rule.reply, call)
    return None


def resolve(reply: Reply | Callable[[Call], Reply], call: Call) -> Reply:
    if callable(reply):
        return resolve(reply(call), call)
    if "function" in reply:
        module, _, name = str(reply["function"]).partition(":")
        return resolve(getattr(importlib.import_module(module), name), call)
    if "steps" in reply:
        steps = reply["steps"]
        return resolve(steps[min(call.turn, len(steps) - 1)], call)
    return reply


def read_call(number: int, headers: dict[str, str], body: dict[str, Any]) -> Call:
    """What a request body says, flattened to texts."""
    messages = [m for m in body.get("messages", []) if m.get("role") in ("user", "assistant")]
    prompt, turn = _last_prompt(messages)
    role = re.search(r"^Role: (\w+)", prompt, re.MULTILINE)
    return Call(
        number=number,
        role=role.group(1) if role else "",
        prompt=prompt,
        last=_text(messages[-1].get("content")) if messages else "",
        system=_text(body.get("system")),
        model=str(body.get("model", "")),
        session=headers.get("x-claude-code-session-id", ""),
        turn=turn,
        tools=tuple(str(tool.get("name")) for tool in body.get("tools", [])),
        stream=bool(body.get("stream")),
        headers=headers,
        body=body,
    )


def _last_prompt(messages: list[dict[str, Any]]) -> tuple[str, int]:
    """The last prompt and the answers since; a "Role:" line outranks what the CLI slips in."""
    prompts = [
        (index, text)
        for index, message in enumerate(messages)
        if message["role"] == "user" and (text := _prompt_text(message.get("content")))
    ]
    if not prompts:
        return "", 0
    ours = [entry for entry in prompts if re.search(r"^Role: ", entry[1], re.MULTILINE)]
    index, text = (ours or prompts)[-1]
    return text, sum(1 for message in messages[index:] if message["role"] == "assistant")


def _prompt_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(b.get("text", "") for b in content or [] if b.get("type") == "text")


def _text(content: Any) -> str:
    """Every text in a content value, tool inputs and results included."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        return "\n".join(filter(None, (_text(block) for block in content)))
    kind = content.get("type")
    if kind == "tool_result":
        return _text(content.get("content"))
    if kind == "tool_use":
        return f"{content.get('name')} {content.get('input')}"
    return str(content.get("text") or content.get("thinking") or "")
