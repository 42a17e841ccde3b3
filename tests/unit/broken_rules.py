"""The exclusion rule with one ingredient taken out: what a search for double payments must be able to notice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest

from withdrawals.core import exclusion
from withdrawals.core.exclusion import Intent, Known, Proof
from withdrawals.core.types import Ntxid, OutPoint, Txid, WithdrawalId


@dataclass(frozen=True)
class BrokenRule:
    """Functions of the exclusion module, by name, that are put in place of the real ones."""

    name: str
    functions: Mapping[str, Callable[..., object]]

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Break the rule until the test ends."""
        for name, function in self.functions.items():
            monkeypatch.setattr(exclusion, name, function)


_real_exclude = exclusion._exclude
_PROOF = Proof(WithdrawalId(""), Ntxid(""), OutPoint(Txid(""), 0), "", "")


def _finer_than_txids(a: Txid | None, a_ntxid: Ntxid, b: Txid | None, b_ntxid: Ntxid) -> bool:
    """Ancestors compared by wtxid: what each side saw of one transaction may be two witness twins (CE8)."""
    return (a is not None and b is not None) or a_ntxid != b_ntxid


def _coarser_than_txids(a: Txid | None, a_ntxid: Ntxid, b: Txid | None, b_ntxid: Ntxid) -> bool:
    """Ancestors compared by ntxid: twins count as one."""
    return a_ntxid != b_ntxid


def _txids_everywhere(a: Txid | None, a_ntxid: Ntxid, b: Txid | None, b_ntxid: Ntxid) -> bool:
    """The two payers compared by txid with the other's ancestors: they have none yet, so they always differ."""
    return a != b if a is not None or b is not None else a_ntxid != b_ntxid


def _txid_of_the_earlier(a: Txid | None, a_ntxid: Ntxid, b: Txid | None, b_ntxid: Ntxid) -> bool:
    """The same, but only the earlier payer against the candidate's ancestors (CE1)."""
    return a != b if a is not None else a_ntxid != b_ntxid


def _not_looking_at_seals(candidate: Intent, ancestors: Known, other: Intent, *rest: object) -> object:
    return _real_exclude(candidate, ancestors, replace(other, sealed=True), *rest)  # type: ignore[arg-type]


NO_PAIRWISE = BrokenRule("no pairwise proof", {"_exclude": lambda *_: _PROOF})
NO_SEALS = BrokenRule("no seals", {"_exclude": _not_looking_at_seals})
NO_CLAUSE_II = BrokenRule("no clause (ii)", {"_payers_among": lambda *_: iter(())})
WTXIDS = BrokenRule("wtxids", {"_surely_differ": _finer_than_txids})
NTXIDS = BrokenRule("ntxids", {"_surely_differ": _coarser_than_txids})
TXIDS = BrokenRule("txids", {"_surely_differ": _txids_everywhere})
EARLIER_TXID = BrokenRule("txid of the earlier payer", {"_surely_differ": _txid_of_the_earlier})
NEITHER_LOCK = BrokenRule("neither lock", {**NO_CLAUSE_II.functions, **EARLIER_TXID.functions})
