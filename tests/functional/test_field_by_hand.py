"""An operator with the same keys in a wallet takes a coin from under a payment that is on its way (P15).

"I caused a double withdrawal today when manually fixing a transaction too large issue. The system would never allow
for it, but my manual mucking with the wallet caused it." So the system has to live with the mucking, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from regtest.malleate import ids_of
from regtest.network import Network
from tests.functional.test_foreign_spends import keys_in_hand, payment_to, spend
from tests.functional.world import COIN_SATS, FINAL_DEPTH, World
from withdrawals.core.types import OutPoint
from withdrawals.errors import BreakerOpen, NotAllowed
from withdrawals.signing.journal import read_journal

WHY: Final = "ticket 4711: it was too large"


@pytest.mark.covers("P15", "I1", "I4", "I6")
@pytest.mark.parametrize("deed", ["pays", "sweeps"])
def test_a_coin_taken_by_hand_from_under_a_live_batch(
    module_network: Network, make_world: Callable[..., World], tmp_path: Path, deed: str
) -> None:
    """Everything stops until he has said what it was. If he paid the customer, that was it; if not, one re-issue does.

    Undone by a reorg, the stored payment is mined after all, and neither his nor the re-issue can be beside it.
    """
    pays = deed == "pays"
    world = make_world(module_network)
    world.fund_hot_wallet(COIN_SATS, COIN_SATS, COIN_SATS)
    world.tick()
    world.request("one")
    world.tick()
    [original] = world.signed("one")
    [coin] = world.batch("one").plans[0].prevouts
    with keys_in_hand(world, tmp_path / "hand") as signer:
        by_hand = spend(world, signer, [coin], *([payment_to(world, "one")] if pays else []))
    world.rpc.sendrawtransaction(by_hand.raw.hex())
    assert world.mempool_txids() == {by_hand.txid}, "he paid more, so it replaced ours"

    # Nothing new is planned or signed, and the support desk cannot be talked into a payment.
    world.request("later")
    world.tick()
    assert world.breaker() == ["unexplained_mempool_spend"]
    assert world.state("later") == "queued"
    with pytest.raises(NotAllowed):
        world.processor.retry("one")
    with pytest.raises(BreakerOpen, match="nothing is cancelled"):
        world.processor.cancel("one", reason="it is being paid by hand")
    world.mine()
    assert world.breaker() == ["unexplained_mempool_spend", "unexplained_spend"]
    assert world.state("one") == ("confirmed" if pays else "broadcast")
    assert len(read_journal(world.journal_path)) == 1
    with pytest.raises(NotAllowed, match="unexplained"):
        world.processor.resume(reason="it was me")

    world.processor.reconcile(by_hand.txid, reason=WHY)
    world.processor.resume(reason=WHY)
    world.tick()
    with pytest.raises(NotAllowed):
        world.processor.cancel("one", reason="it was paid by hand")
    signed = world.signed("one")
    if pays:
        assert (signed, world.batch("one").generation) == ([original], 1)
    else:
        assert (signed[0], len(signed), world.batch("one").generation) == (original, 2, 2)
        assert world.batch("one").plans[0].prevouts >= {OutPoint(by_hand.txid, 0)}, "it rests on what he took"
    assert world.state("later") == "broadcast"
    world.mine()
    world.assert_paid_exactly_once()

    # Back to before he did it: a miner takes what was signed first.
    undone = 2
    later = world.signed("later")[-1]
    module_network.reorg(undone, transactions=[[original.hex()]])
    world.tick()
    assert world.payments("one")[0].txid == ids_of(original).txid
    assert world.signed("one") == signed
    world.mine(FINAL_DEPTH)
    assert ids_of(world.signed("later")[0]).txid == ids_of(later).txid
    world.assert_final_and_paid_once()
