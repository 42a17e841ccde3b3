"""One rule of the real core taken out: what the model must then be able to show a story for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from tests.model.setting import Removal
from tests.unit import broken_rules
from tests.unit.broken_rules import BrokenRule
from withdrawals.core import bumping, coin_selection, lifecycle, reissuing, settlement
from withdrawals.core.lifecycle import WithdrawalEvent, advance_withdrawal
from withdrawals.core.model import Coin, Plan, PlannedInput, Withdrawal, WithdrawalState
from withdrawals.core.types import Ntxid, Txid


def _rule(broken: BrokenRule) -> Removal:
    @contextmanager
    def enter() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as monkeypatch:
            broken.apply(monkeypatch)
            yield

    return enter


def _swap(module: object, name: str, instead: Callable[..., object]) -> Removal:
    return lambda: patch.object(module, name, instead)


def _first_input_only(asked: Sequence[Plan]) -> list[PlannedInput]:
    return [asked[0].inputs[0]]


def _whatever_was_asked(withdrawal: Withdrawal, event: WithdrawalEvent) -> WithdrawalState:
    return advance_withdrawal(withdrawal.state, event)


def _as_signed(a: Txid | None, a_ntxid: Ntxid, b: Txid | None, b_ntxid: Ntxid) -> bool:
    """Unsigned bytes and ours have one txid in the model, as they have with segwit inputs: the ntxid."""
    return (a or a_ntxid) != (b or b_ntxid)


def _any_coin(_coin: Coin, *_: object) -> bool:
    return True


NO_PROOF = _rule(broken_rules.NO_PAIRWISE)
"""Clause (i): nothing has to exclude anything."""
NO_CLAUSE_II = _rule(broken_rules.NO_CLAUSE_II)
"""Clause (ii): an ancestor may pay the same customer."""
NO_NTXIDS = _rule(BrokenRule("no ntxids", {"_surely_differ": _as_signed}))
"""The comparison of ntxids: an earlier payer is known by the txid that we signed, and by no other."""
BY_WTXID = _rule(broken_rules.WTXIDS)
"""Ancestors are compared by txid: one transaction, seen in two encodings, counts as two that exclude each other."""
KEEP_ONE_INPUT = _swap(bumping, "_all_inputs", _first_input_only)
"""A bump keeps one earlier input instead of all."""
NO_GUARD = _swap(lifecycle, "_by_hand", _whatever_was_asked)
"""What a signer was asked for may be queued again and cancelled."""
ANY_ANCHOR = _swap(coin_selection, "is_anchor", _any_coin)
"""Every coin is an anchor."""
NOTHING_RETURNED = _swap(settlement, "returnable", lambda *_: frozenset())
"""A final batch gives nothing back."""
NOTHING_KEPT = _swap(reissuing, "conflicting_coins", lambda *_: ())
"""A conflicted batch keeps no coin for its re-issue."""
