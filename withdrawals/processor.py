"""The Python API, for an exchange's backend and for operators. The command line prints what these methods return.

    import withdrawals
    processor = withdrawals.open("withdrawals.toml")
    processor.enqueue("payout-2026-0001", "bcrt1q…", sats=150_000)

Amounts are integer satoshis. Every error is a WithdrawalsError with a stable `.code`; after one, nothing was changed.
Nothing here needs the keys: plans are made and signed by worker processes, which `enqueue` only wakes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self

from withdrawals.bootstrap import Parts, create_schema, refuse_optimised_python
from withdrawals.bulk import read_bulk
from withdrawals.config import Config, load_config
from withdrawals.core.addresses import address_of
from withdrawals.core.chain import Reorged
from withdrawals.core.model import BreakerCause, Coin, Event, Identity, Withdrawal, WithdrawalState
from withdrawals.core.types import BatchId, Feerate, OutPoint, parse_hash, parse_request_id
from withdrawals.errors import ConfigError, MalformedFile, NotAllowed, UnknownId
from withdrawals.explain import Story, tell, why
from withdrawals.inputs import parse_amount, parse_path, parse_states, parse_vout, parse_who, parse_whole
from withdrawals.ports import LedgerView, Progress, unseen
from withdrawals.restoring import RecoveryReport, recover_from_journal, recover_with_fence
from withdrawals.status import Status, load_status
from withdrawals.steps import audit as audit_step
from withdrawals.steps import bump as bump_step
from withdrawals.steps import init as init_step
from withdrawals.steps import operate, request
from withdrawals.steps.audit import AuditReport
from withdrawals.steps.bump import Bumped, Without
from withdrawals.steps.reconcile import Reconciled, Words, reconcile
from withdrawals.steps.reissue import Reissued, approve_reissue
from withdrawals.steps.settle import settle_with
from withdrawals.survey import Survey, survey

RECEIVE: Final = 0
ROWS_MAX: Final = 10_000
"""The most that one call lists; page on from the last `seq`."""
HEIGHT_MAX: Final = 2**31 - 1
"""Core stores heights as signed 32-bit numbers."""
SEQ_MAX: Final = 2**63 - 1
"""The largest number that a ledger can count to."""


def open_processor(config: Config | str | Path | None = None) -> Processor:
    """From a configuration, a path to one, or the file that $WITHDRAWALS_CONFIG names. Raises ConfigError."""
    refuse_optimised_python()
    return Processor(Parts(config if isinstance(config, Config) else load_config(config)))


class Processor:
    """One processor's ledger and node, seen from outside. Many processes may use it at once; close it after use."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._network = parts.config.network

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the ledger, the node and Redis."""
        self._parts.close()

    # ------------------------------------------------------------------------------------------------------ exchange

    def enqueue(self, request_id: str, address: str, *, sats: int | None = None, btc: str | None = None) -> Withdrawal:
        """Accept an obligation to pay, once. It has succeeded when this returns: the ledger has committed.

        The same id with the same scriptPubKey and satoshis returns the first answer for ever; with another body it
        raises DuplicateRequest. Exactly one of `sats` (an int) and `btc` (a decimal string) names the amount.
        """
        parsed = request.parse_request(request_id, address, parse_amount(sats, btc), self._network)
        self._require_identity()
        return self._enqueue([parsed])[0]

    def enqueue_file(self, path: Path | str, *, progress: Progress = unseen) -> tuple[Withdrawal, ...]:
        """Accept every request of a CSV or JSONL file, or none: MalformedFile carries every bad line."""
        self._require_identity()
        bulk = read_bulk(parse_path(path), self._network)
        known_wrong = request.find_bulk_problems(progress("checking", bulk.parsed), self._parts.ledger)
        if problems := sorted([*bulk.problems, *known_wrong]):
            raise MalformedFile(bulk.path, tuple(problems))
        return self._enqueue(progress("storing", [r for _, r in bulk.parsed]))

    def _enqueue(self, requests: Iterable[request.Request]) -> tuple[Withdrawal, ...]:
        parts = self._parts
        stored = request.enqueue(requests, parts.ledger, parts.config.policy, parts.clock, parts.dice)
        parts.bell.ring("plan")
        return stored

    def cancel(self, request_id: str, *, reason: str, who: str | None = None) -> Withdrawal:
        """Take a request back. Raises NotAllowed once a signer was asked: that signature stays valid for ever."""
        rid = parse_request_id(request_id)
        return request.cancel(rid, self._parts.ledger, self._parts.clock, who=parse_who(who), why=reason)

    def show(self, request_id: str) -> Story:
        """Where one withdrawal stands. Raises UnknownId."""
        with self._parts.ledger.read() as view:
            return tell(view, _find(view, request_id), self._parts.config.policy)

    def events(self, after: int = 0, *, limit: int = 1_000) -> tuple[Event, ...]:
        """The events after number `after`, oldest first, without gaps: poll with the last `seq` that you stored."""
        after = parse_whole(after, "after", low=0, high=SEQ_MAX)
        limit = parse_whole(limit, "limit", low=1, high=ROWS_MAX)
        with self._parts.ledger.read() as view:
            return view.load_events(after, limit=limit)

    # ------------------------------------------------------------------------------------------------------- support

    def why(self, name: str) -> tuple[Story, ...]:
        """The story of everything that goes by this name (see `explain.why`). Raises UnknownId."""
        with self._parts.ledger.read() as view:
            return why(view, name, self._network, self._parts.config.policy)

    def retry(self, request_id: str) -> NoReturn:
        """Never pays: raises NotAllowed with the evidence, whatever the state.

        "It never arrived" is a question for `why`, and a payment that is not in a block is sent again, the same bytes,
        by itself.
        """
        story = self.show(request_id)
        raise NotAllowed(f"retry: {retry_answer(story)}")

    # ----------------------------------------------------------------------------------------------------------- ops

    def init(self, *, birthday_height: int | None = None, who: str | None = None) -> Identity:
        """Create the ledger's schema and pin its chain and wallet for ever; again with the same changes nothing."""
        parts = self._parts
        if birthday_height is not None:
            birthday_height = parse_whole(birthday_height, "birthday_height", low=0, high=HEIGHT_MAX)
        who = parse_who(who)
        # The node is asked before anything is created: init on the wrong node leaves nothing behind.
        parts.require_supported_node()
        init_step.fetch_chain(parts.chain, self._network)
        create_schema(parts.config)
        return init_step.init(
            parts.ledger,
            parts.chain,
            parts.clock,
            parts.watched_wallet,
            network=self._network,
            birthday_height=birthday_height,
            who=who,
        )

    def status(self) -> Status:
        """Queue, coins, tip, breaker, workers: what ops look at first. `attention` is empty when all is well."""
        parts = self._parts
        self._require_identity()
        node_url = parts.config.node.url
        return load_status(parts.ledger, parts.chain, parts.config.policy, parts.clock, node_url=node_url)

    def list_withdrawals(
        self, states: Collection[WithdrawalState | str] | None = None, *, after_seq: int = 0, limit: int = 1_000
    ) -> tuple[Withdrawal, ...]:
        """Withdrawals in request order, of these states or of all."""
        wanted = parse_states(states)
        after_seq = parse_whole(after_seq, "after_seq", low=0, high=SEQ_MAX)
        limit = parse_whole(limit, "limit", low=1, high=ROWS_MAX)
        with self._parts.ledger.read() as view:
            return view.list_withdrawals(wanted, after_seq=after_seq, limit=limit)

    def coins(self) -> tuple[tuple[Coin, BatchId | None], ...]:
        """Our unspent coins on the followed chain, each with the batch it is reserved for."""
        with self._parts.ledger.read() as view:
            reserved: dict[OutPoint, BatchId] = dict(view.load_reservations())
            return tuple((c, reserved.get(c.outpoint)) for c in view.load_unspent_coins())

    def address(self, *, wallet: int = 0) -> str:
        """A fresh address of the hot wallet, to send a refill to. `wallet`: which descriptor, 0 the first."""
        parts = self._parts
        self._require_identity()
        wallet = parse_whole(wallet, "wallet", low=0, high=len(parts.wallet.descriptors) - 1)
        with parts.ledger.begin() as tx:
            init_step.top_up_scripts(tx, parts.watched_wallet)
            own = tx.allocate_script(wallet, RECEIVE)
        return address_of(own.script, self._network)

    def pause(self, *, reason: str, who: str | None = None) -> None:
        """Stop planning and signing; watching and re-sending go on."""
        operate.pause(self._parts.ledger, self._parts.world, who=parse_who(who), why=reason)

    def resume(self, *, reason: str, who: str | None = None) -> tuple[BreakerCause, ...]:
        """End a pause and close the breaker; refuses while a spend is unexplained or a fence unfinished."""
        return operate.resume(self._parts.ledger, self._parts.world, who=parse_who(who), why=reason)

    def accept_reorg(self, *, reason: str, who: str | None = None) -> Reorged:
        """Let the follower follow the node onto a branch that parts from ours deeper than it ever does by itself."""
        return operate.accept_reorg(self._parts.ledger, self._parts.world, who=parse_who(who), why=reason)

    def hold(self, request_id: str, *, reason: str, who: str | None = None) -> Withdrawal:
        """Keep a queued request back."""
        rid = parse_request_id(request_id)
        return request.hold(rid, self._parts.ledger, self._parts.clock, who=parse_who(who), why=reason)

    def release(self, request_id: str, *, reason: str, who: str | None = None) -> Withdrawal:
        """Let a held request go on, past the limits on one withdrawal and on the day."""
        rid = parse_request_id(request_id)
        return request.release(rid, self._parts.ledger, self._parts.clock, who=parse_who(who), why=reason)

    def reject(self, request_id: str, *, reason: str, who: str | None = None) -> Withdrawal:
        """Refuse a request that no signer was asked for."""
        rid = parse_request_id(request_id)
        return request.reject(rid, self._parts.ledger, self._parts.clock, who=parse_who(who), why=reason)

    def bump(
        self,
        name: str,
        *,
        reason: str,
        feerate: int | None = None,
        without: Collection[str] = (),
        hold: bool = False,
        who: str | None = None,
    ) -> Bumped:
        """Plan a replacement with a higher fee for a batch, named by its id or a request id. `feerate` in sat/kvB.

        It pays the same withdrawals but for the request ids in `without` (an output that no node relays), who are
        planned again by themselves once the replacement is in a block; with `hold`, once `approve_reissue` says so.
        """
        parts = self._parts
        highest = parts.config.policy.limits.feerate_max
        rate = None if feerate is None else Feerate(parse_whole(feerate, "feerate", low=1, high=highest))
        batch_id = self._batch_of(name)
        with parts.ledger.read() as view:
            left_out = Without({_find(view, request_id).id for request_id in without}, hold=hold)
        who = parse_who(who)
        done = bump_step.bump(
            batch_id, parts.ledger, parts.fees, parts.world, who=who, why=reason, feerate=rate, without=left_out
        )
        parts.bell.ring("sign", done.batch_id)
        return done

    def approve_reissue(self, name: str, *, reason: str, who: str | None = None) -> Reissued:
        """Answer for a re-issue that nothing proves exclusive, of the batch of this id or request id.

        Raises NotAllowed, naming what is missing: every earlier attempt that the new plan does not exclude must be
        displaced `reorg_safety_depth` deep. It is also the word that lets back in whoever was left out and kept back:
        this request, or all of a batch.
        """
        parts = self._parts
        batch_id = self._batch_of(name)
        with parts.ledger.read() as view:
            one = view.find_request(parse_request_id(name))
        done = approve_reissue(
            batch_id,
            parts.ledger,
            parts.fees,
            parts.world,
            parts.dice,
            who=parse_who(who),
            why=reason,
            only=() if one is None else {one.id},
        )
        if done.batch_id is not None:
            parts.bell.ring("sign", done.batch_id)
        return done

    def survey(self) -> Survey:
        """What this ledger cannot account for, against chain, mempool and journal, each with the command that helps."""
        parts = self._parts
        self._require_identity()
        in_mempool = parts.world.meet_mempool()
        with parts.ledger.read() as view:
            return survey(view, in_mempool, parts.read_journal(), self._network, parts.config.policy)

    def reconcile(
        self,
        txid: str,
        *,
        reason: str,
        pays: Mapping[int, str] | None = None,
        other: Collection[int] = (),
        who: str | None = None,
    ) -> Reconciled:
        """Say what a foreign spend of our coins was, output by output; `pays` maps an output's index to a request id.

        Raises NotAllowed while an output looks like a withdrawal that waits and nobody says whether it is its payment.
        """
        parts = self._parts
        words = Words(
            pays={parse_vout(vout): parse_request_id(name) for vout, name in (pays or {}).items()},
            other=frozenset(parse_vout(vout) for vout in other),
            who=parse_who(who),
            why=reason,
        )
        settle = settle_with(parts.config.policy, parts.clock)
        return reconcile(parse_hash(txid), words, parts.ledger, settle, parts.config.policy, parts.clock, parts.dice)

    def recover(self, *, reason: str, fence: bool = False, who: str | None = None) -> RecoveryReport:
        """Teach a restored ledger, from the keys' journal, what it promised; on the signing host, processes stopped.

        Every unpaid request is held until the exchange repeats its id. Again changes nothing. Raises StaleLedger where
        the journal cannot tell, NotAllowed while a process is alive or where a line cannot be replayed. `fence`: the
        journal itself is lost or was restored: every coin is spent, and all that follows descends from that.
        """
        self._require_identity()
        do = recover_with_fence if fence else recover_from_journal
        return do(self._parts, who=parse_who(who), why=reason)

    def audit(self, *, offline: bool = False, progress: Progress = unseen) -> AuditReport:
        """Prove everything again from what is stored; changes nothing.

        Our coins are compared with the node's UTXO set (minutes on mainnet) unless `offline`, our plans with the keys'
        journal where this host has it. What could not be compared is said in the report, and is no finding.
        """
        parts = self._parts
        chain = None if offline else parts.chain
        return audit_step.audit(
            parts.ledger,
            parts.config.policy,
            progress,
            chain=chain,
            descriptors=parts.wallet.descriptors,
            derive=parts.wallet.own_scripts,
            read_journal=parts.read_journal,
        )

    def backup(self, path: Path | str) -> Path:
        """A consistent copy of the ledger while others write. The keys' journal is not in it, on purpose."""
        target = parse_path(path).absolute()
        self._parts.ledger.backup(target)
        return target

    # ------------------------------------------------------------------------------------------------------- private

    def _require_identity(self) -> None:
        with self._parts.ledger.read() as view:
            if view.load_identity() is None:
                raise ConfigError("ledger: was never initialised; run `withdrawals init` first")

    def _batch_of(self, name: str) -> BatchId:
        """The batch of this id, or of this request."""
        rid = parse_request_id(name)
        with self._parts.ledger.read() as view:
            if view.load_batch(BatchId(rid)) is not None:
                return BatchId(rid)
            found = _find(view, rid).batch_id
        if found is None:
            raise NotAllowed(f"{name} is in no batch yet: there is nothing to replace or to approve")
        return found


def _find(view: LedgerView, request_id: object) -> Withdrawal:
    found = view.find_request(parse_request_id(request_id))
    if found is None:
        raise UnknownId(f"request_id: no withdrawal {request_id!r}; accepted: an id that was enqueued")
    return found


def retry_answer(story: Story) -> str:
    """What support tells a customer who says that nothing arrived: evidence, never a new payment."""
    withdrawal = story.withdrawal
    if story.payments:
        payment = story.payments[0]
        return (
            f"already paid: output {payment.txid}:{payment.vout} pays {payment.sats} sats to {withdrawal.address}, "
            f"depth {story.depth}. Nothing is sent again."
        )
    return f"{withdrawal.request_id} is {withdrawal.state} and cannot be paid by a retry. {story.next_step}"
