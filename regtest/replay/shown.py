"""The transactions of a picture, one by one or as a crowd: what became of each, what it pays, and whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from regtest.malleate import ids_of
from regtest.oracle import ChainPayment
from regtest.record import BlockSeen, Exhibit, Record, Role

TRANSACTIONS_MAX: Final = 8
_PLAIN_SHOWN: Final = 3
"""Of a crowd in which all are alike."""
_WORDS_FOR_OUTPUTS: Final = {
    Role.ATTEMPT: ("change", "change"),
    Role.TWIN: ("change", "change"),
    Role.FUNDING: ("to the wallet", "elsewhere"),
}
"""What an output that pays no customer is called: where something in the picture spends it, and elsewhere."""


class State(StrEnum):
    """What became of a transaction."""

    MINED = "mined"
    """A block of the active chain has it at the end."""
    LOST = "lost"
    """Only blocks that were left behind have it."""
    NEVER = "never"
    """No block ever had it."""


@dataclass(frozen=True, slots=True)
class Output:
    """One line in a transaction's box: an output, or several of which nothing is to be told apart."""

    words: str
    sats: int
    vouts: frozenset[int]
    payee: int | None = None
    """Whom of the payees it pays, by number."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One transaction, or a crowd of them as one."""

    tag: str
    """A letter, by which blocks name it."""
    role: Role | None
    """None: it paid, and the story's record does not have it."""
    name: str
    txid: str
    state: State
    where: str
    spends: tuple[str, ...]
    outputs: tuple[Output, ...]
    wtxids: frozenset[str]
    count: int = 1


@dataclass(frozen=True, slots=True)
class Read:
    """An exhibit whose bytes were read: once, for that takes longer than anything else here."""

    role: Role
    name: str
    txid: str
    wtxid: str
    spends: tuple[str, ...]
    outputs: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, exhibit: Exhibit) -> Self:
        """Read it."""
        ids = ids_of(exhibit.raw)
        return cls(exhibit.role, exhibit.name, ids.txid, ids.wtxid, exhibit.spends, exhibit.outputs)


def is_background(exhibit: Read, exhibits: Sequence[Read], blocks: Sequence[BlockSeen]) -> bool:
    """Whether it only gave the wallet its coins: nobody disputes it, and it was never lost."""
    if exhibit.role is not Role.FUNDING:
        return False
    rivals = any(e is not exhibit and (set(e.spends) & set(exhibit.spends) or e.txid == exhibit.txid) for e in exhibits)
    return not rivals and not any(exhibit.wtxid in block.wtxids and not block.active for block in blocks)


def neighbours(exhibits: Sequence[Read]) -> list[Read]:
    """In their order, but whatever wants the same coin stands together, and below what it spends from."""
    waiting: list[list[Read]] = []
    for exhibit in exhibits:
        if any(exhibit in group for group in waiting):
            continue
        group, wanted = [exhibit], set(exhibit.spends)
        while more := [e for e in exhibits if e not in group and wanted & set(e.spends)]:
            group += more
            wanted.update(*(e.spends for e in more))
        waiting.append(sorted(group, key=exhibits.index))
    ordered: list[Read] = []
    while waiting:
        to_come = [(group, {exhibit.txid for exhibit in group}) for group in waiting]
        ready = (
            group
            for group in waiting
            if not any(other is not group and _parents_of(group) & txids for other, txids in to_come)
        )
        # Where two wait for each other, the one that came first goes first.
        following = next(ready, waiting[0])
        waiting.remove(following)
        ordered += following
    return ordered


def _parents_of(group: Sequence[Read]) -> set[str]:
    return {outpoint.partition(":")[0] for exhibit in group for outpoint in exhibit.spends}


def crowd_of(exhibits: Sequence[Read]) -> tuple[list[Read], list[Read]]:
    """Those that are told one by one, and those that are drawn as one: attempts that nobody else has a part in."""
    if len(exhibits) <= TRANSACTIONS_MAX:
        return list(exhibits), []
    spent = Counter(outpoint for exhibit in exhibits for outpoint in exhibit.spends)
    parents = {outpoint.partition(":")[0] for outpoint in spent}

    def is_plain(exhibit: Read) -> bool:
        return exhibit.txid not in parents and all(spent[outpoint] == 1 for outpoint in exhibit.spends)

    special = [exhibit for exhibit in exhibits if not is_plain(exhibit)][: TRANSACTIONS_MAX - 1]
    plain = [exhibit for exhibit in exhibits if is_plain(exhibit)]
    first = special + plain[: max(0, _PLAIN_SHOWN - len(special))]
    return [e for e in exhibits if e in first], [e for e in exhibits if e not in first]


def shown_of(exhibit: Read, record: Record, number_of: Mapping[str, int], everybody: Sequence[Read]) -> Shown:
    """One transaction among everybody who is drawn; `number_of` has the payee of every customer's script."""
    state, where = _fate(exhibit, record.blocks)
    outputs = tuple(_outputs(exhibit, number_of, record, everybody))
    wtxids = frozenset({exhibit.wtxid})
    return Shown("", exhibit.role, exhibit.name, exhibit.txid, state, where, exhibit.spends, outputs, wtxids)


def _fate(exhibit: Read, blocks: Sequence[BlockSeen]) -> tuple[State, str]:
    held = [block for block in blocks if exhibit.wtxid in block.wtxids]
    for block in held:
        if block.active:
            return State.MINED, f"in block {block.height}"
    if held:
        return State.LOST, f"lost with block {held[-1].height}"
    return State.NEVER, "in no block"


def _outputs(
    exhibit: Read, number_of: Mapping[str, int], record: Record, everybody: Sequence[Read]
) -> Iterable[Output]:
    """Customers first, each on a line of his own; then what another one here spends; and all the rest together."""
    spent = {outpoint for other in everybody for outpoint in other.spends}
    paid: dict[int, list[int]] = {}
    used, rest = [], []
    for vout, (script, _) in enumerate(exhibit.outputs):
        if script in number_of:
            paid.setdefault(number_of[script], []).append(vout)
        elif f"{exhibit.txid}:{vout}" in spent:
            used.append(vout)
        else:
            rest.append(vout)
    names = [request_id for request_id, _, _ in record.customers]
    merged = len(set(number_of.values())) < len(names)
    for number, vouts in paid.items():
        words = f"{len(vouts)} customers" if merged and len(vouts) > 1 else "a customer" if merged else names[number]
        yield _output(exhibit, words, vouts, number)
    words_for_used, words_for_rest = _WORDS_FOR_OUTPUTS.get(exhibit.role, ("an output", "elsewhere"))
    for vout in used[:2]:
        yield _output(exhibit, words_for_used, [vout])
    if left := [*used[2:], *rest]:
        yield _output(exhibit, words_for_rest, left)


def _output(exhibit: Read, words: str, vouts: Sequence[int], payee: int | None = None) -> Output:
    return Output(words, sum(exhibit.outputs[vout][1] for vout in vouts), frozenset(vouts), payee)


def as_one(crowd: Sequence[Shown]) -> Shown:
    """Many transactions in one box, with sums."""
    mined = sum(shown.state is State.MINED for shown in crowd)
    state = State.MINED if mined else State.NEVER
    where = "all in blocks" if mined == len(crowd) else f"{mined} of them in blocks"
    outputs = []
    for payee in sorted({o.payee for s in crowd for o in s.outputs}, key=lambda number: (number is None, number)):
        lines = [o for s in crowd for o in s.outputs if o.payee == payee]
        words = "change" if payee is None else f"{len(lines)} outputs"
        outputs.append(Output(words, sum(line.sats for line in lines), frozenset(), payee))
    spends = tuple(dict.fromkeys(outpoint for shown in crowd for outpoint in shown.spends))
    wtxids = frozenset().union(*(shown.wtxids for shown in crowd))
    name = f"{len(crowd)} more like these"
    return Shown("", Role.ATTEMPT, name, "", state, where, spends, tuple(outputs), wtxids, len(crowd))


def unseen_payments(payments: Sequence[ChainPayment], payee: int | None) -> Shown:
    """What paid and is not in the record: a processor that shows nothing may have sent it unseen."""
    heights = sorted({payment.height for payment in payments})
    txids = list(dict.fromkeys(payment.txid for payment in payments))
    where = f"in block {heights[0]}" if len(heights) == 1 else f"in blocks {heights[0]} to {heights[-1]}"
    words = "a customer" if len(payments) == 1 else f"{len(payments)} outputs"
    line = Output(words, sum(payment.sats for payment in payments), frozenset(), payee)
    name = "earlier payment" if len(txids) == 1 else f"{len(txids)} earlier payments"
    txid = txids[0] if len(txids) == 1 else ""
    return Shown("", None, name, txid, State.MINED, where, (), (line,), frozenset(), len(txids))
