"""Our processor behind the harness's protocol: its Python API on one side, its workers on the other."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from typing import Final

from regtest.bitcoind import Bitcoind
from regtest.malleate import Prevout
from regtest.ours.lost_queue import LostQueue
from regtest.ours.premises import make_premises
from regtest.ours.workers import InlineWorkers, Workers
from regtest.party import NotOffered
from regtest.process import discard_directory
from regtest.processor import OFFERS, LosesQueue, Signing, SupportAnswer
from regtest.proxy import RpcProxy
from regtest.waiting import wait_for
from withdrawals.bootstrap import Parts
from withdrawals.config import load_config
from withdrawals.core.amounts import format_btc
from withdrawals.core.model import Attempt, Batch, Withdrawal
from withdrawals.core.types import Network, parse_request_id
from withdrawals.errors import BreakerOpen, GateClosed, NotAllowed, UnknownId
from withdrawals.explain import Story
from withdrawals.processor import Processor
from withdrawals.signing.keyfile import load_key_file
from withdrawals.steps.recover import Recovered

FINAL: Final = "final"
_MAKING_A_LEDGER: Final = threading.Lock()
"""Alembic keeps what it is at in its module: two migrations at once, in two threads, read each other's."""
_KEYS_TRIED: Final = 40
_BRANCHES: Final = 2
_BIRTHDAY_BURIED: Final = 20
_LEASE_TIMEOUT_S: Final = 30.0


class PaidByRetry(Exception):
    """`retry` returned instead of raising: our processor has a hole."""


class OurProcessor:
    """One processor with a wallet, a ledger and a journal of its own, on one node.

    `kinds` are the address types that its wallet has keys for, change going to the first. `through` puts a proxy
    between it and the node. Real processes need `redis_url`.
    """

    name = "withdrawals"

    def __init__(
        self,
        node: Bitcoind,
        *,
        kinds: Sequence[str] = ("bech32",),
        workers: Workers | None = None,
        through: RpcProxy | None = None,
        redis_url: str | None = None,
        signing: Signing = Signing.SOUND,
    ) -> None:
        self._workers: Workers = workers or InlineWorkers()
        if self._workers.uses_redis and redis_url is None:
            raise ValueError("worker processes are woken through Redis: give its address")
        self.premises = make_premises(
            node,
            kinds=kinds,
            through=through,
            redis_url=redis_url if self._workers.uses_redis else None,
            signing=signing,
            resend_interval_s=self._workers.resend_interval_s,
        )
        self._queue = LostQueue(redis_url) if redis_url is not None and self._workers.uses_redis else None
        self._birthday: int | None = None
        self._open()

    def _open(self) -> None:
        self.parts = Parts(load_config(self.premises.config))
        self.api = Processor(self.parts)

    def start(self) -> None:
        """Make the ledger, if there is none yet, and start the workers."""
        tip = self.parts.chain.fetch_tip().block.height
        if self._birthday is None:
            # Below every reorg that a story makes: a block that another story's reorg undid would be no beginning.
            self._birthday = max(0, tip - _BIRTHDAY_BURIED)
        with _MAKING_A_LEDGER:
            self.api.init(birthday_height=self._birthday)
        self._workers.start(self.premises)

    def stop(self) -> None:
        """End the workers; ledger, keys and journal stay."""
        self._workers.stop()

    def close(self, *, failed: bool = False) -> None:
        """Stop for good and delete everything, unless it is to be kept."""
        try:
            self.stop()
            self.api.close()
        finally:
            discard_directory(self.premises.directory, failed=failed)

    def deposit_address(self, kind: str) -> str:
        """A new address of its wallet."""
        return self.api.address(wallet=self.premises.kinds.index(kind))

    def enqueue(self, request_id: str, address: str, sats: int) -> None:
        """Accept a withdrawal."""
        self.api.enqueue(request_id, address, sats=sats)

    def tick(self) -> None:
        """Let its workers do what waits."""
        self._workers.round(self.parts)

    def status(self, request_id: str) -> str:
        """The state, in the ledger's word."""
        with self.parts.ledger.read() as view:
            return _known(view.find_request(parse_request_id(request_id)), request_id).state

    def support_retry(self, request_id: str) -> SupportAnswer:
        """Press the button, which never pays, and pass on why not. Raises `PaidByRetry` if it did something else."""
        try:
            self.api.retry(request_id)
        except NotAllowed as refusal:
            return SupportAnswer(paid_again=False, words=f"refused: {str(refusal).removeprefix('retry: ')}")
        raise PaidByRetry(request_id)

    def signed_transactions(self, request_id: str) -> list[bytes]:
        """All that its signer ever returned for the withdrawal, fit to send or not."""
        return [attempt.raw for attempt in self._attempts(request_id)]

    def cancel(self, request_id: str) -> bool:
        """Give it up, where nothing of it can have been signed."""
        try:
            self.api.cancel(request_id, reason="the customer asked for it")
        except (NotAllowed, BreakerOpen):
            return False
        return True

    def is_it_confirmed(self, request_id: str) -> str:
        """What became of its coins, who was paid, and its state."""
        story = self.api.show(request_id)
        if story.payments:
            return _paid(story)
        coins = "; ".join(f"coin {coin.outpoint} is {coin.fate}" for coin in story.coins)
        return f"{story.withdrawal.state}: {coins}" if coins else str(story.withdrawal.state)

    def has_refused(self, request_id: str) -> bool:
        """Whether something was signed and all of it is kept back."""
        refusals = self.refusals(request_id)
        return bool(refusals) and len(refusals) == len(self.signed_transactions(request_id))

    def troubles(self, request_ids: Sequence[str], *, paid: bool) -> list[str]:
        """Paid customers whose withdrawal is not final in its ledger, and what its own audit finds."""
        states = {r: self.status(r) for r in request_ids} if paid else {}
        wrong = [f"{r} is paid and buried, and the ledger says {s}" for r, s in states.items() if s != FINAL]
        return wrong + self.complaints()

    # ------------------------------------------------------------------------------------------ what it offers beyond

    def bump(self, request_id: str) -> bool:
        """Raise the fee, and let the workers sign and send the replacement."""
        return self._replace(request_id)

    def leave_out(self, request_id: str) -> bool:
        """Replace the payment that he is in by one to everybody else in it; he is paid apart, once that is mined."""
        return self._replace(request_id, request_id)

    def _replace(self, name: str, *without: str) -> bool:
        try:
            self.api.bump(name, reason="as the story has it", without=without)
        except (NotAllowed, BreakerOpen, GateClosed):
            return False
        self.tick()
        return True

    def delay_signer(self) -> None:
        """From now on the signer journals and signs, and its answers get lost."""
        self._workers.use_late_signer()
        self.premises.late_signer.touch()

    def release_signer(self) -> None:
        """It is heard again. Asked once more for what it signed meanwhile, it says the same."""
        self.premises.late_signer.unlink()

    def kill(self) -> None:
        """SIGKILL to every worker process. Workers in this process lose the ports through which they act instead."""
        self._workers.kill()

    def tick_twice(self) -> None:
        """A round with two of every worker."""
        self._workers.round_twice(self.parts)

    def roll_back_queue(self) -> None:
        """Remember what rings in Redis, or put that back. Raises `NotOffered` where nobody rings."""
        self._lost_queue().roll_back()

    def flush_queue(self) -> None:
        """Forget every ring. Raises `NotOffered` where nobody rings."""
        self._lost_queue().flush()

    def _lost_queue(self) -> LostQueue:
        if self._queue is None:
            raise NotOffered(OFFERS[LosesQueue])
        # A worker whose job vanishes from under it may end; whoever looks after it starts another.
        self._workers.supervise()
        return self._queue

    # ------------------------------------------------------------------------------------- what only the harness asks

    def refusals(self, request_id: str) -> list[str]:
        """Why what the signer returned was never sent, for each transaction that was not."""
        return [attempt.refusal for attempt in self._attempts(request_id) if attempt.refusal]

    def complaints(self) -> list[str]:
        """Everything that its own audit finds wrong with its books, as sentences.

        Where the harness has taken the lint away, the audit must find what the lint would have kept back.
        """
        findings = self.api.audit().findings
        if self.premises.signing is not Signing.PADDED_UNCHECKED:
            return [str(finding) for finding in findings]
        padded = [f for f in findings if f.code == "attempt" and "der_not_strict" in f.message]
        return [str(f) for f in findings if f not in padded] + ([] if padded else ["the audit misses the padding"])

    def explain(self, txid: str) -> str:
        """What an operator does when something foreign spent our coins: he looks, says what it was, and resumes."""
        causes = sorted({cause.cause for cause in self.api.status().breaker})
        self.api.reconcile(txid, reason="moved by hand, as the story has it")
        self.api.resume(reason="explained")
        return f"it had stopped ({', '.join(causes)}); explained, resumed"

    def back_up(self) -> None:
        """Copy the ledger. The keys' journal is not in it."""
        self.api.backup(self.premises.backup)

    def restore(self) -> None:
        """Put the copy in the ledger's place, as after a disk died; keys and journal were elsewhere."""
        self.stop()
        self.api.close()
        for file in self.premises.directory.glob(f"{self.premises.ledger.name}*"):
            file.unlink()
        shutil.copy(self.premises.backup, self.premises.ledger)
        self._open()
        self._workers.start(self.premises)

    def recover(self) -> str:
        """What an operator does then: stop, recover, start, resume; in words."""
        causes = ", ".join(sorted({cause.cause for cause in self.api.status().breaker}))
        self.stop()
        recovered: list[Recovered] = []
        wait_for(lambda: self._has_recovered(recovered), "the follower's lease to end", _LEASE_TIMEOUT_S)
        self._workers.start(self.premises)
        self._workers.round(self.parts)
        self.api.resume(reason="recovered from the keys' journal")
        return (
            f"it had stopped ({causes}); recover replays {len(recovered[0].lines)} lines of the keys' journal; resumed"
        )

    def _has_recovered(self, recovered: list[Recovered]) -> bool:
        try:
            recovered.append(self.api.recover(reason="yesterday's backup was restored").recovered)
        except NotAllowed:
            return False  # the follower that was stopped holds its lease for some seconds more
        return True

    def owner_keys(self, prevouts: Sequence[Prevout]) -> list[bytes]:
        """The secrets that sign for these outputs: a careless owner's second signer has them too."""
        keys = load_key_file(self.premises.keys, Network.REGTEST)
        wanted = {prevout.script for prevout in prevouts}
        return [
            keys.secret_of(own)
            for wallet in range(len(self.premises.kinds))
            for branch in range(_BRANCHES)
            for own in keys.wallet.own_scripts(wallet, branch, 0, _KEYS_TRIED)
            if own.script in wanted
        ]

    def _attempts(self, request_id: str) -> tuple[Attempt, ...]:
        """Every attempt to pay it, from the ledger: a whole story takes longer to tell."""
        with self.parts.ledger.read() as view:
            withdrawal = _known(view.find_request(parse_request_id(request_id)), request_id)
            last = view.load_batch(withdrawal.batch_id) if withdrawal.batch_id is not None else None
            lineage = () if last is None else view.list_lineage(last.lineage)
            batches = [batch for batch in map(view.load_batch, lineage) if batch is not None]
        return tuple(a for batch in batches for a in batch.attempts if _pays(batch, a, withdrawal))


def _pays(batch: Batch, attempt: Attempt, withdrawal: Withdrawal) -> bool:
    return any(plan.number == attempt.plan_number and withdrawal.id in plan.withdrawal_ids for plan in batch.plans)


def _known(withdrawal: Withdrawal | None, request_id: str) -> Withdrawal:
    if withdrawal is None:
        raise UnknownId(f"request_id: no withdrawal {request_id!r}")
    return withdrawal


def _paid(story: Story) -> str:
    spends = [f"coin {coin.outpoint} {coin.fate}" for coin in story.coins]
    verdicts = [verdict.rpartition(": ")[2] for verdict in story.verdicts]
    sats = sum(payment.sats for payment in story.payments)
    what = f"{'; '.join(spends)}: {' and '.join(verdicts)}"
    return f"{what}, pays {format_btc(sats)}"
