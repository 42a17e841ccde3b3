"""What a picture of a story shows, before anything has a place: coins, transactions, customers, branches of the chain.

All of it is read from the record and from what the chain paid. Crowds are drawn as one: a picture of a hundred payments
shows a few of them, and says how many more there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from regtest.oracle import ChainPayment
from regtest.record import BlockSeen, Record
from regtest.replay.shown import (
    Read,
    Shown,
    State,
    as_one,
    crowd_of,
    is_background,
    neighbours,
    shown_of,
    unseen_payments,
)

PAYEES_MAX: Final = 4
_TAGS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


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


def scene_of(record: Record, payments: Sequence[ChainPayment] | None = None) -> Scene:
    """The scene of a record. `payments`: what the chain paid the customers, where that was asked."""
    exhibits = list({seen.wtxid: seen for seen in map(Read.of, record.exhibits)}.values())
    drawn = [exhibit for exhibit in exhibits if not is_background(exhibit, exhibits, record.blocks)]
    ordered = neighbours(drawn)
    told, crowd = crowd_of(ordered)
    known = {exhibit.txid for exhibit in exhibits}
    unseen = [payment for payment in payments or () if payment.txid not in known]
    payees, number_of = _payees(record, exhibits, payments, merged=bool(unseen))
    shown = [shown_of(e, record, number_of, ordered) for e in told]
    if crowd:
        shown.append(as_one([shown_of(e, record, number_of, ordered) for e in crowd]))
    if unseen:
        shown.append(unseen_payments(unseen, payee=0 if payees else None))
    lettered = tuple(replace(one, tag=tag) for one, tag in zip(shown, _TAGS, strict=False))
    spends = tuple(_spends(lettered))
    coins = tuple(_coins(lettered, exhibits))
    active = tuple(block for block in record.blocks if block.active)
    heights = [m.height for m in record.moments if m.height is not None] + [block.height for block in active]
    return Scene(coins, lettered, spends, payees, active, _branches(record.blocks), max(heights, default=None))


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


def _coins(transactions: Sequence[Shown], exhibits: Sequence[Read]) -> Iterable[Coin]:
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
    record: Record, exhibits: Sequence[Read], payments: Sequence[ChainPayment] | None, *, merged: bool
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
