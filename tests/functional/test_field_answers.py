"""Every reason a node gives for refusing a transaction, said of one that is being paid: never a new payment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

import pytest

from regtest.faults import AnswerError, Rewrite
from regtest.funding import script_of
from regtest.malleate import ids_of
from regtest.naive import Habits, NaiveProcessor
from regtest.network import Network
from regtest.oracle import paid_sats
from regtest.proxy import RpcProxy
from regtest.rpc import Json
from tests.functional.world import COIN_SATS, SATS, World
from withdrawals.errors import NotAllowed
from withdrawals.ports import Sent
from withdrawals.signing.journal import read_journal
from workers.jobs import plan_all, sign_one

REFUSED: Final = (
    # Something else spends the coin, or the coin is not there, says the node.
    (-26, "txn-mempool-conflict"),
    (-26, "bip125-replacement-disallowed"),
    (-26, "insufficient fee, rejecting replacement 00; new feerate 0.00001 BTC/kvB <= old feerate 0.00002 BTC/kvB"),
    (-26, "insufficient feerate: does not improve feerate diagram"),
    (-26, "replacement-failed"),
    (-26, "replacement-adds-unconfirmed"),
    (-26, "too many potential replacements"),
    (-26, "bad-txns-spends-conflicting-tx"),
    (-25, "bad-txns-inputs-missingorspent"),
    (-26, "missing-inputs"),
    (-25, "Missing inputs"),
    # Not now.
    (-26, "non-final"),
    (-26, "non-BIP68-final"),
    (-26, "bad-txns-premature-spend-of-coinbase"),
    (-26, "min relay fee not met"),
    (-26, "mempool min fee not met"),
    (-26, "mempool full"),
    (-26, "too-long-mempool-chain, too many unconfirmed ancestors [limit: 25]"),
    (-26, "too-large-cluster"),
    (-28, "Loading block index..."),
    # Not at all, says the node.
    (-26, "dust"),
    (-26, "scriptpubkey"),
    (-26, "scriptsig-not-pushonly"),
    (-26, "bare-multisig"),
    (-26, "datacarrier"),
    (-26, "version"),
    (-26, "tx-size"),
    (-26, "bad-txns-nonstandard-inputs"),
    (-26, "bad-witness-nonstandard"),
    (-26, "bad-txns-too-many-sigops"),
    (-26, "bad-txns-in-belowout"),
    (-26, "mempool-script-verify-flag-failed (Non-canonical DER signature)"),
    (-26, "mandatory-script-verify-flag-failed (Signature must be zero for failed CHECK(MULTI)SIG operation)"),
    (-26, "TRUC-violation"),
    (-25, "max-fee-exceeded"),
    (-25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"),
    (-25, "Unspendable output exceeds maximum configured by user (maxburnamount)"),
    # Nothing that anybody has heard of.
    (-22, "TX decode failed. Make sure the tx has at least one input."),
    (-26, "a reason that the next version invents"),
    (-1, "internal bug detected"),
)
KNOWN: Final = (
    (-26, "txn-already-in-mempool"),
    (-26, "txn-same-nonwitness-data-in-mempool"),
    (-26, "txn-already-known"),
    (-25, "Transaction already in block chain"),
    (-27, "Transaction outputs already in utxo set"),
)
"""The node has it under this name, says the node."""

_numbers = count(1)


@pytest.fixture
def proxy(module_network: Network) -> Iterator[RpcProxy]:
    with RpcProxy(module_network.node) as proxy:
        yield proxy


def refusing(code: int, words: str) -> Rewrite:
    """The node takes the transaction, and its answer is turned into a refusal."""
    return Rewrite(lambda reply: {**reply, "result": None, "error": {"code": code, "message": words}})


def untestable(words: str) -> Rewrite:
    """`testmempoolaccept` says this of everything."""

    def change(reply: Json) -> Json:
        return {**reply, "result": [{**one, "allowed": False, "reject-reason": words} for one in reply["result"]]}

    return Rewrite(change)


def assert_no_new_payment(world: World, request_id: str, why: str) -> None:
    """One plan, one line in the journal, one signature, the same coin bound; and nobody gets it paid again by hand."""
    batch = world.batch(request_id)
    assert world.state(request_id) in {"batched", "broadcast"}, why
    assert (len(batch.plans), batch.generation, len(world.signed(request_id))) == (1, 1, 1), why
    assert len(read_journal(world.journal_path)) == 1, why
    with world.parts.ledger.read() as view:
        assert set(view.load_reservations()) == batch.plans[0].prevouts, why
    for push in (world.processor.cancel, world.processor.hold):
        with pytest.raises(NotAllowed):
            push(request_id, reason=why)
    with pytest.raises(NotAllowed):
        world.processor.retry(request_id)


@pytest.mark.covers("P5", "P2", "F17")
def test_whatever_reason_a_node_gives_nobody_is_paid_again(
    module_network: Network, make_world: Callable[..., World], proxy: RpcProxy
) -> None:
    """Each in turn, while the node does not have it, and again while it has: the same bytes go out, and no others."""
    world = make_world(module_network, node_url=proxy.url)
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    world.tick()
    world.request("one")
    for taken in (False, True):
        for code, words in (*REFUSED, *(KNOWN if taken else ())):
            proxy.clear()
            proxy.on("sendrawtransaction", refusing(code, words) if taken else AnswerError(code, words))
            proxy.on("testmempoolaccept", untestable(words))
            asked = proxy.calls("sendrawtransaction")
            world.tick()
            assert proxy.calls("sendrawtransaction") == asked + 1, f"after {words!r} it is offered again"
            assert (len(world.mempool_txids()) == 1) == taken
            assert_no_new_payment(world, "one", words)
    assert proxy.calls("testmempoolaccept") == 0, "nobody asks whether it would be taken, so no answer misleads"
    [raw] = world.signed("one")
    assert world.mempool_txids() == {ids_of(raw).txid}
    proxy.clear()
    world.mine_to_final()
    assert world.signed("one") == [raw]
    world.assert_final_and_paid_once()


@pytest.mark.covers("P5")
@pytest.mark.parametrize(("code", "words"), [(-26, "txn-mempool-conflict"), (-26, "insufficient fee")])
def test_a_desk_that_believes_the_reason_pays_twice(
    module_network: Network, proxy: RpcProxy, code: int, words: str
) -> None:
    """The control: "not sent, so to be paid again" makes a second transaction from other coins, and both are mined."""
    habits = Habits(change_kind="bech32", automatic_retry=True)
    desk = NaiveProcessor(module_network.node, wallet=f"p5-{next(_numbers)}", through=proxy, habits=habits)
    try:
        desk.start()
        for _ in range(2):
            module_network.fund(desk.deposit_address("bech32"), COIN_SATS)
        address = module_network.miner.getnewaddress()
        desk.enqueue("w1", address, SATS)
        proxy.on("sendrawtransaction", refusing(code, words), times=1)
        desk.tick()
        desk.tick()
        module_network.mine()
        assert paid_sats(module_network.rpc, script_of(module_network.rpc, address)) == 2 * SATS
    finally:
        desk.close()


# -------------------------------------------------------------------------------------- P6: three names for "I have it"


@pytest.fixture
def changeless(module_network: Network, make_world: Callable[..., World], proxy: RpcProxy) -> World:
    """A signed payment without change to an address that the miner can spend from, not sent yet."""
    world = make_world(module_network, node_url=proxy.url)
    world.fund_hot_wallet(SATS, COIN_SATS)
    world.tick()
    world.request("one", sats=SATS - 400, address=module_network.miner.getnewaddress("", "bech32"))
    plan_all(world.parts)
    sign_one(world.parts, world.batch("one").id)
    assert len(world.batch("one").plans[0].outputs) == 1
    return world


@pytest.mark.covers("P6", "W04", "F17")
def test_a_node_that_has_it_with_another_witness_says_so_in_many_ways(
    module_network: Network, changeless: World, proxy: RpcProxy
) -> None:
    """In the mempool, in a block, spent on: the customer is being paid all along, whatever the reason is called."""
    world, node, miner = changeless, module_network.rpc, module_network.miner
    [original], twin = world.signed("one"), world.twin("one", "W04")
    node.sendrawtransaction(twin.hex())

    def reason_of(raw: bytes) -> str:
        [tested] = node.testmempoolaccept([raw.hex()])
        assert not tested["allowed"]
        return str(tested["reject-reason"])

    assert reason_of(twin) == "txn-already-in-mempool"
    assert reason_of(original) == "txn-same-nonwitness-data-in-mempool"
    [sending] = world.send("one")
    assert (sending.result.outcome, sending.result.held_wtxid) == (Sent.PRESENT, ids_of(twin).wtxid)
    for code, words in KNOWN:
        proxy.on("sendrawtransaction", AnswerError(code, words), times=1)
        [sending] = world.send("one")
        assert sending.result.outcome is Sent.PRESENT, f"{words!r} is no missing input"
        world.tick()
        assert_no_new_payment(world, "one", words)
    assert world.state("one") == "broadcast"
    assert len(world.events("attempt.witness_differs")) == 1

    module_network.mine()
    assert reason_of(original) == "txn-already-known"
    [sending] = world.send("one")
    assert sending.result.outcome is Sent.PRESENT
    # Before the follower has seen the block, its output is spent on; now no node can tell it from a dead one.
    [his] = [coin for coin in miner.listunspent(1) if coin["txid"] == ids_of(original).txid]
    made = miner.createrawtransaction([{"txid": his["txid"], "vout": his["vout"]}], [{miner.getnewaddress(): "0.099"}])
    node.sendrawtransaction(miner.signrawtransactionwithwallet(made)["hex"])
    module_network.mine()
    assert reason_of(original) in {"missing-inputs", "bad-txns-inputs-missingorspent"}
    [sending] = world.send("one")
    assert sending.result.outcome is Sent.CONFLICT
    assert_no_new_payment(world, "one", sending.result.reason)
    world.tick()
    assert world.state("one") == "confirmed"
    world.mine_to_final()
    assert world.signed("one") == [original]
    world.assert_final_and_paid_once()
