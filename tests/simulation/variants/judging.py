"""Broken rules of settling: what is believed of the chain, and whose coin is whose."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from tests.guards import removals as without
from tests.guards.removals import answer, nothing, swap, together
from tests.simulation.variants.locks import Anything, without_foreign_keys, without_in_database
from withdrawals.core.blockscan import scan_block
from withdrawals.core.model import BatchState, Coin, WithdrawalState
from withdrawals.core.resending import ancestors_to_send
from withdrawals.core.settlement import Settlement, settle
from withdrawals.core.tx import view_of
from withdrawals.core.types import BlockHash, BlockRef, OutPoint, WithdrawalId
from withdrawals.core.verdict import Attribution, attribute
from withdrawals.facts import load_facts
from withdrawals.ledger import write_chain
from withdrawals.ledger.rows import row_of_coin, row_of_payment, row_of_spend
from withdrawals.ledger.schema import coins, headers, payments, spends
from withdrawals.ledger.write_chain import ChainWrites
from withdrawals.lineage import attribute_spender
from withdrawals.ports import FOLLOWER_LEASE, LedgerView, SignedAnswer
from withdrawals.steps import sign as sign_step
from withdrawals.steps.reissue import _too_early
from workers import sweeper

NOBODY = Attribution((), by_plan=False)
PAID = frozenset({WithdrawalState.CONFIRMED, WithdrawalState.FINAL})
DONE = frozenset({BatchState.CONFIRMED, BatchState.FINAL})
_WATCH = "withdrawals.steps.watch.attribute_spender"

# ----------------------------------------------------------------------------------------------------- who was paid


def _by_txid(view: LedgerView, spender: Anything, policy: Anything, paid: Collection[WithdrawalId]) -> Attribution:
    found = attribute_spender(view, spender, policy, paid)
    return found if not found.by_plan or view.find_attempts_by_txid(spender.txid) else NOBODY


def _by_newest_plan(
    view: LedgerView, spender: Anything, policy: Anything, paid: Collection[WithdrawalId]
) -> Attribution:
    found = attribute_spender(view, spender, policy, paid)
    plans = [p for p in view.load_plans_spending(spender.prevouts) if p.asked and p.ntxid == spender.ntxid]
    later = [b for p in plans if (b := view.load_batch(p.batch_id)) is not None and b.plans[-1].number > p.number]
    return NOBODY if found.by_plan and later else found


def _by_current_batch(
    view: LedgerView, spender: Anything, policy: Anything, paid: Collection[WithdrawalId]
) -> Attribution:
    found = attribute_spender(view, spender, policy, paid)
    homes = {p.batch_id for p in view.load_plans_spending(spender.prevouts) if p.ntxid == spender.ntxid}
    here = view.load_withdrawals([w for _, w in found.payments])
    if not found.by_plan:
        return found
    return Attribution(tuple((v, w) for v, w in found.payments if here[w].batch_id in homes), by_plan=True)


def _batch_by_batch(
    spender: Anything,
    plans: Sequence[Anything],
    withdrawals: Mapping[WithdrawalId, Anything],
    already_paid: Collection[WithdrawalId],
    *words: Anything,
    **named: Anything,
) -> Attribution:
    """Each batch looks for its own, and crosses nothing off for the others."""
    found = attribute(spender, plans, withdrawals, already_paid, *words, **named)
    if found.by_plan:
        return found
    paid: set[tuple[int, WithdrawalId]] = set()
    for batch_id in {w.batch_id for w in withdrawals.values()}:
        others = {w for w, row in withdrawals.items() if row.batch_id != batch_id}
        paid.update(attribute(spender, plans, withdrawals, {*already_paid, *others}, *words, **named).payments)
    return Attribution(tuple(sorted(paid)), by_plan=False)


OUTPUTS_MAY_PAY_TWICE = without_in_database(tables=(("payments", "uq_payments_output"),))
settled_by_txid = swap(_WATCH, _by_txid)
settled_by_newest_plan = swap(_WATCH, _by_newest_plan)
settled_by_current_batch = swap(_WATCH, _by_current_batch)
outputs_as_a_set = together(without.outputs_count_twice, OUTPUTS_MAY_PAY_TWICE)
one_output_for_two_batches = together(swap("withdrawals.lineage.attribute", _batch_by_batch), OUTPUTS_MAY_PAY_TWICE)

# ------------------------------------------------------------------------------------------------------- states stay


def _states_stay(states: frozenset[WithdrawalState], batches: frozenset[BatchState]) -> Anything:
    """What was once computed to be so is so for ever."""

    def settle_for_ever(batch: Anything, facts: Anything, policy: Anything) -> Settlement:
        now = settle(batch, facts, policy)
        kept = {w.id: w.state for w in batch.withdrawals if w.state in states and now.withdrawals[w.id] not in PAID}
        if batch.state in batches and now.batch not in DONE:
            now = replace(now, batch=batch.state)
        return replace(now, withdrawals={**now.withdrawals, **kept})

    return swap("withdrawals.steps.settle.settle", settle_for_ever)


confirmed_for_ever = _states_stay(PAID, DONE)
final_for_ever = _states_stay(frozenset({WithdrawalState.FINAL}), frozenset({BatchState.FINAL}))


def _accepted_is_paid(batch: Anything, facts: Anything, policy: Anything) -> Settlement:
    now = settle(batch, facts, policy)
    if not any(a.accepted_at is not None for a in batch.attempts) or now.batch is not BatchState.BROADCAST:
        return now
    paid = dict.fromkeys(now.withdrawals, WithdrawalState.CONFIRMED)
    return replace(now, batch=BatchState.CONFIRMED, withdrawals=paid)


paid_in_the_mempool = swap("withdrawals.steps.settle.settle", _accepted_is_paid)

# ------------------------------------------------------------------------------------------------------ facts, coins

_real_retreat = ChainWrites.retreat_tip


def _reservations_cascade(self: Anything, to: BlockRef, *, old_tip: BlockHash, epoch: int) -> None:
    _real_retreat(self, to, old_tip=old_tip, epoch=epoch)
    held = self.load_reservations()
    gone = held.keys() - self.load_coins(list(held)).keys()
    for batch_id in {held[o] for o in gone}:
        self.release_reservations(batch_id, gone, at=0)


reservations_hang_from_coins = swap("withdrawals.ledger.write_chain.ChainWrites.retreat_tip", _reservations_cascade)

_real_keep = sign_step._keep


def _keep_and_bank_change(tx: Anything, ask: Anything, answered: SignedAnswer, problems: str, now: int) -> Anything:
    """The change of what was just signed is a coin at once, under the txid that we signed."""
    outcome = _real_keep(tx, ask, answered, problems, now)
    tip = tx.load_tip()
    made = view_of(answered.raw)
    if outcome.outcome is sign_step.Signing.SIGNED and tip is not None:
        own = [(v, o, tx.find_own_script(o.script)) for v, o in enumerate(made.outputs)]
        block = BlockRef(tip.height, tip.hash)
        fresh = [Coin(OutPoint(made.txid, v), o.sats, script, block, False) for v, o, script in own if script]  # noqa: FBT003 -- no coinbase
        known = tx.load_coins([c.outpoint for c in fresh])
        tx._insert(coins, [row_of_coin(c) for c in fresh if c.outpoint not in known])
    return outcome


coins_from_attempts = swap("withdrawals.steps.sign._keep", _keep_and_bank_change)


def _no_newborn(raw: bytes, **named: Anything) -> Anything:
    """The watch set is what it was before the block: what is made and spent within is never seen to be spent."""
    scan = scan_block(raw, **named)
    made = {touch.tx.txid for touch in scan.touches}
    blind = [
        replace(t, spent_vins=tuple(v for v in t.spent_vins if t.tx.prevouts[v].txid not in made)) for t in scan.touches
    ]
    return replace(scan, touches=tuple(blind))


phantom_coins = swap("withdrawals.steps.watch.scan_block", _no_newborn)
reorg_keeps_facts = together(without.reorg_keeps_facts, without_foreign_keys)
loser_s_coins_kept = swap("withdrawals.steps.settle.returnable", answer(frozenset()))

# -------------------------------------------------------------------------------------------------------- two followers


def _advance_blindly(self: Anything, header: Anything, *, old_tip: object, epoch: int, **facts: Anything) -> None:
    del old_tip, epoch
    row = {"height": header.height, "hash": header.hash, "prev": header.prev, "time": header.time}
    self._insert(headers, [row])
    self._insert(coins, [row_of_coin(c) for c in facts["coins"]])
    self._insert(spends, [row_of_spend(s) for s in facts["spends"]])
    self._insert(payments, [row_of_payment(p) for p in facts["payments"]])


def _retreat_blindly(self: Anything, to: BlockRef, *, old_tip: object, epoch: int) -> None:
    del old_tip, epoch
    tip = self.load_tip()
    if self.load_header(to.height) is not None and tip is not None:
        lease = self._first(write_chain._LEASE, name=FOLLOWER_LEASE)
        _real_retreat(self, BlockRef(to.height, self.load_header(to.height).hash), old_tip=tip.hash, epoch=lease.epoch)


def _lease_for_all(self: Anything, name: str, holder: str, *, now: int, ttl_s: int) -> int:
    epoch = _real_take_lease(self, name, holder, now=now, ttl_s=ttl_s)
    return 0 if epoch is None else epoch


_real_take_lease = ChainWrites.take_lease
_CHAIN = "withdrawals.ledger.write_chain.ChainWrites"
two_followers = together(
    swap(f"{_CHAIN}.take_lease", _lease_for_all),
    swap(f"{_CHAIN}.check_lease", nothing),
    swap(f"{_CHAIN}.advance_tip", _advance_blindly),
    swap(f"{_CHAIN}.retreat_tip", _retreat_blindly),
)

# ------------------------------------------------------------------------------------------------- only what is live

_real_rings = sweeper.rings_due


def _live_rings(view: LedgerView, now: int, interval_s: int) -> list[tuple[str, str]]:
    """Nobody looks at a batch that was re-issued."""
    rings = []
    for job, target in _real_rings(view, now, interval_s):
        batch = view.load_batch(target) if job == "broadcast" else None  # type: ignore[arg-type] # a batch's id
        if batch is None or view.list_lineage(batch.lineage)[-1] == batch.id:
            rings.append((job, target))
    return rings


def _no_ancestors(prevouts: Collection[OutPoint], roots: Anything) -> Anything:
    line = ancestors_to_send(prevouts, roots)
    return None if line else line


def _only_displaced(tx: Anything, batch: Anything, policy: Anything) -> str:
    """Hints that look for what displaced an attempt: where a coin vanished nothing did."""
    if not settle(batch, load_facts(tx, batch), policy).taken:
        return "nothing displaced it"
    return _too_early(tx, batch, policy)


only_the_live_batch_is_sent = together(
    swap("workers.sweeper.rings_due", _live_rings),
    swap("withdrawals.steps.broadcast.ancestors_to_send", _no_ancestors),
    swap("withdrawals.steps.reissue._too_early", _only_displaced),
)
