"""The chain takes back what it said: facts go, deeds stay, stored bytes are sent again; everybody has one payment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from regtest.malleate import ids_of
from regtest.network import Network
from tests.functional.world import FINAL_DEPTH, SATS, World
from withdrawals.core.types import ScriptKind
from withdrawals.errors import NotAllowed
from withdrawals.ports import Sent

LEGACY: Final = (ScriptKind.P2PKH,)


def verdict(world: World, request_id: str) -> str:
    """What the ledger says of who spent the request's coin."""
    [words] = world.processor.show(request_id).verdicts
    return words.rpartition(": ")[2]


def txid_of(raw: bytes) -> str:
    return ids_of(raw).txid


@pytest.fixture
def sent(module_network: Network, make_world: Callable[..., World]) -> Callable[..., World]:
    """A world whose one request, `one`, is in the node's mempool."""

    def make(network: Network = module_network, **options: object) -> World:
        world = make_world(network, **options)
        world.fund_hot_wallet()
        world.tick()
        world.request("one")
        world.tick()
        assert txid_of(world.signed("one")[-1]) in world.mempool_txids()
        return world

    return make


@pytest.mark.covers("CE11", "I3", "F6")
def test_a_reorg_deeper_than_final_takes_final_back(sent: Callable[..., World], module_network: Network) -> None:
    """The state goes back, the breaker opens, and the customer ends with one payment all the same."""
    world = sent()
    world.mine_to_final()
    world.assert_final_and_paid_once()
    module_network.reorg(FINAL_DEPTH + 1, transactions=[])
    world.assert_unpaid("one")
    world.tick()
    assert world.state("one") == "broadcast"
    assert world.breaker() == ["reorg_below_final"]
    assert [e.data["depth"] for e in world.events("chain.reorg")] == [FINAL_DEPTH + 1]
    for action in (world.processor.cancel, world.processor.reject):
        with pytest.raises(NotAllowed):
            action("one", reason="it was final, and now it is not")
    assert world.mempool_txids() == {txid_of(world.signed("one")[0])}
    world.mine_to_final()
    world.assert_final_and_paid_once()
    assert world.breaker() == ["reorg_below_final"]
    world.processor.resume(reason="the payment is in the chain again", who="operator")
    assert world.breaker() == []
    world.request("two")
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("CE11", "F6", "T02b")
def test_a_reorg_below_final_that_ends_with_the_twin(sent: Callable[..., World], module_network: Network) -> None:
    """What was final under our txid is paid under another one: a person hears of it, and nobody pays again."""
    world = sent(kinds=LEGACY)
    twin = world.twin("one", "T02b")
    world.mine_to_final()
    module_network.reorg(FINAL_DEPTH + 1, transactions=[[twin.hex()]])
    world.tick()
    assert (world.state("one"), verdict(world, "one")) == ("final", "twin")
    assert world.breaker() == ["reorg_below_final"]
    with pytest.raises(NotAllowed, match=f"already paid: output {txid_of(twin)}"):
        world.processor.retry("one")
    world.assert_final_and_paid_once()


@pytest.mark.covers("CE11", "F12")
def test_below_final_the_stored_bytes_are_sent_again(
    sent: Callable[..., World], make_network: Callable[..., Network]
) -> None:
    """Also to a node whose mempool knows nothing of them, and although the breaker is open."""
    network = make_network("-persistmempool=0")
    world = sent(network)
    world.mine_to_final()
    network.reorg(FINAL_DEPTH + 1, transactions=[])
    network.node.restart()
    assert world.mempool_txids() == set()
    world.tick()
    assert world.breaker() == ["reorg_below_final"]
    assert world.mempool_txids() == {txid_of(world.signed("one")[0])}
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("F1", "F5", "T02b")
def test_a_reorg_that_leaves_neither_twin_in_any_mempool(sent: Callable[..., World], module_network: Network) -> None:
    """The mined mutant is no policy's friend and does not come back; the original was evicted by it. Ours is kept."""
    world = sent(kinds=LEGACY)
    original, twin = world.signed("one")[-1], world.twin("one", "T02b")
    module_network.mine_exactly([twin.hex()])
    world.tick()
    assert (world.state("one"), verdict(world, "one")) == ("confirmed", "twin")
    assert world.mempool_txids() == set()
    module_network.reorg(1, transactions=[])
    assert world.mempool_txids() == set()
    world.assert_unpaid("one")
    world.tick()
    assert world.state("one") == "broadcast"
    assert world.mempool_txids() == {txid_of(original)}
    world.mine_to_final()
    assert verdict(world, "one") == "exact"
    world.assert_final_and_paid_once()
    assert world.signed("one") == [original]


@pytest.mark.covers("F1", "F2", "F5", "F6", "T01", "P1", "I11")
def test_from_the_twin_to_the_original_and_back(sent: Callable[..., World], module_network: Network) -> None:
    """Each time he is paid by the other one; the change is a coin of ours under the txid that is in the chain."""
    world = sent(kinds=LEGACY)
    original, twin = world.signed("one")[-1], world.twin("one", "T01")
    seen = []
    module_network.mine_exactly([twin.hex()])
    for depth, raw in ((1, original), (2, twin), (3, original), (4, twin)):
        world.tick()
        seen.append((world.state("one"), verdict(world, "one")))
        [change] = [coin for coin, _ in world.processor.coins()]
        [paid] = world.payments("one")
        assert change.outpoint.txid == paid.txid
        module_network.reorg(depth, transactions=[[raw.hex()]])
    assert seen == [("confirmed", "twin"), ("confirmed", "exact")] * 2
    world.mine(FINAL_DEPTH)
    assert verdict(world, "one") == "twin"
    for name in (ids_of(twin).txid, ids_of(twin).wtxid, ids_of(original).txid):
        assert [story.withdrawal.request_id for story in world.processor.why(name)] == ["one"]
    with pytest.raises(NotAllowed, match=f"already paid: output {ids_of(twin).txid}"):
        world.processor.retry("one")
    world.assert_final_and_paid_once()
    # The change of the twin is spent next, not the change of the original, which never was.
    world.request("two")
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("T09", "F6")
def test_the_twin_loses_the_race_after_a_reorg(sent: Callable[..., World], module_network: Network) -> None:
    """A relayable twin comes back into the mempool and blocks ours there; whichever is mined, it is one payment."""
    world = sent(kinds=LEGACY)
    original, twin = world.signed("one")[-1], world.twin("one", "T09")
    module_network.mine_exactly([twin.hex()])
    world.tick()
    module_network.reorg(1, transactions=[])
    assert world.mempool_txids() == {txid_of(twin)}
    world.tick()
    assert world.state("one") == "broadcast"
    assert world.breaker() == []
    module_network.mine_exactly([original.hex()])
    world.mine(FINAL_DEPTH)
    assert verdict(world, "one") == "exact"
    world.assert_final_and_paid_once()


@pytest.mark.covers("F16", "W01")
def test_a_witness_twin_is_known_by_its_wtxid(sent: Callable[..., World], module_network: Network) -> None:
    """The txid is ours, the bytes are not: both are kept, and either name finds the payment."""
    world = sent()
    original, twin = world.signed("one")[-1], world.twin("one", "W01")
    assert txid_of(original) == txid_of(twin)
    module_network.mine_exactly([twin.hex()])
    world.tick()
    assert (world.state("one"), verdict(world, "one")) == ("confirmed", "witness_twin")
    [spend] = _spends(world)
    assert spend == ids_of(twin).wtxid
    for name in (ids_of(twin).wtxid, ids_of(original).wtxid, txid_of(original)):
        assert [story.withdrawal.request_id for story in world.processor.why(name)] == ["one"]
    module_network.reorg(1, transactions=[[original.hex()]])
    world.tick()
    assert (world.state("one"), verdict(world, "one")) == ("confirmed", "exact")
    world.mine(FINAL_DEPTH)
    world.assert_final_and_paid_once()


def _spends(world: World) -> list[str]:
    with world.parts.ledger.read() as view:
        found = view.load_spends({o for plan in world.batch("one").plans for o in plan.prevouts})
    return [spend.wtxid for spend in found.values()]


@pytest.mark.covers("F8")
def test_a_lower_tip_without_new_blocks(sent: Callable[..., World], module_network: Network) -> None:
    """The node gives up blocks and has none instead: facts go with them, and come back with what is mined next."""
    world = sent()
    world.mine(2)
    assert world.state("one") == "confirmed"
    height = module_network.height
    module_network.reorg(2, new_blocks=0)
    assert module_network.height == height - 2
    world.tick()
    assert world.state("one") == "broadcast"
    with world.parts.ledger.read() as view:
        tip = view.load_tip()
    assert tip is not None
    assert (tip.height, tip.hash) == (height - 2, module_network.tip)
    assert world.mempool_txids() == {txid_of(world.signed("one")[0])}
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("F8")
def test_what_a_lower_tip_makes_premature_is_sent_again_later(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """A coinbase that was just ripe is not ripe any more: not now is no failure. Our own lock time is always 0."""
    world = make_world(module_network)
    module_network.rpc.generatetoaddress(1, world.processor.address())
    module_network.mine(100)
    world.tick()
    world.request("one")
    world.tick()
    [raw] = world.signed("one")
    assert int.from_bytes(raw[-4:], "little") == 0
    assert txid_of(raw) in world.mempool_txids()
    module_network.reorg(2, new_blocks=0)
    assert world.mempool_txids() == set()
    world.tick()
    assert world.mempool_txids() == set()
    [sending] = world.send("one")
    assert sending.result.outcome is Sent.RETRY_SAME_BYTES
    assert "premature-spend-of-coinbase" in sending.result.reason
    assert (world.state("one"), world.breaker()) == ("broadcast", [])
    world.mine(2)
    assert world.mempool_txids() == {txid_of(raw)}
    world.mine_to_final()
    assert world.signed("one") == [raw]
    world.assert_final_and_paid_once()


@pytest.mark.covers("CE17", "I1", "I3", "I4")
def test_a_coin_whose_own_block_is_gone_stays_reserved_and_heals(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """The reorg took the deposit too: no other coin pays instead, for both could be mined; its return heals all."""
    world = make_world(module_network)
    [deep] = world.fund_hot_wallet(2 * SATS)
    [deposit] = world.fund_hot_wallet()
    world.tick()
    world.request("one", sats=5 * SATS)
    world.tick()
    assert {str(o) for o in world.batch("one").plans[0].prevouts} == {deposit.outpoint}
    world.mine(1)
    module_network.reorg(FINAL_DEPTH + 1, transactions=[])
    world.tick()
    module_network.mine_empty()
    world.tick()
    assert (world.state("one"), world.batch("one").state) == ("broadcast", "conflicted")
    assert len(world.signed("one")) == 1
    with world.parts.ledger.read() as view:
        assert deposit.outpoint in {str(o) for o in view.load_reservations()}
    world.request("two", sats=SATS)
    world.tick()
    assert {str(o) for o in world.batch("two").plans[0].prevouts} == {deep.outpoint}
    world.mine_to_final()
    world.assert_final_and_paid_once()
    assert len(world.signed("one")) == 1
    assert world.breaker() == []
