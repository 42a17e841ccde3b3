"""Storms of conflicts: strangers, splits, bumps, reorgs and old attempts in any order. Nobody is ever paid twice.

Everything that may happen to a batch happens to it, at random and repeatably, with every worker's loop in between. A
miner may take any attempt of any generation, whatever a mempool holds. Then the weather clears, an operator does what
`why` tells him, and everybody is paid.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.unit.bench import COIN_SATS, FINAL, SAFETY, SATS, WHY, Bench
from tests.unit.fakes import customer_script, stranger
from tests.unit.signing_orders import PKH, WPKH
from withdrawals.core.model import Batch, BatchState, TxOut, Withdrawal, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import Sats
from withdrawals.errors import NotAllowed, WorldError
from withdrawals.processor import Processor
from workers.inline import Inline
from workers.sweeper import sweep

STEPS = 25
LIVE = {BatchState.SIGNING, BatchState.SIGNED, BatchState.BROADCAST}
REORG_MAX = 5
"""Deeper than `final`, and far from what is never followed."""
CLEARING = 14
UNPAID = {WithdrawalState.QUEUED, WithdrawalState.BATCHED, WithdrawalState.BROADCAST}


class Storm:
    """One processor in bad weather."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.rng = bench, random.Random(seed)
        self.inline, self.processor = Inline(bench.parts), Processor(bench.parts)
        bench.fund(*[COIN_SATS] * 6, depth=2 * REORG_MAX)
        self.requests: list[Withdrawal] = []
        self.told: list[str] = []
        self.pay()

    def blow(self) -> None:
        """One thing happens."""
        deeds: list[Callable[[], object]] = [
            self.pay,
            self.pay,
            self.mine,
            self.mine_any_attempt,
            self.mine_any_attempt,
            self.reorg,
            self.reorg,
            self.bump,
            self.leave_out,
            self.leave_out,
            self.sweep_by_hand,
            self.bench.node.forgets,
            self.approve,
        ]
        deed = self.rng.choice(deeds)
        self.told.append(deed.__name__)
        deed()
        if self.rng.random() < 0.6:
            self.mend()
        self.look()

    def look(self) -> None:
        """Nobody is paid twice on the node's chain, whatever the ledger says."""
        for withdrawal in self.requests:
            assert len(self.bench.paid(withdrawal)) <= 1, (withdrawal.request_id, self.told)

    # ---------------------------------------------------------------------------------------------------- what happens

    def pay(self) -> None:
        """Some requests at once, which make a batch if all is well."""
        for _ in range(self.rng.randint(1, 3)):
            self.requests.append(self.bench.request(SATS + len(self.requests)))
        self.tick()

    def tick(self) -> None:
        self.bench.clock.sleep(20)
        sweep(self.bench.parts)  # which derives more scripts, too
        self.inline.tick()

    def mine(self) -> None:
        self.bench.node.mine()
        self.tick()

    def attempts(self) -> list[bytes]:
        """Whatever was ever signed, and a twin of each where there can be one: all of it is public."""
        with self.bench.ledger.read() as view:
            batches = [view.load_batch(b) for b in view.list_batches(set(BatchState))]
            found = [a.raw for b in batches if b is not None for a in b.attempts]
        if self.bench.policy.allow_malleable_coins:
            found += [self.bench.malleate(raw, "T01") for raw in found]
        return found

    def minable(self) -> list[bytes]:
        unspent = self.bench.node.unspent()
        return [raw for raw in self.attempts() if all(o in unspent for o in view_of(raw).prevouts)]

    def mine_any_attempt(self) -> None:
        """A miner takes what he likes."""
        if candidates := self.minable():
            self.bench.node.mine_exactly(self.rng.choice(candidates))
            self.tick()

    def reorg(self) -> None:
        self.bench.node.reorg(self.rng.randint(1, REORG_MAX), forget=self.rng.random() < 0.5)
        if self.rng.random() < 0.5:
            self.mine_any_attempt()
        self.tick()

    def some_batch(self, states: set[BatchState]) -> Batch | None:
        with self.bench.ledger.read() as view:
            batches = view.list_batches(states)
            return view.load_batch(self.rng.choice(batches)) if batches else None

    def bump(self) -> None:
        if (batch := self.some_batch(LIVE)) is not None:
            with suppress(NotAllowed, WorldError):
                self.processor.bump(batch.id, reason=WHY)
            self.tick()

    def leave_out(self) -> None:
        """An operator takes somebody out of a batch, and perhaps keeps him back."""
        if (batch := self.some_batch(LIVE)) is not None:
            one = self.rng.choice(batch.withdrawals)
            with suppress(NotAllowed, WorldError):
                hold = self.rng.random() < 0.5
                self.processor.bump(batch.id, reason=WHY, without=[one.request_id], hold=hold)
            self.tick()

    def approve(self) -> None:
        if (batch := self.some_batch({BatchState.CONFLICTED})) is not None:
            with suppress(NotAllowed, WorldError):
                self.processor.approve_reissue(batch.id, reason=WHY)

    def sweep_by_hand(self) -> None:
        """Somebody spends a coin of a batch with other software, to us or to nobody we know."""
        unspent = self.bench.node.unspent()
        coins = [o for raw in self.minable() for o in view_of(raw).prevouts]
        if not coins:
            return
        coin = self.rng.choice(coins)
        rest = Sats(unspent[coin].sats - 1_000)
        to_us = self.rng.random() < 0.7
        output = self.bench.change_back(rest) if to_us else TxOut(customer_script(10**6), rest)
        self.bench.node.mine_exactly(stranger([coin], [output]))
        self.tick()

    # ------------------------------------------------------------------------------------------------ after the weather

    def mend(self) -> None:
        """The operator explains what is foreign, and goes on."""
        for found in self.processor.survey().strangers:
            with suppress(NotAllowed):
                self.processor.reconcile(found.txid, reason=WHY)
        with suppress(NotAllowed, WorldError):
            self.processor.resume(reason=WHY)

    def clear(self) -> None:
        """No more weather: money comes, blocks come, and the operator reads `why`."""
        for _ in range(CLEARING):
            with self.bench.ledger.begin() as tx:
                script = tx.allocate_script(0, 0).script
            self.bench.node.deposit((script, COIN_SATS))
            self.mine()
            self.mend()
            for withdrawal in self.requests:
                story = self.processor.show(withdrawal.request_id)
                if "approve-reissue" in story.next_step:
                    with suppress(NotAllowed, WorldError):
                        self.processor.approve_reissue(withdrawal.request_id, reason=WHY)
            self.tick()
            self.look()
        for _ in range(SAFETY + 2 * FINAL):
            if {self.bench.state(w) for w in self.requests} == {WithdrawalState.FINAL}:
                break
            for withdrawal in self.requests:
                if self.bench.state(withdrawal) in UNPAID:
                    with suppress(NotAllowed, WorldError):
                        self.processor.approve_reissue(withdrawal.request_id, reason=WHY)
            self.mine()
            self.mend()
            self.look()


@pytest.mark.covers("I1", "I4", "I7", "CE1", "CE14", "CE16", "CE18", "CE19", "CE21")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [WPKH, PKH], ids=["segwit", "malleable"])
def test_whatever_happens_everybody_is_paid_once(make_bench: Callable[..., Bench], kind: int, seed: int) -> None:
    """By whichever attempt of whichever generation; and the audit agrees."""
    storm = Storm(make_bench(kind=kind), seed)
    for _ in range(STEPS):
        storm.blow()
    storm.clear()
    unpaid = {w.request_id: storm.processor.show(w.request_id).next_step for w in storm.requests}
    unpaid = {name: words for name, words in unpaid.items() if not words.startswith("Nothing: it is paid")}
    assert unpaid == {}, storm.told
    assert [storm.bench.paid(w) for w in storm.requests] == [[w.sats] for w in storm.requests], storm.told
    assert storm.processor.audit().findings == (), storm.told
