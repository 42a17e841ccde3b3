"""Reads about the chain we follow, our scripts and coins, and the bytes we keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from withdrawals.core.model import Coin, Header, OwnScript, Payment, Spend, TxView
from withdrawals.core.tx import view_of
from withdrawals.core.types import Ntxid, OutPoint, ScriptPubKey, Txid, WithdrawalId
from withdrawals.errors import ensure
from withdrawals.ledger.rows import coin_of, header_of, own_script_of, payment_of, spend_of
from withdrawals.ledger.schema import (
    ASKED,
    coins,
    explanations,
    foreign_outputs,
    headers,
    own_scripts,
    payments,
    plan_inputs,
    plans,
    seen_payers,
    sightings,
    spends,
    transactions,
)
from withdrawals.ledger.session import Session, chunks

_COINS = select(coins, *(c for c in own_scripts.c if c.name not in {"script", "allocated"})).join(
    own_scripts, own_scripts.c.script == coins.c.script
)


def _unspent(table: Any) -> Any:  # noqa: ANN401 - a table, and a condition as SQLAlchemy builds it
    """No transaction of the followed chain spends this outpoint."""
    return ~(
        select(spends.c.prev_txid)
        .where(spends.c.prev_txid == table.c.txid, spends.c.prev_vout == table.c.vout)
        .correlate(table)
        .exists()
    )


class ChainReads(Session):
    """Facts, each tied to a block, and bytes, which need none."""

    def find_own_script(self, script: ScriptPubKey) -> OwnScript | None:
        """Which key of ours owns this script; None if none does."""
        row = self._first(select(own_scripts).where(own_scripts.c.script == script))
        return None if row is None else own_script_of(row)

    def load_own_scripts(self) -> Mapping[ScriptPubKey, OwnScript]:
        """All of them, handed out or not."""
        return {row.script: own_script_of(row) for row in self._all(select(own_scripts))}

    def count_unallocated(self, wallet: int, branch: int) -> int:
        """How many inserted scripts of this branch were never handed out."""
        query = select(func.count()).select_from(own_scripts)
        row = self._first(
            query.where(own_scripts.c.wallet == wallet, own_scripts.c.branch == branch, ~own_scripts.c.allocated)
        )
        return int(row[0]) if row else 0

    def peek_script(self, wallet: int, branch: int) -> OwnScript:
        """The lowest index never handed out. Raises `InvariantBroken` if none is left: top up before."""
        row = self._first(
            select(own_scripts)
            .where(own_scripts.c.wallet == wallet, own_scripts.c.branch == branch, ~own_scripts.c.allocated)
            .order_by(own_scripts.c.key_index)
            .limit(1)
        )
        ensure(row is not None, f"no script of wallet {wallet}, branch {branch} is left to hand out")
        return own_script_of(row)  # type: ignore[arg-type]

    def load_unspent_coins(self) -> tuple[Coin, ...]:
        """Oldest block first."""
        query = _COINS.where(_unspent(coins)).order_by(coins.c.height, coins.c.txid, coins.c.vout)
        return tuple(coin_of(row) for row in self._all(query))

    def load_watched_outpoints(self) -> frozenset[OutPoint]:
        """Inputs of asked plans are watched by value: also those whose coin a reorg has taken away."""
        ours = select(coins.c.txid, coins.c.vout).where(_unspent(coins))
        promised = (
            select(plan_inputs.c.txid, plan_inputs.c.vout)
            .join(plans, and_(plans.c.batch_id == plan_inputs.c.batch_id, plans.c.number == plan_inputs.c.plan_number))
            .where(plans.c.state.in_(ASKED), _unspent(plan_inputs))
        )
        found = [row for query in (ours, promised) for row in self._all(query)]
        return frozenset(OutPoint(Txid(row.txid), row.vout) for row in found) | self._inputs_of_bound_payers()

    def _inputs_of_bound_payers(self) -> frozenset[OutPoint]:
        """Somebody else's payment that an operator bound is watched like a plan of ours, whosever coins it spends."""
        bound = select(foreign_outputs.c.ntxid).where(foreign_outputs.c.withdrawal_id.is_not(None))
        rows = self._all(select(transactions.c.raw).where(transactions.c.ntxid.in_(bound)))
        prevouts = {o for row in rows for o in view_of(row.raw).prevouts}
        return frozenset(prevouts - self.load_spends(prevouts).keys())

    def load_coins(self, outpoints: Collection[OutPoint]) -> Mapping[OutPoint, Coin]:
        """Spent or not. Looked up by txid, which is indexed; whole outpoints are compared here."""
        wanted, found = frozenset(outpoints), dict[OutPoint, Coin]()
        for txids in chunks(o.txid for o in outpoints):
            loaded = (coin_of(row) for row in self._all(_COINS.where(coins.c.txid.in_(txids))))
            found.update((coin.outpoint, coin) for coin in loaded if coin.outpoint in wanted)
        return found

    def load_tip(self) -> Header | None:
        """The highest header."""
        row = self._first(select(headers).order_by(headers.c.height.desc()).limit(1))
        return None if row is None else header_of(row)

    def load_header(self, height: int) -> Header | None:
        """The followed block at this height; None below the first and above the tip."""
        row = self._first(select(headers).where(headers.c.height == height))
        return None if row is None else header_of(row)

    def load_spends(self, prevouts: Collection[OutPoint]) -> Mapping[OutPoint, Spend]:
        """Those of the prevouts that a transaction of the followed chain spends."""
        wanted, found = frozenset(prevouts), dict[OutPoint, Spend]()
        for txids in chunks(o.txid for o in prevouts):
            loaded = (spend_of(row) for row in self._all(select(spends).where(spends.c.prev_txid.in_(txids))))
            found.update((spend.prevout, spend) for spend in loaded if spend.prevout in wanted)
        return found

    def load_spends_by_txid(self, txid: Txid) -> tuple[Spend, ...]:
        """In input order."""
        return self._load_spends(select(spends).where(spends.c.txid == txid).order_by(spends.c.vin))

    def load_unexplained_spends(self) -> tuple[Spend, ...]:
        """Only spends of watched outpoints are stored, so one that no asked plan explains is somebody else's doing."""
        asked = select(plans.c.ntxid).where(plans.c.ntxid == spends.c.ntxid, plans.c.state.in_(ASKED))
        said = select(explanations.c.ntxid).where(explanations.c.ntxid == spends.c.ntxid)
        query = select(spends).where(~asked.correlate(spends).exists(), ~said.correlate(spends).exists())
        return self._load_spends(query.order_by(spends.c.height, spends.c.txid, spends.c.vin))

    def load_payments(self, withdrawal_ids: Collection[WithdrawalId]) -> tuple[Payment, ...]:
        """Lowest block first."""
        found = [
            payment_of(row)
            for ids in chunks(withdrawal_ids)
            for row in self._all(select(payments).where(payments.c.withdrawal_id.in_(ids)))
        ]
        return tuple(sorted(found, key=lambda p: (p.block.height, p.txid, p.vout)))

    def load_seen_payers(self, withdrawal_ids: Collection[WithdrawalId]) -> Mapping[WithdrawalId, tuple[TxView, ...]]:
        """One entry for each of the ids, oldest first, empty if nothing was ever seen to pay it."""
        found: dict[WithdrawalId, list[TxView]] = {id_: [] for id_ in withdrawal_ids}
        views: dict[str, TxView] = {}
        for ids in chunks(withdrawal_ids):
            query = (
                select(seen_payers.c.withdrawal_id, transactions)
                .join(transactions, transactions.c.wtxid == seen_payers.c.wtxid)
                .where(seen_payers.c.withdrawal_id.in_(ids))
                .order_by(transactions.c.first_seen_at, transactions.c.wtxid)
            )
            for row in self._all(query):
                if row.wtxid not in views:
                    views[row.wtxid] = view_of(row.raw)
                found[row.withdrawal_id].append(views[row.wtxid])
        return {id_: tuple(payers) for id_, payers in found.items()}

    def was_seen(self, ntxid: Ntxid) -> bool:
        """In any encoding, in any block, also one that is gone since, or in a node's mempool."""
        query = select(sightings.c.wtxid).join(transactions, transactions.c.wtxid == sightings.c.wtxid)
        return self._first(query.where(transactions.c.ntxid == ntxid).limit(1)) is not None

    def load_transactions(self, txids: Collection[Txid]) -> tuple[TxView, ...]:
        """Every encoding, oldest first."""
        found = [
            row for ids in chunks(txids) for row in self._all(select(transactions).where(transactions.c.txid.in_(ids)))
        ]
        return tuple(view_of(row.raw) for row in sorted(found, key=lambda row: (row.first_seen_at, row.wtxid)))

    def find_transaction(self, any_id: str) -> tuple[TxView, ...]:
        """By txid, wtxid or ntxid, oldest first."""
        named = or_(transactions.c.txid == any_id, transactions.c.wtxid == any_id, transactions.c.ntxid == any_id)
        query = select(transactions.c.raw).where(named)
        rows = self._all(query.order_by(transactions.c.first_seen_at, transactions.c.wtxid))
        return tuple(view_of(row.raw) for row in rows)

    def _load_spends(self, query: Select[Any]) -> tuple[Spend, ...]:
        return tuple(spend_of(row) for row in self._all(query))
