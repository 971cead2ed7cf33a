"""A project's settings: proposed from its files, confirmed, written; and its ROADMAP.md."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from clawd import config as configuration
from clawd.adapters.git import operator
from clawd.adapters.git.command import GitError
from clawd.config import Config, ProjectSettings
from clawd.errors import ClawdError
from clawd.model import Landing
from clawd.pipeline.desk import Desk
from clawd.pipeline.roadmap import ROADMAP
from clawd.policy import detect
from clawd.policy import roadmap as roadmaps
from clawd.policy.detect import Proposal
from clawd.policy.roadmap import RoadmapBroken
from clawd.setup import settings, tools
from clawd.setup.checklist import Checklist
from clawd.setup.choices import Choices
from clawd.setup.repository import Found, Theirs
from clawd.store import projects

NOTHING = "none"
_FILE_LIMIT_BYTES = 200_000
_SLUG_LIMIT_CHARS = 39
_EXAMPLE = """\
# Roadmap

clawd turns each open box into a goal, cuts it into tasks, and ticks it when all of them have
landed. Write below what you want, the most important first, in this form:

```
## Next

- [ ] Export the list as CSV
  One file, one line an item, with a header. Quotes and commas in titles survive.
```
"""


def project(out: Checklist, desk: Desk, found: Found, wanted: Choices, *, may_run: bool) -> str:
    """The project's slug, after its settings are in clawd.yaml."""
    known = known_slug(desk.config, found.path)
    if known is not None:
        _keep(out, desk.config, known, wanted)
        return known
    proposal = propose(desk, found, may_run=may_run)
    _show(out, proposal, wanted)
    chosen = _confirm(out, desk.config, found, proposal, wanted)
    slug = free_slug(desk, found.path)
    settings.add_project(desk.home, slug, chosen)
    out.tick("project", f"{slug}, written into clawd.yaml")
    return slug


def known_slug(config: Config, path: Path) -> str | None:
    """The project that has this folder already."""
    wanted = path.resolve()
    for slug, one in config.projects.items():
        if Path(one.path).expanduser().resolve() == wanted:
            return slug
    return None


def propose(desk: Desk, found: Found, *, may_run: bool) -> Proposal:
    """A guess from the committed files."""
    theirs = Theirs(found.repo.git_dir)
    texts: dict[str, str] = {}

    def read(name: str) -> str:
        if name not in texts:
            try:
                data = theirs.read(found.commit, name, _FILE_LIMIT_BYTES) or b""
            except GitError:
                data = b""
            texts[name] = data.decode("utf-8", "replace")
        return texts[name]

    installed = tools.installed(desk.home, desk.config) if may_run else frozenset()
    return detect.propose(theirs.files(found.commit), read, installed)


def _show(out: Checklist, proposal: Proposal, wanted: Choices) -> None:
    out.note(f"It looks like {proposal.language or 'no kind of project clawd knows'}.")
    if wanted.test_cmd is None:
        out.note(f"tests:  {proposal.test_cmd or NOTHING}")
    if wanted.setup_cmd is None:
        out.note(f"set-up: {proposal.setup_cmd or NOTHING}")
    for warning in proposal.warnings:
        out.warn("tests", warning)


def _confirm(
    out: Checklist, config: Config, found: Found, proposal: Proposal, wanted: Choices
) -> ProjectSettings:
    test = _command(out, "Test command", wanted.test_cmd, proposal.test_cmd)
    setup = _command(out, "Set-up command", wanted.setup_cmd, proposal.setup_cmd)
    guessed = setup == proposal.setup_cmd
    landing = _landing(out, config, found, wanted)
    return ProjectSettings(
        path=str(found.path),
        branch=found.branch,
        test=test,
        setup=setup,
        setup_key=proposal.setup_key if setup and guessed else (),
        setup_paths=proposal.setup_paths if setup and guessed else (),
        landing=None if landing is config.landing else landing,
    )


def _command(out: Checklist, what: str, wanted: str | None, proposed: str) -> str:
    said = wanted if wanted is not None else out.answer(what, proposed or NOTHING)
    return "" if said.strip() == NOTHING else said.strip()


def _landing(out: Checklist, config: Config, found: Found, wanted: Choices) -> Landing:
    if wanted.landing is not None:
        return Landing(wanted.landing)
    if found.repo.bare:
        return Landing.BRANCH
    said = out.answer(
        f"Landings: follow (your {found.branch} moves along while it is clean) or branch (you "
        f"take clawd/{found.branch} yourself)",
        config.landing.value, tuple(one.value for one in Landing if one is not Landing.PUSH),
    )  # fmt: skip
    return Landing(said)


def _keep(out: Checklist, config: Config, slug: str, wanted: Choices) -> None:
    """A project that is there keeps its settings: the file is the operator's."""
    chosen = config.project(slug)
    out.tick("project", f"{slug}, as clawd.yaml has it (tests: {chosen.test or NOTHING})")
    differing = [
        key
        for key, value, now in (
            ("test", wanted.test_cmd, chosen.test),
            ("setup", wanted.setup_cmd, chosen.setup),
            ("landing", wanted.landing, config.landing_of(slug).value),
            ("branch", wanted.branch, chosen.branch),
        )
        if value is not None and value != now
    ]
    for key in differing:
        out.warn("project", f"projects.{slug}.{key} stays as it is",
                 f"Change projects.{slug}.{key} in clawd.yaml, then `clawd restart`.")  # fmt: skip


def free_slug(desk: Desk, path: Path) -> str:
    """A name from the folder's, that no other project has or had."""
    plain = unicodedata.normalize("NFKD", path.name.removesuffix(".git"))
    ascii_text = plain.encode("ascii", "ignore").decode().lower()
    first = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:_SLUG_LIMIT_CHARS].rstrip("-")
    first = first or "project"
    for number in range(1, 1000):
        slug = first if number == 1 else f"{first[: _SLUG_LIMIT_CHARS - 4]}-{number}"
        if slug not in desk.config.projects and _is_free(desk, slug, path):
            return slug
    raise ClawdError(f"There are 999 projects called {first}.", "Rename the folder.")


def _is_free(desk: Desk, slug: str, path: Path) -> bool:
    """A slug names a hub and its history: another repository must not inherit them."""
    with desk.db() as db:
        row = projects.by_slug(db, slug)
    return row is None or Path(row.path).resolve() == path.resolve()


def roadmap(out: Checklist, desk: Desk, found: Found, slug: str) -> None:
    """Whether there is something to do, and whether it can be read."""
    branch = configuration.load(desk.home).project(slug).branch or found.branch
    file = operator.read_file(found.path, branch, ROADMAP)
    if file is None:
        _offer_example(out, found)
        return
    try:
        parsed = roadmaps.parse(roadmaps.decode(file.data))
    except RoadmapBroken as error:
        out.miss("roadmap", error.message, error.remedy or f"Mend {ROADMAP}.")
        return
    if not parsed.items:
        out.warn("roadmap", f"{ROADMAP} has no boxes, so there is nothing to do yet",
                 "Write one line an item: - [ ] Export the list as CSV")  # fmt: skip
        return
    still_open = sum(not item.done for item in parsed.items)
    done = len(parsed.items) - still_open
    out.tick("roadmap", f"{ROADMAP}: {still_open} to do, {done} done")
    for problem in parsed.problems:
        out.warn("roadmap", problem)


def _offer_example(out: Checklist, found: Found) -> None:
    remedy = f"Write {ROADMAP} with one line an item: - [ ] Export the list as CSV"
    can_write = not found.repo.bare and found.repo.branch == found.branch
    question = f"There is no {ROADMAP}. Write one that explains the form?"
    if can_write and out.answer(question, "no", ("yes", "no")) == "yes":
        with (found.path / ROADMAP).open("x", encoding="utf-8") as file:
            file.write(_EXAMPLE)
        out.tick("roadmap", f"{ROADMAP} written; nothing is to do until you put an item in it")
        return
    out.warn("roadmap", f"there is no {ROADMAP}, so there is nothing to do yet", remedy)
