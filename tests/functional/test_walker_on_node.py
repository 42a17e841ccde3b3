"""Real blocks: what we read in them is what the node that made them says is in them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from regtest.malleate import MALLEATORS, fetch_prevouts
from regtest.network import Network
from withdrawals.core.blockscan import scan_block
from withdrawals.core.tx import parts_of, unsigned_tx, view_of, weight_of
from withdrawals.core.types import OutPoint, ScriptPubKey, Txid

KINDS = ("legacy", "p2sh-segwit", "bech32", "bech32m")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def chain(module_network: Network) -> list[tuple[bytes, Json]]:
    """Every block of a chain with all kinds of inputs and outputs, a wide batch, and a mutant: raw, and as told."""
    network, miner = module_network, module_network.miner
    addresses = [str(miner.getnewaddress("", kind)) for kind in KINDS for _ in range(2)]
    odd = [("51024e73", 5_000), ("51" * 300, 5_000)]
    network.fund_many([*((a, 1_000_000 + n) for n, a in enumerate(addresses)), *odd])
    many = network.fund_many([(addresses[n % len(addresses)], 20_000 + n) for n in range(300)])
    # The wide spend names its coins and comes first: a wallet draws the coins of a payment by lot, these among them.
    miner.sendall([addresses[1]], options={"inputs": [{"txid": coin.txid, "vout": coin.vout} for coin in many]})
    for kind in KINDS:
        miner.sendtoaddress(str(miner.getnewaddress("", kind)), "1.5")
    network.mine()
    legacy = network.fund(str(miner.getnewaddress("", "legacy")), 5_000_000)
    spend = miner.createrawtransaction([{"txid": legacy.txid, "vout": legacy.vout}], [{addresses[0]: "0.0499"}])
    signed = bytes.fromhex(miner.signrawtransactionwithwallet(spend)["hex"])
    network.mine_exactly([MALLEATORS["T01"].malleate(signed, fetch_prevouts(network.rpc, signed)).hex()])
    network.mine(2)
    hashes = [network.rpc.getblockhash(height) for height in range(network.height + 1)]
    return [(bytes.fromhex(network.rpc.getblock(h, 0)), network.rpc.getblock(h, 2)) for h in hashes]


def test_the_walker_sees_every_transaction_as_the_node_does(chain: list[tuple[bytes, Json]]) -> None:
    """With every script watched: each transaction's ids, and every input and output, in every block."""
    scripts = {
        ScriptPubKey(bytes.fromhex(o["scriptPubKey"]["hex"])) for _, b in chain for t in b["tx"] for o in t["vout"]
    }
    made: set[OutPoint] = set()
    for raw, told in chain:
        scan = scan_block(raw, watched_outpoints=made, watched_scripts=scripts)
        assert (scan.header.hash, scan.header.time) == (told["hash"], told["time"])
        assert scan.header.prev == told.get("previousblockhash", "00" * 32)
        assert scan.transaction_count == told["nTx"]
        seen = [(t.tx.txid, t.tx.wtxid, t.coinbase, len(t.spent_vins), len(t.paid_vouts)) for t in scan.touches]
        assert seen == [
            (
                t["txid"],
                t["hash"],
                "coinbase" in t["vin"][0],
                0 if "coinbase" in t["vin"][0] else len(t["vin"]),
                len(t["vout"]),
            )
            for t in told["tx"]
        ]
        made |= {OutPoint(Txid(t["txid"]), o["n"]) for t in told["tx"] for o in t["vout"]}


def test_every_transaction_is_taken_apart_as_the_node_does(chain: list[tuple[bytes, Json]]) -> None:
    """Sizes, versions, scripts, witnesses and amounts of every transaction of the chain."""
    transactions = [t for _, block in chain for t in block["tx"]]
    assert max(len(t["vin"]) for t in transactions) == 300
    assert max(len(t["vout"]) for t in transactions) > 253
    for told in transactions:
        raw = bytes.fromhex(told["hex"])
        view, parts = view_of(raw), parts_of(raw)
        assert (view.txid, view.wtxid, weight_of(raw)) == (told["txid"], told["hash"], told["weight"])
        assert (parts.version, parts.locktime) == (told["version"], told["locktime"])
        assert [(o.script.hex(), Decimal(o.sats).scaleb(-8)) for o in parts.outputs] == [
            (o["scriptPubKey"]["hex"], Decimal(str(o["value"]))) for o in told["vout"]
        ]
        for ours, theirs in zip(parts.inputs, told["vin"], strict=True):
            assert ours.script_sig.hex() == theirs.get("coinbase", theirs.get("scriptSig", {}).get("hex"))
            assert [item.hex() for item in ours.witness] == theirs.get("txinwitness", [])
            assert ours.sequence == theirs["sequence"]


def test_a_mined_mutant_has_the_ntxid_of_its_unsigned_form(chain: list[tuple[bytes, Json]]) -> None:
    """A high-S twin on the chain: its txid is the node's, its ntxid that of the transaction without signatures."""
    (mutant,) = chain[-3][1]["tx"][1:]
    raw = bytes.fromhex(mutant["hex"])
    assert str(view_of(raw).txid) == mutant["txid"]
    unsigned = unsigned_tx([(i.outpoint, i.sequence) for i in parts_of(raw).inputs], parts_of(raw).outputs)
    assert str(view_of(raw).ntxid) == str(view_of(unsigned).txid) != mutant["txid"]
