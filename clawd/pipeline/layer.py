"""A project's installed dependencies: made once per digest from trusted main, then read-only."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from clawd.adapters import cage, crash
from clawd.adapters.cage import Bind, CageSpec, Network
from clawd.adapters.git import tree
from clawd.config import Sandbox
from clawd.model import Project
from clawd.pipeline.desk import Desk
from clawd.running import launch
from clawd.running.records import CommandResult, Launch, Limits

# Changes of the cage's own layout would make old layers wrong.
_LAYOUT = "1"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer on disk; `digest` is empty for projects without a set-up command."""

    digest: str = ""
    folder: Path | None = None
    paths: tuple[str, ...] = ()

    def binds(self, workspace: Path) -> tuple[Bind, ...]:
        """The layer at the same inside path in every workspace and test tree."""
        if self.folder is None:
            return ()
        inside = cage.work_inside(CageSpec(workspace=workspace, home=workspace))
        return tuple(
            (self.folder / name, f"{inside}/{name}")
            for name in self.paths
            if (self.folder / name).exists()
        )


@dataclass(frozen=True, slots=True)
class SetupFailed:
    """The set-up command was red: its output, for the operator."""

    output: str


def digest_of(desk: Desk, project: Project, commit: str) -> str:
    """What a layer depends on: the command, its key files on this commit, this platform."""
    hub = desk.hub(project)
    digest = hashlib.sha256()
    for part in (_LAYOUT, project.setup_cmd, f"{sys.platform} {platform.machine()}"):
        digest.update(part.encode() + b"\0")
    for name in project.settings.get("setup_paths", []):
        digest.update(name.encode() + b"\0")
    for name in project.settings.get("setup_key", []):
        digest.update(name.encode() + b"\0" + (hub.read(commit, name, 4 << 20) or b"") + b"\0")
    return digest.hexdigest()[:20]


def ensure(desk: Desk, project: Project, commit: str) -> Layer | SetupFailed:
    """The layer for `commit`, made by the daemon when it is not there yet."""
    if not project.setup_cmd:
        return Layer()
    digest = digest_of(desk, project, commit)
    paths = tuple(project.settings.get("setup_paths", []))
    folder = desk.layers / digest
    if folder.is_dir():
        return Layer(digest, folder, paths)
    made = _make(desk, project, commit, digest)
    if not made.ok:
        return SetupFailed(made.output)
    return Layer(digest, folder, paths)


def _make(desk: Desk, project: Project, commit: str, digest: str) -> CommandResult:
    work = desk.scratch(f"setup-{digest}")
    tree.remove(work)
    desk.hub(project).clone_to(work, commit)
    try:
        result = run_in_tree(
            desk, project, work, project.setup_cmd, f"setup-{digest}", Layer(),
            wall_s=float(desk.config.train.setup_timeout_s), network=Network.OPEN,
        )  # fmt: skip
        if result.ok:
            _keep(work, desk.layers / digest, project.settings.get("setup_paths", []))
        return result
    finally:
        tree.remove(work)


def _keep(work: Path, folder: Path, paths: list[str]) -> None:
    making = folder.with_name(folder.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700, parents=True)
    for name in paths:
        source = work / name
        if source.exists():
            target = making / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target, symlinks=True)
    crash.point("layer.before")
    making.rename(folder)
    crash.point("layer.after")


def run_in_tree(
    desk: Desk,
    project: Project,
    work: Path,
    command: str,
    marker: str,
    layer: Layer,
    *,
    wall_s: float,
    network: Network = Network.NONE,
) -> CommandResult:
    """One command of the project's in a cage over a tree the daemon laid; to its end."""
    folder = desk.home / "runs" / marker
    shutil.rmtree(folder, ignore_errors=True)
    home = folder / "home"
    home.mkdir(mode=0o700, parents=True)
    spec = CageSpec(workspace=work, home=home, network=network, read_only=layer.binds(work))
    caged = desk.config.sandbox is not Sandbox.NONE
    if not caged:
        _link(layer, work)
    return launch.run_command(
        command,
        Launch(
            folder=folder,
            marker=f"{desk.mark}-{marker}",
            argv=[],
            env=_known_red(project) | (_registry_settings() if network is Network.OPEN else {}),
            cwd=work,
            cage=spec if caged else None,
            limits=Limits(wall_s=wall_s),
            freeze_file=desk.freeze_file,
            beat_file=desk.beat_file,
            no_daemon_s=30,
        ),
        desk.stop,
    )


_SETTING_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_SETTING_PREFIXES = ("PIP_", "UV_", "NPM_CONFIG_")


def _registry_settings() -> dict[str, str]:
    """Mirrors, proxies and certificates of the operator's own environment, for set-up commands."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _SETTING_NAMES or name.upper().startswith(_SETTING_PREFIXES)
    }


def _known_red(project: Project) -> dict[str, str]:
    """Tests that count for nothing: pytest leaves them out, other runners may read the list."""
    names = [str(name) for name in project.settings.get("known_red", [])]
    if not names:
        return {}
    options = " ".join(f"--deselect {shlex.quote(name)}" for name in names)
    return {"CLAWD_KNOWN_RED": "\n".join(names), "PYTEST_ADDOPTS": options}


def _link(layer: Layer, work: Path) -> None:
    """Without a cage there is no bind: the layer is linked into the tree."""
    for name in layer.paths:
        target = work / name
        if layer.folder is not None and (layer.folder / name).exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(layer.folder / name)
