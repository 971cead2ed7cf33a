"""The developer: reads the task, writes code and tests, runs them, commits."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from agentlib import recipes, repair
from agentlib.behave import Behaviour
from agentlib.session import Session
from agentlib.workspace import FOLDER, Workspace, slug

UNITTEST = re.compile(r"-m unittest\b.*?\btests?\.(test_\w+)")
FILE_WANTED = re.compile(r"\btest\s+-[sefr]\s+['\"]?([\w./-]+)")
GLOB = re.compile(r"[*?\[]")
TEST_TEXT = '''"""Written for the task: {title}"""

import unittest


class {name}Test(unittest.TestCase):
    def test_it_runs(self):
        self.assertTrue(True)
'''


def work(session: Session, workspace: Workspace, wanted: list[Behaviour]) -> str:
    """Does the task once; returns the closing words."""
    by_name = {each.name: each for each in wanted}
    if "lie" in by_name:
        workspace.tell("claims", {"claim": "Everything is done", "evidence": "all tests pass"})
        return "All done: implemented, tested and committed."
    if "no-change" in by_name:
        proof = "; ".join(workspace.commands) or "git status --short"
        workspace.tell("no_change_needed", {"proof": proof})
        return "Nothing to change: main does it already."
    if "ask" in by_name and not workspace.snapshot.get("answers"):
        workspace.tell("questions", {"text": "Which way is meant?", "options": ["one", "two"]})
        return "I need an answer first."

    session.say(f"The task: {workspace.title[:200]}")
    _bring_up_to_date(session)
    if not _build(session, workspace):
        return "I need an answer first."
    repair.answer_findings(session, workspace)
    for each in wanted:
        _add_odd_file(session, workspace, each)
    done = _verify(session, workspace)
    if "dirty" in by_name:
        return "Done, but not committed."
    return _commit(session, workspace, done)


def _bring_up_to_date(session: Session) -> None:
    """Looks at the clone; what a merge left in conflict is settled first."""
    session.git("status --short --branch")
    repair.resolve_conflicts(session)


def _build(session: Session, workspace: Workspace) -> bool:
    """The work itself, prepared or general; False when a question comes first."""
    recipe = recipes.find(workspace)
    if recipe is None:
        _write_something(session, workspace)
        return True
    if recipe.asks and not recipes.choose_export(session, workspace, recipe):
        return False
    session.think(1.0)
    recipe.write_missing(session)
    if recipe.edit is not None:
        recipe.edit(session)
    return True


def _write_something(session: Session, workspace: Workspace) -> None:
    """A task nobody prepared: the files its acceptance names, else one note in its scope."""
    commands = "\n".join(workspace.commands)
    tests = [name for name in UNITTEST.findall(commands) if not _test_path(name).exists()]
    for name in tests:
        title = workspace.title[:80].replace("\\", "").replace('"', "'")
        camel = "".join(part.title() for part in name.split("_")[1:])
        session.write(str(_test_path(name)), TEST_TEXT.format(title=title, name=camel))
    named = [path for path in FILE_WANTED.findall(commands) if _inside(path)]
    for path in named or [_path_in_scope(workspace)]:
        before = session.read(path) if Path(path).is_file() else ""
        lines = [f"# {workspace.title[:200]}", "", "Written by a scripted agent."]
        if path.endswith(".py"):
            lines = [f"# {workspace.title[:90]}"]
        text = "\n".join(lines) + "\n"
        if text not in before:
            session.write(path, before + text)


def _test_path(name: str) -> Path:
    return Path("test" if Path("test").is_dir() else "tests", f"{name}.py")


def _inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in Path(path).parts


def _path_in_scope(workspace: Workspace) -> str:
    """A file the scope allows: one it names, else a note in the first folder it opens."""
    name = slug(workspace.title)
    for entry in filter(_inside, workspace.scope):
        if not GLOB.search(entry):
            is_file = Path(entry).is_file() or Path(entry).suffix != ""
            is_folder = Path(entry).is_dir() or not is_file  # a bare name stands for a folder
            return f"{entry.rstrip('/')}/{name}.md" if is_folder else entry
        folder = GLOB.split(entry)[0].rpartition("/")
        suffix = re.search(r"\.\w+$", entry)
        return f"{folder[0]}{folder[1]}{name}{suffix[0] if suffix else '.md'}"
    return f"notes/{name}.md"


def _add_odd_file(session: Session, workspace: Workspace, each: Behaviour) -> None:
    path, _, text = each.words.partition(" ")
    if each.name == "touch":
        session.write(path, "")
    elif each.name == "write":
        session.write(path, text + "\n")
    elif each.name == "red":
        name = f"test_red_{slug(workspace.title).replace('-', '_')}"
        failing = TEST_TEXT.format(title="a test that fails", name="Red")
        failing = failing.replace("assertTrue(True)", "assertTrue(False)")
        session.write(str(_test_path(name)), failing)


def _verify(session: Session, workspace: Workspace) -> bool:
    """Runs the acceptance, and the whole tests where there are any."""
    results = []
    for command in workspace.commands:
        code, _ = session.bash(command)
        results.append(code)
        if code == 0:
            workspace.tell("claims", {"claim": "acceptance holds", "evidence": command})
    if recipes.find(workspace) is not None:
        results.append(session.bash("python3 -m unittest -q")[0])
    return not any(results)


def _commit(session: Session, workspace: Workspace, green: bool) -> str:
    """Commits everything but .clawd/; concludes a merge that was left open."""
    FOLDER.mkdir(exist_ok=True)
    session.git("add -A -- . ':(exclude).clawd'")
    identity = ""
    if not session.git("config user.email"):
        identity = "-c user.name='Scripted agent' -c user.email=scripted@example.invalid "
    message = shlex.quote(workspace.title[:100])
    code, output = session.bash(f"git {identity}commit -q --allow-empty-message -m {message}")
    if code != 0 and "nothing to commit" not in output:
        return f"The commit failed: {output.strip()[-300:]}"
    how = "everything green" if green else "not everything is green"
    return f"Committed, {how}. (scripted agent, no model was called)"
