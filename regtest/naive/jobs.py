"""The naive desk's RQ jobs: plain functions of plain values, as its workers import them by name."""

from __future__ import annotations

from regtest.naive.book import State
from regtest.naive.desk import Desk, DeskSettings
from regtest.rpc import Json


def send_withdrawal(settings: Json, request_id: str) -> None:
    """Pay one withdrawal that waits; a second run of the job finds it sent and does nothing."""
    desk = Desk(DeskSettings.of_job(settings))
    payment = desk.book.payment(request_id)
    if payment.state is State.PENDING:
        desk.pay(payment)


def work(settings: Json) -> None:
    """One round over all withdrawals."""
    Desk(DeskSettings.of_job(settings)).work()


def support_retry(settings: Json, request_id: str) -> Json:
    """The support desk's button; returns whether it paid again, and what the customer is told."""
    answer = Desk(DeskSettings.of_job(settings)).support_retry(request_id)
    return {"paid_again": answer.paid_again, "words": answer.words}
