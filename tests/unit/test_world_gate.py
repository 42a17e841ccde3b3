"""The world gate over a real ledger: what closes it, what opens the breaker, and what a person may close again (I6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledgers import fresh_ledger
from tests.unit.bench import COIN_SATS, WHO, WHY, Bench
from tests.unit.fakes import START, FakeClock, FakeNode, stranger
from tests.unit.signing_orders import PKH
from withdrawals.core.model import BreakerCause, Identity, TxOut, WithdrawalState
from withdrawals.core.policy import Policy
from withdrawals.core.tx import view_of
from withdrawals.core.types import BlockHash, Network, OutPoint, Sats
from withdrawals.errors import GateClosed, MissingReason, NodeRejected, NotAllowed, WrongChain
from withdrawals.ledger import SqlLedger
from withdrawals.ports import NodeTip
from withdrawals.steps import init as init_step
from withdrawals.steps.operate import pause, resume
from withdrawals.steps.sign import Signing
from withdrawals.world import check_gate, note_start


def theft(bench: Bench, coin: OutPoint) -> bytes:
    """Somebody else spends our coin, to a script of nobody we know."""
    return stranger([coin], [TxOut(bench.request(to=99).script, Sats(900_000))])


def resumed(bench: Bench) -> tuple[BreakerCause, ...]:
    return resume(bench.ledger, bench.world, who=WHO, why=WHY)


# ------------------------------------------------------------------------------------------------------- the verdict


def test_the_verdict_is_stored_for_the_tip_it_was_made_on(bench: Bench) -> None:
    """Another process reads it; it holds for this tip and a minute."""
    bench.fund()
    row = bench.world.judge()
    assert (row.tip, row.reasons) == (bench.node.fetch_tip().block.hash, ())
    with bench.ledger.read() as view:
        assert view.load_gate() == row
        check_gate(view, bench.clock.now())


def test_a_world_that_nobody_looked_at_is_closed(bench: Bench) -> None:
    """As after a restore, which keeps no verdict worth having."""
    with bench.ledger.read() as view, pytest.raises(GateClosed, match="not looked at"):
        check_gate(view, bench.clock.now())


@pytest.mark.parametrize("answer", ["unreachable", "refuses"])
def test_a_node_that_cannot_be_asked_closes_the_gate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """It is no error of ours, and no verdict of an earlier moment stays in force."""
    bench.fund()
    assert bench.world.judge().reasons == ()
    if answer == "unreachable":
        bench.node.down = "connection refused"
    else:

        def refuse(_node: FakeNode) -> NodeTip:
            raise NodeRejected("getblockchaininfo", -28, "Loading block index…")

        monkeypatch.setattr(FakeNode, "fetch_tip", refuse)
    assert bench.world.judge().reasons[0].startswith("node_unavailable")
    with bench.ledger.read() as view, pytest.raises(GateClosed, match="node_unavailable"):
        check_gate(view, bench.clock.now())


@pytest.mark.covers("I6")
def test_another_chain_of_another_name_closes_the_gate(bench: Bench) -> None:
    """The node was swapped under us."""
    bench.fund()
    bench.node.name = "signet"
    assert bench.world.judge().reasons[0].startswith("wrong_chain")


@pytest.mark.covers("I6")
def test_a_stranger_in_the_mempool_opens_the_breaker_once(bench: Bench) -> None:
    """His bytes are kept for ever; looking again tells nothing new."""
    (coin,) = bench.fund()
    raw = theft(bench, coin)
    bench.node.sees(raw)
    for _ in range(3):
        assert "unexplained_mempool_spend" in bench.world.judge().reasons[0]
    with bench.ledger.read() as view:
        assert len(view.load_breaker()) == 1
        assert [t.raw for t in view.find_transaction(view_of(raw).txid)] == [raw]
    assert bench.events().count("breaker.opened") == 1


def test_a_twin_in_the_mempool_is_ours_and_is_kept(make_bench: Callable[..., Bench]) -> None:
    """Relayed by others: its coin says which plan it is, and its bytes may be needed as evidence."""
    bench = make_bench(kind=PKH)
    bench.fund()
    bench.request()
    twin = bench.malleate(bench.attempt(bench.signed()).raw, "T01")
    bench.node.sees(twin)
    assert bench.world.judge().reasons == ()
    with bench.ledger.read() as view:
        assert [t.raw for t in view.find_transaction(view_of(twin).wtxid)] == [twin]


# ------------------------------------------------------------------------------------------------- pause and resume


def test_a_pause_stops_planning_and_signing_and_nothing_else(bench: Bench) -> None:
    """Watching and sending go on; `resume` ends it."""
    bench.fund(COIN_SATS, COIN_SATS)
    withdrawal = bench.request()
    sent, waiting = bench.signed(), bench.request()
    bench.broadcast(sent)
    batch_id = bench.planned()
    pause(bench.ledger, bench.world, who=WHO, why="lunch")
    assert bench.sign(batch_id).outcome is Signing.WAITING
    bench.request()
    assert bench.plan().waiting == "paused by an operator: lunch"
    bench.mine()
    assert bench.state(withdrawal) is WithdrawalState.CONFIRMED
    assert resumed(bench) == ()
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    assert bench.state(waiting) is WithdrawalState.BATCHED
    assert [k for k in bench.events() if k.startswith("operator")] == ["operator.paused", "operator.resumed"]


def _stolen_in_a_block(bench: Bench, coin: OutPoint) -> None:
    bench.mine_exactly(theft(bench, coin))


def _stolen_in_the_mempool(bench: Bench, coin: OutPoint) -> None:
    bench.node.sees(theft(bench, coin))
    bench.world.judge()


def _stolen_in_the_mempool_of_a_node_that_is_gone(bench: Bench, coin: OutPoint) -> None:
    _stolen_in_the_mempool(bench, coin)
    bench.node.down = "restarting"


@pytest.mark.covers("I6")
@pytest.mark.parametrize(
    "trouble",
    [
        _stolen_in_a_block,
        _stolen_in_the_mempool,
        _stolen_in_the_mempool_of_a_node_that_is_gone,
    ],
)
def test_no_word_of_an_operator_closes_what_is_not_mended(
    bench: Bench, trouble: Callable[[Bench, OutPoint], None]
) -> None:
    """Whatever he says: the breaker stays open, and so does the pause."""
    (coin,) = bench.fund()
    bench.request()
    bench.sent()
    bench.node.forgets()
    trouble(bench, coin)
    before = bench.causes()
    assert before
    pause(bench.ledger, bench.world, who=WHO, why=WHY)
    with pytest.raises(NotAllowed):
        resumed(bench)
    assert bench.causes() == before
    with bench.ledger.read() as view:
        assert view.load_pause() == WHY


def test_what_is_mended_is_closed_in_somebodys_name(bench: Bench) -> None:
    """The stranger left the mempool, the operator looked: the story says who closed it and why."""
    (coin,) = bench.fund()
    bench.node.sees(theft(bench, coin))
    bench.world.judge()
    bench.node.forgets()
    (closed,) = resumed(bench)
    assert closed.cause == "unexplained_mempool_spend"
    assert bench.causes() == set()
    with bench.ledger.read() as view:
        (told,) = [e for e in view.load_events(limit=1_000) if e.kind == "breaker.closed"]
    assert (told.who, told.why) == (WHO, WHY)
    bench.planned()


def test_a_switch_needs_a_reason(bench: Bench) -> None:
    """Without one nothing is changed."""
    before = bench.ledger.content_hash()
    for switch in (pause, resume):
        with pytest.raises(MissingReason):
            switch(bench.ledger, bench.world, who=WHO, why="  ")
    assert bench.ledger.content_hash() == before


# ----------------------------------------------------------------------------------------------- a start after silence


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    opened = fresh_ledger(tmp_path)
    yield opened
    opened.close()


def started(ledger: SqlLedger, network: Network, *silences_s: int) -> list[bool]:
    """Whether the breaker is open after each start, the first at START and each other after a silence."""
    with ledger.begin() as tx:
        tx.insert_identity(Identity(network, BlockHash("ab" * 32), "wallet", 0))
        tx.beat("init", at=START)
    clock, seen = FakeClock(), []
    for silence_s in silences_s:
        clock.sleep(silence_s)
        with ledger.begin() as tx:
            note_start(tx, "worker:sign", Policy(), clock.now())
            seen.append(bool(tx.load_breaker()))
    return seen


@pytest.mark.covers("I6")
def test_a_start_after_a_long_silence_waits_for_an_operator(ledger: SqlLedger) -> None:
    """The backup that somebody restored meanwhile looks exactly like this. The breaker outlives the silence."""
    assert started(ledger, Network.MAINNET, 10, 3_600, 3_601, 1) == [False, False, True, True]
    with ledger.read() as view:
        (cause,) = view.load_breaker()
        beats = view.load_heartbeats()
    assert (cause.cause, "3601 s" in cause.detail) == ("stale_start", True)
    assert {b.name for b in beats} == {"init", "worker:sign"}


def test_a_test_network_may_sleep(ledger: SqlLedger) -> None:
    """There is nothing to lose on regtest."""
    assert started(ledger, Network.REGTEST, 10**6) == [False]


@pytest.mark.covers("I6")
def test_a_ledger_without_any_heartbeat_waits_too(ledger: SqlLedger) -> None:
    """Nobody knows how long it slept."""
    with ledger.begin() as tx:
        tx.insert_identity(Identity(Network.MAINNET, BlockHash("ab" * 32), "wallet", 0))
        note_start(tx, "follower", Policy(), START)
        (cause,) = tx.load_breaker()
    assert cause.cause == "stale_start"


# ----------------------------------------------------------------------------------------------------- one ledger, once


@pytest.mark.covers("I6")
def test_a_ledger_serves_one_chain_and_one_wallet_for_ever(bench: Bench) -> None:
    """The same again changes nothing; anything else is refused."""
    before = bench.ledger.content_hash()
    bench.init()
    wallet = bench.parts.watched_wallet

    def again(**other: object) -> None:
        init_step.init(
            bench.ledger,
            bench.node,
            bench.clock,
            replace(wallet, fingerprint=str(other.get("fingerprint", wallet.fingerprint))),
            network=Network(str(other.get("network", Network.REGTEST))),
            birthday_height=other.get("birthday_height"),  # type: ignore[arg-type] # a test's own words
            who=WHO,
        )

    with bench.ledger.read() as view:
        identity = view.load_identity()
    assert identity is not None
    again()
    again(birthday_height=identity.birthday_height)
    for refused in ({"fingerprint": "another wallet"}, {"birthday_height": identity.birthday_height + 1}):
        with pytest.raises(NotAllowed):
            again(**refused)
    with pytest.raises(WrongChain):
        again(network="signet")
    bench.node = FakeNode(FakeClock(at=5))
    with pytest.raises(NotAllowed):
        again()
    assert bench.ledger.content_hash() == before


def test_scripts_are_watched_ahead_of_those_handed_out(bench: Bench) -> None:
    """A refill to any of them is seen, and none is handed out twice."""
    handed = []
    for _ in range(3 * bench.parts.watched_wallet.lookahead):
        with bench.ledger.begin() as tx:
            init_step.top_up_scripts(tx, bench.parts.watched_wallet)
            handed.append(tx.allocate_script(0, 0))
            assert tx.count_unallocated(0, 0) >= bench.parts.watched_wallet.lookahead // 2 - 1
    assert [own.index for own in handed] == list(range(len(handed)))
    bench.node.deposit((handed[-1].script, COIN_SATS))
    bench.mine()
    with bench.ledger.read() as view:
        assert [c.own for c in view.load_unspent_coins()] == [handed[-1]]
