"""The figures as a table for people and as one JSON object for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from tests.bench.machine import describe_machine, python_version
from tests.bench.measure import Row


def table(title: str, rows: Sequence[Row]) -> str:
    """One section: what, the figure, what it was measured against, how many times as fast."""
    lines = [f"\n{title}"]
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


def _line(row: Row) -> str:
    known = f"{row.against}: {_number(row.against_value)} {row.unit}" if row.against else ""
    told = "; ".join(words for words in (known, row.note) if words)
    ratio = "" if row.ratio is None else f"{row.ratio:6.3g} x"
    return f"  {row.what:<52.52} {_number(row.value):>10} {row.unit:<9} {ratio:>9}  {told}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def machine_words() -> str:
    """What all this was measured on."""
    machine = describe_machine()
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"{python_version()}, SQLite {machine['sqlite']}; load average {machine['load']} at the start"
    )


def as_json(results: Mapping[str, Iterable[Row]], seconds: float, skipped: Mapping[str, str]) -> str:
    """One line."""
    return json.dumps(
        {
            "seconds": round(seconds, 1),
            "results": {name: {row.what: row.as_json() for row in rows} for name, rows in results.items()},
            "skipped": dict(skipped),
            "python": python_version(),
            "machine": describe_machine(),
        }
    )
