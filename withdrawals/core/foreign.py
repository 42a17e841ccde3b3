"""Somebody else's spend of our coins: what an operator must say of it before anything new is signed.

A program cannot know whether an output that no plan of ours made pays a customer. An operator can. He explains a
foreign transaction once, by its ntxid, and rules on its outputs one by one:

* `bound`: it pays this withdrawal. It counts as that payment wherever the transaction stands on the followed chain, and
  as an earlier payer for ever (I1).
* `other`: it pays none of ours, whatever it looks like.
* `open`: nothing was said, because nothing waited for it then. A request that comes later and looks just like it is
  held until somebody says which of the two it is: it may be the very payment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from withdrawals.core.lifecycle import GIVEN_UP
from withdrawals.core.model import TxOut, TxView, Withdrawal
from withdrawals.core.types import Ntxid, Sats, ScriptPubKey, WithdrawalId


class Ruling(StrEnum):
    """What an operator said of an output."""

    OPEN = "open"
    BOUND = "bound"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ForeignOutput:
    """An output of an explained transaction that goes to none of our own scripts."""

    ntxid: Ntxid
    vout: int
    script: ScriptPubKey
    sats: Sats
    ruling: Ruling
    withdrawal_id: WithdrawalId | None = None


@dataclass(frozen=True, slots=True)
class RulingRefused:
    """Why the operator's words cannot be taken: a stable word, a colon, a sentence."""

    reason: str


LOOK_ALIKE = "look_alike"
"""The first word of why a request is held that looks like an output nobody has ruled on."""


def rule_outputs(
    tx: TxView,
    *,
    own_scripts: Collection[ScriptPubKey],
    pays: Mapping[int, Withdrawal],
    other: Collection[int],
    attributed: Mapping[int, WithdrawalId],
    waiting: Sequence[Withdrawal],
    earlier: Sequence[ForeignOutput] = (),
) -> tuple[ForeignOutput, ...] | RulingRefused:
    """The rulings on every output that is not ours and that the rules of attribution have not settled themselves.

    `pays`: output index to the withdrawal that the operator says it pays; `other`: outputs that he says pay none;
    `attributed`: what the rules found by themselves; `waiting`: every withdrawal that this transaction might pay (to
    one of its scripts, and not paid on the followed chain); `earlier`: rulings made before, which stay.
    """
    settled = {o.vout: o for o in earlier if o.ruling is not Ruling.OPEN}
    for problem in (*_problems_of(tx, own_scripts, pays, other, attributed), *_unsaid(settled, pays, other)):
        return RulingRefused(problem)
    rulings: list[ForeignOutput] = []
    said_paid = {w.id for w in pays.values()} | {*attributed.values(), *(o.withdrawal_id for o in settled.values())}
    for vout, output in enumerate(tx.outputs):
        if output.script in own_scripts or (vout in attributed and vout not in pays):
            continue
        if vout in settled:
            rulings.append(settled[vout])
            continue
        alike = [w for w in waiting if (w.script, w.sats) == (output.script, output.sats) and w.id not in said_paid]
        if alike and vout not in pays and vout not in other:
            names = ", ".join(w.request_id for w in alike)
            return RulingRefused(
                f"look_alike: output {vout} pays {output.sats} sats to the script of {names}, which waits to be paid; "
                f"accepted: --pays {vout}=REQUEST_ID if it is that payment, --other {vout} if it is not"
            )
        ruling = Ruling.BOUND if vout in pays else Ruling.OTHER if vout in other else Ruling.OPEN
        bound_to = pays[vout].id if vout in pays else None
        rulings.append(ForeignOutput(tx.ntxid, vout, output.script, output.sats, ruling, bound_to))
    return tuple(rulings)


def _problems_of(
    tx: TxView,
    own_scripts: Collection[ScriptPubKey],
    pays: Mapping[int, Withdrawal],
    other: Collection[int],
    attributed: Mapping[int, WithdrawalId],
) -> Iterator[str]:
    for vout in sorted({*pays, *other}):
        if vout >= len(tx.outputs):
            yield f"no_output: {tx.txid} has {len(tx.outputs)} outputs, counted from 0; there is no output {vout}"
        elif tx.outputs[vout].script in own_scripts:
            yield f"ours: output {vout} pays our own wallet, not a customer"
        elif vout in attributed and (vout in other or pays[vout].id != attributed[vout]):
            yield f"settled: output {vout} pays {attributed[vout]} already, by the rules of attribution"
        elif vout in pays and vout in other:
            yield f"both: output {vout} cannot both pay a withdrawal and pay none"
        elif vout in pays:
            yield from _mismatch_of(vout, tx.outputs[vout], pays[vout])
    ids = [w.id for w in pays.values()]
    if len(set(ids)) != len(ids):
        yield "twice: one withdrawal is paid by one output"


def _unsaid(
    settled: Mapping[int, ForeignOutput], pays: Mapping[int, Withdrawal], other: Collection[int]
) -> Iterator[str]:
    """What was ruled on is not ruled on differently: money was judged by it."""
    for vout, output in sorted(settled.items()):
        if (vout in other and output.ruling is Ruling.BOUND) or (
            vout in pays and pays[vout].id != output.withdrawal_id
        ):
            bound_to = output.withdrawal_id or "no withdrawal"
            yield f"ruled: output {vout} was ruled {output.ruling} before ({bound_to}), and that stays"


def _mismatch_of(vout: int, output: TxOut, withdrawal: Withdrawal) -> Iterator[str]:
    if (output.script, output.sats) != (withdrawal.script, withdrawal.sats):
        yield (
            f"not_that_payment: output {vout} pays {output.sats} sats to another script or another sum than "
            f"{withdrawal.request_id} asked for ({withdrawal.sats} sats to {withdrawal.address})"
        )
    if withdrawal.state in GIVEN_UP:
        yield f"given_up: {withdrawal.request_id} is {withdrawal.state}, and nothing is owed for it"
