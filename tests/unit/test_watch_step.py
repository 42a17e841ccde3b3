"""watch and settle: blocks become facts, facts decide who is paid, and a reorg deletes facts and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from tests.unit.bench import COIN_SATS, FINAL, SAFETY, SATS, WHO, WHY, Bench
from tests.unit.fakes import FakeClock, FakeNode, stranger
from tests.unit.signing_orders import PKH
from withdrawals.core.model import BatchState, Payment, TxOut, Withdrawal, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BlockHash, OutPoint, Sats
from withdrawals.errors import LeaseLost, NotAllowed, TipMoved, WrongChain
from withdrawals.ledger.schema import metadata
from withdrawals.steps.audit import audit
from withdrawals.steps.operate import accept_reorg, resume

FACTS = {"headers", "coins", "spends", "payments"}
CACHES = {"withdrawals", "batches"}
"""Deeds with a computed state beside them: the row stays, the state follows the facts."""


def payments(bench: Bench, *withdrawals: Withdrawal) -> tuple[Payment, ...]:
    with bench.ledger.read() as view:
        return view.load_payments([w.id for w in withdrawals])


def assert_audit_is_clean(bench: Bench) -> None:
    assert audit(bench.ledger, bench.policy).findings == ()


def why_of(bench: Bench, kind: str) -> str:
    """The reason given with the last event of this kind."""
    with bench.ledger.read() as view:
        return [e.why for e in view.load_events(limit=10_000) if e.kind == kind][-1]


# -------------------------------------------------------------------------------------------------------------- twins


@pytest.mark.covers("I3", "I11")
@pytest.mark.parametrize(("kind", "class_id", "verdict"), [(PKH, "T01", "twin"), (2, "W01", "witness_twin")])
def test_a_twin_in_a_block_settles_its_batch(
    make_bench: Callable[..., Bench], kind: int, class_id: str, verdict: str
) -> None:
    """Asked by its txid, our transaction does not exist; its coin says who spent it, and its outputs whom they pay."""
    bench = make_bench(kind=kind)
    (coin,) = bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    twin = bench.malleate(bench.attempt(batch_id).raw, class_id)
    bench.mine_exactly(twin)
    (payment,) = payments(bench, withdrawal)
    assert (payment.txid, payment.sats, payment.by_plan) == (view_of(twin).txid, SATS, True)
    assert (bench.state(withdrawal), bench.batch_state(batch_id)) == (WithdrawalState.CONFIRMED, BatchState.CONFIRMED)
    assert (
        why_of(bench, "batch.confirmed") == f"{coin} spent by {payment.txid} at height {bench.node.height}: {verdict}"
    )
    with bench.ledger.read() as view:
        (change,) = view.load_unspent_coins()
    assert change.outpoint.txid == payment.txid
    bench.mine(FINAL - 1)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert bench.causes() == set()
    assert_audit_is_clean(bench)


def test_from_twin_to_original_and_back(make_bench: Callable[..., Bench]) -> None:
    """Whichever of the two is mined, the customer is paid by it, and once."""
    bench = make_bench(kind=PKH)
    bench.fund()
    withdrawal = bench.request()
    original = bench.attempt(bench.sent()).raw
    twin = bench.malleate(original, "T01")
    bench.mine_exactly(twin)
    for mined in (original, twin):
        bench.reorg(1, [mined])
        assert [p.txid for p in payments(bench, withdrawal)] == [view_of(mined).txid]
        assert bench.state(withdrawal) is WithdrawalState.CONFIRMED
        bench.reorg(2, [], [])
        assert payments(bench, withdrawal) == ()
        assert bench.state(withdrawal) is WithdrawalState.BROADCAST
    bench.mine_exactly(original)
    assert bench.paid(withdrawal) == [SATS]
    assert bench.causes() == set()
    assert_audit_is_clean(bench)


# ------------------------------------------------------------------------------------------------------------- reorgs


def rows(bench: Bench) -> dict[str, int]:
    """How many rows each table has."""
    engine = bench.parts.ledger._readers  # type: ignore[attr-defined] # a test looks where a caller should not
    with engine.connect() as connection:
        return {
            t.name: connection.execute(select(func.count()).select_from(t)).scalar() for t in metadata.sorted_tables
        }


@pytest.mark.covers("I3")
def test_a_reorg_deletes_facts_and_nothing_else(bench: Bench) -> None:
    """Headers, coins, spends and payments of the lost blocks go; bytes, deeds, reservations and sightings stay."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    before = rows(bench)
    with bench.ledger.read() as view:
        watched = view.load_watched_outpoints()
    bench.mine(FINAL)
    buried = rows(bench)
    assert buried["payments"] == 1
    bench.node.reorg(FINAL, forget=True)
    undo_only(bench)
    after = rows(bench)
    assert {t: after[t] for t in FACTS} == {t: before[t] for t in FACTS}
    kept = after.keys() - FACTS - {"events", "breaker"}
    assert {t: after[t] for t in kept} == {t: buried[t] for t in kept}
    with bench.ledger.read() as view:
        assert view.load_watched_outpoints() == watched
    assert (bench.state(withdrawal), bench.batch_state(batch_id)) == (WithdrawalState.BROADCAST, BatchState.BROADCAST)
    assert set(bench.reserved()) == bench.newest_plan(batch_id).prevouts
    assert bench.events().count("chain.reorg") == 1


def undo_only(bench: Bench) -> None:
    """Follow the node only as far as its fork with us."""
    bench.follow(blocks_max=0)


@pytest.mark.covers("I3")
def test_a_state_follows_its_facts_both_ways(bench: Bench) -> None:
    """Confirmed, final, less deep, gone: each time what is stored is what the facts say."""
    bench.fund()
    withdrawal = bench.request()
    raw = bench.attempt(bench.sent()).raw
    steps: tuple[Callable[[], object], ...] = (
        bench.mine,
        lambda: bench.mine(FINAL - 1),
        lambda: bench.reorg(1, forget=True),
        lambda: bench.reorg(FINAL + 1, [], forget=True),
        lambda: bench.mine_exactly(raw),
    )
    states = [bench.state(withdrawal)]
    for step in steps:
        step()
        states.append(bench.state(withdrawal))
        assert_audit_is_clean(bench)
    W = WithdrawalState  # noqa: N806 -- a short name for a list of states
    assert states == [W.BROADCAST, W.CONFIRMED, W.FINAL, W.FINAL, W.BROADCAST, W.CONFIRMED]
    assert bench.causes() == {"reorg_below_final"}


def test_a_reorg_that_makes_a_payment_less_deep_takes_its_finality(bench: Bench) -> None:
    """The payment's own block stands: final becomes confirmed, and nothing is alarming about it."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    bench.mine(FINAL)
    bench.node.reorg(1)
    undo_only(bench)
    assert (bench.state(withdrawal), bench.batch_state(batch_id)) == (WithdrawalState.CONFIRMED, BatchState.CONFIRMED)
    bench.follow()
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert bench.causes() == set()


@pytest.mark.covers("I3")
def test_a_reorg_below_final_sends_the_stored_bytes_again(bench: Bench) -> None:
    """The state goes back, the breaker opens, and the customer still ends with one payment."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    bench.mine(FINAL)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    bench.reorg(FINAL, forget=True)
    assert bench.state(withdrawal) is WithdrawalState.BROADCAST
    assert bench.causes() == {"reorg_below_final"}
    bench.broadcast(batch_id)
    bench.mine(FINAL)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert bench.paid(withdrawal) == [SATS]
    assert_audit_is_clean(bench)


def test_a_reorg_of_safety_depth_is_never_followed(bench: Bench) -> None:
    """The facts stay as they are, and a person is called."""
    bench.fund(depth=SAFETY + 3)
    with bench.ledger.read() as view:
        tip = view.load_tip()
    bench.node.reorg(SAFETY)
    with pytest.raises(TipMoved):
        bench.follow()
    assert bench.causes() == {"deep_reorg"}
    with bench.ledger.read() as view:
        assert view.load_tip() == tip
        assert len(view.load_unspent_coins()) == 1


@pytest.mark.covers("I1", "I3")
def test_an_operator_may_accept_a_deep_reorg_and_nobody_is_paid_twice(bench: Bench) -> None:
    """What was final loses its block, the stored bytes are sent again, and the breaker waits for his second word."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    bench.mine(SAFETY)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    bench.node.reorg(SAFETY, forget=True)
    with pytest.raises(TipMoved):
        bench.follow()
    accepted = accept_reorg(bench.ledger, bench.world, who=WHO, why=WHY)
    assert accepted.depth == SAFETY
    assert bench.follow().undone == SAFETY
    assert bench.state(withdrawal) is WithdrawalState.BROADCAST
    assert bench.causes() == {"deep_reorg", "reorg_below_final"}
    resume(bench.ledger, bench.world, who=WHO, why=WHY)
    bench.broadcast(batch_id)
    bench.mine(FINAL)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert bench.paid(withdrawal) == [SATS]
    assert_audit_is_clean(bench)


def test_the_word_is_about_one_branch_and_one_tip(bench: Bench) -> None:
    """Should the node change its mind once more, an operator looks once more."""
    bench.fund(depth=SAFETY + 3)
    with pytest.raises(NotAllowed, match="nothing to accept"):
        accept_reorg(bench.ledger, bench.world, who=WHO, why=WHY)
    bench.node.reorg(SAFETY)
    with pytest.raises(TipMoved):
        bench.follow()
    accept_reorg(bench.ledger, bench.world, who=WHO, why=WHY)
    bench.node.reorg(SAFETY + 1)
    with pytest.raises(TipMoved):
        bench.follow()
    with bench.ledger.read() as view:
        assert len(view.load_unspent_coins()) == 1


def test_a_node_that_is_merely_behind_undoes_nothing(bench: Bench) -> None:
    """It has our tip's header and not yet its block: the facts stay."""
    bench.fund()
    bench.node.disconnect()
    watched = bench.follow()
    assert (watched.undone, watched.followed) == (0, 0)
    with bench.ledger.read() as view:
        assert len(view.load_unspent_coins()) == 1


# ---------------------------------------------------------------------------------------------------- in one block


def test_a_coin_made_and_spent_in_one_block_is_no_coin_of_ours(bench: Bench) -> None:
    """CE22: a sweep that pays none of our scripts would leave a phantom that every plan picks and none can spend."""
    with bench.ledger.begin() as tx:
        ours = tx.allocate_script(0, 0).script
    (coin,) = bench.node.deposit((ours, COIN_SATS))
    deposit = bench.node.mempool[coin.txid].raw
    sweep = stranger([coin], [TxOut(bench.request().script, Sats(900_000))])
    bench.mine_exactly(deposit, sweep)
    with bench.ledger.read() as view:
        assert view.load_unspent_coins() == ()
        assert view.load_spends([coin])[coin].txid == view_of(sweep).txid
    assert bench.causes() == {"unexplained_spend"}


def test_a_payment_and_what_spends_its_change_may_share_a_block(bench: Bench) -> None:
    """Our own next batch cannot (it waits for an anchor); whoever else has our keys can."""
    bench.fund()
    withdrawal = bench.request()
    raw = bench.attempt(bench.sent()).raw
    outputs = view_of(raw).outputs
    change = next(v for v, o in enumerate(outputs) if o.script != withdrawal.script)
    thief = stranger([OutPoint(view_of(raw).txid, change)], [TxOut(withdrawal.script, outputs[change].sats)])
    bench.mine_exactly(raw, thief)
    assert [p.txid for p in payments(bench, withdrawal)] == [view_of(raw).txid]
    assert bench.state(withdrawal) is WithdrawalState.CONFIRMED
    assert bench.causes() == {"unexplained_spend"}


# --------------------------------------------------------------------------------------- two followers, another chain


@pytest.mark.covers("I3")
def test_a_follower_whose_lease_was_stolen_writes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It slept between reading a block and writing it; meanwhile another holds the lease."""
    bench.fund()
    epoch = bench.take_lease()
    real = FakeNode.fetch_block

    def steal(node: FakeNode, block_hash: BlockHash) -> bytes:
        bench.clock.sleep(60)
        bench.take_lease("thief")
        return real(node, block_hash)

    monkeypatch.setattr(FakeNode, "fetch_block", steal)
    bench.node.mine()
    before = bench.ledger.content_hash()
    with pytest.raises(LeaseLost):
        bench.follow(epoch=epoch)
    assert bench.ledger.content_hash() == before


@pytest.mark.covers("I3")
def test_two_followers_cannot_mix_their_chains(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both hold the lease (one process, two threads, say): the slower one finds that the tip has moved."""
    bench.fund()
    real = FakeNode.fetch_block

    def overtake(node: FakeNode, block_hash: BlockHash) -> bytes:
        monkeypatch.setattr(FakeNode, "fetch_block", real)
        bench.follow()
        return real(node, block_hash)

    monkeypatch.setattr(FakeNode, "fetch_block", overtake)
    bench.node.mine()
    with pytest.raises(TipMoved):
        bench.follow()
    with bench.ledger.read() as view:
        assert view.load_tip() == bench.node.fetch_header(bench.node.fetch_tip().block.hash)


def test_facts_come_from_the_chain_of_init_or_not_at_all(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another chain of the same name has another first block."""
    bench.fund()
    before = bench.ledger.content_hash()
    bench.node.becomes(FakeNode(FakeClock(at=1)))
    with pytest.raises(WrongChain):
        bench.follow()
    assert bench.ledger.content_hash() == before


def test_a_block_is_the_one_that_was_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node (or a cache before it) that answers with another block is not believed."""
    bench.fund()
    genesis = bench.node.fetch_hash(0)
    assert genesis is not None
    other = bench.node.fetch_block(genesis)
    monkeypatch.setattr(FakeNode, "fetch_block", lambda _node, _hash: other)
    bench.node.mine()
    with pytest.raises(WrongChain):
        bench.follow()


def test_a_long_way_is_followed_in_pieces(bench: Bench) -> None:
    """And the gate stays closed until the end of it."""
    bench.fund()
    bench.request()
    bench.node.mine(5)
    watched = bench.follow(blocks_max=2)
    assert (watched.followed, watched.at_tip) == (2, False)
    assert "tip_differs" in bench.plan().waiting
    watched = bench.follow()
    assert (watched.followed, watched.at_tip) == (3, True)
    bench.planned()
