"""The oracle fires on every coin and every sum that is not the chain's, and on none that is."""

from __future__ import annotations

import pytest

from tests.simulation.oracle_bytes import COIN_SATS, FEE_SATS, PAY_SATS, STRANGER, customer, make_tx, own
from tests.simulation.oracle_stage import Stage


@pytest.fixture
def stage() -> Stage:
    """A ledger at its tip, with nothing in it."""
    return Stage()


# --------------------------------------------------------------------------------------------------------- coin-shared


def test_a_coin_of_a_live_plan_that_serves_another_lineage_fires(stage: Stage) -> None:
    """The second planner took it from under the first."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    stage.request("r2", 2)
    stage.sent("b1", [one], "r1")
    stage.sent("b2", [two], "r2")
    stage.check()
    stage.reserve(one, "b2")
    stage.fires("coin-shared")


def test_a_coin_of_a_live_plan_that_was_let_go_fires(stage: Stage) -> None:
    """Nobody else has it yet, and anybody may."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.sent("b1", [coin], "r1")
    stage.sql("UPDATE reservations SET ended_at = 2")
    stage.fires("coin-shared")


def test_two_live_reservations_of_one_coin_fire(stage: Stage) -> None:
    """What the index of the database forbids, for once without the index."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.request("r2", 2)
    stage.sent("b1", [coin], "r1")
    stage.plan("b2", [coin], "r2")
    stage.sql("DROP INDEX uq_reservations_live")
    stage.sql("UPDATE reservations SET ended_at = NULL")
    stage.fires("coin-shared")


def test_a_coin_may_go_to_the_next_generation_and_is_free_once_final(stage: Stage) -> None:
    """Lineages hold coins, not batches; and what is final gives back what it did not need."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    stage.sent("b1", [one, two], "r1")
    stage.sent("b1", [one], "r1", number=2)
    stage.check()
    stage.mine(stage.encoding("b1", 2))
    stage.mine_many(2)
    stage.follow()
    stage.sql("UPDATE reservations SET ended_at = 2")
    stage.check()
    stage.request("r2", 2)
    stage.sent("b2", [two], "r2")
    stage.check()


# ------------------------------------------------------------------------------------------------------------ conserve


@pytest.mark.parametrize(
    "meddle",
    [
        "UPDATE plans SET fee_sats = fee_sats + 1",
        "UPDATE plan_inputs SET sats = sats + 1",
        "UPDATE plan_outputs SET sats = sats + 1 WHERE withdrawal_id IS NULL",
        "UPDATE plan_inputs SET vout = vout + 1",
        "UPDATE plans SET ntxid = '" + "ab" * 32 + "'",
        "UPDATE plans SET unsigned = x'00'",
    ],
)
def test_a_plan_whose_sums_or_rows_are_not_its_bytes_fires(stage: Stage, meddle: str) -> None:
    """One satoshi here, one byte there."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.plan("b1", [coin], "r1")
    stage.sql(meddle)
    stage.fires("conserve")


def test_a_plan_without_a_fee_fires(stage: Stage) -> None:
    """It would never be mined, and something is wrong with its sums."""
    (coin,) = stage.coins(PAY_SATS)
    stage.request("r1", 1)
    stage.plan("b1", [coin], "r1")
    stage.fires("conserve")


def test_a_plan_that_pays_a_stranger_fires(stage: Stage) -> None:
    """Every output is somebody's who is owed it, or ours."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    outputs = [(customer(1), PAY_SATS), (STRANGER, 1_000)]
    stage.oracle.asked("b1", 1, make_tx([coin], outputs), [("r1", customer(1), PAY_SATS)], elsewhere=True)
    assert "stranger" in stage.fires("conserve")


@pytest.mark.parametrize(
    "meddle", ["UPDATE attempts SET fee_sats = fee_sats + 1", "UPDATE attempts SET wtxid = upper(wtxid)"]
)
def test_an_answer_with_another_fee_or_without_bytes_fires(stage: Stage, meddle: str) -> None:
    """An answer is its plan's."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.sent("b1", [coin], "r1")
    stage.sql(meddle)
    stage.fires("conserve")


@pytest.mark.parametrize(
    "meddle",
    [
        "DELETE FROM coins WHERE vout = 0",
        "UPDATE coins SET sats = sats + 1 WHERE vout = 0",
        "UPDATE coins SET height = height - 1 WHERE vout = 0",
        "DELETE FROM spends",
    ],
)
def test_a_coin_more_or_less_than_the_chain_has_fires(stage: Stage, meddle: str) -> None:
    """Missing, worth more, in another block, or spent already."""
    (coin, _) = stage.coins(COIN_SATS, COIN_SATS)
    stage.mine(make_tx([coin], [(own(2), COIN_SATS - FEE_SATS)]))
    stage.check()
    stage.follow()
    stage.sql(meddle)
    stage.fires("conserve")


def test_coins_from_before_the_birthday_and_of_unwatched_scripts_are_nobodys_business(stage: Stage) -> None:
    """A ledger answers for what it follows."""
    stage.coins()
    stage.oracle.own_script(own(99))
    stage.mine(make_tx([("cd" * 32, 0)], [(own(99), COIN_SATS)]))
    stage.follow()
    stage.check()
    stage.sql("DELETE FROM headers WHERE height <= 1")
    stage.sql("DELETE FROM coins WHERE height <= 1")
    stage.check()


def test_an_answer_that_was_re_encoded_on_its_way_and_is_fit_to_be_sent_fires(stage: Stage) -> None:
    """What the keys wrote is fit; what somebody made of it is kept, and never sent."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.plan("b1", [coin], "r1")
    stage.ask("b1")
    stage.check()
    stage.oracle.answered(stage.encoding("b1"), unfit=True)
    stage.answer("b1")
    stage.fires("unfit-answer")
