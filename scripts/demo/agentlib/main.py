"""Runs the scripted agent: arguments, prompt, init line, the role's work, result line."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentlib import behave, dev, planner, pm, prompt, qa
from agentlib.argv import Options, Refused, parse
from agentlib.behave import Behaviour
from agentlib.session import Session
from agentlib.stream import VERSION, Stream
from agentlib.workspace import Workspace

LOGGED_IN = {"loggedIn": True, "authMethod": "scripted", "apiKeySource": "none"}
NO_PROMPT = "Error: Input must be provided either through stdin or as a prompt argument"


def main(argv: list[str] | None = None) -> int:
    """One run of the stand-in; the exit code of the real command."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] in (["--version"], ["-v"]):
        print(f"{VERSION} (scripted agent)")
        return 0
    if words[:2] == ["auth", "status"]:
        print(json.dumps(LOGGED_IN))
        return 0
    if words[:1] == ["--pack"]:
        return _pack(words[1:])
    try:
        options = parse(words)
        text = _read_prompt(options)
        _open_transcript(options)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    return run(options, text)


def run(options: Options, text: str) -> int:
    """The run itself; ends in the stream's result line."""
    workspace = Workspace()
    role = prompt.role_of(text) or workspace.task.get("role") or "dev"
    wanted = behave.behaviours(*_marked(role, text, workspace))
    behave.before_init(wanted)
    stream = Stream(options)
    session = Session(stream, read_pace())
    stream.init()
    session.think(0.5)
    behave.after_init(session, wanted)
    if role == "dev":
        stream.finish(dev.work(session, workspace, wanted))
    answer: dict[str, Any] | None
    if role == "qa":
        answer = qa.review(session, workspace, wanted)
    else:
        answer = THINKERS[role](session, text, wanted)
    finish_with(stream, answer)


def finish_with(stream: Stream, answer: dict[str, Any] | None) -> None:
    """The answer by schema where one was asked for, else as text."""
    if answer is None:
        stream.finish("I have nothing to say.")
    if not stream.options.wants_structure:
        stream.finish(json.dumps(answer, indent=1))
    call = stream.call("StructuredOutput", answer)
    stream.answer(call, "Structured output provided successfully")
    stream.finish("Answered by schema. (scripted agent, no model was called)", answer)


THINKERS: dict[str, Callable[[Session, str, list[Behaviour]], dict[str, Any]]] = {
    "planner": planner.answer,
    "pm": pm.answer,
}


def read_pace() -> float:
    """A file `pace` beside the executable, else the one packed in, else 1."""
    beside = Path(sys.argv[0]).absolute().with_name("pace")
    try:
        packed = pkgutil.get_data("agentlib", "pace") or b"1"
    except OSError:
        packed = b"1"
    try:
        return float(beside.read_text() if beside.is_file() else packed)
    except ValueError:
        return 1.0


def _marked(role: str, text: str, workspace: Workspace) -> tuple[str, str, int]:
    """The words that may choose a behaviour, for whom, and after how many setbacks."""
    if role in ("dev", "qa"):
        return workspace.spec, role, workspace.setbacks
    words = "\n".join(prompt.goal_of(text)) if role == "planner" else text
    return words, role, int(prompt.was_refused(text))


def _read_prompt(options: Options) -> str:
    piped = (
        ""
        if sys.stdin is None or sys.stdin.isatty()
        else sys.stdin.buffer.read().decode("utf-8", "replace")
    )
    text = "\n".join([*options.words, piped]).strip()
    if not text:
        raise Refused(NO_PROMPT)
    return text


def _open_transcript(options: Options) -> None:
    """A session is a file in HOME, as with the real command: new ids are new, old ones known."""
    home = os.environ.get("HOME")
    if not home or "--no-session-persistence" in options.flags:
        return
    folder = Path(home, ".claude", "projects", re.sub(r"[^A-Za-z0-9]", "-", os.getcwd()))
    transcript = folder / f"{options.session}.jsonl"
    known = any(folder.parent.glob(f"*/{transcript.name}"))
    if options.resumed and not known:
        raise Refused(f"No conversation found with session ID: {options.resumed}")
    if "--session-id" in options.values and known:
        raise Refused(f"Error: Session ID {options.session} is already in use.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with transcript.open("a") as file:
            file.write(json.dumps({"type": "user", "sessionId": options.session}) + "\n")
    except OSError:
        return


def _pack(words: list[str]) -> int:
    """`--pack TARGET [PACE]`: one executable file of everything."""
    if not words:
        print("usage: agent --pack TARGET [PACE]", file=sys.stderr)
        return 1
    from agentlib.pack import pack  # noqa: PLC0415 - not for a packed agent, and not on each start

    pack(Path(words[0]), float(words[1]) if len(words) > 1 else 1.0)
    return 0
