"""Writes docs/lifecycle.md from the tables in the code: `python -m tests.lifecycle_doc`. A test compares the two."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from withdrawals.core import lifecycle

DOC = Path(__file__).resolve().parent.parent / "docs" / "lifecycle.md"

_State = TypeVar("_State", bound=StrEnum)
_Event = TypeVar("_Event", bound=StrEnum)


def lifecycle_doc() -> str:
    """The whole page."""
    title, _, rules = (lifecycle.__doc__ or "").strip().partition("\n\n")
    return "\n".join(
        [
            "<!-- Generated from withdrawals/core/lifecycle.py by python -m tests.lifecycle_doc: edit there. -->",
            "# Lifecycles",
            "",
            title,
            "",
            rules,
            "",
            "In the diagrams, what *we* do is in plain letters and what the chain does in capitals.",
            "",
            *_section("A withdrawal", lifecycle.WITHDRAWAL, lifecycle.WITHDRAWAL_FACTS),
            *_section("A batch", lifecycle.BATCH, lifecycle.BATCH_FACTS),
        ]
    )


def _section(title: str, table: Mapping[_State, Mapping[_Event, _State]], facts: Collection[_Event]) -> Iterator[str]:
    yield from (f"## {title}", "", "```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(table))}")
    for state, events in table.items():
        for after in dict.fromkeys(events.values()):
            label = ", ".join(e.upper() if e in facts else e for e, to in events.items() if to is after)
            yield f"    {state} --> {after}: {label}"
        if not events:
            yield f"    {state} --> [*]"
    yield from ("```", "", "| state | event | sort | state after |", "|---|---|---|---|")
    for state, events in table.items():
        for event, after in events.items():
            yield f"| `{state}` | `{event}` | {'fact' if event in facts else 'deed'} | `{after}` |"
        if not events:
            yield f"| `{state}` | none, it is terminal | | |"
    yield ""


if __name__ == "__main__":
    DOC.parent.mkdir(exist_ok=True)
    DOC.write_text(lifecycle_doc())
