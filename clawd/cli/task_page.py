"""One task on a page: contract, story, runs, reviews, landings."""

from __future__ import annotations

from clawd.cli import show
from clawd.store.views_task import Detail


def print_detail(found: Detail) -> None:
    """Prints everything about a task, the most wanted first."""
    show.heading(f"Task {found.id}  {show.one_line(found.title)}")
    _facts(found)
    _contract(found)
    show.line()
    show.table(
        ("at", "from", "event", "to", "by", "why", "lineage"),
        [(show.when(m.at), m.from_state, m.event, m.to_state, m.actor, show.one_line(m.why, 90),
          m.lineage) for m in found.timeline],
    )  # fmt: skip
    if found.runs:
        show.line()
        show.table(
            ("run", "role", "agent", "state", "reason", "turns", "minutes", "cost"),
            [(r.id, r.role, r.agent, r.state, r.reason, r.turns, r.minutes,
              show.usd(r.cost_micros)) for r in found.runs],
        )  # fmt: skip
    _reviews(found)
    for landing in found.landings:
        tests = f", tests {landing.tests}" if landing.tests else ""
        show.line(f"{landing.kind} {landing.state}: {landing.new_main[:12]} on "
                  f"{landing.old_main[:12]}, tree {landing.tree[:12]}{tests}")  # fmt: skip


def _facts(found: Detail) -> None:
    state = f"{found.state}: {found.reason}" if found.reason else found.state
    facts = [("state", state), ("project", found.project)]
    if found.goal is not None:
        goal = f"{found.goal} {show.one_line(found.goal_title, 80)} (line {found.roadmap_line})"
        facts.append(("goal", goal))
    counters = f"tries {found.tries} of 3, revise {found.round} of 3, bounces {found.bounces} of 5"
    limit = f" of {show.usd(found.limit_micros)}" if found.limit_micros else ""
    facts += [("counters", counters), ("cost", show.usd(found.cost_micros) + limit)]
    if found.needs:
        facts.append(("needs", ", ".join(map(str, found.needs))))
    if found.wanted_by:
        facts.append(("wanted by", ", ".join(map(str, found.wanted_by))))
    if found.not_before is not None:
        facts.append(("not before", show.when(found.not_before)))
    if found.owner != "clawd":
        facts.append(("whose turn", found.owner))
    if found.action:
        facts.append(("next", show.one_line(found.action)))
    for name, value in facts:
        show.line(f"  {name:<11}{value}")


def _contract(found: Detail) -> None:
    body = found.contract
    show.line(f"  contract   version {found.contract_version}")
    show.block(str(body.get("spec", "")), 4)
    for clause in body.get("acceptance", []):
        show.line(f"    {clause['id']}: {show.one_line(clause['run'])}")
    for name in ("scope", "may_change"):
        if body.get(name):
            show.line(f"    {name}: {show.one_line(', '.join(body[name]))}")
    for pair in body.get("answers", []):
        show.line(f"    asked: {show.one_line(pair['question'])}")
        show.line(f"    you:   {show.one_line(pair['answer'])}")
    for asked in found.questions:
        if asked.state == "open":
            show.line(f"    waits for you: {show.one_line(asked.question)} (clawd inbox)")


def _reviews(found: Detail) -> None:
    for candidate in found.candidates:
        kind = "no change needed" if candidate.no_change else candidate.oid[:12]
        show.line(f"candidate of run {candidate.run}: {kind}, tree {candidate.tree[:12]}, "
                  f"check {candidate.check_state}")  # fmt: skip
    for verdict in found.verdicts:
        show.line(f"review of run {verdict.run} by {show.one_line(verdict.agent)}: "
                  f"{verdict.answer}. {show.one_line(verdict.summary, 200)}")  # fmt: skip
        for finding in verdict.findings:
            where = f"{finding.get('path', '')}:{finding.get('line', '')}"
            words = (finding.get("id"), finding.get("severity"), where, finding.get("text"))
            show.line("  " + show.one_line(" ".join(str(word or "") for word in words)))
