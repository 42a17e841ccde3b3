"""What a played scenario is worth: passed is only what was played to its end, and nothing excuses a second payment."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from regtest.malleate import CannotMalleate
from regtest.party import NotOffered, Party
from regtest.processor import CannotPlay, Contender
from regtest.pytest_run import Run
from regtest.record import Record
from regtest.replay import run
from regtest.replay.cells import Cell, Replay, Standing, cell_of
from regtest.replay.words import headline, verdict_sentences
from regtest.report.document import NodeVersion
from regtest.report.results import Result, outcome_of
from regtest.scenarios.kit import KIT
from regtest.scenarios.model import GATE_ONLY, NAIVE_TXID, Outcome
from regtest.scenarios.perform import Performance, perform
from regtest.scenarios.stage import Customer, Stage

MTGOX = KIT["mtgox"]
WORDS = "the processor does not offer kill"


def judged(who: str, outcome: Outcome, *, is_control: bool = False) -> Cell:
    """A performance in which the processor turned out to lack something."""
    result = Result(MTGOX.name, MTGOX.title, MTGOX.covers, who, 1, (), outcome, (), "nothing")
    return cell_of(MTGOX, Performance(result, Record(), (), 0.0, not_offered="kill"), is_control=is_control)


def test_what_is_not_offered_proves_nothing() -> None:
    """It is neither passed nor failed."""
    cell = judged("mine", Outcome.UNPAID)
    assert (cell.standing, cell.reasons, cell.result) == (Standing.NOT_OFFERED, (WORDS,), None)
    assert judged(GATE_ONLY, Outcome.UNPAID, is_control=True).standing is Standing.NOT_OFFERED


def test_whatever_else_is_wrong_is_not_excused_by_what_is_not_offered() -> None:
    """Of the processor under test; what a sound one would have done is not asked of a control."""
    result = Result(MTGOX.name, MTGOX.title, MTGOX.covers, "mine", 1, (), Outcome.UNPAID, (), "nothing")
    wrong = Performance(result, Record(), (), 0.0, not_offered="kill", shortcomings=("not so: retry pays nobody",))
    assert cell_of(MTGOX, wrong, is_control=False).standing is Standing.FAILED
    assert cell_of(MTGOX, replace(wrong, shortcomings=(), troubles=("it does not end",)), is_control=False).reasons[
        :1
    ] == ("it does not end",)
    control = replace(wrong, result=replace(result, processor=GATE_ONLY))
    assert cell_of(MTGOX, control, is_control=True).standing is Standing.NOT_OFFERED


def test_who_has_paid_twice_is_not_excused_by_what_he_does_not_offer() -> None:
    """The chain has it, whatever the rest of the story would have been."""
    cell = judged("mine", Outcome.PAID_TWICE)
    assert cell.standing is Standing.FAILED
    assert cell.reasons == ("ended as paid_twice, and must end as paid_once", WORDS)


def test_a_control_that_must_lose_cannot_get_out_of_it() -> None:
    """Or an attack could lose its teeth, and nobody would hear of it."""
    cell = judged(NAIVE_TXID, Outcome.UNPAID, is_control=True)
    assert cell.standing is Standing.FAILED
    assert cell.reasons[-1] == WORDS
    assert judged(NAIVE_TXID, Outcome.PAID_TWICE, is_control=True).standing is Standing.PASSED


@pytest.mark.parametrize(
    ("who", "is_control", "standing"),
    [
        ("mine", False, Standing.NOT_OFFERED),
        (GATE_ONLY, True, Standing.NOT_OFFERED),
        (NAIVE_TXID, True, Standing.FAILED),
    ],
)
def test_nor_by_not_coming_up(who: str, is_control: bool, standing: Standing) -> None:  # noqa: FBT001 - a table
    """Of a processor that cannot be built nothing is proved; of a control that must lose, that it does not."""
    contender = Contender(who, lambda _site: pytest.fail("never built"), is_control)
    cell = run._broken_off(MTGOX, contender, CannotPlay("no such signer"))
    assert cell.standing is standing


@pytest.mark.parametrize("why", [CannotPlay("no such signer"), NotOffered("a queue")])
def test_pytest_skips_what_cannot_come_up(monkeypatch: pytest.MonkeyPatch, why: Exception) -> None:
    """As a run of the command line does: whatever it lacks, it says so itself."""

    def bring_up(*_: object) -> None:
        raise why

    monkeypatch.setattr("regtest.pytest_run.bring_up", bring_up)
    monkeypatch.setattr(Run, "_network", lambda _: None)
    nobody = Contender("mine", lambda _site: pytest.fail("never built"))
    cell = Run(nobody, None, nodes=1).scenario_player(MTGOX)()
    assert (cell.standing, cell.reasons) == (Standing.NOT_OFFERED, (str(why),))


def test_nobody_owed_is_nobody_paid() -> None:
    """A story that breaks off before anybody was owed anything ended in nothing."""
    assert outcome_of([], refused=False) is Outcome.UNPAID


class Dead:
    """A processor that shows what it signed, until it is dead."""

    name = "dead"

    def signed_transactions(self, _request_id: str) -> list[bytes]:
        raise ConnectionRefusedError

    def tick(self) -> None:
        raise ConnectionRefusedError


@pytest.mark.parametrize("lacks", [False, True])
def test_one_that_dies_in_the_middle_fails_its_story_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
    lacks: bool,  # noqa: FBT001 - a table
) -> None:
    """It cannot be asked what it signed any more; the chain can."""

    def play(stage: Stage) -> None:
        stage.customers.append(Customer("payout-001", "bcrt1q", "0014" + "00" * 20, 1))
        if lacks:
            raise NotOffered("kill")
        stage.work()

    monkeypatch.setattr("regtest.scenarios.stage.payments_to", lambda *_: [])
    monkeypatch.setattr("regtest.scenarios.stage.blocks_with", lambda *_: ())
    network: Any = SimpleNamespace(height=100, rpc=None, nodes=[])
    dead: Any = Dead()
    performance = perform(replace(MTGOX, play=play), network, Party("dead", dead))
    assert performance.result.outcome is Outcome.UNPAID
    assert performance.troubles[-1].startswith("it cannot be asked any more: ConnectionRefusedError")


def test_what_cannot_be_malleated_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that spends other coins than the story is about has not been attacked, and has not failed."""

    def unfit(_stage: Stage) -> None:
        raise CannotMalleate("T02b", "the transaction spends no P2PKH output")

    monkeypatch.setattr("regtest.scenarios.stage.blocks_with", lambda *_: ())
    network: Any = SimpleNamespace(height=100, rpc=None, nodes=[])
    mine: Any = SimpleNamespace(name="mine", signed_transactions=lambda _: [])
    performance = perform(replace(MTGOX, play=unfit), network, Party("mine", mine))
    cell = cell_of(MTGOX, performance, is_control=False)
    assert cell.standing is Standing.NOT_OFFERED
    assert cell.reasons == (
        "the processor does not offer a transaction that T02b can be done to: the transaction spends no P2PKH output",
    )


def test_a_run_in_which_nothing_was_played_is_not_green() -> None:
    """However many cells were never to be played, and whatever the controls did."""
    cells = (
        Cell("scenario/a", "mine", is_control=False, title="a", standing=Standing.NOT_OFFERED),
        Cell("T06c/not-ours", "mine", is_control=False, title="b", standing=Standing.NOT_OURS, class_id="T06c"),
        Cell("T20/x", "mine", is_control=False, title="c", standing=Standing.IMPOSSIBLE, class_id="T20"),
        Cell("scenario/a", "naive-txid", is_control=True, title="a", standing=Standing.PASSED),
    )
    replay = Replay(NodeVersion(290000, "/Satoshi:29.0.0/"), cells, 1.0, "mine")
    assert replay.offers_nothing
    assert not replay.is_green
    assert headline(replay) == "Nothing was played"
    assert "1 cell needs what it does not offer: nothing is proved there." in verdict_sentences(replay)


def test_the_counts_say_how_many_controls_failed() -> None:
    """`failed` counts them as well: it is 0 only where all of the run is as it must be."""
    cells = [
        Cell("scenario/a", "mine", is_control=False, title="a", standing=Standing.PASSED),
        Cell("scenario/a", "c1", is_control=True, title="a", standing=Standing.FAILED, must="pay twice"),
        Cell("scenario/a", "c2", is_control=True, title="a", standing=Standing.FAILED, must="pay once"),
        Cell("scenario/a", "c3", is_control=True, title="a", standing=Standing.NOT_OFFERED),
    ]
    replay = Replay(NodeVersion(290000, "/Satoshi:29.0.0/"), tuple(cells), 1.0, "mine")
    told = {name: replay.summary[name] for name in ("passed", "failed", "controls_failed", "controls_survived")}
    assert told == {"passed": 1, "failed": 2, "controls_failed": 2, "controls_survived": 1}
    assert replay.not_offered == ()
