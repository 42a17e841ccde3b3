"""A signature that does not seal the inputs: a stranger adds his own and takes the transaction's name away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from bitcoin.core import CTransaction, Hash160
from bitcoin.core.script import SIGVERSION_WITNESS_V0, CScript, SignatureHash
from coincurve import PrivateKey

from regtest.malleate import ids_of
from regtest.network import Network
from regtest.rpc import RpcError
from tests.functional.node_payments import confirmed_coin
from tests.functional.world import COIN_SATS, World
from withdrawals.core import tx
from withdrawals.core.model import PlanState
from withdrawals.core.types import Network as Chain
from withdrawals.core.types import OutPoint
from withdrawals.errors import NotAllowed
from withdrawals.ports import SignedAnswer, Signer, SigningOrder
from withdrawals.signing.keyfile import load_key_file

ALL_ANYONECANPAY: Final = 0x81


class CarelessSigner:
    """Our signer, journal and all, but for the hash type of what it returns: ALL|ANYONECANPAY."""

    def __init__(self, world: World, signer: Signer) -> None:
        self._world, self._signer = world, signer
        self.answers: list[bytes] = []

    def compare(self, journal_head: str) -> None:
        """As the honest one does."""
        self._signer.compare(journal_head)

    def ask(self, order: SigningOrder) -> SignedAnswer:
        """The same order, signed so that inputs may be added."""
        answer = self._signer.ask(order)
        self.answers.append(self._signed_loosely(order))
        return SignedAnswer(self.answers[-1], answer.journal_head)

    def close(self) -> None:
        """Let go of the keys."""
        self._signer.close()  # type: ignore[attr-defined] # the adapter has it, the port does not

    def _signed_loosely(self, order: SigningOrder) -> bytes:
        keys = load_key_file(self._world.key_path, Chain.REGTEST)
        unsigned = CTransaction.deserialize(order.unsigned)
        witnesses = []
        for vin, planned in enumerate(order.inputs):
            key = PrivateKey(keys.secret_of(planned.own))
            public_key = key.public_key.format()
            code = CScript(b"\x76\xa9\x14" + Hash160(public_key) + b"\x88\xac")
            digest = SignatureHash(code, unsigned, vin, ALL_ANYONECANPAY, planned.sats, SIGVERSION_WITNESS_V0)
            witnesses.append((key.sign(digest, hasher=None) + bytes([ALL_ANYONECANPAY]), public_key))
        return tx.with_signatures(order.unsigned, [tx.InputSignature(witness=w) for w in witnesses])


def with_an_input_of_a_stranger(network: Network, raw: bytes, coin: OutPoint) -> bytes:
    """The same outputs and signatures, and one more input, all of which goes to the miner as a fee."""
    parts = tx.parts_of(raw)
    unsigned = tx.unsigned_tx(
        [*((each.outpoint, each.sequence) for each in parts.inputs), (coin, 0xFFFF_FFFD)],
        parts.outputs,
        version=parts.version,
        locktime=parts.locktime,
    )
    ours = [tx.InputSignature(each.script_sig, each.witness) for each in parts.inputs]
    half_signed = tx.with_signatures(unsigned, [*ours, tx.InputSignature()])
    # The wallet signs what is its own and leaves the rest; it says "incomplete" where another signature is wrong now.
    return bytes.fromhex(network.miner.signrawtransactionwithwallet(half_signed.hex())["hex"])


@pytest.mark.covers("F15", "I8", "I2")
def test_a_signature_that_lets_inputs_in_is_kept_and_never_sent(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """Refused, its coin stays bound and nobody is paid from another one; a stranger's version of it pays, once."""
    world = make_world(module_network)
    strangers = confirmed_coin(module_network)
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    careless: list[CarelessSigner] = []

    def wrap(port: str, adapter: object) -> object:
        if port != "signer":
            return adapter
        careless.append(CarelessSigner(world, adapter))  # type: ignore[arg-type] # the hook is untyped
        return careless[-1]

    world.start_over(wrap)
    world.tick()
    world.request("one")
    world.tick()
    [loose] = careless[0].answers

    # What it would have meant: any node takes the stranger's version for the better one, under another name.
    altered = with_an_input_of_a_stranger(module_network, loose, strangers)
    assert ids_of(altered).txid != ids_of(loose).txid
    for raw in (loose, altered):
        [tested] = world.rpc.testmempoolaccept([raw.hex()], 0)
        assert tested["allowed"], tested

    def assert_nothing_goes_out() -> None:
        assert world.mempool_txids() == set()
        assert (world.state("one"), world.breaker()) == ("batched", ["lint_refused"])
        [plan] = world.batch("one").plans
        assert plan.state is PlanState.REFUSED
        with world.parts.ledger.read() as view:
            assert plan.prevouts <= view.load_reservations().keys()
        for take_back in (world.processor.cancel, world.processor.reject):
            with pytest.raises(NotAllowed):
                take_back("one", reason="it cannot be signed")

    assert_nothing_goes_out()
    [attempt] = world.batch("one").attempts
    assert (attempt.raw, "sighash_not_all" in str(attempt.refusal)) == (loose, True)
    world.processor.resume(reason="the signer was mended", who="operator")
    world.start_over()
    for _ in range(2):
        world.tick()
    assert world.mempool_txids() == set()
    assert world.signed("one") == [loose]

    # Somebody saw it all the same.
    world.rpc.sendrawtransaction(loose.hex(), 0)
    world.rpc.sendrawtransaction(altered.hex(), 0)
    assert world.mempool_txids() == {ids_of(altered).txid}, "an ordinary replacement, in every mempool"
    world.mine_to_final()
    assert world.payments("one")[0].txid == ids_of(altered).txid
    assert world.signed("one") == [loose]
    assert world.state("one") == "final"
    # A person is told that the coin went to what no plan of ours explains, until he has said what it was.
    assert "unexplained_spend" in world.breaker()
    assert {finding.code for finding in world.processor.audit().findings} == {"unexplained_spend"}
    world.processor.reconcile(ids_of(altered).txid, reason="the signer left its inputs open, ticket 4711")
    world.processor.resume(reason="the signer was mended")
    world.assert_final_and_paid_once()


@pytest.mark.covers("F15")
def test_nothing_can_be_added_to_what_we_do_send(module_network: Network, make_world: Callable[..., World]) -> None:
    """Signed ALL: the same stranger breaks the signatures, and no node or block takes it."""
    world = make_world(module_network)
    strangers = confirmed_coin(module_network)
    world.fund_hot_wallet()
    world.tick()
    world.request("one")
    world.tick()
    [raw] = world.signed("one")
    altered = with_an_input_of_a_stranger(module_network, raw, strangers)
    with pytest.raises(RpcError, match="script-verify-flag"):
        world.rpc.sendrawtransaction(altered.hex(), 0)
    with pytest.raises(RpcError, match="script-verify-flag"):
        module_network.mine_exactly([altered.hex()])
    assert world.mempool_txids() == {ids_of(raw).txid}
    assert set(tx.view_of(altered).prevouts) == {strangers, *world.batch("one").plans[0].prevouts}
    world.mine_to_final()
    world.assert_final_and_paid_once()
