"""Who was left out of a replacement by hand, and who of them waits for an operator's word.

An output that no node relays poisons its whole batch. A bump may leave it out; whoever is left out stays with the
lineage, because the plan that paid him was asked and counts as signed for ever. Once the replacement is in a block he
is planned again by himself, from coins that descend from it, so that nothing that ever paid him can be mined too.
Where the operator keeps him back, he waits for another word: he would only be refused again, and lock up a coin.

The words are lines of the story, the last of them counts; nothing else remembers them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from withdrawals.core.model import Event, Withdrawal
from withdrawals.core.types import BatchId, WithdrawalId
from withdrawals.ports import LedgerTx, LedgerView

LEFT_OUT: Final = "withdrawal.left_out"
LET_BACK_IN: Final = "withdrawal.let_back_in"


def note_left_out(
    tx: LedgerTx, withdrawals: Iterable[Withdrawal], *, batch_id: BatchId, hold: bool, who: str, why: str, at: int
) -> None:
    """Newest plan of the batch does not pay these; `hold`: nor does any other, until an operator says so."""
    for withdrawal in withdrawals:
        data: dict[str, object] = {"hold": hold}
        tx.append_event(LEFT_OUT, at=at, who=who, why=why, withdrawal_id=withdrawal.id, batch_id=batch_id, data=data)


def let_back_in(
    tx: LedgerTx, withdrawals: Iterable[Withdrawal], *, batch_id: BatchId, who: str, why: str, at: int
) -> None:
    """An operator's word: these are planned again like everybody else."""
    for withdrawal in withdrawals:
        tx.append_event(LET_BACK_IN, at=at, who=who, why=why, withdrawal_id=withdrawal.id, batch_id=batch_id)


def kept_back_in(story: Iterable[Event]) -> dict[WithdrawalId, Event]:
    """Who waits for an operator's word, by the last word on each in these events, and how he was left out."""
    said: dict[WithdrawalId, Event] = {}
    for event in sorted(story, key=lambda e: e.seq):
        if event.kind in {LEFT_OUT, LET_BACK_IN} and event.withdrawal_id is not None:
            said[event.withdrawal_id] = event
    return {w: e for w, e in said.items() if e.kind == LEFT_OUT and e.data.get("hold")}


def load_kept_back(view: LedgerView, lineage: BatchId, withdrawals: Iterable[Withdrawal]) -> dict[WithdrawalId, Event]:
    """Those of these withdrawals of a lineage that wait for an operator's word."""
    kept = kept_back_in(e for batch_id in view.list_lineage(lineage) for e in view.load_story(batch_id=batch_id))
    return {w.id: kept[w.id] for w in withdrawals if w.id in kept}


def words_of_kept_back(kept: Collection[Event]) -> str:
    """Why nobody plans them, with the command."""
    told = "; ".join(f"{e.request_id} by {e.who} ({e.why})" for e in sorted(kept, key=lambda e: e.seq))
    return (
        f"left_out: kept back when a bump left it out: {told}; `withdrawals approve-reissue REQUEST_ID --reason …` "
        f"lets it be planned again"
    )
