"""A test bench: one processor on a fake node, with the real ledger, signer, journal and composition root.

Each verb is one step as a worker runs it, so that a test can stop, look and meddle between any two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

from regtest.malleate import MALLEATORS, Prevout
from tests.ledgers import fresh_path, url_of
from tests.unit.fakes import BLOCK_S, FakeClock, FakeDice, FakeNode, SilentBell, customer_script
from tests.unit.signing_orders import DESCRIPTORS, PKH, WPKH, open_signer, write_key_file
from withdrawals.bootstrap import Parts
from withdrawals.config import Config, NodeConfig
from withdrawals.core.addresses import address_of
from withdrawals.core.model import Attempt, Batch, BatchState, Plan, TxOut, TxView, Withdrawal, WithdrawalState
from withdrawals.core.policy import Policy
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, Feerate, Network, OutPoint, Sats
from withdrawals.ports import FOLLOWER_LEASE, SignedAnswer, Signer, SigningOrder
from withdrawals.signing.descriptors import parse_wallet
from withdrawals.signing.hot import HotSigner
from withdrawals.steps import init as init_step
from withdrawals.steps import request as request_step
from withdrawals.steps.broadcast import Sending, broadcast
from withdrawals.steps.bump import Bumped, bump
from withdrawals.steps.plan import PlanOutcome, plan
from withdrawals.steps.settle import settle_with
from withdrawals.steps.sign import Signed, Signing, sign
from withdrawals.steps.watch import Watched, watch

COIN_SATS = 1_000_000
SATS = 100_000
"""What a customer asks for unless a test says otherwise."""
WHO = "tester"
WHY = "a test wants it"
ANCHOR, FINAL, SAFETY = 3, 3, 12

POLICY = replace(
    Policy(), anchor_depth_min=ANCHOR, final_depth=FINAL, reorg_safety_depth=SAFETY, resend_interval_s=0, peers_min=1
)


@cache
def _public_descriptors(kind: int) -> tuple[str, ...]:
    return parse_wallet([DESCRIPTORS[kind]], Network.REGTEST).descriptors


@dataclass(frozen=True, kw_only=True)
class FakeParts(Parts):
    """The composition root, but for the node, the clock, the dice and the bell."""

    node: FakeNode
    thrown: FakeDice

    @cached_property
    def chain(self) -> FakeNode:
        return self.node

    @cached_property
    def broadcaster(self) -> FakeNode:
        return self.node

    @cached_property
    def fees(self) -> FakeNode:
        return self.node

    @cached_property
    def clock(self) -> FakeClock:
        return self.node.clock

    @cached_property
    def dice(self) -> FakeDice:
        return self.thrown

    @cached_property
    def bell(self) -> SilentBell:
        return SilentBell()


@dataclass
class SpySigner:
    """Stands before the real signer: notes every order, and lets a test happen around the asking."""

    signer: Signer
    before: Callable[[SigningOrder], object] = lambda _order: None
    after: Callable[[SignedAnswer], SignedAnswer] = lambda answer: answer
    orders: list[SigningOrder] = field(default_factory=list)

    def compare(self, journal_head: str) -> None:
        self.signer.compare(journal_head)

    def ask(self, order: SigningOrder) -> SignedAnswer:
        self.orders.append(order)
        self.before(order)
        return self.after(self.signer.ask(order))


class Bench:
    """A processor whose hot wallet is `kind` (an index of `signing_orders.DESCRIPTORS`), initialised and at the tip."""

    def __init__(self, folder: Path, *, kind: int = WPKH, policy: Policy = POLICY) -> None:
        self.folder, self._kind, self._requests = folder, kind, 0
        self.node, self.dice = FakeNode(FakeClock()), FakeDice()
        self.clock = self.node.clock
        self._opened: list[FakeParts] = []
        self._others: list[HotSigner] = []
        write_key_file(folder / "keys", [DESCRIPTORS[kind]])
        self.open(fresh_path(folder), replace(policy, allow_malleable_coins=kind == PKH))
        self.init()
        self.follow()

    def open(self, ledger: Path, policy: Policy) -> None:
        """Start (again) on this ledger under this policy, with the keys and the journal that there are."""
        for parts in self._opened:
            parts.close()
        config = Config(
            network=Network.REGTEST,
            ledger_url=url_of(ledger),
            node=NodeConfig("http://127.0.0.1:1"),
            descriptors=_public_descriptors(self._kind),
            policy=policy,
            key_file=self.folder / "keys",
            journal=self.folder / "journal",
            lookahead=20,
        )
        self.parts = FakeParts(config, node=self.node, thrown=self.dice)
        self._opened.append(self.parts)
        self.ledger, self.signer, self.policy = self.parts.ledger, self.parts.signer, policy
        self.world = self.parts.world

    def with_policy(self, policy: Policy) -> None:
        """From now on under another policy, as after a restart with another configuration."""
        self.open(self.folder / "ledger.db", policy)

    def close(self) -> None:
        self.parts.close()
        for signer in self._others:
            signer.close()

    def spy(self, **around: Callable[..., object]) -> SpySigner:
        """Put a spy before the signer: `before` sees the order, `after` sees (and returns) the answer."""
        spy = SpySigner(self.parts.signer, **around)  # type: ignore[arg-type] # a test's own words
        self.signer = spy
        return spy

    def another_signer(self) -> HotSigner:
        """A second signer with the same keys and a journal of its own, which is what no one should have."""
        folder = self.folder / f"another{len(self._others)}"
        folder.mkdir()
        write_key_file(folder / "keys", [DESCRIPTORS[self._kind]])
        self._others.append(open_signer(folder))
        return self._others[-1]

    # -------------------------------------------------------------------------------------------------------- steps

    def init(self) -> None:
        wallet = self.parts.watched_wallet
        init_step.init(
            self.ledger, self.node, self.clock, wallet, network=Network.REGTEST, birthday_height=None, who=WHO
        )

    def request(self, sats: int = SATS, *, to: int | None = None, request_id: str | None = None) -> Withdrawal:
        """A customer (a new one unless `to` names one) asks for a withdrawal."""
        self._requests += 1
        address = address_of(customer_script(self._requests if to is None else to), Network.REGTEST)
        parsed = request_step.parse_request(request_id or f"r-{self._requests}", address, sats, Network.REGTEST)
        return request_step.enqueue([parsed], self.ledger, self.policy, self.clock, self.dice)[0]

    def cancel(self, withdrawal: Withdrawal) -> Withdrawal:
        return request_step.cancel(withdrawal.request_id, self.ledger, self.clock, who=WHO, why=WHY)

    def plan(self) -> PlanOutcome:
        return plan(self.ledger, self.node, self.world, self.dice)

    def planned(self) -> BatchId:
        """Plan, where a batch must come of it."""
        outcome = self.plan()
        assert outcome.batch_id is not None, outcome.waiting
        return outcome.batch_id

    def sign(self, batch_id: BatchId) -> Signed:
        return sign(batch_id, self.ledger, self.signer, self.parts.verifier, self.world)

    def signed(self) -> BatchId:
        """Plan and sign, where a signed batch must come of it."""
        batch_id = self.planned()
        outcome = self.sign(batch_id)
        assert outcome.outcome is Signing.SIGNED, outcome.why
        return batch_id

    def broadcast(self, batch_id: BatchId) -> tuple[Sending, ...]:
        settle = settle_with(self.policy, self.clock)
        return broadcast(batch_id, self.ledger, self.node, self.node, settle, self.policy, self.clock)

    def sent(self) -> BatchId:
        """Plan, sign and broadcast."""
        batch_id = self.signed()
        self.broadcast(batch_id)
        return batch_id

    def bump(self, batch_id: BatchId, feerate: int | None = None) -> Bumped:
        rate = None if feerate is None else Feerate(feerate)
        return bump(batch_id, self.ledger, self.node, self.world, who=WHO, why=WHY, feerate=rate)

    def take_lease(self, holder: str = "bench") -> int:
        with self.ledger.begin() as tx:
            epoch = tx.take_lease(FOLLOWER_LEASE, holder, now=self.clock.now(), ttl_s=15)
        assert epoch is not None
        return epoch

    def follow(self, *, epoch: int | None = None, blocks_max: int = 100) -> Watched:
        settle = settle_with(self.policy, self.clock)
        held = self.take_lease() if epoch is None else epoch
        return watch(self.ledger, self.node, settle, self.policy, self.clock, epoch=held, blocks_max=blocks_max)

    def mine(self, blocks: int = 1) -> Watched:
        self.node.mine(blocks)
        return self.follow()

    def mine_at_once(self) -> Watched:
        """A block that was found within the second."""
        self.node.mine()
        self.clock.sleep(-BLOCK_S)
        return self.follow()

    def mine_exactly(self, *raws: bytes) -> Watched:
        self.node.mine_exactly(*raws)
        return self.follow()

    def reorg(self, depth: int, *blocks: Sequence[bytes], forget: bool = False) -> Watched:
        self.node.reorg(depth, *blocks, forget=forget)
        return self.follow()

    # ------------------------------------------------------------------------------------------------ money and twins

    def fund(self, *sats: int, depth: int = ANCHOR) -> tuple[OutPoint, ...]:
        """Coins of ours (one of COIN_SATS unless amounts are given), this deep on the followed chain."""
        amounts = sats or (COIN_SATS,)
        with self.ledger.begin() as tx:
            scripts = [tx.allocate_script(0, 0).script for _ in amounts]
        coins = self.node.deposit(*zip(scripts, amounts, strict=True))
        self.mine(depth)
        return coins

    def malleate(self, raw: bytes, class_id: str) -> bytes:
        """What a third party makes of our bytes: T01 is a twin (P2PKH), W01 a witness twin (P2WPKH)."""
        prevouts = [Prevout(i.own.script, i.sats) for i in self._plan_of(view_of(raw)).inputs]
        mutant = MALLEATORS[class_id].malleate(raw, prevouts)
        self.node.nonstandard.add(view_of(mutant).wtxid)
        return mutant

    def _plan_of(self, tx: TxView) -> Plan:
        with self.ledger.read() as view:
            return next(p for p in view.load_plans_spending(tx.prevouts) if p.ntxid == tx.ntxid)

    def change_back(self, sats: int) -> TxOut:
        """An output to a fresh script of ours."""
        with self.ledger.begin() as tx:
            return TxOut(tx.allocate_script(0, 1).script, Sats(sats))

    # ------------------------------------------------------------------------------------------------------- looking

    def batch(self, batch_id: BatchId) -> Batch:
        with self.ledger.read() as view:
            found = view.load_batch(batch_id)
        assert found is not None
        return found

    def newest_plan(self, batch_id: BatchId) -> Plan:
        return self.batch(batch_id).plans[-1]

    def attempt(self, batch_id: BatchId) -> Attempt:
        """The newest signed bytes of a batch."""
        return self.batch(batch_id).attempts[-1]

    def batch_state(self, batch_id: BatchId) -> BatchState:
        return self.batch(batch_id).state

    def withdrawal(self, withdrawal: Withdrawal) -> Withdrawal:
        """The same, as it is now."""
        with self.ledger.read() as view:
            found = view.find_withdrawal(withdrawal.id)
        assert found is not None
        return found

    def state(self, withdrawal: Withdrawal) -> WithdrawalState:
        return self.withdrawal(withdrawal).state

    def causes(self) -> set[str]:
        """The words of the open breaker causes."""
        with self.ledger.read() as view:
            return {c.cause for c in view.load_breaker()}

    def reserved(self) -> dict[OutPoint, BatchId]:
        with self.ledger.read() as view:
            return dict(view.load_reservations())

    def events(self) -> list[str]:
        """The kinds of all events, in order; their numbers are gap-free."""
        with self.ledger.read() as view:
            events = view.load_events(limit=10_000)
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        return [e.kind for e in events]

    def paid(self, withdrawal: Withdrawal) -> list[int]:
        """What the node's chain pays to this customer, output by output."""
        return self.node.paid_to(withdrawal.script)
