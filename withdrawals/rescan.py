"""Reading the chain again with wider eyes: for coins of scripts that a restored ledger does not know it handed out.

Facts are deleted back to a block and read again by the ordinary follower, under its own lease, with nothing settled in
between: what is merely being re-read has not been undone. An interruption leaves a ledger whose tip is behind the
node's, for which the gate is closed, and which any follower brings back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Protocol

from withdrawals.core.model import OwnScript
from withdrawals.core.types import BatchId, BlockRef, ScriptPubKey
from withdrawals.errors import GateClosed, LeaseLost, NodeRejected, NotAllowed, TipMoved, known
from withdrawals.ports import FOLLOWER_LEASE, ChainSource, Clock, Ledger, LedgerTx, LedgerView

"""The lease that the one writing follower holds."""
HOLDER: Final = "recover"
"""Always the same: one that was interrupted goes on at once. Two at once are kept apart by the journal's lock."""
LEASE_S: Final = 30
"""Taken anew before every hundred blocks, and given back at the end."""
BRANCHES: Final = (0, 1)
WIDE: Final = 1_000
"""How many scripts of every branch are watched beyond the last one that is known to be used, at least."""
DAY_S: Final = 86_400
INDEX_MAX: Final = 999_999
"""The node scans no further than this."""

Settle = Callable[[LedgerTx, Collection[BatchId], bool], None]
"""Recompute the cached states of these batches in this transaction; True: the follower is at the node's tip."""


class Followed(Protocol):
    """What one round of the follower did."""

    @property
    def followed(self) -> int:
        """Blocks read."""

    @property
    def undone(self) -> int:
        """Blocks undone."""

    @property
    def at_tip(self) -> bool:
        """The ledger's tip is the node's."""


Follow = Callable[[Settle, int], Followed]
"""One round of the ordinary follower, with this settling, under this epoch of the lease."""


@dataclass(frozen=True, slots=True)
class ScriptSource:
    """The hot wallet's public side: scripts by (wallet, branch, start index, count), and a bounded search for one.

    `find` is told an index that every branch may have reached already. `lookahead`: watched beyond the last used one.
    """

    derive: Callable[[int, int, int, int], Sequence[OwnScript]]
    find: Callable[[ScriptPubKey, int], OwnScript | None]
    wallets: int
    lookahead: int


# ------------------------------------------------------------------------------------------------------------- scripts


def find_scripts(
    view: LedgerView, source: ScriptSource, wanted: Iterable[ScriptPubKey]
) -> dict[ScriptPubKey, OwnScript]:
    """Those of the scripts that are ours, watched or not. A search goes as far past the watched ones as a signer's."""
    watched = view.load_own_scripts()
    used = max((own.index for own in watched.values()), default=0)
    found: dict[ScriptPubKey, OwnScript] = {}
    for script in wanted:
        own = watched.get(script) or source.find(script, used)
        if own is not None:
            found[script] = own
    return found


def watch_wider(tx: LedgerTx, source: ScriptSource, used: Collection[OwnScript]) -> int:
    """Watch up to `WIDE` scripts past everything used, and hand none of the used ones out again; how many were added.

    Scripts are handed out in order: whatever lies before a used one counts as used.
    """
    highest = _highest(used)
    watched_counts = _count(tx.load_own_scripts().values())
    added = 0
    for branch in product(range(source.wallets), BRANCHES):
        watched = watched_counts.get(branch, 0)
        following = watched - tx.count_unallocated(*branch)
        needed = max(following, highest.get(branch, -1) + 1)
        missing = needed + max(source.lookahead, WIDE) - watched
        if missing > 0:
            tx.insert_own_scripts(source.derive(*branch, watched, missing))
            added += missing
        for _ in range(needed - following):
            tx.allocate_script(*branch)
    return added


def _highest(used: Iterable[OwnScript]) -> dict[tuple[int, int], int]:
    highest: dict[tuple[int, int], int] = {}
    for own in used:
        branch = (own.wallet, own.branch)
        highest[branch] = max(own.index, highest.get(branch, -1))
    return highest


def _count(scripts: Iterable[OwnScript]) -> dict[tuple[int, int], int]:
    counts: dict[tuple[int, int], int] = {}
    for own in scripts:
        counts[own.wallet, own.branch] = counts.get((own.wallet, own.branch), 0) + 1
    return counts


# --------------------------------------------------------------------------------------------------------------- blocks


@dataclass(frozen=True, slots=True)
class Rescan:
    """The follower's lease in our own hands, and the follower's own code to read with."""

    ledger: Ledger
    chain: ChainSource
    clock: Clock
    follow: Follow

    def take(self) -> int:
        """The lease's epoch. Raises NotAllowed while a follower is alive: every process must be stopped first."""
        with self.ledger.begin() as tx:
            epoch = tx.take_lease(FOLLOWER_LEASE, HOLDER, now=self.clock.now(), ttl_s=LEASE_S)
        if epoch is None:
            raise NotAllowed(
                "recover: a follower is alive, or died seconds ago; accepted: stop every process of this ledger first "
                "(`withdrawals run`, or `work`, `follow` and `sweep`), then again"
            )
        return epoch

    def give_back(self) -> None:
        """Let the next follower begin at once."""
        with self.ledger.begin() as tx:
            tx.take_lease(FOLLOWER_LEASE, HOLDER, now=self.clock.now(), ttl_s=0)

    def fetch_start(self) -> BlockRef | None:
        """Where to read again from: the newest block older than a day before this ledger's last signature.

        What was handed out later than that signature was not used in an older block. Never below the first block that
        this ledger followed; None if it follows none yet. Raises NotAllowed where the node has pruned what must be
        read again: nothing is deleted that cannot be read.
        """
        with self.ledger.read() as view:
            start = self._start(view)
        if start is not None:
            self.ensure_readable(start)
        return start

    def ensure_readable(self, start: BlockRef) -> None:
        """Raise NotAllowed unless the node has the block after this one, where there is one."""
        following = self.chain.fetch_hash(start.height + 1)
        try:
            if following is not None:
                self.chain.fetch_block(following)
        except NodeRejected as error:
            raise NotAllowed(
                f"recover: the node cannot show block {start.height + 1} any more, and everything from there must be "
                f"read again; accepted: a node that has it ({error})"
            ) from error

    @staticmethod
    def _start(view: LedgerView) -> BlockRef | None:
        tip, signed = view.load_tip(), view.find_last_event("batch.signed")
        birthday = known(view.load_identity(), "only an initialised ledger is recovered").birthday_height
        header = tip
        while header is not None and header.height > birthday and (signed is None or header.time > signed.at - DAY_S):
            # Without any signature everything since the birthday is read again.
            header = view.load_header(birthday if signed is None else header.height - 1)
        return None if header is None else BlockRef(header.height, header.hash)

    def meet_forgotten(self, source: ScriptSource, descriptors: Sequence[str], *, who: str) -> int:
        """Have every coin of ours in the node's own UTXO set known to the ledger; how many it had not known.

        Raises as `fetch_unspent` and the follower do, and NotAllowed for a coin from before all that this ledger
        follows: a ledger that was made anew after the old one was lost may have forgotten what spends it.
        """
        with self.ledger.read() as view:
            highest = max((own.index for own in view.load_own_scripts().values()), default=0)
        scan = self.chain.fetch_unspent(descriptors, index_max=min(highest + WIDE, INDEX_MAX))
        with self.ledger.read() as view:
            known_here = view.load_coins(scan.outputs.keys())
            birthday = known(view.load_identity(), "only an initialised ledger is recovered").birthday_height
            unknown = {o: u for o, u in scan.outputs.items() if o not in known_here}
            too_old = sorted((u.height, o) for o, u in unknown.items() if u.height <= birthday)
            if too_old:
                height, outpoint = too_old[0]
                raise NotAllowed(
                    f"recover: the node has a coin of ours, {outpoint}, in block {height}, and this ledger follows the "
                    f"chain from block {birthday}; accepted: a ledger made by `init --birthday-height {height - 1}` or "
                    f"less"
                )
            found = find_scripts(view, source, {u.script for u in unknown.values()})
            lowest = min((u.height for u in unknown.values()), default=0)
            header = view.load_header(lowest - 1)
        if not unknown:
            return 0
        start = None if header is None else BlockRef(header.height, header.hash)
        if start is not None:
            self.ensure_readable(start)
        epoch = self.take()
        with self.ledger.begin() as tx:
            watch_wider(tx, source, list(found.values()))
            self.retreat(tx, start, epoch, who=who)
        self.follow_to_tip()
        return len(unknown)

    def retreat(self, tx: LedgerTx, start: BlockRef | None, epoch: int, *, who: str) -> None:
        """Delete the facts above `start`, and settle nothing: they are read again at once.

        Raises TipMoved where a reorg took `start` away while the chain was read: all of it begins anew.
        """
        tip = tx.load_tip()
        if start is None or tip is None or tip.height <= start.height:
            return
        kept = tx.load_header(start.height)
        if kept is None or kept.hash != start.hash:
            raise TipMoved(f"block {start.hash} lost its place to a reorg while the chain was read; recover again")
        tx.retreat_tip(start, old_tip=tip.hash, epoch=epoch)
        data: dict[str, object] = {"from_height": tip.height, "after_height": start.height, "after": start.hash}
        tx.append_event("chain.rescanned", at=self.clock.now(), who=who, data=data)

    def follow_to_tip(self) -> int:
        """Read up to the node's tip; the lease's epoch then. Raises GateClosed where it cannot be reached."""
        while True:
            epoch = self.take()
            try:
                done = self.follow(_settle_nothing, epoch)
            except LeaseLost as error:
                raise NotAllowed("recover: a follower was started meanwhile; accepted: stop it, then again") from error
            if done.at_tip:
                return epoch
            if not (done.followed or done.undone):
                with self.ledger.read() as view:
                    causes = ", ".join(c.cause for c in view.load_breaker())
                raise GateClosed(
                    f"the node's chain cannot be followed to its tip now (open causes: {causes or 'none'}); recover "
                    f"again once it can"
                )


def _settle_nothing(tx: LedgerTx, batch_ids: Collection[BatchId], at_tip: bool) -> None:  # noqa: FBT001 -- the port's
    """What is merely being read again changes no state."""
    del tx, batch_ids, at_tip
