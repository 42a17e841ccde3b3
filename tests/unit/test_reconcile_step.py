"""reconcile: an operator's word on a foreign spend. It opens the way, binds what was paid, and unsays nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.by_hand import sign_by_hand
from tests.unit.bench import COIN_SATS, POLICY, SATS, WHO, WHY, Bench
from tests.unit.fakes import customer_script
from tests.unit.signing_orders import PKH
from withdrawals.core.foreign import LOOK_ALIKE, Ruling
from withdrawals.core.model import BatchState, TxOut, TxView, Withdrawal, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, OutPoint, Sats
from withdrawals.errors import NotAllowed, UnknownId, WithdrawalsError
from withdrawals.processor import Processor
from withdrawals.signing.hot import HotSigner
from withdrawals.steps.audit import audit
from withdrawals.steps.operate import resume
from withdrawals.steps.reissue import Reissued, reissue
from withdrawals.steps.sign import Signing

FEE = 2_000


@dataclass
class Desk:
    """An operator with the keys in his own hands, beside a bench."""

    bench: Bench
    signer: HotSigner

    def spends(self, coins: Iterable[OutPoint], *outputs: TxOut) -> TxView:
        """Signed past the processor; what is left over comes back to a fresh script of ours, as the last output."""
        coins = list(coins)
        with self.bench.ledger.read() as view:
            total = sum(view.load_coins(coins)[o].sats for o in coins)
        left = total - sum(o.sats for o in outputs) - FEE
        return view_of(sign_by_hand(self.signer, self.bench.ledger, coins, [*outputs, self.bench.change_back(left)]))

    def reconciles(self, tx: TxView, *, pays: dict[int, Withdrawal] | None = None, other: Sequence[int] = ()) -> None:
        named = {vout: w.request_id for vout, w in (pays or {}).items()}
        Processor(self.bench.parts).reconcile(tx.txid, pays=named, other=other, reason=WHY, who=WHO)

    def resumes(self) -> None:
        resume(self.bench.ledger, self.bench.world, who=WHO, why=WHY)

    def explains(self, tx: TxView, **words: object) -> None:
        """Reconcile and resume."""
        self.reconciles(tx, **words)  # type: ignore[arg-type]
        self.resumes()


@pytest.fixture
def desk(bench: Bench) -> Desk:
    return Desk(bench, bench.another_signer())


@pytest.fixture
def legacy(tmp_path: Path) -> Iterable[Desk]:
    """Coins that anybody can re-encode the spends of."""
    bench = Bench(tmp_path, kind=PKH)
    yield Desk(bench, bench.another_signer())
    bench.close()


def paying(withdrawal: Withdrawal, sats: int | None = None) -> TxOut:
    return TxOut(withdrawal.script, withdrawal.sats if sats is None else Sats(sats))


def child_of(bench: Bench, batch_id: BatchId) -> BatchId:
    """Re-issue and sign, where a next generation must come of it."""
    outcome = reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)
    assert outcome.batch_id is not None, outcome.waiting
    assert bench.sign(outcome.batch_id).outcome is Signing.SIGNED
    return outcome.batch_id


def findings(bench: Bench) -> tuple[object, ...]:
    return audit(bench.ledger, bench.policy).findings


# ---------------------------------------------------------------------------------------------- the way opens again


@pytest.mark.covers("I6")
def test_an_explained_spend_lets_the_work_go_on(desk: Desk) -> None:
    """The breaker stays open until somebody says what it was, and then until `resume`."""
    bench = desk.bench
    (coin,) = bench.fund()
    bench.fund()
    swept = desk.spends([coin])
    bench.mine_exactly(swept.raw)
    assert bench.causes() == {"unexplained_spend"}
    with pytest.raises(NotAllowed, match="unexplained"):
        desk.resumes()
    desk.reconciles(swept)
    assert bench.causes() == {"unexplained_spend"}
    desk.resumes()
    assert bench.causes() == set()
    bench.mine()
    assert bench.causes() == set()
    withdrawal = bench.request()
    bench.sent()
    bench.mine(POLICY.final_depth)
    assert bench.paid(withdrawal) == [SATS]
    assert findings(bench) == ()


def test_a_spend_that_only_the_mempool_shows_can_be_explained_too(desk: Desk) -> None:
    """And stays explained in its block, in whatever encoding."""
    bench = desk.bench
    (coin,) = bench.fund()
    bench.fund()
    swept = desk.spends([coin])
    bench.node.sees(swept.raw)
    bench.request()
    assert "unexplained_mempool_spend" in bench.plan().waiting
    assert bench.causes() == {"unexplained_mempool_spend"}
    desk.explains(swept)
    assert bench.plan().batch_id is not None
    bench.mine()
    assert bench.causes() == set()


@pytest.mark.covers("CE1", "I1")
def test_the_twin_of_an_old_generation_returns_and_nothing_more_is_signed(legacy: Desk) -> None:
    """T1{a}->w1; F{a}->us mined; T2{F:0}->w1; the reorg brings T1's twin: w1 is paid, by lineage, and once."""
    bench = legacy.bench
    (coin,) = bench.fund()
    withdrawal = bench.request()
    first = bench.sent()
    twin = bench.malleate(bench.attempt(first).raw, "T01")
    swept = legacy.spends([coin])
    bench.mine_exactly(swept.raw)
    assert bench.batch_state(first) is BatchState.CONFLICTED
    legacy.explains(swept)
    second = child_of(bench, first)
    assert bench.newest_plan(second).prevouts == {OutPoint(swept.txid, 0)}
    bench.reorg(1, [twin])
    assert bench.state(withdrawal) is WithdrawalState.CONFIRMED
    for batch_id in (first, second):
        assert reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice) == Reissued(None)
    bench.mine(POLICY.final_depth)
    assert bench.paid(withdrawal) == [SATS]
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert findings(bench) == ()


# ------------------------------------------------------------------------------------------------------ what is bound


@pytest.mark.covers("P15", "I11")
def test_a_payment_by_hand_is_bound_and_never_made_again(desk: Desk) -> None:
    """No signer of ours was ever asked. From now on it cannot be cancelled: its payment is public."""
    bench = desk.bench
    (coin,) = bench.fund()
    bench.fund()
    withdrawal = bench.request()
    by_hand = desk.spends([coin], paying(withdrawal))
    bench.mine_exactly(by_hand.raw)
    assert bench.state(withdrawal) is WithdrawalState.QUEUED
    with pytest.raises(NotAllowed, match=f"look_alike: output 0 .*{withdrawal.request_id}"):
        desk.reconciles(by_hand)
    desk.explains(by_hand, pays={0: withdrawal})
    assert bench.state(withdrawal) is WithdrawalState.CONFIRMED
    assert bench.plan().batch_id is None
    with pytest.raises(NotAllowed):
        bench.cancel(withdrawal)
    bench.mine(POLICY.final_depth)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert bench.paid(withdrawal) == [SATS]
    assert findings(bench) == ()


@pytest.mark.covers("I1", "I3")
def test_a_bound_payment_that_falls_to_a_rival_is_re_issued_so_that_it_can_never_come_back(desk: Desk) -> None:
    """F{a}->w by hand, bound; a reorg gives a to G{a}->us: the re-issue excludes F, for w was never asked before."""
    bench = desk.bench
    (coin,) = bench.fund()
    withdrawal = bench.request()
    by_hand = desk.spends([coin], paying(withdrawal))
    rival = desk.spends([coin])
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand, pays={0: withdrawal})
    bench.reorg(1, forget=True)
    assert bench.state(withdrawal) is WithdrawalState.BROADCAST
    (story,) = Processor(bench.parts).why(by_hand.txid)
    assert story.withdrawal.id == withdrawal.id
    assert "An operator bound somebody else's payment to it" in story.next_step
    bench.mine_exactly(rival.raw)
    adopted = bench.withdrawal(withdrawal).batch_id
    assert adopted is not None
    assert bench.batch_state(adopted) is BatchState.CONFLICTED
    desk.explains(rival)
    child = child_of(bench, adopted)
    assert bench.newest_plan(child).prevouts == {OutPoint(rival.txid, 0)}
    bench.broadcast(child)
    bench.mine(POLICY.final_depth)
    assert bench.paid(withdrawal) == [SATS]
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert findings(bench) == ()


def test_a_bound_payment_counts_again_when_its_block_comes_back(desk: Desk) -> None:
    """The ruling stays when the block that it was made on goes; so does the explanation."""
    bench = desk.bench
    (coin,) = bench.fund()
    withdrawal = bench.request()
    by_hand = desk.spends([coin], paying(withdrawal))
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand, pays={0: withdrawal})
    bench.reorg(1, forget=True)
    bench.mine_exactly(by_hand.raw)
    assert bench.causes() == set()
    assert bench.state(withdrawal) is WithdrawalState.CONFIRMED
    bench.mine(POLICY.final_depth)
    assert bench.state(withdrawal) is WithdrawalState.FINAL


@pytest.mark.covers("CE5")
def test_a_request_that_looks_like_an_unruled_payment_is_held_until_somebody_rules(desk: Desk) -> None:
    """A ledger that forgot an id meets its payment first and the id later (a restored backup)."""
    bench = desk.bench
    (coin,) = bench.fund()
    bench.fund()
    by_hand = desk.spends([coin], TxOut(customer_script(77), Sats(SATS)))
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand)
    late, other = bench.request(to=77), bench.request(SATS + 1, to=77)
    assert late.state is WithdrawalState.HELD
    assert (late.hold_reason or "").startswith(LOOK_ALIKE)
    assert f"{by_hand.txid}:0" in (late.hold_reason or "")
    assert other.state is WithdrawalState.QUEUED
    desk.reconciles(by_hand, pays={0: late})
    assert bench.state(late) is WithdrawalState.CONFIRMED
    bench.sent()
    bench.mine(POLICY.final_depth)
    assert bench.paid(late) == [SATS, SATS + 1], "one by hand, and the other request"


def test_what_was_ruled_no_payment_holds_nobody(desk: Desk) -> None:
    """The operator's word frees the look-alike."""
    bench = desk.bench
    (coin,) = bench.fund()
    bench.fund()
    withdrawal = bench.request(to=77)
    refund = desk.spends([coin], paying(withdrawal))
    bench.mine_exactly(refund.raw)
    desk.explains(refund, other=[0])
    assert bench.request(to=77).state is WithdrawalState.QUEUED
    assert bench.state(withdrawal) is WithdrawalState.QUEUED
    with pytest.raises(NotAllowed, match="ruled: output 0"):
        desk.reconciles(refund, pays={0: withdrawal})


@pytest.mark.covers("CE7", "I11")
def test_one_output_pays_one_of_two_equal_withdrawals(desk: Desk) -> None:
    """T1{a}->w1, T2{b}->w2, same script and sum; F{a,b} pays it once: the first request is paid, the other is not."""
    bench = desk.bench
    first_coin, second_coin = bench.fund(COIN_SATS, COIN_SATS)
    one = bench.request(to=7)
    first = bench.sent()
    two = bench.request(to=7)
    second = bench.sent()
    assert bench.newest_plan(first).prevouts | bench.newest_plan(second).prevouts == {first_coin, second_coin}
    both = desk.spends([first_coin, second_coin], paying(one))
    bench.mine_exactly(both.raw)
    assert [bench.state(w) for w in (one, two)] == [WithdrawalState.CONFIRMED, WithdrawalState.BROADCAST]
    desk.explains(both)
    child = child_of(bench, second)
    bench.broadcast(child)
    bench.mine(POLICY.final_depth)
    assert [bench.state(w) for w in (one, two)] == [WithdrawalState.FINAL] * 2
    assert bench.paid(one) == [SATS, SATS]
    assert findings(bench) == ()


def test_a_stranger_s_other_output_pays_who_built_on_what_it_displaced(desk: Desk) -> None:
    """T5 stands on F:0, an explained sweep; G takes F's coin and pays T5's customer: that is his payment."""
    bench = desk.bench
    (coin,) = bench.fund()
    swept = desk.spends([coin])
    withdrawal = bench.request()
    rival = desk.spends([coin], paying(withdrawal))
    bench.mine_exactly(swept.raw)
    bench.mine(POLICY.anchor_depth_min)
    desk.explains(swept)
    batch_id = bench.sent()
    assert bench.newest_plan(batch_id).prevouts == {OutPoint(swept.txid, 0)}
    bench.reorg(POLICY.anchor_depth_min + 1, [rival.raw], forget=True)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert bench.paid(withdrawal) == [SATS]


# ----------------------------------------------------------------------------------------------- what is not accepted

Refused = Callable[[Desk, TxView, Withdrawal], object]
REFUSED: dict[str, tuple[Refused, type[WithdrawalsError], str]] = {
    "an unknown transaction": (
        lambda d, _tx, _w: Processor(d.bench.parts).reconcile("ab" * 32, reason=WHY),
        UnknownId,
        "no transaction that this ledger ever saw",
    ),
    "an unknown request": (
        lambda d, tx, _w: Processor(d.bench.parts).reconcile(tx.txid, pays={0: "nobody"}, reason=WHY),
        UnknownId,
        "pays: no withdrawal 'nobody'",
    ),
    "no reason": (
        lambda d, tx, w: Processor(d.bench.parts).reconcile(tx.txid, pays={0: w.request_id}, reason=" "),
        WithdrawalsError,
        "reason",
    ),
    "an output that there is not": (lambda d, tx, w: d.reconciles(tx, pays={9: w}), NotAllowed, "no_output"),
    "an output to ourselves": (lambda d, tx, w: d.reconciles(tx, pays={1: w}), NotAllowed, "ours: output 1"),
    "another sum": (
        lambda d, tx, _w: d.reconciles(tx, pays={0: d.bench.request(SATS + 1, to=1)}),
        NotAllowed,
        "not_that_payment",
    ),
    "both payment and none": (lambda d, tx, w: d.reconciles(tx, pays={0: w}, other=[0]), NotAllowed, "both"),
    "a cancelled request": (
        lambda d, tx, w: d.reconciles(tx, pays={0: _cancelled(d, w)}),
        NotAllowed,
        "given_up",
    ),
    "our own plan": (lambda d, _tx, _w: d.reconciles(_own(d)), NotAllowed, "explains itself"),
    "a deposit": (lambda d, _tx, _w: d.reconciles(_deposit(d)), NotAllowed, "spends no coin of ours"),
}


def _cancelled(desk: Desk, withdrawal: Withdrawal) -> Withdrawal:
    with desk.bench.ledger.begin() as tx:  # a ledger in doubt refuses to cancel: it was done before
        tx.set_withdrawal(withdrawal.id, state=WithdrawalState.CANCELLED)
    return withdrawal


def _own(desk: Desk) -> TxView:
    with desk.bench.ledger.read() as view:
        (batch_id,) = view.list_batches({BatchState.SIGNED})
    return view_of(desk.bench.attempt(batch_id).raw)


def _deposit(desk: Desk) -> TxView:
    with desk.bench.ledger.read() as view:
        return view.load_transactions([view.load_unspent_coins()[0].outpoint.txid])[0]


@pytest.mark.parametrize("case", [pytest.param(c, id=name) for name, c in REFUSED.items()])
def test_words_that_cannot_be_true_change_nothing(
    desk: Desk, case: tuple[Refused, type[WithdrawalsError], str]
) -> None:
    """A typed error, and the ledger as it was."""
    act, error, words = case
    bench = desk.bench
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request(to=50)
    bench.signed()
    withdrawal = bench.request(to=1)
    with bench.ledger.read() as view:
        free = [c.outpoint for c in view.load_unspent_coins() if c.outpoint not in view.load_reservations()]
    assert free
    by_hand = desk.spends(free[:1], paying(withdrawal))
    bench.mine_exactly(by_hand.raw)
    with pytest.raises(error, match=words):
        act(desk, by_hand, withdrawal)
    with bench.ledger.read() as view:
        assert view.find_explanation(by_hand.ntxid) is None
        assert view.load_payments([withdrawal.id]) == ()


def test_what_is_paid_already_is_not_bound_to_a_second_payment(desk: Desk) -> None:
    """That would be a gift: it is ruled no payment, with a reason, and stands in the story."""
    bench = desk.bench
    bench.fund(COIN_SATS, COIN_SATS)
    withdrawal = bench.request()
    bench.sent()
    bench.mine()
    with bench.ledger.read() as view:
        free = [c.outpoint for c in view.load_unspent_coins() if c.outpoint not in view.load_reservations()]
    gift = desk.spends(free[:1], paying(withdrawal))
    bench.mine_exactly(gift.raw)
    with pytest.raises(NotAllowed, match="is paid already"):
        desk.reconciles(gift, pays={0: withdrawal})
    desk.explains(gift, other=[0])
    with bench.ledger.read() as view:
        found = view.find_explanation(gift.ntxid)
    assert found is not None
    assert [o.ruling for o in found.outputs] == [Ruling.OTHER]


def test_saying_the_same_again_changes_nothing_but_the_story(desk: Desk) -> None:
    """A second operator, or a repeated click."""
    bench = desk.bench
    (coin,) = bench.fund()
    withdrawal = bench.request()
    by_hand = desk.spends([coin], paying(withdrawal))
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand, pays={0: withdrawal})
    home = bench.withdrawal(withdrawal).batch_id
    desk.reconciles(by_hand, pays={0: withdrawal})
    assert bench.withdrawal(withdrawal).batch_id == home
    with bench.ledger.read() as view:
        assert len(view.load_payments([withdrawal.id])) == 1


# --------------------------------------------------------------------------------------------------------- the survey


def test_the_survey_names_each_stranger_with_the_command_that_explains_it(desk: Desk) -> None:
    """What it takes, whom it looks like, and what to type."""
    bench = desk.bench
    (coin,) = bench.fund()
    withdrawal = bench.request()
    by_hand = desk.spends([coin], paying(withdrawal))
    bench.node.sees(by_hand.raw)
    found = Processor(bench.parts).survey()
    (stranger,) = found.strangers
    assert (stranger.txid, stranger.height, stranger.takes) == (by_hand.txid, None, (coin,))
    assert withdrawal.request_id in stranger.outputs[0].meaning
    assert stranger.outputs[1].meaning == "ours"
    either = f"(--pays 0={withdrawal.request_id} or --other 0)"
    assert stranger.command == f'withdrawals reconcile {by_hand.txid} {either} --reason "…"'
    bench.mine()
    assert Processor(bench.parts).survey().strangers[0].height is not None
    desk.explains(by_hand, pays={0: withdrawal})
    assert Processor(bench.parts).survey().strangers == ()


def test_the_survey_names_what_the_mempool_does_not_show(desk: Desk) -> None:
    """It is sent again by itself; that it is missing proves nothing."""
    bench = desk.bench
    bench.fund()
    bench.request()
    batch_id = bench.sent()
    assert Processor(bench.parts).survey().waiting == ()
    bench.node.forgets()
    (waiting,) = Processor(bench.parts).survey().waiting
    assert waiting.batch_id == batch_id
    assert waiting.command == f"withdrawals why {batch_id}"
