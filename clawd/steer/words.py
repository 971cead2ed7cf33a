"""What a person may say: who says it, how long it may be, and what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clawd.errors import UsageError
from clawd.model import Facts, Json

TITLE_LIMIT_CHARS = 200
SPEC_LIMIT_BYTES = 256 * 1024
ANSWER_LIMIT_BYTES = 64 * 1024
LIST_LIMIT = 50

# Controls a terminal or Postgres would act on, and halves of characters; tab and newline stay.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class By:
    """Who steers, and through which door."""

    name: str = "operator"
    channel: str = "cli"

    def facts(self, **inputs: object) -> Facts:
        """What a decision by this person rests on, for lineage."""
        return Facts(inputs={"by": self.name, "channel": self.channel, **inputs}, policy="steer")


OPERATOR = By()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a verb did: the sentence, the subject, and the command that comes next."""

    verb: str
    said: str
    kind: str = ""
    id: int | None = None
    state: str = ""
    lineage: int | None = None
    next: str = ""

    def json(self) -> Json:
        """The same keys for every verb."""
        return {
            "verb": self.verb,
            "said": self.said,
            "kind": self.kind,
            "id": self.id,
            "state": self.state,
            "lineage": self.lineage,
            "next": self.next,
        }


def clean(text: str) -> str:
    """Text that is safe to store and to show; line ends are newlines."""
    return _UNSAFE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def title(text: str, rest: str = "the spec (--spec)") -> str:
    """A title: one line, not empty, not a novel; `rest` is where more may be said."""
    found = clean(text).strip()
    if not found:
        raise UsageError("The title is empty.", "Say in one line what should be true afterwards.")
    if "\n" in found:
        raise UsageError("A title is one line.", f"Put the rest into {rest}.")
    if len(found) > TITLE_LIMIT_CHARS:
        raise UsageError(
            f"The title has {len(found)} characters; {TITLE_LIMIT_CHARS} are the most.",
            f"Put the rest into {rest}.",
        )
    return found


def spec(text: str) -> str:
    """The text of a contract, within what an agent can be handed."""
    return _capped(text, SPEC_LIMIT_BYTES, "spec", "Commit the material as a file and name it.")


def reply(text: str) -> str:
    """An answer to a question."""
    found = _capped(text, ANSWER_LIMIT_BYTES, "answer", "Say it shorter, or name a file.")
    if not found:
        raise UsageError("The answer is empty.", "Say something: clawd answer ID 'TEXT'.")
    return found


def items(texts: list[str] | tuple[str, ...], what: str) -> tuple[str, ...]:
    """A list of one-line entries: commands, globs."""
    found = tuple(clean(text).strip() for text in texts)
    if len(found) > LIST_LIMIT:
        raise UsageError(f"{len(found)} entries of {what}; {LIST_LIMIT} are the most.")
    for text in found:
        if not text or len(text) > 4000:
            raise UsageError(f"An entry of {what} is {'empty' if not text else 'too long'}.")
    return found


def globs(texts: list[str] | tuple[str, ...], what: str) -> tuple[str, ...]:
    """Paths inside the repository, as globs."""
    found = items(texts, what)
    for text in found:
        if text.startswith("/") or ".." in text.split("/") or text.split("/")[0] == ".git":
            raise UsageError(
                f"{what} {text!r} is outside the repository.",
                "Write globs relative to the repository, for example src/**.",
            )
    return found


def _capped(text: str, limit_bytes: int, what: str, remedy: str) -> str:
    found = clean(text).strip()
    size = len(found.encode())
    if size > limit_bytes:
        raise UsageError(
            f"The {what} has {size // 1024} KiB; {limit_bytes // 1024} KiB are the most.", remedy
        )
    return found
