"""What a run's output said, as plain facts: the input of the outcome rules and of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clawd.policy.price import Cost, Usage, cost_micros


@dataclass(frozen=True, slots=True)
class CallSpend:
    """One reply of the model, or (`request_id` "unseen:MODEL") what only the total knows of."""

    request_id: str
    model: str
    usage: Usage
    estimated: bool = False

    @property
    def cost(self) -> Cost:
        """Its list price."""
        return cost_micros(self.model, self.usage)


@dataclass(frozen=True, slots=True)
class ResultLine:
    """The last line of a run, both versions' shapes."""

    subtype: str
    is_error: bool
    text: str
    errors: tuple[str, ...]
    turns: int
    stop_reason: str
    terminal_reason: str
    api_error_status: int | None
    api_error_type: str
    cost_usd: float
    has_output: bool
    output: Any


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What the account's limits were last said to be."""

    status: str
    kind: str
    resets_at: int | None
    utilization: float | None
    overage: bool


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """Everything clawd takes from a stream; `waits_for` is model, tool, retry or nothing."""

    session: str = ""
    inits: int = 0
    model: str = ""
    cli_version: str = ""
    permission_mode: str = ""
    tools: tuple[str, ...] = ()
    spends: tuple[CallSpend, ...] = ()
    result: ResultLine | None = None
    results: int = 0
    error_kind: str = ""
    rate_limit: RateLimit | None = None
    retries: int = 0
    retry_error: str = ""
    waits_for: str = ""
    compacted: bool = False
    denials: tuple[str, ...] = ()
    tool_calls: int = 0
    last_tool: str = ""
    inputs: tuple[str, ...] = ()
    inputs_digest: str = ""
    text: str = ""
    text_bytes: int = 0
    last_line: str = ""
    lines: int = 0
    bad_lines: int = 0
    dropped_lines: int = 0
    size_bytes: int = 0

    @property
    def delivered(self) -> bool:
        """Whether the session took the prompt: its init line was seen."""
        return self.inits > 0

    @property
    def turns(self) -> int:
        """How often the model answered."""
        return sum(1 for spend in self.spends if not spend.request_id.startswith("unseen:"))

    @property
    def cost_micros(self) -> int:
        """The run's list price, by our own ledger."""
        return sum(spend.cost.micros for spend in self.spends)

    @property
    def unknown_models(self) -> tuple[str, ...]:
        """Models without a price of their own, charged as the dearest."""
        return tuple(sorted({s.model for s in self.spends if s.cost.unknown}))
