"""Every block of every branch: whom each branch pays, and which coins of ours it leaves unspent.

A block carries the whole summary of its branch, shared with its parent's where the block changes nothing of ours. So
asking about any branch costs a look-up, and a block costs its own transactions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.oracle.told import Asked, Told
from tests.simulation.oracle.violation import Violation, demand
from tests.simulation.oracle.wire import OutPoint, Pay, Tx, parse_block


@dataclass(frozen=True, slots=True)
class Payment:
    """An output that pays a request on a branch. `asked`: when a signer was asked for it; None: no plan of ours."""

    outpoint: OutPoint
    height: int
    asked: int | None

    @property
    def by_plan(self) -> bool:
        """Whether a plan of ours pays, in whatever encoding."""
        return self.asked is not None


@dataclass(slots=True, eq=False)
class Summary:
    """What a branch says, up to some block. Never changed once another block shares it."""

    paid: dict[str, tuple[Payment, ...]] = field(default_factory=dict)
    made: dict[Pay, int] = field(default_factory=dict)
    """How many outputs our own plans made, by what they are: counted without asking whom they are for."""
    foreign: dict[Pay, tuple[tuple[Tx, OutPoint, int], ...]] = field(default_factory=dict)
    """Outputs like something that is owed, made by others: transaction, outpoint, height."""
    coins: dict[OutPoint, tuple[Pay, int]] = field(default_factory=dict)
    """Unspent outputs of ours, with their height."""
    spent: dict[OutPoint, tuple[str, int]] = field(default_factory=dict)
    """Spent coins of ours: by which ntxid, at which height."""

    def copy(self) -> Summary:
        """One that may be changed."""
        return Summary(dict(self.paid), dict(self.made), dict(self.foreign), dict(self.coins), dict(self.spent))


@dataclass(slots=True, eq=False)
class Block:
    """A block of the tree, with its branch's summary."""

    hash: str
    prev: str
    height: int
    txs: tuple[Tx, ...]
    summary: Summary
    touched: frozenset[str] = frozenset()
    """The requests that this very block pays."""
    made: frozenset[Pay] = frozenset()


@dataclass(slots=True, eq=False)
class Tree:
    """The blocks, each after its parent; one whose parent was never told is a root."""

    told: Told
    blocks: dict[str, Block] = field(default_factory=dict)
    _unchecked: list[Block] = field(default_factory=list)
    _scripts: set[bytes] = field(default_factory=set)
    """Every script that an output in some block has."""
    _stale: bool = False

    def add(self, block_hash: str, prev: str, height: int, raw: bytes) -> None:
        """A block, on whatever branch; once is enough."""
        if block_hash in self.blocks:
            return
        txs = tuple(parse_block(raw))
        for tx in txs:
            self.told.know(tx)
            self._scripts.update(script for script, _ in tx.outputs)
        block = self.blocks[block_hash] = Block(block_hash, prev, height, txs, Summary())
        self._summarise(block)

    def learn(self, script: bytes) -> None:
        """A script matters from now on: if some block has it already, everything is looked at again."""
        self._stale = self._stale or script in self._scripts

    def forget(self) -> None:
        """Something was said that changes what blocks mean."""
        self._stale = bool(self.blocks)

    def check(self) -> bool:
        """paid-twice: on no branch is a request paid more than once, whichever way one counts.

        Every block of every branch is looked at, stale ones too, as if it were the tip of the world. A plan of ours, in
        any encoding, pays its requests by output number; an output that an operator bound pays what it was bound to,
        and counts beside a plan that was asked when the processor knew of it: nobody can exclude what is yet to come.
        Besides, and blind to whom a plan was for: of outputs to one script with one amount, our plans make on no branch
        more than there are requests for exactly that which were never refunded.

        refunded-paid: no branch has a plan of ours that pays a refunded request.

        Returned is whether branches may say something else than before.
        """
        rebuild, self._stale = self._stale, False
        if rebuild:
            for block in self.blocks.values():
                self._summarise(block)
        while self._unchecked:
            self._check_block(self._unchecked[-1])
            self._unchecked.pop()
        return rebuild

    def _check_block(self, block: Block) -> None:
        summary, told = block.summary, self.told
        for request_id in block.touched:
            payments = summary.paid[request_id]
            where = f"on the branch of block {block.height} {block.hash}"
            if len(payments) > 1 and self._is_our_doing(payments):
                outpoints = ", ".join(f"{p.outpoint[0]}:{p.outpoint[1]}" for p in payments)
                raise Violation("paid-twice", f"{request_id} is paid by {outpoints} {where}")
            refunded = told.requests[request_id].refunded if request_id in told.requests else False
            demand(
                not (refunded and payments[0].by_plan), "refunded-paid", f"{request_id} is refunded and paid {where}"
            )
        for pay in block.made:
            owed = sum(not r.refunded for r in told.owed.get(pay, ()))
            if summary.made[pay] > owed:
                words = f"{summary.made[pay]} outputs of {pay[1]} sats to {pay[0].hex()}, and {owed} requests for that"
                raise Violation("paid-twice", f"our plans made {words} on the branch of block {block.height}")

    def _is_our_doing(self, payments: tuple[Payment, ...]) -> bool:
        """Whether two plans pay, or one that was asked when the processor had the other payment's bytes."""
        asked = [p.asked for p in payments if p.asked is not None]
        known = [self.told.known_at.get(p.outpoint[0]) for p in payments if not p.by_plan]
        return len(asked) > 1 or any(k is not None and k < a for k in known for a in asked)

    def _summarise(self, block: Block) -> None:
        parent = self.blocks.get(block.prev)
        before = Summary() if parent is None else parent.summary
        walk = _Walk(self.told, block.height, before, before)
        for tx in block.txs:
            walk.step(tx)
        block.summary, block.touched, block.made = walk.summary, frozenset(walk.touched), frozenset(walk.made)
        if walk.touched or walk.made:
            self._unchecked.append(block)

    def branch(self, tip: str) -> Iterable[Block]:
        """The blocks from a tip down."""
        block = self.blocks.get(tip)
        while block is not None:
            yield block
            block = self.blocks.get(block.prev)


@dataclass(slots=True, eq=False)
class _Walk:
    """One block, transaction by transaction. `summary` is the parent's own until something changes."""

    told: Told
    height: int
    before: Summary
    summary: Summary
    touched: set[str] = field(default_factory=set)
    made: set[Pay] = field(default_factory=set)

    def step(self, tx: Tx) -> None:
        told = self.told
        coins = self.summary.coins
        taken = [o for o in tx.prevouts if o in coins]
        plan = told.plans.get(tx.ntxid)
        if plan is None and not taken and not self._concerns(tx):
            return
        mine = self._own()
        for outpoint in taken:
            del mine.coins[outpoint]
            mine.spent[outpoint] = (tx.ntxid, self.height)
        for vout, pay in enumerate(tx.outputs):
            outpoint = (tx.txid, vout)
            if pay[0] in told.own and pay[1] > 0:
                mine.coins[outpoint] = (pay, self.height)
            if plan is not None:
                self._pay_by_plan(mine, plan, outpoint, pay)
            elif outpoint in told.bound:
                self._pay(mine, told.bound[outpoint], Payment(outpoint, self.height, None))
            elif pay in told.owed:
                mine.foreign[pay] = (*mine.foreign.get(pay, ()), (tx, outpoint, self.height))

    def _concerns(self, tx: Tx) -> bool:
        told = self.told
        return any(p[0] in told.own or p in told.owed or (tx.txid, v) in told.bound for v, p in enumerate(tx.outputs))

    def _own(self) -> Summary:
        if self.summary is self.before:
            self.summary = self.before.copy()
        return self.summary

    def _pay_by_plan(self, mine: Summary, plan: Asked, outpoint: OutPoint, pay: Pay) -> None:
        request_id = plan.pays.get(outpoint[1])
        if request_id is not None:
            self._pay(mine, request_id, Payment(outpoint, self.height, plan.tick))
        if pay in self.told.owed and pay[0] not in self.told.own:
            mine.made[pay] = mine.made.get(pay, 0) + 1
            self.made.add(pay)

    def _pay(self, mine: Summary, request_id: str, payment: Payment) -> None:
        mine.paid[request_id] = (*mine.paid.get(request_id, ()), payment)
        self.touched.add(request_id)
