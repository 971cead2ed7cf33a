"""clawd.yaml: strict reading with lines and remedies, the template, adding a project."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawd.config import (
    Config,
    ConfigBroken,
    Login,
    ProjectSettings,
    Sandbox,
    database_url,
    default_text,
    home,
    load,
    read,
    reference_markdown,
    with_project,
)
from clawd.errors import ClawdError
from clawd.model import Landing, Role
from clawd.policy.tier import Protected, TierName, next_tier, previous_tier, run_minutes

ROOT = Path(__file__).resolve().parents[2]

EXAMPLE = """
agents:
  dev: {count: 2, names: [Ada, Böb], model: haiku, effort: high, tier: senior}
tiers:
  intern: {usd: 0.5, protected: listed}
budget:
  day_usd: 2.5
sandbox: none
login: inherit
roadmap: {poll_s: 5}
tries: 2
landing: branch
projects:
  shop:
    path: /code/my shop
    test: python3 -m unittest
    landing: follow
    setup_key: [requirements.txt]
    network_for_tests: true
  other: {path: /code/other, test_timeout_s: 60}
"""


def refusal(text: str) -> str:
    with pytest.raises(ConfigBroken) as caught:
        read(text)
    assert "\n" not in caught.value.message
    return str(caught.value)


# reading


def test_every_kind_of_key_is_read_over_the_defaults() -> None:
    config = read(EXAMPLE)
    assert config.agents.names_of(Role.DEV) == ("Ada", "Böb")
    assert config.agents.names_of(Role.QA) == ("qa-1", "qa-2")
    assert config.agents.dev.tier is TierName.SENIOR
    assert config.tiers[TierName.INTERN].usd_micros == 500_000
    assert config.tiers[TierName.INTERN].turns == 60
    assert config.tiers[TierName.INTERN].protected is Protected.LISTED
    assert config.tiers[TierName.JUNIOR].usd_micros == 3_000_000
    assert config.budget.day_micros == 2_500_000
    assert (config.sandbox, config.login, config.tries) == (Sandbox.NONE, Login.INHERIT, 2)
    assert config.landing_of("shop") is Landing.FOLLOW
    assert config.landing_of("other") is Landing.BRANCH
    assert config.test_timeout_of("shop") == 1800
    assert config.test_timeout_of("other") == 60
    assert config.project("shop").path == "/code/my shop"
    assert config.project("shop").setup_key == ("requirements.txt",)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "budget:\n", "\ufeff{}\n"])
def test_an_empty_file_is_the_defaults(text: str) -> None:
    assert read(text) == Config()


def test_a_home_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path) == Config()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clawd.yaml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ConfigBroken, match="UTF-8"):
        load(tmp_path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clawd.yaml").mkdir()
    with pytest.raises(ConfigBroken, match="is no file"):
        load(tmp_path)


def test_a_project_nobody_configured_is_named() -> None:
    with pytest.raises(ClawdError, match="no project 'shop'"):
        Config().project("shop")


def test_the_defaults_are_the_tiers_of_the_table() -> None:
    rows = [
        (tier.turns, tier.minutes, tier.usd_micros, tier.diff_lines, tier.promote_after)
        for tier in Config().tiers.values()
    ]
    assert rows == [
        (60, 30, 2_000_000, 300, 5),
        (80, 40, 3_000_000, 800, 8),
        (120, 60, 5_000_000, 2000, 13),
        (160, 90, 8_000_000, 5000, 0),
    ]


def test_a_run_gets_at_most_twice_its_planned_size() -> None:
    intern = Config().tiers[TierName.INTERN]
    assert [run_minutes(intern, size) for size in (0, 10, 30)] == [30, 20, 30]


def test_the_ladder_of_tiers_ends_at_both_ends() -> None:
    assert next_tier(TierName.INTERN) is TierName.JUNIOR
    assert next_tier(TierName.PRINCIPAL) is TierName.PRINCIPAL
    assert previous_tier(TierName.SENIOR) is TierName.JUNIOR
    assert previous_tier(TierName.INTERN) is TierName.INTERN


# refusals

REFUSALS = {
    "budgit: {}": "line 1: there is no key 'budgit'. Did you mean 'budget'?",
    "budget:\n  day_usdd: 3": "line 2: there is no key 'budget.day_usdd'. Did you mean 'day_usd'?",
    "tiers:\n  interm: {}": "line 2: there is no key 'tiers.interm'. Did you mean 'intern'?",
    "tries: 1\ntries: 2": "line 2: the key 'tries' is already on line 1. Keep one of the two.",
    "lease:\n  scan_s: 9\n  scan_s: 8": "line 3: the key 'scan_s' is already on line 2.",
    "tries: three": "line 1: tries must be a whole number, not text.",
    "tries: 2.5": "line 1: tries must be a whole number, not a number.",
    "tries: true": "line 1: tries must be a whole number, not true or false.",
    "tries:": "line 1: tries must be a whole number, not nothing.",
    "tries: 99": "line 1: tries must be between 1 and 20, not 99.",
    "limits: {idle_s: 1}": "line 1: limits.idle_s must be at least 10, not 1.",
    "roadmap:\n  poll_s: 1m": "line 2: roadmap.poll_s must be a number, not text. "
    "The unit is seconds; write the number alone.",
    "budget: {day_usd: -1}": "budget.day_usd must be between 0 and 100000, not -1.",
    "budget: {day_usd: .inf}": "budget.day_usd must be a number, not text.",
    "sandbox: maybe": "line 1: sandbox must be one of auto, none, not 'maybe'.",
    "sandbox: no": "sandbox must be one of auto, none, not 'no'.",
    "sandbox: true": "sandbox must be one of auto, none, not true or false.",
    "train: {retry_red: on}": "train.retry_red must be true or false, not text.",
    "train: {retry_red: yes}": "train.retry_red must be true or false, not text.",
    "train: {retry_red: True}": "train.retry_red must be true or false, not text.",
    "claude: {minimum: 2.1}": "claude.minimum must be text, not a number. Put it in quotes.",
    "agents: {dev: {effort: extreme}}": "agents.dev.effort must be one of '', low,",
    "agents: {dev: {names: Ada}}": "agents.dev.names must be a list of texts, not text.",
    "agents: {dev: {names: [1]}}": "agents.dev.names[0] must be text, not a number.",
    "agents: {dev: {count: 1, names: [qa-1]}}": "two agents are called 'qa-1'.",
    'agents: {dev: {count: 1, names: ["a\\nb"]}}': "is no name for an agent.",
    "agents: 3": "line 1: agents must be a mapping of keys, not a number.",
    "- a": "the file must be a mapping of keys, not a list.",
    "projects: {Shop: {path: /a}}": "'Shop' is no project name.",
    "projects: {a: {test: x}}": "line 1: projects.a.path is missing.",
    "projects: {a: {path: b}}": "projects.a.path must be an absolute path.",
    "projects: {a: {path: /x}, b: {path: /x}}": "projects.a and projects.b name the same path.",
    "lease: {lease_s: 30}": "heartbeat_s must be at most half of lease.lease_s",
    "<<: {tries: 2}": "there is no key '<<'.",
    "on: 1": "there is no key 'on'.",
    "[a]: 1": "line 1: a key must be plain text.",
    "tries: !!python/object/apply:os.system [x]": "tries must be a whole number, not a list.",
    "tries: !!python/name:os.system x": "the tag 'tag:yaml.org,2002:python/name:os.system'",
    "tries: !!int x": "line 1: 'x' is no int.",
    "a: [": "line 1 is not YAML",
    "a: *b": "line 1 is not YAML",
    "tries: 1\n---\ntries: 2": "is not YAML",
    "\ttries: 1": "line 1 is not YAML",
    "tries: \0": "characters that are not text",
    "x: " + "[" * 5000: "nested too deeply",
    "x: " + "[" * 30 + "]" * 30: "nested too deeply",
    "x: '" + "y" * 300_000 + "'": "larger than 256 kB",
}


@pytest.mark.parametrize("text", REFUSALS, ids=lambda text: repr(text[:40]))
def test_what_does_not_fit_is_refused_in_one_sentence_with_its_place(text: str) -> None:
    assert REFUSALS[text] in refusal(text)


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 9)]
    assert "more than 20000 values" in refusal("\n".join(lines))


def test_an_alias_to_itself_is_refused() -> None:
    assert "nested too deeply" in refusal("tries: &a [*a]")


@pytest.mark.parametrize("value", ["22:30", "0o17", "1_000", "2026-01-01", "0755", "on", "NULL"])
def test_values_that_only_look_like_something_else_stay_text(value: str) -> None:
    assert read(f"claude: {{minimum: {value}}}").claude.minimum == value


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=80), st.text("a:[]{}&*!|>-\n #'\"tries1,", max_size=60)))
def test_no_text_raises_anything_but_config_broken(text: str) -> None:
    with suppress(ConfigBroken):
        assert isinstance(read(text), Config)


# what is written


def test_the_template_is_valid_and_equal_to_the_defaults() -> None:
    assert read(default_text()) == Config()


def test_the_template_with_every_key_uncommented_is_equal_to_the_defaults() -> None:
    bare = re.sub(r"(?m)^( *)#(?=[a-z_]+:)", r"\1", default_text())
    bare = re.sub(r"(?m)^  shop:$", "  #shop:", bare)
    assert bare.count("\n    count:") >= 1
    assert len(bare) < len(default_text())
    assert read(bare) == Config()


def test_the_sample_project_of_the_template_can_be_uncommented() -> None:
    head, _, sample = default_text().partition("  #shop:")
    config = read(head + ("  #shop:" + sample).replace("  #", "  "))
    assert config.project("shop") == ProjectSettings(path="~/code/shop", landing=Landing.FOLLOW)


def test_the_template_fits_a_hundred_columns() -> None:
    assert max(map(len, default_text().splitlines())) <= 100


def test_the_reference_page_is_current() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert page == reference_markdown()


def test_the_reference_page_names_every_key() -> None:
    page = reference_markdown()
    for name in re.findall(r"(?m)^ *#? *([a-z_]+):", default_text()):
        assert name in page


NEW = ProjectSettings(
    path="/code/my shop/ü",
    test="pytest -k 'a: b' # x",
    setup_key=("*.lock", "true", "1"),
    landing=Landing.FOLLOW,
    weight=3,
    network_for_tests=True,
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\n",
        "tries: 2",
        "tries: 2 # keep\nprojects:\n",
        "projects: {} # none yet\ntries: 2\n",
        "projects:\n# first\n- x\n".replace("- x\n", ""),
        "projects:\n    # the first\n    a: # here\n        path: /a\n\n# end\ntries: 2\n",
        "projects:\r\n  a: {path: /a}\r\ntries: 2\r\n",
        default_text(),
    ],
)
def test_adding_a_project_keeps_every_other_line(text: str) -> None:
    new = with_project(text, "shop", NEW)
    assert read(new).project("shop") == NEW
    before = read(text)
    assert {k: v for k, v in read(new).projects.items() if k != "shop"} == before.projects
    kept = [line.replace("{} ", " ").rstrip() for line in text.splitlines() if line.strip()]
    have = [re.sub(" +", " ", line.rstrip()) for line in new.splitlines()]
    assert [line for line in kept if re.sub(" +", " ", line) not in have] == []


def test_a_second_project_goes_beside_the_first() -> None:
    text = with_project(with_project("", "a", ProjectSettings(path="/a")), "b", NEW)
    assert list(read(text).projects) == ["b", "a"]


def test_adding_a_project_twice_is_refused() -> None:
    text = with_project("", "shop", NEW)
    with pytest.raises(ConfigBroken, match="already has"):
        with_project(text, "shop", NEW)


def test_a_file_it_cannot_edit_safely_is_left_to_the_operator() -> None:
    with pytest.raises(ConfigBroken, match="by itself"):
        with_project("projects: {a: {path: /a}}\n", "shop", NEW)


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60),
)
def test_any_path_and_command_come_back_as_they_were(path: str, test: str) -> None:
    new = ProjectSettings(path=f"/{path}", test=test)
    assert read(with_project("", "shop", new)).project("shop") == new


# environment


def test_the_home_comes_from_the_environment_or_is_in_the_users_own() -> None:
    assert home({"CLAWD_HOME": "/srv/clawd"}) == Path("/srv/clawd")
    assert home({"CLAWD_HOME": ""}) == Path.home() / ".clawd"
    assert home({}).is_absolute()


def test_the_database_url_is_the_only_other_variable() -> None:
    assert database_url({"CLAWD_DATABASE_URL": "postgresql://h/d"}) == "postgresql://h/d"
    assert database_url({"CLAWD_DATABASE_URL": ""}) is None


def test_push_is_off_and_says_so() -> None:
    said = refusal("landing: push")
    assert said == "clawd.yaml: landing: push is off in this version. Choose follow or branch."
