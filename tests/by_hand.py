"""What an operator does past the processor: with the same keys, from the same coins, and with a journal of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from withdrawals.core.model import PlannedInput, TxOut
from withdrawals.core.tx import unsigned_tx
from withdrawals.core.types import BatchId, OutPoint, RequestId
from withdrawals.ports import ApprovedPayment, Ledger, SigningOrder
from withdrawals.signing.hot import HotSigner


def sign_by_hand(signer: HotSigner, ledger: Ledger, coins: Iterable[OutPoint], outputs: Sequence[TxOut]) -> bytes:
    """A signed transaction that spends these coins of ours (spent on the followed chain or not) to these outputs."""
    with ledger.read() as view:
        found = view.load_coins(list(coins))
        inputs = tuple(PlannedInput(o, found[o].sats, found[o].own) for o in coins)
        change = [view.find_own_script(out.script) for out in outputs]
    paid = [(n, out) for n, out in enumerate(outputs) if change[n] is None]
    order = SigningOrder(
        batch_id=BatchId(f"b-{secrets.token_hex(12)}"),
        plan_number=1,
        unsigned=unsigned_tx([(i.outpoint, i.sequence) for i in inputs], outputs),
        inputs=inputs,
        payments=tuple(ApprovedPayment(RequestId(f"by-hand-{n}"), out.script, out.sats) for n, out in paid),
        journal_head=signer.journal_head,
        change=tuple(own for own in change if own is not None),
    )
    return signer.ask(order).raw
