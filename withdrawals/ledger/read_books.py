"""Reads of whole tables, page by page, for the audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import bindparam, select

from withdrawals.core.types import BatchId, OutPoint, Txid, Wtxid
from withdrawals.ledger.rows import KEY_COLUMNS, coin_of, header_of, payment_of, spend_of
from withdrawals.ledger.schema import coins, headers, own_scripts, payments, plans, reservations, spends, transactions
from withdrawals.ledger.schema.words import Whole
from withdrawals.ledger.session import Session
from withdrawals.ledger.statements import Statement, among
from withdrawals.ports import FactRows, Reservation, StoredTransaction

_LOW: Final = bindparam("low", type_=Whole)
_HIGH: Final = bindparam("high", type_=Whole)
_LIMIT: Final = bindparam("limit", type_=Whole)

_HEADERS: Final = Statement(
    select(headers).where(headers.c.height >= _LOW, headers.c.height <= _HIGH).order_by(headers.c.height)
)
_COINS: Final = Statement(
    select(coins, *KEY_COLUMNS)
    .join(own_scripts, own_scripts.c.script == coins.c.script)
    .where(coins.c.height >= _LOW, coins.c.height <= _HIGH)
    .order_by(coins.c.height, coins.c.txid, coins.c.vout)
)
_SPENDS: Final = Statement(
    select(spends)
    .where(spends.c.height >= _LOW, spends.c.height <= _HIGH)
    .order_by(spends.c.height, spends.c.txid, spends.c.vin)
)
_PAYMENTS: Final = Statement(
    select(payments)
    .where(payments.c.height >= _LOW, payments.c.height <= _HIGH)
    .order_by(payments.c.height, payments.c.txid, payments.c.vout)
)
_TRANSACTIONS: Final = Statement(
    select(transactions).where(transactions.c.wtxid > bindparam("after")).order_by(transactions.c.wtxid).limit(_LIMIT)
)
_RESERVATIONS: Final = Statement(
    select(reservations).where(reservations.c.id > bindparam("after")).order_by(reservations.c.id).limit(_LIMIT)
)
_ASKED_AT: Final = Statement(
    select(plans.c.number, plans.c.asked_at)
    .where(plans.c.batch_id == bindparam("batch_id"), plans.c.asked_at.is_not(None))
    .order_by(plans.c.number)
)
_FIRST_SEEN: Final = Statement(
    select(transactions.c.wtxid, transactions.c.first_seen_at)
    .where(transactions.c.wtxid.in_(among()))
    .order_by(transactions.c.wtxid)
)


class BookReads(Session):
    """`ports.BooksView`."""

    def list_facts(self, low: int, high: int) -> FactRows:
        """Of the heights `low` to `high`, both included."""
        return FactRows(
            headers=tuple(header_of(r) for r in self._all(_HEADERS, low=low, high=high)),
            coins=tuple(coin_of(r) for r in self._all(_COINS, low=low, high=high)),
            spends=tuple(spend_of(r) for r in self._all(_SPENDS, low=low, high=high)),
            payments=tuple(payment_of(r) for r in self._all(_PAYMENTS, low=low, high=high)),
        )

    def list_transactions(self, after: str = "", *, limit: int = 1_000) -> tuple[StoredTransaction, ...]:
        """By wtxid."""
        found = self._all(_TRANSACTIONS, after=after, limit=limit)
        return tuple(StoredTransaction(r.wtxid, r.txid, r.ntxid, r.raw) for r in found)

    def list_reservations(self, after: int = 0, *, limit: int = 10_000) -> tuple[Reservation, ...]:
        """By id."""
        found = self._all(_RESERVATIONS, after=after, limit=limit)
        return tuple(Reservation(r.id, OutPoint(Txid(r.txid), r.vout), BatchId(r.batch_id), r.ended_at) for r in found)

    def load_asked_at(self, batch_id: BatchId) -> Mapping[int, int]:
        """By the plan's number."""
        return {row.number: row.asked_at for row in self._all(_ASKED_AT, batch_id=batch_id)}

    def load_first_seen(self, wtxids: Collection[Wtxid]) -> Mapping[Wtxid, int]:
        """By wtxid."""
        return {Wtxid(row.wtxid): row.first_seen_at for row in self._among(_FIRST_SEEN, wtxids)}
