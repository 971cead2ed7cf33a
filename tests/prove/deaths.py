"""One death: a fresh home, a daemon that dies at a point, another that goes on, and the count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.prove import ground
from tests.prove.scenes import Scene
from tests.whole.line import FILES, Line, open_line


def die_at(
    point: str,
    scene: Scene,
    home: Path,
    database: str,
    make_repo: Callable[..., Path],
    nth: int = 1,
) -> None:
    """Kills the daemon the n-th time it comes to the point; everything must come out well."""
    repo = make_repo(FILES)
    changes = (
        {"projects": {"sample": {**scene.project, "path": str(repo)}}} if scene.project else {}
    )
    with open_line(home, database, {"sample": repo}, changes) as line:
        scene.prepare(line)
        nudge = scene.nudge()
        first = ground.start(line, CLAWD_CRASH=f"{point}:{nth}")
        try:
            ground.until_killed(line, first, nudge)
        finally:
            ground.end(line, first)
        with ground.running(line):
            ground.until(line, lambda: _is_over(line, scene), nudge)
        broken = ground.violations(line)
        assert broken == [], f"{broken}\n{line.story()}"
        states = {row["state"] for row in line.rows("select state from task")}
        assert states == set(scene.ends), line.story()


def _is_over(line: Line, scene: Scene) -> bool:
    known = line.rows("select state from task")
    if not known or not ground.is_quiet(line):
        return False
    return all(row["state"] in scene.ends for row in known)
