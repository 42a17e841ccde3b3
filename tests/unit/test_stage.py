"""What the stage and its stories make of a processor: what counts as signed, as one payment, as not offered."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, call

import pytest

from regtest.party import NotOffered, Party
from regtest.processor import ChecksItself, HoldsKeys, ShowsTransactions, SupportAnswer
from regtest.scenarios import crowds
from regtest.scenarios.bumps import bump_chain
from regtest.scenarios.crowds import mempool_is_full
from regtest.scenarios.hands import is_sent_again
from regtest.scenarios.opinions import twin_is_first
from regtest.scenarios.padding import padded_and_refused
from regtest.scenarios.requests import answer_is_lost
from regtest.scenarios.signers import signature_is_late
from regtest.scenarios.stage import SIGNING_ROUNDS, Customer, SignsNothing, Stage


def spending(*coins: int) -> bytes:
    """A transaction without outputs that anybody asks for, of these coins."""
    inputs = "".join(f"{coin:064x}" + "00000000" + "00" + "ffffffff" for coin in coins)
    return bytes.fromhex(f"02000000{len(coins):02x}{inputs}01{'00' * 8}00{'00' * 4}")


class Signer:
    """A processor that shows what it signs: so much at each tick, and at each complaint."""

    name = "signer"

    def __init__(self, *rounds: list[bytes], answer: SupportAnswer | None = None) -> None:
        self.rounds, self.signed, self.answer = list(rounds), list[bytes](), answer

    def tick(self) -> None:
        self.signed += self.rounds.pop(0) if self.rounds else []

    def support_retry(self, _request_id: str) -> SupportAnswer:
        self.tick()
        assert self.answer is not None
        return self.answer

    def signed_transactions(self, _request_id: str) -> list[bytes]:
        return list(self.signed)


def stage_of(processor: Any) -> Stage:  # noqa: ANN401 - as much of a processor as is needed
    network: Any = SimpleNamespace(height=100, rpc=None, nodes=[])
    stage = Stage(network, Party("mine", processor), ("bech32",))
    stage.customers.append(Customer("payout-001", "bcrt1q", "0014" + "00" * 20, 1))
    return stage


@pytest.mark.parametrize("late", range(SIGNING_ROUNDS))
def test_a_processor_may_take_three_rounds_to_sign(late: int) -> None:
    """One to plan, one to sign, one to send: the story goes on with what it signed."""
    assert stage_of(Signer(*[[]] * late, [spending(1)])).last_signed() == spending(1)


def test_one_that_signs_nothing_is_told_so_in_a_sentence() -> None:
    """And not by an index that is out of range."""
    with pytest.raises(SignsNothing, match="it signs nothing for a customer whom it could pay"):
        stage_of(Signer()).last_signed()


@pytest.mark.parametrize(
    ("signed", "is_one"),
    [
        ([], True),
        ([spending(1)], True),
        ([spending(1), spending(1, 2), spending(1, 3)], True),
        ([spending(1), spending(2)], False),
        ([spending(1), spending(1, 2), spending(2)], False),
    ],
)
def test_what_shares_a_coin_with_all_before_it_is_one_payment(signed: list[bytes], is_one: bool) -> None:  # noqa: FBT001
    """Who raises his fee by himself is sound; the third of a chain that lost the first one's coin is not."""
    stage = stage_of(Signer(signed))
    stage.work()
    assert stage.is_one_payment() is is_one


@pytest.mark.parametrize(
    ("new", "says_again", "is_sound"),
    [
        ([], False, True),
        ([spending(1, 2)], False, True),
        ([spending(2)], False, False),
        ([spending(2)], True, False),
        ([], True, False),
    ],
)
def test_a_retry_may_raise_the_fee_and_nothing_else(new: list[bytes], says_again: bool, is_sound: bool) -> None:  # noqa: FBT001
    """Even one that says it paid again, and of which nobody has seen anything, breaks no story off."""
    stage = stage_of(Signer([spending(1)], new, answer=SupportAnswer(says_again, "here you are")))
    stage.work()
    assert stage.complain() is (says_again and bool(new))
    assert stage.shortcomings == ([] if is_sound else ["not so: retry pays nobody"])


def expected(stage: MagicMock, what: str) -> list[bool]:
    return [bool(told.kwargs["holds"]) for told in stage.expect.call_args_list if told.args == (what,)]


@pytest.mark.parametrize("heard", [False, True])
def test_a_signature_that_is_sent_while_nobody_should_hear_of_it_is_none(heard: bool) -> None:  # noqa: FBT001
    """The story proves nothing then; nor where it is signed for twice."""
    stage = MagicMock(signed=[spending(1)] * (1 + heard))
    stage.waiting_payments.return_value = ["a txid"] * heard
    signature_is_late(stage)
    assert expected(stage, "nobody hears of it") == [not heard]
    assert expected(stage, "it is signed for once") == [not heard]


def test_a_server_whose_request_fails_fails_the_story() -> None:
    """What goes wrong on a thread of its own is heard in the story's."""
    main = threading.current_thread()

    def repeat() -> None:
        if threading.current_thread() is not main:
            raise ValueError("two at once")

    with pytest.raises(ValueError, match="two at once"):
        answer_is_lost(MagicMock(**{"repeat.side_effect": repeat}))


@pytest.mark.parametrize("more", [(1,), (1, 2)])
def test_a_chain_of_bumps_needs_one_that_takes_another_coin(more: tuple[int, ...]) -> None:
    """Who pays each bump out of the change has not been attacked by a chain of fresh coins."""
    stage = MagicMock(signed=[spending(1), spending(*more)], coins=("bech32",))
    stage.network.rpc.estimatesmartfee.return_value = {}
    goes_on = len(more) > 1
    with nullcontext() if goes_on else pytest.raises(NotOffered, match="a bump that needs one more coin"):
        bump_chain(stage)
    assert stage.curtain.called is goes_on


@pytest.mark.parametrize(
    ("held", "is_one", "passes"), [([1], True, True), ([2], True, True), ([2], False, False), ([], True, False)]
)
def test_what_a_node_forgot_is_sent_again_or_its_like_for_a_higher_fee(
    monkeypatch: pytest.MonkeyPatch,
    held: list[int],
    is_one: bool,  # noqa: FBT001 - a table
    passes: bool,  # noqa: FBT001 - a table
) -> None:
    """Another payment from other coins is not its like."""
    stage = MagicMock(signed=[spending(1), spending(2)])
    stage.is_one_payment.return_value = is_one
    monkeypatch.setattr("regtest.scenarios.hands.is_waiting", lambda _, raw: raw in [spending(coin) for coin in held])
    is_sent_again(stage, spending(1))
    assert expected(stage, "the same bytes are sent again") == [passes]


def test_the_story_looks_for_the_payment_before_it_sends_it_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or nobody would know who it was that sent it."""
    monkeypatch.setattr(crowds, "_crowd_out", lambda *_: None)
    stage = MagicMock(signed=[])
    raw = stage.begin_work.return_value = spending(1)
    stage.network.rpc.getrawmempool.return_value = []
    mempool_is_full(stage)
    told = stage.mock_calls
    looked = told.index(call.expect("the same bytes are sent again", holds=False))
    assert len(told) - 1 - told[::-1].index(call.weather.answer_to(raw)) > looked
    assert told.index(call.weather.answer_to(raw)) < looked


@pytest.mark.parametrize(("play", "offer"), [(twin_is_first, HoldsKeys), (padded_and_refused, ChecksItself)])
def test_a_story_asks_for_what_it_needs_before_anything_happens(play: Any, offer: type) -> None:  # noqa: ANN401
    """In the middle of it the lack of it would look like a failure."""
    processor: Any = Signer()
    stage = MagicMock(party=Party("mine", processor))
    with pytest.raises(NotOffered):
        play(stage)
    assert not isinstance(stage.party.processor, offer)
    assert not stage.fund.called
    assert not stage.begin.called


def test_nor_is_anything_refused_that_nobody_shows() -> None:
    """It checks itself, and keeps what it signed to itself."""

    class Checked:
        def has_refused(self, _request_id: str) -> bool:
            return True

        def troubles(self, _request_ids: list[str], *, paid: bool) -> list[str]:
            return [] if paid else ["unpaid"]

    checks: Any = Checked()
    assert not isinstance(checks, ShowsTransactions)
    with pytest.raises(NotOffered, match="signed_transactions"):
        padded_and_refused(MagicMock(party=Party("mine", checks)))


def test_what_goes_wrong_while_a_twin_is_seated_is_heard_in_the_story() -> None:
    """It happens on a thread of the proxy's, where nobody listens."""
    stage = MagicMock()
    stage.twin_of.side_effect = LookupError("no key for it")
    stage.line.calls.return_value = 1

    def work() -> None:
        _, deed = stage.line.on.call_args.args
        deed.deed({"params": [spending(1).hex()]})

    stage.work.side_effect = work
    with pytest.raises(LookupError, match="no key for it"):
        twin_is_first(stage)
