"""reconcile: what the ledger cannot explain by itself, listed; and an operator's word on it, taken output by output.

A foreign spend of our coins (a sweep by hand, a co-signer, a thief) opens the breaker. The operator looks, and says
with his name what it was. He may *bind* an output to the withdrawal that it pays: it then counts as that payment on
every chain that holds the transaction, and no later plan may be compatible with it. An output that looks just like a
withdrawal that waits must be ruled on, or nothing is taken: it may be that very payment (CE5).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from withdrawals.core.foreign import ForeignOutput, RulingRefused, rule_outputs
from withdrawals.core.lifecycle import BatchEvent, WithdrawalEvent, advance_batch, advance_withdrawal
from withdrawals.core.model import BatchState, Payment, TxView, Withdrawal
from withdrawals.core.policy import Policy
from withdrawals.core.types import BatchId, RequestId, WithdrawalId
from withdrawals.errors import NotAllowed, UnknownId
from withdrawals.foreign import Found, examine, find_foreign, waiting_like
from withdrawals.moves import check_reason, give_up_unasked_plan
from withdrawals.ports import Clock, Dice, Ledger, LedgerTx, LedgerView

Settle = Callable[[LedgerTx, Collection[BatchId], bool], None]
"""Recompute the cached states of these batches in this transaction."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the ledger now knows of a foreign transaction. `attributed`: what the rules found by themselves."""

    tx: TxView
    outputs: tuple[ForeignOutput, ...]
    attributed: Mapping[int, WithdrawalId]
    height: int | None
    """Where it stands on the followed chain; None: in no block of it."""
    requests: Mapping[WithdrawalId, RequestId]
    """The names under which the exchange knows the withdrawals above."""


@dataclass(frozen=True, slots=True)
class Words:
    """What the operator says: output index to request id, outputs that pay none of ours, who he is, and why."""

    pays: Mapping[int, RequestId]
    other: Collection[int]
    who: str
    why: str


def reconcile(
    name: str, words: Words, ledger: Ledger, settle: Settle, policy: Policy, clock: Clock, dice: Dice
) -> Reconciled:
    """Explain one foreign transaction, named by any id of it. Raises UnknownId, NotAllowed; then nothing was changed.

    Saying the same again changes nothing; saying more rules on what was left open. The breaker stays open until
    `resume`.
    """
    reason = check_reason(words.why)
    batch_id = BatchId(f"b-{dice.hex(24)}")
    with ledger.begin() as tx:
        encodings = find_foreign(tx, name)
        pays = {vout: _find(tx, request_id) for vout, request_id in words.pays.items()}
        found = examine(tx, encodings, policy)
        rulings = _rule(tx, found, pays, words.other)
        now = clock.now()
        spender = found.tx
        tx.save_explanation(spender.ntxid, spender.wtxid, at=now, who=words.who, why=reason)
        tx.save_rulings(rulings)
        bound = {o.vout: o.withdrawal_id for o in rulings if o.withdrawal_id is not None}
        _tell(tx, found, rulings, words.who, reason, now)
        for encoding in encodings:
            for withdrawal_id in sorted({*bound.values(), *found.attributed.values()}):
                tx.save_seen_payer(withdrawal_id, encoding.wtxid)
        _give_a_batch(tx, batch_id, found.tx, sorted(bound.values()), words.who, reason, now)
        _save_payments(tx, found, bound)
        paid = tx.load_withdrawals([*bound.values(), *found.attributed.values()])
        homes = {paid[w].batch_id for w in bound.values()}
        settle(tx, {b for b in homes if b is not None}, False)  # noqa: FBT003 -- the port's positional flag
    names = {w.id: w.request_id for w in paid.values()}
    return Reconciled(spender, rulings, found.attributed, found.height, names)


def _rule(
    tx: LedgerTx, found: Found, pays: Mapping[int, Withdrawal], other: Collection[int]
) -> tuple[ForeignOutput, ...]:
    spender = found.tx
    for vout, withdrawal in pays.items():
        twice = [p for p in tx.load_payments([withdrawal.id]) if (p.txid, p.vout) != (spender.txid, vout)]
        if twice:
            raise NotAllowed(
                f"reconcile: {withdrawal.request_id} is paid already, by {twice[0].txid}:{twice[0].vout}; accepted: "
                f"--other {vout}, with the reason why this was paid too"
            )
    said = tx.find_explanation(spender.ntxid)
    rulings = rule_outputs(
        spender,
        own_scripts=tx.load_own_scripts().keys(),
        pays=pays,
        other=other,
        attributed=found.attributed,
        waiting=waiting_like(tx, spender),
        earlier=said.outputs if said is not None else (),
    )
    if isinstance(rulings, RulingRefused):
        raise NotAllowed(f"reconcile: {rulings.reason}")
    return rulings


def _tell(tx: LedgerTx, found: Found, rulings: Sequence[ForeignOutput], who: str, why: str, now: int) -> None:
    """The evidence stands in the story: which bytes, where, and what was said of each output."""
    data: dict[str, object] = {
        "txid": found.tx.txid,
        "wtxid": found.tx.wtxid,
        "ntxid": found.tx.ntxid,
        "height": found.height,
        "spends": [str(o) for o in found.tx.prevouts],
        "outputs": {str(o.vout): f"{o.ruling} {o.withdrawal_id or ''}".strip() for o in rulings},
        "attributed": {str(vout): w for vout, w in found.attributed.items()},
    }
    tx.append_event("operator.reconciled", at=now, who=who, why=why, data=data)
    for output in rulings:
        if output.withdrawal_id is not None:
            place: dict[str, object] = {"txid": found.tx.txid, "vout": output.vout, "sats": output.sats}
            tx.append_event(
                "withdrawal.bound", at=now, who=who, why=why, withdrawal_id=output.withdrawal_id, data=place
            )


def _give_a_batch(
    tx: LedgerTx, batch_id: BatchId, spender: TxView, bound: Sequence[WithdrawalId], who: str, why: str, now: int
) -> None:
    """A withdrawal that no signer was ever asked for gets a batch without plans, so that a lineage begins.

    From now on it is never cancelled, and should the foreign payment fall to something else, a re-issue excludes it.
    """
    free: list[WithdrawalId] = []
    for withdrawal in tx.load_withdrawals(bound).values():
        now_is = give_up_unasked_plan(tx, withdrawal, who=who, why=why, at=now)
        if now_is.batch_id is None:
            advance_withdrawal(now_is.state, WithdrawalEvent.ADOPT)
            free.append(now_is.id)
    if not free:
        return
    tx.insert_batch(batch_id, free, at=now)
    tx.mark_asked(free)
    tx.set_batch_state(batch_id, advance_batch(BatchState.PLANNED, BatchEvent.ADOPT))
    # What the payer spends of ours is what a re-issue could exclude it with: kept, as the inputs of a plan are (I4).
    ours = tx.load_coins(spender.prevouts).keys()
    tx.reserve(ours - tx.load_reservations(ours).keys(), batch_id, at=now)
    tx.append_event("batch.adopted", at=now, who=who, why=why, batch_id=batch_id)


def _save_payments(tx: LedgerTx, found: Found, bound: Mapping[int, WithdrawalId]) -> None:
    if found.spends:
        block, spender = found.spends[0].block, found.tx
        tx.save_payments(
            [
                Payment(w, block, spender.txid, vout, spender.outputs[vout].sats, by_plan=False)
                for vout, w in bound.items()
            ]
        )


def _find(view: LedgerView, request_id: RequestId) -> Withdrawal:
    found = view.find_request(request_id)
    if found is None:
        raise UnknownId(f"pays: no withdrawal {request_id!r}; accepted: an id that was enqueued")
    return found
