"""Every class of malleation, done to a spend of its own coin, and what a real node says: in its mempool, in a block."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from bitcoin.core import COutPoint

from regtest.bitcoind import Bitcoind
from regtest.malleate import MALLEATORS, Malleator, Mining, Prevout
from regtest.malleate.serialisation import MISSPELLINGS, Misspelling
from regtest.network import Network
from regtest.rpc import RpcError
from regtest.specimens import (
    COIN_SATS,
    Recipe,
    Specimen,
    make_specimen,
    make_specimens,
    outputs_of,
    recipe_of,
    sign_all,
)
from tests.functional.node_verdicts import check_block, check_ids, check_mined, check_relay, verdict_of

BELOW = [m for m in MALLEATORS.values() if m.mining in {Mining.BELOW_DERSIG, Mining.BELOW_SEGWIT}]
ACTIVATION_HEIGHT = 150


def marked(malleator: Malleator) -> object:
    return pytest.param(malleator, marks=pytest.mark.covers(malleator.id), id=malleator.id)


@pytest.fixture(scope="module")
def specimens(module_network: Network) -> dict[str, Specimen]:
    """One payment for every class, not sent; the coins of all come from one block."""
    return make_specimens(MALLEATORS, module_network)


@pytest.mark.parametrize("malleator", [marked(m) for m in MALLEATORS.values()])
def test_a_node_judges_a_mutant_as_its_class_declares(
    module_network: Network, specimens: dict[str, Specimen], malleator: Malleator
) -> None:
    """Relay policy first, with neither transaction in the mempool; then a block with nothing but the mutant."""
    rpc, knots = module_network.rpc, module_network.node.program.is_knots
    specimen = specimens[malleator.id]
    mutant = specimen.mutant()
    assert malleator.applies_to(specimen.raw, specimen.prevouts)
    check_ids(specimen.raw, mutant, malleator)
    check_relay(rpc, specimen.raw, malleator.original_policy_of(knots=knots))
    check_relay(rpc, mutant, malleator.policy_of(knots=knots))
    check_block(module_network, specimen.raw, mutant, malleator)


@pytest.fixture(scope="module")
def seated(module_network: Network) -> dict[str, Specimen]:
    """Payments that are in the mempool; not those that policy does not let in."""
    knots = module_network.node.program.is_knots
    wanted = [m.id for m in MALLEATORS.values() if m.original_policy_of(knots=knots) is None]
    made = make_specimens(wanted, module_network)
    for specimen in made.values():
        module_network.rpc.sendrawtransaction(specimen.raw.hex(), 0)
    return made


def test_beside_its_original_a_mutant_is_answered_as_its_class_declares(
    module_network: Network, seated: dict[str, Specimen]
) -> None:
    """By its txid or its fee, which are looked at before the scripts: the answer does not say what it is worth."""
    for class_id, specimen in seated.items():
        verdict = verdict_of(module_network.rpc, specimen.mutant())
        answer = specimen.malleator.beside_original
        assert verdict["allowed"] == (answer is None), (class_id, verdict)
        assert answer is None or verdict["reject-reason"].startswith(answer), (class_id, verdict)


def coinbase_of(node: Bitcoind, script: bytes) -> COutPoint:
    """A block reward of this script: below the activation of segwit no wallet coin of the harness can be spent."""
    [block] = node.rpc.generatetodescriptor(1, f"raw({script.hex()})")
    coinbase = node.rpc.getblock(block, 2)["tx"][0]["txid"]
    return COutPoint(bytes.fromhex(coinbase)[::-1], 0)


@pytest.mark.covers("T03a", "T03b", "T03c", "T03d", "T03e", "T07")
def test_what_blocks_forbid_today_they_took_below_the_height_of_its_rule(make_node: Callable[..., Bitcoind]) -> None:
    """At that height they refuse it; relay refuses it all the time, as nodes have done since 0.8."""
    heights = [f"-testactivationheight={rule}@{ACTIVATION_HEIGHT}" for rule in ("dersig", "segwit")]
    node = make_node(*heights)
    rpc = node.rpc
    ripe = "raw(51)"

    def mined(malleator: Malleator, recipe: Recipe) -> Specimen:
        [coin] = recipe.coins
        raw = sign_all([coin], [coinbase_of(node, coin.script)], outputs_of(recipe))
        return Specimen(malleator.id, raw, (Prevout(coin.script, COIN_SATS),), (), None)

    early, late = ([mined(m, recipe_of(m.id)) for m in BELOW] for _ in range(2))
    rpc.generatetodescriptor(100, ripe)
    assert {s.class_id for s in early} == {m.id for m in BELOW} == {"T03a", "T03b", "T03c", "T03d", "T03e", "T07"}
    for specimen in early:
        mutant = specimen.mutant()
        check_relay(rpc, mutant, specimen.malleator.policy)
        check_mined(rpc, mutant, rpc.generateblock(ripe, [mutant.hex()])["hash"])
    rpc.generatetodescriptor(ACTIVATION_HEIGHT - 1 - rpc.getblockcount(), ripe)
    for specimen in late:
        with pytest.raises(RpcError, match=re.escape(f"({specimen.malleator.consensus})")):
            rpc.generateblock(ripe, [specimen.mutant().hex()])


@pytest.mark.parametrize(
    "entry", [pytest.param(e, marks=pytest.mark.covers(e.id), id=e.id) for e in MISSPELLINGS.values()]
)
def test_nobody_reads_a_misspelling(module_network: Network, entry: Misspelling) -> None:
    """Decoding, sending and mining all say that it is no transaction; the bytes it was made of are one."""
    rpc = module_network.rpc
    raw = make_specimen("T01", module_network).raw
    spelt = entry.spell(raw).hex()
    for call in (
        # Left to guess, the node also tries the bytes as a transaction without inputs, and one in 256 happens to fit.
        lambda: rpc.decoderawtransaction(spelt, True),  # noqa: FBT003 - the node's parameter, "iswitness"
        lambda: rpc.testmempoolaccept([spelt]),
        lambda: rpc.sendrawtransaction(spelt),
        lambda: module_network.mine_exactly([spelt]),
    ):
        with pytest.raises(RpcError, match="decode failed") as refused:
            call()
        assert refused.value.code == -22
    check_relay(rpc, raw, None)
