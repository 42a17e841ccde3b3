"""What breaks in one cell or at one table of the matrix fails what it must, and nothing else is lost for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from bitcoin.core import COutPoint, CTransaction, CTxIn, CTxOut
from bitcoin.core.script import CScript

from regtest.matrix import Plan, Wanted, play_matrix, run
from regtest.matrix.field import Field
from regtest.matrix.play import Play
from regtest.matrix.table import Kind, Table
from regtest.party import NotOffered, Party
from regtest.processor import CannotPlay, ChecksItself, Contender
from regtest.record import Moment, Record
from regtest.replay.cells import Cell, Ending, Standing
from regtest.scenarios.stage import FINAL_DEPTH, Customer

MINE = Contender("mine", lambda _site: SimpleNamespace(name="mine"))
CUSTOMER = Customer("payout-1", "bcrt1q", "0014", 9)


class Asked:
    """A processor that answers what its books are asked for as it is told to."""

    name = "asked"

    def __init__(self, answer: Callable[[], bool]) -> None:
        self._answer = answer

    def has_refused(self, request_id: str) -> bool:
        del request_id
        return self._answer()

    def troubles(self, request_ids: list[str], *, paid: bool) -> list[str]:
        del request_ids, paid
        return []

    def signed_transactions(self, request_id: str) -> list[bytes]:
        del request_id
        return [b"no transaction at all"]


def fails() -> bool:
    raise ValueError("the database is gone")


def lacks() -> bool:
    raise NotOffered("has_refused")


def wanted(coins: str = "legacy", ending: Ending = Ending.MUTANT_WINS) -> Wanted:
    return Wanted("T02b", Plan.PLAY, ending, (coins,))


def table_with(monkeypatch: pytest.MonkeyPatch, plays: list[Play], processor: object = None) -> Table:
    monkeypatch.setattr("regtest.matrix.table.plays_of", lambda *_: plays)
    network: Any = SimpleNamespace(height=100, rpc=None, miner=None)
    table = Table(network, MINE, Kind.of(plays[0].wanted), [])
    if processor is not None:
        table.party = Party("mine", processor)  # type: ignore[arg-type] # what it lacks is not asked
    return table


# ------------------------------------------------------------------------------------------------------ one bad answer


def test_who_cannot_say_whether_it_has_refused_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the trouble of its own table, and no error of the judge's."""
    play = Play(wanted(), (CUSTOMER,))
    assert isinstance(Asked(fails), ChecksItself)
    for answer, trouble in ((fails, "it cannot be asked: ValueError: the database is gone"), (lambda: True, None)):
        table = table_with(monkeypatch, [play], Asked(answer))
        assert table.has_refused(play) is (trouble is None)
        assert table.trouble == trouble
    table = table_with(monkeypatch, [play], Asked(lacks))
    assert not table.has_refused(play)
    assert play.unplayed == (Standing.NOT_OFFERED, "not offered: has_refused")


def test_who_shows_what_is_no_transaction_is_troubled_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who counts transactions afterwards stumbles over it."""
    play = Play(wanted(), (CUSTOMER,))
    table = table_with(monkeypatch, [play], Asked(fails))
    assert table.all_signed(play) == []
    assert table.trouble is not None
    assert table.trouble.startswith("it cannot be asked: ")


# --------------------------------------------------------------------------------------------------- endings and tables


class Judged:
    """A judge for whom every cell has passed but one that cannot be judged."""

    hopeless: Ending | None = None
    standing = Standing.PASSED

    def __init__(self, field: Any, *, is_control: bool) -> None:  # noqa: ANN401 - a field without a network
        self._field, self._is_control = field, is_control

    def cells(self, seconds: float) -> Iterator[Cell]:
        for table in self._field.tables:
            for play in table.plays:
                if play.wanted.ending is self.hopeless:
                    raise ValueError("no such block")
                cell = run.unplayed_cell(play.wanted, table.contender)
                yield replace(cell, standing=self.standing, seconds=seconds)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The matrix of T02b without a node: two tables in each ending, of which the legacy one does not close."""
    closed: list[str] = []

    class Closing(Table):
        def close(self, *, failed: bool) -> None:
            del failed
            closed.append(f"{self.plays[0].wanted.ending}/{self.kind.coins[0]}")
            if self.kind.coins == ("legacy",):
                raise CannotPlay("it hangs")

    def tables_of(network: Any, contender: Contender, cells: list[Wanted], *, overtaken: bool) -> list[Table]:  # noqa: ANN401 - no network
        found: list[Table] = []
        for coins in ("legacy", "bech32"):
            plays = [Play(wanted(coins, cells[0].ending), (CUSTOMER,), moments=[Moment("begins", "")])]  # type: ignore[arg-type] # has one
            monkeypatch.setattr("regtest.matrix.table.plays_of", lambda *_, plays=plays: plays)
            found.append(Closing(network, contender, Kind.of(plays[0].wanted), [], overtaken))
        return found

    network = SimpleNamespace(height=100, nodes=[None], rpc=None, miner=None)
    monkeypatch.setattr(run, "tables_of", tables_of)
    monkeypatch.setattr(run, "_network", lambda *_: nullcontext(network))
    monkeypatch.setattr(run, "PLAYS", dict.fromkeys(Ending, lambda _field: None))
    monkeypatch.setattr(Field, "open", lambda _self: None)
    monkeypatch.setattr(run, "Judge", Judged)
    return closed


ENDINGS = [Ending.MUTANT_WINS, Ending.ORIGINAL_WINS]


def played() -> dict[str, Cell]:
    program: Any = None
    return {cell.id: cell for cell in play_matrix(MINE, program, classes=["T02b"], endings=ENDINGS)}


def test_a_processor_that_does_not_end_fails_its_own_cells(closed: list[str]) -> None:
    """Nobody else's, and every ending is played; every processor is told to end, whatever became of the others."""
    cells = played()
    words = "it does not end: CannotPlay: it hangs"
    for ending in ENDINGS:
        mine, other = cells[f"T02b/{ending}/legacy/one"], cells[f"T02b/{ending}/bech32/one"]
        assert (mine.standing, mine.reasons) == (Standing.FAILED, (words,))
        assert (other.standing, other.reasons) == (Standing.PASSED, ())
    assert sorted(closed) == sorted(f"{ending}/{coins}" for ending in ENDINGS for coins in ("legacy", "bech32"))


@pytest.mark.parametrize("standing", [Standing.NOT_OFFERED, Standing.NOT_OURS])
@pytest.mark.usefixtures("closed")
def test_what_was_not_played_is_not_failed_by_the_end(monkeypatch: pytest.MonkeyPatch, standing: Standing) -> None:
    """It proves nothing, whatever follows."""
    monkeypatch.setattr(Judged, "standing", standing)
    assert {cell.standing for cell in played().values()} == {standing}


def test_an_ending_that_cannot_be_judged_fails_its_cells(closed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is played, and processors of both are told to end."""
    monkeypatch.setattr(Judged, "hopeless", Ending.MUTANT_WINS)
    cells = played()
    lost = cells["T02b/mutant-wins/bech32/one"]
    assert (lost.standing, lost.reasons) == (
        Standing.FAILED,
        ("the ending cannot be judged: ValueError: no such block",),
    )
    assert lost.record == Record((Moment("begins", ""),))
    assert cells["T02b/original-wins/bech32/one"].standing is Standing.PASSED
    assert len(closed) == 2 * len(ENDINGS)


def broken(_field: object) -> None:
    raise ValueError("no such block")


def test_an_ending_that_breaks_off_says_nothing_of_what_was_given_up_before_a_signature() -> None:
    """Of what was signed it does: that may not have been mined for it."""
    early, late = Play(wanted(), ()), Play(wanted(), (), originals=[b"signed"])
    for play in (early, late):
        play.give_up(Standing.NOT_OFFERED, "it has one signer")
        play.break_off("the ending breaks off")
    assert early.reasons == []
    assert late.reasons == ["the ending breaks off"]


@pytest.mark.usefixtures("closed")
def test_what_was_given_up_early_is_not_offered_in_an_ending_without_a_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks after it."""

    def gives_up(field: Any) -> None:  # noqa: ANN401 - a field without a network
        field.plays[1].give_up(Standing.NOT_OFFERED, "it has one signer")
        broken(field)

    monkeypatch.setattr(run, "PLAYS", dict.fromkeys(Ending, gives_up))
    monkeypatch.setattr(Judged, "hopeless", Ending.MUTANT_WINS)
    cells = played()
    given_up, lost = cells["T02b/mutant-wins/bech32/one"], cells["T02b/mutant-wins/legacy/one"]
    assert (given_up.standing, given_up.reasons) == (Standing.NOT_OFFERED, ("it has one signer",))
    assert lost.reasons == (
        "the ending breaks off: ValueError: no such block",
        "the ending cannot be judged: ValueError: no such block",
        "it does not end: CannotPlay: it hangs",
    )


# ------------------------------------------------------------------------------------------------------- after a burial


class Slow:
    """A processor at a table of its own: it pays once more in the round that it is told."""

    def __init__(self, pays_in_round: int) -> None:
        self.height, self.blocks, self.rounds = 100, 0, 0
        self.pays_in_round = pays_in_round
        self.mempool: list[bytes] = []
        self.mined: list[bytes] = []
        self.complained_after: list[tuple[int, int]] = []
        self.plays = [Play(wanted(), (CUSTOMER,))]
        self.rpc = SimpleNamespace(getrawmempool=lambda: range(len(self.mempool)), getrawtransaction=self.raw)

    def raw(self, number: int) -> str:
        return self.mempool[number].hex()

    def mine(self, count: int = 1) -> None:
        self.blocks += count
        self.mined += self.mempool
        self.mempool = []

    def work(self) -> None:
        self.rounds += 1
        if self.rounds == self.pays_in_round:
            self.mempool.append(PAYMENT)

    def ask_and_complain(self, height: int) -> None:
        assert height == self.height
        self.complained_after.append((self.blocks, self.rounds))


PAYMENT = bytes(
    CTransaction([CTxIn(COutPoint(bytes(32), 0))], [CTxOut(9, CScript(bytes.fromhex(CUSTOMER.script_hex)))]).serialize()
)


QUIET = 3


@pytest.mark.parametrize("last_round", range(1, QUIET + 2))
def test_who_takes_a_round_for_every_step_is_seen_to_pay_once_more(last_round: int) -> None:
    """After all is buried there are three rounds with a block each, and one with the last complaint."""
    slow: Any = Slow(last_round)
    Field(slow, [slow]).bury()
    assert slow.complained_after == [(FINAL_DEPTH + QUIET, QUIET + 1)]
    waits = ["a customer is paid once more when all is buried"]
    assert (slow.mined, slow.plays[0].reasons) == (([PAYMENT], []) if last_round <= QUIET else ([], waits))
