"""`recover`, put together: the journal under its lock, the follower's own code, and the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from withdrawals.bootstrap import Parts
from withdrawals.core.model import JOURNAL_START, JournalLine
from withdrawals.errors import GateClosed, known
from withdrawals.moves import check_reason
from withdrawals.rescan import Rescan, Settle
from withdrawals.steps.broadcast import broadcast
from withdrawals.steps.fence import Fenced, Fencing, fence
from withdrawals.steps.recover import Recovered, Recovery, recover
from withdrawals.steps.settle import settle_with
from withdrawals.steps.sign import sign_fence
from withdrawals.steps.watch import Watched, watch


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What `recover` did; `fence` None: none was asked for."""

    recovered: Recovered
    fence: Fenced | None = None


def recover_from_journal(parts: Parts, *, who: str, why: str) -> RecoveryReport:
    """See `steps.recover`. The journal stays locked meanwhile, so that no signer can be alive."""
    check_reason(why)
    with parts.lock_journal() as journal:
        lines = known(journal.lines_after(JOURNAL_START), "every journal has the head of an empty one")
        return RecoveryReport(recover(_recovery(parts, lines, fencing=False), who=who, why=why))


def recover_with_fence(parts: Parts, *, who: str, why: str) -> RecoveryReport:
    """See `steps.fence`: whatever the journal still has is replayed, then every coin is spent. Needs the keys."""
    check_reason(why)
    with parts.lock_journal() as journal:
        lines = known(journal.lines_after(JOURNAL_START), "every journal has the head of an empty one")
        recovered = recover(_recovery(parts, lines, fencing=True), who=who, why=why)
    _require_fresh_view(parts)
    signer = parts.signer  # it holds the journal from here on
    lines = parts.read_journal() or ()
    fencing = Fencing(
        ledger=parts.ledger,
        chain=parts.chain,
        fees=parts.fees,
        clock=parts.clock,
        dice=parts.dice,
        policy=parts.config.policy,
        sign=lambda batch_id: sign_fence(batch_id, parts.ledger, signer, parts.verifier, parts.clock),
        journal_head=lines[-1].head if lines else JOURNAL_START,
    )
    made = fence(fencing, who=who, why=why)
    if made.batch_id is not None:
        # The workers would send it too; every block before it is one in which something forgotten may be mined.
        settle = settle_with(parts.config.policy, parts.clock)
        broadcast(made.batch_id, parts.ledger, parts.broadcaster, parts.chain, settle, parts.config.policy, parts.clock)
    return RecoveryReport(recovered, made)


def _require_fresh_view(parts: Parts) -> None:
    """A coin that the node has not seen yet would be missing from the fence. Raises GateClosed."""
    row = parts.world.judge()
    blind = [reason for reason in row.reasons if not reason.startswith("unexplained_")]
    if blind:
        raise GateClosed(f"recover --fence: the node's view is not fresh, and the fence needs every coin: {blind[0]}")


def _recovery(parts: Parts, lines: Sequence[JournalLine], *, fencing: bool) -> Recovery:
    return Recovery(
        rescan=_rescan(parts),
        scripts=parts.script_source,
        journal=lines,
        settle=settle_with(parts.config.policy, parts.clock),
        dice=parts.dice,
        network=parts.config.network,
        policy=parts.config.policy,
        fencing=fencing,
        descriptors=parts.wallet.descriptors,
    )


def _rescan(parts: Parts) -> Rescan:
    def follow(settle: Settle, epoch: int) -> Watched:
        return watch(parts.ledger, parts.chain, settle, parts.config.policy, parts.clock, epoch=epoch)

    return Rescan(parts.ledger, parts.chain, parts.clock, follow)
