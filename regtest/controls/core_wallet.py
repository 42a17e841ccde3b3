"""`core-wallet`: the usual backend, which pays by `sendtoaddress` and believes what the node's wallet says of a txid.

Most small exchanges and faucets, and the payout plugins of shops and mining pools, are built like this (P1, P5, P10 and
P16 are of its kind): the wallet chooses the coins, `gettransaction` is polled, and what it calls conflicted, or what is
in no mempool of ours, is abandoned and paid again by itself.

It is careful otherwise. It writes down that it is about to send, labels every payment with the request's id, and looks
for the label before it sends and after every doubt, so neither a lost reply nor a crash nor a restored book makes it
pay twice. It never pays again what is in the mempool, however long that takes. Its one habit: it holds a transaction of
its own for dead because the wallet shows it as conflicted or the node has dropped it, and lets the wallet pay again.

The wallet draws its coins by lot, and which it draws would decide whether a second payment can stand beside the first.
So it has a habit that honest operators have as well: before it pays it locks the wallet's coins that are shallower than
six blocks, and those of what it made for this payment before, since with them it did not work. Only if the wallet has
too little left does it unlock them again and let the wallet draw. Afterwards nothing is locked.
"""

from __future__ import annotations

from typing import Final

from regtest.controls.book import Attempt, Payment, State
from regtest.controls.clerk import Clerk, log
from regtest.controls.shell import ControlProcessor
from regtest.malleate.transaction import parse_transaction
from regtest.processor import CannotPlay, Signing, Site
from regtest.rpc import RpcError, RpcUnreachable, btc_of, sats_of
from regtest.scenarios.model import CORE_WALLET

PATIENCE_BLOCKS: Final = 6
"""After so many blocks without a confirmation it asks the wallet to abandon a payment."""
DEEP_BLOCKS: Final = 6
"""A coin that is shallower is spent only if there is no other."""
_TOO_LITTLE: Final = frozenset({-4, -6})
"""RPC_WALLET_ERROR and RPC_WALLET_INSUFFICIENT_FUNDS: nothing was signed."""
_LISTED_MAX: Final = 100_000
_TO_SEND: Final = frozenset({State.PENDING, State.FAILED})
_UNDER_WAY: Final = frozenset({State.SENT, State.CONFIRMED})


def core_wallet(site: Site) -> ControlProcessor:
    """The control on this site."""
    if site.signing is not Signing.SOUND:
        raise CannotPlay("the node's own wallet signs its payments, and does not pad")
    return ControlProcessor(site, CORE_WALLET, CoreWalletClerk, "nobody: it works as ever")


class CoreWalletClerk(Clerk):
    """Pays by `sendtoaddress`, and pays again what its wallet gives up."""

    _labels: frozenset[str] = frozenset()

    def wake(self) -> None:
        """What was being sent when the worker died may have been sent, and what it locked is locked still."""
        self.wallet.lockunspent(True)  # noqa: FBT003 - the RPC's own argument: unlock, and all of them
        for payment in self.book.payments():
            self.book.move(payment.request_id, {State.SENDING}, State.UNSURE, "the worker died while it sent")

    def look(self) -> None:
        """The labels of all payments that the wallet knows."""
        entries = self.wallet.listtransactions("*", _LISTED_MAX)
        self._labels = frozenset(e["comment"] for e in entries if e["category"] == "send" and "comment" in e)

    def advance(self, payment: Payment) -> None:
        """Send what waits, find out what is unsure, poll what was sent."""
        match payment.state:
            case State.PENDING | State.FAILED:
                self._pay(payment)
            case State.UNSURE:
                self._find_out(payment)
            case State.SENT | State.CONFIRMED:
                self._poll(payment)

    def raw_transactions(self, request_id: str) -> list[bytes]:
        """The wallet keeps the bytes, as it signed them; what the book does not have yet has the label."""
        txids = [attempt.txid for attempt in self.book.attempts(request_id)]
        if self.book.payment(request_id).state in {State.SENDING, State.UNSURE}:
            txids += self._unbooked(request_id)
        return [bytes.fromhex(self.wallet.gettransaction(txid)["hex"]) for txid in txids]

    def bump(self, request_id: str) -> bool:
        """`bumpfee`: the replacement spends what the replaced one spends. The next look at that one finds it."""
        payment, made = self.book.payment(request_id), self.book.attempts(request_id)
        if payment.state is not State.SENT:
            return False
        try:
            self.wallet.bumpfee(made[-1].txid)
        except RpcError as refusal:
            log.info("The wallet does not bump %s: %s.", made[-1].txid, refusal.message)
            return False
        except RpcUnreachable as silence:
            log.info("Nobody knows yet whether %s is bumped: %s.", made[-1].txid, silence.reason)
            return False
        self._poll(payment)
        return True

    # ------------------------------------------------------------------------------------------------------- its ways

    def _pay(self, payment: Payment) -> None:
        """Send, unless this is the first time for the book and not for the wallet, which knows the label."""
        if not self.book.move(payment.request_id, _TO_SEND, State.SENDING, "being sent"):
            return
        try:
            is_new = bool(self.book.attempts(payment.request_id)) or payment.request_id not in self._labels
            if is_new:
                self._send(payment)
        except RpcError as refusal:
            # The wallet says so before it signs anything.
            reason = f"the wallet cannot send it now: {refusal.message}"
            self.book.move(payment.request_id, {State.SENDING}, State.FAILED, reason)
        except RpcUnreachable as silence:
            self.book.move(payment.request_id, {State.SENDING}, State.UNSURE, f"no answer came: {silence.reason}")
        else:
            self.book.move(payment.request_id, {State.SENDING}, State.UNSURE, "the wallet has sent it")
            self._find_out(payment)

    def _send(self, payment: Payment) -> None:
        """Let the wallet pay from deep coins that were not tried yet, and only if these are too few from any."""
        spared = self._spared(payment)
        try:
            if spared:
                self.wallet.lockunspent(False, spared)  # noqa: FBT003 - the RPC's own argument: lock
            self._order(payment)
        except RpcError as refusal:
            if not spared or refusal.code not in _TOO_LITTLE:
                raise
            log.info("For %s the wallet needs coins that it would rather spare.", payment.request_id)
            self.wallet.lockunspent(True)  # noqa: FBT003 - as above
            self._order(payment)
        finally:
            self.wallet.lockunspent(True)  # noqa: FBT003 - as above

    def _order(self, payment: Payment) -> None:
        self.wallet.sendtoaddress(payment.address, btc_of(payment.sats), payment.request_id)

    def _spared(self, payment: Payment) -> list[dict[str, object]]:
        """The coins that it locks while it pays; none where the others are too few for it, so that it asks once."""
        tried = {outpoint for attempt in self.book.attempts(payment.request_id) for outpoint in attempt.outpoints}
        spared: list[dict[str, object]] = []
        left_sats = 0
        for coin in self.wallet.listunspent(0):
            if coin["confirmations"] < DEEP_BLOCKS or f"{coin['txid']}:{coin['vout']}" in tried:
                spared.append({"txid": coin["txid"], "vout": coin["vout"]})
            else:
                left_sats += sats_of(coin["amount"])
        return spared if left_sats > payment.sats else []

    def _find_out(self, payment: Payment) -> None:
        """Look for the label before anything is sent again."""
        made = self.book.attempts(payment.request_id)
        found = self._unbooked(payment.request_id)
        if found:
            self.book.add_attempt(payment.request_id, self._attempt(found[-1]), {State.UNSURE}, len(made))
        else:
            self.book.move(payment.request_id, {State.UNSURE}, State.PENDING, "the wallet has sent nothing of it")

    def _poll(self, payment: Payment) -> None:
        """Whichever of its transactions is in the chain has paid; of the last one the wallet says if it still can."""
        made = self.book.attempts(payment.request_id)
        seen = {attempt.txid: self.known("gettransaction", attempt.txid) for attempt in made}
        for txid, shown in seen.items():
            if shown is not None and shown["confirmations"] > 0:
                reason = f"transaction {txid} is confirmed"
                self.book.move(payment.request_id, _UNDER_WAY, State.CONFIRMED, reason)
                return
        last, shown = made[-1], seen[made[-1].txid]
        what = f"transaction {last.txid}"
        if shown is None:
            self._give_up(payment, last, f"{what} is not in the wallet")
        elif (successor := shown.get("replaced_by_txid")) is not None:
            self.book.add_attempt(payment.request_id, self._attempt(successor), _UNDER_WAY, len(made))
        elif shown["confirmations"] < 0:
            self._give_up(payment, last, f"{what} has {shown['confirmations']} confirmations")
        elif self.known("getmempoolentry", last.txid) is None:
            self._give_up(payment, last, f"{what} is not in the mempool")
        elif int(self.wallet.getblockcount()) - last.height >= PATIENCE_BLOCKS:
            self._give_up(payment, last, f"{what} is not confirmed after {PATIENCE_BLOCKS} blocks", if_abandoned=True)
        else:
            self.book.move(payment.request_id, _UNDER_WAY, State.SENT, f"{what} waits in the mempool")

    def _give_up(self, payment: Payment, last: Attempt, reason: str, *, if_abandoned: bool = False) -> None:
        """The fatal step: a new payment from other coins, while the old one can still be mined, or has been."""
        try:
            self.wallet.abandontransaction(last.txid)
        except RpcError as refusal:
            # The wallet refuses what is in the mempool, and what it calls conflicted or never heard of.
            log.info("The wallet does not abandon %s: %s.", last.txid, refusal.message)
            if if_abandoned:
                return
        if self.book.move(payment.request_id, _UNDER_WAY, State.FAILED, reason):
            log.info("%s is paid again: %s.", payment.request_id, reason)
            self._pay(payment)

    # ------------------------------------------------------------------------------------------------------ the wallet

    def _unbooked(self, request_id: str) -> list[str]:
        """The wallet's payments with this label that the book does not have, oldest first, replaced ones aside."""
        booked = {attempt.txid for attempt in self.book.attempts(request_id)}
        return [
            str(entry["txid"])
            for entry in self.wallet.listtransactions("*", _LISTED_MAX)
            if entry["category"] == "send"
            and entry.get("comment") == request_id
            and entry["txid"] not in booked
            and "replaced_by_txid" not in entry
        ]

    def _attempt(self, txid: str) -> Attempt:
        raw = bytes.fromhex(self.wallet.gettransaction(txid)["hex"])
        outpoints = tuple(f"{i.prevout.hash[::-1].hex()}:{i.prevout.n}" for i in parse_transaction(raw).vin)
        return Attempt(txid, raw, outpoints, (), int(self.wallet.getblockcount()), was_taken=True)
