"""The hand-written pages: their links lead somewhere, their commands and tests exist."""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import click
import pytest

from clawd.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TOP = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "ROADMAP.md", "AGENTS.md")
PAGES = [ROOT / name for name in TOP] + sorted(DOCS.rglob("*.md"))
# The reference is made from the commands, and the roadmap speaks of commands that are to come.
WRITTEN = [page for page in PAGES if page.name not in ("commands.md", "ROADMAP.md")]
INDEXES = (ROOT / "README.md", DOCS / "README.md", DOCS / "adr" / "README.md")

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
# A command is a line of a code block that begins with it, or a code span that does.
BLOCK_COMMAND = re.compile(r"^\s*(?:[A-Z_]+=\S+ )?(?:\.venv/bin/)?clawd( .*)$", re.MULTILINE)
SPAN_COMMAND = re.compile(r"`clawd( [^`]+)`")
SCRIPT = re.compile(r"\./(scripts/[\w/.-]+)|`make (\w+)`|^make (\w+)", re.MULTILINE)
END_OF_COMMAND = re.compile(r" {2,}| [#|;<&]")
PROMISES = 20


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks_of(text: str) -> str:
    return "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE))


def links_of(page: Path) -> list[str]:
    return [link for link in LINK.findall(text_of(page)) if "://" not in link]


def anchors_of(page: Path) -> set[str]:
    titles = HEADING.findall(text_of(page))
    kept = (re.sub(r"[^\w\- ]", "", title).strip().lower() for title in titles)
    return {title.replace(" ", "-") for title in kept}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        assert not anchor or anchor in anchors_of(target), f"{name_of(page)} links to {link}"


def test_every_page_is_linked_from_an_index() -> None:
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in INDEXES
              for link in links_of(page)}  # fmt: skip
    linked |= {*INDEXES, DOCS / "adr" / "000-template.md"}
    assert [name_of(page) for page in DOCS.rglob("*.md") if page not in linked] == []


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [page.name[:3] for page in (DOCS / "adr").glob("[0-9]*.md")]
    assert sorted(numbers) == [f"{number:03}" for number in range(len(numbers))]


def commands_of(page: Path) -> list[str]:
    text = text_of(page)
    found = BLOCK_COMMAND.findall(blocks_of(text)) + SPAN_COMMAND.findall(text)
    return [command.strip() for command in found]


def complaint(words: list[str]) -> str:
    """What is wrong with the words after `clawd`; nothing when the command line knows them."""
    command: click.Command = cli
    words = words[2:] if words[:1] == ["--home"] else words
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return f"there is no {words[0]!r}"
        command, words = found, words[1:]
    known = {"--help", "-h", "--version"}
    known |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return f"it has no {sorted(given - known)}" if given - known else ""


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_command_of_a_page_is_one(page: Path) -> None:
    for command in commands_of(page):
        words = shlex.split(END_OF_COMMAND.split(command)[0])
        assert not complaint(words), f"{name_of(page)}: clawd {command}: {complaint(words)}"


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_script_and_make_target_of_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for script, span, line in SCRIPT.findall(text_of(page)):
        if script:
            assert (ROOT / script).exists(), f"{name_of(page)} names {script}"
        else:
            assert (span or line) in targets, f"{name_of(page)} names make {span or line}"


@cache
def names_in(file: str) -> frozenset[str]:
    path = ROOT / file
    if not path.exists():
        return frozenset()
    walked = ast.walk(ast.parse(text_of(path)))
    return frozenset(node.name for node in walked if isinstance(node, ast.FunctionDef))


def test_every_promise_names_tests_that_exist_or_says_not_yet() -> None:
    text = text_of(DOCS / "promises.md")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    numbers = [int(section.split()[0]) for section in sections]
    assert numbers == list(range(1, PROMISES + 1))
    for section in sections:
        assert NAMED_TEST.search(section) or "Not yet:" in section, section
    for file, test in NAMED_TEST.findall(text):
        assert test in names_in(file), f"docs/promises.md names {file}::{test}"


def test_every_goal_a_promise_waits_for_is_on_the_roadmap() -> None:
    known = set(re.findall(r"<!-- id: ([\w-]+) -->", text_of(ROOT / "ROADMAP.md")))
    waited = set(re.findall(r"`([\w-]+)`[,)]", " ".join(
        line for line in text_of(DOCS / "promises.md").splitlines() if "Not yet:" in line
    )))  # fmt: skip
    assert waited <= known
