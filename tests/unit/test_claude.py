"""The pinned command line, the finding of the program, and the credential file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clawd.adapters.claude import (
    TOOLS,
    Order,
    bare_environment,
    environment,
    find_binary,
    invocation,
    probe_login,
)
from clawd.adapters.credential import read_credential
from clawd.errors import ClawdError, UsageError
from clawd.model import Role

ORDER = Order(
    Role.DEV, "sonnet", "11111111-1111-4111-8111-111111111111", "/clawd/role.md",
    turns=60, budget_micros=1_250_000,
)  # fmt: skip


def program(folder: Path, says: str, name: str = "claude", code: int = 0) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_the_command_line_of_a_developer_is_pinned() -> None:
    assert invocation("/clawd/claude", "2.1.197", ORDER) == [
        "/clawd/claude", "-p", "--output-format", "stream-json", "--verbose",
        "--include-partial-messages", "--session-id", ORDER.session,
        "--setting-sources", "", "--strict-mcp-config", "--permission-mode", "dontAsk",
        "--tools", "Bash,Read,Edit,Write,Glob,Grep",
        "--allowedTools", "Bash,Read,Edit,Write,Glob,Grep",
        "--model", "sonnet", "--max-turns", "60", "--max-budget-usd", "1.250000",
        "--append-system-prompt-file", "/clawd/role.md",
    ]  # fmt: skip


def test_only_the_newer_client_is_told_to_take_the_role_afresh() -> None:
    assert "--system-prompt-snapshot" not in invocation("c", "2.1.328", ORDER)
    assert invocation("c", "2.1.329", ORDER)[-2:] == ["--system-prompt-snapshot", "off"]


def test_only_a_developer_can_write_or_run_anything() -> None:
    for role in Role:
        writes = {"Bash", "Write", "Edit"} & set(TOOLS[role])
        assert bool(writes) == (role is Role.DEV)
    pm = invocation("c", "2.1.197", Order(Role.PM, "", "s", "r"))
    assert pm[pm.index("--tools") + 1] == ""
    assert "--allowedTools" not in pm
    assert "--model" not in pm


def test_nothing_left_to_spend_is_not_a_run_without_limit() -> None:
    for broke in (Order(Role.DEV, "m", "s", "r", turns=0),
                  Order(Role.DEV, "m", "s", "r", budget_micros=0)):  # fmt: skip
        with pytest.raises(ClawdError, match=r"no (turns|money) left"):
            invocation("c", "2.1.329", broke)


def test_a_schema_that_the_client_would_drop_in_silence_is_refused() -> None:
    for schema in ({"type": "array"}, {"type": "object", "x": "y" * 100_001}):
        with pytest.raises(UsageError):
            invocation("c", "2.1.329", Order(Role.QA, "m", "s", "r", schema=schema))


def test_the_environment_is_built_and_never_inherits_a_proxy_or_a_key() -> None:
    env = bare_environment(
        {"PATH": "/bin", "HTTPS_PROXY": "x", "ANTHROPIC_API_KEY": "k", "CLAUDECODE": "1"},
        Path("/h"),
        environment("http://127.0.0.1:1"),
    )
    assert env["PATH"] == "/bin"
    assert env["HOME"] == "/h"
    assert env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1"
    assert not {"HTTPS_PROXY", "ANTHROPIC_API_KEY", "CLAUDECODE"} & set(env)
    assert "CLAUDE_CODE_SUBPROCESS_ENV_SCRUB" not in env
    assert "ANTHROPIC_BASE_URL" not in environment()


def test_a_probe_is_one_turn_without_tools() -> None:
    probe = probe_login("c", "2.1.329", "haiku", "s", "r")
    assert probe.argv[probe.argv.index("--max-turns") + 1] == "1"
    assert probe.argv[probe.argv.index("--tools") + 1] == ""


def test_the_program_is_found_in_path_with_version_and_hash(tmp_path: Path) -> None:
    path = program(tmp_path / "with space é", "2.1.329 (Claude Code)")
    found = find_binary(None, {"PATH": str(path.parent), "HOME": str(tmp_path)})
    assert (found.path, found.version, found.script, found.tested) == (
        path, "2.1.329", True, True)  # fmt: skip
    assert len(found.sha256) == 64
    assert find_binary(path, {}) is found


def test_a_changed_program_is_looked_at_again(tmp_path: Path) -> None:
    before = find_binary(program(tmp_path, "2.1.329"), {})
    after = find_binary(program(tmp_path, "2.1.400 or so"), {})
    assert (after.version, after.tested) == ("2.1.400", False)
    assert before.sha256 != after.sha256


def test_behind_npms_wrapper_the_native_program_is_taken(tmp_path: Path) -> None:
    scope = tmp_path / "node_modules" / "@anthropic-ai"
    native = program(scope / "claude-code-linux-x64", "2.1.329")
    wrapper = program(scope / "claude-code", "wrapper", "cli-wrapper.cjs")
    (tmp_path / "claude").symlink_to(wrapper)
    assert find_binary(tmp_path / "claude", {}).path == native


@pytest.mark.parametrize(
    ("says", "code", "match"),
    [("2.1.128 (Claude Code)", 0, "needs 2.1.197 or newer"), ("hello", 0, "is not Claude Code"),
     ("2.1.329", 3, "is not Claude Code")],
)  # fmt: skip
def test_a_wrong_program_is_refused(tmp_path: Path, says: str, code: int, match: str) -> None:
    with pytest.raises(ClawdError, match=match):
        find_binary(program(tmp_path, says, code=code), {})


def test_a_missing_program_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawd.adapters.claude._USUAL_PLACES", ("~/bin/claude",))
    with pytest.raises(ClawdError, match="Install it"):
        find_binary(None, {"PATH": str(tmp_path), "HOME": str(tmp_path)})
    with pytest.raises(ClawdError, match="There is no program at"):
        find_binary("~/nowhere", {"HOME": str(tmp_path)})


def agent_env(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "agent.env"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_one_credential_is_read_and_its_secret_left_where_it_is(tmp_path: Path) -> None:
    path = agent_env(tmp_path, "# mine\n\nCLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-x_y=\n")
    found = read_credential(path)
    assert (found.key, found.subscription, found.base_url) == (
        "CLAUDE_CODE_OAUTH_TOKEN", True, None)  # fmt: skip
    assert found.descriptor_variable == "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR"
    assert "oat01" not in repr(found)


def test_an_api_key_may_come_with_an_address(tmp_path: Path) -> None:
    text = "ANTHROPIC_API_KEY=k\nANTHROPIC_BASE_URL=http://127.0.0.1:8080/r\n"
    found = read_credential(agent_env(tmp_path, text))
    assert (found.subscription, found.base_url) == (False, "http://127.0.0.1:8080/r")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "neither"),
        ("CLAUDE_CODE_OAUTH_TOKEN=a\nANTHROPIC_API_KEY=b\n", "both"),
        ("ANTHROPIC_API_KEY=a\nANTHROPIC_API_KEY=b\n", "second time"),
        ("ANTHROPIC_API_KEY=\n", "empty or has spaces"),
        ('ANTHROPIC_API_KEY="k"\n', "quotes"),
        ("ANTHROPIC_API_KEY= k\n", "spaces"),
        ("export ANTHROPIC_API_KEY=k\n", "not KEY=VALUE"),
        ("HTTPS_PROXY=x\n", "none of"),
        ("nonsense\n", "not KEY=VALUE"),
        ("ANTHROPIC_API_KEY=k\nANTHROPIC_BASE_URL=file:///x\n", "http address"),
        ("ANTHROPIC_API_KEY=k\nANTHROPIC_BASE_URL=http://a@b\n", "http address"),
        ("ANTHROPIC_API_KEY=k\0\n", "control"),
    ],
)
def test_a_careless_file_is_refused_with_the_line(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ClawdError, match=match) as told:
        read_credential(agent_env(tmp_path, text))
    assert told.value.remedy


def test_a_file_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClawdError, match="read by others"):
        read_credential(agent_env(tmp_path, "ANTHROPIC_API_KEY=k\n", 0o640))


def test_a_missing_file_a_link_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClawdError, match="no login yet"):
        read_credential(tmp_path / "agent.env")
    os.symlink(agent_env(tmp_path, "ANTHROPIC_API_KEY=k\n"), tmp_path / "link")
    for path in (tmp_path / "link", tmp_path):
        with pytest.raises(ClawdError, match=r"cannot be read|not a plain file"):
            read_credential(path)
