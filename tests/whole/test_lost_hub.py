"""A hub that was deleted, damaged or restored from before: nothing is lost, nobody else waits."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clawd import loops, steer
from clawd.model import Project
from clawd.pipeline import baseline, landing, undo
from clawd.store import landings
from tests.whole.line import DEV, FILES, REVIEW, Line, daemon_thread, open_line, wait_for

SHOWN = "refs/remotes/clawd/main"


def lose_hub(line: Line, slug: str = "sample") -> None:
    shutil.rmtree(line.home / "hubs" / f"{slug}.git")


def in_repository(line: Line, *arguments: str) -> str:
    command = ["git", "-C", str(line.repos["sample"]), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def test_a_hub_that_is_gone_comes_back_with_what_landed_and_the_rest_is_made_again(
    line: Line,
) -> None:
    landed = line.add("Landed")
    line.until(landed, "done")
    queued, read = line.add("Queued"), line.add("Read")
    line.until(queued, "merging", stages=(*DEV, *REVIEW))
    line.until(read, "review", "merging", stages=DEV)
    line.commit({"notes/first.md": "two\n"})

    lose_hub(line)
    line.merge()
    line.until(queued, "done")
    line.until(read, "done")

    for name in ("landed", "queued", "read"):
        assert line.file(f"notes/{name}.md") is not None
    assert line.file("notes/first.md") == "two\n"
    assert "bounce" in line.events(queued)
    assert line.task(queued).tries == line.task(read).tries == 0
    assert [row["n"] for row in line.rows(
        "select count(*) as n from landing where state = 'landed' group by task"
    )] == [1, 1, 1]  # fmt: skip
    line.assert_sound()


def test_a_revision_whose_beginning_went_with_the_hub_starts_again_on_main(line: Line) -> None:
    task = line.add("Revised", "[behave: revise] [behave: sleep 1]")
    line.until(task, "review", stages=DEV)
    line.until(task, "backlog", stages=REVIEW)
    line.dev()
    lose_hub(line)
    line.merge()
    line.ended()
    line.settle()
    assert line.task(task).state == "backlog"
    assert line.events(task)[-1] == "lose"
    line.until(task, "done")
    assert line.task(task).tries == 0
    assert line.file("notes/revised.md") is not None
    line.assert_sound()


def test_a_hub_that_nobody_can_bring_back_holds_landings_until_it_is_there(line: Line) -> None:
    task = line.add("Newer")
    line.until(task, "done")
    hub = line.home / "hubs" / "sample.git"
    kept = line.home / "kept.git"
    shutil.copytree(hub, kept)
    in_repository(line, "update-ref", "-d", SHOWN)
    second = line.add("Second")
    line.until(second, "merging", stages=(*DEV, *REVIEW))

    lose_hub(line)
    line.merge()

    assert line.project().landings_held.startswith("hub: the hub does not have landing")
    told = line.rows("select body from outbox where dedupe like 'hub:%%'")
    assert len(told) == 1
    assert str(hub) in told[0]["body"]["text"]
    assert line.task(second).state == "merging"

    lose_hub(line)
    shutil.copytree(kept, hub)
    line.merge()
    line.until(second, "done")
    assert line.project().landings_held == ""
    assert line.file("notes/newer.md") is not None
    line.assert_sound()


def test_a_hub_from_before_the_database_gets_back_what_you_were_shown(line: Line) -> None:
    task = line.add("Newer")
    before = line.main()
    line.until(task, "done")
    after = line.main()
    line.hub_git("update-ref", "refs/heads/main", before)
    line.merge()
    assert line.main() == after
    assert line.project().landings_held == ""
    assert "hub_restored" in [row["action"] for row in line.rows("select action from lineage")]


def test_a_hub_that_is_set_back_under_a_working_daemon_is_noticed_before_the_next_landing(
    line: Line,
) -> None:
    first = line.add("Newer")
    before = line.main()
    merger = loops.Merge(line.desk, lambda: None)
    line.until(first, "merging", stages=(*DEV, *REVIEW))
    wait_for(lambda: (merger.tick(), line.task(first).state == "done")[1])
    in_repository(line, "update-ref", "-d", SHOWN)
    line.hub_git("update-ref", "refs/heads/main", before)

    second = line.add("Second")
    line.until(second, "merging", stages=(*DEV, *REVIEW))
    for _ in range(5):
        merger.tick()
    merger.close()
    assert line.task(second).state == "merging"
    assert line.main() == before
    assert line.project().landings_held.startswith("hub:")


def test_a_hub_that_is_lost_in_the_middle_of_a_turn_is_noticed_in_the_next(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = line.add("Newer")
    merger = loops.Merge(line.desk, lambda: None)
    line.until(first, "merging", stages=(*DEV, *REVIEW))
    wait_for(lambda: (merger.tick(), line.task(first).state == "done")[1])
    second = line.add("Second")
    line.until(second, "merging", stages=(*DEV, *REVIEW))
    refresh = baseline.refresh

    def lose_and_refresh(*arguments: Any) -> Project:
        monkeypatch.setattr(baseline, "refresh", refresh)
        lose_hub(line)
        return refresh(*arguments)

    monkeypatch.setattr(baseline, "refresh", lose_and_refresh)
    merger.tick()
    line.drive(lambda: line.task(second).state == "merging", (*DEV, *REVIEW))
    merger.tick()  # something may land, so main is looked at before
    merger.close()
    assert line.file("notes/newer.md") is not None
    line.until(second, "done")
    assert line.file("notes/newer.md") is not None
    line.assert_sound()


class Died(Exception):
    """The daemon, between the intent and what it means."""


@contextmanager
def dies_after_its_intent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def die(*_: object) -> bool:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(landing, "complete", die)
        with pytest.raises(Died):
            yield


def test_an_intent_whose_commit_went_with_the_hub_lands_nothing_and_its_task_is_made_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = line.add("First")
    line.until(first, "done")
    task = line.add("Promised")
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    with dies_after_its_intent(monkeypatch):
        line.merge()
    lose_hub(line)
    line.until(task, "done")
    assert "landing_void" in line.decisions(task)
    assert line.file("notes/first.md") is not None
    assert line.file("notes/promised.md") is not None
    line.assert_sound()


def test_an_undo_that_main_overtook_is_made_on_the_new_main(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = line.add("Taken back")
    line.until(task, "done")
    with line.desk.db() as db:
        steer.undo(db, task)
    with dies_after_its_intent(monkeypatch):
        undo.turn(line.desk, line.project())
    with line.desk.db() as db:
        assert len(landings.intents(db, line.project().id)) == 1
    line.commit({"notes/first.md": "two\n"})
    hub = line.home / "hubs" / "sample.git"
    in_repository(line, "push", "-q", str(hub), "HEAD:refs/heads/pushed")
    pushed = line.hub_git("rev-parse", "refs/heads/pushed")
    merged = line.hub_git("merge-tree", "--write-tree", "refs/heads/main", pushed).split()[0]
    tip = line.hub_git(
        "-c", "user.name=Op", "-c", "user.email=op@example.invalid",
        "commit-tree", merged, "-p", "refs/heads/main", "-p", pushed, "-m", "by hand",
    )  # fmt: skip
    line.hub_git("update-ref", "refs/heads/main", tip)
    line.until(task, "rolled_back")
    assert line.file("notes/taken-back.md") is None
    assert line.file("notes/first.md") == "two\n"


@pytest.fixture
def two(home: Path, database: str, make_repo: Callable[..., Path]) -> Iterator[Line]:
    repos = {slug: make_repo(FILES, name=slug) for slug in ("sample", "other")}
    with open_line(home, database, repos) as opened:
        yield opened


def test_a_hub_without_its_objects_gets_them_again(line: Line) -> None:
    task = line.add("Unhurt")
    objects = line.home / "hubs" / "sample.git" / "objects"
    shutil.rmtree(objects)
    objects.mkdir()
    line.merge()
    line.until(task, "done")
    line.assert_sound()


def test_a_damaged_hub_is_told_once_and_the_other_project_goes_on(two: Line) -> None:
    stuck, fine = two.add("Stuck"), two.add("Fine", slug="other")
    (two.home / "hubs" / "sample.git" / "config").write_text("[core\n")
    with daemon_thread(two) as running:
        wait_for(lambda: two.task(fine).state == "done")
        told = wait_for(
            lambda: two.rows("select body from outbox where dedupe like 'apart:%%'"), 60
        )
        assert not running.gave_up.is_set()
    assert len(told) == 1
    assert told[0]["body"]["project"] == "sample"
    assert "config" in told[0]["body"]["text"]
    assert two.task(stuck).state == "backlog"
    assert two.task(stuck).tries == 0
