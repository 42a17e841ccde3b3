"""Rows to values and back. Stored text is trusted: it was parsed before it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from withdrawals.core.model import (
    Attempt,
    BreakerCause,
    Coin,
    Event,
    Header,
    OwnScript,
    Payment,
    Plan,
    PlannedInput,
    PlannedOutput,
    PlanState,
    Spend,
    Withdrawal,
    WithdrawalState,
)
from withdrawals.core.types import BlockRef, OutPoint, ScriptKind
from withdrawals.ledger.schema import own_scripts
from withdrawals.ledger.statements import AnyRow

KEY_COLUMNS: Final = tuple(c for c in own_scripts.c if c.name not in {"script", "allocated"})
"""What `own_script_of` reads, of a row that has the script by itself."""


def json_of(value: Mapping[str, object] | Sequence[str]) -> str:
    """Canonical JSON: sorted keys, no spaces, ASCII, no NaN. Raises `TypeError` for what JSON cannot hold."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def withdrawal_of(row: AnyRow) -> Withdrawal:
    """A row of `withdrawals`."""
    return Withdrawal(
        id=row.id,
        seq=row.seq,
        request_id=row.request_id,
        address=row.address,
        script=row.script,
        sats=row.sats,
        state=WithdrawalState(row.state),
        batch_id=row.batch_id,
        hold_reason=row.hold_reason,
        asked=row.asked,
        released=row.released,
        created_at=row.created_at,
    )


def row_of_withdrawal(withdrawal: Withdrawal, seq: int) -> dict[str, Any]:
    """The row that stores a withdrawal under the ledger's own number."""
    return {
        "id": withdrawal.id,
        "seq": seq,
        "request_id": withdrawal.request_id,
        "address": withdrawal.address,
        "script": withdrawal.script,
        "sats": withdrawal.sats,
        "state": withdrawal.state.value,
        "batch_id": withdrawal.batch_id,
        "hold_reason": withdrawal.hold_reason,
        "asked": withdrawal.asked,
        "released": withdrawal.released,
        "created_at": withdrawal.created_at,
    }


def own_script_of(row: AnyRow) -> OwnScript:
    """A row with the columns of `own_scripts`."""
    return OwnScript(
        script=row.script,
        kind=ScriptKind(row.kind),
        nested=row.nested,
        wallet=row.wallet,
        branch=row.branch,
        index=row.key_index,
    )


def row_of_own_script(own: OwnScript) -> dict[str, Any]:
    """The row that stores a script of ours, not handed out yet."""
    return {
        "script": own.script,
        "wallet": own.wallet,
        "branch": own.branch,
        "key_index": own.index,
        "kind": own.kind.value,
        "nested": own.nested,
        "allocated": False,
    }


def plan_of(row: AnyRow, inputs: Sequence[AnyRow], outputs: Sequence[AnyRow]) -> Plan:
    """A row of `plans` with its inputs (joined to `own_scripts`) and outputs, both in transaction order."""
    return Plan(
        batch_id=row.batch_id,
        number=row.number,
        inputs=tuple(PlannedInput(OutPoint(i.txid, i.vout), i.sats, own_script_of(i), i.sequence) for i in inputs),
        outputs=tuple(PlannedOutput(o.script, o.sats, o.withdrawal_id) for o in outputs),
        unsigned=row.unsigned,
        ntxid=row.ntxid,
        fee_sats=row.fee_sats,
        vsize=row.vsize,
        feerate=row.feerate,
        state=PlanState(row.state),
    )


def attempt_of(row: AnyRow) -> Attempt:
    """A row of `attempts` joined to the bytes in `transactions`."""
    return Attempt(
        batch_id=row.batch_id,
        plan_number=row.plan_number,
        raw=row.raw,
        txid=row.txid,
        wtxid=row.wtxid,
        ntxid=row.ntxid,
        fee_sats=row.fee_sats,
        vsize=row.vsize,
        refusal=row.refusal,
        accepted_at=row.accepted_at,
        sent_at=row.sent_at,
    )


def coin_of(row: AnyRow) -> Coin:
    """A row of `coins` joined to `own_scripts`."""
    return Coin(
        outpoint=OutPoint(row.txid, row.vout),
        sats=row.sats,
        own=own_script_of(row),
        block=BlockRef(row.height, row.block_hash),
        coinbase=row.coinbase,
    )


def row_of_coin(coin: Coin) -> dict[str, Any]:
    """The row that stores a coin."""
    return {
        "txid": coin.outpoint.txid,
        "vout": coin.outpoint.vout,
        "sats": coin.sats,
        "script": coin.own.script,
        "height": coin.block.height,
        "block_hash": coin.block.hash,
        "coinbase": coin.coinbase,
    }


def header_of(row: AnyRow) -> Header:
    """A row of `headers`."""
    return Header(height=row.height, hash=row.hash, prev=row.prev, time=row.time)


def spend_of(row: AnyRow) -> Spend:
    """A row of `spends`."""
    return Spend(
        prevout=OutPoint(row.prev_txid, row.prev_vout),
        block=BlockRef(row.height, row.block_hash),
        txid=row.txid,
        wtxid=row.wtxid,
        ntxid=row.ntxid,
        vin=row.vin,
    )


def row_of_spend(spend: Spend) -> dict[str, Any]:
    """The row that stores a spend."""
    return {
        "prev_txid": spend.prevout.txid,
        "prev_vout": spend.prevout.vout,
        "height": spend.block.height,
        "block_hash": spend.block.hash,
        "txid": spend.txid,
        "wtxid": spend.wtxid,
        "ntxid": spend.ntxid,
        "vin": spend.vin,
    }


def payment_of(row: AnyRow) -> Payment:
    """A row of `payments`."""
    return Payment(
        withdrawal_id=row.withdrawal_id,
        block=BlockRef(row.height, row.block_hash),
        txid=row.txid,
        vout=row.vout,
        sats=row.sats,
        by_plan=row.by_plan,
    )


def row_of_payment(payment: Payment) -> dict[str, Any]:
    """The row that stores a payment."""
    return {
        "withdrawal_id": payment.withdrawal_id,
        "height": payment.block.height,
        "block_hash": payment.block.hash,
        "txid": payment.txid,
        "vout": payment.vout,
        "sats": payment.sats,
        "by_plan": payment.by_plan,
    }


def event_of(row: AnyRow) -> Event:
    """A row of `events` joined to the request id of its withdrawal."""
    return Event(
        seq=row.seq,
        at=row.at,
        kind=row.kind,
        who=row.who,
        why=row.why,
        withdrawal_id=row.withdrawal_id,
        request_id=row.request_id,
        batch_id=row.batch_id,
        data=json.loads(row.data),
    )


def cause_of(row: AnyRow) -> BreakerCause:
    """A row of `breaker`."""
    return BreakerCause(id=row.id, cause=row.cause, detail=row.detail, opened_at=row.opened_at)
