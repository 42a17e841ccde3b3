"""Which cells the matrix has, and that none of them is green without having been played."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from regtest.malleate import MALLEATORS, CannotMalleate
from regtest.matrix import Plan, Size, Wanted, planned_cells
from regtest.matrix.calls import transactions_in
from regtest.matrix.judge import standing_of
from regtest.matrix.plan import MANY, SLICE, can_be_mined_early
from regtest.matrix.play import Play
from regtest.matrix.table import Kind, Table
from regtest.party import Party
from regtest.processor import Contender, Signing
from regtest.replay.cells import Ending, Standing
from regtest.report.results import Result
from regtest.scenarios import Outcome
from regtest.scenarios.attacker import Attacker

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


def play_of(plan: Plan = Plan.PLAY, mutants: tuple[bytes, ...] = (b"mutant",)) -> Play:
    return Play(Wanted("T01", plan, Ending.MUTANT_WINS, ("legacy",)), (), [b"original"], list(mutants))


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
    """Unless somebody was paid twice, which is nobody's fault but the processor's."""
    play = play_of(mutants=())
    play.give_up(Standing.NOT_OFFERED, "it has no keys")
    play.give_up(Standing.NOT_OURS, "and something else")
    assert standing_of(play, result_of(), ()) == (Standing.NOT_OFFERED, ["it has no keys"])
    assert standing_of(play, result_of(Outcome.UNPAID), ()) == (Standing.NOT_OFFERED, ["it has no keys"])
    assert standing_of(play, result_of(Outcome.PAID_TWICE), ())[0] is Standing.FAILED


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
    ("cell_id", "standing"),
    [
        ("T03e/mutant-wins/legacy/one", Standing.NOT_OURS),
        ("T03R/mutant-wins/legacy/one", Standing.NOT_OFFERED),
        ("T02b/mutant-wins/legacy/one", Standing.NOT_OFFERED),
    ],
    ids=["asks more of signers", "a signer that was to pad", "other coins than were asked for"],
)
def test_what_cannot_be_made_of_a_real_payment_is_never_just_not_ours(
    monkeypatch: pytest.MonkeyPatch, cell_id: str, standing: Standing
) -> None:
    """Only a class that asks of signers what sound ones never do is. All else is *not offered*, and can be counted."""

    def twin_of(_attacker: object, _raw: bytes, class_id: str) -> bytes:
        raise CannotMalleate(class_id, "the transaction spends no such output")

    monkeypatch.setattr(Attacker, "twin_of", twin_of)
    [wanted] = [cell for cell in CELLS if cell.id == cell_id]
    monkeypatch.setattr("regtest.matrix.table.plays_of", lambda *_: [])
    play = Play(wanted, (), originals=[b"a payment"])
    network: Any = SimpleNamespace(height=100, rpc=None, miner=None)
    processor: Any = SimpleNamespace(name="mine")
    table = Table(network, Contender("mine", lambda _site: processor), Kind.of(wanted), [])
    table.party = Party("mine", processor)
    table.make_mutants(play)
    assert play.unplayed is not None
    assert play.unplayed[0] is standing
