"""Which cells the matrix has, and that none of them is green without having been played."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from bitcoin.core import COutPoint, CTransaction, CTxIn, CTxOut
from bitcoin.core.script import CScript

from regtest.malleate import MALLEATORS, CannotMalleate, Prevout
from regtest.malleate.wallet_keys import KeyNotInWallet
from regtest.matrix import Plan, Size, Wanted, planned_cells
from regtest.matrix.calls import transactions_in
from regtest.matrix.judge import standing_of
from regtest.matrix.plan import MANY, SLICE, can_be_mined_early
from regtest.matrix.play import Play
from regtest.matrix.table import Kind, Table
from regtest.party import NotOffered, Party
from regtest.processor import CannotPlay, Contender, Processor, Signing
from regtest.replay.cells import Ending, Standing
from regtest.report.results import Result
from regtest.scenarios import Outcome
from regtest.scenarios.attacker import Attacker
from regtest.scenarios.stage import Customer

CELLS = planned_cells()
FROM_A_MEMPOOL = {Ending.TWO_NODES, Ending.MUTANT_FIRST}


def test_every_class_has_a_cell() -> None:
    """Those too that no hot wallet can suffer."""
    assert {cell.class_id for cell in CELLS} == set(MALLEATORS)


def test_ids_are_unique_and_say_what_the_cell_is() -> None:
    """Class, ending, coins and size."""
    assert len({cell.id for cell in CELLS}) == len(CELLS)
    assert {"T02b/mutant-wins/legacy/one", "T11/neither-in-mempool/legacy+bech32/many", "T06c/not-ours"} <= {
        cell.id for cell in CELLS
    }


@pytest.mark.parametrize("class_id", [m.id for m in MALLEATORS.values() if m.wallets and can_be_mined_early(m)])
def test_what_can_be_mined_is_played_in_every_ending_for_one_and_for_many(class_id: str) -> None:
    """But for endings that begin in a mempool, if no mempool takes the mutant: then one cell says so."""
    malleator = MALLEATORS[class_id]
    plans = Counter((cell.ending, cell.coins, cell.plan) for cell in CELLS if cell.class_id == class_id)
    expected = Counter(
        {
            (ending, coins, Plan.CANNOT_BE if out_of_reach else Plan.PLAY): 1 if out_of_reach else len(Size)
            for ending in Ending
            for coins in malleator.wallets
            for out_of_reach in [ending in FROM_A_MEMPOOL and not malleator.is_relayable]
        }
    )
    assert plans == expected


def test_what_blocks_refuse_is_tried_once_for_every_coin() -> None:
    """In vain, and never played as an attack."""
    forbidden = [m for m in MALLEATORS.values() if m.wallets and not can_be_mined_early(m)]
    assert {m.id for m in forbidden} >= {"T20", "T23", "W02", "W15", "W18", "W20"}
    for malleator in forbidden:
        cells = [cell for cell in CELLS if cell.class_id == malleator.id]
        assert [(cell.plan, cell.ending) for cell in cells] == [
            (Plan.TRY_IN_VAIN, Ending.MUTANT_WINS) for _ in malleator.wallets
        ]


def test_what_the_wallet_cannot_suffer_is_shown_to_the_node_and_not_played() -> None:
    """One cell for each such class, of no ending."""
    shown = [cell for cell in CELLS if cell.plan is Plan.SHOW]
    assert {cell.class_id for cell in shown} == {m.id for m in MALLEATORS.values() if not m.wallets}
    assert all(cell.ending is None and cell.coins == () for cell in shown)


def test_the_padded_forms_are_played_where_strict_der_is_no_rule_yet() -> None:
    """What Mt.Gox signed can be mined below the height at which BIP66 binds; and its signer pads for T03R alone."""
    played = {cell.class_id for cell in CELLS if cell.plan is Plan.PLAY}
    assert {"T03a", "T03b", "T03c", "T03d", "T03e", "T03R"} <= played
    assert {cell.class_id for cell in CELLS if cell.signing is not Signing.SOUND} == {"T03R"}


def test_classes_and_endings_can_be_picked() -> None:
    """And nothing comes of what is not picked."""
    [one, many] = planned_cells(["T02b"], [Ending.TWO_NODES, Ending.MUTANT_WINS])[:2]
    assert (one.id, many.id) == ("T02b/mutant-wins/legacy/one", "T02b/mutant-wins/legacy/many")
    assert planned_cells(["T06c"], [Ending.TWO_NODES]) == []
    assert planned_cells([]) == []


def test_the_slice_has_every_ending_every_kind_of_coin_and_both_sizes() -> None:
    """So that it fails where the whole would."""
    played = [cell for cell in planned_cells(part=True) if cell.plan is Plan.PLAY]
    assert {cell.ending for cell in played} == set(Ending)
    assert {cell.coins for cell in played} == {cell.coins for cell in CELLS if cell.plan is Plan.PLAY}
    assert {cell.size for cell in played} == set(Size)
    assert {cell.class_id for cell in planned_cells(part=True)} == set(SLICE)
    assert all(len([c for c in played if (c.class_id, c.ending) == (p.class_id, p.ending)]) == 1 for p in played)


def test_many_are_several_customers() -> None:
    """Paid by one transaction."""
    assert (Size.ONE.customers, Size.MANY.customers) == (1, MANY)
    cell = Wanted("T01", Plan.PLAY, Ending.MUTANT_WINS, ("legacy",), Size.MANY)
    assert cell.title.endswith("; the mutant is mined; 3 customers in one transaction")


@pytest.mark.parametrize(
    ("params", "found"),
    [
        (["00ff", 0], ["00ff"]),
        ({"hexstring": "00ff"}, ["00ff"]),
        ({"args": ["00ff"], "maxfeerate": 0}, ["00ff"]),
        ([["00", "ff"]], ["00", "ff"]),
        ({"package": ["00", "ff"]}, ["00", "ff"]),
        ([], []),
        (None, []),
        ([7], []),
    ],
)
def test_a_transaction_in_a_call_is_read_however_it_is_passed(params: object, found: list[str]) -> None:
    """By position, by name, or several at once."""
    assert transactions_in(params) == found


def play_of(
    plan: Plan = Plan.PLAY, mutants: tuple[bytes, ...] = (b"mutant",), originals: tuple[bytes, ...] = (b"original",)
) -> Play:
    return Play(Wanted("T01", plan, Ending.MUTANT_WINS, ("legacy",)), (), list(originals), list(mutants))


def cell_named(cell_id: str) -> Wanted:
    [wanted] = [cell for cell in CELLS if cell.id == cell_id]
    return wanted


def result_of(outcome: Outcome = Outcome.PAID_ONCE) -> Result:
    return Result("T01", "", (), "somebody", 100, (), outcome, (), "nothing")


def test_a_cell_passes_that_was_attacked_and_paid_once() -> None:
    """And only such a one."""
    assert standing_of(play_of(), result_of(), ()) == (Standing.PASSED, [])


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.PAID_ONCE])
def test_whoever_pays_otherwise_than_once_fails(outcome: Outcome) -> None:
    """Twice, or not at all, or refusing what he could pay."""
    standing, [reason] = standing_of(play_of(), result_of(outcome), ())
    assert standing is Standing.FAILED
    assert reason.startswith(f"ended as {outcome}")


def test_a_cell_in_which_nothing_was_attacked_is_never_green() -> None:
    """Although everybody was paid."""
    assert standing_of(play_of(mutants=()), result_of(), ()) == (Standing.FAILED, ["nothing was attacked"])


def test_troubles_fail_a_cell_that_was_paid_once() -> None:
    """Books that are wrong, a complaint that was paid."""
    play = play_of()
    play.reasons.append("it paid again")
    assert standing_of(play, result_of(), ["its audit finds something"]) == (
        Standing.FAILED,
        ["it paid again", "its audit finds something"],
    )


def test_what_could_not_be_played_says_why_and_is_neither_green_nor_red() -> None:
    """Before anything was signed nobody could be paid; and unless somebody was paid twice, it is nobody's fault."""
    play = play_of(mutants=(), originals=())
    play.give_up(Standing.NOT_OFFERED, "it has no keys")
    play.give_up(Standing.NOT_OURS, "and something else")
    assert standing_of(play, result_of(), ()) == (Standing.NOT_OFFERED, ["it has no keys"])
    assert standing_of(play, result_of(Outcome.UNPAID), ()) == (Standing.NOT_OFFERED, ["it has no keys"])
    assert standing_of(play, result_of(Outcome.PAID_TWICE), ())[0] is Standing.FAILED


@pytest.mark.parametrize("standing", [Standing.NOT_OFFERED, Standing.NOT_OURS])
@pytest.mark.parametrize("mutants", [(), (b"mutant",)], ids=["nobody attacked", "attacked"])
def test_what_was_signed_must_have_paid_whatever_the_cell_lacks(standing: Standing, mutants: tuple[bytes, ...]) -> None:
    """Once everything is buried. Garbage pays nobody, however little its class can do with it."""
    play = play_of(mutants=mutants)
    play.give_up(standing, "it has no keys")
    assert standing_of(play, result_of(), ["the audit"]) == (standing, ["it has no keys"])
    for outcome in (Outcome.UNPAID, Outcome.REFUSED):
        found, [words, *more] = standing_of(play, result_of(outcome), ["the audit"])
        assert found is Standing.FAILED
        assert words == f"ended as {outcome}: 0 of 100 sats are on chain, although it had signed"
        assert more == ["the audit", "it has no keys"]


def test_what_a_processor_shows_as_signed_is_signed() -> None:
    """Although the kit has seen no original."""
    play = play_of(mutants=(), originals=())
    play.give_up(Standing.NOT_OFFERED, "it has no keys")
    shown = replace(result_of(Outcome.UNPAID), signed_txids=("5f" * 32,))
    assert standing_of(play, shown, ())[0] is Standing.FAILED


def test_what_no_node_relays_need_not_have_paid_where_nobody_mined_it() -> None:
    """Of a cell that was given up no miner is shown the original."""
    play = replace(play_of(mutants=()), wanted=cell_named("T03R/mutant-wins/legacy/one"))
    play.give_up(Standing.NOT_OFFERED, "it pays every customer by a transaction of his own")
    assert standing_of(play, result_of(Outcome.UNPAID), ())[0] is Standing.NOT_OFFERED


def test_what_failed_before_it_was_given_up_has_failed() -> None:
    """A processor that says in the end that it offers nothing takes nothing back."""
    play = play_of()
    play.reasons.append("it paid again")
    play.give_up(Standing.NOT_OFFERED, "not offered: troubles")
    assert standing_of(play, result_of(), ()) == (Standing.FAILED, ["it paid again", "not offered: troubles"])


def test_what_no_block_can_hold_is_impossible_only_if_the_node_said_so() -> None:
    """A block that holds it, or a refusal for another reason, fails the cell."""
    play = play_of(Plan.TRY_IN_VAIN)
    assert standing_of(play, result_of(), ())[0] is Standing.FAILED
    play.refusal = "script-verify-flag-failed (of course)"
    standing, [reason] = standing_of(play, result_of(), ())
    assert standing is Standing.IMPOSSIBLE
    assert play.refusal in reason
    play.reasons.append("a block with the mutant is refused as something else")
    assert standing_of(play, result_of(), ())[0] is Standing.FAILED


@pytest.mark.parametrize(
    ("cell_id", "lacks_coin", "standing"),
    [
        ("T03e/mutant-wins/legacy/one", False, Standing.NOT_OURS),
        ("T03e/mutant-wins/legacy/one", True, Standing.NOT_OFFERED),
        ("T03R/mutant-wins/legacy/one", False, Standing.NOT_OFFERED),
        ("T02b/mutant-wins/legacy/one", True, Standing.NOT_OFFERED),
    ],
    ids=["asks more of signers", "and of other coins", "a signer that was to pad", "other coins than were asked for"],
)
def test_what_cannot_be_made_of_a_real_payment_is_never_just_not_ours(
    monkeypatch: pytest.MonkeyPatch, cell_id: str, *, lacks_coin: bool, standing: Standing
) -> None:
    """Only a class that asks of signers what sound ones never do, and of the coins that it is about.

    All else is *not offered*, and can be counted.
    """

    def twin_of(_attacker: object, _raw: bytes, class_id: str) -> bytes:
        raise CannotMalleate(class_id, "the transaction gives it nothing", lacks_coin=lacks_coin)

    monkeypatch.setattr(Attacker, "twin_of", twin_of)
    play = Play(cell_named(cell_id), (), originals=[b"a payment"])
    table_of([play], Signs(), monkeypatch).make_mutants(play)
    assert play.unplayed == (standing, "the transaction gives it nothing")


def test_a_class_says_whether_it_misses_the_coin_or_something_of_it() -> None:
    """Of a payment from other coins, nothing is known about its signer."""
    raw, own = paying(A), Prevout(bytes.fromhex(A.script_hex), 100)
    for class_id in ("T03e", "T11"):
        with pytest.raises(CannotMalleate, match="the transaction spends no") as unfit:
            MALLEATORS[class_id].malleate(raw, [own])
        assert unfit.value.lacks_coin
    with pytest.raises(CannotMalleate) as unfit:
        MALLEATORS["T03e"].malleate(raw, [own, own])
    assert not unfit.value.lacks_coin


# ------------------------------------------------------------------------------------------- when a cell is given up

A = Customer("a", "", "0014" + "aa" * 20, 9)
B = Customer("b", "", "0014" + "bb" * 20, 9)
TWO = (A, B)


def paying(*customers: Customer) -> bytes:
    """A transaction to these, signed by nobody."""
    outputs = [CTxOut(c.sats, CScript(bytes.fromhex(c.script_hex))) for c in customers]
    return bytes(CTransaction([CTxIn(COutPoint(bytes(32), 0))], outputs).serialize())


class Signs:
    """A processor that signs what it is told to sign, and may turn out to lack something in the middle."""

    name = "signs"

    def __init__(self, signed: Mapping[str, bytes] | None = None) -> None:
        self._signed = signed or {}

    def enqueue(self, *_: object) -> None:
        """Accepted."""

    def tick(self) -> None:
        """Done already."""

    def signed_transactions(self, request_id: str) -> list[bytes]:
        if request_id not in self._signed:
            raise NotOffered("signed_transactions, of this one")
        return [self._signed[request_id]]


def table_of(plays: list[Play], processor: object, monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setattr("regtest.matrix.table.plays_of", lambda *_: plays)
    network: Any = SimpleNamespace(height=100, rpc=None, miner=None, node=None)
    made: Any = processor
    table = Table(network, Contender("mine", lambda _site: made), Kind.of(plays[0].wanted), [])
    table.party = Party("mine", made)
    return table


def given_up(plays: list[Play], processor: object, monkeypatch: pytest.MonkeyPatch) -> list[Standing]:
    """What came of the cells where nobody was paid, all having been given up in signing."""

    def twin_of(_attacker: object, _raw: bytes, class_id: str) -> bytes:
        raise CannotMalleate(class_id, "no signature that anybody could read")

    monkeypatch.setattr(Attacker, "twin_of", twin_of)
    table_of(plays, processor, monkeypatch).sign_all()
    assert all(play.unplayed is not None for play in plays)
    assert {standing_of(play, result_of(), ())[0] for play in plays} <= {Standing.NOT_OFFERED, Standing.NOT_OURS}
    return [standing_of(play, result_of(Outcome.UNPAID), ())[0] for play in plays]


@pytest.mark.parametrize("class_id", ["T02b", "T03e", "T09"])
def test_who_signs_what_nobody_can_read_has_failed(monkeypatch: pytest.MonkeyPatch, class_id: str) -> None:
    """In every class: that nothing can be made of it is no excuse for a payment that pays nobody."""
    play = Play(cell_named(f"{class_id}/mutant-wins/legacy/one"), (A,))
    assert given_up([play], Signs({"a": paying(A)}), monkeypatch) == [Standing.FAILED]


def test_who_pays_one_by_one_must_pay_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell about many customers in one transaction proves nothing else of him."""
    play = Play(cell_named("T02b/mutant-wins/legacy/many"), TWO)
    assert given_up([play], Signs({"a": paying(A), "b": paying(B)}), monkeypatch) == [Standing.FAILED]
    assert play.originals == [paying(A), paying(B)]


def test_who_pays_several_cells_at_once_must_pay_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two cells by one transaction."""
    plays = [Play(cell_named(f"T02{letter}/mutant-wins/legacy/one"), (c,)) for letter, c in (("b", A), ("c", B))]
    assert given_up(plays, Signs(dict.fromkeys("ab", paying(*TWO))), monkeypatch) == [Standing.FAILED] * 2
    assert plays[1].unplayed == (Standing.NOT_OFFERED, "it pays the customers of several cells by one transaction")


def test_who_lacks_something_in_the_middle_answers_for_what_he_signed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cells after that have begun nothing, and are not offered."""
    plays = [Play(cell_named(f"T02{letter}/mutant-wins/legacy/one"), (c,)) for letter, c in (("b", A), ("c", B))]
    assert given_up(plays, Signs({"a": paying(A)}), monkeypatch) == [Standing.FAILED, Standing.NOT_OFFERED]


class Keyless(Signs):
    """One that has an address, and no key to show for it."""

    def deposit_address(self, _kind: str) -> str:
        return "bcrt1q"


class Elsewhere(Keyless):
    """One whose keys are not in its wallet."""

    def owner_keys(self, _prevouts: object) -> list[bytes]:
        raise KeyNotInWallet("0014")


@pytest.mark.parametrize("processor", [Keyless(), Elsewhere()], ids=lambda p: type(p).__name__)
def test_who_shows_no_keys_is_funded_all_the_same(processor: Signs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the cells that want them are not offered, each when it comes to it."""
    table = table_of([Play(cell_named("T09/mutant-first/legacy/one"), (A,))], processor, monkeypatch)
    monkeypatch.setattr("regtest.matrix.table.script_of", lambda *_: "0014" + "00" * 20)
    table.overtaken = True
    assert table.coins_wanted()
    assert table.is_up
    assert table.plays[0].unplayed is None


def test_who_cannot_be_brought_up_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """He has signed nothing, and nobody expects to be paid."""

    def refuses(_site: object) -> Processor:
        raise CannotPlay("it has one signer")

    play = Play(cell_named("T02b/mutant-wins/legacy/one"), (A,))
    table = table_of([play], Signs(), monkeypatch)
    table.contender = Contender("mine", refuses)
    table.bring_up()
    table.sign_all()
    assert standing_of(play, result_of(Outcome.UNPAID), ()) == (Standing.NOT_OFFERED, ["it has one signer"])
