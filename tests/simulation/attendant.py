"""The operator: reads `status`, `survey` and `why`, and does what they tell him to.

He knows the truth about payments that people made by hand, and nothing else that our own words do not tell him.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from withdrawals.core.model import Withdrawal, WithdrawalState
from withdrawals.core.types import BatchId
from withdrawals.errors import NotAllowed, TheirError, WorldError
from withdrawals.processor import Processor
from withdrawals.status import Status
from withdrawals.survey import Stranger, Survey

if TYPE_CHECKING:
    from tests.simulation.world import World

WHO: Final = "ops"
WHY: Final = "as docs/operations.md says"
LOOKS_LIKE: Final = re.compile(r"([0-9a-f]{64}):\d+(?=[^:]* pays just this|, [0-9a-f]{64})")
PAID_ALREADY: Final = re.compile(r"is paid already,.*accepted: --other (\d+)")
RECOVERABLE: Final = frozenset({"stale_ledger"})
FENCE_AGAIN: Final = ("lost a coin to something", "does not spend all it must")
"""Of a fence: `recover --fence` again, with every process stopped."""


class Attendant:
    """One careful person with a shell."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.has_approved = False
        """Whether he ever answered for a re-issue."""

    def mend(self, processor: Processor) -> None:
        """One round of looking and doing. Whatever is refused is tried again the next time."""
        with suppress(WorldError, TheirError):
            self._explain(processor, processor.survey())
        with suppress(WorldError, TheirError):
            self._follow_words(processor, processor.status())
        with suppress(WorldError, TheirError):
            processor.resume(reason=WHY, who=WHO)

    def _explain(self, processor: Processor, survey: Survey) -> None:
        if survey.journal:
            self._world.losses.recovery_wanted = True
        for stranger in survey.strangers:
            with suppress(WorldError, NotAllowed):
                self._reconcile(processor, stranger)
        for waiting in survey.waiting:
            if "--without" in waiting.command:
                words = waiting.command.split()
                without = [name for word, name in pairwise(words) if word == "--without"]
                with suppress(WorldError, TheirError):
                    processor.bump(waiting.batch_id, reason=WHY, without=without, who=WHO)

    def _reconcile(self, processor: Processor, stranger: Stranger) -> None:
        if " recover " in stranger.command:
            self._world.losses.recovery_wanted = True
            return
        # What the rules of attribution settled by themselves needs no word; of the rest he knows what it was.
        asks = {o.vout for o in stranger.outputs if o.meaning.startswith("looks like")}
        truth = {v: name for v, name in self._world.truth_of(stranger.txid).items() if v in asks}
        other = sorted(asks - truth.keys())
        processor.reconcile(stranger.txid, pays=truth, other=other, reason=WHY, who=WHO)
        for vout, request_id in truth.items():
            self._world.oracle.bound(request_id, stranger.txid, vout)

    def _follow_words(self, processor: Processor, status: Status) -> None:
        causes = {cause.cause for cause in status.breaker}
        told = {cause.id for cause in status.breaker if cause.cause in RECOVERABLE}
        if told - self._world.losses.causes_dealt_with:
            self._world.losses.recovery_wanted = True
        if "journal_damaged" in causes:
            self._world.disk.put_copy_back()
        if "deep_reorg" in causes:
            with suppress(WorldError, NotAllowed):
                processor.accept_reorg(reason=WHY, who=WHO)
        self._attend_to(processor, status.attention)
        for held in processor.list_withdrawals({WithdrawalState.HELD}):
            if not self._world.losses.waits_for_exchange(held):
                with suppress(WorldError, TheirError):
                    self._release(processor, held.request_id)
        for withdrawal in processor.list_withdrawals({WithdrawalState.BATCHED, WithdrawalState.BROADCAST}):
            self._take_next_step(processor, withdrawal)

    def _attend_to(self, processor: Processor, attention: Sequence[str]) -> None:
        for words in attention:
            topic, _, rest = words.partition(": ")
            if topic == "conflict":
                self._approve(processor, rest.split()[0])
                if "displaced by nothing" in rest:
                    self._send_deposits_again(rest.split()[0])
            elif topic == "fence" and any(cause in rest for cause in FENCE_AGAIN):
                self._world.losses.recovery_wanted = self._world.losses.fence_wanted = True

    def _send_deposits_again(self, batch_id: str) -> None:
        """A reorg took the coins of a payment whose bytes are kept back: he has what made them sent again."""
        world = self._world
        with world.look() as view:
            batch = view.load_batch(BatchId(batch_id))
        if batch is None or any(a.refusal is None for a in batch.attempts):
            return  # what may be sent is sent with what it descends from
        for txid in sorted({o.txid for p in batch.plans for o in p.prevouts}):
            world.network.send_again(txid)

    def _take_next_step(self, processor: Processor, withdrawal: Withdrawal) -> None:
        """What `why` says of one that is not paid yet."""
        step, name = processor.show(withdrawal.request_id).next_step, withdrawal.request_id
        with suppress(WorldError, TheirError):
            if "approve-reissue" in step:
                self._approve(processor, name)
            elif "answer failed the checks" in step:
                processor.bump(name, reason=WHY, who=WHO)
            elif "--without REQUEST_ID" in step and self._world.is_unrelayable(withdrawal.script):
                processor.bump(name, reason=WHY, without=[name], who=WHO)

    def _approve(self, processor: Processor, name: str) -> None:
        """Say so; where the answer is that coins are missing, they are sent."""
        with suppress(WorldError, TheirError):
            try:
                processor.approve_reissue(name, reason=WHY, who=WHO)
                self.has_approved = True
            except NotAllowed as refused:
                self._world.refill_wanted |= "not_enough" in str(refused)

    def _release(self, processor: Processor, name: str) -> None:
        """Let it go on; where it looks just like what somebody paid by hand, he says first whether it is that."""
        try:
            processor.release(name, reason=WHY, who=WHO)
        except NotAllowed as refused:
            for txid in dict.fromkeys(LOOKS_LIKE.findall(str(refused))):
                self._rule_on(processor, txid)
            processor.release(name, reason=WHY, who=WHO)

    def _rule_on(self, processor: Processor, txid: str) -> None:
        """Every output of a foreign payment: whom it was meant for, or that it pays nobody who waits.

        Where whom it was meant for is paid already, the answer says to call it something else.
        """
        truth, paid = dict(self._world.truth_of(txid)), self._world.holdings.outputs_of(txid)
        for _ in range(len(truth) + 1):
            other = [vout for vout, ours in enumerate(paid) if vout not in truth and not ours]
            try:
                processor.reconcile(txid, pays=truth, other=other, reason=WHY, who=WHO)
            except NotAllowed as refused:
                too_late = {int(vout) for vout in PAID_ALREADY.findall(str(refused))} & truth.keys()
                if not too_late:
                    raise
                truth = {vout: name for vout, name in truth.items() if vout not in too_late}
            else:
                break
        for vout, name in truth.items():
            self._world.oracle.bound(name, txid, vout)
