"""ROADMAP.md: what counts as a goal, how it is known again, how its box is ticked."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clawd.policy.roadmap import (
    Item,
    KnownGoal,
    RoadmapBroken,
    decode,
    parse,
    reconcile,
    tick,
    untick,
)

SAMPLE = """# Shop

Some words.

## Now
- [ ] Add a login page <!-- id: login -->
  Users sign in with a password.
  - [ ] nested boxes are detail
- [x] Set up the project
1. [ ] Ordered items count too

> - [ ] quoted

```
- [ ] fenced
```

    - [ ] indented code

<!--
- [ ] commented out
-->

## Later
### Reports
* [X] Export to CSV
- plain item
- [ ]
- [link](https://example.org) is no box
"""


def known(items: tuple[Item, ...] | list[Item], **changes: object) -> list[KnownGoal]:
    """The goals as the store would hold them after adding every item."""
    opened = [replace(item, done=False) for item in items]
    return [
        KnownGoal(
            new.ident,
            new.item.title,
            new.item.body,
            new.item.line,
            str(changes.get("state", "planned")),
            items[at].done,
            new.item.section_name,
            new.item.order,
        )
        for at, new in enumerate(reconcile([], opened).added)
    ]


def goals(*titles: str) -> list[KnownGoal]:
    return known(parse("".join(f"- [ ] {title}\n" for title in titles)).items)


# what is a goal


def test_top_level_checkboxes_are_goals_with_section_line_and_detail() -> None:
    items = parse(SAMPLE).items
    assert [(i.title, i.line, i.done, i.ident) for i in items] == [
        ("Add a login page", 6, False, "login"),
        ("Set up the project", 9, True, None),
        ("Ordered items count too", 10, False, None),
        ("Export to CSV", 26, True, None),
    ]
    assert items[0].section == ("Shop", "Now")
    assert items[3].section == ("Shop", "Later", "Reports")
    assert items[0].body == "Users sign in with a password.\n- [ ] nested boxes are detail"
    assert [i.order for i in items] == [0, 1, 2, 3]


def test_a_box_without_a_title_is_a_named_problem() -> None:
    assert parse(SAMPLE).problems == ("Line 28: a checkbox without a title is no goal.",)


def test_an_id_alone_on_the_next_line_belongs_to_the_goal_above() -> None:
    (item,) = parse("- [ ] Title\n  <!-- id: x.1 -->\n  detail\n").items
    assert (item.ident, item.title, item.body) == ("x.1", "Title", "detail")


def test_an_id_inside_the_detail_is_only_text() -> None:
    (item,) = parse("- [ ] Title\n  detail\n  `<!-- id: x -->`\n").items
    assert item.ident is None


def test_a_malformed_id_is_a_problem_and_not_an_identity() -> None:
    roadmap = parse("- [ ] Title <!-- id: a b -->\n")
    assert roadmap.items[0].ident is None
    assert "Line 1: the id may hold" in roadmap.problems[0]


def test_a_repeated_id_names_both_lines_and_drops_the_second() -> None:
    roadmap = parse("- [ ] One <!-- id: a -->\n- [ ] Two <!-- id: a -->\n")
    assert [item.title for item in roadmap.items] == ["One"]
    assert roadmap.problems == ("Lines 1 and 2 both carry the id a; the second is ignored.",)


def test_windows_line_ends_a_byte_order_mark_and_odd_separators_keep_the_line_numbers() -> None:
    text = "\ufeff- [ ] One\u2028still one\r\n\r\n- [ ] Two\f\r\n"
    assert [(i.title, i.line) for i in parse(text).items] == [("One still one", 1), ("Two", 3)]


def test_an_empty_roadmap_is_a_problem_not_an_error() -> None:
    assert parse("").items == ()
    assert "holds no goals" in parse("").problems[0]


def test_long_titles_and_details_are_cut_and_said() -> None:
    roadmap = parse(f"- [ ] {'t' * 400}\n  {'b' * 30_000}\n")
    assert len(roadmap.items[0].title) == 300
    assert len(roadmap.items[0].body) == 20_000
    assert len(roadmap.problems) == 2


@pytest.mark.parametrize(
    "text", ["a\0b", "\ud800", "x" * 1_000_001, "é" * 600_000, "- [ ] a\n" * 2_001]
)
def test_what_is_no_sane_text_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(RoadmapBroken):
        parse(text)


@pytest.mark.parametrize("data", [b"\x89PNG\0", b"ok\n\xff\xfe", b"x" * 1_000_001])
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    with pytest.raises(RoadmapBroken):
        decode(data)


def test_bytes_of_the_file_decode_without_changing_line_ends() -> None:
    assert decode("\ufeff- [ ] é\r\n".encode()) == "\ufeff- [ ] é\r\n"


@pytest.mark.parametrize("text", ["> " * 50_000, "- " * 50_000, "[" * 100_000, "* [ ] " * 9_000])
def test_hostile_nesting_is_read_in_bounded_time(text: str) -> None:
    parse(text)


# identity


def test_an_unchanged_roadmap_is_empty_changes() -> None:
    items = parse(SAMPLE).items
    goals_before = known([item for item in items if not item.done])
    assert reconcile(goals_before, items).empty


def test_a_reworded_goal_keeps_its_identity() -> None:
    before = goals("Add a login page with password", "Write the manual")
    after = parse("- [ ] Add a login page with a passkey\n- [ ] Write the manual\n").items
    changes = reconcile(before, after)
    assert [m.ident for m in changes.changed] == [before[0].ident]
    assert not changes.added
    assert not changes.vanished


def test_a_goal_with_an_id_may_be_reworded_completely() -> None:
    before = known(parse("- [ ] Old words <!-- id: a -->\n").items)
    changes = reconcile(before, parse("- [ ] Nothing alike at all! <!-- id: a -->\n").items)
    assert [m.ident for m in changes.changed] == ["a"]
    assert not changes.added


def test_moving_goals_changes_only_their_place() -> None:
    before = goals("One thing", "Another matter", "Third part")
    after = parse("- [ ] Third part\n- [ ] One thing\n- [ ] Another matter\n").items
    changes = reconcile(before, after)
    assert {m.ident for m in changes.moved} == {goal.ident for goal in before}
    assert replace(changes, moved=()).empty


def test_changed_indentation_and_wrapping_cost_nothing() -> None:
    before = known(parse("- [ ] A\n  one two\n  three\n").items)
    assert reconcile(before, parse("- [ ] A\n    one two three\n").items).empty


def test_writing_an_id_onto_a_known_goal_renames_it() -> None:
    before = goals("Add a login page")
    changes = reconcile(before, parse("- [ ] Add a login page <!-- id: login -->\n").items)
    assert [(r.old, r.new) for r in changes.renamed] == [(before[0].ident, "login")]
    assert not changes.added


def test_a_goal_with_an_id_never_becomes_one_with_another_id() -> None:
    before = known(parse("- [ ] Add a page <!-- id: a -->\n- [ ] B\n- [ ] C\n- [ ] D\n").items)
    after = parse("- [ ] Add a page <!-- id: z -->\n- [ ] B\n- [ ] C\n- [ ] D\n").items
    changes = reconcile(before, after)
    assert [n.ident for n in changes.added] == ["z"]
    assert changes.vanished == ("a",)


def test_twins_are_told_apart_by_their_detail() -> None:
    text = "- [ ] Add tests\n  for the parser\n- [ ] Add tests\n  for the server\n"
    before = known(parse(text).items)
    assert len({goal.ident for goal in before}) == 2
    swapped = "- [ ] Add tests\n  for the server\n- [ ] Add tests\n  for the parser\n"
    changes = reconcile(before, parse(swapped).items)
    assert {m.ident: m.item.line for m in changes.moved} == {
        before[0].ident: 3,
        before[1].ident: 1,
    }
    assert replace(changes, moved=()).empty


def test_identical_twins_get_two_identities() -> None:
    assert len({goal.ident for goal in goals("Same", "Same", "Same")}) == 3


def test_a_new_goal_in_another_script_gets_an_identity() -> None:
    (goal,) = goals("Добавить страницу")
    assert goal.ident.startswith("goal-")


def test_an_unknown_item_that_is_already_ticked_is_left_out() -> None:
    assert reconcile([], parse("- [x] Long done\n").items).empty


# vanishing


def test_one_of_many_goals_may_be_deleted() -> None:
    before = goals("Alpha", "Bravo", "Charlie", "Delta")
    changes = reconcile(before, parse("- [ ] Alpha\n- [ ] Bravo\n- [ ] Delta\n").items)
    assert changes.vanished == (before[2].ident,)
    assert changes.held is None


def test_a_third_of_the_goals_gone_is_held() -> None:
    before = goals("Alpha", "Bravo", "Charlie")
    changes = reconcile(before, parse("- [ ] Alpha\n- [ ] Bravo\n").items)
    assert changes.vanished == ()
    assert changes.held is not None
    assert changes.held.idents == (before[2].ident,)


def test_four_goals_gone_are_held_however_many_there_are() -> None:
    names = [f"Goal {'abcdefghijklmnopqrstuvwxyz'[n] * 7}" for n in range(26)]
    before = goals(*names)
    after = parse("".join(f"- [ ] {name}\n" for name in names[4:])).items
    changes = reconcile(before, after)
    assert changes.held is not None
    assert changes.held.reason == "many"
    assert len(changes.held.idents) == 4


def test_an_emptied_file_withdraws_nothing() -> None:
    changes = reconcile(goals("Alpha"), parse("").items)
    assert changes.held is not None
    assert changes.held.reason == "empty"
    assert changes.vanished == ()


def test_a_torn_save_withdraws_nothing() -> None:
    text = "".join(f"- [ ] {word} something\n" for word in ("Alpha", "Bravo", "Charlie", "Delta"))
    changes = reconcile(known(parse(text).items), parse(text[: len(text) // 2]).items)
    assert changes.held is not None
    assert changes.vanished == ()


def test_held_goals_go_once_the_operator_agreed() -> None:
    before = goals("Alpha", "Bravo")
    changes = reconcile(before, (), confirmed=[goal.ident for goal in before])
    assert changes.vanished == tuple(goal.ident for goal in before)
    assert changes.held is None


def test_finished_goals_may_be_cleaned_out() -> None:
    before = [replace(goal, state="done", done=True) for goal in goals(*"ABCDEFGH")]
    assert reconcile(before, ()).empty


def test_a_withdrawn_goal_written_again_reappears_with_its_identity() -> None:
    before = [replace(goal, state="withdrawn") for goal in goals("Alpha")]
    changes = reconcile(before, parse("- [ ] Alpha\n").items)
    assert [m.ident for m in changes.reappeared] == [before[0].ident]
    assert not changes.added


# boxes


def test_the_operators_tick_is_told_from_the_daemons() -> None:
    before = goals("Alpha", "Bravo")
    before[1] = replace(before[1], state="done")
    changes = reconcile(before, parse("- [x] Alpha\n- [x] Bravo\n").items)
    assert [m.ident for m in changes.ticked_by_operator] == [before[0].ident]
    assert [m.ident for m in changes.settled] == [before[1].ident]


def test_a_goal_whose_tick_has_not_reached_the_file_is_not_unticked() -> None:
    before = [replace(goal, state="done") for goal in goals("Alpha")]
    assert reconcile(before, parse("- [ ] Alpha\n").items).empty


def test_a_cleared_box_is_seen() -> None:
    before = [replace(goal, state="done", done=True) for goal in goals("Alpha")]
    changes = reconcile(before, parse("- [ ] Alpha\n").items)
    assert [m.ident for m in changes.unticked] == [before[0].ident]


def test_ticking_changes_one_character() -> None:
    text = "\ufeff# A\r\n\r\n* [ ]  Odd   spacing <!-- id: q -->  \r\n\tdetail\r\n"
    done = tick(text, "Odd spacing", 3)
    assert done == text.replace("[ ]", "[x]")
    assert untick(done, "whatever", 99, "q") == text


def test_ticking_follows_a_goal_that_moved_down() -> None:
    text = "New prose\n\n- [ ] Beta\n- [ ] Alpha\n"
    assert tick(text, "Alpha", 1) == "New prose\n\n- [ ] Beta\n- [x] Alpha\n"


@pytest.mark.parametrize(
    "text", ["- [ ] Other\n", "- [ ] Twin\n- [ ] Other\n- [ ] Twin\n", "> - [ ] Twin\n"]
)
def test_ticking_leaves_a_line_alone_that_no_longer_holds_the_goal(text: str) -> None:
    assert tick(text, "Twin", 2) == text


# properties

WORDS = st.text(st.sampled_from("abc [](){}<>-#*`_!é\t\\"), min_size=1, max_size=12)
LINES = st.builds(
    lambda lead, text: lead + text,
    st.sampled_from(
        [
            "- [ ] ",
            "- [x] ",
            "* [X] ",
            "1. [ ] ",
            "  - [ ] ",
            "> - [ ] ",
            "  ",
            "# ",
            "```",
            "",
            "\t",
            "- ",
            "-\n  [ ] ",
            "<!--",
            "-->",
            "<div>",
            "[x]: ",
            "---",
            "\u2028- [ ] ",
            "\x0c- [ ] ",
        ]
    ),
    WORDS,
)
DOCUMENTS = st.builds(
    lambda lines, end: end.join(lines),
    st.lists(LINES, max_size=14),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(st.one_of(st.text(max_size=300), DOCUMENTS))
def test_no_text_raises_anything_but_roadmap_broken(text: str) -> None:
    try:
        roadmap = parse(text)
    except RoadmapBroken:
        return
    for item in roadmap.items:
        assert item.title
        assert "\n" not in item.title


@MANY
@given(DOCUMENTS, st.integers(0, 20))
def test_a_tick_changes_exactly_that_goal(text: str, pick: int) -> None:
    items = parse(text).items
    if not items:
        return
    item = items[pick % len(items)]
    change = untick if item.done else tick
    after = parse(change(text, item.title, item.line)).items
    assert after == tuple(replace(old, done=not old.done) if old is item else old for old in items)


@MANY
@given(DOCUMENTS)
def test_a_reading_reconciled_with_itself_is_empty(text: str) -> None:
    items = [replace(item, done=False) for item in parse(text).items]
    assert reconcile(known(items), items).empty


@MANY
@given(
    st.lists(
        st.text("abcdefgh ", min_size=1).filter(str.strip),
        min_size=1,
        max_size=12,
        unique_by=lambda t: " ".join(t.split()),
    ),
    st.randoms(use_true_random=False),
)
def test_shuffling_keeps_every_identity(titles: list[str], rng: random.Random) -> None:
    before = goals(*titles)
    by_title = {goal.title: goal.ident for goal in before}
    rng.shuffle(titles)
    items = parse("".join(f"- [ ] {title}\n" for title in titles)).items
    changes = reconcile(before, items)
    assert replace(changes, moved=()).empty
    assert all(match.ident == by_title[match.item.title] for match in changes.moved)


def test_clawds_own_roadmap_is_in_the_form_it_reads() -> None:
    text = (Path(__file__).resolve().parents[2] / "ROADMAP.md").read_bytes()
    roadmap = parse(decode(text))
    assert roadmap.problems == ()
    assert all(item.ident and item.body for item in roadmap.items)
    assert "service" in [item.ident for item in roadmap.items]


def test_the_example_of_the_format_page_reads_as_it_says() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "roadmap-format.md").read_text()
    example = page.split("```markdown\n")[1].split("```")[0]
    assert [(i.ident, i.done, i.section) for i in parse(example).items] == [
        ("login", False, ("Shop", "Now")),
        (None, False, ("Shop", "Now")),
        (None, True, ("Shop", "Now")),
    ]
