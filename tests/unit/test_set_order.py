"""What is decided, stored and told does not rest on the order of a set, which differs from one process to the next."""

from __future__ import annotations

from withdrawals.core.displacement import displacement_of
from withdrawals.core.exclusion import Intent, ancestors_of, judge_exclusion
from withdrawals.core.model import Spend
from withdrawals.core.types import BlockHash, BlockRef, Ntxid, OutPoint, Txid, WithdrawalId, Wtxid

TXIDS = [Txid(f"{number:064x}") for number in range(30)]
OUTPOINTS = frozenset(OutPoint(txid, 0) for txid in TXIDS)
W = WithdrawalId("w")


def _intent(name: str, prevouts: frozenset[OutPoint], *pays: WithdrawalId) -> Intent:
    return Intent(Ntxid(name * 64), prevouts, frozenset(pays), sealed=True)


def test_ancestors_come_by_txid() -> None:
    """The first proof found is the one that a certificate keeps."""
    parents = {txid: Intent(Ntxid(txid), frozenset(), frozenset(), sealed=True) for txid in reversed(TXIDS)}
    assert list(ancestors_of(_intent("c", OUTPOINTS), parents)) == TXIDS


def test_the_first_of_many_possible_proofs_is_kept() -> None:
    """Every one of the coins would prove it."""
    judged = judge_exclusion(_intent("c", OUTPOINTS, W), {W: [_intent("e", OUTPOINTS, W)]}, {})
    assert [proof.outpoint for proof in judged.proofs] == [min(OUTPOINTS)]


def test_of_many_displacements_of_one_depth_one_is_named() -> None:
    """All of the coins went in one block."""
    block = BlockRef(10, BlockHash("b" * 64))
    spends = {
        o: Spend(o, block, Txid(f"{vin:064x}"), Wtxid(f"{vin:064x}"), Ntxid("d" * 64), vin)
        for vin, o in enumerate(OUTPOINTS)
    }
    found = displacement_of(_intent("e", OUTPOINTS), {}, spends, 12)
    assert found is not None
    assert (found.depth, found.spend.prevout) == (3, max(OUTPOINTS))
