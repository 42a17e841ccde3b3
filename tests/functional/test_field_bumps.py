"""Replacements that went wrong elsewhere: chains of bumps, bumps of twins, and the older version that wins at last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Final

import pytest

from regtest.funding import build_payment
from regtest.network import Network
from regtest.rpc import RpcError, btc_of
from tests.functional.field_views import txid_of, verdict, watching_wallet
from tests.functional.node_payments import COIN_SATS as NODE_COIN_SATS
from tests.functional.node_payments import confirmed_coin
from tests.functional.world import ANCHOR_DEPTH, COIN_SATS, FINAL_DEPTH, SATS, World
from withdrawals.core import tx
from withdrawals.core.types import OutPoint, ScriptKind
from withdrawals.errors import NotAllowed, UnknownId

LEGACY: Final = (ScriptKind.P2PKH,)


def bump(world: World, request_id: str) -> bytes:
    """Raise the fee, have it signed and sent; the replacement's bytes, which are in the node's mempool."""
    world.processor.bump(request_id, reason="it waits for too long", who="operator")
    world.tick()
    raw = world.signed(request_id)[-1]
    assert txid_of(raw) in world.mempool_txids()
    return raw


def in_one_block(network: Network, *raws: bytes | str) -> bool:
    """Whether a block may hold all of these."""
    try:
        network.build_block([raw if isinstance(raw, str) else raw.hex() for raw in raws])
    except RpcError:
        return False
    return True


def pay(network: Network, coins: Sequence[OutPoint], address: str, sats: int) -> str:
    """A signed payment from the miner's wallet out of exactly these coins; raw hex, not sent."""
    miner = network.miner
    left = NODE_COIN_SATS * len(coins) - sats - 2_000 * len(coins)
    inputs = [{"txid": coin.txid, "vout": coin.vout} for coin in coins]
    made = miner.createrawtransaction(inputs, [{address: btc_of(sats)}, {miner.getnewaddress(): btc_of(left)}])
    return str(miner.signrawtransactionwithwallet(made)["hex"])


# ----------------------------------------------------------------------------------------- P12: three in a row


@pytest.fixture
def three(module_network: Network, make_world: Callable[..., World]) -> tuple[World, list[bytes]]:
    """A payment from a coin with next to no change, bumped twice, so that each bump must take one more coin."""
    world = make_world(module_network)
    world.fund_hot_wallet(SATS + 500, 2_000, 2_000, COIN_SATS)
    world.tick()
    world.request("one")
    world.tick()
    raws = [world.signed("one")[-1], bump(world, "one"), bump(world, "one")]
    return world, raws


@pytest.mark.covers("P12", "I7", "I1")
@pytest.mark.parametrize("winner", [0, 1, 2])
def test_any_two_of_three_bumps_exclude_each_other_whichever_is_mined(
    module_network: Network, three: tuple[World, list[bytes]], winner: int
) -> None:
    """Each keeps every coin of all before it, so the first cannot be mined beside the third."""
    world, raws = three
    spent = [set(tx.view_of(raw).prevouts) for raw in raws]
    assert spent[0] < spent[2], "a bump took a coin more"
    assert spent[0] <= spent[1] <= spent[2]
    for first, second in combinations(raws, 2):
        assert not in_one_block(module_network, first, second)
        assert not in_one_block(module_network, second, first)
    module_network.mine_exactly([raws[winner].hex()])
    world.tick()
    assert world.state("one") == "confirmed"
    assert verdict(world, "one") == ("exact" if winner == 2 else f"our_replacement({winner + 1}), exact")
    with pytest.raises(NotAllowed, match="nothing to speed up"):
        world.processor.bump("one", reason="the last one is not in a block")
    # A reorg may let another of the three win; what is mined changes, what is paid does not.
    other = (winner + 1) % 3
    module_network.reorg(1, transactions=[[raws[other].hex()]])
    world.tick()
    assert world.payments("one")[0].txid == txid_of(raws[other])
    world.mine(FINAL_DEPTH)
    assert world.signed("one") == raws
    world.assert_final_and_paid_once()


@pytest.mark.covers("P12")
def test_a_chain_of_bumps_with_a_fresh_input_set_pays_twice(module_network: Network) -> None:
    """What the rule is for: each of these conflicts with the one before it, and the first and third are both mined."""
    one, two = confirmed_coin(module_network), confirmed_coin(module_network)
    address, sats = module_network.miner.getnewaddress(), 100_000
    first, second, third = (pay(module_network, coins, address, sats) for coins in ([one], [one, two], [two]))
    assert not in_one_block(module_network, first, second)
    assert not in_one_block(module_network, second, third)
    module_network.mine_exactly([first, third])
    assert module_network.miner.getreceivedbyaddress(address) * COIN_SATS == 2 * sats


# --------------------------------------------------------------------------------------- P13: malleated, then bumped


@pytest.mark.covers("P13", "T09", "I1")
@pytest.mark.parametrize("winner", ["original", "twin", "bump", "twin of the bump"])
def test_a_payment_that_was_malleated_and_then_bumped(
    module_network: Network, make_world: Callable[..., World], winner: str
) -> None:
    """The twin is the one in the mempool; a bump replaces both, is malleated too, and any of the four pays once."""
    world = make_world(module_network, kinds=LEGACY)
    wallet = watching_wallet(world, f"p13 {winner}")
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    world.tick()
    world.request("one")
    world.tick()
    original, twin = world.signed("one")[-1], world.twin("one", "T09")
    seat(world, original, twin)
    assert wallet.gettransaction(txid_of(original))["walletconflicts"] == [txid_of(twin)], "a wallet has two payments"
    world.tick()
    # A txid is no name to bump by, neither ours nor the twin's; both lead to the one request that they pay.
    for txid in (txid_of(original), txid_of(twin)):
        with pytest.raises(UnknownId):
            world.processor.bump(txid, reason="the explorer shows this one")
        assert [story.withdrawal.request_id for story in world.processor.why(txid)] == ["one"]
    bumped = bump(world, "one")
    assert world.mempool_txids() == {txid_of(bumped)}, "it replaces the twin, which is not what it was made from"
    twin_of_bump = world.twin("one", "T09")
    seat(world, bumped, twin_of_bump)
    third = bump(world, "one")
    four = {"original": original, "twin": twin, "bump": bumped, "twin of the bump": twin_of_bump}
    for first, second in combinations([*four.values(), third], 2):
        assert not in_one_block(module_network, first, second)

    module_network.mine_exactly([four[winner].hex()])
    world.tick()
    number, encoding = 1 + ("bump" in winner), "twin" if "twin" in winner else "exact"
    assert (world.state("one"), verdict(world, "one")) == ("confirmed", f"our_replacement({number}), {encoding}")
    with pytest.raises(NotAllowed, match="nothing to speed up"):
        world.processor.bump("one", reason="ours is not in a block")
    with pytest.raises(NotAllowed, match=f"already paid: output {txid_of(four[winner])}"):
        world.processor.retry("one")
    world.mine(FINAL_DEPTH)
    assert world.signed("one") == [original, bumped, third]
    world.assert_final_and_paid_once()


def seat(world: World, held: bytes, twin: bytes) -> None:
    """Have the node hold the twin instead of what it holds, as one that heard of the twin first."""
    world.rpc.prioritisetransaction(txid_of(twin), 0, 10_000)
    world.rpc.sendrawtransaction(twin.hex())
    world.rpc.prioritisetransaction(txid_of(twin), 0, -10_000)
    assert txid_of(held) not in world.mempool_txids()
    assert txid_of(twin) in world.mempool_txids()


# ------------------------------------------------------------------------------- P14: the older version wins after all


@pytest.mark.covers("P14", "I1", "I4")
def test_an_older_version_that_wins_by_a_reorg_takes_a_later_payment_with_it(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """The later payment rode on the newer version's change. It is built again, exclusively, and comes back paid once.

    Built again from any other coin, both would be in the chain as soon as the newer version is.
    """
    world = make_world(module_network)
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    world.tick()
    world.request("one", sats=SATS)
    world.tick()
    older, newer = world.signed("one")[-1], bump(world, "one")
    before = module_network.height
    module_network.mine_exactly([newer.hex()])
    world.tick()
    world.request("two", sats=COIN_SATS * 3 // 2)
    world.tick()
    [later] = world.signed("two")
    assert txid_of(newer) in {o.txid for o in world.batch("two").plans[-1].prevouts}, "it rides on the change"

    # The older version is mined instead, and beside it comes a coin that a careless processor would take next.
    spare, _ = build_payment(module_network.miner, [(world.processor.address(), 3 * COIN_SATS)])
    module_network.reorg(1, new_blocks=2, transactions=[[older.hex(), spare]])
    world.tick()
    assert (world.state("one"), verdict(world, "one")) == ("confirmed", "our_replacement(1), exact")
    assert not in_one_block(module_network, later)
    module_network.mine_empty(ANCHOR_DEPTH)
    world.tick()
    assert world.batch("two").generation == 2
    again = world.signed("two")
    assert (again[0], len(again)) == (later, 2)
    world.mine()
    world.assert_paid_exactly_once()

    # And back: the newer version is mined, and the later payment is valid again; what was paid instead of it is not.
    undone = module_network.height - before
    module_network.reorg(undone, new_blocks=0)
    two = world.customers["two"]
    careless, _ = build_payment(module_network.miner, [(two.address, two.sats)])
    assert in_one_block(module_network, newer, later, careless)
    assert not in_one_block(module_network, newer, later, again[1])
    module_network.mine_exactly([newer.hex(), later.hex()])
    module_network.mine_empty(undone)
    world.tick()
    world.assert_paid_exactly_once()
    assert world.signed("two") == again, "nothing more was signed"
    world.mine(FINAL_DEPTH)
    world.assert_final_and_paid_once()


@pytest.mark.covers("P14", "P12", "I7", "I1")
def test_an_older_version_that_pays_one_more_wins_by_a_reorg(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """tx1 pays two; tx1' one of them; tx2 the other, out of the change of tx1'. Then a miner takes tx1, and then not.

    This is the example that Electrum's batcher was written around: nobody may be paid by tx1 and by tx2.
    """
    world = make_world(module_network)
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    world.tick()
    world.request_many(2)
    stays, leaves = world.customers
    world.tick()
    [tx1] = world.signed(stays)
    assert world.batch(stays).id == world.batch(leaves).id
    world.processor.bump(stays, reason="an output that no node relays", without=[leaves])
    world.tick()
    tx1_newer = world.signed(stays)[-1]
    assert world.mempool_txids() == {txid_of(tx1_newer)}
    before = module_network.height
    world.mine()
    assert (world.state(stays), world.state(leaves)) == ("confirmed", "broadcast")
    tx2 = world.signed(leaves)[-1]
    assert txid_of(tx1_newer) in {o.txid for o in tx.view_of(tx2).prevouts}, "it rests on the replacement's change"
    world.mine()
    world.assert_paid_exactly_once()

    undone = module_network.height - before
    module_network.reorg(undone, transactions=[[tx1.hex()]])
    assert not in_one_block(module_network, tx2)
    world.tick()
    assert {world.state(r) for r in (stays, leaves)} == {"confirmed"}
    assert {world.payments(r)[0].txid for r in (stays, leaves)} == {txid_of(tx1)}
    world.assert_paid_exactly_once()

    undone = module_network.height - before
    module_network.reorg(undone, transactions=[[tx1_newer.hex()], [tx2.hex()]])
    world.tick()
    assert [world.payments(r)[0].txid for r in (stays, leaves)] == [txid_of(tx1_newer), txid_of(tx2)]
    assert world.signed(leaves)[-1] == tx2, "nothing more was signed"
    world.mine(FINAL_DEPTH)
    world.assert_final_and_paid_once()
