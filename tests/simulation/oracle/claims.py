"""What the ledger claims about requests, compared with the chain and with what was told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tests.simulation.oracle.exclusive import ancestors_of
from tests.simulation.oracle.mirror import ASKED, Mirror, Withdrawal
from tests.simulation.oracle.told import Told
from tests.simulation.oracle.tree import Block, Payment, Tree
from tests.simulation.oracle.violation import Violation, demand
from tests.simulation.oracle.wire import OutPoint, Tx

_WAITING: Final = frozenset({"queued", "held", "cancelled", "rejected"})
_GIVEN_UP: Final = frozenset({"cancelled", "rejected"})
_UNDER_WAY: Final = frozenset({"batched", "broadcast"})


@dataclass(slots=True, eq=False)
class Claims:
    """The checks of rows about requests. `lost`: what a restored ledger forgot, and may have forgotten for ever."""

    told: Told
    tree: Tree
    mirror: Mirror
    final_depth: int
    amnesia: bool = False
    lost: set[str] = field(default_factory=set)
    _forgot_at: int = -1
    _asked: set[str] = field(default_factory=set)
    """The ntxids of the plans that the ledger knows to be asked."""
    _before: dict[str, Withdrawal] = field(default_factory=dict)
    _signed: set[str] = field(default_factory=set)
    """The ntxids of plans whose signed bytes the ledger held at some time."""
    _marked: set[str] = field(default_factory=set)
    _unstored: dict[str, str] = field(default_factory=dict)
    """By ntxid: what was seen out there and whose bytes the ledger did not hold when it last looked."""

    def forget(self) -> None:
        """Another database: no row has a history, and what was asked so far may be unknown to it for ever."""
        self._before = {}
        self._forgot_at = self.told.tick + 1 if self.amnesia else self._forgot_at

    def check_lost(self) -> None:
        """nothing-lost: what the exchange was told is accepted is in the ledger, once, unchanged, for ever.

        Only a restored backup loses it, and never silently: the harness says so. Each row keeps its script and amount;
        a cancelled or rejected one keeps its state; no row is about a request that nobody made; the events are numbered
        without a gap.
        """
        here, told = self.mirror.withdrawals, self.told
        accepted = {r.id for r in told.requests.values() if r.accepted}
        if self.amnesia:
            self.lost = accepted - here.keys()
        self.lost -= here.keys()
        missing = sorted(accepted - here.keys() - self.lost)
        demand(not missing, "nothing-lost", f"accepted and not in the ledger: {', '.join(missing)}")
        for row in here.values():
            request = told.requests.get(row.request_id)
            if request is None:
                raise Violation("nothing-lost", f"the ledger has {row.request_id}, which nobody ever asked for")
            same = (request.script, request.sats) == (row.script, row.sats)
            demand(same, "nothing-lost", f"{row.request_id} is in the ledger with another body than was asked for")
            before = self._before.get(row.request_id)
            if before is not None and before.state in _GIVEN_UP:
                words = f"{row.request_id} was {before.state} and is {row.state}"
                demand(before.state == row.state, "nothing-lost", words)
        self._before = here
        count, last = self.mirror.events
        demand(count == last, "nothing-lost", f"there are {count} events, and the last is number {last}")

    def note(self) -> None:
        """Remember what the ledger has just written down: plans as asked, answers as stored."""
        for plan in self.mirror.new_plans:
            if plan.state in ASKED:
                self._marked.add(plan.ntxid)
                self.told.marked.setdefault(plan.ntxid, self.told.tick)
        for tx in self.mirror.new_bytes:
            self._signed.add(tx.ntxid)

    def seen(self, tx: Tx) -> None:
        """Somebody shows this transaction."""
        if tx.ntxid in self.told.plans and tx.ntxid not in self._signed and tx.ntxid not in self.told.late:
            self._unstored.setdefault(tx.ntxid, tx.txid)
            self.told.news += 1

    def check_asked_first(self) -> None:
        """asked-first: the ledger says that it asks before a signer is asked, and has an answer before anybody sees it.

        A signature exists for ever once a signer was asked, whether or not anything came back. So each plan that was
        asked is stored as asked, and no encoding of it is in a mempool or a block before the ledger has stored signed
        bytes of it, unless a signer answered somebody else, or too late. No signer ever made anything else.
        """
        for ntxid in self.told.unmarked - self._marked:
            plan = self.told.plans[ntxid]
            name = " ".join(f"{b} plan {n}" for b, n in sorted(plan.names))
            raise Violation("asked-first", f"{name} was shown to a signer, and is not stored as asked")
        self.told.unmarked.clear()
        for ntxid, txid in self._unstored.items():
            stored = ntxid in self._signed or ntxid in self.told.late
            demand(stored, "asked-first", f"{txid} is out there, and the ledger never held signed bytes of that plan")
        self._unstored.clear()

    def check_states(self) -> None:
        """final-unpaid: what the ledger says of a payment is so on the branch that ends at the ledger's own tip.

        `final`: paid there, `final_depth` deep; also after a reorg that went deeper. `confirmed`: paid there. Waiting,
        cancelled or rejected: no plan of ours pays it there, but for one that went with both memories. And the other
        way round, paid-unnoticed: what our own plan pays there is not called unpaid. A foreign output pays one request,
        and only one with an attempt it displaces.
        """
        tip = self.mirror.tip
        block = None if tip is None else self.tree.blocks.get(tip[1])
        if tip is None or self.amnesia:
            return
        if block is None:
            raise Violation("final-unpaid", f"the ledger's tip {tip[1]} is a block that nobody ever made")
        self._asked = {p.ntxid for p in self.mirror.plans.values() if p.state in ASKED}
        used: set[OutPoint] = set()
        for row in self.mirror.withdrawals.values():
            self._check_state(row, block, used)

    def _check_state(self, row: Withdrawal, tip: Block, used: set[OutPoint]) -> None:
        payments = tip.summary.paid.get(row.request_id, ())
        by_plan = any(self._is_known(p) for p in payments) and row.request_id not in self.told.elsewhere
        where = f"on the branch of block {tip.height} {tip.hash}"
        ours_pays = f"{row.request_id} is {row.state}, and a plan of ours pays it {where}"
        if row.state in _WAITING:
            demand(not by_plan, "final-unpaid", ours_pays)
        elif row.state in _UNDER_WAY:
            demand(
                not by_plan, "paid-unnoticed", f"{row.request_id} is {row.state}, and a plan of ours pays it {where}"
            )
        else:
            needed = self.final_depth if row.state == "final" else 1
            highest = tip.height - needed + 1
            paid = any(p.height <= highest for p in payments) or self._paid_by_stranger(row, tip, highest, used)
            demand(paid, "final-unpaid", f"{row.request_id} is {row.state}, and not paid {needed} deep {where}")

    def _is_known(self, payment: Payment) -> bool:
        """Whether a plan of ours pays that the ledger has, or that no restore can have taken from it."""
        if payment.asked is None:
            return False
        forgotten = payment.asked <= self._forgot_at
        return not forgotten or self.told.txs[payment.outpoint[0]].ntxid in self._asked

    def _paid_by_stranger(self, row: Withdrawal, tip: Block, highest: int, used: set[OutPoint]) -> bool:
        """Whether an output of somebody else's, that counts for nobody else yet, pays it."""
        for tx, outpoint, height in tip.summary.foreign.get((row.script, row.sats), ()):
            if outpoint not in used and outpoint not in self.told.bound and height <= highest:
                if not self._displaces_attempt(tx, row):
                    continue
                used.add(outpoint)
                return True
        return False

    def _displaces_attempt(self, tx: Tx, row: Withdrawal) -> bool:
        """Whether it takes a coin of an attempt, be it one that the ledger counts as signed and no key was used for."""
        txs, spent = self.told.txs, set(tx.prevouts)
        for (batch_id, number), plan in self.mirror.plans.items():
            mine = batch_id == row.batch_id and plan.state in ASKED and plan.ntxid != tx.ntxid
            if mine and not spent.isdisjoint(self.mirror.inputs.get((batch_id, number), ())):
                return True
        for asked in self.told.plans_of.get(row.request_id, ()):
            line = ancestors_of(asked.tx, txs)
            if tx.txid not in line and any(spent & set(t.prevouts) for t in (asked.tx, *line.values())):
                return True
        return False
