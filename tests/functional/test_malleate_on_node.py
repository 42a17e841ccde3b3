"""How mutants meet their originals on a real node, and how a wallet's keys and prevouts are found there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from regtest.bitcoind import Bitcoind
from regtest.malleate import MALLEATORS, Malleator, Mining, Prevout, fetch_prevouts, fetch_wallet_keys, ids_of
from regtest.network import Network
from regtest.rpc import Json, Rpc, RpcError, btc_of

COIN_SATS = 50_000_000
PAID_SATS = 49_990_000
COINS_OF = {"W01": ("bech32",), "W04": ("bech32",), "T11": ("bech32", "legacy")}
"""What each class's transaction spends; a legacy coin, where nothing is said."""


@dataclass(frozen=True)
class Victim:
    """A signed payment of somebody's, not sent yet, what it spends, and the keys that signed it."""

    raw: bytes
    prevouts: list[Prevout]
    keys: list[bytes]

    def mutant(self, malleator: Malleator) -> bytes:
        return malleator.malleate(self.raw, self.prevouts, self.keys if malleator.needs_key else ())


def victim_of(network: Network, malleator: Malleator) -> Victim:
    """A payment that the malleator applies to, from fresh coins of the node's wallet."""
    wallet = network.node.wallet("victim")
    kinds = COINS_OF.get(malleator.id, ("legacy",))
    coins = network.fund_many([(wallet.getnewaddress("", kind), COIN_SATS) for kind in kinds])
    inputs = [{"txid": coin.txid, "vout": coin.vout} for coin in coins]
    outputs = [{network.miner.getnewaddress(): btc_of(PAID_SATS * len(coins))}]
    signed = wallet.signrawtransactionwithwallet(wallet.createrawtransaction(inputs, outputs))
    raw = bytes.fromhex(signed["hex"])
    prevouts = fetch_prevouts(network.rpc, raw)
    return Victim(raw, prevouts, fetch_wallet_keys(wallet, prevouts))


def verdict_of(rpc: Rpc, raw: bytes) -> Json:
    [verdict] = rpc.testmempoolaccept([raw.hex()], 0)
    return verdict


def names_of_block(rpc: Rpc, block: str) -> set[tuple[str, str]]:
    return {(tx["txid"], tx["hash"]) for tx in rpc.getblock(block, 2)["tx"]}


@pytest.mark.covers("T03a", "T03R")
def test_both_forms_of_mtgox_can_be_mined_before_bip66(make_network: Callable[..., Network]) -> None:
    """Below its activation height blocks take the padded form, which no mempool ever does, and after a reorg the other.

    So the two can swap, as they could in 2014.
    """
    network = make_network("-testactivationheight=dersig@1000")
    padder, stripper = MALLEATORS["T03a"], MALLEATORS["T03R"]
    assert padder.mining is Mining.BELOW_DERSIG
    victim = victim_of(network, padder)
    padded = victim.mutant(padder)
    assert stripper.malleate(padded, victim.prevouts) == victim.raw
    assert "(Non-canonical DER signature)" in verdict_of(network.rpc, padded)["reject-reason"]
    with pytest.raises(RpcError, match=r"\(Non-canonical DER signature\)") as refused:
        network.rpc.sendrawtransaction(padded.hex())
    assert refused.value.code == -26
    block = network.mine_exactly([padded.hex()])
    assert ids_of(padded)[:2] in names_of_block(network.rpc, block)
    reorg = network.reorg(1, transactions=[[victim.raw.hex()]])
    assert ids_of(victim.raw)[:2] in names_of_block(network.rpc, reorg.connected[0])


@pytest.mark.covers("T01", "T02b", "T09", "T11")
@pytest.mark.parametrize("class_id", ["T01", "T02b", "T09", "T11"])
def test_beside_its_original_a_twin_is_only_told_that_it_pays_too_little(
    module_network: Network, class_id: str
) -> None:
    """The fee is looked at before the scripts, so the answer does not give away that the twin is malformed."""
    malleator = MALLEATORS[class_id]
    victim = victim_of(module_network, malleator)
    module_network.rpc.sendrawtransaction(victim.raw.hex(), 0)
    assert verdict_of(module_network.rpc, victim.mutant(malleator))["reject-reason"].startswith("insufficient fee")
    module_network.mine()


@pytest.mark.covers("W01", "W04", "F17")
@pytest.mark.parametrize("class_id", ["W01", "W04"])
def test_beside_its_original_a_witness_twin_is_taken_for_it(module_network: Network, class_id: str) -> None:
    """Sending it is answered as if it had been accepted, whatever its witness is worth; the mempool keeps its own."""
    rpc, malleator = module_network.rpc, MALLEATORS[class_id]
    victim = victim_of(module_network, malleator)
    mutant = victim.mutant(malleator)
    txid = rpc.sendrawtransaction(victim.raw.hex(), 0)
    assert verdict_of(rpc, mutant)["reject-reason"] == "txn-same-nonwitness-data-in-mempool"
    assert rpc.sendrawtransaction(mutant.hex(), 0) == txid
    assert rpc.getmempoolentry(txid)["wtxid"] == ids_of(victim.raw).wtxid
    module_network.mine()


@pytest.mark.covers("T09")
def test_a_twin_that_relays_takes_the_place_of_its_original_for_a_fee(module_network: Network) -> None:
    """How to seat it in the same mempool: `prioritisetransaction` counts like a higher fee."""
    rpc, malleator = module_network.rpc, MALLEATORS["T09"]
    assert malleator.mining is Mining.SEND
    victim = victim_of(module_network, malleator)
    mutant = victim.mutant(malleator)
    original, twin = ids_of(victim.raw).txid, ids_of(mutant).txid
    rpc.sendrawtransaction(victim.raw.hex(), 0)
    rpc.prioritisetransaction(twin, 0, 5_000)
    assert rpc.sendrawtransaction(mutant.hex(), 0) == twin
    mempool = rpc.getrawmempool()
    assert twin in mempool
    assert original not in mempool
    module_network.mine()


def test_prevouts_are_found_wherever_a_node_has_them(make_node: Callable[..., Bitcoind]) -> None:
    """Unspent, unconfirmed, and, with an index, spent; each with its script and exact amount."""
    node = make_node("-txindex")
    wallet = node.wallet("miner")
    node.rpc.generatetoaddress(101, wallet.getnewaddress("", "bech32"))

    def send(inputs: list[Json], kind: str, sats: int) -> bytes:
        raw = wallet.createrawtransaction(inputs, [{wallet.getnewaddress("", kind): btc_of(sats)}])
        signed = bytes.fromhex(wallet.signrawtransactionwithwallet(raw)["hex"])
        node.rpc.sendrawtransaction(signed.hex(), 0)
        return signed

    [coin] = wallet.listunspent()
    parent = send([{"txid": coin["txid"], "vout": coin["vout"]}], "legacy", 4_999_990_001)
    child = send([{"txid": ids_of(parent).txid, "vout": 0}], "bech32", 4_999_980_000)
    [of_parent], [of_child] = fetch_prevouts(node.rpc, parent), fetch_prevouts(node.rpc, child)
    assert (of_parent.script.hex(), of_parent.sats) == (coin["scriptPubKey"], 5_000_000_000)
    assert (of_child.kind, of_child.sats) == ("P2PKH", 4_999_990_001)
    node.rpc.generatetoaddress(1, wallet.getnewaddress())
    assert fetch_prevouts(node.rpc, child) == [of_child]
    assert fetch_prevouts(node.rpc, child, known=[parent]) == [of_child]
