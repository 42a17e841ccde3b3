"""`batch-verdict`: a sound watcher of coins that judges a withdrawal by its latest attempt, and forgets earlier ones.

Whoever keeps one current transaction for a payment, and replaces it in the row when it is made anew, has built this:
wallets that batch and replace (P14: a reorg makes an older version win, and what came later pays again), and fee bumps
whose versions do not all exclude each other (P12). It knows what malleability is, and looks at coins and outputs.

It is careful otherwise. It sends the same bytes again whatever the node answers. It pays anew only where the chain
proves that its latest attempt is dead: somebody spent one of its coins and does not pay the customer, or somebody else
spent what that coin's own transaction had spent, so that the coin is gone. Then it builds on an output of that spender,
which no chain holds beside the attempt; if there is none, it waits until the spender is buried, and takes free coins.
Its one habit: what it proves, it proves of the latest attempt alone. That an earlier one may come back when the chain
turns, or that the spender may be that very payment in another encoding, it has no eyes for any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from regtest.controls.book import Attempt, Payment, State
from regtest.controls.shell import ControlProcessor
from regtest.controls.sight import Mined
from regtest.controls.watcher import Watcher
from regtest.processor import Site
from regtest.scenarios.model import BATCH_VERDICT

BURIED_DEPTH: Final = 6


def batch_verdict(site: Site) -> ControlProcessor:
    """The control on this site."""
    return ControlProcessor(site, BATCH_VERDICT, BatchVerdictClerk, "nobody: it works as ever")


class BatchVerdictClerk(Watcher):
    """Judges the latest attempt, and none before it."""

    def judge(self, payment: Payment, made: Sequence[Attempt]) -> None:
        """What the chain says of the coins of the latest attempt, and of the transactions that made these coins."""
        latest = made[-1]
        spenders = self.sight.spenders_of(latest.outpoints)
        paying = [mined for mined in spenders if mined.pays(payment)]
        displacers = spenders or self._displacers_of_parents(latest)
        if paying:
            self.confirm(payment, paying[0])
        elif displacers:
            self.displaced(payment, made, displacers[0])
        else:
            self.unseen(payment, made)

    def displaced(self, payment: Payment, made: Sequence[Attempt], mined: Mined) -> None:
        """The fatal step: a new attempt that excludes the latest one, and none of those before it."""
        super().displaced(payment, made, mined)
        in_use = self.book.coins_of(State.SENT, State.CONFIRMED)
        ours = [coin for coin in self.wallet.listunspent(1) if coin["txid"] == mined.txid]
        if ours or self.sight.height - mined.height + 1 >= BURIED_DEPTH:
            attempt = self.till.pay(payment, in_use=in_use, last=lambda coin: bool(coin["txid"] != mined.txid))
            self.begin(payment, attempt, made)

    def _displacers_of_parents(self, attempt: Attempt) -> list[Mined]:
        return [
            mined
            for parent, outpoint in attempt.parents
            for mined in self.sight.spenders_of([outpoint])
            if mined.txid != parent
        ]
