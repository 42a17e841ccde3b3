"""Who was left out of a replacement by hand, and who of them waits for an operator's word.

An output that no node relays poisons its whole batch. A bump may leave it out; whoever is left out stays with the
lineage, because the plan that paid him was asked and counts as signed for ever. Once the replacement is in a block he
is planned again by himself, from coins that descend from it, so that nothing that ever paid him can be mined too.
Where the operator keeps him back, he waits for another word: he would only be refused again, and lock up a coin.

The words are lines of the story, the last of them counts; nothing else remembers them. A replacement that was given up
before any signer saw it leaves nobody out. A recovery that replays one from the keys' journal cannot know whether the
operator kept back whom it leaves out: it keeps him back, until an operator says so again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from withdrawals.core.model import Event, Plan, Withdrawal
from withdrawals.core.types import BatchId, WithdrawalId
from withdrawals.errors import known
from withdrawals.ports import LedgerTx, LedgerView

LEFT_OUT: Final = "withdrawal.left_out"
LET_BACK_IN: Final = "withdrawal.let_back_in"


def note_left_out(
    tx: LedgerTx, withdrawals: Iterable[Withdrawal], *, plan: Plan, hold: bool, who: str, why: str, at: int
) -> None:
    """This plan, the newest of its batch, does not pay them; `hold`: nor does any other, until an operator says so."""
    data: dict[str, object] = {"hold": hold, "plan": plan.number}
    for withdrawal in withdrawals:
        tx.append_event(
            LEFT_OUT, at=at, who=who, why=why, withdrawal_id=withdrawal.id, batch_id=plan.batch_id, data=data
        )


def note_unpaid(tx: LedgerTx, withdrawal: Withdrawal, *, who: str, why: str, at: int) -> None:
    """No plan of his batch pays him, nor does anything else: he waits for an operator's word."""
    home, data = withdrawal.batch_id, {"hold": True}
    tx.append_event(LEFT_OUT, at=at, who=who, why=why, withdrawal_id=withdrawal.id, batch_id=home, data=data)


def let_back_in(
    tx: LedgerTx, withdrawals: Iterable[Withdrawal], *, batch_id: BatchId, who: str, why: str, at: int
) -> None:
    """An operator's word: these are planned again like everybody else."""
    for withdrawal in withdrawals:
        tx.append_event(LET_BACK_IN, at=at, who=who, why=why, withdrawal_id=withdrawal.id, batch_id=batch_id)


def load_kept_back(view: LedgerView, lineage: BatchId, withdrawals: Iterable[Withdrawal]) -> dict[WithdrawalId, Event]:
    """Those of these withdrawals of a lineage that wait for an operator's word, and how each was left out."""
    said: dict[WithdrawalId, Event] = {}
    for batch_id in view.list_lineage(lineage):
        batch = known(view.load_batch(batch_id), f"{batch_id}: a batch of a lineage exists")
        asked = {p.number for p in batch.plans if p.asked}
        for event in view.load_story(batch_id=batch_id):
            counts = event.kind == LET_BACK_IN or (event.kind == LEFT_OUT and event.data.get("plan") in {*asked, None})
            if counts and event.withdrawal_id is not None:
                before = said.get(event.withdrawal_id, event)
                said[event.withdrawal_id] = max(before, event, key=lambda e: e.seq)
    wanted = {w.id for w in withdrawals}
    return {w: e for w, e in said.items() if w in wanted and e.kind == LEFT_OUT and e.data.get("hold")}


def words_of_kept_back(kept: Collection[Event]) -> str:
    """Why nobody plans them, with the command."""
    how = "when a bump left it out" if any("plan" in e.data for e in kept) else "since nothing pays it"
    told = "; ".join(f"{e.request_id} by {e.who} ({e.why})" for e in sorted(kept, key=lambda e: e.seq))
    return (
        f"left_out: kept back {how}: {told}; `withdrawals approve-reissue REQUEST_ID --reason …` "
        f"lets it be planned again"
    )
