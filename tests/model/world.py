"""What can happen, and what follows: every step out of every state.

Every transaction is a block of its own (a reorg may cut anywhere, so that loses nothing); whatever can be mined may be,
at any time; a reorg takes away any number of blocks that the bounds allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from tests.model.desk import Desk, View
from tests.model.ledger import CANCELLED, HELD, LIVE, QUEUED, Ledger, Lot, empty_ledger
from tests.model.processor import Move, Options, Processor
from tests.model.setting import Run
from tests.model.states import Budget, Label, Met, State, Step
from tests.model.transactions import DEPOSITORS, FENCE, FOREIGN, GENESIS, OURS, Pool


class World:
    """One run's world."""

    def __init__(self, run: Run) -> None:
        b = self.bounds = run.bounds
        self.run = run
        self.pool = Pool(b.customers, legacy=b.legacy, legacy_change=b.legacy_change, alike=b.alike)
        self.desk = Desk(run, self.pool)
        self.processor = Processor(self.desk)
        self.existing, self.chains = Met[frozenset[int]](), Met[View]()
        self.ledgers, self.budgets = Met[Ledger](), Met[Budget]()
        self._minable: dict[tuple[int, int], list[tuple[Label, int]]] = {}
        self._strangers: dict[tuple[int, int], list[tuple[Label, int]]] = {}
        self._twins: dict[int, list[tuple[Label, int]]] = {}
        self._moves: dict[tuple[int, int, Options], list[tuple[Label, int, Move]]] = {}
        self._followed: dict[tuple[int, int], int] = {}
        self._with: dict[tuple[int, int], int] = {}

    def start(self) -> State:
        """Nothing happened yet. A depositor has two transactions of one coin: to us, and to somebody else."""
        pays = [("us",), ("ext",)] if self.bounds.deposit else []
        exist = frozenset(self.pool.make(FOREIGN, (DEPOSITORS,), to) for to in pays)
        b = self.bounds
        budget = Budget(
            b.plans, b.foreign, b.twins, b.reorgs, b.crashes, b.restores, b.cancels, b.empty_blocks, 0, frozenset()
        )
        empty = self.chains.number(())
        ledger = self.ledgers.number(empty_ledger(len(b.customers)))
        return self.existing.number(exist), empty, empty, ledger, self.budgets.number(budget), 0

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that may happen next."""
        existing, chain, view, ledger, budget, fence = state
        left = self.budgets.values[budget]
        for label, mined in self._blocks(existing, chain):
            yield label, self._after_block(state, mined, left)
        if view != chain:
            yield Label("the follower catches up"), (existing, chain, chain, self.follow(ledger, chain), budget, fence)
        if left.empty_blocks:
            longer = self.chains.number((*self.chains.values[chain], -1))
            fewer = left._replace(empty_blocks=left.empty_blocks - 1)
            yield Label("an empty block"), self._after_block(state, longer, fewer)
        if left.reorgs:
            yield from self._reorgs(state, left)
        if left.twins:
            less = self.budgets.number(left._replace(twins=left.twins - 1))
            for label, more in self._new_twins(existing):
                yield label, (more, chain, view, ledger, less, fence)
        if left.foreign:
            less = self.budgets.number(left._replace(foreign=left.foreign - 1))
            for label, more in self._new_strangers(existing, chain):
                yield label, (more, chain, view, ledger, less, fence)
        yield from self._by_hand(state, left)
        yield from self._by_processor(state, left)

    # ------------------------------------------------------------------------------------------------------ blocks

    def _blocks(self, existing: int, chain: int) -> list[tuple[Label, int]]:
        known = self._minable.get((existing, chain))
        if known is None:
            blocks = self.chains.values[chain]
            known = self._minable[existing, chain] = [
                (Label("mined", t), self.chains.number((*blocks, t)))
                for t in sorted(self.existing.values[existing])
                if self.can_mine(t, blocks)
            ]
        return known

    def can_mine(self, t: int, blocks: View) -> bool:
        """Whether the next block may hold it."""
        inputs, spent = self.pool.txs[t].inputs, self.desk.spenders(blocks)
        return t not in blocks and all((p == GENESIS or p in blocks) and (p, v) not in spent for p, v in inputs)

    def _after_block(self, state: State, chain: int, left: Budget) -> State:
        """The chain has changed; without lag the follower has seen it."""
        existing, _, view, ledger, _, fence = state
        floor = max(left.floor, len(self.chains.values[chain]) - self.bounds.reorg_depth)
        budget = self.budgets.number(left._replace(floor=floor))
        if self.bounds.lag:
            return existing, chain, view, ledger, budget, fence
        return existing, chain, chain, self.follow(ledger, chain), budget, fence

    def follow(self, ledger: int, view: int) -> int:
        """The number of the ledger after the follower has seen this chain."""
        known = self._followed.get((ledger, view))
        if known is None:
            after = self.desk.follow(self.ledgers.values[ledger], self.chains.values[view])
            known = self._followed[ledger, view] = self.ledgers.number(after)
        return known

    def _reorgs(self, state: State, left: Budget) -> Iterator[Step]:
        blocks, fewer = self.chains.values[state[1]], left._replace(reorgs=left.reorgs - 1)
        for gone in range(1, len(blocks) - left.floor + 1):
            shorter = self.chains.number(blocks[:-gone])
            yield Label(f"a reorg takes {gone} block(s) away"), self._after_block(state, shorter, fewer)

    # ----------------------------------------------------------------------------------------- twins and strangers

    def _new_twins(self, existing: int) -> list[tuple[Label, int]]:
        known = self._twins.get(existing)
        if known is None:
            known, exist = [], self.existing.values[existing]
            for twin in (self.pool.twin_of(t) for t in sorted(exist) if self.pool.is_malleable(t)):
                if twin not in exist:
                    known.append((Label("somebody makes", twin), self.existing.number(exist | {twin})))
            self._twins[existing] = known
        return known

    def _new_strangers(self, existing: int, chain: int) -> list[tuple[Label, int]]:
        known = self._strangers.get((existing, chain))
        if known is None:
            known, exist = [], self.existing.values[existing]
            ours = self.desk.coins(self.chains.values[chain])
            for coins in (i for k in range(1, self.bounds.foreign_inputs + 1) for i in combinations(ours, k)):
                for pays in self.bounds.foreign_pays:
                    t = self.pool.make(FOREIGN, coins, pays)
                    if t not in exist and all(self.is_worth_paying(t, w, exist) for w in self.pool.pays[t]):
                        known.append((Label("somebody with our keys signs", t), self.existing.number(exist | {t})))
            self._strangers[existing, chain] = known
        return known

    def is_worth_paying(self, t: int, customer: str, exist: frozenset[int]) -> bool:
        """Only from a coin that some attempt for the customer needs: nobody can prevent a gift from elsewhere."""
        coins = set(self.pool.txs[t].inputs)
        attempts = (u for u in exist if customer in self.pool.pays[u])
        return any(coins & {*self.pool.txs[x].inputs} for u in attempts for x in self.pool.ancestry(u))

    # ----------------------------------------------------------------------------------- the exchange and operators

    def _by_hand(self, state: State, left: Budget) -> Iterator[Step]:
        existing, chain, view, number, budget, fence = state
        ledger = self.ledgers.values[number]
        if left.restores and (ledger.lots or left.refunded):
            yield from self._restore(state, left._replace(restores=left.restores - 1))
        for n, (w, at) in enumerate(zip(self.bounds.customers, ledger.where, strict=True)):
            if at == HELD and w not in left.refunded:
                after = self.ledgers.number(ledger.placed({n: QUEUED}))
                yield Label(f"the exchange repeats {w}"), (existing, chain, view, after, budget, fence)
            if left.cancels and at == QUEUED and self.may_cancel(ledger, view, w):
                after = self.ledgers.number(ledger.placed({n: CANCELLED}))
                fewer = left._replace(cancels=left.cancels - 1, refunded=left.refunded | {w})
                yield (
                    Label(f"the exchange cancels {w} and refunds it"),
                    (existing, chain, view, after, self.budgets.number(fewer), fence),
                )

    def may_cancel(self, ledger: Ledger, view: int, customer: str) -> bool:
        paid, _ = self.desk.verdict(ledger, self.chains.values[view])
        asked = bool(self.desk.asked_for(ledger, customer))
        return customer not in paid and self.desk.clerk.may_cancel(customer, QUEUED, asked=asked)

    def _restore(self, state: State, left: Budget) -> Iterator[Step]:
        """The ledger is what it was when everything was queued; then the journal is replayed, or the coins fenced."""
        existing, chain, view, _, _, fence = state
        exist, rules = self.existing.values[existing], self.run.rules
        bare = empty_ledger(len(self.bounds.customers), HELD if rules.hold else QUEUED)
        budget = self.budgets.number(left)
        if rules.journal:
            after = self.follow(self.ledgers.number(self.replayed(bare, exist)), view)
            yield Label("the ledger is restored, the journal replayed"), (existing, chain, view, after, budget, fence)
            return
        after = self.follow(self.ledgers.number(bare), view)
        if not rules.fence:
            yield Label("the ledger is restored from a backup"), (existing, chain, view, after, budget, fence)
        elif ours := self.desk.coins(self.chains.values[chain]):
            t = self.pool.make(FENCE, ours, ("us", "us"))
            label = Label("the ledger is restored, every coin fenced by", t)
            yield label, (self.existing.number(exist | {t}), chain, view, after, budget, t)

    def replayed(self, ledger: Ledger, exist: frozenset[int]) -> Ledger:
        """Every plan that a signer ever saw, in batches of the same customers."""
        plans: dict[tuple[str, ...], list[int]] = {}
        for t in sorted(exist):
            tx = self.pool.txs[t]
            if tx.kind == OURS and not tx.twin:
                members = tuple(w for w in self.bounds.customers if w in tx.outputs)
                plans.setdefault(members, []).append(t)
        for n, (members, of) in enumerate(plans.items()):
            where = {c: n for c, w in enumerate(self.bounds.customers) if w in members}
            coins = tuple(o for t in of for o in self.pool.txs[t].inputs)
            ledger = ledger.added(Lot(members, tuple(of), LIVE, n)).placed(where).reserving(coins, n)
        return ledger

    # ------------------------------------------------------------------------------------------------ the processor

    def _by_processor(self, state: State, left: Budget) -> Iterator[Step]:
        existing, chain, view, ledger, _, fence = state
        options = Options(fence, signing=left.plans > 0, crashing=left.crashes > 0)
        for label, after, move in self.moves_of(ledger, view, options):
            fewer, more, told, t = left, existing, label, move.tx
            if move.crash:
                fewer = fewer._replace(crashes=left.crashes - 1)
            if t is not None and t in self.existing.values[existing]:
                told = label._replace(bold=False)
            elif t is not None:
                fewer, more = fewer._replace(plans=fewer.plans - 1), self.existing_with(existing, t)
            yield told, (more, chain, view, after, self.budgets.number(fewer), fence)

    def moves_of(self, ledger: int, view: int, options: Options) -> list[tuple[Label, int, Move]]:
        """The processor's moves, each with the number of the ledger that it leads to."""
        known = self._moves.get((ledger, view, options))
        if known is None:
            moves = self.processor.moves(self.ledgers.values[ledger], self.chains.values[view], options)
            known = self._moves[ledger, view, options] = [
                (Label(m.verb, m.tx, m.bold), self.ledgers.number(m.ledger), m) for m in moves
            ]
        return known

    def existing_with(self, existing: int, t: int) -> int:
        known = self._with.get((existing, t))
        if known is None:
            known = self._with[existing, t] = self.existing.number(self.existing.values[existing] | {t})
        return known
