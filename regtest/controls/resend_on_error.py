"""`resend-on-error`: a modern segwit desk that watches its coins well, and reads an error of the sending as a *no*.

Payout systems of the 2020s are built like this: "only segwit, so nothing can be malleated", and a state machine in
which a broadcast that fails puts the withdrawal back to be paid. The reply was lost, and the row became *errored* (P2);
a payout that did not re-broadcast was sent ten times (P5); reject reasons were mis-read (P6); money went back to the
balance on any error (P11); coins were released after a timeout, and the rebuild picked others (P17).

It is careful otherwise. It writes every transaction down before it sends it, looks in the chain for whoever spent its
coins, and takes any twin that pays the customer for the payment; it does so before it pays anew, too. Its one habit: a
timeout, a lost reply, a crash in the middle, or a refusal by the node's mempool, be it at the tenth sending, means to
it that the transaction was never sent. Then its coins are free and the withdrawal is unpaid, and other coins are tried
first, since with these it did not work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from regtest.controls.book import Attempt, Payment, State
from regtest.controls.shell import ControlProcessor
from regtest.controls.till import outpoint_of
from regtest.controls.watcher import UNDER_WAY, Watcher
from regtest.processor import Site
from regtest.rpc import RpcError, RpcUnreachable
from regtest.scenarios.model import RESEND_ON_ERROR

_RPC_VERIFY_ALREADY_IN_CHAIN: Final = -27


def resend_on_error(site: Site) -> ControlProcessor:
    """The control on this site."""
    return ControlProcessor(site, RESEND_ON_ERROR, ResendOnErrorClerk, "nobody: it works as ever")


class ResendOnErrorClerk(Watcher):
    """Takes an error of the sending for a proof that nothing was sent."""

    def wake(self) -> None:
        """What was written down and not answered for when the worker died was never sent, it thinks."""
        for payment in self.book.payments():
            made = self.book.attempts(payment.request_id)
            if made and not made[-1].was_taken:
                self._never_sent(payment, made[-1], "the worker died before the node had answered")

    def unseen(self, payment: Payment, made: Sequence[Attempt]) -> None:
        """Pay anew what failed; send again what did not."""
        if payment.state is State.FAILED:
            self.pay(payment, made)
        else:
            super().unseen(payment, made)

    def pay(self, payment: Payment, made: Sequence[Attempt]) -> None:
        """The fatal step, if it is not the first: from other coins, while what was sent before can still be mined."""
        in_use = self.book.coins_of(State.SENT, State.CONFIRMED, State.HELD)
        tried = self.book.coins_of()
        self.begin(payment, self.till.pay(payment, in_use=in_use, last=lambda c: outpoint_of(c) in tried), made)

    def send(self, payment: Payment, attempt: Attempt) -> None:
        """Send it, and believe the answer, even where there is none."""
        try:
            self.wallet.sendrawtransaction(attempt.raw.hex(), 0)
        except RpcUnreachable as silence:
            self._never_sent(payment, attempt, f"sending {attempt.txid} ended in an error: {silence.reason}")
        except RpcError as refusal:
            if refusal.code != _RPC_VERIFY_ALREADY_IN_CHAIN:
                self._never_sent(payment, attempt, f"the node refused {attempt.txid}: {refusal.message}")
        else:
            self.book.mark_taken(payment.request_id, attempt.txid)

    def _never_sent(self, payment: Payment, attempt: Attempt, reason: str) -> None:
        del attempt
        self.book.move(payment.request_id, UNDER_WAY, State.FAILED, reason)
