"""Two tellings of one story, put side by side, and ids made short enough to read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from regtest.record import Moment

_ID: Final = re.compile(r"\b([0-9a-f]{4})[0-9a-f]{58}([0-9a-f]{2})\b")
_EVIDENCE: Final = re.compile(r": output \S+ pays \d+ sats to [^,]+,")
_NO_RETRY: Final = re.compile(r"(?<=refused: )\S+ is \w+ and cannot be paid by a retry\. ")
_ZEROS: Final = re.compile(r"(?<=pays )(\d+\.\d+?)0+(?=$|\D)")

Key = tuple[str, int]
"""A label, and the how-manieth of that label it is."""


def short_ids(text: str) -> str:
    """Every id of 64 digits as its first four and last two."""
    return _ID.sub(r"\1…\2", text)


def brief(words: str) -> str:
    """A moment in as few words as a terminal has room for: short ids, the first sentence, no evidence spelled out."""
    short = _NO_RETRY.sub("", _EVIDENCE.sub(",", short_ids(words)))
    return _ZEROS.sub(r"\1", short.partition(". ")[0].removesuffix("."))


def side_by_side(*tellings: Sequence[Moment]) -> list[tuple[str, tuple[str | None, ...]]]:
    """Rows of label and what each telling says there; None where it has no such moment."""
    keyed = [dict(_keyed(telling)) for telling in tellings]
    order: list[Key] = []
    for telling in keyed:
        after = 0
        for key in telling:
            if key in order:
                after = order.index(key) + 1
            else:
                order.insert(after, key)
                after += 1
    return [(key[0], tuple(telling.get(key) for telling in keyed)) for key in order]


def _keyed(telling: Sequence[Moment]) -> list[tuple[Key, str]]:
    seen: Counter[str] = Counter()
    keyed: list[tuple[Key, str]] = []
    for moment in telling:
        seen[moment.label] += 1
        keyed.append(((moment.label, seen[moment.label]), moment.words))
    return keyed
