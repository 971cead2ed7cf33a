"""The two scripts, the lock files and the wheel: what a newcomer gets on the first minute."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CACHES = re.compile(r"/__pycache__/|/\.[a-z]+_cache/")
LOCKS = {
    "requirements.txt": [],
    "requirements-test.txt": ["test"],
    "requirements-bench.txt": ["bench"],
}


def run(*command: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_what_pyproject_asks_for(lock: str) -> None:
    wanted = list(PROJECT["project"]["dependencies"])
    for group in LOCKS[lock]:
        wanted += PROJECT["dependency-groups"][group]
    assert {name_of(requirement) for requirement in wanted} <= pins(lock).keys(), "run make lock"


def test_all_locks_agree_with_what_runs() -> None:
    running = pins("requirements.txt")
    for lock in LOCKS:
        pinned = pins(lock)
        assert {name: pinned[name] for name in running} == running, f"{lock}: run make lock"


def test_the_lock_of_the_real_cli_is_that_one_wheel() -> None:
    assert list(pins("requirements-claude.txt")) == ["claude-agent-sdk"]


@pytest.mark.parametrize("lock", [*LOCKS, "requirements-claude.txt"])
def test_a_lock_has_hashes_and_names_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=[a-z0-9-]+==)", text)[1:]:
        assert "--hash=sha256:" in entry, entry
    assert not re.search(r"://|--index|--find-links|(^|\s)/", text)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out)
    assert built.returncode == 0, built.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_carries_what_ships_beside_the_code(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    shipped = [ROOT / "schema.sql"]
    for folder in ("prompts", "migrations", "scripts/demo"):
        found = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        shipped += [path for path in found if not CACHES.search(str(path))]
    wanted = {f"clawd/_share/{path.relative_to(ROOT).as_posix()}" for path in shipped}
    assert wanted <= inside, wanted - inside
    assert not [name for name in inside if name.startswith(("tests/", "bench/", "docs/"))]


def test_the_installed_wheel_answers_help_and_finds_its_files(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed here"
    zipfile.ZipFile(wheel).extractall(target)
    entry = next(target.glob("*.dist-info/entry_points.txt")).read_text(encoding="utf-8")
    assert "clawd = clawd.cli.main:main" in entry
    start = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from clawd import share;"
        "print(share.path('schema.sql'), share.path('prompts'));"
        "from clawd.cli.main import main; sys.argv[0] = 'clawd'; sys.exit(main())"
    )
    helped = run(sys.executable, "-I", "-c", start, target, "--help", cwd=tmp_path)
    assert helped.returncode == 0, helped.stderr
    assert str(target / "clawd/_share/schema.sql") in helped.stdout
    assert "Usage" in helped.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout in an awkward place, set up without fetching anything."""
    place = tmp_path / "a folder, ünusual $(x) it's"
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "scripts", place / "scripts", ignore=skip)
    (place / "clawd/cli").mkdir(parents=True)
    shutil.copy(ROOT / "clawd/__init__.py", place / "clawd")
    for lock in ROOT.glob("requirements*.txt"):
        shutil.copy(lock, place)
    made = run(sys.executable, "-I", "-m", "venv", "--without-pip", place / ".venv")
    assert made.returncode == 0, made.stderr
    linked = run(place / ".venv/bin/python", "-I", place / "scripts/lib/link.py")
    assert linked.returncode == 0, linked.stderr
    stamp = '. scripts/lib/setup.sh; fingerprint run >"$VENV/clawd-run.stamp"'
    stamped = run("bash", "-euc", stamp, cwd=place)
    assert stamped.returncode == 0, stamped.stderr
    return place


def is_set_up(checkout: Path) -> bool:
    asked = run("bash", "-uc", ". scripts/lib/setup.sh; is_set_up run", cwd=checkout)
    assert asked.stderr == ""
    return asked.returncode == 0


def test_a_second_start_sets_nothing_up(checkout: Path) -> None:
    started = run(checkout / "scripts/run", "--setup", cwd=checkout.parent)
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    assert not (checkout / ".setup").exists()


def test_a_changed_lock_asks_for_a_new_set_up(checkout: Path) -> None:
    assert is_set_up(checkout)
    with (checkout / "requirements.txt").open("a") as lock:
        lock.write("# newer\n")
    assert not is_set_up(checkout)


def test_a_moved_checkout_asks_for_a_new_set_up(checkout: Path) -> None:
    moved = checkout.rename(checkout.with_name("elsewhere"))
    assert not is_set_up(moved)


def test_the_command_of_a_checkout_imports_that_checkout(checkout: Path) -> None:
    (checkout / "clawd/cli/main.py").write_text(
        "import clawd, sys\ndef main():\n    print(clawd.__file__, sys.argv[1:])\n"
    )
    hostile = checkout.parent / "clawd.py"
    hostile.write_text("raise SystemExit('the wrong clawd')\n")
    command = checkout / ".venv/bin/clawd"
    started = run(command, "a b", cwd=checkout.parent, PYTHONPATH=str(checkout.parent))
    assert started.stdout == f"{checkout}/clawd/__init__.py ['a b']\n", started.stderr


def test_a_python_that_does_not_run_is_passed_over(checkout: Path, tmp_path: Path) -> None:
    shims = tmp_path / "shims"
    shims.mkdir()
    for name in ("python3.13", "python3.12"):
        (shims / name).write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
        (shims / name).chmod(0o755)
    path = f"{shims}:{Path(sys.executable).resolve().parent}:{os.environ['PATH']}"
    asked = run(
        "bash",
        "-uc",
        '. scripts/lib/setup.sh; find_python && echo "$PYTHON"',
        cwd=checkout,
        PATH=path,
    )
    assert asked.returncode == 0, asked.stderr
    assert str(shims) not in asked.stdout


def test_without_any_python_one_sentence_says_what_to_install(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    script = ". scripts/lib/setup.sh; is_debian_root() { false; }; has_uv() { false; }; set_up run"
    tried = run("bash", "-euc", script, cwd=checkout, CLAWD_PYTHON="/nonexistent/python")
    assert tried.returncode == 1
    assert "clawd needs Python 3.11 or newer, and none was found." in tried.stderr
    assert "Install one" in tried.stderr


# As on macOS, which has no flock.
NO_FLOCK = 'command() { [ "$2" != flock ] && builtin command "$@"; };'


def test_two_set_ups_of_one_checkout_take_turns(checkout: Path) -> None:
    turn = (
        '. scripts/lib/setup.sh; mkdir -p "$SETUP"; DEADLINE=$((SECONDS + 20));'
        "say() { :; }; take_lock; echo in; sleep 0.5; echo out; drop_lock"
    )
    for without in ("", NO_FLOCK):
        script = f"({without}{turn}) & ({without}{turn}) & wait"
        both = run("bash", "-uc", script, cwd=checkout)
        assert both.stdout.split() == ["in", "out", "in", "out"], both


@pytest.mark.parametrize("script", ["run", "test"])
def test_the_scripts_teach_with_help(script: str, tmp_path: Path) -> None:
    helped = run(ROOT / "scripts" / script, "--help", cwd=tmp_path)
    assert helped.returncode == 0
    assert helped.stdout.startswith(f"Usage: scripts/{script}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nonsense"], "does not know --nonsense"),
        (["/nonexistent/repository"], "is not a folder"),
        ([""], "empty path"),
        (["/tmp", "/tmp"], "takes one path"),
    ],
)
def test_run_refuses_with_one_sentence_before_it_sets_up(arguments: list[str], said: str) -> None:
    refused = run(ROOT / "scripts/run", *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "script",
    [
        "run",
        "test",
        "lock",
        "check",
        "lib/setup.sh",
        "lib/python.sh",
        "lib/say.sh",
        "lib/system.sh",
        "../.ci/run",
    ],
)
def test_a_script_is_valid_bash(script: str) -> None:
    checked = run("bash", "-n", ROOT / "scripts" / script)
    assert (checked.returncode, checked.stderr) == (0, "")
