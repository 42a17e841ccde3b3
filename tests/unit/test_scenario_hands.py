"""What a story that tampers with calls makes of a processor whose calls nobody sees: nothing is proved by it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from regtest.faults import Hold, wait_out
from regtest.party import NotOffered
from regtest.scenarios.bumps import bump
from regtest.scenarios.hands import SENDING, meanwhile, require_sendings


def stage_with(*called: str, tick: Any = lambda: None) -> Any:  # noqa: ANN401 - as much of a stage as is needed
    line = SimpleNamespace(calls=called.count)
    return SimpleNamespace(line=line, party=SimpleNamespace(processor=SimpleNamespace(tick=tick)))


@pytest.mark.parametrize("method", SENDING)
def test_whichever_call_pays_is_one_that_can_be_tampered_with(method: str) -> None:
    """The story goes on."""
    require_sendings(stage_with(method))


@pytest.mark.parametrize(("called", "methods"), [((), ()), (("sendtoaddress",), ("sendrawtransaction",))])
def test_where_nothing_was_tampered_with_nothing_is_passed(called: tuple[str, ...], methods: tuple[str, ...]) -> None:
    """A reply that nobody waited for was not lost: the cell is not offered."""
    with pytest.raises(NotOffered, match="nobody on the line has seen one"):
        require_sendings(stage_with(*called), *methods)


def test_a_round_that_sends_nothing_anybody_sees_is_no_race() -> None:
    """What should happen meanwhile does not happen at all, and the round is over."""
    ticked = threading.Event()
    with pytest.raises(NotOffered), meanwhile(stage_with(tick=ticked.set), Hold()):
        pytest.fail("there is no meanwhile")
    assert ticked.is_set()


def test_who_answers_one_thing_at_a_time_is_not_asked_meanwhile() -> None:
    """What he was asked he heard when the round was over: that is no race, and none was survived."""
    hold = Hold(timeout_s=0.05)
    stage = stage_with("sendrawtransaction", tick=lambda: wait_out(hold, after=False))
    with pytest.raises(NotOffered, match="while a round of work is under way"), meanwhile(stage, hold):
        hold.release.wait(0.1)


def test_a_round_that_breaks_off_is_told_as_that() -> None:
    """Its own error, and not that something was not seen."""

    def broken() -> None:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError), meanwhile(stage_with(tick=broken), Hold()) as reached:
        assert not reached


@pytest.mark.parametrize(("accepts", "signs"), [(False, 0), (True, 0), (True, 1)])
def test_a_bump_that_is_refused_is_a_shortcoming(accepts: bool, signs: int) -> None:  # noqa: FBT001 - a table
    """Or a story about bumps would be passed by whoever never bumps."""
    raw = bytes.fromhex("02000000" + "01" + "00" * 36 + "00" + "ff" * 4 + "00" + "00" * 4)
    signed, said = [raw], list[tuple[str, bool]]()

    def asked(_request_id: str) -> bool:
        signed.extend([raw] * signs)
        return accepts

    stage: Any = SimpleNamespace(
        signed=signed,
        customer=SimpleNamespace(request_id="payout-001"),
        party=SimpleNamespace(bump=asked),
        tell=lambda *_words: None,
        expect=lambda what, *, holds: said.append((what, holds)),
    )
    bump(stage)
    assert said == [("what waits can be bumped", accepts and bool(signs))]
