"""The Python API, for an exchange's backend and for operators. The command line prints what these methods return.

    import withdrawals
    processor = withdrawals.open("withdrawals.toml")
    processor.enqueue("payout-2026-0001", "bcrt1q…", sats=150_000)

Amounts are integer satoshis. Every error is a WithdrawalsError with a stable `.code`; after one, nothing was changed.
Nothing here needs the keys: plans are made and signed by worker processes, which `enqueue` only wakes.
"""

from __future__ import annotations

import getpass
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from withdrawals.bootstrap import Parts, create_schema, refuse_optimised_python
from withdrawals.bulk import read_bulk
from withdrawals.config import Config, load_config
from withdrawals.core.addresses import address_of
from withdrawals.core.amounts import parse_btc, parse_sats
from withdrawals.core.model import BreakerCause, Coin, Event, Identity, Withdrawal, WithdrawalState
from withdrawals.core.types import BatchId, Feerate, OutPoint, RequestId, Sats, parse_request_id
from withdrawals.errors import ConfigError, InvalidAmount, NotAllowed, UnknownId
from withdrawals.explain import Story, why
from withdrawals.status import Status, load_status
from withdrawals.steps import audit as audit_step
from withdrawals.steps import bump as bump_step
from withdrawals.steps import init as init_step
from withdrawals.steps import operate, request
from withdrawals.steps.audit import AuditReport
from withdrawals.steps.bump import Bumped

RECEIVE: Final = 0
EVENTS_MAX: Final = 10_000


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
        parsed = request.parse_request(request_id, address, _amount(sats, btc), self._network)
        return self._enqueue([parsed])[0]

    def enqueue_file(self, path: Path | str) -> tuple[Withdrawal, ...]:
        """Accept every request of a CSV or JSONL file, or none: MalformedFile carries every bad line."""
        parsed = read_bulk(Path(path), self._network)
        request.check_bulk(parsed, self._parts.ledger, str(path))
        return self._enqueue([r for _, r in parsed])

    def _enqueue(self, requests: list[request.Request]) -> tuple[Withdrawal, ...]:
        parts = self._parts
        self._require_identity()
        stored = request.enqueue(requests, parts.ledger, parts.config.policy, parts.clock, parts.dice)
        parts.bell.ring("plan")
        return stored

    def cancel(self, request_id: str, *, reason: str, who: str | None = None) -> Withdrawal:
        """Take a request back. Raises NotAllowed once a signer was asked: that signature stays valid for ever."""
        rid = parse_request_id(request_id)
        return request.cancel(rid, self._parts.ledger, self._parts.clock, who=who or _login(), why=reason)

    def show(self, request_id: str) -> Story:
        """Where one withdrawal stands. Raises UnknownId."""
        withdrawal = self._find(request_id)
        return self.why(withdrawal.id)[0]

    def events(self, after: int = 0, *, limit: int = 1_000) -> tuple[Event, ...]:
        """The events after number `after`, oldest first, without gaps: poll with the last `seq` that you stored."""
        if after < 0 or not 1 <= limit <= EVENTS_MAX:
            raise InvalidAmount("after, limit", (after, limit), f"after from 0 up, limit from 1 to {EVENTS_MAX}")
        with self._parts.ledger.read() as view:
            return view.load_events(after, limit=limit)

    # ------------------------------------------------------------------------------------------------------- support

    def why(self, name: str) -> tuple[Story, ...]:
        """The story of everything that goes by this name (see `explain.why`). Raises UnknownId."""
        with self._parts.ledger.read() as view:
            return why(view, name, self._network, self._parts.config.policy)

    def retry(self, request_id: str) -> Story:
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
        create_schema(parts.config)
        return init_step.init(
            parts.ledger,
            parts.chain,
            parts.clock,
            parts.watched_wallet,
            network=self._network,
            birthday_height=birthday_height,
            who=who or _login(),
        )

    def status(self) -> Status:
        """Queue, coins, tip, breaker, workers: what ops look at first. `attention` is empty when all is well."""
        parts = self._parts
        self._require_identity()
        return load_status(parts.ledger, parts.chain, parts.config.policy, parts.clock)

    def list_withdrawals(
        self, states: Collection[WithdrawalState | str] | None = None, *, after_seq: int = 0, limit: int = 1_000
    ) -> tuple[Withdrawal, ...]:
        """Withdrawals in request order, of these states or of all."""
        wanted = None if states is None else {_state(s) for s in states}
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
        if not 0 <= wallet < len(parts.wallet.descriptors):
            raise ConfigError(f"wallet: {wallet} is not acceptable; accepted: 0 to {len(parts.wallet.descriptors) - 1}")
        with parts.ledger.begin() as tx:
            init_step.top_up_scripts(tx, parts.watched_wallet)
            own = tx.allocate_script(wallet, RECEIVE)
        return address_of(own.script, self._network)

    def pause(self, *, reason: str, who: str | None = None) -> None:
        """Stop planning and signing; watching and re-sending go on."""
        operate.pause(self._parts.ledger, self._parts.world, who=who or _login(), why=reason)

    def resume(self, *, reason: str, who: str | None = None) -> tuple[BreakerCause, ...]:
        """End a pause and close the breaker; refuses while a spend is unexplained or a batch conflicted."""
        return operate.resume(self._parts.ledger, self._parts.world, who=who or _login(), why=reason)

    def hold(self, request_id: str, *, reason: str, who: str | None = None) -> Withdrawal:
        """Keep a queued request back."""
        rid = parse_request_id(request_id)
        return request.hold(rid, self._parts.ledger, self._parts.clock, who=who or _login(), why=reason)

    def release(self, request_id: str, *, reason: str, who: str | None = None) -> Withdrawal:
        """Let a held request go on, past the limits on one withdrawal and on the day."""
        rid = parse_request_id(request_id)
        return request.release(rid, self._parts.ledger, self._parts.clock, who=who or _login(), why=reason)

    def reject(self, request_id: str, *, reason: str, who: str | None = None) -> Withdrawal:
        """Refuse a request that no signer was asked for."""
        rid = parse_request_id(request_id)
        return request.reject(rid, self._parts.ledger, self._parts.clock, who=who or _login(), why=reason)

    def bump(self, name: str, *, reason: str, feerate: int | None = None, who: str | None = None) -> Bumped:
        """Plan a replacement with a higher fee for a batch, named by its id or a request id. `feerate` in sat/kvB."""
        parts = self._parts
        batch_id = self._batch_of(name)
        rate = None if feerate is None else Feerate(feerate)
        done = bump_step.bump(
            batch_id, parts.ledger, parts.fees, parts.world, who=who or _login(), why=reason, feerate=rate
        )
        parts.bell.ring("sign", done.batch_id)
        return done

    def audit(self) -> AuditReport:
        """Prove everything again from what is stored; changes nothing."""
        return audit_step.audit(self._parts.ledger, self._parts.config.policy)

    def backup(self, path: Path | str) -> Path:
        """A consistent copy of the ledger while others write. The keys' journal is not in it, on purpose."""
        target = Path(path).absolute()
        self._parts.ledger.backup(target)
        return target

    # ------------------------------------------------------------------------------------------------------- private

    def _require_identity(self) -> None:
        with self._parts.ledger.read() as view:
            if view.load_identity() is None:
                raise ConfigError("ledger: was never initialised; run `withdrawals init` first")

    def _find(self, request_id: str) -> Withdrawal:
        rid: RequestId = parse_request_id(request_id)
        with self._parts.ledger.read() as view:
            found = view.find_request(rid)
        if found is None:
            raise UnknownId(f"request_id: no withdrawal {request_id!r}; accepted: an id that was enqueued")
        return found

    def _batch_of(self, name: str) -> BatchId:
        with self._parts.ledger.read() as view:
            if view.load_batch(BatchId(name)) is not None:
                return BatchId(name)
        found = self._find(name).batch_id
        if found is None:
            raise NotAllowed(f"{name} is in no batch yet: there is nothing to bump")
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


def _amount(sats: int | None, btc: str | None) -> Sats:
    if (sats is None) == (btc is None):
        raise InvalidAmount("amount", (sats, btc), "exactly one of sats (an int) and btc (a decimal string)")
    return parse_sats(sats, "sats") if sats is not None else parse_btc(btc, "btc")


def _state(text: WithdrawalState | str) -> WithdrawalState:
    try:
        return WithdrawalState(text)
    except ValueError:
        raise UnknownId(f"state: {text!r} is not acceptable; accepted: {', '.join(WithdrawalState)}") from None


def _login() -> str:
    """The login name of whoever runs this, for the story."""
    return getpass.getuser()
