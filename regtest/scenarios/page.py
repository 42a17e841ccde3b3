"""The scenarios as a page of the documentation, made from the scenarios themselves."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Final

from regtest.scenarios.model import Outcome, Scenario

_HEAD: Final = """# Scenarios

Made from the code by `withdrawals-regtest list --markdown`; do not edit. A scenario is one story, played to any
processor on a real node. A sound processor pays every customer exactly once in all of them, unless another end is
named. *Must lose* are the controls that have to pay somebody twice in it: that is what proves that the attack works.
No other control may, and where nobody attacks all of them must pay once. The ids are those
of [malleability.md](malleability.md).

| scenario | what happens | covers | must lose |
|---|---|---|---|
"""


def scenarios_page(scenarios: Mapping[str, Scenario]) -> str:
    """The whole page, in Markdown."""
    rows = [_row(scenario) for scenario in scenarios.values()]
    return _HEAD + "\n".join(rows) + "\n" + "".join(_section(scenario) for scenario in scenarios.values())


def _row(scenario: Scenario) -> str:
    covers = " ".join(scenario.covers) or "-"
    return f"| [`{scenario.name}`](#{scenario.name}) | {scenario.title} | {covers} | {_losers(scenario)} |"


def _losers(scenario: Scenario) -> str:
    if scenario.losers:
        return ", ".join(scenario.losers)
    if "*" in scenario.sits_out:
        return "no control plays it"
    return "nobody attacks" if scenario.is_peaceful else "nobody"


def _section(scenario: Scenario) -> str:
    story = " ".join((inspect.getdoc(scenario.play) or "").split())
    facts = [f"coins: {' and '.join(scenario.coins)}"]
    if scenario.nodes > 1:
        facts.append(f"{scenario.nodes} nodes")
    if scenario.proxied:
        facts.append("a proxy between processor and node")
    if scenario.outcome is not Outcome.PAID_ONCE:
        facts.append(f"ends as: {scenario.outcome}")
    why = f"\nNo control loses: {scenario.nobody_loses}\n" if scenario.nobody_loses else ""
    return f"\n## {scenario.name}\n\n{story}\n\n{scenario.moral} ({'; '.join(facts)})\n{why}"
