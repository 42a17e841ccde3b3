"""A real node's opinion of our keys, scripts and signatures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from regtest.network import Network as Chain
from regtest.rpc import Rpc
from withdrawals.core.model import JOURNAL_START, OwnScript, PlannedInput, TxOut
from withdrawals.core.tx import parts_of, script_of, unsigned_tx, view_of
from withdrawals.core.types import BatchId, Network, OutPoint, RequestId, Sats, ScriptKind, Txid
from withdrawals.ports import ApprovedPayment, SigningOrder
from withdrawals.signing.checksum import with_checksum, without_checksum
from withdrawals.signing.hot import HotSigner
from withdrawals.signing.keyfile import create_key_file
from withdrawals.signing.verify import verify_signatures

KINDS = (ScriptKind.P2PKH, ScriptKind.P2SH, ScriptKind.P2WPKH, ScriptKind.P2TR)
COIN_SATS = Sats(250_000)
FEE_SATS = Sats(20_000)
COINS_PER_BRANCH = 4
GENERATOR_X = bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
"""A taproot output's program must be a point of the curve."""


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[HotSigner]:
    """A hot signer over fresh keys of every kind."""
    create_key_file(tmp_path / "keys", Network.REGTEST, KINDS)
    with HotSigner(tmp_path / "keys", tmp_path / "journal", Network.REGTEST, fee_max_sats=FEE_SATS) as signer:
        yield signer


def funded_order(chain: Chain, signer: HotSigner) -> SigningOrder:
    """An order that spends confirmed coins of every kind and branch to five customers, one script of each kind."""
    own: list[OwnScript] = [
        script
        for wallet in range(len(KINDS))
        for branch in (0, 1)
        for script in signer.wallet.own_scripts(wallet, branch, 10, COINS_PER_BRANCH)
    ]
    fundings = chain.fund_many([(each.script.hex(), COIN_SATS) for each in own])
    inputs = tuple(
        PlannedInput(OutPoint(Txid(funding.txid), funding.vout), COIN_SATS, each)
        for funding, each in zip(fundings, own, strict=True)
    )
    customers = {**dict.fromkeys(KINDS[:3], bytes(20)), ScriptKind.P2WSH: bytes(32), ScriptKind.P2TR: GENERATOR_X}
    scripts = [script_of(kind, program) for kind, program in customers.items()]
    payments = tuple(
        ApprovedPayment(RequestId(f"r-{at}"), script, Sats(100_000 + at)) for at, script in enumerate(scripts)
    )
    (change,) = signer.wallet.own_scripts(3, 1, 60, 1)
    rest = Sats(COIN_SATS * len(inputs) - sum(p.sats for p in payments) - FEE_SATS)
    outputs = [*(TxOut(p.script, p.sats) for p in payments), TxOut(change.script, rest)]
    unsigned = unsigned_tx([(i.outpoint, i.sequence) for i in inputs], outputs)
    return SigningOrder(BatchId("b-1"), 1, unsigned, inputs, payments, JOURNAL_START)


@contextmanager
def node_wallet(chain: Chain, name: str, descriptors: list[str]) -> Iterator[Rpc]:
    """A wallet of the node's that holds these private descriptors, each branch imported by itself."""
    chain.rpc.createwallet(name, blank=True)
    wallet = chain.rpc.for_wallet(name)
    requests = [
        {"desc": with_checksum(body.replace("<0;1>", branch)), "timestamp": 0, "range": [0, 100]}
        for body in map(without_checksum, descriptors)
        for branch in "01"
    ]
    try:
        assert [answer["success"] for answer in wallet.importdescriptors(requests)] == [True] * len(requests)
        yield wallet
    finally:
        wallet.unloadwallet()


@pytest.mark.covers("I8")
def test_a_plan_over_every_kind_is_accepted_and_mined(module_network: Chain, signer: HotSigner) -> None:
    """Policy and consensus take it, under the very ids that we computed."""
    order = funded_order(module_network, signer)
    raw = signer.ask(order).raw
    assert verify_signatures(raw, order.inputs) == ()
    (verdict,) = module_network.rpc.testmempoolaccept([raw.hex()])
    assert verdict["allowed"], verdict
    view = view_of(raw)
    assert (verdict["txid"], verdict["wtxid"]) == (view.txid, view.wtxid)
    assert module_network.rpc.sendrawtransaction(raw.hex()) == view.txid
    (block,) = module_network.mine()
    assert view.txid in module_network.rpc.getblock(block)["tx"]


def test_the_node_signs_the_same_bytes(module_network: Chain, signer: HotSigner, tmp_path: Path) -> None:
    """Bitcoin Core's own wallet, given our keys, makes every signature of every kind byte for byte as we do."""
    order = funded_order(module_network, signer)
    ours = signer.ask(order).raw
    private = [line for line in (tmp_path / "keys").read_text().splitlines() if not line.startswith("#")]
    with node_wallet(module_network, f"twin-{tmp_path.name}", private) as wallet:
        theirs = wallet.signrawtransactionwithwallet(order.unsigned.hex())
        assert theirs["complete"]
        assert theirs["hex"] == ours.hex()


def test_the_node_publishes_the_same_descriptors(module_network: Chain, signer: HotSigner, tmp_path: Path) -> None:
    """What it lists of our keys without private ones is what we derive, checksum and key origin included."""
    private = [line for line in (tmp_path / "keys").read_text().splitlines() if not line.startswith("#")]
    with node_wallet(module_network, f"public-{tmp_path.name}", private) as wallet:
        listed = {entry["desc"] for entry in wallet.listdescriptors()["descriptors"]}
    ours = [without_checksum(text) for text in signer.wallet.descriptors]
    assert listed == {with_checksum(body.replace("<0;1>", branch)) for body in ours for branch in "01"}


def test_the_node_derives_the_same_scripts(module_network: Chain, signer: HotSigner) -> None:
    """`deriveaddresses` of our public descriptors names the scripts that we take for our own."""
    for number, text in enumerate(signer.wallet.descriptors):
        for branch in (0, 1):
            one = with_checksum(without_checksum(text).replace("<0;1>", str(branch)))
            addresses = module_network.rpc.deriveaddresses(one, [5, 9])
            scripts = [module_network.rpc.validateaddress(address)["scriptPubKey"] for address in addresses]
            assert scripts == [own.script.hex() for own in signer.wallet.own_scripts(number, branch, 5, 5)]


def test_one_wrong_byte_of_a_signature_is_refused_by_both(module_network: Chain, signer: HotSigner) -> None:
    """What our verifier calls bad, the node does too, for an input of each kind."""
    order = funded_order(module_network, signer)
    raw = signer.ask(order).raw
    for at in range(0, len(order.inputs), 2 * COINS_PER_BRANCH):
        part = parts_of(raw).inputs[at]
        signature = part.witness[0] if part.witness else part.script_sig[1:72]
        spoiled = bytearray(raw)
        spoiled[raw.index(signature) + 40] ^= 1
        (problem,) = verify_signatures(bytes(spoiled), order.inputs)
        assert problem.startswith(f"input {at}: ")
        (verdict,) = module_network.rpc.testmempoolaccept([bytes(spoiled).hex()])
        assert not verdict["allowed"]
