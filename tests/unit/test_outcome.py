"""The truth table of a run's end, with the last lines both tested clients really wrote."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clawd.policy.facts import RateLimit, ResultLine, StreamFacts
from clawd.policy.failure import REASONS, Reason
from clawd.policy.outcome import Ending, Kind, Outcome, judge

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NEW, OLD = "2.1.329", "2.1.197"


def line(subtype: str = "success", **fields: Any) -> ResultLine:
    known: dict[str, Any] = {
        "subtype": subtype, "is_error": False, "text": "", "errors": (), "turns": 1,
        "stop_reason": "end_turn", "terminal_reason": "completed", "api_error_status": None,
        "api_error_type": "", "cost_usd": 0.0, "has_output": False, "output": None,
    }  # fmt: skip
    return ResultLine(**{**known, **fields})


def facts(result: ResultLine | None, **fields: Any) -> StreamFacts:
    return StreamFacts(inits=1, lines=4, result=result, **fields)


def api(version: str, status: int | None, error_type: str, **fields: Any) -> ResultLine:
    """An error of the API: called a success by both clients; the old one tells less."""
    told = {"api_error_type": error_type, "terminal_reason": "api_error"} if version == NEW else {}
    return line(is_error=True, api_error_status=status, **{**told, **fields})


def ended(result: ResultLine | None, rc: int = 1, kind: str = "", **more: Any) -> Outcome:
    judged = {k: more.pop(k) for k in list(more) if k in judge.__kwdefaults__}
    seen = facts(result, error_kind=kind, **more)
    return judge(seen, Ending(rc, "exit"), now=NOW, **judged)


API_ROWS = [
    # status, type, kind of the synthetic message, outcome, reason
    (401, "authentication_error", "authentication_failed", Kind.YIELD, Reason.AUTH_FAILED),
    (403, "permission_error", "authentication_failed", Kind.YIELD, Reason.AUTH_FAILED),
    (None, "", "authentication_failed", Kind.YIELD, Reason.NOT_LOGGED_IN),
    (429, "rate_limit_error", "rate_limit", Kind.YIELD, Reason.RATE_LIMITED),
    (529, "overloaded_error", "server_error", Kind.YIELD, Reason.OVERLOADED),
    (500, "api_error", "server_error", Kind.YIELD, Reason.API_ERROR),
    (None, "", "server_error", Kind.YIELD, Reason.NO_CONNECTION),
    (400, "invalid_request_error", "billing_error", Kind.YIELD, Reason.BILLING),
    (404, "not_found_error", "model_not_found", Kind.YIELD, Reason.MODEL_NOT_FOUND),
    (400, "invalid_request_error", "invalid_request", Kind.FAILED, Reason.BAD_REQUEST),
    (None, "", "max_output_tokens", Kind.FAILED, Reason.OUTPUT_TOO_LONG),
    (402, "clawd_budget_spent", "unknown", Kind.HOLD, Reason.ENVELOPE_EMPTY),
    (410, "clawd_fenced", "unknown", Kind.FENCED, Reason.FENCED),
]


@pytest.mark.parametrize("version", [NEW, OLD])
@pytest.mark.parametrize(("status", "error_type", "kind", "outcome", "reason"), API_ROWS)
def test_an_api_error_is_no_success_whatever_its_subtype_says(
    version: str, status: int | None, error_type: str, kind: str, outcome: Kind, reason: Reason
) -> None:
    judged = ended(api(version, status, error_type), kind=kind)
    assert (judged.kind, judged.reason) == (outcome, reason)
    assert judged.charged == (outcome is Kind.FAILED)


@pytest.mark.parametrize(
    ("result", "kind", "reason"),
    [
        (line("error_max_turns", is_error=True), Kind.FAILED, Reason.TURN_LIMIT),
        (line("error_max_budget_usd", is_error=True), Kind.FAILED, Reason.MONEY_LIMIT),
        (line("error_max_structured_output_retries", is_error=True), Kind.FAILED,
         Reason.BAD_OUTPUT),
        (line("error_during_execution", is_error=True, terminal_reason="aborted_tools"),
         Kind.FAILED, Reason.CRASHED),
        (line("error_of_tomorrow", is_error=True), Kind.FAILED, Reason.CRASHED),
        (line(is_error=True, stop_reason="refusal"), Kind.FAILED, Reason.REFUSED_BY_MODEL),
        (line(is_error=True, terminal_reason="prompt_too_long", api_error_status=400),
         Kind.FAILED, Reason.CONTEXT_TOO_LONG),
        (api(NEW, 410, "clawd_cancelled"), Kind.CANCELLED, Reason.CANCELLED),
        (api(NEW, 402, "billing_error"), Kind.YIELD, Reason.BILLING),
    ],
)  # fmt: skip
def test_an_error_line_names_its_reason(result: ResultLine, kind: Kind, reason: Reason) -> None:
    for rc in (0, 1):  # SIGINT ends the new client with 0
        judged = ended(result, rc)
        assert (judged.kind, judged.reason) == (kind, reason)


def test_success_needs_everything_at_once() -> None:
    good = line(text="done")
    assert ended(good, 0).kind is Kind.COMPLETED
    assert ended(good, 1).reason is Reason.CRASHED
    assert ended(None, 0).reason is Reason.CRASHED
    assert ended(line(is_error=True), 0).kind is not Kind.COMPLETED
    assert ended(good, 0, wants_schema=True).reason is Reason.BAD_OUTPUT
    assert ended(line(has_output=True, output={}), 0, wants_schema=True).kind is Kind.COMPLETED


def test_a_claim_without_work_is_a_charged_failure() -> None:
    judged = ended(line(text="all done, tests green"), 0, has_candidate=False)
    assert (judged.kind, judged.reason, judged.charged) == (
        Kind.FAILED, Reason.NO_CANDIDATE, True)  # fmt: skip


def test_a_question_is_no_failure_even_without_work() -> None:
    judged = ended(line(), 0, has_candidate=False, asks=True)
    assert (judged.kind, judged.reason, judged.charged) == (Kind.ASK, Reason.QUESTION, False)
    assert ended(None, 137, asks=True).reason is Reason.CRASHED


@pytest.mark.parametrize(
    ("why", "reason", "kind", "named"),
    [
        ("wall", "", Kind.FAILED, Reason.WALL_LIMIT),
        ("idle", "", Kind.FAILED, Reason.IDLE_LIMIT),
        ("turns", "", Kind.FAILED, Reason.TURN_LIMIT),
        ("money", "", Kind.FAILED, Reason.MONEY_LIMIT),
        ("flood", "", Kind.FAILED, Reason.FLOOD),
        ("frozen", "", Kind.YIELD, Reason.KILLED),
        ("no_daemon", "", Kind.YIELD, Reason.NO_DAEMON),
        ("lost", "", Kind.LOST, Reason.LOST),
        ("cage", "bwrap: no such thing", Kind.YIELD, Reason.CAGE_FAILED),
        ("cage", "cannot start claude: No such file", Kind.YIELD, Reason.CLI_MISSING),
        ("cage", "cannot start bwrap: No such file", Kind.YIELD, Reason.CAGE_FAILED),
        ("stopped", "cancelled", Kind.CANCELLED, Reason.CANCELLED),
        ("stopped", "edited: by the operator", Kind.YIELD, Reason.EDITED),
        ("stopped", "fenced", Kind.FENCED, Reason.FENCED),
        ("stopped", "because I say so", Kind.YIELD, Reason.RESTARTED),
        ("stopped", "", Kind.YIELD, Reason.RESTARTED),
    ],
)
@pytest.mark.parametrize("result", [None, line(text="all done")])
@pytest.mark.parametrize("rc", [0, 143, 137])
def test_that_we_ended_it_overrides_exit_code_and_result(
    result: ResultLine | None, rc: int, why: str, reason: str, kind: Kind, named: Reason
) -> None:
    judged = judge(facts(result), Ending(rc, why, reason), now=NOW, has_candidate=True)
    assert (judged.kind, judged.reason) == (kind, named)
    assert judged.charged == (kind is Kind.FAILED)


@pytest.mark.parametrize("waits_for", ["model", "retry"])
def test_the_models_silence_is_not_the_agents_idleness(waits_for: str) -> None:
    judged = judge(facts(None, waits_for=waits_for), Ending(143, "idle"), now=NOW)
    assert (judged.kind, judged.reason) == (Kind.YIELD, Reason.NO_CONNECTION)
    assert judged.not_before == NOW + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("rc", "stderr", "reason", "kind"),
    [
        (143, "", Reason.CRASHED, Kind.FAILED),
        (137, "", Reason.CRASHED, Kind.FAILED),
        (0, "", Reason.CRASHED, Kind.FAILED),  # SIGINT while waiting for the model
        (1, "error: unknown option '--x'", Reason.CLI_USAGE, Kind.YIELD),
        (1, "Error: Session ID 1 is already in use.", Reason.SESSION_GONE, Kind.YIELD),
        (1, "No conversation found with session ID: 1", Reason.SESSION_GONE, Kind.YIELD),
        (1, "Error: piped stdin input exceeds 10MB", Reason.CONTEXT_TOO_LONG, Kind.FAILED),
        (127, "sh: claude: not found", Reason.CLI_MISSING, Kind.YIELD),
    ],
)
def test_an_end_without_a_single_line(rc: int, stderr: str, reason: Reason, kind: Kind) -> None:
    judged = judge(StreamFacts(), Ending(rc, "exit", "", f"warning\n{stderr}\n"), now=NOW)
    assert (judged.reason, judged.kind) == (reason, kind)


def test_a_session_that_is_gone_is_told_by_a_result_without_an_init_line() -> None:
    told = line("error_during_execution", is_error=True, errors=("No conversation found with",))
    judged = judge(StreamFacts(lines=1, result=told), Ending(1, "exit"), now=NOW)
    assert (judged.reason, judged.kind) == (Reason.SESSION_GONE, Kind.YIELD)
    assert judged.fresh_session
    assert ended(told).reason is Reason.CRASHED  # an agent that prints the words is not believed


def test_a_crash_in_mid_run_is_a_crash_whatever_the_exit_code() -> None:
    for rc in (0, 1, 2, 127, 129, 137, 143):
        assert ended(None, rc).reason is Reason.CRASHED


def rejected(resets_at: float | None, status: str = "rejected") -> dict[str, Any]:
    resets = None if resets_at is None else int(resets_at)
    return {"rate_limit": RateLimit(status, "five_hour", resets, None, False)}


def test_a_limit_waits_for_its_own_reset_and_not_for_the_text() -> None:
    result = api(NEW, 429, "rate_limit_error", text="resets 1am (UTC)")
    later = NOW + timedelta(hours=3)
    judged = ended(result, kind="rate_limit", **rejected(later.timestamp()))
    assert judged.not_before == later
    assert not judged.fresh_session


@pytest.mark.parametrize("resets_at", [None, 0, -5, 10**30, NOW.timestamp() - 1, 4102444800])
def test_a_reset_that_cannot_be_true_becomes_a_short_pause(resets_at: float | None) -> None:
    result = api(NEW, 429, "rate_limit_error")
    judged = ended(result, kind="rate_limit", **rejected(resets_at))
    assert judged.not_before == NOW + timedelta(seconds=60)


def test_pauses_in_a_row_grow_to_an_hour_and_no_further() -> None:
    waits = [
        (ended(api(NEW, 529, "overloaded_error"), yields=n).not_before or NOW) - NOW
        for n in (0, 1, 2, 6, 500)
    ]
    assert waits == [timedelta(seconds=s) for s in (60, 120, 240, 3600, 3600)]


def test_a_run_capped_by_its_envelope_is_held_not_failed() -> None:
    for judged in (
        ended(line("error_max_budget_usd", is_error=True), capped_by_envelope=True),
        judge(facts(None), Ending(143, "money"), now=NOW, capped_by_envelope=True),
    ):
        assert (judged.kind, judged.reason) == (Kind.HOLD, Reason.ENVELOPE_EMPTY)


def test_a_session_that_cannot_go_on_is_not_resumed() -> None:
    assert ended(line(is_error=True, terminal_reason="prompt_too_long")).fresh_session
    assert ended(line(is_error=True, stop_reason="refusal")).fresh_session
    assert not ended(line("error_max_turns", is_error=True)).fresh_session


def test_only_a_failure_is_charged_and_only_as_the_table_says() -> None:
    for reason in Reason:
        assert Outcome(Kind.FAILED, reason, "").charged == REASONS[reason].charged
        assert not Outcome(Kind.YIELD, reason, "").charged
