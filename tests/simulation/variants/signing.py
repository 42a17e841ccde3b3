"""Broken rules of memory and order: what is written before what, and who remembers it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Final

from tests.guards import removals as without
from tests.guards.removals import answer, nothing, swap, together
from tests.simulation.variants.locks import Anything, without_in_database
from withdrawals.core.types import COIN, BatchId, Feerate
from withdrawals.ports import SignedAnswer, Signer, SigningOrder
from withdrawals.processor import Processor
from withdrawals.signing.hot import HotSigner
from withdrawals.signing.journal import Standing
from withdrawals.signing.lines import entry_of
from workers import jobs, sweeper

NO_CAP: Final = Feerate(COIN - 1)

# ---------------------------------------------------------------------------------------------------------- the order


class _SendingSigner:
    """Whatever it signs is on its way to a node before anybody has stored it."""

    def __init__(self, signer: Signer, broadcaster: Anything) -> None:
        self._signer, self._broadcaster = signer, broadcaster

    def ask(self, order: SigningOrder) -> SignedAnswer:
        answered = self._signer.ask(order)
        self._broadcaster.send(answered.raw, feerate_max=NO_CAP)
        return answered

    def __getattr__(self, name: str) -> Anything:
        return getattr(self._signer, name)


_real_sign_one = jobs.sign_one


def _send_then_store(parts: Anything, batch_id: BatchId) -> None:
    shim = SimpleNamespace(
        ledger=parts.ledger,
        signer=_SendingSigner(parts.signer, parts.broadcaster),
        verifier=parts.verifier,
        world=parts.world,
        clock=parts.clock,
        bell=parts.bell,
    )
    _real_sign_one(shim, batch_id)  # type: ignore[arg-type] # all that it asks of its parts


store_after_send = swap("workers.jobs.sign_one", _send_then_store)
asked_before_it_is_written = together(swap("withdrawals.steps.sign._mark_signing", nothing), without_in_database())


def _journal_behind(self: HotSigner, order: SigningOrder) -> SignedAnswer:
    """The line of an order is written with the next one, by when it is on its way; a death in between forgets it."""
    with self._turn:
        late = vars(self).pop("late", None)
        if late is not None:
            self._journal.append(late)
        entry = entry_of(order)
        standing = self._journal.standing(order.journal_head, entry)
        self._check(order, standing)
        raw = self._sign(order)
        if standing is Standing.NEW:
            vars(self)["late"] = entry
        return SignedAnswer(raw, self._journal.head)


journal_after_signing = swap("withdrawals.signing.hot.HotSigner.ask", _journal_behind)

_real_due = sweeper._due_to_send


def _never_sent_yet(batch: Anything, now: int, interval_s: int) -> bool:
    fit = [a for a in batch.attempts if a.refusal is None]
    return bool(fit) and all(a.sent_at is None for a in fit) and _real_due(batch, now, interval_s)


whatever_comes_back = together(without.no_lint, without.no_verification)
sent_once = swap("workers.sweeper._due_to_send", _never_sent_yet)

# --------------------------------------------------------------------------------------------------------- the memory

recover_ignores_the_journal = swap("withdrawals.steps.recover._fresh_lines", answer(()))

_real_recover = Processor.recover


def _without_fence(self: Processor, *, reason: str, fence: bool = False, who: str | None = None) -> Anything:
    del fence
    return _real_recover(self, reason=reason, who=who)


no_fence = swap("withdrawals.processor.Processor.recover", _without_fence)
nobody_compares_heads = together(without.heads_not_compared, without.unknown_lines_adopted)


def _gate_of(*steps: str) -> Anything:
    return together(*(swap(f"withdrawals.steps.{step}.check_gate", nothing) for step in steps))


neither_gate_nor_heads = together(_gate_of("plan", "sign", "bump", "reissue"), nobody_compares_heads)
UNCHECKED = without_in_database()
cancelled_after_asking = together(without.cancel_at_any_time, UNCHECKED)
