"""The control: it pays once when nobody interferes, and twice for every attack that a processor must withstand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count

import pytest

from regtest.faults import DropReply
from regtest.funding import script_of
from regtest.malleate import MALLEATORS, fetch_prevouts, fetch_wallet_keys, ids_of
from regtest.naive import Habits, NaiveProcessor
from regtest.network import Network
from regtest.oracle import confirmed_spender, paid_sats, payments_to
from regtest.processor import Processor
from regtest.proxy import RpcProxy
from regtest.rpc import RpcError

COIN_SATS = 50_000_000
SATS = 30_000_000
LEGACY, SEGWIT, MIXED = ("legacy",), ("bech32",), ("bech32", "legacy")

_numbers = count(1)


class Story:
    """A customer with a withdrawal at a naive desk whose hot wallet has coins for two attempts."""

    def __init__(self, network: Network, kinds: Sequence[str], desk: NaiveProcessor) -> None:
        self.network, self.desk, self.request_id = network, desk, "w1"
        self.sats = SATS if len(kinds) == 1 else COIN_SATS + SATS
        desk.start()
        for _ in range(2):
            network.fund_many([(desk.deposit_address(kind), COIN_SATS) for kind in kinds])
        self.address = network.miner.getnewaddress()
        self.script = script_of(network.rpc, self.address)
        desk.enqueue(self.request_id, self.address, self.sats)

    @property
    def paid(self) -> int:
        return paid_sats(self.network.rpc, self.script)

    @property
    def status(self) -> str:
        return self.desk.status(self.request_id)

    @property
    def signed(self) -> list[bytes]:
        return self.desk.signed_transactions(self.request_id)

    def mutant(self, class_id: str) -> bytes:
        """The last transaction that was signed, mutated by somebody who has seen it."""
        malleator = MALLEATORS[class_id]
        prevouts = fetch_prevouts(self.network.rpc, self.signed[-1])
        wallet = self.network.node.wallet(self.desk.settings.wallet)
        return malleator.malleate(
            self.signed[-1], prevouts, fetch_wallet_keys(wallet, prevouts) if malleator.needs_key else ()
        )


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Iterator[Callable[..., Story]]:
    """Begin stories on a network; their desks are closed after the test."""
    desks: list[NaiveProcessor] = []

    def begin(
        network: Network,
        kinds: Sequence[str] = LEGACY,
        *,
        through: RpcProxy | None = None,
        redis_url: str | None = None,
        habits: Habits | None = None,
    ) -> Story:
        number = next(_numbers)
        desk = NaiveProcessor(
            network.node,
            wallet=f"naive{number}",
            through=through,
            redis_url=redis_url,
            queue_name=f"naive{number}",
            habits=habits or Habits(change_kind=kinds[0]),
        )
        desks.append(desk)
        return Story(network, kinds, desk)

    yield begin
    for desk in desks:
        desk.close()


@pytest.mark.parametrize("kinds", [LEGACY, SEGWIT, MIXED], ids="+".join)
def test_it_pays_once_when_nobody_interferes(
    module_network: Network, tell: Callable[..., Story], kinds: Sequence[str]
) -> None:
    """Whatever it spends, and however often the customer complains."""
    story = tell(module_network, kinds)
    desk: Processor = story.desk  # as the harness knows it
    for status in ("pending", "sent"):
        assert desk.status("w1") == status
        assert not desk.support_retry("w1").paid_again
        desk.tick()
    for blocks in (1, 7):
        module_network.mine(blocks)
        desk.tick()
        assert desk.status("w1") == "confirmed"
        assert not desk.support_retry("w1").paid_again
    [payment] = payments_to(module_network.rpc, story.script)
    assert (payment.txid, payment.sats) == (ids_of(story.signed[0]).txid, story.sats)
    assert story.desk.what_it_believes("w1") == f"confirmed after 1 payment: transaction {payment.txid} is confirmed"


@pytest.mark.covers("W01", "W04")
@pytest.mark.parametrize("class_id", ["W01", "W04"])
def test_it_pays_once_when_only_the_witness_changes(
    module_network: Network, tell: Callable[..., Story], class_id: str
) -> None:
    """The txid stays, and the txid is what it asks for."""
    story = tell(module_network, SEGWIT)
    story.desk.tick()
    mutant = story.mutant(class_id)
    module_network.mine_exactly([mutant.hex()])
    story.desk.tick()
    assert story.status == "confirmed"
    assert not story.desk.support_retry("w1").paid_again
    [payment] = payments_to(module_network.rpc, story.script)
    assert (payment.txid, payment.sats) == (ids_of(mutant).txid, SATS)
    assert ids_of(mutant).wtxid != ids_of(story.signed[0]).wtxid


@pytest.mark.covers("T01", "T02b", "T11", "F2", "P1")
@pytest.mark.parametrize(("class_id", "kinds"), [("T01", LEGACY), ("T02b", LEGACY), ("T11", MIXED)])
def test_it_pays_twice_when_a_miner_takes_a_twin(
    module_network: Network, tell: Callable[..., Story], class_id: str, kinds: Sequence[str]
) -> None:
    """The customer was paid by the twin; the desk finds its own txid conflicted and pays again from another coin."""
    story = tell(module_network, kinds)
    story.desk.tick()
    module_network.mine_exactly([story.mutant(class_id).hex()])
    assert story.paid == story.sats
    story.desk.tick()
    assert story.status == "failed"
    assert "-1 confirmations" in story.desk.what_it_believes("w1")
    assert story.desk.support_retry("w1").paid_again
    module_network.mine()
    story.desk.tick()
    assert story.status == "confirmed"
    assert story.paid == 2 * story.sats


@pytest.mark.covers("T09", "F2")
def test_it_pays_twice_when_its_own_key_signed_twice(module_network: Network, tell: Callable[..., Story]) -> None:
    """A second signer gave another signature of the same payment, and that one was relayed and mined."""
    story = tell(module_network)
    story.desk.tick()
    twin = story.mutant("T09")
    module_network.rpc.prioritisetransaction(ids_of(twin).txid, 0, 5_000)
    module_network.rpc.sendrawtransaction(twin.hex(), 0)
    module_network.mine()
    assert story.paid == SATS
    assert story.desk.support_retry("w1").paid_again
    module_network.mine()
    assert story.paid == 2 * SATS


@pytest.mark.covers("T03R", "P1")
def test_it_pays_twice_as_mtgox_did(module_network: Network, tell: Callable[..., Story]) -> None:
    """It signs padded, nodes refuse that, and anybody can strip the padding and send the rest; both times."""
    story = tell(module_network, habits=Habits(signs_padded=True))
    story.desk.tick()
    assert story.status == "failed"
    assert "Non-canonical DER signature" in story.desk.what_it_believes("w1")
    module_network.rpc.sendrawtransaction(story.mutant("T03R").hex())
    module_network.mine()
    assert story.paid == SATS
    assert story.desk.support_retry("w1").paid_again
    module_network.rpc.sendrawtransaction(story.mutant("T03R").hex())
    module_network.mine()
    assert story.paid == 2 * SATS
    assert len(payments_to(module_network.rpc, story.script)) == 2


@pytest.mark.covers("T01")
def test_an_automatic_retry_needs_nobody_to_complain(module_network: Network, tell: Callable[..., Story]) -> None:
    """And it does not stop at two: as long as somebody twins what it sends, it pays on."""
    story = tell(module_network, habits=Habits(automatic_retry=True))
    module_network.fund(story.desk.deposit_address("legacy"), COIN_SATS)
    for payments in (1, 2, 3):
        story.desk.tick()
        module_network.mine_exactly([story.mutant("T01").hex()])
        assert story.paid == payments * SATS
        story.desk.tick()
        assert story.status == "failed"


@pytest.mark.covers("P2")
def test_it_pays_twice_when_a_reply_is_lost(module_network: Network, tell: Callable[..., Story]) -> None:
    """The node took the transaction, and the answer never came: to the desk an error, so it was not sent."""
    with RpcProxy(module_network.node) as proxy:
        story = tell(module_network, through=proxy)
        proxy.on("sendrawtransaction", DropReply(), times=1)
        story.desk.tick()
        assert story.status == "failed"
        assert ids_of(story.signed[0]).txid in module_network.rpc.getrawmempool()
        assert story.desk.support_retry("w1").paid_again
        module_network.mine()
        story.desk.tick()
    assert story.status == "confirmed"
    assert story.paid == 2 * SATS


@pytest.mark.covers("F1", "F2")
def test_a_wallet_and_an_index_deny_a_payment_that_a_twin_made(
    make_network: Callable[..., Network], tell: Callable[..., Story]
) -> None:
    """Every question about the txid is answered with no. Only the outpoint and the outputs tell what happened."""
    network = make_network("-txindex")
    story = tell(network)
    story.desk.tick()
    original, twin = story.signed[0], story.mutant("T01")
    network.mine_exactly([twin.hex()])
    txid, twin_txid = ids_of(original).txid, ids_of(twin).txid
    wallet = network.node.wallet(story.desk.settings.wallet)
    for method in ("getmempoolentry", "getrawtransaction"):
        with pytest.raises(RpcError) as unknown:
            network.rpc.call(method, txid)
        assert unknown.value.code == -5
    assert network.rpc.gettxout(txid, 0) is None
    seen = wallet.gettransaction(txid)
    assert (seen["confirmations"], seen["walletconflicts"]) == (-1, [twin_txid])
    assert wallet.gettransaction(twin_txid)["confirmations"] == 1
    [outpoint] = story.desk.desk.book.sends("w1")[0].outpoints
    spender = confirmed_spender(network.rpc, *split(outpoint))
    assert spender is not None
    assert spender.txid == twin_txid
    assert story.paid == SATS
    assert story.desk.support_retry("w1").paid_again
    network.mine()
    assert story.paid == 2 * SATS


@pytest.mark.covers("F10")
def test_it_pays_twice_when_the_node_forgot_and_the_wallet_was_told_to_abandon(
    make_network: Callable[..., Network], tell: Callable[..., Story]
) -> None:
    """The node lost its mempool, the customer did not: he sends the transaction, and the wallet takes it back."""
    network = make_network()
    story = tell(network)
    story.desk.tick()
    [first] = story.signed
    network.node.restart(["-persistmempool=0", "-walletbroadcast=0"])
    assert network.rpc.getrawmempool() == []
    story.desk.tick()
    assert "does not know" in story.desk.what_it_believes("w1")
    assert story.desk.support_retry("w1").paid_again
    wallet = network.node.wallet(story.desk.settings.wallet)
    assert is_abandoned(wallet.gettransaction(ids_of(first).txid))
    network.rpc.sendrawtransaction(first.hex())
    network.mine()
    found = wallet.gettransaction(ids_of(first).txid)
    assert found["confirmations"] == 1
    assert not is_abandoned(found)
    assert story.paid == 2 * SATS


def test_with_a_worker_of_its_own_it_pays_once_too(
    module_network: Network, tell: Callable[..., Story], redis_url: str
) -> None:
    """A job per withdrawal on a queue; running one twice does no harm, for the book knows better."""
    story = tell(module_network, SEGWIT, redis_url=redis_url)
    story.desk._ring_and_wait("send_withdrawal", "w1")
    story.desk.tick()
    module_network.mine()
    story.desk.tick()
    assert story.status == "confirmed"
    assert story.paid == SATS


@pytest.mark.covers("T01", "P1")
def test_with_a_worker_of_its_own_it_pays_twice_too(
    module_network: Network, tell: Callable[..., Story], redis_url: str
) -> None:
    """It is no matter of how work is scheduled; and what the worker wrote down survives its restart."""
    story = tell(module_network, redis_url=redis_url)
    story.desk.tick()
    module_network.mine_exactly([story.mutant("T01").hex()])
    story.desk.stop()
    story.desk.start()
    story.desk.tick()
    assert story.status == "failed"
    assert story.desk.support_retry("w1").paid_again
    module_network.mine()
    story.desk.tick()
    assert story.status == "confirmed"
    assert story.paid == 2 * SATS


def test_it_waits_for_coins_rather_than_fail(module_network: Network, tell: Callable[..., Story]) -> None:
    """What it cannot pay it has not sent, and it knows that."""
    story = tell(module_network)
    story.desk.enqueue("w2", story.address, 3 * COIN_SATS)
    story.desk.tick()
    assert (story.status, story.desk.status("w2")) == ("sent", "pending")
    assert story.desk.signed_transactions("w2") == []


def split(outpoint: str) -> tuple[str, int]:
    txid, vout = outpoint.split(":")
    return txid, int(vout)


def is_abandoned(seen: dict[str, list[dict[str, bool]]]) -> bool:
    return any(detail.get("abandoned", False) for detail in seen["details"])
