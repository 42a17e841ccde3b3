"""What three of the controls do alike, and soundly: they watch the coins that they spent, and whom the spender pays.

A withdrawal is paid when a block has a spender of one of its coins, under whatever txid, that pays its customer. If
none has, what was signed is sent again, the same bytes. If the spender pays somebody else, a person must look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from regtest.controls.book import Attempt, Payment, Power, State
from regtest.controls.clerk import Clerk, Place, log
from regtest.controls.sight import Mined, Sight
from regtest.controls.till import Till
from regtest.rpc import RpcError, RpcUnreachable

UNDER_WAY: Final = frozenset({State.SENT, State.CONFIRMED, State.FAILED, State.HELD})
UNPAID: Final = frozenset({State.PENDING, State.FAILED})


class Watcher(Clerk):
    """The sound half; a control's habit is what it overrides."""

    def __init__(self, place: Place, power: Power) -> None:
        super().__init__(place, power)
        self.sight = Sight(self.wallet, place.floor)
        self.till = Till(self.wallet, place)

    def wake(self) -> None:
        """What was written down is sent again in the next round: the same bytes do no harm."""

    def look(self) -> None:
        """See the chain as it is now."""
        self.sight.look()

    def advance(self, payment: Payment) -> None:
        """Pay what was never paid; otherwise see what became of it."""
        made = self.book.attempts(payment.request_id)
        if made:
            self.judge(payment, made)
        else:
            self.pay(payment, made)

    def pay(self, payment: Payment, made: Sequence[Attempt]) -> None:
        """Build, sign, write down, send."""
        in_use = self.book.coins_of(State.SENT, State.CONFIRMED, State.HELD)
        self.begin(payment, self.till.pay(payment, in_use=in_use), made)

    def begin(self, payment: Payment, attempt: Attempt, made: Sequence[Attempt]) -> None:
        """Write a signed transaction down, and send it, unless another worker was there first."""
        if self.book.add_attempt(payment.request_id, attempt, UNPAID | UNDER_WAY, len(made)):
            log.info("%s is sent to pay %s.", attempt.txid, payment.request_id)
            self.send(payment, attempt)

    def judge(self, payment: Payment, made: Sequence[Attempt]) -> None:
        """What the chain says of the coins of every attempt ever made for it."""
        spenders = self.sight.spenders_of(dict.fromkeys(o for attempt in made for o in attempt.outpoints))
        paying = [mined for mined in spenders if mined.pays(payment)]
        strangers = self.sight.spenders_of(made[-1].outpoints)
        if paying:
            self.confirm(payment, paying[0])
        elif strangers:
            self.displaced(payment, made, strangers[0])
        else:
            self.unseen(payment, made)

    def confirm(self, payment: Payment, mined: Mined) -> None:
        """It is paid, as far as this chain goes."""
        self.book.move(payment.request_id, UNDER_WAY, State.CONFIRMED, f"paid by {mined.txid}")

    def displaced(self, payment: Payment, made: Sequence[Attempt], mined: Mined) -> None:
        """Its coin went elsewhere."""
        del made
        self.book.move(payment.request_id, UNDER_WAY, State.HELD, f"{mined.txid} took its coin, and pays others")

    def unseen(self, payment: Payment, made: Sequence[Attempt]) -> None:
        """No block has anything of it: send the same bytes again."""
        self.book.move(payment.request_id, UNDER_WAY, State.SENT, f"sent as {made[-1].txid}")
        self.send(payment, made[-1])

    def send(self, payment: Payment, attempt: Attempt) -> None:
        """Send it. Whatever the node answers proves nothing about what becomes of it."""
        try:
            self.wallet.sendrawtransaction(attempt.raw.hex(), 0)
        except (RpcError, RpcUnreachable) as error:
            log.info("Sending %s for %s ended in: %s.", attempt.txid, payment.request_id, error)
        else:
            self.book.mark_taken(payment.request_id, attempt.txid)

    def bump(self, request_id: str) -> bool:
        """The same coins, a higher fee."""
        payment, made = self.book.payment(request_id), self.book.attempts(request_id)
        if payment.state is not State.SENT:
            return False
        attempt = self.till.raise_fee(payment, made[-1])
        if attempt is None or not self.book.add_attempt(request_id, attempt, {State.SENT}, len(made)):
            return False
        self.send(payment, attempt)
        return True
