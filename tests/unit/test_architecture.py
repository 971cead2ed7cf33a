"""The shape of the code: floors, purity, sizes, the map, and what no file may name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "clawd").rglob("*.py"))
LINES_OF_A_FILE = 320
LINES_OF_A_FUNCTION = 50

# What is longer than the limit, and why it reads better that way.
LONG_FILES = {
    "clawd/model.py": "a flat list of the nouns; in two files nobody would know where to look",
}
LONG_FUNCTIONS: dict[str, str] = {}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_imports_only_go_down_and_decisions_are_pure() -> None:
    # lint-imports takes over the process it runs in, so it gets its own.
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    linted = run(sys.executable, "-c", lint)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def imports(source: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: imports name the whole path"
            found.add(node.module or "")
    return found


def test_the_keeper_needs_only_the_standard_library_and_its_neighbours() -> None:
    waiting, seen = [ROOT / "clawd/running/keeper.py"], set()
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        for name in imports(source):
            if name.startswith("clawd.running."):
                waiting.append(ROOT / f"{name.replace('.', '/')}.py")
            else:
                assert name.partition(".")[0] in sys.stdlib_module_names, f"{source}: {name}"


def test_the_generated_parts_of_the_documentation_are_fresh() -> None:
    checked = run(sys.executable, ROOT / "scripts/docs", "--check")
    assert checked.returncode == 0, f"run make docs\n{checked.stdout}{checked.stderr}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_says_in_one_sentence_what_it_is(source: Path) -> None:
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    first = docstring.partition("\n")[0]
    assert first.endswith("."), f"{source}: {first!r}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_stay_readable(source: Path) -> None:
    text, name = source.read_text(encoding="utf-8"), source.relative_to(ROOT).as_posix()
    lines = len(text.splitlines())
    assert lines <= LINES_OF_A_FILE or name in LONG_FILES, f"{name} has {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            function = f"{name}:{node.name}"
            if function not in LONG_FUNCTIONS:
                assert length <= LINES_OF_A_FUNCTION, f"{function} has {length} lines"


def test_every_exception_to_the_sizes_is_still_needed() -> None:
    names = {source.relative_to(ROOT).as_posix() for source in SOURCES}
    assert set(LONG_FILES) <= names
    assert {function.partition(":")[0] for function in LONG_FUNCTIONS} <= names


def files_of_the_repository() -> list[Path]:
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


# Written apart, so that this file does not name them itself.
REGISTRIES = [
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("bootstrap", "pypa", "io"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("index", "crates", "io"),
        ("proxy", "golang", "org"),
    ]
]
# The home of root, this checkout, and the folder above it where that is not a system folder.
# `/work` alone is where an agent sees its workspace.
PLACES = ["/" + "root" + "/", f"{ROOT}/"]


def test_no_file_names_a_package_registry_or_a_place_on_one_machine() -> None:
    forbidden = re.compile("|".join(map(re.escape, REGISTRIES + PLACES)).encode())
    named = []
    for path in files_of_the_repository():
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            if found := forbidden.search(line):
                named.append(f"{path.relative_to(ROOT)}:{number}: {found[0].decode()}")
    assert not named, "\n".join(named)
