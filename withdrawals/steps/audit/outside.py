"""What the ledger says against what others know: the story's numbers, the keys' journal, the node's UTXO set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from withdrawals.core.auditing import Finding
from withdrawals.core.model import JOURNAL_START, BatchState, Coin, JournalLine, OwnScript
from withdrawals.core.policy import Policy
from withdrawals.core.types import BatchId, OutPoint
from withdrawals.errors import JournalDamaged, NodeRejected, NodeUnavailable, ScanInProgress
from withdrawals.ports import ChainSource, Ledger, LedgerView, UnspentScan
from withdrawals.replay import is_known

ReadJournal = Callable[[], Sequence[JournalLine] | None]
"""Every line of the keys' journal, proved, without its lock; None: it is not on this host. Raises JournalDamaged."""

SCAN_GAP: Final = 1_000
"""How many scripts beyond the last one watched the node is asked for: money may have come to a later one."""

_EVENTS: Final = 10_000
_BLOCKS: Final = 500


def audit_events(view: LedgerView, policy: Policy) -> Iterator[Finding]:
    """The story is numbered from 1 without gaps."""
    del policy
    after = 0
    while page := view.load_events(after, limit=_EVENTS):
        for event in page:
            if event.seq != after + 1:
                yield Finding("event_gap", f"the events {after + 1} to {event.seq - 1} are missing")
            after = event.seq


# -------------------------------------------------------------------------------------------------------------- wallet

Derive = Callable[[int, int, int, int], Sequence[OwnScript]]
"""Own scripts by (wallet, branch, start index, count), out of the descriptors."""


def audit_own_scripts(view: LedgerView, wallets: int, derive: Derive | None) -> Iterator[Finding]:
    """Every script watched as ours is the one that the descriptors give at its place, without gaps from 0 on."""
    if derive is None:
        return
    places: dict[tuple[int, int], dict[int, OwnScript]] = {}
    for own in view.load_own_scripts().values():
        places.setdefault((own.wallet, own.branch), {})[own.index] = own
    for (wallet, branch), stored in sorted(places.items()):
        if wallet >= wallets:
            yield Finding("own_script", f"{len(stored)} script(s) are watched for a descriptor {wallet}: there is none")
            continue
        for real in derive(wallet, branch, 0, max(stored) + 1):
            if stored.get(real.index) != real:
                place = f"descriptor {wallet}, branch {branch}, index {real.index}"
                yield Finding("own_script", f"{real.script.hex()} ({place}) is not what is watched there")


# -------------------------------------------------------------------------------------------------------------- journal


def audit_journal(ledger: Ledger, read_journal: ReadJournal | None) -> tuple[list[Finding], str]:
    """The journal's lines and the ledger's plans are the same story (I12); and whether that was looked at.

    A signer may be at work meanwhile. A plan is marked in the ledger before its line is written, and its answer is
    stored after: so lines are read before a snapshot to be known by it, and after it to know its answers.
    """
    try:
        before = None if read_journal is None else read_journal()
        if read_journal is None or before is None:
            with ledger.read() as view:
                return list(_head_alone(view)), "the keys' journal is not on this host: not compared"
        return _compare_journal(ledger, before, read_journal)
    except JournalDamaged as damage:
        return [Finding("journal", str(damage))], "the keys' journal is damaged: not compared"


def _compare_journal(
    ledger: Ledger, before: Sequence[JournalLine], read_journal: ReadJournal
) -> tuple[list[Finding], str]:
    with ledger.read() as view:
        findings = [
            Finding(
                "journal", f"line {line.seq} was signed for plan {line.plan_number} of {line.batch_id}: unknown here"
            )
            for line in before
            if not is_known(view, line)
        ]
        after = read_journal() or ()
        head = view.load_journal_head()
        if head not in {JOURNAL_START, *(line.head for line in after)}:
            findings.append(Finding("journal", f"the ledger's head {head[:12]} is no head that the journal ever had"))
        findings += [*_head_alone(view), *_unjournalled(view, after)]
    return findings, f"compared with {len(after)} line(s) of the keys' journal"


def _head_alone(view: LedgerView) -> Iterator[Finding]:
    """What the head itself shows: it moved if, and only if, a signer ever answered."""
    batches = (view.load_batch(b) for b in view.list_batches(set(BatchState)))
    answered = any(batch is not None and batch.attempts for batch in batches)
    if answered and view.load_journal_head() == JOURNAL_START:
        yield Finding("journal", "answers of a signer are stored, and no line of its journal was ever taken over")


def _unjournalled(view: LedgerView, lines: Sequence[JournalLine]) -> Iterator[Finding]:
    """Answers to plans that no line was written for. A fence begins a new journal: what was before it is forgotten."""
    written = {line.unsigned for line in lines}
    batches = view.list_batches(set(BatchState))
    fences = [b for b in view.load_fences() if b in batches]
    for batch_id in batches[batches.index(fences[-1]) :] if fences else batches:
        yield from _of_batch(view, batch_id, written)


def _of_batch(view: LedgerView, batch_id: BatchId, written: set[bytes]) -> Iterator[Finding]:
    batch = view.load_batch(batch_id)
    answered = {a.plan_number for a in batch.attempts} if batch is not None else set()
    for plan in batch.plans if batch is not None else ():
        if plan.number in answered and plan.unsigned not in written:
            yield Finding("journal", f"plan {plan.number} of {batch_id} was answered, and stands in no line")


# ----------------------------------------------------------------------------------------------------------------- node

Scanned = UnspentScan | str
"""What the node's UTXO set holds of ours, or why nobody knows."""


def scan_node(ledger: Ledger, chain: ChainSource | None, descriptors: Sequence[str]) -> Scanned:
    """Ask the node, outside of any transaction: it takes minutes on mainnet."""
    if chain is None:
        return "the node was not asked"
    with ledger.read() as view:
        highest = max((own.index for own in view.load_own_scripts().values()), default=0)
    try:
        return chain.fetch_unspent(descriptors, index_max=highest + SCAN_GAP)
    except (NodeUnavailable, NodeRejected, ScanInProgress) as error:
        return f"the node could not be asked: {error}"


def audit_node(view: LedgerView, scanned: Scanned) -> tuple[list[Finding], str]:
    """Our unspent coins against the node's, both at the block of the scan; and whether that could be compared."""
    if isinstance(scanned, str):
        return [], f"{scanned}: coins not compared"
    block = scanned.block
    header = view.load_header(block.height)
    if header is None or header.hash != block.hash:
        return [], f"the node's tip {block.hash} at {block.height} is not followed (yet): coins not compared"
    ours = _unspent_at(view, block.height)
    findings = list(_compare(view, ours, scanned))
    return findings, f"compared {len(ours)} unspent coin(s) with the node's at block {block.height}"


def _unspent_at(view: LedgerView, height: int) -> dict[OutPoint, Coin]:
    """Our unspent coins as they were at this height of the followed chain: blocks may have come since the scan."""
    coins = {c.outpoint: c for c in view.load_unspent_coins() if c.block.height <= height}
    tip = view.load_tip()
    for low in range(height + 1, (tip.height if tip is not None else 0) + 1, _BLOCKS):
        later = {s.prevout for s in view.list_facts(low, low + _BLOCKS - 1).spends}
        coins |= {o: c for o, c in view.load_coins(later).items() if c.block.height <= height}
    return coins


def _compare(view: LedgerView, ours: dict[OutPoint, Coin], scanned: UnspentScan) -> Iterator[Finding]:
    theirs = {o: output for o, output in scanned.outputs.items() if output.sats > 0}
    identity = view.load_identity()
    for outpoint in sorted(ours.keys() - theirs.keys()):
        words = f"{outpoint} ({ours[outpoint].sats} sats) is unspent by this ledger, and not in the node's UTXO set"
        yield Finding("coin_missing", words)
    for outpoint in sorted(theirs.keys() - ours.keys()):
        there = theirs[outpoint]
        words = f"the node holds {outpoint} of ours ({there.sats} sats, block {there.height}), which is no coin here"
        if identity is not None and there.height < identity.birthday_height:
            words += f": it is from before this ledger's first block, {identity.birthday_height}"
        elif view.find_own_script(there.script) is None:
            words += ": its script was not watched"
        yield Finding("coin_unknown", words)
    for outpoint in sorted(ours.keys() & theirs.keys()):
        coin, there = ours[outpoint], theirs[outpoint]
        mine = (coin.sats, coin.own.script, coin.block.height, coin.coinbase)
        if mine != (there.sats, there.script, there.height, there.coinbase):
            yield Finding(
                "coin", f"{outpoint}: the node says {there.sats} sats in block {there.height}, not {coin.sats}"
            )
