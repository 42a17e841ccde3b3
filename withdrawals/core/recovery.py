"""What the keys' journal remembers and a restored ledger has forgotten: a line of it, as what the ledger would hold.

A line was written before a key was used, so its plan counts as signed for ever, whatever the ledger in hand knows. A
line names the request ids, scripts and amounts that its transaction pays, and the exact unsigned bytes. What it does
not say is what its inputs hold: that comes from the chain, from stored bytes, or from earlier lines. Where none of them
knows, nothing is guessed: the line is refused, by name.

A restored ledger does not know either what was *cancelled*, or accepted, since. So every request that is unpaid and was
never asked is held until the exchange repeats its id: what it cancelled it never repeats.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from withdrawals.core.fees import feerate_of, plan_vsize
from withdrawals.core.model import (
    Batch,
    BatchState,
    JournalLine,
    OwnScript,
    Plan,
    PlannedInput,
    PlannedOutput,
    PlanState,
    TxOut,
)
from withdrawals.core.tx import MalformedTransaction, ntxid_of, parts_of
from withdrawals.core.types import BatchId, OutPoint, RequestId, Sats, ScriptPubKey, WithdrawalId

RECOVERED: Final = "recovered"
"""The first word of why a request is held until the exchange repeats its id."""
_BEFORE: Final = " Before that: "
_HELD: Final = (
    f"{RECOVERED}: this ledger does not know whether it was cancelled since; it goes on when the exchange repeats the "
    f"same id and body."
)


@dataclass(frozen=True, slots=True)
class LineRefused:
    """Why a line cannot become part of this ledger: a stable word, a colon, a sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class BoundOutput:
    """An output of a line's transaction, and the request that it pays; None: change."""

    script: ScriptPubKey
    sats: Sats
    request_id: RequestId | None


@dataclass(frozen=True, slots=True)
class Recalled:
    """A line with all that a plan needs but its place in the ledger."""

    line: JournalLine
    inputs: tuple[PlannedInput, ...]
    outputs: tuple[BoundOutput, ...]


# --------------------------------------------------------------------------------------------------- a line, understood


def bind_outputs(line: JournalLine) -> tuple[BoundOutput, ...] | LineRefused:
    """Which output pays which request, by script and amount, both in their order; what is left over is change."""
    try:
        made = parts_of(line.unsigned).outputs
    except MalformedTransaction as error:
        return LineRefused(f"malformed: {error}")
    owed: dict[tuple[ScriptPubKey, Sats], deque[RequestId]] = {}
    for request_id, script, sats in line.payments:
        owed.setdefault((ScriptPubKey(bytes.fromhex(script)), Sats(sats)), deque()).append(request_id)
    bound = []
    for output in made:
        waiting = owed.get((output.script, output.sats))
        bound.append(BoundOutput(output.script, output.sats, waiting.popleft() if waiting else None))
    for left in owed.values():
        if left:
            return LineRefused(f"unpaid_payment: no output of its transaction pays {left[0]}")
    return tuple(bound)


def change_scripts_of(outputs: tuple[BoundOutput, ...]) -> tuple[ScriptPubKey, ...]:
    """Where a line's change goes: these scripts were handed out and must never be handed out again."""
    return tuple(o.script for o in outputs if o.request_id is None)


def recall(
    line: JournalLine, holdings: Mapping[OutPoint, TxOut], own: Mapping[ScriptPubKey, OwnScript]
) -> Recalled | LineRefused:
    """A line with its inputs and outputs understood. `holdings`: what its inputs hold, as far as anybody knows."""
    outputs = bind_outputs(line)
    if isinstance(outputs, LineRefused):
        return outputs
    inputs: list[PlannedInput] = []
    for part in parts_of(line.unsigned).inputs:
        held = holdings.get(part.outpoint)
        if held is None:
            return LineRefused(f"unknown_input: neither the chain nor this ledger shows what {part.outpoint} held")
        if held.script not in own:
            return LineRefused(f"not_ours: {part.outpoint} belongs to a script that is none of this wallet's")
        inputs.append(PlannedInput(part.outpoint, held.sats, own[held.script], part.sequence))
    for script in change_scripts_of(outputs):
        if script not in own:
            return LineRefused(f"not_ours: an output pays {script.hex()}, which is neither a payment nor ours")
    if sum(i.sats for i in inputs) < sum(o.sats for o in outputs):
        return LineRefused("amounts: its outputs are more than its inputs hold")
    return Recalled(line, tuple(inputs), outputs)


def plan_of(
    recalled: Recalled, batch_id: BatchId, number: int, withdrawal_ids: Mapping[RequestId, WithdrawalId]
) -> Plan:
    """The very plan that was asked, with fee, size and feerate as the planner computes them."""
    outputs = tuple(
        PlannedOutput(o.script, o.sats, None if o.request_id is None else withdrawal_ids[o.request_id])
        for o in recalled.outputs
    )
    fee_sats = Sats(sum(i.sats for i in recalled.inputs) - sum(o.sats for o in outputs))
    vsize = plan_vsize(recalled.inputs, outputs)
    return Plan(
        batch_id=batch_id,
        number=number,
        inputs=recalled.inputs,
        outputs=outputs,
        unsigned=recalled.line.unsigned,
        ntxid=ntxid_of(recalled.line.unsigned),
        fee_sats=fee_sats,
        vsize=vsize,
        feerate=feerate_of(fee_sats, vsize),
        state=PlanState.SIGNING,
    )


# ------------------------------------------------------------------------------------------------ where it is to stand


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line's plan goes. `batch_id` None: under an id of its own, because the line's is given up for ever here.

    `number` None: the plan is here already, never asked, and has only to be marked.
    """

    batch_id: BatchId | None
    number: int | None


def place_of(line: JournalLine, batch: Batch | None) -> Place:
    """Under the line's own batch id and number, unless this ledger used them for something else before it knew better.

    A ledger may have worked for a while before anybody noticed that it was restored: it may have abandoned the very
    plan that was signed elsewhere, or planned another bump under the same number.
    """
    if batch is None:
        return Place(line.batch_id, line.plan_number)
    if batch.state is BatchState.ABANDONED:
        return Place(None, line.plan_number)
    same = next((p for p in batch.plans if p.number == line.plan_number), None)
    if same is None:
        return Place(batch.id, line.plan_number)
    if same.state is PlanState.PLANNED and same.unsigned == line.unsigned:
        return Place(batch.id, None)
    return Place(batch.id, max(p.number for p in batch.plans) + 1)


# ------------------------------------------------------------------------------------------------- held until repeated


def hold_reason(before: str | None) -> str:
    """Why a request is held after a recovery; a hold there was before is remembered, and comes back."""
    return _HELD if before is None else f"{_HELD}{_BEFORE}{before}"


def is_recovery_hold(reason: str | None) -> bool:
    """Whether the exchange's repeat of the id, and nothing else by itself, ends this hold."""
    return reason is not None and reason.startswith(_HELD)


def reason_before(reason: str) -> str | None:
    """The hold that a recovery found in place, and that its end brings back; None: there was none."""
    _, found, before = reason.partition(_BEFORE)
    return before if found else None


def held_besides(reason: str, why: str) -> str:
    """A hold with an operator's own on top of it, which stays when the exchange's repeat ends a recovery's."""
    if not is_recovery_hold(reason):
        return _joined(reason, why)
    before = reason_before(reason)
    return hold_reason(why if before is None else _joined(before, why))


def _joined(before: str, why: str) -> str:
    """Both reasons; saying the same again adds nothing."""
    return before if why in before.split("; ") else f"{before}; {why}"
