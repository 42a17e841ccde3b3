"""The RQ jobs: dotted names that are stored in Redis, so they never change. Each carries at most one id (I9).

A job looks at the ledger, does what it finds, and may be run twice, at once, late or never. What one leaves for the
next is a row in a state; the ring that follows only saves time.
"""

from __future__ import annotations

import logging
from typing import Final

from withdrawals.bootstrap import Parts
from withdrawals.core.types import BatchId
from withdrawals.errors import ConstraintBroken, JournalDamaged, StaleLedger, WorldError
from withdrawals.steps.broadcast import broadcast as broadcast_step
from withdrawals.steps.plan import plan as plan_step
from withdrawals.steps.reissue import reissue as reissue_step
from withdrawals.steps.settle import settle_with
from withdrawals.steps.sign import Signing
from withdrawals.steps.sign import sign as sign_step

log = logging.getLogger("withdrawals.worker")

PLANS_MAX: Final = 50
"""Batches that one job plans before it lets another job have its turn; the sweeper rings again."""

_parts: Parts | None = None


def use(parts: Parts) -> None:
    """Give this worker process its parts; called once, before any job."""
    global _parts  # noqa: PLW0603 -- RQ calls plain functions by name: there is no other place to hang them on
    _parts = parts


def _here() -> Parts:
    if _parts is None:
        raise RuntimeError("a job ran outside a worker that `withdrawals work` started")
    return _parts


def plan() -> None:
    """Turn the queue into batches until it is empty, coins run out, or the gate closes."""
    plan_all(_here())


def sign(batch_id: str) -> None:
    """Get one batch signed."""
    sign_one(_here(), BatchId(batch_id))


def broadcast(batch_id: str) -> None:
    """Send one batch's stored bytes."""
    broadcast_one(_here(), BatchId(batch_id))


def reissue(batch_id: str) -> None:
    """Plan the next generation for what a conflict left unpaid."""
    reissue_one(_here(), BatchId(batch_id))


def plan_all(parts: Parts) -> None:
    """See `plan`."""
    for _ in range(PLANS_MAX):
        try:
            outcome = plan_step(parts.ledger, parts.fees, parts.world, parts.dice)
        except ConstraintBroken as error:
            log.info("another planner was faster (%s); the sweeper rings again", error.constraint)
            return
        except WorldError as error:
            log.warning("cannot plan now: %s", error)
            return
        if outcome.batch_id is None:
            if outcome.waiting:
                log.info("the queue waits: %s", outcome.waiting)
            return
        log.info("planned %s", outcome.batch_id)
        parts.bell.ring("sign", outcome.batch_id)


def sign_one(parts: Parts, batch_id: BatchId) -> None:
    """See `sign`."""
    try:
        signed = sign_step(batch_id, parts.ledger, parts.signer, parts.verifier, parts.world)
    except JournalDamaged as error:
        with parts.ledger.begin() as tx:
            tx.open_breaker(error.code, str(error), at=parts.clock.now())
        log.error("cannot sign %s: %s", batch_id, error)  # noqa: TRY400 -- as below
        return
    except StaleLedger as error:
        log.error("cannot sign %s: %s", batch_id, error)  # noqa: TRY400 -- the breaker says it all; a trace adds nothing
        return
    except WorldError as error:
        log.warning("cannot sign %s now: %s", batch_id, error)
        return
    log.info("sign %s: %s %s", batch_id, signed.outcome, signed.why)
    if signed.outcome is Signing.SIGNED:
        parts.bell.ring("broadcast", batch_id)


def broadcast_one(parts: Parts, batch_id: BatchId) -> None:
    """See `broadcast`."""
    settle = settle_with(parts.config.policy, parts.clock)
    try:
        sent = broadcast_step(
            batch_id, parts.ledger, parts.broadcaster, parts.chain, settle, parts.config.policy, parts.clock
        )
    except WorldError as error:
        log.warning("cannot send %s now: %s", batch_id, error)
        return
    for sending in sent:
        log.info("sent %s of %s: %s %s", sending.attempt.txid, batch_id, sending.result.outcome, sending.result.reason)


def reissue_one(parts: Parts, batch_id: BatchId) -> None:
    """See `reissue`."""
    try:
        done = reissue_step(batch_id, parts.ledger, parts.fees, parts.world, parts.dice)
    except ConstraintBroken as error:
        log.info("another planner was faster (%s); the sweeper rings again", error.constraint)
        return
    except WorldError as error:
        log.warning("cannot re-issue %s now: %s", batch_id, error)
        return
    if done.batch_id is None:
        if done.waiting:
            log.info("%s waits: %s", batch_id, done.waiting)
        return
    log.info("re-issued the unpaid of %s as %s", batch_id, done.batch_id)
    parts.bell.ring("sign", done.batch_id)
