"""Reads of whole tables, page by page, for the audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Select, Table, select

from withdrawals.core.types import BatchId, OutPoint, Txid, Wtxid
from withdrawals.ledger.rows import coin_of, header_of, payment_of, spend_of
from withdrawals.ledger.schema import coins, headers, own_scripts, payments, plans, reservations, spends, transactions
from withdrawals.ledger.session import Session, chunks
from withdrawals.ports import FactRows, Reservation, StoredTransaction

_COINS = select(coins, *(c for c in own_scripts.c if c.name not in {"script", "allocated"})).join(
    own_scripts, own_scripts.c.script == coins.c.script
)


class BookReads(Session):
    """`ports.BooksView`."""

    def list_facts(self, low: int, high: int) -> FactRows:
        """Of the heights `low` to `high`, both included."""

        def of(query: Select[Any], table: Table, *order: str) -> Select[Any]:
            within = query.where(table.c.height >= low, table.c.height <= high)
            return within.order_by(table.c.height, *(table.c[name] for name in order))

        return FactRows(
            headers=tuple(header_of(r) for r in self._all(of(select(headers), headers))),
            coins=tuple(coin_of(r) for r in self._all(of(_COINS, coins, "txid", "vout"))),
            spends=tuple(spend_of(r) for r in self._all(of(select(spends), spends, "txid", "vin"))),
            payments=tuple(payment_of(r) for r in self._all(of(select(payments), payments, "txid", "vout"))),
        )

    def list_transactions(self, after: str = "", *, limit: int = 1_000) -> tuple[StoredTransaction, ...]:
        """By wtxid."""
        query = select(transactions).where(transactions.c.wtxid > after).order_by(transactions.c.wtxid).limit(limit)
        return tuple(StoredTransaction(r.wtxid, r.txid, r.ntxid, r.raw) for r in self._all(query))

    def list_reservations(self, after: int = 0, *, limit: int = 10_000) -> tuple[Reservation, ...]:
        """By id."""
        query = select(reservations).where(reservations.c.id > after).order_by(reservations.c.id).limit(limit)
        return tuple(
            Reservation(r.id, OutPoint(Txid(r.txid), r.vout), BatchId(r.batch_id), r.ended_at) for r in self._all(query)
        )

    def load_asked_at(self, batch_id: BatchId) -> Mapping[int, int]:
        """By the plan's number."""
        query = select(plans.c.number, plans.c.asked_at).where(
            plans.c.batch_id == batch_id, plans.c.asked_at.is_not(None)
        )
        return {row.number: row.asked_at for row in self._all(query)}

    def load_first_seen(self, wtxids: Collection[Wtxid]) -> Mapping[Wtxid, int]:
        """By wtxid."""
        query = select(transactions.c.wtxid, transactions.c.first_seen_at)
        found = [row for some in chunks(wtxids) for row in self._all(query.where(transactions.c.wtxid.in_(some)))]
        return {Wtxid(row.wtxid): row.first_seen_at for row in found}
