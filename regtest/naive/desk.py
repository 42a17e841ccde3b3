"""What the naive desk does: pay, look its own txid up, and pay again when it does not find it."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from regtest.malleate import MALLEATORS, fetch_prevouts, ids_of
from regtest.naive.book import Book, Payment, Send, State
from regtest.processor import SupportAnswer
from regtest.rpc import Json, Rpc, RpcError, RpcUnreachable, btc_of, sats_of

log = logging.getLogger("regtest.naive")

_RPC_INVALID_ADDRESS_OR_KEY: Final = -5
_DUST_SATS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Habits:
    """How this desk works; the defaults are those of 2014, but for the signer."""

    change_kind: str = "legacy"
    """Bitcoin Core's address type for its change."""
    fee_sats: int = 5_000
    signs_padded: bool = False
    """Whether its signer puts a needless zero byte in front of R, as that of Mt.Gox did."""
    automatic_retry: bool = False
    """Whether a failed withdrawal is paid again in the next round, without anybody complaining."""
    patience_blocks: int = 6
    """After how many blocks without a confirmation a payment counts as failed."""


OF_2014: Final = Habits()


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """Where the desk works and how; plain values, so that they can travel in a job."""

    rpc_port: int
    cookie_path: str
    wallet: str
    book_path: str
    habits: Habits

    @classmethod
    def of_job(cls, values: Json) -> Self:
        """What `for_job` made."""
        return cls(**{**values, "habits": Habits(**values["habits"])})

    def for_job(self) -> Json:
        """As JSON can carry them."""
        return asdict(self)


class NotEnoughCoins(Exception):
    """The hot wallet cannot pay this now."""


class Desk:
    """The desk at work. Its RPC interface may lead through a proxy; it trusts whatever it is told there."""

    def __init__(self, settings: DeskSettings) -> None:
        self.habits = settings.habits
        self.book = Book(Path(settings.book_path))
        self.wallet = Rpc(settings.rpc_port, Path(settings.cookie_path), wallet=settings.wallet)

    def work(self) -> None:
        """One round over all withdrawals, in the order they came."""
        for payment in self.book.payments():
            try:
                self._advance(payment)
            except (RpcUnreachable, NotEnoughCoins) as error:
                # Nothing was sent: `pay` deals with what can go wrong from there on.
                log.warning("The naive desk puts %s off: %s.", payment.request_id, error)

    def support_retry(self, request_id: str) -> SupportAnswer:
        """A customer complains: look our txid up, and pay again if it is nowhere to be seen."""
        payment = self.book.payment(request_id)
        if payment.state is State.SENT:
            self.look_up(payment)
            payment = self.book.payment(request_id)
        match payment.state:
            case State.CONFIRMED:
                return SupportAnswer(paid_again=False, words=f"Your withdrawal is in the chain: {payment.reason}.")
            case State.PENDING | State.SENT | State.CANCELLED:
                return SupportAnswer(paid_again=False, words=f"Please be patient: {payment.reason}.")
            case State.FAILED:
                try:
                    self.pay_again(payment)
                except NotEnoughCoins as lack:
                    return SupportAnswer(paid_again=False, words=f"Please be patient: {payment.reason}; {lack}.")
                words = f"We are sorry: {payment.reason}. It was sent again."
                return SupportAnswer(paid_again=True, words=words)

    def pay(self, payment: Payment) -> None:
        """Build, sign, write down, send. An error or a lost reply to the sending means to the desk: not sent."""
        send = self._sign(payment)
        self.book.add_send(payment.request_id, send)
        log.info("The naive desk sends %s to pay %s.", send.txid, payment.request_id)
        try:
            self.wallet.sendrawtransaction(send.raw.hex(), 0)
        except RpcError as error:
            self.book.mark(payment.request_id, State.FAILED, f"the node refused to send it: {error.message}")
        except RpcUnreachable as error:
            self.book.mark(payment.request_id, State.FAILED, f"sending it ended in an error: {error.reason}")

    def look_up(self, payment: Payment) -> None:
        """Ask the wallet for the last txid. What it does not know, or calls conflicted, was not paid, says the desk."""
        last = self.book.sends(payment.request_id)[-1]
        confirmations = self._confirmations_of(last.txid)
        if confirmations is None:
            self.book.mark(payment.request_id, State.FAILED, f"transaction {last.txid} was not found")
        elif confirmations < 0:
            reason = f"transaction {last.txid} has {confirmations} confirmations"
            self.book.mark(payment.request_id, State.FAILED, reason)
        elif confirmations > 0:
            self.book.mark(payment.request_id, State.CONFIRMED, f"transaction {last.txid} is confirmed")
        elif not self._is_in_mempool(last.txid):
            self.book.mark(payment.request_id, State.FAILED, f"the network does not know transaction {last.txid}")
        elif self.wallet.getblockcount() - last.height >= self.habits.patience_blocks:
            reason = f"transaction {last.txid} is not confirmed after {self.habits.patience_blocks} blocks"
            self.book.mark(payment.request_id, State.FAILED, reason)

    def pay_again(self, payment: Payment) -> None:
        """The fatal step: a new transaction from other coins, while the old one can still be mined, or has been."""
        for send in self.book.sends(payment.request_id):
            try:
                self.wallet.abandontransaction(send.txid)
                log.info("The naive desk abandons %s.", send.txid)
            except RpcError as error:
                # The wallet refuses what is in the mempool or a block, or what it never heard of; the desk goes on.
                log.info("The wallet does not abandon %s: %s.", send.txid, error.message)
        self.pay(payment)

    def _advance(self, payment: Payment) -> None:
        match payment.state:
            case State.PENDING:
                self.pay(payment)
            case State.SENT:
                self.look_up(payment)
            case State.FAILED if self.habits.automatic_retry:
                self.pay_again(payment)

    # ----------------------------------------------------------------------------------------------------- transactions

    def _sign(self, payment: Payment) -> Send:
        coins, change_sats = self._choose_coins(payment.sats + self.habits.fee_sats)
        inputs = [{"txid": coin["txid"], "vout": coin["vout"]} for coin in coins]
        outputs = [{payment.address: btc_of(payment.sats)}]
        if change_sats >= _DUST_SATS:
            outputs.append({self.wallet.getrawchangeaddress(self.habits.change_kind): btc_of(change_sats)})
        unsigned = self.wallet.createrawtransaction(inputs, outputs)
        signed = self.wallet.signrawtransactionwithwallet(unsigned)
        raw = bytes.fromhex(signed["hex"])
        if self.habits.signs_padded:
            raw = MALLEATORS["T03a"].malleate(raw, fetch_prevouts(self.wallet, raw))
        outpoints = tuple(f"{coin['txid']}:{coin['vout']}" for coin in coins)
        return Send(ids_of(raw).txid, raw, outpoints, int(self.wallet.getblockcount()))

    def _choose_coins(self, needed_sats: int) -> tuple[list[Json], int]:
        """Confirmed coins, oldest first, until they suffice, and what is left over.

        Coins that an earlier attempt was made with come last: it did not work with them.
        """
        tried = self.book.spent_outpoints()
        coins = self.wallet.listunspent(1)
        coins.sort(key=lambda coin: (f"{coin['txid']}:{coin['vout']}" in tried, -coin["confirmations"], coin["txid"]))
        chosen: list[Json] = []
        missing_sats = needed_sats
        for coin in coins:
            if missing_sats <= 0:
                break
            chosen.append(coin)
            missing_sats -= sats_of(coin["amount"])
        if missing_sats > 0:
            raise NotEnoughCoins(f"{missing_sats} sats are missing")
        return chosen, -missing_sats

    def _confirmations_of(self, txid: str) -> int | None:
        try:
            return int(self.wallet.gettransaction(txid)["confirmations"])
        except RpcError as error:
            if error.code == _RPC_INVALID_ADDRESS_OR_KEY:
                return None
            raise

    def _is_in_mempool(self, txid: str) -> bool:
        try:
            self.wallet.getmempoolentry(txid)
        except RpcError as error:
            if error.code == _RPC_INVALID_ADDRESS_OR_KEY:
                return False
            raise
        return True
