"""What a picture of a story shows, before anything has a place: coins, transactions, customers, branches of the chain.

All of it is read from the record and from what the chain paid. Crowds are drawn as one: a picture of a hundred payments
shows a few of them, and says how many more there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Self

from regtest.malleate import ids_of
from regtest.oracle import ChainPayment
from regtest.record import BlockSeen, Exhibit, Record, Role

TRANSACTIONS_MAX: Final = 8
PAYEES_MAX: Final = 4
_PLAIN_SHOWN: Final = 3
"""Of a crowd in which all are alike."""
_TAGS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


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
class Coin:
    """Outpoints that were there before the story, and that the same transactions spend."""

    outpoints: tuple[str, ...]
    spenders: tuple[int, ...]
    """By number, in the order of the transactions."""
    sats: int | None
    """None: the record does not say."""


@dataclass(frozen=True, slots=True)
class Payee:
    """A customer, or all of them as one."""

    name: str
    owed_sats: int
    has_sats: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class Spend:
    """A transaction spends another one's output: numbers of the two, and the output's vout."""

    parent: int
    vout: int
    child: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything in the picture."""

    coins: tuple[Coin, ...]
    transactions: tuple[Shown, ...]
    """In an order in which rivals for a coin are neighbours."""
    spends: tuple[Spend, ...]
    payees: tuple[Payee, ...]
    active: tuple[BlockSeen, ...]
    lost: tuple[tuple[BlockSeen, ...], ...]
    """Branches that were left behind, each from its first block on."""
    tip: int | None

    def tags_in(self, block: BlockSeen) -> str:
        """The letters of what a block holds."""
        return "".join(shown.tag for shown in self.transactions if shown.wtxids & set(block.wtxids))


@dataclass(frozen=True, slots=True)
class _Read:
    """An exhibit whose bytes were read: once, for that takes longer than anything else here."""

    role: Role
    name: str
    txid: str
    wtxid: str
    spends: tuple[str, ...]
    outputs: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, exhibit: Exhibit) -> Self:
        ids = ids_of(exhibit.raw)
        return cls(exhibit.role, exhibit.name, ids.txid, ids.wtxid, exhibit.spends, exhibit.outputs)


def scene_of(record: Record, payments: Sequence[ChainPayment] | None = None) -> Scene:
    """The scene of a record. `payments`: what the chain paid the customers, where that was asked."""
    exhibits = list({seen.wtxid: seen for seen in map(_Read.of, record.exhibits)}.values())
    drawn = [exhibit for exhibit in exhibits if not _is_background(exhibit, exhibits, record.blocks)]
    ordered = _neighbours(drawn)
    told, crowd = _crowd_of(ordered)
    known = {exhibit.txid for exhibit in exhibits}
    unseen = [payment for payment in payments or () if payment.txid not in known]
    payees, number_of = _payees(record, exhibits, payments, merged=bool(unseen))
    shown = [_shown(e, record, number_of, ordered) for e in told]
    if crowd:
        shown.append(_as_one([_shown(e, record, number_of, ordered) for e in crowd]))
    if unseen:
        shown.append(_unseen(unseen, payee=0 if payees else None))
    lettered = tuple(replace(one, tag=tag) for one, tag in zip(shown, _TAGS, strict=False))
    spends = tuple(_spends(lettered))
    coins = tuple(_coins(lettered, exhibits))
    active = tuple(block for block in record.blocks if block.active)
    heights = [m.height for m in record.moments if m.height is not None] + [block.height for block in active]
    return Scene(coins, lettered, spends, payees, active, _branches(record.blocks), max(heights, default=None))


# ------------------------------------------------------------------------------------------------------- transactions


def _is_background(exhibit: _Read, exhibits: Sequence[_Read], blocks: Sequence[BlockSeen]) -> bool:
    """Whether it only gave the wallet its coins: nobody disputes it, and it was never lost."""
    if exhibit.role is not Role.FUNDING:
        return False
    rivals = any(e is not exhibit and (set(e.spends) & set(exhibit.spends) or e.txid == exhibit.txid) for e in exhibits)
    return not rivals and not any(exhibit.wtxid in block.wtxids and not block.active for block in blocks)


def _neighbours(exhibits: Sequence[_Read]) -> list[_Read]:
    """In their order, but whatever wants the same coin stands together."""
    ordered: list[_Read] = []
    for exhibit in exhibits:
        if exhibit in ordered:
            continue
        group, wanted = [exhibit], set(exhibit.spends)
        while more := [e for e in exhibits if e not in group and e not in ordered and wanted & set(e.spends)]:
            group += more
            wanted.update(*(e.spends for e in more))
        ordered += sorted(group, key=exhibits.index)
    return ordered


def _crowd_of(exhibits: Sequence[_Read]) -> tuple[list[_Read], list[_Read]]:
    """Those that are told one by one, and those that are drawn as one: attempts that nobody else has a part in."""
    if len(exhibits) <= TRANSACTIONS_MAX:
        return list(exhibits), []
    spent = Counter(outpoint for exhibit in exhibits for outpoint in exhibit.spends)
    parents = {outpoint.partition(":")[0] for outpoint in spent}

    def is_plain(exhibit: _Read) -> bool:
        return exhibit.txid not in parents and all(spent[outpoint] == 1 for outpoint in exhibit.spends)

    special = [exhibit for exhibit in exhibits if not is_plain(exhibit)][: TRANSACTIONS_MAX - 1]
    plain = [exhibit for exhibit in exhibits if is_plain(exhibit)]
    first = special + plain[: max(0, _PLAIN_SHOWN - len(special))]
    return [e for e in exhibits if e in first], [e for e in exhibits if e not in first]


def _shown(exhibit: _Read, record: Record, number_of: Mapping[str, int], everybody: Sequence[_Read]) -> Shown:
    state, where = _fate(exhibit, record.blocks)
    outputs = tuple(_outputs(exhibit, number_of, record, everybody))
    wtxids = frozenset({exhibit.wtxid})
    return Shown("", exhibit.role, exhibit.name, exhibit.txid, state, where, exhibit.spends, outputs, wtxids)


def _fate(exhibit: _Read, blocks: Sequence[BlockSeen]) -> tuple[State, str]:
    held = [block for block in blocks if exhibit.wtxid in block.wtxids]
    for block in held:
        if block.active:
            return State.MINED, f"in block {block.height}"
    if held:
        return State.LOST, f"lost with block {held[-1].height}"
    return State.NEVER, "in no block"


def _outputs(
    exhibit: _Read, number_of: Mapping[str, int], record: Record, everybody: Sequence[_Read]
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
    own = exhibit.role in {Role.ATTEMPT, Role.TWIN, Role.FUNDING}
    for vout in used[:2]:
        yield _output(exhibit, "change" if own else "an output", [vout])
    if left := [*used[2:], *rest]:
        yield _output(exhibit, "change" if own else "elsewhere", left)


def _output(exhibit: _Read, words: str, vouts: Sequence[int], payee: int | None = None) -> Output:
    return Output(words, sum(exhibit.outputs[vout][1] for vout in vouts), frozenset(vouts), payee)


def _as_one(crowd: Sequence[Shown]) -> Shown:
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


def _unseen(payments: Sequence[ChainPayment], payee: int | None) -> Shown:
    """What paid and is not in the record: a processor that shows nothing may have sent it unseen."""
    heights = sorted({payment.height for payment in payments})
    txids = list(dict.fromkeys(payment.txid for payment in payments))
    where = f"in block {heights[0]}" if len(heights) == 1 else f"in blocks {heights[0]} to {heights[-1]}"
    words = "a customer" if len(payments) == 1 else f"{len(payments)} outputs"
    line = Output(words, sum(payment.sats for payment in payments), frozenset(), payee)
    name = "earlier payment" if len(txids) == 1 else f"{len(txids)} earlier payments"
    txid = txids[0] if len(txids) == 1 else ""
    return Shown("", None, name, txid, State.MINED, where, (), (line,), frozenset(), len(txids))


# -------------------------------------------------------------------------------------------------- coins and customers


def _spends(transactions: Sequence[Shown]) -> Iterable[Spend]:
    """Who spends whose output. Of two with one txid it is the one that the chain has, or else the first."""
    parents: dict[str, int] = {}
    for number, shown in enumerate(transactions):
        if shown.count == 1 and (shown.txid not in parents or shown.state is State.MINED):
            parents[shown.txid] = number
    for child, shown in enumerate(transactions):
        for outpoint in shown.spends:
            txid, _, vout = outpoint.partition(":")
            if txid in parents and parents[txid] != child:
                yield Spend(parents[txid], int(vout), child)


def _coins(transactions: Sequence[Shown], exhibits: Sequence[_Read]) -> Iterable[Coin]:
    """Outpoints from before the story, those with the same spenders together."""
    made_here = {shown.txid for shown in transactions if shown.count == 1}
    amounts = {f"{e.txid}:{vout}": sats for e in exhibits for vout, (_, sats) in enumerate(e.outputs)}
    spenders: dict[str, list[int]] = {}
    for number, shown in enumerate(transactions):
        for outpoint in shown.spends:
            if outpoint.partition(":")[0] not in made_here:
                spenders.setdefault(outpoint, []).append(number)
    groups: dict[tuple[int, ...], list[str]] = {}
    for outpoint, numbers in spenders.items():
        groups.setdefault(tuple(numbers), []).append(outpoint)
    for together, outpoints in groups.items():
        known = [amounts[outpoint] for outpoint in outpoints if outpoint in amounts]
        yield Coin(tuple(outpoints), together, sum(known) if len(known) == len(outpoints) else None)


def _payees(
    record: Record, exhibits: Sequence[_Read], payments: Sequence[ChainPayment] | None, *, merged: bool
) -> tuple[tuple[Payee, ...], dict[str, int]]:
    """The customers, and the number of each one's script. They are one where they are many or cannot be told apart."""
    scripts = [script for _, script, _ in record.customers]
    merged = merged or len(scripts) > PAYEES_MAX or len(set(scripts)) < len(scripts)
    by_txid = {exhibit.txid: exhibit.outputs for exhibit in exhibits}
    has: Counter[str] = Counter()
    if payments is None:
        mined = {wtxid for block in record.blocks if block.active for wtxid in block.wtxids}
        for exhibit in exhibits:
            if exhibit.wtxid in mined:
                for script, sats in exhibit.outputs:
                    has[script] += sats
    else:
        for payment in payments:
            if payment.txid in by_txid:
                has[by_txid[payment.txid][payment.vout][0]] += payment.sats
    if not merged or len(scripts) == 1:
        extra = sum(p.sats for p in payments or () if p.txid not in by_txid)
        payees = [Payee(name, owed, has[script] + extra) for name, script, owed in record.customers]
        return tuple(payees), {script: number for number, script in enumerate(scripts)}
    total = sum(has[script] for script in set(scripts))
    total += sum(p.sats for p in payments or () if p.txid not in by_txid)
    owed = sum(sats for _, _, sats in record.customers)
    return (Payee(f"{len(scripts)} customers", owed, total, len(scripts)),), dict.fromkeys(scripts, 0)


# --------------------------------------------------------------------------------------------------------------- blocks


def _branches(blocks: Sequence[BlockSeen]) -> tuple[tuple[BlockSeen, ...], ...]:
    """The lost blocks as branches, each from where it leaves another; the one that was left first comes first."""
    lost = {block.hash: block for block in blocks if not block.active}
    children: dict[str, list[BlockSeen]] = {}
    for block in sorted(lost.values(), key=lambda block: (block.height, block.hash)):
        children.setdefault(block.previous, []).append(block)
    branches: list[tuple[BlockSeen, ...]] = []
    begun: set[str] = set()
    for block in sorted(lost.values(), key=lambda block: (block.height, block.hash)):
        if block.hash in begun:
            continue
        branch = [block]
        begun.add(block.hash)
        while following := [child for child in children.get(branch[-1].hash, ()) if child.hash not in begun]:
            branch.append(following[0])
            begun.add(following[0].hash)
        branches.append(tuple(branch))
    return tuple(sorted(branches, key=lambda branch: (branch[-1].height, branch[0].height, branch[0].hash)))
