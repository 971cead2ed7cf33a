"""The scripted Messages API: what it streams, how rules are chosen, how it fails on demand."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.model import scenarios
from tests.model.script import parse_rules
from tests.model.server import ModelServer, serving

ROOT = Path(__file__).resolve().parents[2]


def ask(server: ModelServer, *messages: Any, stream: bool = True) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    told = [m if isinstance(m, dict) else {"role": "user", "content": m} for m in messages]
    body = {"model": "m", "messages": told, "stream": stream, "system": "You are X."}
    connection.request("POST", "/v1/messages?beta=true", json.dumps(body))
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def test_a_text_is_streamed_as_the_events_of_the_api() -> None:
    with serving([{"reply": {"text": "hi", "usage": {"input_tokens": 7}}}]) as server:
        status, text = ask(server, "hello")
    names = [line[7:] for line in text.splitlines() if line.startswith("event: ")]
    assert status == 200
    assert names == ["message_start", "content_block_start", "content_block_delta",
                     "content_block_stop", "message_delta", "message_stop"]  # fmt: skip
    assert '"input_tokens": 7' in text


def test_without_streaming_the_message_comes_whole() -> None:
    reply = {"tools": [{"name": "Bash", "input": {"command": "ls"}}]}
    with serving([{"reply": reply}]) as server:
        message = json.loads(ask(server, "x", stream=False)[1])
    assert message["stop_reason"] == "tool_use"
    assert message["content"][0]["input"] == {"command": "ls"}


def test_the_first_rule_that_matches_answers_and_times_runs_out() -> None:
    rules = [
        {"when": {"prompt": "b+"}, "times": 1, "reply": {"text": "once"}},
        {"when": {"system": "You are X"}, "reply": {"text": "always"}},
    ]
    with serving(rules) as server:
        said = [json.loads(ask(server, "bbb", stream=False)[1])["content"][0]["text"]
                for _ in range(2)]  # fmt: skip
    assert said == ["once", "always"]


def test_steps_follow_the_turns_since_the_last_prompt() -> None:
    rules = [{"when": {"role": "dev"}, "reply": {"steps": [{"text": "one"}, {"text": "two"}]}}]
    result = {"role": "user", "content": [{"type": "tool_result", "content": "ok"}]}
    with serving(rules) as server:
        first = ask(server, "Role: dev\nx")
        second = ask(server, "Role: dev\nx", assistant("one"), result)
        resumed = ask(server, "Role: dev\nx", assistant("one"), "Role: dev\nagain")
        assert [c.turn for c in server.calls] == [0, 1, 0]
    assert ["two" in text for _, text in (first, second, resumed)] == [False, True, False]


def test_a_call_no_rule_foresaw_is_refused_and_remembered() -> None:
    with serving([{"when": {"role": "qa"}, "reply": {"text": "x"}}]) as server:
        assert ask(server, "Role: dev\nx")[0] == 400
        assert [call.role for call in server.unscripted] == ["dev"]


def test_an_error_carries_its_status_type_and_headers() -> None:
    with serving(scenarios.failing(529)) as server:
        status, text = ask(server, "x")
    assert (status, json.loads(text)["error"]["type"]) == (529, "overloaded_error")


def test_a_cut_stream_ends_in_a_reset() -> None:
    with (
        serving([{"reply": {"text": "x" * 9000, "cut_after": 3}}]) as server,
        pytest.raises((ConnectionResetError, http.client.IncompleteRead)),
    ):
        ask(server, "x")


def test_a_silent_model_ends_with_its_server() -> None:
    with serving([{"reply": {"never": True}}]) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=0.3)
        connection.request("POST", "/v1/messages", json.dumps({"messages": []}))
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()


@pytest.mark.parametrize(
    "rule",
    [{"reply": {"txt": "x"}}, {"when": {"propmt": "x"}, "reply": {}}, {"rpl": 1, "reply": {}}],
)
def test_a_misspelt_rule_is_an_error(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown keys"):
        parse_rules([rule])


def test_it_runs_as_a_program_with_a_script_or_a_scenario(tmp_path: Path) -> None:
    script, port_file = tmp_path / "S.json", tmp_path / "port"
    script.write_text(json.dumps({"rules": [{"reply": {"text": "from a file"}}]}))
    program = [sys.executable, str(ROOT / "tests" / "model_server.py")]
    asked = ["--script", str(script), "--port", "0", "--port-file", str(port_file)]
    started = subprocess.Popen([*program, *asked], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not port_file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        connection = http.client.HTTPConnection("127.0.0.1", int(port_file.read_text()), timeout=10)
        connection.request("POST", "/v1/messages", json.dumps({"messages": []}))
        assert "from a file" in connection.getresponse().read().decode()
        connection.request("GET", "/calls")
        assert json.loads(connection.getresponse().read())["unscripted"] == []
        connection.close()
    finally:
        started.kill()
        started.wait(10)
    refused = subprocess.run([*program, "--scenario", "nope"], capture_output=True, check=False)
    assert b"there are: endless, liar, spine" in refused.stderr
