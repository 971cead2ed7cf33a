"""The project manager: turns changed roadmap items into goals with a spec."""

from __future__ import annotations

from typing import Any

from agentlib.behave import Behaviour
from agentlib.prompt import records
from agentlib.session import Session

TEXT_KEYS = ("detail", "details", "body", "nested", "text", "spec")
DONE_WHEN = {
    "by their tags": ["`pocket tags` counts the items of each tag", "`pocket list --tag` filters"],
    "words of titles": ["`pocket find` lists what holds every word", "title hits come first"],
    "long titles": ["no title is cut inside a word"],
    "unread and what was read": ["unread items by age", "items read per week, with the average"],
    "list with a friend": ["the whole list is one file that can be sent"],
}


def answer(session: Session, prompt: str, wanted: list[Behaviour]) -> dict[str, Any]:
    """One goal for every item in the prompt."""
    names = {each.name for each in wanted}
    items = records(prompt)
    session.say(f"I read {len(items)} changed roadmap item(s).")
    session.think(1.0)
    if "bad-goals" in names:
        return {"goal": "everything, please"}
    if "pm-ask" in names:
        text = "What exactly is meant by this item?"
        return {"goals": [], "questions": [{"ident": i["ident"], "text": text} for i in items]}
    return {"goals": [_goal(item) for item in items], "questions": []}


def _goal(item: dict[str, Any]) -> dict[str, Any]:
    title = str(item.get("title") or item["ident"])
    lower = " ".join(title.lower().split())
    detail = "\n".join(_lines(item))
    done_when = next((known for words, known in DONE_WHEN.items() if words in lower), None)
    return {
        "ident": item["ident"],
        "spec": f"{title}\n\n{detail[:8000]}".strip(),
        "done_when": done_when or [f"{title[:200]}: a reader can see that it is there"],
    }


def _lines(item: dict[str, Any]) -> list[str]:
    """The item's nested lines, whatever form the prompt gives them."""
    found: list[str] = []
    for key in TEXT_KEYS:
        value = item.get(key)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            found += [str(line) for line in value]
    return [line for line in found if line.strip()]
