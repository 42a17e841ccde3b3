"""The oracle against the node's own account of its chain."""

from __future__ import annotations

from decimal import Decimal

import pytest

from regtest.funding import script_of
from regtest.malleate import MALLEATORS, fetch_prevouts, ids_of
from regtest.network import Network
from regtest.oracle import ChainPayment, ChainSpend, NotThatBlock, confirmed_spender, paid_sats, payments_to
from regtest.rpc import Rpc, btc_of


def new_script(network: Network) -> tuple[str, str]:
    address = network.miner.getnewaddress()
    return address, script_of(network.rpc, address)


def test_every_output_to_a_script_is_counted_to_the_satoshi(module_network: Network) -> None:
    """Two outputs of one transaction are two payments; an unconfirmed one is none."""
    address, script = new_script(module_network)
    start = module_network.height
    first = module_network.fund_many([(address, 12_345_678), (address, 999_999_999)])
    module_network.fund(address, 1_001, confirmations=0)
    block, height = module_network.tip, module_network.height
    assert payments_to(module_network.rpc, script) == [
        ChainPayment(first[0].txid, 0, 12_345_678, height, block),
        ChainPayment(first[1].txid, 1, 999_999_999, height, block),
    ]
    module_network.mine()
    assert paid_sats(module_network.rpc, script) == 12_345_678 + 999_999_999 + 1_001
    assert paid_sats(module_network.rpc, script, start_height=height + 1) == 1_001
    assert paid_sats(module_network.rpc, script, start_height=start) == paid_sats(module_network.rpc, script)


def test_it_agrees_with_what_the_node_says_of_the_whole_chain(module_network: Network) -> None:
    """Every output of every block, as the node decodes it itself."""
    rpc = module_network.rpc
    expected: dict[str, Decimal] = {}
    for height in range(module_network.height + 1):
        for tx in rpc.getblock(rpc.getblockhash(height), 2)["tx"]:
            for output in tx["vout"]:
                script = output["scriptPubKey"]["hex"]
                expected[script] = expected.get(script, Decimal(0)) + output["value"]
    assert sum(expected.values()) > 100 * 50
    assert {script: btc_of(paid_sats(rpc, script)) for script in expected} == {
        script: f"{btc:.8f}" for script, btc in expected.items()
    }


def test_a_reorg_takes_a_payment_away_and_can_bring_it_back(module_network: Network) -> None:
    """Blocks are remembered, but which of them are active is asked anew."""
    address, script = new_script(module_network)
    paid = module_network.fund(address, 70_000)
    raw = module_network.rpc.getrawtransaction(paid.txid, 0, module_network.tip)
    assert paid_sats(module_network.rpc, script) == 70_000
    gone = module_network.reorg(1, transactions=[])
    assert payments_to(module_network.rpc, script) == []
    module_network.mine_exactly([raw])
    assert paid_sats(module_network.rpc, script) == 70_000
    # Back to the first branch, which has now fewer blocks: the others must go.
    module_network.rpc.invalidateblock(gone.connected[0])
    module_network.rpc.reconsiderblock(gone.disconnected[0])
    [payment] = payments_to(module_network.rpc, script)
    assert payment.block == gone.disconnected[0]


@pytest.mark.covers("T01", "W01")
@pytest.mark.parametrize(("kind", "class_id"), [("legacy", "T01"), ("bech32", "W01")])
def test_a_coin_was_spent_by_whatever_was_mined(module_network: Network, kind: str, class_id: str) -> None:
    """Not by what was sent: the mempool does not count, and the twin has ids of its own."""
    rpc, wallet = module_network.rpc, module_network.node.wallet("oracle")
    coin = module_network.fund(wallet.getnewaddress("", kind), 500_000)
    address, script = new_script(module_network)
    unsigned = wallet.createrawtransaction([{"txid": coin.txid, "vout": coin.vout}], [{address: btc_of(490_000)}])
    raw = bytes.fromhex(wallet.signrawtransactionwithwallet(unsigned)["hex"])
    rpc.sendrawtransaction(raw.hex(), 0)
    assert confirmed_spender(rpc, coin.txid, coin.vout) is None
    twin = MALLEATORS[class_id].malleate(raw, fetch_prevouts(rpc, raw))
    block = module_network.mine_exactly([twin.hex()])
    ids = ids_of(twin)
    assert confirmed_spender(rpc, coin.txid, coin.vout) == ChainSpend(ids.txid, ids.wtxid, module_network.height, block)
    assert payments_to(rpc, script) == [ChainPayment(ids.txid, 0, 490_000, module_network.height, block)]
    assert confirmed_spender(rpc, coin.txid, coin.vout, start_height=module_network.height + 1) is None


def test_another_block_than_the_one_asked_for_is_refused(
    module_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle checks what it reads: header by hash, transactions by merkle root."""
    block = module_network.mine()[0]
    other = module_network.rpc.getblock(module_network.rpc.getblockhash(3), 0)
    genuine = Rpc.call

    def forged(rpc: Rpc, method: str, *params: object, **named: object) -> object:
        return other if method == "getblock" and params[0] == block else genuine(rpc, method, *params, **named)

    monkeypatch.setattr(Rpc, "call", forged)
    with pytest.raises(NotThatBlock, match=block):
        payments_to(module_network.rpc, "51")
