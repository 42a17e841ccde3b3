"""The oracle proves every re-issue anew, knows whom strangers pay, and looks once more when all is at rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pytest

from tests.simulation.oracle.wire import OutPoint
from tests.simulation.oracle_bytes import COIN_SATS, FEE_SATS, PAY_SATS, customer, make_tx, own, txid_of
from tests.simulation.oracle_stage import NEVER, Stage
from withdrawals.core.tx import view_of


@pytest.fixture
def stage() -> Stage:
    """A ledger at its tip, with nothing in it."""
    return Stage()


Said = Mapping[str, object]
_NOTHING: Said = MappingProxyType({})


@dataclass
class Displaced:
    """r1 was asked for in b1, a stranger took its coin and paid us, and b2 is planned on what he paid."""

    stage: Stage
    coin: OutPoint
    taken: bytes

    def certify(self, *, proof: Said = _NOTHING, evidence: Said = _NOTHING, row: Said = _NOTHING) -> None:
        """The certificate of b2, right but for what is said otherwise; then the signer is asked."""
        first, second = (view_of(self.stage.unsigned[b, 1]).ntxid for b in ("b1", "b2"))
        outpoint, ancestor = ":".join(map(str, self.coin)), f"its ancestor {txid_of(self.taken)}"
        proved = {"against": first, "outpoint": outpoint, "spent_by": ancestor, "and_by": "the earlier one", **proof}
        said = json.dumps({"ntxid": second, "proofs": [proved], **evidence})
        columns = {"batch_id": "b2", "withdrawal_id": "w-r1", "conditional": False, "issued_at": 1, **row}
        self.stage.put("certificates", evidence=said.replace("FIRST", first), **columns)
        self.stage.ask("b2")

    def bet(self) -> None:
        """A certificate that proves nothing, and somebody who stands for it."""
        evidence = {"proofs": [], "waived": [{"against": "FIRST"}]}
        self.certify(evidence=evidence, row={"conditional": True, "approved_by": "somebody"})


def displaced(stage: Stage, *, deep: int = 1, on_it: bool = True) -> Displaced:
    """The scene; `deep`: how deep the stranger is mined; `on_it`: whether b2 spends what he paid us."""
    coin, other = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    stage.sent("b1", [coin], "r1")
    taken = make_tx([coin], [(own(2), COIN_SATS - FEE_SATS)])
    stage.mine(taken)
    stage.mine_many(deep - 1)
    stage.follow()
    stage.plan("b2", [(txid_of(taken), 0) if on_it else other], "r1", parent="b1")
    stage.check()
    return Displaced(stage, coin, taken)


def test_a_certificate_that_proves_what_it_says_is_fine(stage: Stage) -> None:
    """The stranger is an ancestor of the re-issue and spends what the first attempt spends."""
    displaced(stage).certify()
    stage.check()


def test_a_reissue_without_a_certificate_fires(stage: Stage) -> None:
    """Exclusive or not: it has to be written down."""
    displaced(stage)
    stage.ask("b2")
    stage.fires("certificates")


@pytest.mark.parametrize(
    ("proof", "evidence"),
    [
        ({"outpoint": "ab" * 32 + ":0"}, {}),
        ({"spent_by": "the candidate"}, {}),
        ({"spent_by": "its ancestor " + "ab" * 32}, {}),
        ({"and_by": "its ancestor " + "ab" * 32}, {}),
        ({"against": "ab" * 32}, {}),
        ({}, {"ntxid": "ab" * 32}),
        ({}, {"proofs": []}),
        ({}, {"proofs": [], "waived": [{"against": "FIRST"}]}),
    ],
)
def test_a_certificate_that_does_not_prove_it_fires(stage: Stage, proof: Said, evidence: Said) -> None:
    """Another outpoint, another spender, another attempt, another plan, or nothing at all."""
    displaced(stage).certify(proof=proof, evidence=evidence)
    stage.fires("certificates")


def test_a_proof_whose_bytes_are_not_stored_fires(stage: Stage) -> None:
    """What it rests on has to be there when everybody else has forgotten it."""
    scene = displaced(stage)
    stage.oracle.amnesia(forgets=False)
    stage.sql("DELETE FROM transactions WHERE txid = ?", txid_of(scene.taken))
    scene.certify()
    stage.fires("certificates")


@pytest.mark.parametrize(("deep", "fires"), [(NEVER - 1, True), (NEVER, False)])
def test_a_person_may_bet_on_depth_and_only_on_depth(stage: Stage, deep: int, fires: bool) -> None:  # noqa: FBT001
    """Nothing proves exclusion; the first attempt is displaced this deep, and somebody stands for it."""
    displaced(stage, deep=deep, on_it=False).bet()
    if fires:
        stage.fires("certificates")
    else:
        stage.check()


def test_what_a_bet_excuses_is_not_excused_when_it_is_lost(stage: Stage) -> None:
    """The pair is left out of what must be exclusive, never of what is paid twice."""
    displaced(stage, deep=NEVER, on_it=False).bet()
    raw = stage.answer("b2")
    stage.check()
    fork = stage.branch(stage.tip)[2][0]
    stage.mine(stage.encoding("b1"), raw, on=fork)
    stage.fires("paid-twice")


# ----------------------------------------------------------------------------------------------------------- strangers


@pytest.mark.parametrize("fires", [True, False])
def test_a_stranger_counts_from_when_the_ledger_knew_of_him(stage: Stage, fires: bool) -> None:  # noqa: FBT001
    """He pays r1 with one coin of the first attempt; the next plan keeps only the other coin, and must exclude him."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    stage.sent("b1", [one, two], "r1")
    stage.check()
    by_hand = make_tx([one], [(customer(1), PAY_SATS)])
    stage.oracle.saw(by_hand)
    if fires:
        stage.store(by_hand, "mempool")
    stage.check()
    stage.plan("b1", [two], "r1", number=2)
    stage.ask("b1", 2)
    stage.answer("b1", 2)
    if fires:
        stage.fires("compatible-payers")
    else:
        stage.check()
        stage.store(by_hand, "mempool")
        stage.check()


@pytest.mark.parametrize("sats", [PAY_SATS - 1, PAY_SATS + 1])
def test_a_stranger_who_pays_something_else_is_none_of_them(stage: Stage, sats: int) -> None:
    """The customer gets money that is not this withdrawal."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    stage.sent("b1", [one, two], "r1")
    stage.store(make_tx([one], [(customer(1), sats)]), "mempool")
    stage.check()
    stage.sent("b1", [two], "r1", number=2)
    stage.check()


def test_a_bound_payment_has_to_be_excluded_by_what_is_asked_later(stage: Stage) -> None:
    """An operator said that it paid r1; paying it again must be impossible."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    by_hand = make_tx([one], [(customer(1), PAY_SATS)])
    stage.oracle.saw(by_hand)
    stage.oracle.bound("r1", txid_of(by_hand), 0)
    stage.check()
    stage.plan("b1", [two], "r1")
    stage.ask("b1")
    stage.fires("compatible-payers")


# ------------------------------------------------------------------------------------------------------------- at rest


def rest(stage: Stage) -> None:
    """Everything is drained: ask."""
    stage.oracle.check_at_rest(stage.connection, stage.tip)


def test_all_paid_and_final_is_rest(stage: Stage) -> None:
    """With a refunded, a cancelled and a held request beside the paid one."""
    stage.paid(depth=3)
    for name, state in (("r2", "cancelled"), ("r3", "rejected"), ("r4", "held")):
        stage.request(name, 2)
        stage.sql("UPDATE withdrawals SET state = ? WHERE request_id = ?", state, name)
    stage.oracle.refunded("r2")
    rest(stage)


def test_a_request_that_still_waits_is_no_rest(stage: Stage) -> None:
    """Nothing is left to happen, and it is queued."""
    stage.paid(depth=3)
    stage.request("r2", 2)
    stage.fires_at_rest()


def test_confirmed_is_no_rest(stage: Stage) -> None:
    """One block short of final."""
    stage.paid(depth=2)
    stage.fires_at_rest()


def test_a_ledger_behind_its_node_is_no_rest(stage: Stage) -> None:
    """The node has one more block."""
    stage.paid(depth=3)
    stage.mine()
    stage.fires_at_rest()


def test_an_open_breaker_is_no_rest_and_a_closed_one_is(stage: Stage) -> None:
    """Somebody has to look, or has looked."""
    stage.paid(depth=3)
    stage.put("breaker", id=1, cause="x", detail="y", opened_at=1)
    stage.fires_at_rest()
    stage.sql("UPDATE breaker SET closed_at = 1, closed_by = 'x', closed_why = 'y'")
    rest(stage)


def test_an_unspent_coin_that_a_final_lineage_still_holds_is_a_leak(stage: Stage) -> None:
    """The losing plan wanted it; the winner did not need it; nobody gave it back."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    stage.sent("b1", [one, two], "r1")
    winner = stage.sent("b1", [one], "r1", number=2)
    stage.mine(winner)
    stage.mine_many(2)
    stage.follow()
    assert two[0] in stage.fires_at_rest()
    stage.sql("UPDATE reservations SET ended_at = 2 WHERE vout = ?", two[1])
    rest(stage)
