"""recover: a restored ledger learns again, from the keys' journal, what it promised (I12).

In this order, every part of which may be interrupted and done again: watch the scripts that unknown lines gave their
change to; read the chain again, so that coins and spends beyond the restored index are known; then, in one
transaction, give up what was never asked, replay the unknown lines, hold every unpaid request until the exchange
repeats its id, take over the journal's head, and delete the facts that do not know the replayed plans yet; read those
again; settle.

Only whole memory is replayed: a journal that does not contain this ledger's head cannot tell what it forgot, and then
only a fence helps. The breaker stays as it is: closing it is an operator's word, and the next command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from withdrawals.core.model import JOURNAL_START, BatchState, JournalLine, OwnScript
from withdrawals.core.policy import Policy
from withdrawals.core.recovery import LineRefused, bind_outputs, change_scripts_of
from withdrawals.core.types import BatchId, BlockRef, Network, RequestId, ScriptPubKey
from withdrawals.errors import NotAllowed, StaleLedger
from withdrawals.fences import FENCING, RECOVERED, find_begun_fence
from withdrawals.moves import check_reason
from withdrawals.ports import FOLLOWER_LEASE, Dice, LedgerTx, LedgerView
from withdrawals.replay import Replay, give_up_unasked, hold_unpaid, is_known, reserve_again
from withdrawals.rescan import Rescan, ScriptSource, Settle, find_scripts, watch_wider

FENCE: Final = "`withdrawals recover --fence`"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery did; all empty: there was nothing to recover. `head`: the journal's, now the ledger's too."""

    head: str
    lines: tuple[int, ...] = ()
    """Numbers of the journal's lines that were unknown here."""
    batches: tuple[BatchId, ...] = ()
    requests: tuple[RequestId, ...] = ()
    """Ids that this ledger had never heard of: the exchange's repeat gets its first answer."""
    held: tuple[RequestId, ...] = ()
    """Held until the exchange repeats them."""
    given_up: tuple[BatchId, ...] = ()
    """Plans that no signer was asked for."""
    skipped: tuple[str, ...] = ()
    """Lines that cannot be part of this ledger, and why; only before a fence."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What it takes. `journal`: every line of the keys' journal, proved, read while no other process can write to it.

    `fencing`: the operator says that the journal may not be whole: whatever it has is replayed, what cannot be is left
    to the fence that follows.
    """

    rescan: Rescan
    scripts: ScriptSource
    journal: Sequence[JournalLine]
    settle: Settle
    dice: Dice
    network: Network
    policy: Policy
    fencing: bool = False
    descriptors: Sequence[str] = ()
    """Before a fence, the node's own UTXO set is asked for coins of these that the ledger does not know."""


def recover(recovery: Recovery, *, who: str, why: str) -> Recovered:
    """Replay what the ledger lacks and hold what it cannot know. Again at once changes nothing.

    Later it holds again what the exchange repeated in between: a second run looks just like one after a second restore,
    and what was cancelled before that stands in no journal.

    Raises StaleLedger where the journal cannot tell (and names the fence), NotAllowed (a process is alive, a line
    cannot be replayed, a fence was begun and the journal has no new line since, the node has pruned too much) and
    WorldError, in all of which the ledger's deeds are unchanged.
    """
    reason = check_reason(why)
    rescan = recovery.rescan
    with rescan.ledger.read() as view:
        fresh = _fresh_lines(view, recovery)
        needed = bool(fresh) or recovery.fencing
        scripts = _change_of(view, recovery, fresh)
    epoch = rescan.take()
    if recovery.fencing:
        _stop_signing(recovery, who=who, why=reason)
    start = rescan.fetch_start() if needed else None
    if needed:
        with rescan.ledger.begin() as tx:
            watch_wider(tx, recovery.scripts, scripts)
            rescan.retreat(tx, start, epoch, who=who)
        epoch = rescan.follow_to_tip()
    if recovery.fencing:
        rescan.meet_forgotten(recovery.scripts, recovery.descriptors, who=who)
        epoch = rescan.follow_to_tip()
    with rescan.ledger.begin() as tx:
        done = _replay(tx, recovery, start, epoch, who=who, why=reason)
    epoch = rescan.follow_to_tip()
    with rescan.ledger.begin() as tx:
        tx.check_lease(FOLLOWER_LEASE, epoch)
        recovery.settle(tx, tx.list_batches(set(BatchState) - {BatchState.ABANDONED}), True)  # noqa: FBT003 -- the port's
        reserve_again(tx, at=rescan.clock.now())
    rescan.give_back()
    return done


def _stop_signing(recovery: Recovery, *, who: str, why: str) -> None:
    """Until the fence stands, nothing may be signed, also where two restored memories agree with each other."""
    words = "an operator says that ledger and journal have forgotten signatures; nothing is signed before the fence is"
    now = recovery.rescan.clock.now()
    with recovery.rescan.ledger.begin() as tx:
        tx.open_breaker("stale_ledger", words, at=now)
        tx.append_event(FENCING, at=now, who=who, why=why, data={"head": _head_of(recovery)})


def _fresh_lines(view: LedgerView, recovery: Recovery) -> tuple[JournalLine, ...]:
    """The lines that this ledger does not know. Raises StaleLedger where the journal may have forgotten some itself."""
    journal, head = recovery.journal, view.load_journal_head()
    if recovery.fencing:
        return tuple(line for line in journal if not is_known(view, line))
    heads = [JOURNAL_START, *(line.head for line in journal)]
    if head not in heads:
        raise _forgetful(head, heads[-1])
    begun = find_begun_fence(view)
    if begun is not None and begun.data.get("head") not in heads[:-1]:
        raise NotAllowed(
            f"recover: a fence was begun, because ledger and journal may both have forgotten signatures, and this "
            f"journal has no line after the one that it had then: it cannot show what was forgotten; accepted: "
            f"{FENCE}, or a longer copy of the journal"
        )
    return tuple(line for line in journal[heads.index(head) :] if not is_known(view, line))


def _head_of(recovery: Recovery) -> str:
    return recovery.journal[-1].head if recovery.journal else JOURNAL_START


def _forgetful(ledger_head: str, journal_head: str) -> StaleLedger:
    """The journal does not contain the ledger's head: nobody can tell from it what else was signed."""
    error = StaleLedger(ledger_head, journal_head, None)
    words = (
        f"{error}: the journal is missing, older than this ledger, or of another history, and cannot tell what was "
        f"forgotten. Look for the right one first; if there is none, {FENCE}"
    )
    error.args = (words,)
    return error


def _change_of(view: LedgerView, recovery: Recovery, fresh: Sequence[JournalLine]) -> list[OwnScript]:
    """Where the unknown lines gave change to. Raises NotAllowed for an output that is neither payment nor ours."""
    wanted: list[tuple[JournalLine, ScriptPubKey]] = []
    for line in fresh:
        outputs = bind_outputs(line)
        if isinstance(outputs, LineRefused):
            if not recovery.fencing:
                raise _refusal(line, outputs)
            continue
        wanted += [(line, script) for script in change_scripts_of(outputs)]
    found = find_scripts(view, recovery.scripts, [script for _, script in wanted])
    for line, script in wanted:
        if script not in found and not recovery.fencing:
            raise _refusal(line, LineRefused(f"not_ours: an output pays {script.hex()}, no payment and none of ours"))
    return list(found.values())


def _refusal(line: JournalLine, refused: LineRefused) -> NotAllowed:
    return NotAllowed(
        f"recover: line {line.seq} of the journal ({line.batch_id} plan {line.plan_number}) cannot be replayed: "
        f"{refused.reason}. Nothing was replayed; accepted: {FENCE}"
    )


def _replay(tx: LedgerTx, recovery: Recovery, start: BlockRef | None, epoch: int, *, who: str, why: str) -> Recovered:
    """The one transaction in which this ledger's memory becomes the journal's."""
    rescan, now = recovery.rescan, recovery.rescan.clock.now()
    tx.check_lease(FOLLOWER_LEASE, epoch)
    fresh, old_head = _fresh_lines(tx, recovery), tx.load_journal_head()
    head = _head_of(recovery)
    given_up = give_up_unasked(tx, fresh, why=why, at=now)
    replay = Replay(tx, recovery.journal, fresh, recovery.network, recovery.policy, recovery.dice, now, why)
    skipped: list[str] = []
    for line in fresh:
        refused = replay.replay(line)
        if refused is not None:
            if not recovery.fencing:
                raise _refusal(line, refused)
            skipped.append(str(_refusal(line, refused)))
    if fresh or recovery.fencing:
        watch_wider(tx, recovery.scripts, [*replay.used, *(coin.own for coin in tx.load_unspent_coins())])
    held = hold_unpaid(tx, at=now)
    if not recovery.fencing:
        tx.save_journal_head(head)
    lines = tuple(line.seq for line in fresh)
    done = Recovered(
        head, lines, tuple(dict.fromkeys(replay.batches)), tuple(replay.requests), held, given_up, tuple(skipped)
    )
    if fresh or held or given_up or head != old_head or _doubted(tx):
        data: dict[str, object] = {
            "lines": list(lines),
            "from": old_head,
            "head": head,
            "batches": list(done.batches),
            "requests": list(done.requests),
            "held": list(held),
            "given_up": list(given_up),
            "skipped": skipped,
        }
        # Before a fence nothing is shown yet: what the journal itself forgot is excluded only by the fence.
        kind = "ledger.replayed" if recovery.fencing else RECOVERED
        tx.append_event(kind, at=now, who=who, why=why, data=data)
    if fresh:
        # These facts were read without knowing the replayed plans: what they pay is found when they are read again.
        rescan.retreat(tx, start, epoch, who=who)
    return done


def _doubted(view: LedgerView) -> bool:
    """Whether the breaker says that ledger and journal disagree, and nothing has shown since that they agree."""
    if not any(c.cause in {"stale_ledger", "journal_damaged"} for c in view.load_breaker()):
        return False
    opened, shown = view.find_last_event("breaker.opened"), view.find_last_event(RECOVERED)
    return shown is None or (opened is not None and opened.seq > shown.seq)
