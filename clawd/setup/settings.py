"""clawd.yaml as `clawd init` writes it: made once, then changed by single lines."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from clawd import config as configuration
from clawd.config import FILE_NAME, Config, ConfigBroken, Login, ProjectSettings, Sandbox
from clawd.pipeline.desk import Desk
from clawd.setup.checklist import Checklist
from clawd.setup.choices import Choices
from clawd.setup.home import replace_file

MICROS_IN_USD = 1_000_000


def write_first(out: Checklist, home: Path) -> None:
    """The commented template where there is no file; a broken one ends the init here."""
    file = home / FILE_NAME
    if file.exists():
        configuration.load(home)
        out.tick("settings", f"{file}")
        return
    replace_file(file, configuration.default_text())
    out.tick("settings", f"{file}, made; every key is explained in it")


def apply(out: Checklist, home: Path, wanted: Choices) -> None:
    """What was asked for beforehand and is no matter of one project."""
    known = configuration.load(home)
    if wanted.sandbox is not None and wanted.sandbox != known.sandbox.value:
        change(home, "", "sandbox", wanted.sandbox, sandbox=Sandbox(wanted.sandbox))
        out.note(f"sandbox is {wanted.sandbox} now, in clawd.yaml")
    if wanted.login is not None:
        login = Login.TOKEN if wanted.login == "key" else Login(wanted.login)
        choose_login(home, login)


def choose_login(home: Path, login: Login) -> None:
    """Writes the kind of login, where it is another one."""
    if configuration.load(home).login is not login:
        change(home, "", "login", login.value, login=login)


def check_day(out: Checklist, desk: Desk, wanted: Choices) -> None:
    """The most a day may cost; asked while no project is there, kept afterwards."""
    budget = configuration.load(desk.home).budget
    micros = budget.day_micros
    if wanted.day_micros is not None:
        micros = wanted.day_micros
    elif not desk.config.projects and out.asks:
        micros = _micros(out, micros)
    if micros != budget.day_micros:
        after = dataclasses.replace(budget, day_micros=micros)
        change(desk.home, "budget", "day_usd", _usd(micros), budget=after)
    out.tick("money", f"at most {_usd(micros)} USD a day, at list price (budget.day_usd)")


def _micros(out: Checklist, default: int) -> int:
    for _ in range(3):
        said = out.answer("At most how many USD a day, at list price?", _usd(default))
        if re.fullmatch(r"\d{1,5}(?:\.\d{1,6})?", said):
            return round(float(said) * MICROS_IN_USD)
        out.note(f"{said[:40]!r} is no amount: write it as 10 or 2.50.")
    return default


def _usd(micros: int) -> str:
    return f"{micros / MICROS_IN_USD:f}".rstrip("0").rstrip(".")


def add_project(home: Path, slug: str, settings: ProjectSettings) -> None:
    """One more project in the file; every other line stays."""
    file = home / FILE_NAME
    text = configuration.with_project(file.read_text("utf-8"), slug, settings)
    configuration.read(text)
    replace_file(file, text)


def change(home: Path, section: str, key: str, value: str, **expected: object) -> None:
    """One key of the file; refused when the result would not read as exactly that."""
    file = home / FILE_NAME
    text = file.read_text("utf-8")
    before = configuration.read(text)
    new = with_key(text, section, key, value)
    if _reads(new) != dataclasses.replace(before, **expected):  # type: ignore[arg-type]
        name = f"{section}.{key}" if section else key
        raise ConfigBroken(
            f"clawd cannot set {name} in clawd.yaml by itself.",
            f"Write `{key}: {value}` there{f' below `{section}:`' if section else ''}.",
        )
    replace_file(file, new)


def _reads(text: str) -> Config | None:
    try:
        return configuration.read(text)
    except ConfigBroken:
        return None


def with_key(text: str, section: str, key: str, value: str) -> str:
    """The text with one key set: in its own line, in its commented one, else in a new one."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.split(end)
    if not section:
        at = _find(lines, rf"#?{key}:(\s|$)", 0, len(lines))
        if at is None:
            lines = [*_without_blank_tail(lines), f"{key}: {value}", ""]
        else:
            lines[at] = f"{key}: {value}"
        return end.join(lines)
    head = _find(lines, rf"{section}:\s*(#.*)?$", 0, len(lines))
    if head is None:
        return end.join([*_without_blank_tail(lines), f"{section}:", f"  {key}: {value}", ""])
    stop = _find(lines, r"[^\s#]", head + 1, len(lines)) or len(lines)
    at = _find(lines, rf"\s+#?{key}:(\s|$)", head + 1, stop)
    first = _find(lines, r"\s+[^\s#]", head + 1, stop)
    indent = re.match(r"\s*", lines[first])[0] if first is not None else "  "  # type: ignore[index]
    if at is None:
        lines.insert(head + 1, f"{indent}{key}: {value}")
    else:
        lines[at] = f"{indent}{key}: {value}"
    return end.join(lines)


def _find(lines: list[str], pattern: str, start: int, stop: int) -> int | None:
    found = re.compile(pattern)
    return next((n for n in range(start, stop) if found.match(lines[n])), None)


def _without_blank_tail(lines: list[str]) -> list[str]:
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept
