"""Coins that went elsewhere, parents that vanished: the unpaid get a next generation that excludes all before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from regtest.network import Network
from tests.functional.world import World
from withdrawals.core.types import ScriptKind

LEGACY = (ScriptKind.P2PKH,)
BTC = 100_000_000


@pytest.mark.covers("F3", "F4", "CE15", "I1", "I4")
def test_a_child_of_a_malleated_parent_is_paid_once_whichever_parent_wins(
    network: Network, make_world: Callable[..., World]
) -> None:
    """The change that batch 2 rode on is gone with its block: batch 2 is built again from the coin it shares, once."""
    world = make_world(network, kinds=LEGACY)
    world.fund_hot_wallet(BTC, BTC)
    first = world.request(sats=BTC // 10)
    world.tick()
    original, twin = world.signed(first)[-1].hex(), world.twin(first, "T02b").hex()
    before_twin = network.height
    world.mine()
    second = world.request(sats=BTC * 3 // 2)
    world.tick()
    (lost,) = world.signed(second)
    assert len(world.batch(second).plans[-1].inputs) == 2, "it rides on the first payment's change"

    network.reorg(1, new_blocks=2, transactions=[[twin], []])
    world.tick()
    assert world.state(first) == "confirmed"
    assert world.breaker() == [], "nobody foreign took anything"
    network.mine_empty(1)
    world.tick()
    again = world.signed(second)
    assert again[0] == lost, "what was ever signed stays in the story"
    assert len(again) == 2
    assert world.batch(second).generation == 2
    world.mine_to_final()
    world.assert_final_and_paid_once()

    # F4: the original parent is mined after all, and the lost child, valid again, with it.
    undone = network.height - before_twin
    network.reorg(undone, new_blocks=undone + 1, transactions=[[original], [lost.hex()], *([[]] * (undone - 1))])
    world.tick()
    world.assert_paid_exactly_once()
    assert world.signed(second) == again, "nothing more was signed"
    world.mine_to_final()
    world.assert_final_and_paid_once()
