"""Histories in the notation of docs/malleability.md, played on a real processor: `T1{a,b}->w1,us` is an instruction.

A line is a verb and what it is about. Coins, transactions and withdrawals have names; `F:us` is the output of F that is
ours, `F:us2` the second. Amounts are in tenths of a coin (SATS). What the processor plans has to be exactly what the
line says: the same inputs, the same customers, change or none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

import pytest

from regtest.malleate import MALLEATORS, Prevout
from tests.by_hand import sign_by_hand
from tests.unit.bench import ANCHOR, SATS, WHO, WHY, Bench
from tests.unit.fakes import customer_script, stranger
from withdrawals.core.exclusion import Intent, judge_exclusion
from withdrawals.core.model import Plan, TxOut, Withdrawal, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, Ntxid, OutPoint, Sats
from withdrawals.errors import NotAllowed
from withdrawals.lineage import load_history
from withdrawals.processor import Processor
from withdrawals.signing.hot import HotSigner
from withdrawals.steps.operate import resume
from withdrawals.steps.reissue import reissue
from withdrawals.steps.sign import Signing

FEE_SATS = 3_000
DEAR = 20_000
"""sat/kvB: a bump that one coin cannot pay from its change."""
_TX = re.compile(r"(?P<name>[A-Z]\w*'*)\{(?P<ins>[^}]*)\}->(?P<outs>\S*)")


@dataclass(frozen=True)
class Named:
    """A transaction of the story: its bytes, and the batch that it is an attempt of."""

    raw: bytes
    batch_id: BatchId | None = None


@dataclass(frozen=True)
class Shape:
    """`T1{a,b}->w1,us`, taken apart."""

    name: str
    ins: tuple[str, ...]
    outs: tuple[str, ...]


def shape_of(text: str) -> Shape:
    found = _TX.fullmatch(text)
    assert found is not None, f"{text!r} is not written like T1{{a,b}}->w1,us"
    return Shape(found["name"], tuple(found["ins"].split(",")), tuple(found["outs"].split(",")))


class Script:
    """A bench, and the names that a history has given to what happened on it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.coins: dict[str, OutPoint] = {}
        self.txs: dict[str, Named] = {}
        self.owed: dict[str, Withdrawal] = {}
        self._by_hand: HotSigner | None = None

    def play(self, history: Iterable[str]) -> None:
        """Every line, in order; whatever a line says has to be so."""
        for line in history:
            verb, *words = line.split()
            deed: Callable[..., None] = getattr(self, f"do_{verb}")
            try:
                deed(*words)
            except AssertionError as error:
                raise AssertionError(f"{line!r}: {error}") from error

    # ------------------------------------------------------------------------------------------------------ the world

    def do_coin(self, name: str, tenths: str = "10") -> None:
        """A buried coin of ours. Nothing else is in its blocks."""
        self._deposited(name, tenths, ANCHOR)

    def do_deposit(self, name: str, tenths: str = "10") -> None:
        """A coin of ours in the last block."""
        self._deposited(name, tenths, 1)

    def _deposited(self, name: str, tenths: str, depth: int) -> None:
        with self.bench.ledger.begin() as tx:
            script = tx.allocate_script(0, 0).script
        (self.coins[name],) = self.bench.node.deposit((script, int(Decimal(tenths) * SATS)))
        self.txs[f"D{name}"] = Named(self.bench.node.mempool[self.coins[name].txid].raw)
        self.do_block(f"D{name}")
        self.do_empty(str(depth - 1))

    def do_passing(self, coin: str, sweep: str) -> None:
        """`passing d S`: a deposit to us, and S, which takes it elsewhere, in one block."""
        with self.bench.ledger.begin() as tx:
            script = tx.allocate_script(0, 0).script
        (self.coins[coin],) = self.bench.node.deposit((script, 10 * SATS))
        deposit = self.bench.node.mempool[self.coins[coin].txid].raw
        out = TxOut(customer_script(99), Sats(10 * SATS - FEE_SATS))
        self.txs |= {f"D{coin}": Named(deposit), sweep: Named(stranger([self.coins[coin]], [out]))}
        self.do_block(f"D{coin}", sweep)

    def do_ask(self, name: str, tenths: str = "1", like: str = "") -> None:
        """A customer; `like` names another one who has the same address."""
        to = None if not like else list(self.owed).index(like) + 1
        self.owed[name] = self.bench.request(int(Decimal(tenths) * SATS), to=to)

    def do_foreign(self, text: str) -> None:
        """Somebody with our keys signs this, ALL on every input; it is in no block yet."""
        shape = shape_of(text)
        self._by_hand = self._by_hand or self.bench.another_signer()
        ins = [self.outpoint(name) for name in shape.ins]
        with self.bench.ledger.read() as view:
            left = sum(view.load_coins(ins)[o].sats for o in ins) - FEE_SATS
        left -= sum(self.owed[out].sats for out in shape.outs if out in self.owed)
        shares = [out for out in shape.outs if out not in self.owed]
        outputs = [self._output(out, left // max(1, len(shares))) for out in shape.outs]
        self.txs[shape.name] = Named(sign_by_hand(self._by_hand, self.bench.ledger, ins, outputs))

    def _output(self, out: str, share: int) -> TxOut:
        if out in self.owed:
            return TxOut(self.owed[out].script, self.owed[out].sats)
        return self.bench.change_back(share) if out == "us" else TxOut(customer_script(99), Sats(share))

    def do_twin(self, name: str, of: str, other: str, class_id: str) -> None:
        """`twin P' of P T01`: the same inputs and outputs in another encoding."""
        assert of == "of"
        raw = self.txs[other].raw
        with self.bench.ledger.read() as view:
            held = view.load_coins(view_of(raw).prevouts)
        prevouts = [Prevout(held[o].own.script, held[o].sats) for o in view_of(raw).prevouts]
        self.txs[name] = Named(MALLEATORS[class_id].malleate(raw, prevouts), self.txs[other].batch_id)

    def do_block(self, *names: str) -> None:
        """One block of exactly these."""
        self.bench.mine_exactly(*(self.txs[n].raw for n in names))

    def do_empty(self, blocks: str) -> None:
        """Blocks without any transaction."""
        for _ in range(int(blocks)):
            self.bench.mine_exactly()

    def do_bury(self) -> None:
        """What is in the mempool, and blocks until it is final."""
        self.bench.mine(self.bench.policy.final_depth)

    def do_reorg(self, depth: str, *names: str) -> None:
        """The last blocks are gone and forgotten; one block of these stands in their place, and empty ones."""
        self.bench.reorg(int(depth), [self.txs[n].raw for n in names], forget=True)

    def do_rewind(self, depth: str) -> None:
        """The node has taken its last blocks back, forgotten what was in them, and has no others yet."""
        self.bench.node.rewind(int(depth))
        self.bench.follow()

    # ------------------------------------------------------------------------------------------------------- our deeds

    def do_sign(self, text: str) -> None:
        """The planner takes the queue: exactly this is planned, signed and sent."""
        self._signed(self.bench.planned(), text)

    def do_bump(self, text: str, of: str, earlier: str) -> None:
        """`bump T2{a,b}->w1 of T1`: at a feerate that one coin alone would not pay, if it has to take another."""
        assert of == "of"
        batch_id = self.batch_id(earlier)
        self.bench.bump(batch_id, DEAR)
        self._signed(batch_id, text)

    def do_reissue(self, text: str, of: str, earlier: str) -> None:
        """`reissue T2{F:us}->w1 of T1`: the next generation of the batch of T1."""
        assert of == "of"
        bench = self.bench
        outcome = reissue(self.batch_id(earlier), bench.ledger, bench.node, bench.world, bench.dice)
        assert outcome.batch_id is not None, outcome.waiting
        self._signed(outcome.batch_id, text)

    def _signed(self, batch_id: BatchId, text: str) -> None:
        outcome = self.bench.sign(batch_id)
        assert outcome.outcome is Signing.SIGNED, outcome.why
        plan, shape = self.bench.newest_plan(batch_id), shape_of(text)
        assert self._written(shape.name, plan) == text, self._written(shape.name, plan)
        self.txs[shape.name] = Named(self.bench.attempt(batch_id).raw, batch_id)
        self.bench.broadcast(batch_id)

    def _written(self, name: str, plan: Plan) -> str:
        """A plan in the notation."""
        ins = ",".join(sorted(self.name_of(o) for o in plan.prevouts))
        named = {w.id: n for n, w in self.owed.items()}
        outs = sorted(named[w] for w in plan.withdrawal_ids)
        return f"{name}{{{ins}}}->{','.join([*outs, *['us' for o in plan.outputs if o.withdrawal_id is None]])}"

    def do_resend(self, name: str) -> None:
        """The sweeper's job: stored bytes whose inputs are unspent go out again."""
        self.bench.broadcast(self.batch_id(name))

    def do_explain(self, name: str) -> None:
        """The operator says that no other output of it pays a customer, and goes on."""
        Processor(self.bench.parts).reconcile(view_of(self.txs[name].raw).txid, reason=WHY, who=WHO)
        self.do_resume()

    def do_resume(self) -> None:
        """The operator has looked."""
        resume(self.bench.ledger, self.bench.world, who=WHO, why=WHY)

    # -------------------------------------------------------------------------------------------------- what must be so

    def do_permitted(self, text: str) -> None:
        """I1 would let a signer see this."""
        assert self._objections(text) == set(), self._objections(text)

    def do_refused(self, text: str, code: str) -> None:
        """I1 would not, for this reason."""
        assert code in self._objections(text), self._objections(text)

    def _objections(self, text: str) -> set[str]:
        shape = shape_of(text)
        prevouts = frozenset(self.outpoint(name) for name in shape.ins)
        ids = [self.owed[out].id for out in shape.outs if out in self.owed]
        with self.bench.ledger.read() as view:
            history = load_history(view, ids, prevouts, self.bench.policy)
        candidate = Intent(Ntxid("candidate"), prevouts, frozenset(ids), sealed=True)
        return {o.code for o in judge_exclusion(candidate, history.earlier, history.known).objections}

    def do_waits(self, name: str, *words: str) -> None:
        """A re-issue of its batch is not made, and this is the reason, from its first word on."""
        bench = self.bench
        outcome = reissue(self.batch_id(name), bench.ledger, bench.node, bench.world, bench.dice)
        assert outcome.batch_id is None
        assert outcome.waiting.startswith(" ".join(words)), outcome.waiting

    def do_unplanned(self, *words: str) -> None:
        """The queue is not planned, and this is the reason."""
        outcome = self.bench.plan()
        assert outcome.batch_id is None
        assert " ".join(words) in outcome.waiting, outcome.waiting

    def do_unbumped(self, name: str, word: str) -> None:
        """Its batch is not bumped, and this is the reason."""
        with pytest.raises(NotAllowed, match=word):
            self.bench.bump(self.batch_id(name), DEAR)

    def do_owed(self, name: str) -> None:
        """Neither the exchange nor an operator gives this balance back."""
        processor, request_id = Processor(self.bench.parts), self.owed[name].request_id
        for give_up in (processor.cancel, processor.reject):
            with pytest.raises(NotAllowed):
                give_up(request_id, reason=WHY, who=WHO)
        assert not processor.show(request_id).refundable

    def do_paid(self, name: str, by: str, payer: str) -> None:
        """`paid w1 by T1`: on the followed chain, by exactly one output, of this transaction."""
        assert by == "by"
        with self.bench.ledger.read() as view:
            payers = [p.txid for p in view.load_payments([self.owed[name].id])]
        assert payers == [view_of(self.txs[payer].raw).txid], payers

    def do_unpaid(self, name: str) -> None:
        """Nothing on the followed chain pays it."""
        with self.bench.ledger.read() as view:
            assert view.load_payments([self.owed[name].id]) == (), "something does"

    def do_is(self, name: str, state: str) -> None:
        """A withdrawal, or the batch of a transaction, is in this state."""
        found = self.bench.state(self.owed[name]) if name in self.owed else self.bench.batch_state(self.batch_id(name))
        assert found == state, found

    def do_kept(self, coin: str, by: str, name: str) -> None:
        """`kept F:us for T1`: reserved for the lineage that T1 is of."""
        assert by == "for"
        holder = self.bench.reserved().get(self.outpoint(coin))
        assert holder is not None, "nobody holds it"
        assert self.bench.batch(holder).lineage == self.bench.batch(self.batch_id(name)).lineage

    def do_free(self, coin: str) -> None:
        """A coin that anybody may plan with."""
        with self.bench.ledger.read() as view:
            assert self.outpoint(coin) in {c.outpoint for c in view.load_unspent_coins()}
        assert self.outpoint(coin) not in self.bench.reserved()

    def do_none(self, coin: str) -> None:
        """No coin of ours on this chain, spent or not."""
        with self.bench.ledger.read() as view:
            assert self.outpoint(coin) not in {c.outpoint for c in view.load_unspent_coins()}

    def do_breaker(self, *causes: str) -> None:
        """Exactly these are open."""
        assert self.bench.causes() == set(causes), self.bench.causes()

    # ----------------------------------------------------------------------------------------------------------- names

    def batch_id(self, name: str) -> BatchId:
        found = self.txs[name].batch_id
        assert found is not None, f"{name} is not ours"
        return found

    def outpoint(self, name: str) -> OutPoint:
        """A coin's, or that of an output of ours: `F:us`, `F:us2`."""
        if name in self.coins:
            return self.coins[name]
        tx_name, _, which = name.partition(":us")
        return self._ours_in(tx_name)[int(which or "1") - 1]

    def _ours_in(self, tx_name: str) -> list[OutPoint]:
        tx = view_of(self.txs[tx_name].raw)
        with self.bench.ledger.read() as view:
            own = view.load_own_scripts()
        return [OutPoint(tx.txid, vout) for vout, output in enumerate(tx.outputs) if output.script in own]

    def name_of(self, outpoint: OutPoint) -> str:
        for name, coin in self.coins.items():
            if coin == outpoint:
                return name
        for name in self.txs:
            ours = self._ours_in(name)
            if outpoint in ours:
                number = ours.index(outpoint) + 1
                return f"{name}:us{number if number > 1 else ''}"
        return str(outpoint)

    def assert_everybody_is_paid(self) -> None:
        """Final by the ledger; and on the chain each address got exactly what was owed to it, output by output."""
        assert {n: self.bench.state(w) for n, w in self.owed.items()} == dict.fromkeys(self.owed, WithdrawalState.FINAL)
        for script in {w.script for w in self.owed.values()}:
            assert self.bench.node.paid_to(script) == [w.sats for w in self.owed.values() if w.script == script]
