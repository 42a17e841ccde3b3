"""`recover`, put together: the journal under its lock, the follower's own code, and the steps."""

from __future__ import annotations

from withdrawals.bootstrap import Parts
from withdrawals.core.model import JOURNAL_START
from withdrawals.errors import known
from withdrawals.moves import check_reason
from withdrawals.rescan import Rescan, Settle
from withdrawals.steps.recover import Recovered, Recovery, recover
from withdrawals.steps.settle import settle_with
from withdrawals.steps.watch import Watched, watch


def recover_from_journal(parts: Parts, *, who: str, why: str) -> Recovered:
    """See `steps.recover`. The journal stays locked meanwhile, so that no signer can be alive."""
    check_reason(why)
    with parts.lock_journal() as journal:
        lines = known(journal.lines_after(JOURNAL_START), "every journal has the head of an empty one")
        recovery = Recovery(
            rescan=_rescan(parts),
            scripts=parts.script_source,
            journal=lines,
            settle=settle_with(parts.config.policy, parts.clock),
            dice=parts.dice,
            network=parts.config.network,
        )
        return recover(recovery, who=who, why=why)


def _rescan(parts: Parts) -> Rescan:
    def follow(settle: Settle, epoch: int) -> Watched:
        return watch(parts.ledger, parts.chain, settle, parts.config.policy, parts.clock, epoch=epoch)

    return Rescan(parts.ledger, parts.chain, parts.clock, follow)
