"""Coins, requests, plans and batches in a few words, for tests of pure decisions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from withdrawals.core.model import (
    Batch,
    BatchState,
    Coin,
    OwnScript,
    Plan,
    PlanState,
    Withdrawal,
    WithdrawalState,
)
from withdrawals.core.planning import PlanDecision, plan_batch
from withdrawals.core.policy import Limits, Policy
from withdrawals.core.tx import script_of
from withdrawals.core.types import (
    BatchId,
    BlockHash,
    BlockRef,
    Feerate,
    OutPoint,
    RequestId,
    Sats,
    ScriptKind,
    ScriptPubKey,
    Txid,
    WithdrawalId,
)

TIP = 1_000
BATCH = BatchId("b-0123456789abcdef01234567")
RATE = Feerate(2_000)
WIDE = Policy(
    limits=Limits(
        withdrawal_max_sats=Sats(10**15),
        batch_max_sats=Sats(10**15),
        day_max_sats=Sats(10**15),
        fee_batch_max_sats=Sats(10**12),
        fee_share_max_bp=10_000_000,
        feerate_max=Feerate(10**9),
    ),
    batch_payments_max=3_000,
)
"""Limits that nothing in a test crosses by accident."""


def limited(**limits: int) -> Policy:
    """WIDE, but for these limits."""
    return replace(WIDE, limits=replace(WIDE.limits, **limits))  # type: ignore[arg-type]


_PROGRAM_BYTES = {ScriptKind.P2TR: 32, ScriptKind.P2WSH: 32}


def script(n: int, kind: ScriptKind = ScriptKind.P2WPKH) -> ScriptPubKey:
    return script_of(kind, n.to_bytes(_PROGRAM_BYTES.get(kind, 20), "big"))


def own(n: int = 0, kind: ScriptKind = ScriptKind.P2WPKH) -> OwnScript:
    """A script of ours; a P2SH one is always nested P2WPKH."""
    return OwnScript(script(2**80 + n, kind), kind, nested=kind is ScriptKind.P2SH, wallet=0, branch=1, index=n)


def coin(
    n: int, sats: int, *, depth: int = 10, kind: ScriptKind = ScriptKind.P2WPKH, coinbase: bool = False, tip: int = TIP
) -> Coin:
    height = tip - depth + 1
    return Coin(
        OutPoint(Txid(f"{n:064x}"), n % 7),
        Sats(sats),
        own(n, kind),
        BlockRef(height, BlockHash(f"{height:064x}")),
        coinbase,
    )


def request(n: int, sats: int, *, kind: ScriptKind = ScriptKind.P2WPKH, released: bool = False) -> Withdrawal:
    return Withdrawal(
        id=WithdrawalId(f"w-{n:024x}"),
        seq=n,
        request_id=RequestId(f"request-{n}"),
        address=f"address-{n}",
        script=script(n, kind),
        sats=Sats(sats),
        state=WithdrawalState.QUEUED,
        batch_id=None,
        hold_reason=None,
        asked=False,
        released=released,
        created_at=0,
    )


def decide(
    queued: Sequence[Withdrawal],
    coins: Sequence[Coin],
    *,
    policy: Policy = WIDE,
    feerate: int = RATE,
    day_sats: int = 0,
    batch_id: BatchId = BATCH,
    fenced: Collection[OutPoint] | None = None,
) -> PlanDecision:
    return plan_batch(
        batch_id=batch_id,
        queued=queued,
        coins=coins,
        change=own(10**6),
        feerate=Feerate(feerate),
        tip_height=TIP,
        policy=policy,
        planned_last_day_sats=Sats(day_sats),
        fenced=fenced,
    )


def planned(queued: Sequence[Withdrawal], coins: Sequence[Coin], *, policy: Policy = WIDE, feerate: int = RATE) -> Plan:
    plan = decide(queued, coins, policy=policy, feerate=feerate).plan
    assert plan is not None
    return plan


def batched(queued: Sequence[Withdrawal], *, asked: bool = False) -> dict[WithdrawalId, Withdrawal]:
    return {w.id: replace(w, state=WithdrawalState.BATCHED, batch_id=BATCH, asked=asked) for w in queued}


def batch_of(
    queued: Sequence[Withdrawal],
    *plans: Plan,
    state: BatchState = BatchState.BROADCAST,
    plan_state: PlanState = PlanState.SIGNED,
) -> Batch:
    """A batch whose last plan is in `plan_state` and whose earlier plans are signed."""
    numbered = [*(replace(p, state=PlanState.SIGNED) for p in plans[:-1]), replace(plans[-1], state=plan_state)]
    withdrawals = tuple(batched(queued, asked=True).values())
    return Batch(BATCH, BATCH, None, 1, state, withdrawals, tuple(numbered), (), created_at=0)
