"""Whether a run has passed: we paid exactly once, and the control lost where it must and nowhere else.

A control that never lost would mean that the attacks do not work; one that lost without an attack would be a straw man.
"""

from __future__ import annotations

from collections.abc import Sequence

from regtest.report.results import Result
from regtest.scenarios.model import Outcome, Scenario


def problems_of(scenarios: Sequence[Scenario], results: Sequence[Result]) -> tuple[str, ...]:
    """Everything for which a run of these scenarios has not passed, as sentences; empty: it has."""
    problems: list[str] = []
    expected = {(s.name, who): outcome for s in scenarios for who, outcome in s.expected.items()}
    for (name, who), outcome in expected.items():
        rows = [r for r in results if (r.scenario, r.processor) == (name, who)]
        if len(rows) != 1:
            problems.append(f"{name}, {who}: {len(rows)} results where there must be one")
        problems += [problem for row in rows for problem in _problems_of_row(row, outcome)]
    for row in results:
        if (row.scenario, row.processor) not in expected:
            problems.append(f"{row.scenario}, {row.processor}: a result that nobody asked for")
    return tuple(problems)


def _problems_of_row(row: Result, expected: Outcome) -> list[str]:
    where = f"{row.scenario}, {row.processor}"
    problems = []
    if row.outcome is not expected:
        problems.append(f"{where}: ended as {row.outcome}, and must end as {expected}")
    if row.outcome is Outcome.PAID_ONCE and row.paid_sats != row.owed_sats:
        problems.append(f"{where}: counts as paid once, and {row.paid_sats} of {row.owed_sats} sats are on chain")
    if row.outcome is Outcome.REFUSED and row.payments:
        problems.append(f"{where}: counts as refused, and {row.paid_sats} sats are on chain")
    return problems
