"""What stories do to a processor and its node beside the plain verbs of the stage: holds, deaths, lost memories."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from embit.ec import PrivateKey
from embit.networks import NETWORKS

from regtest.faults import AnswerError, Fault, Hold, Rewrite
from regtest.funding import build_payment
from regtest.malleate import fetch_prevouts, ids_of
from regtest.malleate.transaction import parse_transaction
from regtest.party import NotOffered
from regtest.record import Role
from regtest.rpc import Json, btc_of
from regtest.scenarios.stage import ANCHOR_DEPTH, SIGNING_ROUNDS, Stage
from regtest.waiting import wait_for

SENDING: Final = ("sendrawtransaction", "submitpackage", "sendtoaddress", "sendmany", "send", "sendall", "bumpfee")
"""The calls by which a processor pays: what befalls its sending must befall whichever of them it uses."""
HOLD_S: Final = 90.0
_REACH_S: Final = 60.0
_BY_HAND_FEE_SATS: Final = 10_000
_LEFT_OVER_MIN_SATS: Final = 1_000


def befall_sending(stage: Stage, fault: Fault, *, times: int | None = None) -> None:
    """From now on this befalls what it sends, by whichever call."""
    for method in SENDING:
        stage.line.on(method, fault, times=times)


def sendings(stage: Stage) -> int:
    """How often it has tried to send something."""
    return sum(stage.line.calls(method) for method in SENDING)


def require_sendings(stage: Stage, *methods: str) -> None:
    """Raise `NotOffered` where none of these calls (by default: by which anybody pays) came by to be tampered with."""
    if not any(stage.line.calls(method) for method in methods or SENDING):
        raise NotOffered(f"{', '.join(methods) or 'a call by which it pays'}: nobody on the line has seen one")


def refusal(code: int, words: str, *, taken: bool) -> Fault:
    """The node refuses, in these words; or it has `taken` what was sent, and only its answer says so."""
    if not taken:
        return AnswerError(code, words)

    def change(reply: Json) -> Json:
        return {**reply, "result": None, "error": {"code": code, "message": words}}

    return Rewrite(change)


@contextmanager
def meanwhile(stage: Stage, hold: Hold, *, dies: bool = False) -> Iterator[bool]:
    """A round of work on a thread of its own, which gets as far as the hold; in the block other things happen.

    Yields whether it came so far. At the end of the block it goes on. One that `dies` may end in whatever error.
    """
    ended: list[BaseException] = []

    def run() -> None:
        try:
            stage.party.processor.tick()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread of the story
            ended.append(error)

    working = threading.Thread(target=run, name="a-round-under-way", daemon=True)
    began = time.monotonic()
    working.start()
    try:
        wait_for(lambda: hold.reached.is_set() or not working.is_alive(), "the round to get so far", _REACH_S)
        if not ended:
            require_sendings(stage)
        yield hold.reached.is_set()
        # Whoever answers one thing at a time has waited for the hold to end by itself, and all of it came after.
        if time.monotonic() - began >= hold.timeout_s:
            raise NotOffered("answers while a round of work is under way")
    finally:
        hold.release.set()
        working.join(HOLD_S)
    if working.is_alive():
        raise TimeoutError(f"a round of work is not over after {HOLD_S:g} seconds")
    if ended and not dies:
        raise ended[0]


def others_work(stage: Stage) -> None:
    """Other workers than the one that hangs do a round: a second set, if it can have one."""
    try:
        stage.party.tick_twice()
    except NotOffered:
        stage.work()


def fund_exactly(stage: Stage, *coin_sats: int) -> None:
    """Give the wallet these coins and no others, of the story's first kind, and bury them."""
    address = stage.party.processor.deposit_address
    stage.network.fund_many([(address(stage.coins[0]), sats) for sats in coin_sats], confirmations=ANCHOR_DEPTH)


def die_and_rise(stage: Stage, hold: Hold) -> None:
    """Killed while it is at the hold, it is brought up again."""
    with meanwhile(stage, hold, dies=True) as reached:
        stage.party.kill()
        stage.tell("the power is cut", "while it sends" if reached else "while it does nothing")
    stage.party.processor.start()


def is_waiting(stage: Stage, raw: bytes) -> bool:
    """Whether the node's mempool holds it."""
    return ids_of(raw).txid in stage.network.rpc.getrawmempool()


def is_sent_again(stage: Stage, raw: bytes) -> None:
    """Some rounds of work, after which the node should have the very same bytes once more, or the same for more."""
    until(SIGNING_ROUNDS, lambda: is_waiting(stage, raw), stage.work)
    back = is_waiting(stage, raw)
    raised = not back and stage.is_one_payment() and any(is_waiting(stage, each) for each in stage.signed)
    words = "the same coins are sent for a higher fee" if raised else "nothing is sent"
    stage.tell("a moment later", "the very same bytes are sent again" if back else words)
    stage.expect("the same bytes are sent again", holds=back or raised)


def outpoints_of(raw: bytes) -> list[str]:
    """What a transaction spends, as `txid:vout`, in its order."""
    return [f"{i.prevout.hash[::-1].hex()}:{i.prevout.n}" for i in parse_transaction(raw).vin]


def by_hand(stage: Stage, coins: Sequence[str], *paying: tuple[str, int]) -> bytes:
    """A spend of these coins (`txid:vout`) with the owner's keys, to (address, satoshis) pairs; the rest stays his."""
    rpc, fee = stage.network.rpc, _BY_HAND_FEE_SATS
    inputs = [{"txid": txid, "vout": int(vout)} for txid, _, vout in (coin.partition(":") for coin in coins)]
    prevouts = fetch_prevouts(rpc, bytes.fromhex(rpc.createrawtransaction(inputs, [])))
    left = sum(prevout.sats for prevout in prevouts) - sum(sats for _, sats in paying) - fee
    outputs = [{address: btc_of(sats)} for address, sats in paying]
    if left >= _LEFT_OVER_MIN_SATS:
        outputs.append({stage.party.processor.deposit_address(stage.coins[0]): btc_of(left)})
    keys = [PrivateKey(secret).wif(NETWORKS["regtest"]) for secret in stage.party.owner_keys(prevouts)]
    signed = rpc.signrawtransactionwithkey(rpc.createrawtransaction(inputs, outputs), keys)
    raw = bytes.fromhex(signed["hex"])
    stage.exhibit(Role.FOREIGN, raw, "signed by hand")
    return raw


def refill_beside(stage: Stage, *coin_sats: int) -> bytes:
    """More coins for the wallet, buried by blocks that leave alone what waits in the mempool; the payment of them."""
    addresses = [stage.party.processor.deposit_address(stage.coins[0]) for _ in coin_sats]
    raw, _ = build_payment(stage.network.miner, list(zip(addresses, coin_sats, strict=True)))
    stage.network.mine_exactly([raw])
    stage.network.mine_empty(ANCHOR_DEPTH - 1)
    return bytes.fromhex(raw)


def until(rounds: int, is_done: Callable[[], bool], work: Callable[[], None]) -> bool:
    """At most so many rounds of work, until it is done; whether it is."""
    for _ in range(rounds):
        if is_done():
            return True
        work()
    return is_done()
