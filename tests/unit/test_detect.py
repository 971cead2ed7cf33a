"""What a repository's files say about testing it: a table of projects and what is proposed."""

from __future__ import annotations

import json

import pytest

from clawd.policy import detect
from clawd.policy.detect import Proposal

CASE = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): pass\n"
FUNCTION = "def test_a():\n    assert True\n"
EVERYTHING = frozenset((*detect.PROGRAMS, detect.PYTEST))


def propose(files: dict[str, str], installed: frozenset[str] = EVERYTHING) -> Proposal:
    return detect.propose(list(files), lambda name: files.get(name, ""), installed)


def package(**keys: object) -> str:
    return json.dumps(keys)


def test_plain_python_uses_pytest_where_it_is_installed() -> None:
    found = propose({"shop.py": "", "tests/__init__.py": "", "tests/test_shop.py": CASE})
    assert (found.language, found.test_cmd) == ("Python", "python3 -m pytest -q")
    assert found.setup_cmd == ""
    assert found.warnings == ()


def test_plain_python_without_pytest_uses_unittest() -> None:
    bare = frozenset({"python3"})
    found = propose({"tests/__init__.py": "", "tests/test_shop.py": CASE}, bare)
    assert found.test_cmd == "python3 -m unittest -q"


def test_unittest_in_a_folder_that_is_no_package_is_discovered_there() -> None:
    found = propose({"tests/test_shop.py": CASE}, frozenset({"python3"}))
    assert found.test_cmd == "python3 -m unittest discover -q -s tests"


def test_tests_written_for_pytest_get_it_installed_where_it_is_missing() -> None:
    found = propose({"test_shop.py": FUNCTION}, frozenset({"python3"}))
    assert found.setup_cmd == "python3 -m venv .venv && .venv/bin/python -m pip install -q pytest"
    assert found.test_cmd == ".venv/bin/python -m pytest -q"
    assert found.setup_paths == (".venv",)


def test_requirements_are_installed_into_a_virtual_environment() -> None:
    files = {"requirements.txt": "flask\n", "requirements-dev.txt": "pytest>=8\n"}
    found = propose({**files, "docs/requirements.txt": "sphinx", "tests/test_a.py": FUNCTION})
    assert found.setup_cmd.endswith("pip install -q -r requirements-dev.txt -r requirements.txt")
    assert found.setup_key == ("requirements-dev.txt", "requirements.txt")
    assert found.test_cmd == ".venv/bin/python -m pytest -q"


def test_a_pyproject_is_installed_with_its_test_extra_and_groups() -> None:
    text = """
        [project]
        dependencies = ["click"]
        [project.optional-dependencies]
        test = ["pytest"]
        docs = ["sphinx"]
        [dependency-groups]
        dev = ["ruff", {include-group = "extra"}]
        extra = ["hypothesis>=6"]
    """
    found = propose({"pyproject.toml": text, "src/shop/__init__.py": "", "tests/test_a.py": CASE})
    assert found.setup_cmd.endswith("-q -e '.[test]' ruff 'hypothesis>=6'")
    assert found.test_cmd == "PYTHONPATH=src .venv/bin/python -m pytest -q"
    assert found.setup_key == ("pyproject.toml",)


def test_a_pyproject_without_dependencies_needs_no_setup() -> None:
    found = propose({"pyproject.toml": "[tool.ruff]\n", "tests/test_a.py": FUNCTION})
    assert (found.setup_cmd, found.test_cmd) == ("", "python3 -m pytest -q")


@pytest.mark.parametrize(
    ("lock", "command"),
    [("uv.lock", "uv sync --frozen"), ("poetry.lock", "poetry install")],
)
def test_a_lock_file_is_used_with_its_own_program(lock: str, command: str) -> None:
    text = '[project]\ndependencies = ["click"]\n'
    files = {"pyproject.toml": text, lock: "", "tests/test_a.py": FUNCTION}
    assert command in propose(files).setup_cmd
    without = propose(files, frozenset({"python3"}))
    assert "pip install" in without.setup_cmd
    assert f"{lock} is not used" in without.warnings[0]


def test_python_without_tests_lands_nothing_and_says_so() -> None:
    found = propose({"pyproject.toml": "", "shop.py": ""})
    assert (found.language, found.test_cmd) == ("Python", "")
    assert found.warnings == ("No tests were found, so nothing can land until there are some.",)


@pytest.mark.parametrize(
    ("lock", "test", "setup"),
    [
        ("package-lock.json", "CI=1 npm test", "npm ci --no-audit --no-fund"),
        ("pnpm-lock.yaml", "CI=1 pnpm test", "pnpm install --frozen-lockfile"),
        ("yarn.lock", "CI=1 yarn test", "yarn install --frozen-lockfile"),
        ("bun.lock", "CI=1 bun run test", "bun install --frozen-lockfile"),
    ],
)
def test_node_uses_the_manager_of_its_lock_file(lock: str, test: str, setup: str) -> None:
    files = {"package.json": package(scripts={"test": "vitest"}), lock: ""}
    found = propose(files)
    assert (found.test_cmd, found.setup_cmd) == (test, setup)
    assert found.setup_key == (lock, "package.json")
    assert found.setup_paths == ("node_modules",)


def test_node_workspaces_keep_the_modules_of_each() -> None:
    text = package(scripts={"test": "vitest"})
    files = {"package.json": text, "pnpm-lock.yaml": "", "apps/web/package.json": "{}"}
    assert propose(files).setup_paths == ("node_modules", "apps/web/node_modules")


def test_node_without_dependencies_needs_no_setup() -> None:
    found = propose({"package.json": package(scripts={"test": "node --test"})})
    assert (found.test_cmd, found.setup_cmd) == ("CI=1 npm test", "")


def test_npms_placeholder_is_no_test_command() -> None:
    script = 'echo "Error: no test specified" && exit 1'
    assert propose({"package.json": package(scripts={"test": script})}).test_cmd == ""


def test_rust_tests_from_kept_sources() -> None:
    lock = '[[package]]\nname = "serde"\nsource = "registry+x"\n'
    found = propose({"Cargo.toml": "", "Cargo.lock": lock, "src/lib.rs": ""})
    assert found.test_cmd.startswith("cargo test --offline --config")
    assert found.setup_cmd == "cargo vendor --locked .cargo-vendor"
    assert found.setup_key == ("Cargo.lock", "Cargo.toml")
    alone = propose({"Cargo.toml": "", "Cargo.lock": '[[package]]\nname = "me"\n'})
    assert (alone.test_cmd, alone.setup_cmd) == ("cargo test --offline", "")


def test_go_keeps_its_module_cache_beside_the_code() -> None:
    assert propose({"go.mod": ""}).test_cmd == "go test ./..."
    found = propose({"go.mod": "", "go.sum": "x"})
    assert found.test_cmd == 'GOMODCACHE="$PWD/.gomodcache" GOPROXY=off go test ./...'
    assert found.setup_cmd == 'GOMODCACHE="$PWD/.gomodcache" go mod download'


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"Makefile": "all:\n\techo\ntest: all\n\t./check\n"}, "make test"),
        ({"justfile": "test *args:\n  ./check\n"}, "just test"),
        ({"Makefile": "all:\n\techo test:\n", "README.md": ""}, ""),
        ({"mix.exs": "", "mix.lock": ""}, "mix test"),
        ({"pom.xml": "", "mvnw": ""}, "sh ./mvnw -q test"),
        ({"build.gradle.kts": ""}, "gradle test"),
        ({"Gemfile": "", "spec/a_spec.rb": ""}, "BUNDLE_PATH=vendor/bundle bundle exec rspec"),
        ({"README.md": ""}, ""),
        ({}, ""),
    ],
)
def test_other_projects(files: dict[str, str], command: str) -> None:
    assert propose(files).test_cmd == command


def test_a_python_helper_beside_a_makefile_does_not_hide_the_test_target() -> None:
    files = {"Makefile": "test:\n\t./check\n", "setup.cfg": "[flake8]\n", "main.c": ""}
    assert propose(files).test_cmd == "make test"


def test_a_program_the_cage_does_not_show_is_named() -> None:
    found = propose({"Cargo.toml": "", "Cargo.lock": ""}, frozenset({"python3"}))
    assert "`cargo` is not reachable inside the cage" in found.warnings[0]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"docker-compose.yml": ""}, "If tests need the services of docker-compose.yml"),
        ({"infra/compose.yaml": ""}, "If tests need the services of infra/compose.yaml"),
        ({"tests/test_a.py": "import docker\n"}, "Tests seem to need docker (tests/test_a.py)"),
        (
            {"tests/test_a.py": "from testcontainers.postgres import PostgresContainer\n"},
            "Tests seem to need docker (tests/test_a.py)",
        ),
        (
            {"package.json": package(scripts={"test": "docker compose run web jest"})},
            "Tests seem to need docker (package.json)",
        ),
        ({"Makefile": "test:\n\tdocker compose run x\n"}, "Tests seem to need docker (Makefile)"),
        (
            {"tests/test_a.py": "requests.get('https://api.shop.com/v1')\n"},
            "Tests seem to reach the network (tests/test_a.py: api.shop.com)",
        ),
        (
            {"src/a.test.ts": "await fetch('https://shop.dev/x')"},
            "Tests seem to reach the network (src/a.test.ts: shop.dev)",
        ),
    ],
)
def test_what_a_cage_does_not_have_is_said(files: dict[str, str], words: str) -> None:
    assert any(words in warning for warning in propose(files).warnings)


@pytest.mark.parametrize(
    "text",
    [
        "requests.get('http://localhost:8000/')",
        "requests.get('http://127.0.0.1/')",
        "client.get('https://example.com/')",
        "import responses\nrequests.get('https://api.shop.com/')",
        "URL = 'https://api.shop.com/'",
    ],
)
def test_local_replayed_and_unused_addresses_are_no_network(text: str) -> None:
    assert not any("network" in w for w in propose({"tests/test_a.py": text}).warnings)


@pytest.mark.parametrize("text", ["{", "[]", '{"scripts": []}', '{"scripts": {"test": 3}}', "\0"])
def test_broken_manifests_are_no_error(text: str) -> None:
    files = {"package.json": text, "pyproject.toml": text, "tests/test_a.py": CASE}
    assert propose(files).test_cmd == "python3 -m pytest -q"
