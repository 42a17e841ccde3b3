"""request: an obligation comes in, once. Also what may still be done to it by hand before a signer was asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from withdrawals.core.addresses import check_not_dust, parse_address
from withdrawals.core.amounts import parse_sats
from withdrawals.core.foreign import LOOK_ALIKE
from withdrawals.core.lifecycle import check_cancel, check_hold, check_reject, check_release
from withdrawals.core.limits import hold_reason_for
from withdrawals.core.model import BatchState, Withdrawal, WithdrawalState
from withdrawals.core.policy import Policy
from withdrawals.core.recovery import held_besides, is_recovery_hold, reason_before
from withdrawals.core.types import Network, RequestId, Sats, ScriptPubKey, WithdrawalId, parse_request_id
from withdrawals.errors import AddressIsOurs, BreakerOpen, DuplicateRequest, NotAllowed, TheirError, UnknownId
from withdrawals.facts import find_plan_of
from withdrawals.fences import RECOVERED, load_last_fence
from withdrawals.moves import check_reason, give_up_unasked_plan, move_by_hand
from withdrawals.ports import Clock, Dice, Ledger, LedgerTx, LedgerView

MEMORY_DOUBTS: Final = frozenset(
    {"stale_ledger", "stale_start", "journal_damaged", "unexplained_spend", "unexplained_mempool_spend"}
)
"""Breaker causes that say that this ledger may be older than what was done from it.

A spend that nothing explains is one: a restored ledger sees the payments that it has forgotten as exactly that.
"""
JOURNAL_DOUBTS: Final = frozenset({"stale_ledger", "journal_damaged"})
"""Those of them that only the signer can lift, by signing: an operator's word is not enough to refund on."""


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed request: valid in itself, not yet compared with the ledger."""

    request_id: RequestId
    address: str
    script: ScriptPubKey
    sats: Sats


def parse_request(request_id: str, address: str, sats: int, network: Network) -> Request:
    """The exchange's words as a Request. Raises a TheirError that names the field; touches nothing."""
    script = parse_address(address, network)
    amount = parse_sats(sats)
    check_not_dust(amount, script)
    return Request(parse_request_id(request_id), address, script, amount)


def enqueue(
    requests: Iterable[Request], ledger: Ledger, policy: Policy, clock: Clock, dice: Dice
) -> tuple[Withdrawal, ...]:
    """Store the requests, all or none, and return each one's withdrawal: the first answer for a repeated id (I5)."""
    with ledger.begin() as tx:
        return tuple(_enqueue_one(tx, r, policy, clock.now(), dice) for r in requests)


def _enqueue_one(tx: LedgerTx, request: Request, policy: Policy, now: int, dice: Dice) -> Withdrawal:
    earlier = _find_earlier(tx, request)
    if earlier is not None:
        return _release_recovered(tx, earlier, request, now)
    reasons = (_look_alike(tx, request), hold_reason_for(request.sats, policy, released=False))
    reason = "; ".join(r for r in reasons if r) or None
    withdrawal = tx.insert_withdrawal(
        Withdrawal(
            id=WithdrawalId(f"w-{dice.hex(24)}"),
            seq=0,
            request_id=request.request_id,
            address=request.address,
            script=request.script,
            sats=request.sats,
            state=WithdrawalState.HELD if reason else WithdrawalState.QUEUED,
            batch_id=None,
            hold_reason=reason,
            asked=False,
            released=False,
            created_at=now,
        )
    )
    data: dict[str, object] = {"address": request.address, "sats": request.sats}
    kind = f"withdrawal.{withdrawal.state}"
    tx.append_event(kind, at=now, who="exchange", why=reason or "", withdrawal_id=withdrawal.id, data=data)
    return withdrawal


def _release_recovered(tx: LedgerTx, earlier: Withdrawal, request: Request, now: int) -> Withdrawal:
    """The first answer again. Where a recovery held it, this repeat is what it waited for: the exchange still owes it.

    A hold that was there before comes back, and so does one for looking like a payment that nobody has ruled on.
    """
    if earlier.state is not WithdrawalState.HELD or not is_recovery_hold(earlier.hold_reason):
        return earlier
    reason = reason_before(earlier.hold_reason or "") or _look_alike(tx, request)
    state = WithdrawalState.HELD if reason else check_release(earlier)
    tx.set_withdrawal(earlier.id, state=state, hold_reason=reason)
    why = reason or "the exchange repeated it after a recovery"
    tx.append_event(f"withdrawal.{state}", at=now, who="exchange", why=why, withdrawal_id=earlier.id)
    return tx.find_withdrawal(earlier.id) or earlier


def _look_alike(view: LedgerView, request: Request | Withdrawal) -> str | None:
    """Why a new request is held that looks just like an output of an explained transaction nobody has ruled on (CE5).

    A restored ledger, or one that lost its journal, may have forgotten that this very id was paid by it.
    """
    alike = [o for o in view.find_open_outputs([request.script]) if o.sats == request.sats]
    found = [(view.find_transaction(o.ntxid)[0], o.vout) for o in alike]
    places = ", ".join(f"{tx.txid}:{vout}" for tx, vout in found if find_plan_of(view, tx) is None)
    if not places:
        return None
    return (
        f"{LOOK_ALIKE}: {places} pays just this, and nobody has said whom: `withdrawals reconcile TXID --pays "
        f"VOUT={request.request_id}` if it is this payment, else `--other VOUT`, then release"
    )


def _find_earlier(view: LedgerView, request: Request) -> Withdrawal | None:
    """The withdrawal that this id already names; None: it is new. Raises DuplicateRequest, AddressIsOurs."""
    earlier = view.find_request(request.request_id)
    if earlier is not None and (earlier.script, earlier.sats) != (request.script, request.sats):
        raise DuplicateRequest(
            f"request_id: {request.request_id!r} was used for {earlier.sats} sats to {earlier.address}; "
            f"accepted: the same scriptPubKey and amount, or another id"
        )
    if earlier is None and view.find_own_script(request.script) is not None:
        raise AddressIsOurs("address", request.address, "an address that is not the hot wallet's own")
    return earlier


def find_bulk_problems(parsed: Iterable[tuple[int, Request]], ledger: Ledger) -> tuple[tuple[int, str, str], ...]:
    """(line, code, message) of everything in a bulk file that only the ledger, or another line, shows to be wrong."""
    problems: list[tuple[int, str, str]] = []
    first_lines: dict[RequestId, tuple[int, Request]] = {}
    with ledger.read() as view:
        for line, request in parsed:
            try:
                earlier = _find_earlier(view, request)
            except TheirError as error:
                problems.append((line, error.code, str(error)))
                continue
            first, same_id = first_lines.setdefault(request.request_id, (line, request))
            if earlier is None and (same_id.script, same_id.sats) != (request.script, request.sats):
                words = f"request_id: {request.request_id!r} has another body in line {first}"
                problems.append((line, DuplicateRequest.code, words))
    return tuple(problems)


def _load(tx: LedgerView, request_id: RequestId) -> Withdrawal:
    found = tx.find_request(request_id)
    if found is None:
        raise UnknownId(f"request_id: no withdrawal {request_id!r}; accepted: an id that was enqueued")
    return found


def cancel(request_id: RequestId, ledger: Ledger, clock: Clock, *, who: str, why: str) -> Withdrawal:
    """The exchange takes a request back, while no signer was ever asked for it (I5). Raises NotAllowed otherwise."""
    return _by_hand(request_id, ledger, clock, WithdrawalState.CANCELLED, who=who, why=why)


def reject(request_id: RequestId, ledger: Ledger, clock: Clock, *, who: str, why: str) -> Withdrawal:
    """An operator refuses a request, while no signer was ever asked for it."""
    return _by_hand(request_id, ledger, clock, WithdrawalState.REJECTED, who=who, why=why)


def hold(request_id: RequestId, ledger: Ledger, clock: Clock, *, who: str, why: str) -> Withdrawal:
    """An operator keeps a request back that is queued, or held for a reason that somebody else's word would end."""
    return _by_hand(request_id, ledger, clock, WithdrawalState.HELD, who=who, why=why)


def release(request_id: RequestId, ledger: Ledger, clock: Clock, *, who: str, why: str) -> Withdrawal:
    """An operator lets a held request go on, past the per-withdrawal limits that held it."""
    return _by_hand(request_id, ledger, clock, WithdrawalState.QUEUED, who=who, why=why)


_CHECKS = {
    WithdrawalState.CANCELLED: check_cancel,
    WithdrawalState.REJECTED: check_reject,
    WithdrawalState.HELD: check_hold,
    WithdrawalState.QUEUED: check_release,
}


def _by_hand(
    request_id: RequestId, ledger: Ledger, clock: Clock, to: WithdrawalState, *, who: str, why: str
) -> Withdrawal:
    reason = check_reason(why)
    with ledger.begin() as tx:
        if to in {WithdrawalState.CANCELLED, WithdrawalState.REJECTED}:
            _check_memory(tx)
        withdrawal = _load(tx, request_id)
        if to is not WithdrawalState.QUEUED:
            withdrawal = give_up_unasked_plan(tx, withdrawal, who=who, why=reason, at=clock.now())
        if to is withdrawal.state is WithdrawalState.HELD:
            _hold_besides(tx, withdrawal, who=who, why=reason, at=clock.now())
        elif withdrawal.state is not to or (to is WithdrawalState.QUEUED and not withdrawal.released):
            _CHECKS[to](withdrawal)
            alike = None if to is WithdrawalState.HELD else _look_alike(tx, withdrawal)
            if alike is not None:
                # Refunded it would be paid and refunded, released it would be paid twice, if that is its payment.
                raise NotAllowed(f"{withdrawal.request_id} cannot become {to}: {alike}")
            move_by_hand(tx, withdrawal, to, who=who, why=reason, at=clock.now())
        return _load(tx, request_id)


def _hold_besides(tx: LedgerTx, withdrawal: Withdrawal, *, who: str, why: str, at: int) -> None:
    """Held already, but not by a person: his word is kept beside the reason there is, and outlasts it."""
    reason = withdrawal.hold_reason or ""
    wanted = held_besides(reason, why)
    if wanted != reason and (is_recovery_hold(reason) or reason.startswith(LOOK_ALIKE)):
        tx.set_withdrawal(withdrawal.id, state=withdrawal.state, hold_reason=wanted, batch_id=withdrawal.batch_id)
        tx.append_event(f"withdrawal.{withdrawal.state}", at=at, who=who, why=why, withdrawal_id=withdrawal.id)


def _check_memory(tx: LedgerView) -> None:
    """A ledger that may have been restored does not know what its signer was asked: nothing in it is refunded."""
    doubts = [c for c in tx.load_breaker() if c.cause in MEMORY_DOUBTS]
    if doubts:
        words = "; ".join(f"{c.cause}: {c.detail}" for c in doubts)
        raise BreakerOpen(f"this ledger may have forgotten payments, so nothing is cancelled or rejected now: {words}")
    fence = load_last_fence(tx)
    if fence is not None and fence.batch.state is not BatchState.FINAL:
        raise BreakerOpen(
            f"nothing is cancelled or rejected until the fence {fence.batch.id} is final (it is {fence.batch.state}): "
            f"until then a forgotten signature may still pay"
        )
    lasting = [c for c in tx.load_breaker_history() if c.cause in JOURNAL_DOUBTS]
    if lasting and not _agreement_shown(tx, since=lasting[-1].opened_at):
        raise BreakerOpen(
            f"nothing is cancelled or rejected until a signature, or `withdrawals recover`, has shown again that the "
            f"keys' journal agrees with this ledger; closing the breaker by hand does not show it: "
            f"{lasting[-1].cause}: {lasting[-1].detail}"
        )


def _agreement_shown(view: LedgerView, *, since: int) -> bool:
    """Whether ledger and journal were seen to agree after this moment, or, within one second, after every opening."""
    shown = [e for e in map(view.find_last_event, ("batch.signed", RECOVERED)) if e is not None]
    opened = view.find_last_event("breaker.opened")
    return any(e.at > since or (opened is not None and e.seq > opened.seq) for e in shown)
