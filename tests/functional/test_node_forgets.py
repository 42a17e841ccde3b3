"""The node loses our transaction, or its answer about it, or calls it something else. No reason to pay."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from regtest.faults import AnswerError, DropReply, DropRequest
from regtest.malleate import ids_of
from regtest.network import Network
from regtest.provision import NodeProgram
from regtest.proxy import RpcProxy
from tests.conftest import has_failed
from tests.functional.world import COIN_SATS, SATS, World
from withdrawals.core.types import ScriptKind
from withdrawals.errors import NotAllowed
from withdrawals.ports import Sent
from workers.jobs import plan_all, sign_one


@pytest.fixture(scope="module")
def forgetful(request: pytest.FixtureRequest, bitcoind_binary: NodeProgram) -> Iterator[Network]:
    """A node that keeps no mempool over a restart, and nothing in it for longer than an hour."""
    network = Network(bitcoind_binary, extra_args=["-persistmempool=0", "-mempoolexpiry=1"])
    try:
        network.start()
        yield network
    finally:
        network.close(failed=has_failed(request))


@pytest.fixture
def world(forgetful: Network, make_world: Callable[..., World]) -> World:
    """A payment in the mempool of the forgetful node, and a coin that a careless processor would take next."""
    found = make_world(forgetful)
    found.fund_hot_wallet(COIN_SATS, COIN_SATS)
    found.tick()
    found.request("one")
    found.tick()
    assert found.mempool_txids() == {txid(found, "one")}
    return found


def txid(world: World, request_id: str) -> str:
    """Under which txid the request was signed."""
    return ids_of(world.signed(request_id)[-1]).txid


def assert_nothing_changed(world: World, request_id: str, state: str = "broadcast") -> None:
    """The same state, the same single signature, the same coins reserved; nobody can take it back or push it."""
    assert world.state(request_id) == state
    assert len(world.signed(request_id)) == 1
    with world.parts.ledger.read() as view:
        reserved = view.load_reservations()
    batch = world.batch(request_id)
    assert {o for o, holder in reserved.items() if holder == batch.id} == batch.plans[0].prevouts
    assert world.breaker() == []
    for push in (world.processor.cancel, world.processor.reject, world.processor.hold):
        with pytest.raises(NotAllowed):
            push(request_id, reason="the explorer does not show it")
    with pytest.raises(NotAllowed):
        world.processor.retry(request_id)


def assert_another_request_takes_other_coins(world: World) -> None:
    """What comes later is planned from coins that no signature of ours spends."""
    world.request("later")
    world.tick()
    assert not world.batch("later").plans[0].prevouts & world.batch("one").plans[0].prevouts


@pytest.mark.covers("P16", "P17", "F10", "F11")
def test_a_node_with_an_empty_mempool_is_sent_the_same_bytes(world: World, forgetful: Network) -> None:
    """Restarted, it has never heard of us; nothing is released, nothing is rebuilt."""
    forgetful.node.restart()
    assert world.mempool_txids() == set()
    assert_nothing_changed(world, "one")
    world.tick()
    assert world.mempool_txids() == {txid(world, "one")}
    assert_nothing_changed(world, "one")
    assert_another_request_takes_other_coins(world)
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("F12", "P16")
def test_a_node_killed_right_after_the_send_is_sent_the_same_bytes(world: World, forgetful: Network) -> None:
    """While it is away the rounds go on and conclude nothing; once it is back, it hears of the payment again."""
    forgetful.rpc.gettxoutsetinfo("none")  # its chain is on disk; its mempool never is
    forgetful.node.kill9()
    world.tick()
    assert_nothing_changed(world, "one")
    assert world.processor.status().node is None
    forgetful.node.start()
    assert world.mempool_txids() == set()
    world.tick()
    assert world.mempool_txids() == {txid(world, "one")}
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("F11", "P16")
def test_what_expired_from_the_mempool_is_sent_again(world: World, forgetful: Network) -> None:
    """It was evicted for its age, is as valid as ever, and whoever kept it may send it: so do we."""
    now = int(forgetful.rpc.getblockheader(forgetful.tip)["time"])
    # Long enough to expire, and not so long that blocks of today come too early after those that are mined then.
    forgetful.set_mocktime(now + 5_400)
    # Expiry happens when something else is accepted.
    other = forgetful.miner.sendtoaddress(forgetful.miner.getnewaddress(), 1)
    assert world.mempool_txids() == {other}
    assert_nothing_changed(world, "one")
    world.tick()
    assert world.mempool_txids() == {other, txid(world, "one")}
    world.mine_to_final()
    forgetful.set_mocktime(0)
    world.assert_final_and_paid_once()


@pytest.mark.covers("P2", "P10", "P17")
@pytest.mark.parametrize("fault", [DropReply(), DropRequest()], ids=["reply", "request"])
def test_a_send_without_an_answer_is_repeated_with_the_same_bytes(
    module_network: Network, make_world: Callable[..., World], fault: DropReply | DropRequest
) -> None:
    """It may be in every mempool, or in none: coins stay reserved, and the same bytes go out until they are seen."""
    with RpcProxy(module_network.node) as proxy:
        world = make_world(module_network, node_url=proxy.url)
        world.fund_hot_wallet(COIN_SATS, COIN_SATS)
        world.tick()
        proxy.on("sendrawtransaction", fault, times=3)
        world.request("one")
        for _ in range(3):
            world.tick()
            assert (txid(world, "one") in world.mempool_txids()) == isinstance(fault, DropReply)
        assert [e.kind for e in world.events("attempt.ambiguous")] == ["attempt.ambiguous"]
        assert len(world.signed("one")) == 1
        assert_another_request_takes_other_coins(world)
        world.tick()
        assert world.mempool_txids() == {txid(world, "one"), txid(world, "later")}
        world.mine_to_final()
        world.assert_final_and_paid_once()


@pytest.mark.covers("F8", "P17")
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-26, "non-final"),
        (-26, "mempool min fee not met"),
        (-25, "max-fee-exceeded"),
        (-1, "something new and strange"),
    ],
)
def test_whatever_the_node_answers_the_same_bytes_go_out_later(
    module_network: Network, make_world: Callable[..., World], code: int, words: str
) -> None:
    """Not now, never sent, or unheard of: no answer frees a coin, builds another transaction or opens the breaker."""
    with RpcProxy(module_network.node) as proxy:
        world = make_world(module_network, node_url=proxy.url)
        world.fund_hot_wallet(COIN_SATS, COIN_SATS)
        world.tick()
        proxy.on("sendrawtransaction", AnswerError(code, words), times=2)
        world.request("one")
        for _ in range(2):
            world.tick()
            assert world.mempool_txids() == set()
            assert_nothing_changed(world, "one", "batched")
        world.tick()
        assert world.mempool_txids() == {txid(world, "one")}
        world.mine_to_final()
        world.assert_final_and_paid_once()


@pytest.mark.covers("F18", "T09", "P1")
def test_a_twin_that_was_seated_first_pays_although_our_send_fails(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """The node refuses ours for want of a higher fee: the customer is being paid by a transaction that is not ours."""
    world = make_world(module_network, kinds=(ScriptKind.P2PKH,))
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    world.tick()
    world.request("one")
    plan_all(world.parts)
    sign_one(world.parts, world.batch("one").id)
    twin = world.twin("one", "T09")
    world.rpc.prioritisetransaction(ids_of(twin).txid, 0, 5_000)
    world.rpc.sendrawtransaction(twin.hex())
    [sending] = world.send("one")
    assert sending.result.outcome is Sent.CONFLICT
    assert "insufficient fee" in sending.result.reason
    assert_nothing_changed(world, "one")
    assert_another_request_takes_other_coins(world)
    world.mine_to_final()
    [paid] = world.payments("one")
    assert paid.txid == ids_of(twin).txid
    world.assert_final_and_paid_once()


@pytest.mark.covers("F17", "F7")
def test_a_node_that_calls_a_long_paid_transaction_dead_is_not_believed(
    network: Network, make_world: Callable[..., World]
) -> None:
    """Confirmed and all spent on it is `missing or spent`, as a dead one is; before that, it is `already there`."""
    world = make_world(network)
    world.fund_hot_wallet(SATS, COIN_SATS)
    world.tick()
    # A payment without change: what is left over is less than an output is worth, at the fee of a node that has seen no
    # other payments. One that has makes an estimate out of them, and its fee may be more than what is left over.
    miner = network.miner
    world.request("one", sats=SATS - 400, address=miner.getnewaddress("", "bech32"))
    world.tick()
    assert len(world.batch("one").plans[0].outputs) == 1
    answers = [world.send("one")[0].result]
    network.mine()
    answers += [world.send("one")[0].result]
    spend = miner.createrawtransaction([{"txid": txid(world, "one"), "vout": 0}], [{miner.getnewaddress(): "0.0999"}])
    network.rpc.sendrawtransaction(miner.signrawtransactionwithwallet(spend)["hex"])
    network.mine()
    answers += [world.send("one")[0].result]
    assert [answer.outcome for answer in answers] == [Sent.PRESENT, Sent.PRESENT, Sent.CONFLICT]
    assert "already in utxo set" in answers[1].reason
    assert "missingorspent" in answers[2].reason
    assert_nothing_changed(world, "one")
    world.mine(6)
    world.assert_final_and_paid_once()
