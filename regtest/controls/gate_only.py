"""`gate-only`: a sound watcher of coins, which after a restored backup asks the chain what it has forgotten.

This is the careful design of somebody who has read about malleability, and whose runbook for a lost disk says: put the
backup back, let the node synchronise, and see whether any of our coins was spent that the book cannot explain (P16 and
P17 are its kind: what no server shows is taken for not sent). Backups, a replica that takes over and lacks the last
second, and a copy of the book on another host all end here.

It is careful otherwise. It follows every coin that it ever spent and pays nothing anew, whatever the node answers; when
its book does not explain a spend of its coins, it looks whom that pays, writes it down where it is a withdrawal that
waits, and stops paying altogether where it is not, until somebody has looked. Its one habit: once all spends in the
chain are explained, it trusts that what its book does not know was never sent. A payment that waits in a mempool, or in
a miner's drawer, is no spend in the chain; so it is made again, from whatever coins are free.
"""

from __future__ import annotations

from collections.abc import Sequence

from regtest.controls.book import Attempt, Payment, Power, State
from regtest.controls.clerk import Place, log
from regtest.controls.shell import ControlProcessor
from regtest.controls.sight import Mined
from regtest.controls.watcher import Watcher
from regtest.processor import Site
from regtest.scenarios.model import GATE_ONLY


def gate_only(site: Site) -> ControlProcessor:
    """The control on this site."""
    recovery = "they wait for the gate: it opens once every spend of its coins in the chain is explained"
    return ControlProcessor(site, GATE_ONLY, GateOnlyClerk, recovery)


class GateOnlyClerk(Watcher):
    """Pays what its book calls unpaid, if the chain has no spend of its coins that the book cannot explain."""

    def __init__(self, place: Place, power: Power) -> None:
        super().__init__(place, power)
        self._unexplained: list[Mined] = []

    def look(self) -> None:
        """See the chain as it is now, and explain what its coins were spent for."""
        super().look()
        self._unexplained = [mined for mined in self._unknown_spends() if not self._explain(mined)]

    def pay(self, payment: Payment, made: Sequence[Attempt]) -> None:
        """Only while the gate is open."""
        current = self.book.payment(payment.request_id)
        if current.state is not State.PENDING:
            return  # a spend in the chain explained it in this very round
        if self._unexplained:
            log.warning("%s waits: %s is not explained.", payment.request_id, self._unexplained[0].txid)
            return
        super().pay(payment, made)

    def _unknown_spends(self) -> list[Mined]:
        """What the wallet calls a spend of its own in a block, and no attempt of the book's accounts for."""
        known = self.book.coins_of()
        since = self.wallet.getblockhash(self.place.floor)
        listed = self.wallet.listsinceblock(since)["transactions"]
        own = {entry["txid"] for entry in listed if entry["category"] == "send" and entry["confirmations"] > 0}
        return [m for m in self.sight.mined() if m.txid in own and known.isdisjoint(m.outpoints)]

    def _explain(self, mined: Mined) -> bool:
        """Whether it is the payment of a withdrawal that waits; then it is written down as one."""
        for payment in self.book.payments():
            if payment.state is State.PENDING and mined.pays(payment):
                attempt = Attempt(mined.txid, mined.raw, mined.outpoints, (), mined.height, was_taken=True)
                return self.book.add_attempt(payment.request_id, attempt, {State.PENDING}, 0)
        return False
