"""Stories about what nodes say: each has an opinion of its own, and what it answers to a sender proves nothing."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Final

from regtest.faults import Elsewhere, Meanwhile
from regtest.malleate import ids_of
from regtest.processor import HoldsKeys
from regtest.rpc import Json, btc_of
from regtest.scenarios.hands import refusal, require_sendings, until
from regtest.scenarios.model import CORE_WALLET, NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.stage import ANCHOR_DEPTH, OWED, SIGNED, SIGNING_ROUNDS, Customer, Stage
from regtest.scenarios.twins import COIN, LATER_COIN, OWED_SATS

_OURS, _OTHER = 0, 1
_CLASS: Final = "T09"
_SEATED_S: Final = 30.0
"""For a twin that is under way since before the processor heard that its own was refused."""
_SPENT_ON_FEE_SATS: Final = 10_000
_NEXT_SATS: Final = 180_000_000
"""More than a coin, less than a coin and the change of the first payment: it takes both."""
_OF_THE_MEMPOOL: Final = (
    "sendrawtransaction",
    "testmempoolaccept",
    "getmempoolentry",
    "getrawmempool",
    "getrawtransaction",
    "gettxout",
    "gettxspendingprevout",
)
"""What any node may be asked; a wallet is on one of them."""
_REFUSALS: Final = (
    (-26, "txn-mempool-conflict"),
    (-26, "insufficient fee, rejecting replacement"),
    (-26, "txn-already-known"),
    (-25, "bad-txns-inputs-missingorspent"),
    (-27, "Transaction outputs already in utxo set"),
    (-26, "too-long-mempool-chain"),
    (-1, "a reason that the next version invents"),
)
"""Of all kinds: something else spends the coin, it is there already, not now, and what nobody has heard of."""


def two_nodes(stage: Stage) -> None:
    """Ours is in one mempool, a second signer's twin in the other; asked by turns, the nodes contradict each other."""
    network = stage.network
    network.join()
    stage.fund(COIN)
    network.split()
    raw = stage.begin_work(OWED_SATS)
    twin = stage.twin_of(raw, _CLASS)
    network.nodes[_OTHER].rpc.sendrawtransaction(twin.hex(), 0)
    network.join()
    stage.deposits_come_in(LATER_COIN)
    ours, theirs = ids_of(raw).txid, ids_of(twin).txid
    apart = stage.weather.holds(ours, on=_OURS) and stage.weather.holds(theirs, on=_OTHER)
    stage.tell("two nodes", f"one holds {ours}, the other {theirs}" if apart else "HOLD THE SAME")
    stage.expect("each of two nodes has another twin", holds=apart)
    other = network.nodes[_OTHER]
    for method in _OF_THE_MEMPOOL:
        stage.line.on(method, Elsewhere(other.rpc_port, other.cookie_path))
    stage.work()
    stage.tell("asked is the other node", "there, ours cannot be found, and is refused")
    stage.ask()
    stage.complain()
    stage.line.clear()
    stage.work()
    stage.complain()
    network.mine(on=_OTHER)
    stage.tell_txid("the other node's block", "decides for", twin)
    stage.work()
    stage.ask()
    stage.complain()
    stage.mine_what_waits()
    stage.curtain()


def whatever_it_answers(stage: Stage) -> None:
    """The node takes the payment and says in many words that it did not; later it says so in earnest."""
    code, words = _REFUSALS[0]
    stage.line.on("sendrawtransaction", refusal(code, words, taken=True), times=1)
    raw = stage.begin(OWED_SATS, COIN)
    require_sendings(stage, "sendrawtransaction")
    customer, txid = stage.customer, ids_of(raw).txid
    there = stage.weather.holds(txid)
    stage.tell(f"{code} {words}", "says the node, and has it" if there else "AND THE NODE HAS NOTHING")
    stage.complain()
    for code, words in _REFUSALS[1:]:
        stage.line.clear()
        stage.line.on("sendrawtransaction", refusal(code, words, taken=True), times=1)
        stage.work()
    stage.tell("sent again", f"and refused for {len(_REFUSALS) - 1} other reasons, none of them true")
    stage.complain()
    stage.line.clear()
    stage.mine_what_waits()
    mined = stage.weather.answer_to(raw)
    _customer_spends(stage, customer, txid)
    stage.network.mine(ANCHOR_DEPTH)
    # The change goes into the next payment, and then nothing is left by which a node could tell that it was mined.
    stage.owe(_NEXT_SATS)
    stage.work()
    stage.mine_what_waits()
    stage.tell("sent once more", f"unspent in a block: {mined}; all spent: {stage.weather.answer_to(raw)}")
    stage.ask(customer)
    stage.complain(customer)
    stage.expect("whatever was signed for it, no two can be mined", holds=stage.is_one_payment(customer))
    stage.curtain()


def _customer_spends(stage: Stage, customer: Customer, txid: str) -> None:
    """He spends what he was paid."""
    miner = stage.network.miner
    for payment in stage.payments_of(customer):
        if payment.txid == txid:
            coin = {"txid": txid, "vout": payment.vout}
            pays = {miner.getnewaddress(): btc_of(payment.sats - _SPENT_ON_FEE_SATS)}
            made = miner.signrawtransactionwithwallet(miner.createrawtransaction([coin], [pays]))
            stage.network.rpc.sendrawtransaction(made["hex"])


def twin_is_first(stage: Stage) -> None:
    """At the moment when ours is on its way to the node, a twin is there before it: our own broadcast fails."""
    stage.party.needs(HoldsKeys)
    seated: Future[tuple[bytes, bytes]] = Future()

    def seat_a_twin(call: Json) -> None:
        # On a thread of the proxy's, where nobody hears what goes wrong.
        try:
            params = call["params"]
            sent = params.get("hexstring") or params["args"][0] if isinstance(params, dict) else params[0]
            raw = bytes.fromhex(sent)
            twin = stage.twin_of(raw, _CLASS)
            stage.attacker.seat(twin)
        except Exception as error:  # noqa: BLE001 - raised again below, in the thread of the story
            seated.set_exception(error)
        else:
            seated.set_result((raw, twin))

    stage.line.on("sendrawtransaction", Meanwhile(seat_a_twin), times=1)
    stage.party.fetch_keys(stage.fund(COIN))
    stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    until(SIGNING_ROUNDS, seated.done, stage.work)
    require_sendings(stage, "sendrawtransaction")
    raw, twin = seated.result(_SEATED_S)
    stage.tell_txid(SIGNED, "txid", raw)
    there = stage.weather.holds(ids_of(raw).txid)
    stage.tell("the node refuses it", "AND HAS IT" if there else f"for {ids_of(twin).txid} was there before it")
    stage.ask()
    stage.complain()
    stage.work()
    stage.complain()
    stage.mine_what_waits()
    stage.tell_txid("a block", "has", twin)
    stage.ask()
    stage.complain()
    stage.curtain()


TWO_NODES: Final = Scenario(
    name="two-nodes",
    title="Two nodes, and each has another twin",
    covers=("T09", "F9"),
    moral="What spends a coin in a mempool is one node's opinion. Neither twin gives way; a block decides.",
    play=two_nodes,
    losers=(NAIVE_TXID, CORE_WALLET, RESEND_ON_ERROR),
    proxied=True,
    nodes=2,
)

WHATEVER_IT_ANSWERS: Final = Scenario(
    name="false-refusals",
    title="The node has it, and says that it has not",
    covers=("F17", "P5"),
    moral="No answer to a sender is a reason to pay: mined and spent sounds like dead. The coin knows better.",
    play=whatever_it_answers,
    losers=(NAIVE_TXID, RESEND_ON_ERROR),
    sits_out=(CORE_WALLET,),  # which never sends what is signed already: every-reason is played to it
    coins=("bech32",),
    proxied=True,
)

TWIN_FIRST: Final = Scenario(
    name="twin-first",
    title="A twin is there first, and ours is refused",
    covers=("T09", "F18"),
    moral="The node refuses ours for want of a higher fee, while the customer is being paid by its twin.",
    play=twin_is_first,
    losers=(NAIVE_TXID, RESEND_ON_ERROR),
    sits_out=(CORE_WALLET,),
    proxied=True,
)
