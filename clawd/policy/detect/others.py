"""Rust, Go, Elixir, Ruby, the JVM, and projects that say it in a Makefile or justfile."""

from __future__ import annotations

import re

from clawd.policy.detect.proposal import Look, Proposal

CRATES, MODULES = ".cargo-vendor", ".gomodcache"
_ONLINE = "It fetches its dependencies while it tests: set `network_for_tests: true`."
_MAKE_TEST = re.compile(r"^test\s*:(?!=)", re.MULTILINE)
_JUST_TEST = re.compile(r"^@?test\b[^:=\n]*:(?!=)", re.MULTILINE)


def rust(look: Look) -> Proposal | None:
    """A crate or workspace; its dependencies are kept as sources, so that tests need no network."""
    if not look.exists("Cargo.toml"):
        return None
    locked = look.exists("Cargo.lock")
    if locked and "source = " not in look.text("Cargo.lock"):
        return Proposal("Rust", "cargo test --offline", program="cargo")
    instead = (
        "--config 'source.crates-io.replace-with=\"kept\"' "
        f"--config 'source.kept.directory=\"{CRATES}\"'"
    )
    return Proposal(
        "Rust",
        f"cargo test --offline {instead}",
        f"cargo vendor {'--locked ' if locked else ''}{CRATES}",
        (*locked, *look.match("Cargo.toml", "*/Cargo.toml")[:50]),
        (CRATES,),
        "cargo",
    )


def go(look: Look) -> Proposal | None:
    """A Go module."""
    if not look.exists("go.mod"):
        return None
    if not look.exists("go.sum") or look.exists("vendor/modules.txt"):
        return Proposal("Go", "go test ./...", program="go")
    cache = f'GOMODCACHE="$PWD/{MODULES}"'
    return Proposal(
        "Go",
        f"{cache} GOPROXY=off go test ./...",
        f"{cache} go mod download",
        ("go.mod", "go.sum"),
        (MODULES,),
        "go",
    )


def elixir(look: Look) -> Proposal | None:
    """A Mix project."""
    if not look.exists("mix.exs"):
        return None
    if not look.exists("mix.lock"):
        return Proposal("Elixir", "mix test", program="mix")
    setup = "mix local.hex --force && mix deps.get"
    return Proposal("Elixir", "mix test", setup, ("mix.exs", "mix.lock"), ("deps",), "mix")


def ruby(look: Look) -> Proposal | None:
    """A Bundler project."""
    if not look.exists("Gemfile"):
        return None
    test = (
        "rspec" if look.match("spec/*_spec.rb") else "rake test" if look.exists("Rakefile") else ""
    )
    where = "BUNDLE_PATH=vendor/bundle"
    return Proposal(
        "Ruby",
        f"{where} bundle exec {test}" if test else "",
        f"{where} bundle install",
        look.exists("Gemfile", "Gemfile.lock"),
        ("vendor/bundle",),
        "bundle",
    )


def jvm(look: Look) -> Proposal | None:
    """Gradle or Maven, by its wrapper where there is one."""
    if look.exists("build.gradle", "build.gradle.kts"):
        wrapper = look.exists("gradlew")
        test = "sh ./gradlew test" if wrapper else "gradle test"
        return Proposal("JVM", test, program="" if wrapper else "gradle", warnings=(_ONLINE,))
    if look.exists("pom.xml"):
        wrapper = look.exists("mvnw")
        test = "sh ./mvnw -q test" if wrapper else "mvn -q test"
        return Proposal("JVM", test, program="" if wrapper else "mvn", warnings=(_ONLINE,))
    return None


def recipes(look: Look) -> Proposal | None:
    """Whatever the project itself calls `test`."""
    for name in look.exists("justfile", "Justfile", ".justfile"):
        if _JUST_TEST.search(look.text(name)):
            return Proposal("", "just test", program="just")
    for name in look.exists("GNUmakefile", "Makefile", "makefile"):
        if _MAKE_TEST.search(look.text(name)):
            return Proposal("", "make test", program="make")
    return None
