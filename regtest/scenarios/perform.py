"""Playing one story to one processor, and asking the chain what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from regtest.malleate import CannotMalleate, TransactionIds, ids_of
from regtest.network import Network
from regtest.oracle import ChainPayment
from regtest.party import NotOffered, Party
from regtest.proxy import RpcProxy
from regtest.record import Record
from regtest.report.results import Result, outcome_of, verdict_of
from regtest.scenarios.model import Outcome, Scenario
from regtest.scenarios.stage import FINAL_DEPTH, Stage

log = logging.getLogger("regtest.story")


@dataclass(frozen=True, slots=True)
class Performance:
    """One story with one processor: the row for the report, the moments, and what went wrong beside the money.

    A trouble is never part of the outcome, which is the chain's alone, but a run with one has not passed.
    """

    result: Result
    record: Record
    troubles: tuple[str, ...]
    seconds: float
    not_offered: str | None = None
    """What the story needs and the processor does not offer. What it did until then counts all the same: a trouble, a
    shortcoming or a second payment is none that was not played."""
    shortcomings: tuple[str, ...] = ()
    """What a sound processor would have done otherwise, beside paying once; a control may."""


def perform(scenario: Scenario, network: Network, party: Party, proxy: RpcProxy | None = None) -> Performance:
    """Play it. A story that breaks off is a trouble; what the chain holds by then is counted all the same."""
    began = time.monotonic()
    log.info("[%s] begins: %s.", party.name, scenario.title)
    stage = Stage(network, party, scenario.coins, proxy)
    troubles: list[str] = []
    not_offered: str | None = None
    try:
        scenario.play(stage)
    except NotOffered as lacking:
        not_offered = lacking.what
    except CannotMalleate as unfit:
        # It spends other coins than the story is about.
        not_offered = f"a transaction that {unfit.class_id} can be done to: {unfit.why}"
    except Exception as error:
        # Whatever it was: it fails the run, and the stories after this one are told all the same.
        log.exception("[%s] the story breaks off", party.name)
        troubles.append(f"the story breaks off: {type(error).__name__}: {error}")
    if not_offered is not None and stage.customers:
        _bury_what_waits(stage)
    try:
        result = _result_of(scenario, stage)
        if not troubles and not_offered is None:
            requests = [customer.request_id for customer in stage.customers]
            troubles += party.troubles(requests, paid=result.outcome is Outcome.PAID_ONCE)
    except Exception as error:
        # One that died in the middle has nothing to say for itself. What the chain holds is counted all the same.
        log.exception("[%s] cannot be asked", party.name)
        troubles.append(f"it cannot be asked any more: {type(error).__name__}: {error}")
        stage.fall_silent()
        result = _result_of(scenario, stage)
    for trouble in troubles:
        log.error("[%s] %s.", party.name, trouble)
    seconds = time.monotonic() - began
    return Performance(result, stage.record(), tuple(troubles), seconds, not_offered, tuple(stage.shortcomings))


def _bury_what_waits(stage: Stage) -> None:
    """Where the story ended before its time, what the processor has sent by then is mined, or the chain shows nothing.

    Whatever goes wrong here is no fault of a processor that was not asked for all that the story needs.
    """
    try:
        if stage.proxy is not None:
            stage.proxy.clear()
        if len(stage.network.nodes) > 1:
            stage.network.join()
        stage.network.mine(FINAL_DEPTH)
        stage.work()
    except Exception:
        log.exception("[%s] the last round of a story without an end fails", stage.party.name)
    try:
        stage.network.mine()
    except Exception:
        log.exception("[%s] the last block of a story without an end cannot be mined", stage.party.name)


def _result_of(scenario: Scenario, stage: Stage) -> Result:
    payments = {customer.request_id: tuple(stage.payments_of(customer)) for customer in stage.customers}
    signed = list(dict.fromkeys(raw for customer in stage.customers for raw in stage.ever_signed_for(customer)))
    refused = stage.is_asked and bool(payments) and all(stage.party.has_refused(request_id) for request_id in payments)
    owed_and_paid = [(c.sats, [p.sats for p in payments[c.request_id]]) for c in stage.customers]
    everything = sorted((p for found in payments.values() for p in found), key=lambda p: (p.height, p.txid, p.vout))
    return Result(
        scenario=scenario.name,
        title=scenario.title,
        covers=scenario.covers,
        processor=stage.party.name,
        owed_sats=stage.owed_sats,
        payments=tuple(everything),
        outcome=outcome_of(owed_and_paid, refused=refused),
        signed_txids=tuple(ids_of(raw).txid for raw in signed),
        verdict=verdict_of(_paying(stage.network, everything), [ids_of(raw) for raw in signed]),
    )


def _paying(network: Network, payments: Sequence[ChainPayment]) -> list[TransactionIds]:
    """The ids of the transactions that paid, from the bytes in their blocks."""
    found = dict.fromkeys((p.txid, p.block) for p in payments)
    return [ids_of(bytes.fromhex(network.rpc.getrawtransaction(txid, 0, block))) for txid, block in found]
