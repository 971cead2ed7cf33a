"""The command line of `claude -p`, as far as a run uses it; anything unknown is refused."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path

ONE_VALUE = {
    "--output-format", "--input-format", "--session-id", "--resume", "-r", "--model",
    "--fallback-model", "--max-turns", "--max-budget-usd", "--append-system-prompt",
    "--append-system-prompt-file", "--system-prompt", "--system-prompt-file", "--json-schema",
    "--permission-mode", "--permission-prompts", "--setting-sources", "--settings", "--effort",
    "--system-prompt-snapshot", "--autocompact", "--agents", "--debug-file",
}  # fmt: skip
MANY_VALUES = {
    "--tools", "--allowedTools", "--allowed-tools", "--disallowedTools", "--disallowed-tools",
    "--add-dir", "--mcp-config", "--betas",
}  # fmt: skip
NO_VALUE = {
    "-p", "--print", "--verbose", "--strict-mcp-config", "--bare", "--safe-mode", "--restricted",
    "--no-session-persistence", "--include-partial-messages", "--include-hook-events",
    "--dangerously-skip-permissions", "--fork-session", "--disable-slash-commands",
}  # fmt: skip


class Refused(Exception):
    """The real command would print this line on stderr, nothing on stdout, and end with 1."""


@dataclass
class Options:
    """What the caller asked for."""

    flags: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    session: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def resumed(self) -> str:
        """The session to continue, or nothing."""
        return self.values.get("--resume") or self.values.get("-r") or ""

    @property
    def tools(self) -> list[str]:
        """The tools the run may see; `--tools ""` means none."""
        given = self.lists.get("--tools", ["Bash,Read,Edit,Write,Glob,Grep"])
        return [name for name in ",".join(given).replace(" ", ",").split(",") if name]

    @property
    def max_turns(self) -> int:
        """0 means no limit, as with the real command."""
        return int(self.values.get("--max-turns", "0"))

    @property
    def max_usd(self) -> float:
        """0 means no limit."""
        return float(self.values.get("--max-budget-usd", "0"))

    @property
    def wants_structure(self) -> bool:
        """A schema whose root is no object is silently ignored, as the real command does."""
        schema = self.values.get("--json-schema")
        if not schema:
            return False
        root = json.loads(schema)
        return isinstance(root, dict) and root.get("type") == "object"


def parse(argv: list[str]) -> Options:
    """Sorts the arguments; raises Refused for what the real command refuses."""
    options = Options()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            options.words += rest
            break
        if name in MANY_VALUES:
            taken = [value] if equals else _take_values(rest)
            options.lists.setdefault(name, []).extend(taken)
        elif name in ONE_VALUE:
            if not equals and not rest:
                raise Refused(f"error: option '{name}' argument missing")
            options.values[name] = value if equals else rest.pop(0)
        elif word in NO_VALUE:
            options.flags.add(word)
        elif word.startswith("-"):
            raise Refused(f"error: unknown option '{word}'")
        else:
            options.words.append(word)
    _check(options)
    options.session = options.resumed or options.values.get("--session-id") or options.session
    return options


def _take_values(rest: list[str]) -> list[str]:
    taken = []
    while rest and not rest[0].startswith("-"):
        taken.append(rest.pop(0))
    return taken


def _check(options: Options) -> None:
    values = options.values
    if not options.flags & {"-p", "--print"}:
        raise Refused("error: the scripted agent has no interactive mode; use -p")
    if values.get("--output-format") == "stream-json" and "--verbose" not in options.flags:
        raise Refused("Error: When using --print, --output-format=stream-json requires --verbose")
    for name in ("--append-system-prompt-file", "--system-prompt-file"):
        if name in values and not Path(values[name]).is_file():
            raise Refused(f"Error: file not found: {values[name]}")
    try:
        if "--session-id" in values:
            uuid.UUID(values["--session-id"])
        json.loads(values.get("--json-schema", "{}"))
        numbers = (options.max_turns, options.max_usd)
    except ValueError as error:
        raise Refused(f"Error: invalid argument: {error}") from None
    if "--max-budget-usd" in values and numbers[1] <= 0:
        raise Refused("error: --max-budget-usd must be a positive number greater than 0")
