"""The oracle fires on every claim about requests that is not so, and on no claim that is."""

from __future__ import annotations

import pytest

from tests.simulation.oracle_bytes import COIN_SATS, PAY_SATS, customer, make_tx
from tests.simulation.oracle_stage import Stage


@pytest.fixture
def stage() -> Stage:
    """A ledger at its tip, with nothing in it."""
    return Stage()


# ------------------------------------------------------------------------------------------------------- refunded-paid


def test_a_refund_after_the_asking_fires(stage: Stage) -> None:
    """Whatever was asked may be mined, so it must not be given back."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.plan("b1", [coin], "r1")
    stage.ask("b1")
    stage.oracle.refunded("r1")
    stage.fires("refunded-paid")


def test_an_asking_after_the_refund_fires(stage: Stage) -> None:
    """The exchange gave it back; nothing may pay it now."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.oracle.refunded("r1")
    stage.plan("b1", [coin], "r1")
    stage.ask("b1")
    stage.fires("refunded-paid")


def test_a_refund_of_what_was_only_planned_is_fine(stage: Stage) -> None:
    """A plan that no signer ever saw is paper."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.plan("b1", [coin], "r1")
    stage.check()
    stage.sql("UPDATE plans SET state = 'abandoned'")
    stage.sql("UPDATE withdrawals SET state = 'cancelled', batch_id = NULL")
    stage.oracle.refunded("r1")
    stage.check()


# -------------------------------------------------------------------------------------------------------- final-unpaid


def test_final_a_block_too_early_fires(stage: Stage) -> None:
    """Three deep is policy; two deep is not."""
    stage.paid(depth=2)
    stage.check()
    stage.follow(r1="final")
    stage.fires("final-unpaid")


def test_final_and_left_behind_by_a_deep_reorg_fires(stage: Stage) -> None:
    """The block is gone, deeper than final, and the row still says final."""
    (coin,) = stage.coins()
    fork = stage.tip
    stage.request("r1", 1)
    stage.mine(stage.sent("b1", [coin], "r1"))
    stage.mine_many(4)
    stage.follow()
    stage.check()
    stage.mine_many(7, on=fork)
    stage.check()
    stage.follow(r1="final")
    stage.fires("final-unpaid")


@pytest.mark.parametrize("state", ["queued", "held", "cancelled", "rejected"])
def test_waiting_or_given_up_and_paid_by_our_plan_fires(stage: Stage, state: str) -> None:
    """A plan pays it on the ledger's own branch, and the ledger would pay it again or has given it back."""
    stage.paid()
    stage.follow(r1=state)
    stage.fires("final-unpaid")


@pytest.mark.parametrize("state", ["batched", "broadcast"])
def test_paid_and_called_unpaid_fires(stage: Stage, state: str) -> None:
    """The block is in the ledger and its payment was overlooked."""
    stage.paid()
    stage.follow(r1=state)
    stage.fires("paid-unnoticed")


def test_a_forgetful_ledger_is_not_believed_until_it_has_recovered(stage: Stage) -> None:
    """Restored to before the payment, with the tip of after it."""
    stage.paid()
    stage.oracle.amnesia(forgets=True)
    stage.follow(r1="queued")
    stage.check()
    stage.oracle.amnesia(forgets=False)
    stage.fires("final-unpaid")


def test_what_both_memories_lost_is_no_claim_of_the_ledgers(stage: Stage) -> None:
    """The plan went with the ledger and the journal: its payment is a stranger's until somebody explains it."""
    stage.paid()
    stage.check()
    stage.oracle.amnesia(forgets=True)
    stage.sql("DELETE FROM attempts")
    stage.sql("DELETE FROM plans")
    stage.follow(r1="queued")
    stage.check()
    stage.oracle.amnesia(forgets=False)
    stage.check()


def test_a_strangers_payment_that_displaces_the_attempt_makes_it_final(stage: Stage) -> None:
    """An operator spent the attempt's coin and paid the customer exactly: that is a payment, and only one."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.sent("b1", [coin], "r1")
    stage.mine(make_tx([coin], [(customer(1), PAY_SATS)]))
    stage.mine_many(2)
    stage.follow(r1="final")
    stage.check()


@pytest.mark.parametrize("outputs", [[(customer(1), PAY_SATS - 1)], [(customer(2), PAY_SATS)]])
def test_a_strangers_payment_of_something_else_does_not(stage: Stage, outputs: list[tuple[bytes, int]]) -> None:
    """One satoshi less, or somebody else."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.sent("b1", [coin], "r1")
    stage.mine(make_tx([coin], outputs))
    stage.mine_many(2)
    stage.follow(r1="final")
    stage.fires("final-unpaid")


def test_one_output_of_a_stranger_pays_one_of_two(stage: Stage) -> None:
    """Two requests look alike, and somebody paid one output: they are not both final."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    for name, coin in (("r1", one), ("r2", two)):
        stage.request(name, 1)
        stage.sent(f"b-{name}", [coin], name)
    stage.mine(make_tx([one, two], [(customer(1), PAY_SATS)]))
    stage.mine_many(2)
    stage.follow(r1="final")
    stage.check()
    stage.follow(r1="final", r2="final")
    stage.fires("final-unpaid")


# -------------------------------------------------------------------------------------------------------- nothing-lost


def test_a_lost_request_fires_unless_a_restore_lost_it(stage: Stage) -> None:
    """The exchange was told that it is accepted. Once a restored ledger has it again, it must not be lost again."""
    stage.request("r1", 1)
    stage.check()
    stage.oracle.amnesia(forgets=True)
    stage.sql("DELETE FROM withdrawals")
    stage.check()
    stage.oracle.amnesia(forgets=False)
    stage.check()
    stage.owed.clear()
    stage.request("r1", 1)
    stage.check()
    stage.sql("DELETE FROM withdrawals")
    stage.fires("nothing-lost")


@pytest.mark.parametrize(
    "meddle",
    [
        "UPDATE withdrawals SET sats = sats + 1",
        "UPDATE withdrawals SET script = x'51'",
        "UPDATE withdrawals SET request_id = 'r2'",
        "DELETE FROM events WHERE seq = 2",
    ],
)
def test_a_row_that_changed_or_an_event_that_is_gone_fires(stage: Stage, meddle: str) -> None:
    """Rows of requests never change what they are about."""
    stage.request("r1", 1)
    for _ in range(3):
        stage.event()
    stage.check()
    stage.sql(meddle)
    stage.fires("nothing-lost")


def test_a_row_about_what_nobody_asked_for_fires_and_an_unanswered_request_does_not(stage: Stage) -> None:
    """The exchange died before it heard the answer: it asked, so the row is right."""
    stage.oracle.requested("r1", customer(1), PAY_SATS)
    stage.check()
    stage.request("r1", 1)
    stage.check()
    stage.put(
        "withdrawals",
        id="w-x",
        seq=9,
        request_id="rx",
        address="x",
        script=customer(3),
        sats=5,
        state="queued",
        asked=False,
        released=False,
        created_at=1,
    )
    stage.fires("nothing-lost")


@pytest.mark.parametrize("state", ["cancelled", "rejected"])
def test_a_given_up_request_that_comes_back_fires(stage: Stage, state: str) -> None:
    """Terminal is terminal."""
    stage.request("r1", 1)
    stage.sql("UPDATE withdrawals SET state = ?", state)
    stage.check()
    stage.sql("UPDATE withdrawals SET state = 'queued'")
    stage.fires("nothing-lost")


# --------------------------------------------------------------------------------------------------------- asked-first


def test_a_signer_that_is_asked_before_the_ledger_says_so_fires(stage: Stage) -> None:
    """A crash in between would leave a signature that nobody remembers."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.plan("b1", [coin], "r1")
    stage.ask("b1", mark=False)
    stage.fires("asked-first")


def test_an_answer_that_nobody_asked_for_fires(stage: Stage) -> None:
    """A signer makes what it was asked for and nothing else."""
    stage.oracle.answered(make_tx([("ab" * 32, 0)], [(customer(1), PAY_SATS)]))
    stage.fires("asked-first")


def test_an_answer_out_there_before_it_is_stored_fires(stage: Stage) -> None:
    """A mempool has it, and the ledger would not know after a crash."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.plan("b1", [coin], "r1")
    stage.ask("b1")
    stage.answer("b1", store=False)
    stage.fires("asked-first")


def test_a_late_answer_and_a_twin_out_there_are_no_fault(stage: Stage) -> None:
    """A signer in another house keeps what it signed, and others re-encode what is public."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    stage.request("r2", 2)
    stage.sent("b1", [one], "r1")
    stage.oracle.saw(stage.encoding("b1", sig=b"\x01\x2b"))
    stage.plan("b2", [two], "r2")
    stage.ask("b2")
    stage.oracle.answered(stage.encoding("b2"), late=True)
    stage.oracle.saw(stage.encoding("b2"))
    stage.check()
