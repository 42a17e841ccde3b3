"""What the ledger cannot account for by itself: against the chain, the node's mempool and the keys' journal. Read-only.

Each finding ends in a command. Nothing here is evidence of a payment or of its absence: what is in no mempool is sent
again by itself, and who paid whom an operator says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from withdrawals.core.addresses import address_of
from withdrawals.core.model import JOURNAL_START, BatchState, JournalLine, TxView
from withdrawals.core.policy import Policy
from withdrawals.core.tx import MalformedTransaction, ntxid_of
from withdrawals.core.types import Network, Ntxid, OutPoint, ScriptPubKey, Txid
from withdrawals.errors import WithdrawalsError
from withdrawals.facts import unpaid_of
from withdrawals.foreign import Found, examine, find_foreign, waiting_like
from withdrawals.ports import LedgerView
from withdrawals.replay import is_known

RECOVER: Final = "withdrawals recover"
SETTLED: Final = frozenset({BatchState.CONFIRMED, BatchState.FINAL, BatchState.ABANDONED, BatchState.PLANNED})


@dataclass(frozen=True, slots=True)
class StrangerOutput:
    """An output of a foreign transaction. `meaning`: ours, whom the rules find paid by it, or whom it looks like."""

    vout: int
    sats: int
    to: str
    """The address, or the script in hex where it has none."""
    meaning: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """A spend of our coins that no plan of ours and no word of an operator explains."""

    txid: Txid
    height: int | None
    """Its block on the followed chain; None: the node's mempool."""
    takes: tuple[OutPoint, ...]
    batches: tuple[str, ...]
    """Batches with an attempt that it displaces."""
    outputs: tuple[StrangerOutput, ...]
    command: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch that does not go on by itself right now, or whose bytes the node does not show; why, and what helps."""

    batch_id: str
    what: str
    command: str


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that is unexplained or missing; empty where all is well."""

    strangers: tuple[Stranger, ...]
    waiting: tuple[Waiting, ...]
    journal: str
    """What is wrong between the ledger and the keys' journal; empty: nothing, or the journal is on another host."""


def survey(
    view: LedgerView,
    in_mempool: Mapping[OutPoint, TxView],
    journal: Sequence[JournalLine] | None,
    network: Network,
    policy: Policy,
) -> Survey:
    """Compare the ledger with the followed chain, with what the node's mempool spends of ours, and with the journal."""
    foreign = {s.txid for s in view.load_unexplained_spends()}
    asked = {p.ntxid for p in view.load_plans_spending(in_mempool.keys())}
    said = {tx.ntxid for tx in view.load_explained()}
    foreign |= {tx.txid for tx in in_mempool.values() if tx.ntxid not in asked | said}
    forgotten = _unknown_lines(view, journal)
    recalled = _ntxids_of(forgotten or ())
    found = (examine(view, find_foreign(view, txid), policy) for txid in sorted(foreign))
    strangers = (_stranger(view, f, network, ours=f.tx.ntxid in recalled) for f in found)
    stopped = _paying_who_is_paid(view)
    others = (w for w in _missing(view, in_mempool) if w.batch_id not in {s.batch_id for s in stopped})
    waiting = [*_conflicted(view), *stopped, *others]
    return Survey(tuple(strangers), tuple(waiting), _words_of(forgotten))


def _stranger(view: LedgerView, found: Found, network: Network, *, ours: bool) -> Stranger:
    """`ours`: the keys' journal has it, and this ledger forgot it: a recovery explains it, and nobody has to rule."""
    own, alike = view.load_own_scripts(), waiting_like(view, found.tx)
    paid = view.load_withdrawals(list(found.attributed.values()))
    outputs: list[StrangerOutput] = []
    words = ["withdrawals", "reconcile", found.tx.txid]
    for vout, output in enumerate(found.tx.outputs):
        looks = [w for w in alike if (w.script, w.sats) == (output.script, output.sats) and w.id not in paid]
        if output.script in own:
            meaning = "ours"
        elif vout in found.attributed:
            meaning = f"pays {paid[found.attributed[vout]].request_id}, by the rules"
        elif looks:
            meaning = f"looks like {', '.join(w.request_id for w in looks)}, which waits to be paid"
            # Not ready to copy, on purpose: which of the two it is, only who looks at the transaction can say.
            words.append(f"(--pays {vout}={looks[0].request_id} or --other {vout})")
        else:
            meaning = "nothing that waits to be paid"
        outputs.append(StrangerOutput(vout, output.sats, _name_of(output.script, network), meaning))
    batches = sorted({p.batch_id for p in found.touched})
    command = " ".join([*([RECOVER] if ours else words), '--reason "…"'])
    return Stranger(found.tx.txid, found.height, found.tx.prevouts, tuple(batches), tuple(outputs), command)


def _name_of(script: ScriptPubKey, network: Network) -> str:
    try:
        return address_of(script, network)
    except WithdrawalsError:
        return script.hex()


def _conflicted(view: LedgerView) -> list[Waiting]:
    found: list[Waiting] = []
    for batch_id in view.list_batches({BatchState.CONFLICTED}):
        batch = view.load_batch(batch_id)
        if batch is None or not unpaid_of(view, batch):
            continue
        told = [e.why for e in view.load_story(batch_id=batch_id) if e.kind == "batch.waiting"]
        words = f"{len(unpaid_of(view, batch))} unpaid after a conflict: {told[-1] if told else 'planned again soon'}"
        found.append(Waiting(batch_id, words, f"withdrawals why {batch_id}"))
    return found


def _paying_who_is_paid(view: LedgerView) -> list[Waiting]:
    """Batches whose newest plan is not sent, because it would also pay somebody whom this chain pays already."""
    found: list[Waiting] = []
    for batch_id in view.list_batches(set(BatchState) - SETTLED - {BatchState.CONFLICTED}):
        batch = view.load_batch(batch_id)
        newest = next((p for p in reversed(batch.plans if batch is not None else ()) if p.asked), None)
        paid = {p.withdrawal_id for p in view.load_payments(newest.withdrawal_ids)} if newest is not None else set()
        if batch is not None and paid:
            names = [w.request_id for w in batch.withdrawals if w.id in paid]
            words = f"not sent, because it would pay {', '.join(names)} again, who is paid by somebody else"
            without = " ".join(f"--without {name}" for name in names)
            found.append(Waiting(batch_id, words, f'withdrawals bump {batch_id} {without} --reason "…"'))
    return found


def _missing(view: LedgerView, in_mempool: Mapping[OutPoint, TxView]) -> list[Waiting]:
    """Batches whose inputs are all unspent and whose bytes the node's mempool does not show."""
    found: list[Waiting] = []
    for batch_id in view.list_batches(set(BatchState) - SETTLED):
        batch = view.load_batch(batch_id)
        plans = [p for p in batch.plans if p.asked] if batch is not None else []
        if batch is not None and not batch.plans:
            words = "an operator bound somebody else's payment to it, which is in no block: its bytes are sent again"
            found.append(Waiting(batch_id, words, f"withdrawals why {batch_id}"))
        inputs = {o for p in plans for o in p.prevouts}
        spent = view.load_spends(inputs)
        shown = {tx.ntxid for o, tx in in_mempool.items() if o in inputs}
        if plans and not spent and not shown & {p.ntxid for p in plans}:
            words = "asked for, in no block and not in this node's mempool: that proves nothing, it is sent again"
            found.append(Waiting(batch_id, words, f"withdrawals why {batch_id}"))
    return found


def _unknown_lines(view: LedgerView, journal: Sequence[JournalLine] | None) -> list[JournalLine] | None:
    """The lines since this ledger's head that it never heard of; None: the journal does not contain that head."""
    if journal is None:
        return []
    heads = [JOURNAL_START, *(line.head for line in journal)]
    head = view.load_journal_head()
    if head not in heads:
        return None
    return [line for line in journal[heads.index(head) :] if not is_known(view, line)]


def _ntxids_of(lines: Sequence[JournalLine]) -> set[Ntxid]:
    found: set[Ntxid] = set()
    for line in lines:
        try:
            found.add(ntxid_of(line.unsigned))
        except MalformedTransaction:
            continue  # it explains nothing; `recover` refuses it by name
    return found


def _words_of(forgotten: Sequence[JournalLine] | None) -> str:
    if forgotten is None:
        return (
            f"it does not contain this ledger's head: it was lost, replaced or restored. Before anything else on this "
            f"list: {RECOVER} --fence"
        )
    if not forgotten:
        return ""
    which = ", ".join(f"{line.batch_id} plan {line.plan_number}" for line in forgotten[:3])
    return (
        f"{len(forgotten)} line(s) of plans that this ledger never heard of ({which}): it was restored. "
        f"Before anything else on this list: {RECOVER}"
    )
