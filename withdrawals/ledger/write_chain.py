"""Writes about the chain: one block's facts and the tip, together or not at all (I3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, delete, select

from withdrawals.core.model import Coin, Header, OwnScript, Payment, Spend
from withdrawals.core.types import BlockHash, BlockRef
from withdrawals.errors import LeaseLost, TipMoved, ensure
from withdrawals.ledger import schema
from withdrawals.ledger.read_chain import ChainReads
from withdrawals.ledger.rows import row_of_coin, row_of_own_script, row_of_payment, row_of_spend
from withdrawals.ledger.schema import headers, leases, own_scripts
from withdrawals.ledger.session import Writing
from withdrawals.ledger.statements import Statement
from withdrawals.ports import FOLLOWER_LEASE

_LEASE: Final = Statement(select(leases).where(leases.c.name == bindparam("name")))
_UNDOING: Final = tuple(
    Statement(delete(facts).where(facts.c.height > bindparam("height")))
    for facts in (schema.payments, schema.spends, schema.coins, headers)
)
"""Facts before the headers that they stand under."""


class ChainWrites(Writing, ChainReads):
    """The follower's writes, all behind its lease and a compare-and-swap of the tip."""

    def take_lease(self, name: str, holder: str, *, now: int, ttl_s: int) -> int | None:
        """A new holder gets a new epoch, so that the old one's writes are refused when it wakes up."""
        row = self._first(_LEASE, name=name)
        if row is not None and row.holder != holder and row.expires_at > now:
            return None
        epoch = 1 if row is None else int(row.epoch) + (row.holder != holder)
        self._put(leases, {"name": name}, {"holder": holder, "epoch": epoch, "expires_at": now + ttl_s})
        return epoch

    def check_lease(self, name: str, epoch: int) -> None:
        """Raises `LeaseLost` unless the lease's epoch is still this one."""
        row = self._first(_LEASE, name=name)
        if row is None or row.epoch != epoch:
            now = "nobody holds it" if row is None else f"{row.holder} holds epoch {row.epoch}"
            raise LeaseLost(f"lease {name}: epoch {epoch} is over, {now}")

    def advance_tip(
        self,
        header: Header,
        *,
        coins: Sequence[Coin],
        spends: Sequence[Spend],
        payments: Sequence[Payment],
        old_tip: BlockHash | None,
        epoch: int,
    ) -> None:
        """Raises `LeaseLost`, `TipMoved`, and `InvariantBroken` if the block does not build on the tip."""
        tip = self._load_own_tip(old_tip, epoch)
        if tip is not None:
            ensure(header.prev == tip.hash, f"block {header.hash} does not build on the tip {tip.hash}")
            ensure(header.height == tip.height + 1, f"block {header.height} does not follow {tip.height}")
        here = BlockRef(header.height, header.hash)
        facts: list[Coin | Spend | Payment] = [*coins, *spends, *payments]
        ensure(all(fact.block == here for fact in facts), "a fact of another block")
        row = {"height": header.height, "hash": header.hash, "prev": header.prev, "time": header.time}
        self._insert(headers, [row])
        self._insert(schema.coins, [row_of_coin(c) for c in coins])
        self._insert(schema.spends, [row_of_spend(s) for s in spends])
        self._insert(schema.payments, [row_of_payment(p) for p in payments])

    def retreat_tip(self, to: BlockRef, *, old_tip: BlockHash, epoch: int) -> None:
        """Deletes facts and headers above `to`; bytes and deeds stay. Raises as `advance_tip` does."""
        self._load_own_tip(old_tip, epoch)
        kept = self.load_header(to.height)
        ensure(kept is not None and kept.hash == to.hash, f"{to} is not on the followed chain")
        for undoing in _UNDOING:
            self._run(undoing, [{"height": to.height}])

    def save_payments(self, payments: Sequence[Payment]) -> None:
        """Each stands in a block of the followed chain, which its reference to the header sees to."""
        known = {(p.block.hash, p.txid, p.vout) for p in self.load_payments([p.withdrawal_id for p in payments])}
        fresh = [p for p in payments if (p.block.hash, p.txid, p.vout) not in known]
        self._insert(schema.payments, [row_of_payment(p) for p in fresh])

    def insert_own_scripts(self, scripts: Sequence[OwnScript]) -> None:
        """Not handed out yet."""
        self._insert(own_scripts, [row_of_own_script(own) for own in scripts])

    def allocate_script(self, wallet: int, branch: int) -> OwnScript:
        """Marked for ever. Raises `InvariantBroken` if none is left: top up before."""
        own = self.peek_script(wallet, branch)
        self._update(own_scripts, {"script": own.script}, {"allocated": True})
        return own

    def _load_own_tip(self, old_tip: BlockHash | None, epoch: int) -> Header | None:
        """The tip, if it is still the caller's to move."""
        self.check_lease(FOLLOWER_LEASE, epoch)
        tip = self.load_tip()
        if (None if tip is None else tip.hash) != old_tip:
            raise TipMoved(f"decided on tip {old_tip}, the ledger's is {None if tip is None else tip.hash}")
        return tip
