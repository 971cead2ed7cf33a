"""The stream reader: the facts of a run, whatever the bytes are and wherever they are cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawd.policy.facts import StreamFacts
from clawd.policy.price import Usage
from clawd.running.stream import Reader, ReadLimits, read

INIT = {"type": "system", "subtype": "init", "session_id": "s-1", "model": "claude-opus-5-5",
        "tools": ["Bash", "Read"], "claude_code_version": "2.1.329",
        "permissionMode": "dontAsk"}  # fmt: skip
RESULT = {"type": "result", "subtype": "success", "is_error": False, "result": "done",
          "num_turns": 1, "total_cost_usd": 0.5, "terminal_reason": "completed"}  # fmt: skip


def facts_of(*events: Any, limits: ReadLimits | None = None) -> StreamFacts:
    reader = Reader(limits or ReadLimits())
    for event in events:
        raw = event if isinstance(event, bytes) else json.dumps(event).encode()
        reader.feed(raw + b"\n")
    reader.close()
    return reader.facts()


def said(ident: str, *blocks: dict[str, Any], **usage: Any) -> dict[str, Any]:
    message = {"id": ident, "model": "claude-opus-5-5", "content": list(blocks), "usage": usage}
    return {"type": "assistant", "message": message, "parent_tool_use_id": None}


def tool(name: str, **given_: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "t", "name": name, "input": given_}


def partial(event: dict[str, Any], lane: str | None = None) -> dict[str, Any]:
    return {"type": "stream_event", "event": event, "parent_tool_use_id": lane}


def starts(ident: str, tokens: int) -> dict[str, Any]:
    usage = {"input_tokens": tokens, "output_tokens": 1}
    message = {"id": ident, "model": "claude-opus-5-5", "usage": usage}
    return {"type": "message_start", "message": message}


def ends(tokens: int) -> dict[str, Any]:
    return {"type": "message_delta", "usage": {"output_tokens": tokens}}


def test_the_init_line_is_the_receipt_of_delivery() -> None:
    assert not facts_of().delivered
    facts = facts_of(INIT, RESULT)
    assert facts.delivered
    assert (facts.session, facts.model, facts.cli_version) == ("s-1", "claude-opus-5-5", "2.1.329")
    assert facts.tools == ("Bash", "Read")
    assert facts_of(INIT, INIT).inits == 2


def test_a_line_of_five_megabytes_is_read_whole_and_its_text_capped() -> None:
    facts = facts_of(INIT, {**RESULT, "result": "é" * 2_500_000})
    assert facts.result is not None
    assert facts.text_bytes == 5_000_000
    assert len(facts.text.encode()) <= 65536
    assert facts.bad_lines == 0


def test_a_line_beyond_the_limit_is_dropped_and_the_next_one_read() -> None:
    facts = facts_of(INIT, b'{"type":"user","x":"' + b"x" * 5000, RESULT,
                     limits=ReadLimits(line_bytes=2000))  # fmt: skip
    assert (facts.dropped_lines, facts.results, facts.lines) == (1, 1, 3)


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe\x00", b"plain text", b"[1,2]", b'"x"', b"[" * 100_000, b"{" + b"\x00" * 9, b"null",
     b'{"type":"assistant","message":7}', b'{"type":"result","result":{},"errors":"x"}'],
)  # fmt: skip
def test_a_broken_line_costs_nothing_but_itself(line: bytes) -> None:
    facts = facts_of(INIT, line, RESULT)
    assert facts.delivered
    assert facts.result is not None
    assert facts.result.text == "done"


def test_invalid_utf8_and_nul_inside_a_good_line_are_replaced() -> None:
    facts = facts_of(b'{"type":"result","is_error":false,"subtype":"success","result":"a\xffb"}')
    assert facts.text == "a�b"
    padded = facts_of(b"\x00\x00" + json.dumps(RESULT).encode() + b"\x00")
    assert padded.results == 1


def test_a_torn_last_line_is_not_a_result_but_a_whole_one_without_newline_is() -> None:
    raw = json.dumps(RESULT).encode()
    torn, whole = Reader(), Reader()
    torn.feed(raw[:-5])
    torn.close()
    whole.feed(raw)
    whole.close()
    assert torn.facts().result is None
    assert torn.facts().bad_lines == 1
    assert whole.facts().result is not None


@given(st.binary(max_size=400), st.lists(st.integers(1, 60), max_size=20))
def test_any_bytes_cut_anywhere_give_the_same_facts(noise: bytes, cuts: list[int]) -> None:
    raw = json.dumps(INIT).encode() + b"\n" + noise + b"\n" + json.dumps(RESULT).encode() + b"\n"
    whole, pieces = Reader(), Reader()
    whole.feed(raw)
    at = 0
    for cut in cuts:
        pieces.feed(raw[at : at + cut])
        at += cut
    pieces.feed(raw[at:])
    assert whole.facts() == pieces.facts()
    assert whole.facts().result is not None


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
                    lambda inner: st.lists(inner) | st.dictionaries(
                        st.sampled_from(["message", "usage", "content", "event", "id", "model",
                                         "type", "modelUsage", "tools", "input"]), inner)),
       st.sampled_from(["system", "assistant", "user", "stream_event", "result",
                        "rate_limit_event", "new_thing"]))  # fmt: skip
def test_no_shape_of_an_event_can_raise(body: Any, kind: str) -> None:
    event = {**body, "type": kind} if isinstance(body, dict) else {"type": kind, "message": body}
    facts = facts_of(event, {**event, "subtype": "init"}, {**event, "event": body})
    assert facts.cost_micros >= 0


def test_the_ledger_takes_the_final_count_of_each_reply_once() -> None:
    facts = facts_of(
        INIT,
        partial(starts("m1", 1000)),
        said("m1", tool("Bash", command="ls"), input_tokens=1000, output_tokens=1),
        partial(ends(100)),
        said("m1", {"type": "text", "text": "x"}, input_tokens=1000, output_tokens=1),
        partial(starts("m2", 2000)),
        partial(ends(50)),
    )
    assert [s.usage for s in facts.spends] == [Usage(1000, 100), Usage(2000, 50)]
    assert facts.turns == 2
    assert facts.cost_micros == 3000 * 4 + 150 * 20


def test_a_reply_cut_short_is_estimated_from_its_text() -> None:
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x" * 300}}
    facts = facts_of(INIT, partial(starts("m1", 10)), partial(delta))
    assert facts.spends[0].estimated
    assert facts.spends[0].usage.output == 100


def test_parallel_agents_do_not_take_each_others_counts() -> None:
    facts = facts_of(
        partial(starts("m1", 10), "a"),
        partial(starts("m2", 20), "b"),
        partial(ends(7), "a"),
        partial(ends(9), "b"),
    )
    assert [s.usage for s in facts.spends] == [Usage(10, 7), Usage(20, 9)]


def test_what_only_the_totals_know_is_booked_as_unseen() -> None:
    entry = {"inputTokens": 1500, "outputTokens": 10, "cacheCreationInputTokens": 40,
             "cacheCreationEphemeral1hInputTokens": 40}  # fmt: skip
    line = {**RESULT, "model_usage_since_last_result": {"claude-opus-5-5[1m]": entry},
            "modelUsage": {"claude-opus-5-5": {"inputTokens": 999_999}}}  # fmt: skip
    facts = facts_of(said("m1", input_tokens=1000, output_tokens=10), line)
    unseen = facts.spends[-1]
    assert unseen.request_id == "unseen:claude-opus-5-5"
    assert unseen.usage == Usage(input=500, write_1h=40)
    assert facts.turns == 1


def test_the_old_clients_total_is_this_process_alone() -> None:
    line = {**RESULT, "modelUsage": {"claude-opus-5-5": {"inputTokens": 30, "outputTokens": 2}}}
    assert [s.usage for s in facts_of(line).spends] == [Usage(30, 2)]


def test_hour_long_cache_writes_are_priced_apart() -> None:
    usage = {"cache_creation_input_tokens": 100, "cache_creation": {
        "ephemeral_1h_input_tokens": 60, "ephemeral_5m_input_tokens": 40}}  # fmt: skip
    assert facts_of(said("m", **usage)).spends[0].usage == Usage(write_5m=40, write_1h=60)


def test_a_person_sees_what_the_agent_does_now() -> None:
    facts = facts_of(INIT, said("m1", tool("Bash", command="pytest -q\nmore")))
    assert (facts.last_line, facts.last_tool, facts.waits_for) == (
        "Bash: pytest -q",
        "Bash",
        "tool",
    )
    answered = {"type": "user", "message": {"content": [{"type": "tool_result"}]}}
    assert facts_of(INIT, said("m1", tool("Bash")), answered).waits_for == "model"


def test_a_retry_is_told_and_marks_the_run_as_waiting() -> None:
    retry = {"type": "system", "subtype": "api_retry", "attempt": 2, "max_retries": 8,
             "error": "overloaded"}  # fmt: skip
    facts = facts_of(INIT, retry)
    assert (facts.waits_for, facts.retries, facts.retry_error) == ("retry", 1, "overloaded")
    assert facts.last_line == "waiting for the model: overloaded, retry 2 of 8"


def test_limits_denials_compaction_and_inputs_are_kept() -> None:
    limit = {"type": "rate_limit_event", "rate_limit_info": {
        "status": "rejected", "resetsAt": 1795226715, "rateLimitType": "five_hour"}}  # fmt: skip
    line = {**RESULT, "permission_denials": [{"tool_name": "WebFetch"}]}
    boundary = {"type": "system", "subtype": "compact_boundary"}
    reads = said("m", tool("Read", file_path="a.py"), tool("Bash", command="ls"))
    facts = facts_of(INIT, reads, limit, boundary, line)
    assert facts.rate_limit is not None
    assert facts.rate_limit.resets_at == 1795226715
    assert facts.denials == ("WebFetch",)
    assert facts.compacted
    assert facts.inputs == ("Read a.py", "Bash ls")
    assert (
        facts.inputs_digest != facts_of(INIT, said("m", tool("Read", file_path="b"))).inputs_digest
    )


def test_polling_a_growing_file_equals_reading_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "stream.jsonl"
    reader = Reader()
    assert not reader.poll(path)
    raw = b"".join(json.dumps(e).encode() + b"\n" for e in (INIT, said("m1"), RESULT))
    for at in range(0, len(raw), 37):
        with path.open("ab") as file:
            file.write(raw[at : at + 37])
        assert reader.poll(path, most_bytes=1000)
    assert not reader.poll(path)
    assert reader.facts() == read(path)
    assert read(tmp_path / "missing") == StreamFacts()
