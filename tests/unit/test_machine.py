"""The transition tables: closed, reachable, and the same wherever they are written."""

from __future__ import annotations

import pytest

from clawd import machine, share
from clawd.model import GoalState, RunState, TaskState

KINDS = {"task": TaskState, "goal": GoalState, "run": RunState}
FIRST = {"task": "backlog", "goal": "seen", "run": "created"}
# The machine of the design, one line a state; a change there is a decision, not a slip.
STORY = {
    "backlog": "cancel claim park",
    "claimed": "cancel fail give_up lose start yield",
    "running": "ask cancel deliver fail finish give_up hold lose yield",
    "review": "bounce cancel check_red claim fail give_up hold lose no_change pass revise yield",
    "merging": "bounce cancel give_up hold land review",
    "waiting": "cancel deny expire resume_dev resume_merge resume_proof resume_review",
    "verifying": "give_up miss prove redo revert",
    "done": "revert",
    "parked": "cancel retry",
    "cancelled": "reopen",
    "rolled_back": "",
}


@pytest.mark.parametrize("kind", machine.TABLES)
def test_every_state_is_named_in_the_model_and_every_target_is_a_state(kind: str) -> None:
    table = machine.TABLES[kind]
    assert set(table) == {state.value for state in KINDS[kind]}
    assert {target for events in table.values() for target in events.values()} <= set(table)


@pytest.mark.parametrize("kind", machine.TABLES)
def test_every_state_can_be_reached_from_the_first(kind: str) -> None:
    table = machine.TABLES[kind]
    reached, left = {FIRST[kind]}, [FIRST[kind]]
    while left:
        for target in table[left.pop()].values():
            if target not in reached:
                reached.add(target)
                left.append(target)
    assert reached == set(table)


def test_a_task_has_exactly_the_events_of_the_design() -> None:
    assert {state: " ".join(sorted(events)) for state, events in machine.TASK.items()} == STORY


def test_ended_runs_never_move_again() -> None:
    assert all(machine.RUN[state] == {} for state in machine.ENDED["run"])
    assert all(machine.RUN[state] for state in set(machine.RUN) - set(machine.ENDED["run"]))


def test_what_can_run_can_be_cancelled_and_given_up() -> None:
    for state in ("claimed", "running", "review", "merging"):
        assert machine.next_state("task", state, "cancel") == "cancelled"
        assert machine.next_state("task", state, "give_up") == "parked"


def test_an_unknown_state_or_event_goes_nowhere() -> None:
    assert machine.next_state("task", "backlog", "land") is None
    assert machine.next_state("task", "nowhere", "claim") is None
    assert machine.next_state("task", "backlog", "") is None


def test_charges_name_events_of_the_table_and_two_things_never_charge() -> None:
    events = {event for table in machine.TASK.values() for event in table}
    assert set(machine.CHARGES) <= events
    assert set(machine.CHARGES.values()) == {"tries", "round", "bounces"}
    assert {("review", "fail")} == machine.UNCHARGED


def test_the_block_in_the_schema_is_the_one_the_tables_make() -> None:
    text = share.path("schema.sql").read_text()
    head = "-- >>> transitions (generated from clawd/machine.py)\n"
    block = text.partition(head)[2].partition("\n-- <<< transitions")[0]
    assert block == machine.sql()


@pytest.mark.parametrize("kind", machine.TABLES)
def test_the_drawing_shows_every_move(kind: str) -> None:
    lines = machine.drawing(kind).splitlines()
    assert lines[0] == "stateDiagram-v2"
    drawn = {
        (line.split()[0], line.partition("--> ")[2].partition(":")[0], event)
        for line in lines[1:]
        for event in line.partition(": ")[2].split(", ")
    }
    assert drawn == {
        (state, target, event)
        for state, events in machine.TABLES[kind].items()
        for event, target in events.items()
    }
