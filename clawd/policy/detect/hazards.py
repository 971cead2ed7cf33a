"""Signs that tests need what a cage does not have: docker, or the network."""

from __future__ import annotations

import re

from clawd.policy.detect.proposal import Look, table

_COMPOSE = re.compile(r"(?:.*/)?(?:docker-)?compose[\w.-]*\.ya?ml")
_TEST = re.compile(
    r"(?:.*/)?(?:tests?|spec|__tests__|e2e)/.*|(?:.*/)?(?:test_[^/]*|[^/]*_test|conftest)\.\w+"
    r"|(?:.*/)?[^/]*\.(?:test|spec)\.[cm]?[jt]sx?"
)
_CODE = (".py", ".js", ".ts", ".mjs", ".cjs", ".jsx", ".tsx", ".go", ".rs", ".rb", ".java", ".kt")
_READ_AT_MOST = 60
_CONTAINERS = re.compile(
    r"testcontainers|^\s*(?:import|from) docker\b|docker\.from_env|pytest[-_]docker|dockerode"
    r"|ory/dockertest|[\"'`]docker(?:-compose)?[\"'` ]",
    re.MULTILINE,
)
_CALL = re.compile(
    r"(?:requests|httpx|session|client)\s*\.\s*(?:get|post|put|patch|delete|head|request)\("
    r"|urlopen\(|\bfetch\(|axios(?:\.\w+)?\(|http\.(?:Get|Post)\(|reqwest::|Net::HTTP"
)
_URL = re.compile(r"https?://([A-Za-z0-9.-]+)")
_REPLAYED = re.compile(
    r"\b(?:responses|respx|requests_mock|httpx_mock|vcr|vcrpy|nock|msw|wiremock|MockTransport"
    r"|httpretty|aioresponses|webmock|httptest|mock|patch|monkeypatch)\b",
    re.IGNORECASE,
)
_NOT_PUBLIC = re.compile(
    r"localhost|.*\.(?:localhost|local|test|invalid|example|internal)|[^.]*|[0-9.]+"
    r"|(?:.*\.)?example\.(?:com|org|net)|(?:.*\.)?(?:w3\.org|schemas\.\w+\.\w+)"
)
_REMEDY_DOCKER = "the cage has no docker. Give clawd a test command that does without them"


def hazards(look: Look) -> tuple[str, ...]:
    """One sentence with a remedy for each sign found."""
    tests = [name for name in look.files if _TEST.fullmatch(name) and name.endswith(_CODE)]
    texts = {name: look.text(name) for name in tests[:_READ_AT_MOST]}
    return (*_docker(look, texts), *_network(texts))


def _docker(look: Look, texts: dict[str, str]) -> tuple[str, ...]:
    users = [name for name, text in texts.items() if _CONTAINERS.search(text)]
    users += [name for name in _commands(look) if name not in users]
    if users:
        return (f"Tests seem to need docker ({_some(users)}); {_REMEDY_DOCKER}.",)
    compose = [name for name in look.files if _COMPOSE.fullmatch(name)]
    if compose:
        return (f"If tests need the services of {_some(compose)}: {_REMEDY_DOCKER}.",)
    return ()


def _commands(look: Look) -> list[str]:
    """Files whose way to test or whose dependencies name docker."""
    found = []
    script = table(look.json("package.json"), "scripts").get("test")
    if isinstance(script, str) and "docker" in script:
        found.append("package.json")
    for name in look.exists("tox.ini", "noxfile.py", "Cargo.toml", "go.mod", "pom.xml"):
        if re.search(r"testcontainers|\bdocker(?:-compose)?\s+(?:run|compose|up)", look.text(name)):
            found.append(name)
    for name in look.exists("Makefile", "justfile"):
        recipe = re.search(r"^test\b[^\n]*:[^\n]*\n((?:[ \t]+[^\n]*\n?)*)", look.text(name), re.M)
        if recipe and "docker" in recipe[1]:
            found.append(name)
    for name in look.match("*requirements*.txt", "pyproject.toml"):
        if re.search(r"testcontainers|pytest-docker", look.text(name)):
            found.append(name)
    return found


def _network(texts: dict[str, str]) -> tuple[str, ...]:
    reached: dict[str, str] = {}
    for name, text in texts.items():
        if _CALL.search(text) and not _REPLAYED.search(text):
            hosts = [host.rstrip(".") for host in _URL.findall(text)]
            public = [host for host in hosts if not _NOT_PUBLIC.fullmatch(host.lower())]
            if public:
                reached[name] = public[0]
    if not reached:
        return ()
    host = next(iter(reached.values()))
    return (
        f"Tests seem to reach the network ({_some(list(reached))}: {host}), and they run without "
        "one: set `network_for_tests: true` for the project, or take them out of the test command.",
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more
