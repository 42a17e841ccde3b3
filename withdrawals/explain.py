"""why: the whole story of a withdrawal, found by any name that anybody may know it by. Read-only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from withdrawals.conflicts import waiting_reason
from withdrawals.core.addresses import parse_address
from withdrawals.core.amounts import format_btc
from withdrawals.core.customer import CUSTOMER
from withdrawals.core.model import (
    Attempt,
    Batch,
    BatchState,
    Event,
    Payment,
    Spend,
    TxView,
    Withdrawal,
    WithdrawalState,
)
from withdrawals.core.policy import Policy
from withdrawals.core.recovery import is_recovery_hold
from withdrawals.core.settlement import depth_of
from withdrawals.core.types import BatchId, Network, OutPoint, RequestId, WithdrawalId, parse_outpoint
from withdrawals.core.verdict import classify
from withdrawals.errors import TheirError, UnknownId
from withdrawals.fences import fence_words
from withdrawals.left_out import load_kept_back, words_of_kept_back
from withdrawals.money import load_money
from withdrawals.ports import LedgerView, Sent

_SHOWN_CHARACTERS: Final = 100
_REFUSALS: Final = frozenset({f"attempt.{s}" for s in Sent if s is not Sent.PRESENT})
"""Events with a node's answer that was not a yes."""
_UNPAID: Final = frozenset({WithdrawalState.BATCHED, WithdrawalState.BROADCAST})
_KEPT_BACK: Final = (
    "The signer's answer failed the checks: kept, never sent, coins stay reserved; see docs/operations.md."
)


@dataclass(frozen=True, slots=True)
class CoinStory:
    """A coin reserved for the payment and what became of it."""

    outpoint: OutPoint
    sats: int
    fate: str


@dataclass(frozen=True, slots=True)
class Story:
    """One withdrawal, everything that is known of it, and what happens next."""

    withdrawal: Withdrawal
    batch_state: BatchState | None
    coins: tuple[CoinStory, ...]
    """Of its batch and of every batch that this one is a re-issue of; so are the attempts and the verdicts."""
    attempts: tuple[Attempt, ...]
    payments: tuple[Payment, ...]
    verdicts: tuple[str, ...]
    """Who spent the coins, in words: the transaction, the height, and what it is to us."""
    depth: int
    """Blocks on top of the payment, its own included; 0 while unpaid."""
    tell_customer: str
    refundable: bool
    next_step: str
    events: tuple[Event, ...]


def why(view: LedgerView, name: object, network: Network, policy: Policy) -> tuple[Story, ...]:
    """The stories of everything that goes by this name, in request order. Raises UnknownId.

    A name: a request id, an id of ours, an address, an outpoint, any txid, wtxid or ntxid ever signed or seen.
    """
    found = _resolve(view, name.strip(), network) if isinstance(name, str) else {}
    if not found:
        shown = repr(name)[:_SHOWN_CHARACTERS]
        raise UnknownId(
            f"{shown} is nothing in this ledger; accepted: a request id, w-… or b-… id, address, txid:vout, or any "
            f"txid or wtxid that was ever signed or seen"
        )
    return tuple(tell(view, w, policy) for w in sorted(found.values(), key=lambda w: w.seq))


def _resolve(view: LedgerView, name: str, network: Network) -> dict[WithdrawalId, Withdrawal]:
    """Every reading of the name counts: a request id may look like a txid, or like an id of ours."""
    by_id = (view.find_request(RequestId(name)), view.find_withdrawal(WithdrawalId(name)))
    found = [w for w in by_id if w is not None]
    found += _withdrawals_in(view, {BatchId(name)} | _batches_of_transaction(view, name))
    found += _bound_by(view, name)
    with suppress(TheirError):  # where it is no outpoint, or no address, the other readings stand
        found += _withdrawals_of_outpoint(view, parse_outpoint(name))
    with suppress(TheirError):
        found += view.find_withdrawals_to(parse_address(name, network))
    return {w.id: w for w in found}


def _withdrawals_in(view: LedgerView, batch_ids: Collection[BatchId]) -> list[Withdrawal]:
    return [w for i in batch_ids for batch in [view.load_batch(i)] if batch is not None for w in batch.withdrawals]


def _batches_of_transaction(view: LedgerView, name: str) -> set[BatchId]:
    """Batches with a plan or a coin that a transaction of this txid, wtxid or ntxid spends."""
    prevouts = {o for tx in view.find_transaction(name.lower()) for o in tx.prevouts}
    return {p.batch_id for p in view.load_plans_spending(prevouts)} if prevouts else set()


def _bound_by(view: LedgerView, name: str) -> list[Withdrawal]:
    """Those to which an operator bound an output of the foreign transaction of this txid, wtxid or ntxid."""
    said = [view.find_explanation(ntxid) for ntxid in {tx.ntxid for tx in view.find_transaction(name.lower())}]
    bound = [o.withdrawal_id for one in said if one is not None for o in one.outputs]
    return list(view.load_withdrawals([w for w in bound if w is not None]).values())


def _withdrawals_of_outpoint(view: LedgerView, outpoint: OutPoint) -> list[Withdrawal]:
    """Those whose batch spends this coin, and the one that this output pays, or will once it is in a block."""
    spending = _withdrawals_in(view, {p.batch_id for p in view.load_plans_spending([outpoint])})
    candidates = _withdrawals_in(view, _batches_of_transaction(view, outpoint.txid))
    paid: set[WithdrawalId | None] = {
        p.withdrawal_id for p in view.load_payments([w.id for w in candidates]) if _is_at(p, outpoint)
    }
    for tx in view.load_transactions([outpoint.txid]):
        planned = [p.outputs for p in view.load_plans_spending(tx.prevouts) if p.ntxid == tx.ntxid]
        paid |= {o[outpoint.vout].withdrawal_id for o in planned if outpoint.vout < len(o)}
    return [*spending, *(w for w in candidates if w.id in paid)]


def _is_at(payment: Payment, outpoint: OutPoint) -> bool:
    return (payment.txid, payment.vout) == (outpoint.txid, outpoint.vout)


def tell(view: LedgerView, withdrawal: Withdrawal, policy: Policy) -> Story:
    """The story of one withdrawal, from one snapshot."""
    generations = _generations(view, withdrawal)
    batch = generations[-1] if generations else None
    tip = view.load_tip()
    height = 0 if tip is None else tip.height
    payments = view.load_payments([withdrawal.id])
    depth = max((depth_of(p.block.height, height) for p in payments), default=0)
    answer = CUSTOMER[withdrawal.state]
    return Story(
        withdrawal=withdrawal,
        batch_state=None if batch is None else batch.state,
        coins=_coins(view, generations, height),
        attempts=tuple(a for b in generations for a in b.attempts if _pays(b, a, withdrawal)),
        payments=payments,
        verdicts=_verdicts(view, generations, height),
        depth=depth,
        tell_customer=answer.words,
        refundable=answer.refundable,
        next_step=_next_step(view, withdrawal, batch, depth, policy),
        events=view.load_story(withdrawal_id=withdrawal.id),
    )


def _generations(view: LedgerView, withdrawal: Withdrawal) -> tuple[Batch, ...]:
    """The withdrawal's batch and those that it is a re-issue of, first generation first."""
    batch = view.load_batch(withdrawal.batch_id) if withdrawal.batch_id is not None else None
    if batch is None:
        return ()
    earlier = (view.load_batch(i) for i in view.list_lineage(batch.lineage) if i != batch.id)
    mine = (b for b in earlier if b is not None and b.generation < batch.generation)
    return (*(b for b in mine if any(w.id == withdrawal.id for w in b.withdrawals)), batch)


def _pays(batch: Batch, attempt: Attempt, withdrawal: Withdrawal) -> bool:
    return any(p.number == attempt.plan_number and withdrawal.id in p.withdrawal_ids for p in batch.plans)


def _coins(view: LedgerView, generations: Sequence[Batch], height: int) -> tuple[CoinStory, ...]:
    inputs = {i.outpoint: i for b in generations for p in b.plans for i in p.inputs}
    spends, coins = view.load_spends(inputs.keys()), view.load_coins(inputs.keys())
    return tuple(
        CoinStory(outpoint, planned.sats, _fate(spends.get(outpoint), alive=outpoint in coins, height=height))
        for outpoint, planned in sorted(inputs.items())
    )


def _fate(spend: Spend | None, *, alive: bool, height: int) -> str:
    if spend is not None:
        depth = depth_of(spend.block.height, height)
        return f"spent by {spend.txid} in block {spend.block.height}, depth {depth}"
    return "unspent on the followed chain" if alive else "not on this chain: the block that made it is gone"


def _verdicts(view: LedgerView, generations: Sequence[Batch], height: int) -> tuple[str, ...]:
    """Who spent the coins, each spender judged by the generation that planned it, else by the last."""
    spends = view.load_spends({o for b in generations for p in b.plans for o in p.prevouts})
    paid = view.load_payments(list({w.id for b in generations for w in b.withdrawals}))
    words: dict[str, str] = {}
    for spend in {s.wtxid: s for s in spends.values()}.values():  # one transaction may spend them all
        spender = _bytes_of(view, spend)
        if spender is not None:
            pays = [p.withdrawal_id for p in paid if p.txid == spend.txid]
            verdicts = [classify(spender, b, [w.id for w in b.withdrawals if w.id in pays]) for b in generations]
            verdict = next((v for v in verdicts if v.ours), verdicts[-1])
            depth = depth_of(spend.block.height, height)
            words[spend.wtxid] = f"{spend.txid} (wtxid {spend.wtxid}) at depth {depth}: {verdict}"
    return tuple(words.values())


def _bytes_of(view: LedgerView, spend: Spend) -> TxView | None:
    return next((t for t in view.load_transactions([spend.txid]) if t.wtxid == spend.wtxid), None)


def _next_step(view: LedgerView, withdrawal: Withdrawal, batch: Batch | None, depth: int, policy: Policy) -> str:
    """What happens next, and when, in one or two sentences."""
    stopped = _stopped_by(view)
    if batch is not None and withdrawal.state in _UNPAID:
        words = _next_of_unplanned(view, withdrawal, batch, stopped)
        if words:
            return words
    match withdrawal.state:
        case WithdrawalState.QUEUED:
            words = f"Waits: {stopped}." if stopped else _next_of_queued(view, policy)
        case WithdrawalState.HELD:
            words = _next_of_held(withdrawal)
        case WithdrawalState.BATCHED:
            words = _next_of_batched(view, withdrawal, batch, stopped, policy)
        case WithdrawalState.BROADCAST:
            words = _next_of_broadcast(batch, policy)
        case WithdrawalState.CONFIRMED:
            words = f"Final in {policy.final_depth - depth} more block(s)."
        case WithdrawalState.FINAL:
            words = "Nothing: it is paid. If a reorg undoes it, the stored bytes are sent again."
        case WithdrawalState.CANCELLED | WithdrawalState.REJECTED:
            words = "Nothing: it will never be paid."
    return words


def _next_of_held(withdrawal: Withdrawal) -> str:
    if is_recovery_hold(withdrawal.hold_reason):
        return f"Held: {withdrawal.hold_reason} If it was cancelled: cancel it again."
    return f"Held: {withdrawal.hold_reason}. An operator decides: release, or reject."


def _next_of_queued(view: LedgerView, policy: Policy) -> str:
    for words in fence_words(view, policy):
        return f"Waits for the fence: {words}."
    money = load_money(view, view.count_states(), policy)
    if money.missing_sats:
        missing = format_btc(money.missing_sats)
        return f"Waits for coins: the queue needs a refill of {missing} BTC and fees. Then it goes out by itself."
    if money.lacking_sats:
        return "Waits for coins of ours that are in no block or not deep enough yet. Then it goes out by itself."
    return "Goes out with the next batch, within seconds if the coins suffice for the fee too."


def _next_of_unplanned(view: LedgerView, withdrawal: Withdrawal, batch: Batch, stopped: str) -> str:
    """Where the newest plan of its batch does not pay it, or cannot any more; empty: it does."""
    if not batch.plans and batch.state is BatchState.BROADCAST:
        return (
            "An operator bound somebody else's payment to it, which is in no block now. Should another transaction "
            "take its coins, this is planned again so that the two exclude each other."
        )
    kept_back = load_kept_back(view, batch.lineage, [withdrawal]).get(withdrawal.id)
    if kept_back is not None:
        return f"Waits: {words_of_kept_back([kept_back])}."
    if batch.state is BatchState.CONFLICTED:
        return _next_of_conflicted(view, batch, stopped)
    if _is_left_out(withdrawal, batch):
        return (
            "Left out of the newest plan by hand: planned again by itself, from what descends from that one, once it "
            "is in a block. If an older plan is mined instead, that pays."
        )
    return ""


def _is_left_out(withdrawal: Withdrawal, batch: Batch) -> bool:
    asked = [p for p in batch.plans if p.asked]
    return bool(asked) and withdrawal.id not in asked[-1].withdrawal_ids


def _next_of_batched(
    view: LedgerView, withdrawal: Withdrawal, batch: Batch | None, stopped: str, policy: Policy
) -> str:
    if batch is not None and batch.state is BatchState.SIGNED:
        return _next_of_signed(view, batch, policy)
    if any(a.refusal for a in (batch.attempts if batch is not None else ())):
        return _KEPT_BACK
    if stopped:
        return f"Waits for its signature: {stopped}."
    if withdrawal.asked:
        return "The signer was asked and has not answered yet; it is asked again. It cannot be cancelled any more."
    return "Planned; it is signed and sent within seconds."


def _next_of_broadcast(batch: Batch | None, policy: Policy) -> str:
    """A payment that was seen in a block that is no more; of one that was never fit to send nothing is sent again."""
    if batch is not None and batch.attempts and all(a.refusal for a in batch.attempts):
        return _KEPT_BACK
    again = f"The same bytes are sent again every {policy.resend_interval_s} s until a block has them."
    return f"{again} An operator may bump the fee."


def _next_of_signed(view: LedgerView, batch: Batch, policy: Policy) -> str:
    words = f"Signed; the same bytes are sent every {policy.resend_interval_s} s until a node takes them."
    said = [e.why for e in view.load_story(batch_id=batch.id) if e.kind in _REFUSALS]
    if not said:
        return words
    others = len(batch.plans[-1].withdrawal_ids) - 1
    way = (
        f"Where one output is what no node relays, `withdrawals bump {batch.id} --without REQUEST_ID --reason …` pays "
        f"the other {others}."
        if others
        else "No other payment waits for this one."
    )
    return f"{words} The node's last answer: {said[-1]}. {way}"


def _stopped_by(view: LedgerView) -> str:
    pause, breaker, gate = view.load_pause(), view.load_breaker(), view.load_gate()
    if breaker:
        return f"the breaker is open ({', '.join(sorted({c.cause for c in breaker}))})"
    if pause:
        return f"paused by an operator ({pause})"
    if gate is not None and gate.reasons:
        return f"the world gate is closed ({gate.reasons[0]})"
    return ""


def _next_of_conflicted(view: LedgerView, batch: Batch, stopped: str) -> str:
    """A coin of its batch went elsewhere, or vanished: what a re-issue waits for."""
    words = (
        "A coin of its batch went elsewhere; what is unpaid is planned again with coins that exclude every earlier try"
    )
    waits = stopped or waiting_reason(view, batch.id)
    return f"{words}. It waits: {waits}." if waits else f"{words}, within a block or two."
