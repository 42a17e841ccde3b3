"""What of the controls needs no node: their book, what they see of a chain, and who must lose in which story."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regtest.contenders import CONTROLS
from regtest.controls.book import Attempt, Book, Killed, Payment, Power, State
from regtest.controls.clerk import Place
from regtest.controls.core_wallet import CoreWalletClerk
from regtest.controls.sight import Sight
from regtest.rpc import Rpc, RpcError, btc_of
from regtest.scenarios.kit import KIT
from regtest.scenarios.model import Outcome, Scenario

SATS = 100_000
TO_SEND = frozenset({State.PENDING, State.FAILED})


def payment(request_id: str = "w1") -> Payment:
    return Payment(request_id, "an address", "0014aa", SATS, State.PENDING, "waiting")


def attempt(name: str, *outpoints: str) -> Attempt:
    return Attempt(name * 64, b"raw " + name.encode(), outpoints, (("f" * 64, "e" * 64 + ":1"),), 120)


@pytest.fixture
def power() -> Power:
    return Power()


@pytest.fixture
def book(tmp_path: Path, power: Power) -> Book:
    return Book(tmp_path / "book.sqlite", power)


def test_a_repeated_id_is_the_same_withdrawal(book: Book) -> None:
    """Whatever it says the second time, and whatever has become of it."""
    book.add(payment())
    assert book.move("w1", {State.PENDING}, State.SENT, "sent")
    book.add(replace(payment(), sats=2 * SATS))
    assert [(p.sats, p.state, p.reason) for p in book.payments()] == [(SATS, State.SENT, "sent")]


def test_of_two_workers_only_one_may_send(book: Book) -> None:
    """The state is compared and changed in one transaction."""
    book.add(payment())
    assert book.move("w1", TO_SEND, State.SENDING, "being sent")
    assert not book.move("w1", TO_SEND, State.SENDING, "being sent")


def test_what_was_written_down_is_there_for_the_next_worker(book: Book) -> None:
    """The bytes, the coins, and what their own transactions spent."""
    book.add(payment())
    made = attempt("a", "c" * 64 + ":0", "d" * 64 + ":3")
    assert book.add_attempt("w1", made, TO_SEND, 0)
    book.mark_taken("w1", made.txid)
    other = Book(book.path, Power())
    assert other.attempts("w1") == [replace(made, was_taken=True)]
    assert other.payment("w1").state is State.SENT
    assert other.coins_of() == other.coins_of(State.SENT) == set(made.outpoints)
    assert other.coins_of(State.CONFIRMED) == set()


@pytest.mark.parametrize(
    ("request_id", "made", "why"),
    [("w1", 0, "it has an attempt already"), ("w2", 0, "the coin is another one's"), ("w2", 1, "it has none yet")],
)
def test_an_attempt_that_comes_second_is_not_written_down(book: Book, request_id: str, made: int, why: str) -> None:
    """So it is never sent either."""
    for known in ("w1", "w2"):
        book.add(payment(known))
    coin = "c" * 64 + ":0"
    assert book.add_attempt("w1", attempt("a", coin), TO_SEND, 0)
    before = [book.attempts(known) for known in ("w1", "w2")]
    assert not book.add_attempt(request_id, attempt("b", coin), frozenset(State), made), why
    assert [book.attempts(known) for known in ("w1", "w2")] == before


def test_an_unknown_withdrawal_is_an_error(book: Book) -> None:
    """And no empty answer."""
    for ask in (book.payment, lambda name: book.move(name, TO_SEND, State.SENT, "sent")):
        with pytest.raises(KeyError):
            ask("nobody")


def test_without_power_nothing_is_written(book: Book, power: Power) -> None:
    """A worker that was killed between two lines does not get to the second."""
    book.add(payment())
    power.cut()
    with pytest.raises(Killed):
        book.move("w1", TO_SEND, State.SENT, "sent")
    assert Book(book.path, Power()).payment("w1").state is State.PENDING


class FakeChain(Rpc):
    """A node that answers two questions, from blocks of (txid, coins spent, script paid)."""

    def __init__(self) -> None:
        self.blocks: list[list[tuple[str, list[str], str]]] = []

    def call(self, method: str, *params: object, **named: object) -> Any:  # noqa: ANN401 - as the client's own
        assert not named
        if method == "getblockchaininfo":
            return {"blocks": 100 + len(self.blocks), "bestblockhash": self._hash(len(self.blocks))}
        assert method == "getblock"
        height = next(h for h in range(len(self.blocks) + 1) if self._hash(h) == params[0])
        transactions = [_transaction(*tx) for tx in self.blocks[height - 1]]
        return {"previousblockhash": self._hash(height - 1), "tx": [{}, *transactions]}

    def _hash(self, height: int) -> str:
        return repr(self.blocks[:height])


def _transaction(txid: str, coins: list[str], script: str) -> dict[str, object]:
    spent = [{"txid": coin, "vout": 0} for coin in coins]
    return {"txid": txid, "hex": "00", "vin": spent, "vout": [{"scriptPubKey": {"hex": script}, "value": "0.001"}]}


def test_a_spender_is_known_by_the_coin_and_not_by_its_txid() -> None:
    """And it pays whom its outputs say, by script and amount."""
    chain = FakeChain()
    chain.blocks = [[], [("twin", ["c", "d"], "0014aa")], [("other", ["e"], "0014bb")]]
    sight = Sight(chain, 100)
    sight.look()
    [spender] = sight.spenders_of(["c:0", "d:0", "x:0"])
    assert (spender.txid, spender.height) == ("twin", 102)
    assert spender.pays(payment())
    assert not spender.pays(replace(payment(), sats=SATS + 1))
    assert not spender.pays(replace(payment(), script="0014bb"))
    assert {mined.txid for mined in sight.mined()} == {"twin", "other"}


def test_what_a_reorg_undid_is_seen_no_more() -> None:
    """The chain is asked anew at every look."""
    chain = FakeChain()
    chain.blocks = [[("first", ["c"], "0014aa")], []]
    sight = Sight(chain, 100)
    sight.look()
    chain.blocks = [[], [("second", ["c"], "0014bb")], []]
    assert [mined.txid for mined in sight.spenders_of(["c:0"])] == ["first"]
    sight.look()
    assert [mined.txid for mined in sight.spenders_of(["c:0"])] == ["second"]


def test_nothing_below_the_floor_is_seen() -> None:
    """Whatever was there before the control was."""
    chain = FakeChain()
    chain.blocks = [[("first", ["c"], "0014aa")], [("second", ["d"], "0014aa")]]
    sight = Sight(chain, 101)
    sight.look()
    assert [mined.txid for mined in sight.mined()] == ["second"]


class FakeWallet(Rpc):
    """A node's wallet with coins of (name, blocks deep, satoshis), which refuses the first so many orders."""

    def __init__(self, *coins: tuple[str, int, int], refuses: int = 0) -> None:
        self.coins, self.refuses = coins, refuses
        self.locked: list[str] = []
        self.told: list[tuple[str, list[str]]] = []

    def call(self, method: str, *params: Any, **named: object) -> Any:  # noqa: ANN401 - as the client's own
        assert not named
        if method == "listunspent":
            return [
                {"txid": name * 64, "vout": 0, "confirmations": deep, "amount": btc_of(sats)}
                for name, deep, sats in self.coins
            ]
        if method == "lockunspent":
            unlocks, *coins = params
            self.locked = [] if unlocks else [coin["txid"][0] for coin in coins[0]]
            return True
        self.told.append((method, self.locked))
        if len(self.told) <= self.refuses:
            raise RpcError(method, -6, "Insufficient funds")
        return "the txid"


def sent_with(book: Book, wallet: FakeWallet) -> list[tuple[str, list[str]]]:
    """What is asked of the wallet, and what is locked meanwhile, when a withdrawal is paid for the second time."""
    place = Place(0, book.path, "", book.path, change_kind="bech32", pads=False, floor=0)
    clerk = CoreWalletClerk(place, Power())
    clerk.wallet = wallet
    book.add(payment())
    book.add_attempt("w1", attempt("a", "c" * 64 + ":0"), TO_SEND, 0)
    clerk._send(payment())
    assert wallet.locked == [], "it leaves nothing locked"
    return wallet.told


def test_the_core_wallet_pays_from_deep_coins_that_it_has_not_tried(book: Book) -> None:
    """Or it would be by lot whether its second payment can stand beside the first."""
    wallet = FakeWallet(("c", 9, 2 * SATS), ("d", 6, 2 * SATS), ("e", 5, 2 * SATS), ("f", 0, 2 * SATS))
    assert sent_with(book, wallet) == [("sendtoaddress", ["c", "e", "f"])]


@pytest.mark.parametrize("deep_sats", [0, SATS])
def test_where_there_are_too_few_of_them_it_asks_once_and_spares_nothing(book: Book, deep_sats: int) -> None:
    """What befalls its order to pay befalls the one that it gives."""
    wallet = FakeWallet(("c", 9, 2 * SATS), ("d", 6, deep_sats), ("e", 5, 2 * SATS))
    assert sent_with(book, wallet) == [("sendtoaddress", [])]


def test_where_they_do_not_pay_the_fee_it_asks_again_with_all(book: Book) -> None:
    """The wallet has signed nothing when it says so."""
    wallet = FakeWallet(("d", 6, SATS + 1), ("e", 5, 2 * SATS), refuses=1)
    assert sent_with(book, wallet) == [("sendtoaddress", ["e"]), ("sendtoaddress", [])]


def test_what_is_refused_for_another_reason_is_not_asked_again(book: Book) -> None:
    """Nor is anything left locked."""
    wallet = FakeWallet(("d", 6, 2 * SATS), refuses=2)
    with pytest.raises(RpcError):
        sent_with(book, wallet)
    assert wallet.told == [("sendtoaddress", [])]
    assert wallet.locked == []


# ------------------------------------------------------------------------------------------------------ declarations

each_story: Callable[..., Any] = pytest.mark.parametrize("scenario", KIT.values(), ids=lambda s: s.name)


@each_story
def test_every_story_names_a_control_that_loses_or_says_why_none_does(scenario: Scenario) -> None:
    """A story in which everybody holds has no teeth, unless nobody attacks, or the attack is shown to fail."""
    assert bool(scenario.losers) + scenario.is_peaceful + bool(scenario.nobody_loses) == 1


@each_story
def test_who_must_lose_is_a_control_that_takes_part(scenario: Scenario) -> None:
    """And then it may do nothing else; where nobody attacks no control may do anything but pay once."""
    assert set(scenario.losers) <= set(CONTROLS)
    assert set(scenario.sits_out) <= {*CONTROLS, "*"}
    for name in CONTROLS:
        if name in scenario.losers:
            assert scenario.takes_part(name)
            assert scenario.allowed(name) == {Outcome.PAID_TWICE}
        elif scenario.is_peaceful:
            assert scenario.allowed(name) == {Outcome.PAID_ONCE}
        else:
            assert Outcome.PAID_TWICE not in scenario.allowed(name)


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_must_lose_somewhere(name: str) -> None:
    """Otherwise it is no control."""
    assert any(name in scenario.losers for scenario in KIT.values())
