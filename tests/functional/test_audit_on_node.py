"""The audit's coins against a real node's UTXO set: every kind of script, after reorgs, and where the two differ."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from regtest.network import Network
from tests.functional.world import ANCHOR_DEPTH, World
from withdrawals.core.addresses import address_of
from withdrawals.core.types import Network as Chain
from withdrawals.core.types import ScriptKind

BTC = 100_000_000
KINDS = (ScriptKind.P2WPKH, ScriptKind.P2PKH, ScriptKind.P2SH, ScriptKind.P2TR)


def codes(world: World) -> list[str]:
    return sorted(f.code for f in world.processor.audit().findings)


@pytest.mark.covers("F6")
def test_the_ledger_s_coins_are_the_node_s_after_everything_that_happened(
    network: Network, make_world: Callable[..., World]
) -> None:
    """Deposits of four kinds, change, a payment in the mempool, and a reorg that takes the last blocks back."""
    world = make_world(network, kinds=KINDS)
    for wallet in range(len(KINDS)):
        world.fund_hot_wallet(BTC, wallet=wallet)
    world.tick()
    world.request(sats=5 * BTC // 2)
    world.tick()
    world.mine()
    world.request(sats=BTC // 10)
    world.tick()
    first = world.processor.audit()
    assert first.findings == ()
    assert first.node == f"compared 2 unspent coin(s) with the node's at block {network.height}"
    assert first.journal == "compared with 2 line(s) of the keys' journal"

    network.reorg(1, new_blocks=2, transactions=[])
    behind = world.processor.audit()
    assert (behind.findings, behind.node.endswith("coins not compared")) == ((), True)
    world.tick()
    after = world.processor.audit()
    assert after.findings == ()
    assert after.node == f"compared 4 unspent coin(s) with the node's at block {network.height}"
    world.mine_to_final()
    world.assert_final_and_paid_once()
    assert world.processor.audit().node.startswith("compared ")


@pytest.mark.covers("CE5")
def test_money_at_a_script_beyond_those_watched_is_found_on_the_node(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """As a restored ledger's own change would be."""
    world = make_world(module_network)
    [own] = world.parts.wallet.own_scripts(0, 1, 500, 1)
    [funding] = module_network.fund_many([(address_of(own.script, Chain.REGTEST), BTC)], confirmations=1)
    world.tick()
    [finding] = world.processor.audit().findings
    assert finding.code == "coin_unknown"
    assert f"{funding.txid}:{funding.vout}" in finding.message
    assert finding.message.endswith("its script was not watched")


def test_a_coin_that_the_ledger_lost_sight_of_is_found_on_the_node(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """Forgotten, it is unknown; its spend forgotten, it is missing."""
    world = make_world(module_network)
    [funding] = world.fund_hot_wallet(depth=ANCHOR_DEPTH)
    world.tick()
    world.request()
    world.tick()
    world.mine()
    assert codes(world) == []
    world.stop_inline()
    connection = sqlite3.connect(world.ledger_path)
    with connection:
        for (guard,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {guard}")
        assert connection.execute("DELETE FROM spends WHERE prev_txid = ?", (funding.txid,)).rowcount == 1
    connection.close()
    world.start_over()
    report = world.processor.audit()
    assert "coin_missing" in {f.code for f in report.findings}
    assert next(f.message for f in report.findings if f.code == "coin_missing").startswith(f"{funding.txid}:")


def test_a_node_that_is_down_is_said_and_is_no_finding(network: Network, make_world: Callable[..., World]) -> None:
    """So the rest of the audit can be run on any host."""
    world = make_world(network)
    world.fund_hot_wallet()
    world.tick()
    network.node.stop()
    report = world.processor.audit()
    assert report.findings == ()
    assert report.node.startswith("the node could not be asked")
    assert world.processor.audit(offline=True).node == "the node was not asked: coins not compared"
