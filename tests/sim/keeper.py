"""A simulated run's process: an agent with a plan, and the keeper that ends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from clawd.policy.facts import CallSpend, RateLimit, ResultLine, StreamFacts
from clawd.policy.price import Usage

CALL_MICROS = 400_000  # the most one call of the model costs here
IDLE_S, WALL_S, NO_DAEMON_S = 240.0, 1500.0, 600.0

GOOD = {"dev": "work", "qa": "pass", "planner": "plan", "pm": "plan"}
MIXED = {
    "dev": ("work",) * 12 + ("nothing", "ask", "no_change", "crash", "limit", "overload", "hang",
            "greedy", "too_big", "session_gone"),
    "qa": ("pass",) * 6 + ("revise",) * 4 + ("shapeless", "crash", "limit", "hang"),
    "planner": ("plan",) * 4 + ("flawed", "shapeless", "question", "crash", "limit", "greedy"),
    "pm": ("plan",) * 5 + ("question", "crash", "limit"),
}  # fmt: skip
LIMITS = ("limit", "overload")


@dataclass(slots=True)
class Keeper:
    """One process on one host; it outlives the daemon, its result file too."""

    run: int
    role: str
    host: str
    plan: str
    reserved: int
    resets_at: float = 0.0
    alive: bool = True
    delivered: bool = False
    hanging: bool = False
    calls: list[tuple[str, int]] = field(default_factory=list)
    last_output: float = 0.0
    started: float = 0.0
    why: str = ""
    reason: str = ""
    rc: int = 0

    @property
    def spent(self) -> int:
        return sum(micros for _, micros in self.calls)

    def end(self, why: str, reason: str = "", rc: int = -9) -> None:
        """Writes the result file, once."""
        if self.alive:
            self.alive, self.why, self.reason, self.rc = False, why, reason, rc

    def call(self, rng: Random) -> None:
        """One reply of the model; the keeper ends the run at its money."""
        most = CALL_MICROS
        micros = most if self.plan == "greedy" else rng.randrange(10_000, most // 2)
        self.calls.append((f"req{len(self.calls)}", micros))
        if self.spent >= self.reserved:
            self.end("money", "money limit")

    def finish(self) -> None:
        """The agent ends by itself, the way its plan says."""
        failed = self.plan in ("crash",)
        self.end("exit", rc=1 if failed or self.plan in LIMITS else 0)

    def facts(self, epoch: float) -> StreamFacts:
        """What the stream of this run says."""
        spends = tuple(CallSpend(request, "sim", Usage()) for request, _ in self.calls)
        result, kind, limit = None, "", None
        if self.why == "exit" and self.plan != "crash":
            status = {"limit": 429, "overload": 529}.get(self.plan)
            kind = "rate_limit" if self.plan == "limit" else ""
            errors = ("No conversation found",) if self.plan == "session_gone" else ()
            result = ResultLine(
                subtype="error_during_execution" if errors else "success",
                is_error=status is not None, text="", errors=errors, turns=len(spends),
                stop_reason="", terminal_reason="", api_error_status=status, api_error_type="",
                cost_usd=0.0, has_output=self.role != "dev" and self.plan != "shapeless",
                output=None,
            )  # fmt: skip
            if self.plan == "limit":
                limit = RateLimit("rejected", "five_hour", int(epoch + self.resets_at), None, False)
        return StreamFacts(
            inits=int(self.delivered and self.plan != "session_gone"), spends=spends,
            result=result, error_kind=kind, rate_limit=limit,
        )  # fmt: skip
