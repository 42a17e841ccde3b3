"""Is this order what it says it is? The signer's checks in its own right, before anything is journalled.

The ledger and the steps have checked all this before. The signer holds the keys and asks again: what it signs pays
exactly the approved payments, gives the rest back to us, spends only our coins, and burns no more than the cap.
The amounts of the inputs are the ledger's word; taproot signatures commit to all of them, others each to its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from withdrawals.core.tx import MalformedTransaction, TxParts, parts_of, script_kind_of
from withdrawals.core.types import MAX_MONEY, Sats, ScriptKind, ScriptPubKey
from withdrawals.ports import SigningOrder
from withdrawals.signing.own import OwnScripts

_CHANGE_INDEX_MAX = 10_000_000
"""Change further out than this would be ours and yet never be found by a rescan."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What one transaction may do at most, whatever the ledger says."""

    fee_max_sats: Sats
    pay_max_sats: Sats | None = None
    """All payments together, without change; None: no cap here."""


def order_problems(order: SigningOrder, ours: OwnScripts, *, journal_lines: int) -> tuple[str, ...]:
    """Why an order is not one transaction that pays what was approved and no one else; empty: it is.

    `journal_lines`: how many plans were ever signed; as many change scripts may have been used.
    """
    try:
        parts = parts_of(order.unsigned)
    except MalformedTransaction as error:
        return (str(error),)
    return (*_input_problems(order, parts, ours), *_output_problems(order, parts, ours, journal_lines))


def cap_problems(order: SigningOrder, caps: Caps) -> tuple[str, ...]:
    """Which caps a sound order breaks. Not asked for an order signed before: its bytes are in the world already."""
    fee = sum(i.sats for i in order.inputs) - sum(o.sats for o in parts_of(order.unsigned).outputs)
    paid = sum(p.sats for p in order.payments)
    problems: list[str] = []
    if fee > caps.fee_max_sats:
        problems.append(f"the fee of {fee} sats is above the signer's cap of {caps.fee_max_sats}")
    if caps.pay_max_sats is not None and paid > caps.pay_max_sats:
        problems.append(f"the payments of {paid} sats are above the signer's cap of {caps.pay_max_sats}")
    return tuple(problems)


def _input_problems(order: SigningOrder, parts: TxParts, ours: OwnScripts) -> Iterator[str]:
    planned = [(i.outpoint, i.sequence) for i in order.inputs]
    if [(i.outpoint, i.sequence) for i in parts.inputs] != planned:
        yield "the transaction does not spend exactly the planned outpoints with their sequences in their order"
    if len({outpoint for outpoint, _sequence in planned}) != len(planned):
        yield "an outpoint is spent twice"
    if any(i.script_sig or i.witness for i in parts.inputs):
        yield "the transaction carries signatures already"
    for at, planned_input in enumerate(order.inputs):
        if not 0 < planned_input.sats <= MAX_MONEY:
            yield f"input {at} holds {planned_input.sats} sats, which is no amount"
        if not ours.confirm(planned_input.own):
            yield f"input {at}: the coin's script is not what our key at its place owns"
    fee = sum(i.sats for i in order.inputs) - sum(o.sats for o in parts.outputs)
    if fee < 0:
        yield f"the outputs are {-fee} sats more than the inputs"


def _output_problems(order: SigningOrder, parts: TxParts, ours: OwnScripts, journal_lines: int) -> Iterator[str]:
    approved = Counter((p.script, p.sats) for p in order.payments)
    made = Counter((o.script, o.sats) for o in parts.outputs)
    if len({p.request_id for p in order.payments}) != len(order.payments):
        yield "a request id is paid twice"
    for (script, sats), count in approved.items():
        if sats <= 0:
            yield f"a payment of {sats} sats was approved"
        if made[script, sats] != count:
            yield f"{count} payment(s) of {sats} sats to {script.hex()} approved, {made[script, sats]} made"
    for own in order.change:
        if own.index > _CHANGE_INDEX_MAX or not ours.confirm(own):
            yield f"change script {own.script.hex()} is not what our key at its place owns"
    for script in sorted({script for script, _sats in made.keys() - approved.keys()}):
        if not _may_be_ours(script) or ours.find(script, journal_lines) is None:
            yield f"an output pays {script.hex()}, which is neither approved nor ours"


def _may_be_ours(script: ScriptPubKey) -> bool:
    """False where a search would be in vain: none of our descriptors makes such a script."""
    return script_kind_of(script) not in {None, ScriptKind.P2WSH}
