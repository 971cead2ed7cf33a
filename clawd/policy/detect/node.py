"""Node projects: the `test` script with the package manager of the lock file."""

from __future__ import annotations

from dataclasses import dataclass

from clawd.policy.detect.proposal import Look, Proposal, table

_PLACEHOLDER = "no test specified"
_WORKSPACES_LIMIT = 50


@dataclass(frozen=True, slots=True)
class _Manager:
    program: str
    locks: tuple[str, ...]
    install: str


_MANAGERS = (
    _Manager("pnpm", ("pnpm-lock.yaml",), "pnpm install --frozen-lockfile"),
    _Manager("yarn", ("yarn.lock",), "yarn install --frozen-lockfile"),
    _Manager("bun", ("bun.lock", "bun.lockb"), "bun install --frozen-lockfile"),
    _Manager("npm", ("package-lock.json", "npm-shrinkwrap.json"), "npm ci --no-audit --no-fund"),
)
_WITHOUT_LOCK = "npm install --no-audit --no-fund --no-package-lock"


def node(look: Look) -> Proposal | None:
    """A project with a package.json at its top."""
    if not look.exists("package.json"):
        return None
    package = look.json("package.json")
    script = table(package, "scripts").get("test")
    manager = next((one for one in _MANAGERS if look.exists(*one.locks)), _MANAGERS[-1])
    if not isinstance(script, str) or not script.strip() or _PLACEHOLDER in script:
        return Proposal("JavaScript", program=manager.program)
    locks = look.exists(*manager.locks)
    needs = any(table(package, f"{kind}ependencies") for kind in ("d", "devD", "optionalD"))
    # CI tells test runners that watch by default to run once.
    test = f"CI=1 {manager.program} {'run ' if manager.program == 'bun' else ''}test"
    if not locks and not needs:
        return Proposal("JavaScript", test, program=manager.program)
    return Proposal(
        "JavaScript",
        test,
        _install(look, manager) if locks else _WITHOUT_LOCK,
        (*locks, *_manifests(look), *look.exists(".npmrc", ".yarnrc.yml", "pnpm-workspace.yaml")),
        tuple(_modules(name) for name in _manifests(look)),
        manager.program,
        () if locks else ("There is no lock file, so npm chooses the versions of dependencies.",),
    )


def _install(look: Look, manager: _Manager) -> str:
    if manager.program == "yarn" and look.exists(".yarnrc.yml"):
        return "YARN_NODE_LINKER=node-modules yarn install --immutable"
    return manager.install


def _manifests(look: Look) -> tuple[str, ...]:
    """The package.json of the project and of its workspaces, which get modules of their own."""
    below = [name for name in look.match("*/package.json") if "node_modules/" not in name]
    return ("package.json", *below[:_WORKSPACES_LIMIT])


def _modules(manifest: str) -> str:
    return manifest.removesuffix("package.json") + "node_modules"
