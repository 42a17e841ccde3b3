"""Reads about the chain we follow, our scripts and coins, and the bytes we keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import ColumnElement, Table, and_, bindparam, func, or_, select

from withdrawals.core.model import BatchState, Coin, Header, OwnScript, Payment, Spend, TxView
from withdrawals.core.tx import view_of
from withdrawals.core.types import NO_OUTPOINT, Ntxid, OutPoint, ScriptPubKey, Txid, WithdrawalId
from withdrawals.errors import ensure
from withdrawals.ledger.rows import KEY_COLUMNS, coin_of, header_of, own_script_of, payment_of, spend_of
from withdrawals.ledger.schema import (
    ASKED,
    batches,
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
from withdrawals.ledger.session import Session
from withdrawals.ledger.statements import Statement, among


def _unspent(table: Table) -> ColumnElement[bool]:
    """No transaction of the followed chain spends this outpoint."""
    return ~(
        select(spends.c.prev_txid)
        .where(spends.c.prev_txid == table.c.txid, spends.c.prev_vout == table.c.vout)
        .correlate(table)
        .exists()
    )


_UNFINISHED: Final = tuple(str(s) for s in BatchState if s not in {BatchState.FINAL, BatchState.ABANDONED})
_OWN_SCRIPT: Final = Statement(select(own_scripts).where(own_scripts.c.script == bindparam("script")))
_OWN_SCRIPTS: Final = Statement(
    select(own_scripts).order_by(own_scripts.c.wallet, own_scripts.c.branch, own_scripts.c.key_index)
)
_UNALLOCATED: Final = (
    own_scripts.c.wallet == bindparam("wallet"),
    own_scripts.c.branch == bindparam("branch"),
    ~own_scripts.c.allocated,
)
_COUNT_UNALLOCATED: Final = Statement(
    select(func.count().label("scripts")).select_from(own_scripts).where(*_UNALLOCATED)
)
_NEXT_SCRIPT: Final = Statement(select(own_scripts).where(*_UNALLOCATED).order_by(own_scripts.c.key_index).limit(1))
_COINS: Final = select(coins, *KEY_COLUMNS).join(own_scripts, own_scripts.c.script == coins.c.script)
_UNSPENT_COINS: Final = Statement(_COINS.where(_unspent(coins)).order_by(coins.c.height, coins.c.txid, coins.c.vout))
_COINS_AMONG: Final = Statement(_COINS.where(coins.c.txid.in_(among())).order_by(coins.c.txid, coins.c.vout))
_WATCHED_COINS: Final = Statement(select(coins.c.txid, coins.c.vout).where(_unspent(coins)))
_PROMISED: Final = Statement(
    select(plan_inputs.c.txid, plan_inputs.c.vout)
    .join(plans, and_(plans.c.batch_id == plan_inputs.c.batch_id, plans.c.number == plan_inputs.c.plan_number))
    .where(plans.c.state.in_(ASKED), _unspent(plan_inputs))
)
_LOST: Final = Statement(
    select(plan_inputs.c.txid, plan_inputs.c.vout)
    .join(plans, and_(plans.c.batch_id == plan_inputs.c.batch_id, plans.c.number == plan_inputs.c.plan_number))
    .join(batches, batches.c.id == plans.c.batch_id)
    .where(
        batches.c.state.in_(_UNFINISHED),
        plans.c.state.in_(ASKED),
        _unspent(plan_inputs),
        ~select(coins.c.txid)
        .where(coins.c.txid == plan_inputs.c.txid, coins.c.vout == plan_inputs.c.vout)
        .correlate(plan_inputs)
        .exists(),
    )
)
_PLANNED_AMONG: Final = Statement(
    select(plan_inputs.c.txid, plan_inputs.c.vout)
    .join(plans, and_(plans.c.batch_id == plan_inputs.c.batch_id, plans.c.number == plan_inputs.c.plan_number))
    .where(plan_inputs.c.txid.in_(among()), plans.c.state.in_(ASKED))
)
_BOUND_PAYERS: Final = Statement(
    select(transactions.c.raw).where(
        transactions.c.ntxid.in_(select(foreign_outputs.c.ntxid).where(foreign_outputs.c.withdrawal_id.is_not(None)))
    )
)
_TIP: Final = Statement(select(headers).order_by(headers.c.height.desc()).limit(1))
_HEADER: Final = Statement(select(headers).where(headers.c.height == bindparam("height")))
_SPENDS_AMONG: Final = Statement(
    select(spends).where(spends.c.prev_txid.in_(among())).order_by(spends.c.prev_txid, spends.c.prev_vout)
)
_SPENDS_BY_TXID: Final = Statement(select(spends).where(spends.c.txid == bindparam("txid")).order_by(spends.c.vin))
_ASKED_FOR: Final = select(plans.c.ntxid).where(plans.c.ntxid == spends.c.ntxid, plans.c.state.in_(ASKED))
_SAID_OF: Final = select(explanations.c.ntxid).where(explanations.c.ntxid == spends.c.ntxid)
_UNEXPLAINED: Final = Statement(
    select(spends)
    .where(~_ASKED_FOR.correlate(spends).exists(), ~_SAID_OF.correlate(spends).exists())
    .order_by(spends.c.height, spends.c.txid, spends.c.vin)
)
_PAYMENTS_AMONG: Final = Statement(select(payments).where(payments.c.withdrawal_id.in_(among())))
_PAYERS: Final = Statement(
    select(seen_payers.c.withdrawal_id, transactions)
    .join(transactions, transactions.c.wtxid == seen_payers.c.wtxid)
    .where(seen_payers.c.withdrawal_id.in_(among()))
    .order_by(transactions.c.first_seen_at, transactions.c.wtxid)
)
_SIGHTING: Final = Statement(
    select(sightings.c.wtxid)
    .join(transactions, transactions.c.wtxid == sightings.c.wtxid)
    .where(transactions.c.ntxid == bindparam("ntxid"))
    .limit(1)
)
_TRANSACTIONS: Final = Statement(select(transactions).where(transactions.c.txid.in_(among())))
_TRANSACTIONS_NAMED: Final = Statement(
    select(transactions.c.raw)
    .where(or_(*(c == bindparam("any_id") for c in (transactions.c.txid, transactions.c.wtxid, transactions.c.ntxid))))
    .order_by(transactions.c.first_seen_at, transactions.c.wtxid)
)


class ChainReads(Session):
    """Facts, each tied to a block, and bytes, which need none."""

    def find_own_script(self, script: ScriptPubKey) -> OwnScript | None:
        """Which key of ours owns this script; None if none does."""
        row = self._first(_OWN_SCRIPT, script=script)
        return None if row is None else own_script_of(row)

    def load_own_scripts(self) -> Mapping[ScriptPubKey, OwnScript]:
        """All of them, handed out or not."""
        return {row.script: own_script_of(row) for row in self._all(_OWN_SCRIPTS)}

    def count_unallocated(self, wallet: int, branch: int) -> int:
        """How many inserted scripts of this branch were never handed out."""
        (row,) = self._all(_COUNT_UNALLOCATED, wallet=wallet, branch=branch)
        return int(row.scripts)

    def peek_script(self, wallet: int, branch: int) -> OwnScript:
        """The lowest index never handed out. Raises `InvariantBroken` if none is left: top up before."""
        row = self._first(_NEXT_SCRIPT, wallet=wallet, branch=branch)
        ensure(row is not None, f"no script of wallet {wallet}, branch {branch} is left to hand out")
        return own_script_of(row)

    def load_unspent_coins(self) -> tuple[Coin, ...]:
        """Oldest block first."""
        return tuple(coin_of(row) for row in self._all(_UNSPENT_COINS))

    def load_watched_outpoints(self) -> frozenset[OutPoint]:
        """Inputs of asked plans are watched by value: also those whose coin a reorg has taken away."""
        found = [*self._all(_WATCHED_COINS), *self._all(_PROMISED)]
        bound = self._inputs_of_bound_payers()
        bound -= self.load_spends(bound).keys()
        return frozenset(OutPoint(Txid(row.txid), row.vout) for row in found) | bound | self._inputs_of_lost_makers()

    def _inputs_of_bound_payers(self) -> frozenset[OutPoint]:
        """Somebody else's payment that an operator bound is watched like a plan of ours, whosever coins it spends."""
        return frozenset(o for row in self._all(_BOUND_PAYERS) for o in view_of(row.raw).prevouts)

    def _inputs_of_lost_makers(self) -> frozenset[OutPoint]:
        """What the stored ancestors of vanished coins spend, whosever it is, as far as the chain does not hold them.

        Whatever takes one of these for something else displaces every plan that needs the coin, for as long as it
        stands: the coin is named by the txid of its maker. Watched while an unfinished batch may rest on it.
        """
        lost = {OutPoint(Txid(row.txid), row.vout) for row in self._all(_LOST)}
        watched: set[OutPoint] = set()
        while lost:
            makers = {tx.txid: tx for tx in self.load_transactions({o.txid for o in lost})}
            # What a coinbase claims to spend is spent by every block.
            inputs = {o for tx in makers.values() for o in tx.prevouts} - watched - {NO_OUTPOINT}
            inputs -= self.load_spends(inputs).keys()
            lost = inputs - self.load_coins(inputs).keys()
            watched |= lost
        return frozenset(watched)

    def find_accountable(self, prevouts: Collection[OutPoint]) -> frozenset[OutPoint]:
        """Whatever ever paid a script of ours counts, and what an asked plan or a bound payer spends."""
        wanted = frozenset(prevouts)
        if not wanted:
            return wanted
        planned = {OutPoint(Txid(row.txid), row.vout) for row in self._among(_PLANNED_AMONG, {o.txid for o in wanted})}
        found = (self.load_coins(wanted).keys() | planned | self._inputs_of_bound_payers()) & wanted
        return frozenset(found | self._outputs_to_us(wanted - found))

    def _outputs_to_us(self, outpoints: Collection[OutPoint]) -> set[OutPoint]:
        """By the stored bytes of their makers: also what is no coin, because it holds nothing or was lost again."""
        makers = {tx.txid: tx for tx in self.load_transactions({o.txid for o in outpoints})}
        held = {o: makers[o.txid].outputs[o.vout : o.vout + 1] for o in outpoints if o.txid in makers}
        return {o for o, outputs in held.items() for out in outputs if self.find_own_script(out.script) is not None}

    def load_coins(self, outpoints: Collection[OutPoint]) -> Mapping[OutPoint, Coin]:
        """Spent or not. Looked up by txid, which is indexed; whole outpoints are compared here."""
        wanted = frozenset(outpoints)
        found = map(coin_of, self._among(_COINS_AMONG, (o.txid for o in wanted)))
        return {coin.outpoint: coin for coin in found if coin.outpoint in wanted}

    def load_tip(self) -> Header | None:
        """The highest header."""
        row = self._first(_TIP)
        return None if row is None else header_of(row)

    def load_header(self, height: int) -> Header | None:
        """The followed block at this height; None below the first and above the tip."""
        row = self._first(_HEADER, height=height)
        return None if row is None else header_of(row)

    def load_spends(self, prevouts: Collection[OutPoint]) -> Mapping[OutPoint, Spend]:
        """Those of the prevouts that a transaction of the followed chain spends."""
        wanted = frozenset(prevouts)
        found = map(spend_of, self._among(_SPENDS_AMONG, (o.txid for o in wanted)))
        return {spend.prevout: spend for spend in found if spend.prevout in wanted}

    def load_spends_by_txid(self, txid: Txid) -> tuple[Spend, ...]:
        """In input order."""
        return tuple(spend_of(row) for row in self._all(_SPENDS_BY_TXID, txid=txid))

    def load_unexplained_spends(self) -> tuple[Spend, ...]:
        """Of outpoints that were ours; what took an input of a vanished coin's maker took nothing from us."""
        found = [spend_of(row) for row in self._all(_UNEXPLAINED)]
        accountable = self.find_accountable([spend.prevout for spend in found])
        return tuple(spend for spend in found if spend.prevout in accountable)

    def load_payments(self, withdrawal_ids: Collection[WithdrawalId]) -> tuple[Payment, ...]:
        """Lowest block first."""
        found = map(payment_of, self._among(_PAYMENTS_AMONG, withdrawal_ids))
        return tuple(sorted(found, key=lambda p: (p.block.height, p.txid, p.vout)))

    def load_seen_payers(self, withdrawal_ids: Collection[WithdrawalId]) -> Mapping[WithdrawalId, tuple[TxView, ...]]:
        """One entry for each of the ids, oldest first, empty if nothing was ever seen to pay it."""
        found: dict[WithdrawalId, list[TxView]] = {id_: [] for id_ in withdrawal_ids}
        views: dict[str, TxView] = {}
        for row in self._among(_PAYERS, withdrawal_ids):
            if row.wtxid not in views:
                views[row.wtxid] = view_of(row.raw)
            found[row.withdrawal_id].append(views[row.wtxid])
        return {id_: tuple(payers) for id_, payers in found.items()}

    def was_seen(self, ntxid: Ntxid) -> bool:
        """In any encoding, in any block, also one that is gone since, or in a node's mempool."""
        return self._first(_SIGHTING, ntxid=ntxid) is not None

    def load_transactions(self, txids: Collection[Txid]) -> tuple[TxView, ...]:
        """Every encoding, oldest first."""
        found = self._among(_TRANSACTIONS, txids)
        return tuple(view_of(row.raw) for row in sorted(found, key=lambda row: (row.first_seen_at, row.wtxid)))

    def find_transaction(self, any_id: str) -> tuple[TxView, ...]:
        """By txid, wtxid or ntxid, oldest first."""
        return tuple(view_of(row.raw) for row in self._all(_TRANSACTIONS_NAMED, any_id=any_id))
