"""Which transactions no chain can hold together, by their bytes alone, at any depth of ancestry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.simulation.oracle.mirror import Mirror
from tests.simulation.oracle.told import Asked, Told
from tests.simulation.oracle.tree import Tree
from tests.simulation.oracle.violation import Violation
from tests.simulation.oracle.wire import OutPoint, Pay, Tx

NO_OUTPOINT: OutPoint = ("00" * 32, 0xFFFF_FFFF)
"""What every coinbase claims to spend: two of them do not exclude each other by it."""
_Member = tuple[str, str]
"""How a transaction is named in an ancestry: its txid, or empty where any encoding will do; and its ntxid."""


def ancestors_of(tx: Tx, txs: Mapping[str, Tx]) -> dict[str, Tx]:
    """Every transaction with known bytes that this one descends from, itself left out, by txid."""
    found: dict[str, Tx] = {}
    frontier = {txid for txid, _ in tx.prevouts}
    while frontier:
        txid = frontier.pop()
        parent = txs.get(txid)
        if parent is not None and txid not in found:
            found[txid] = parent
            frontier.update(t for t, _ in parent.prevouts if t not in found)
    return found


def are_exclusive(one: Tx, other: Tx, txs: Mapping[str, Tx]) -> bool:
    """Whether two different transactions, of either's ancestry or the two themselves, spend one outpoint.

    The two stand for any of their encodings; an ancestor is needed under exactly its txid. What nobody has the bytes of
    is a root and proves nothing.
    """
    spends: dict[OutPoint, list[_Member]] = {}
    for member, prevouts in _members(one, other, txs):
        for outpoint in prevouts:
            if outpoint == NO_OUTPOINT:
                continue
            others = spends.setdefault(outpoint, [])
            if any(_differ(member, m) for m in others):
                return True
            others.append(member)
    return False


def _members(one: Tx, other: Tx, txs: Mapping[str, Tx]) -> Iterator[tuple[_Member, tuple[OutPoint, ...]]]:
    lines = {**ancestors_of(one, txs), **ancestors_of(other, txs)}
    for tx in (one, other):
        yield ("", tx.ntxid), tx.prevouts
    for txid, tx in lines.items():
        yield (txid, tx.ntxid), tx.prevouts


def _differ(a: _Member, b: _Member) -> bool:
    """Whether two members cannot be one transaction: two ancestors by name, where any encoding will do by ntxid."""
    return a[0] != b[0] if a[0] and b[0] else a[1] != b[1]


def is_buried(attempt: Tx, told: Told, tree: Tree, tip: tuple[int, str] | None, depth: int) -> bool:
    """Whether something else took an outpoint of its ancestry, that deep on the branch that ends at `tip`."""
    if tip is None:
        return False
    stake: dict[OutPoint, _Member] = dict.fromkeys(attempt.prevouts, ("", attempt.ntxid))
    for txid, ancestor in ancestors_of(attempt, told.txs).items():
        stake.update(dict.fromkeys(ancestor.prevouts, (txid, ancestor.ntxid)))
    return any(
        outpoint in stake and _differ((tx.txid, tx.ntxid), stake[outpoint])
        for block in tree.branch(tip[1])
        if tip[0] - block.height + 1 >= depth
        for tx in block.txs
        for outpoint in tx.prevouts
        if outpoint != NO_OUTPOINT
    )


def rests_on_nothing(attempt: Tx, told: Told, tree: Tree, tip: tuple[int, str] | None) -> bool:
    """Whether a transaction that made one of its coins is in no block of the branch that ends at `tip`."""
    if tip is None:
        return False
    mined = {tx.txid for block in tree.branch(tip[1]) for tx in block.txs}
    return any(txid in told.txs and txid not in mined for txid, _ in attempt.prevouts)


@dataclass(frozen=True, slots=True, eq=False)
class Stranger:
    """Somebody else's transaction that the processor knows of since `tick`, and whom it pays."""

    tx: Tx
    pays: frozenset[str]
    tick: int


@dataclass(slots=True, eq=False)
class Payers:
    """All pairs of transactions that pay one request."""

    told: Told
    tree: Tree
    mirror: Mirror
    never_followed_depth: int
    strangers: dict[str, Stranger] = field(default_factory=dict)
    """By txid."""

    def meet(self, tx: Tx, tip: str | None) -> None:
        """The processor has these bytes now: note whom they pay, by the rule for what is no plan of ours.

        They pay only who has an attempt that they displace: they spend an outpoint of the attempt's ancestry and are
        neither in that ancestry nor the attempt itself, in any encoding. Where they have fewer outputs of a kind than
        there are such requests, nobody can say who is paid, and nobody is blamed.
        """
        told, txs = self.told, self.told.txs
        if tx.ntxid in told.plans or tx.txid in self.strangers:
            return
        wanted = {pay for pay in tx.outputs if pay in told.owed}
        if not wanted:
            return
        spent, displaced, spared = set(tx.prevouts), set[str](), set[str]()
        for plan in told.plans.values():
            line = ancestors_of(plan.tx, txs)
            if any(a.ntxid == tx.ntxid for a in line.values()):
                spared.update(plan.pays.values())
            elif not spent.isdisjoint(o for t in (plan.tx, *line.values()) for o in t.prevouts):
                displaced.update(plan.pays.values())
        block = None if tip is None else self.tree.blocks.get(tip)
        paid = {} if block is None else block.summary.paid
        unpaid = [told.requests[r] for r in displaced - spared if r in told.requests and r not in paid]
        by_kind: dict[Pay, set[str]] = {}
        for request in unpaid:
            by_kind.setdefault((request.script, request.sats), set()).add(request.id)
        free = self._unbound(tx)
        pays = {r for pay, ids in by_kind.items() if free.count(pay) >= len(ids) for r in ids}
        if pays:
            self.strangers[tx.txid] = Stranger(tx, frozenset(pays), told.tick)

    def check(self) -> None:
        """compatible-payers: of two transactions that pay one request, no chain could ever hold both.

        Judged when the later one is asked for, over all bytes that exist, at any depth and whatever the chain is: two
        different transactions among the two and their ancestors have to spend one outpoint. Plans count since they were
        asked, strangers' payments only against plans that were asked after the processor knew of them. What a person
        answers for, in a conditional certificate, is left out here, and nowhere else; so is a plan that ledger and
        journal both forgot, once something else took its coins as deep as no reorg that is ever followed; and one whose
        coins no block of this chain made, which no fence can take.
        """
        told = self.told
        while told.fresh:
            plan = told.fresh[-1]
            for request_id in sorted(set(plan.pays.values())):
                for earlier in told.plans_of[request_id]:
                    if earlier is plan:
                        break
                    self._judge(request_id, plan, earlier.tx)
                for stranger in self._strangers_paying(request_id, plan.tick):
                    self._judge(request_id, plan, stranger)
            told.fresh.pop()

    def _unbound(self, tx: Tx) -> list[Pay]:
        """Its outputs of which no operator said whom they pay."""
        return [pay for vout, pay in enumerate(tx.outputs) if (tx.txid, vout) not in self.told.bound]

    def _strangers_paying(self, request_id: str, tick: int) -> Iterator[Tx]:
        told, request = self.told, self.told.requests.get(request_id)
        for stranger in self.strangers.values():
            if request is None or request_id not in stranger.pays or stranger.tick >= tick:
                continue
            if (request.script, request.sats) in self._unbound(stranger.tx):  # or somebody said whom it was for
                yield stranger.tx
        for outpoint, bound_to in told.bound.items():
            payer = told.txs.get(outpoint[0]) if bound_to == request_id and told.bound_at[outpoint] < tick else None
            if payer is not None and payer.ntxid not in told.plans:  # a plan pays whom it was made for
                yield payer

    def _judge(self, request_id: str, later: Asked, earlier: Tx) -> None:
        told = self.told
        if earlier.ntxid == later.tx.ntxid or are_exclusive(later.tx, earlier, told.txs):
            return
        if (request_id, later.tx.ntxid, earlier.ntxid) in told.excused:
            return
        if earlier.ntxid in told.forgotten and self._is_out_of_the_world(earlier):
            return
        name = " ".join(f"{b} plan {n}" for b, n in sorted(later.names))
        words = f"{name} and {earlier.txid} both pay {request_id}, and one chain can hold both"
        raise Violation("compatible-payers", words)

    def _is_out_of_the_world(self, earlier: Tx) -> bool:
        """Whether this ledger knows nothing of a plan, whose coins went to something else too deep to come back."""
        known = any(p.ntxid == earlier.ntxid for p in self.mirror.plans.values())
        tip = self.mirror.tip
        return not known and (
            is_buried(earlier, self.told, self.tree, tip, self.never_followed_depth)
            or rests_on_nothing(earlier, self.told, self.tree, tip)
        )
