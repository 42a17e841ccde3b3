"""A foreign transaction as the ledger sees it: where it stands, whom it pays by the rules, and whom it may mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from withdrawals.core.foreign import Ruling
from withdrawals.core.lifecycle import GIVEN_UP
from withdrawals.core.model import Plan, Spend, TxView, Withdrawal
from withdrawals.core.policy import Policy
from withdrawals.core.types import WithdrawalId
from withdrawals.errors import NotAllowed, UnknownId
from withdrawals.lineage import attribute_spender, load_plans_touched
from withdrawals.ports import LedgerView


@dataclass(frozen=True, slots=True)
class Found:
    """A foreign transaction as the ledger sees it: where it stands, and whom the rules say it pays."""

    tx: TxView
    spends: tuple[Spend, ...]
    attributed: Mapping[int, WithdrawalId]
    touched: tuple[Plan, ...]
    """Plans of ours that it displaces, or that descend from what it displaces."""

    @property
    def height(self) -> int | None:
        """The height of its block on the followed chain."""
        return self.spends[0].block.height if self.spends else None


def find_foreign(view: LedgerView, name: str) -> tuple[TxView, ...]:
    """Every encoding that we hold of the foreign transaction with this id. Raises UnknownId, NotAllowed."""
    named = view.find_transaction(name.strip().lower())
    if not named:
        raise UnknownId(
            f"{name!r} is no transaction that this ledger ever saw; accepted: the txid, wtxid or ntxid of one that "
            f"`withdrawals reconcile` lists"
        )
    spender = named[0]
    plan = next((p for p in view.load_plans_spending(spender.prevouts) if p.ntxid == spender.ntxid), None)
    if plan is not None:
        raise NotAllowed(
            f"{spender.txid} is plan {plan.number} of {plan.batch_id}, in whatever encoding: it explains itself"
        )
    # A stored spend may be nobody's business of ours: what a lost deposit spent is watched too, whosever it is.
    if not (view.find_accountable(spender.prevouts) or view.find_explanation(spender.ntxid)):
        raise NotAllowed(f"{spender.txid} spends no coin of ours: there is nothing to explain")
    return view.find_transaction(spender.ntxid)


def examine(view: LedgerView, encodings: Sequence[TxView], policy: Policy) -> Found:
    """Where a foreign transaction stands on the followed chain, and what the rules of attribution say of it."""
    placed = [(tx, view.load_spends_by_txid(tx.txid)) for tx in encodings]
    here, spends = next(((tx, s) for tx, s in placed if s), (encodings[-1], ()))
    here = next((tx for tx in encodings if spends and tx.wtxid == spends[0].wtxid), here)
    touched = load_plans_touched(view, here)
    ids = sorted({w for p in touched for w in p.withdrawal_ids})
    said = view.find_explanation(here.ntxid)
    ruled = {o.vout for o in (said.outputs if said else ()) if o.ruling is not Ruling.OPEN}
    if spends:
        attributed = {p.vout: p.withdrawal_id for p in view.load_payments(ids) if p.txid == here.txid}
    else:
        attributed = dict(attribute_spender(view, here, policy, ()).payments)
    return Found(here, spends, {v: w for v, w in attributed.items() if v not in ruled}, touched)


def waiting_like(view: LedgerView, tx: TxView) -> tuple[Withdrawal, ...]:
    """Every withdrawal to one of its scripts that is owed and not paid on the followed chain."""
    alike = {w.id: w for o in tx.outputs for w in view.find_withdrawals_to(o.script) if w.state not in GIVEN_UP}
    paid = {p.withdrawal_id for p in view.load_payments(list(alike))}
    return tuple(sorted((w for w in alike.values() if w.id not in paid), key=lambda w: w.seq))
