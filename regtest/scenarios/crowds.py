"""A story about a mempool that has no room: others pay more, and what paid too little is crowded out of it."""

from __future__ import annotations

import contextlib
import math
from hashlib import sha256
from typing import Final

from regtest.funding import Funding, build_payment, compact_size
from regtest.malleate import ids_of
from regtest.network import Network
from regtest.rpc import RpcError, sats_of
from regtest.scenarios.hands import is_sent_again
from regtest.scenarios.model import CORE_WALLET, NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.stage import Stage
from regtest.scenarios.twins import COIN, LATER_COIN, OWED_SATS

_ROOM: Final = "-maxmempool=5"
"""Megabytes, the least that nodes allow."""
_CROWD_MAX: Final = 60
_OUTPUTS: Final = 2_900
"""Of one transaction of the crowd, which is then almost as large as nodes relay."""
_VSIZE: Final = 2_900 * 31 + 100
_OUTPUT_SATS: Final = 330
_ANYBODYS: Final = "0020" + sha256(b"\x51").hexdigest()
"""P2WSH of OP_TRUE: of the crowd nobody has to sign."""
_WITNESS: Final = "010151"
_P2WPKH: Final = "160014" + "00" * 20
_RATE_TIMES: Final = 3
"""How much more than the payment the crowd pays for each byte."""


def mempool_is_full(stage: Stage) -> None:
    """Everybody pays more: it is crowded out, and is refused when it is sent again; a miner with more room has it."""
    stage.fund(COIN)
    with stage.weather.forgetful(_ROOM):
        raw = stage.begin_work(OWED_SATS, stage.nobodys_address())
        # Other nodes have more room: what the crowd sends would stay with them, and slow every story after this one.
        stage.network.split()
        _crowd_out(stage.network, raw)
        there = stage.weather.holds(ids_of(raw).txid)
        answer = stage.weather.answer_to(raw)
        stage.tell("everybody pays more", f"it is {'STILL THERE' if there else 'crowded out'}; sent again: {answer}")
        stage.expect("it is crowded out, and there is no room for it", holds=not there and answer != "accepted")
        stage.deposits_come_in(LATER_COIN)
        stage.work()
        stage.ask()
        stage.complain()
        stage.work()
        stage.expect("what finds no room is not built anew", holds=stage.is_one_payment())
    stage.tell("the crowd is gone", "and there is room again")
    is_sent_again(stage, raw)
    stage.complain()
    stage.tell("somebody sends it", f"too, who kept it: {stage.weather.answer_to(raw)}")
    stage.network.mine_exactly([raw.hex()])
    stage.tell_txid("a miner with more room", "had it all along; mined as", raw)
    stage.work()
    stage.ask()
    stage.complain()
    stage.mine_what_waits()
    stage.curtain()


def _crowd_out(network: Network, raw: bytes) -> None:
    """Strangers pay more than this until it is in the mempool no longer, or nobody is left."""
    txid, rpc = ids_of(raw).txid, network.rpc
    entry = rpc.getmempoolentry(txid)
    fee_sats = math.ceil(_RATE_TIMES * sats_of(entry["fees"]["base"]) / int(entry["vsize"]) * _VSIZE)
    coin_sats = fee_sats + _OUTPUTS * _OUTPUT_SATS
    funding, coins = build_payment(network.miner, [(_ANYBODYS, coin_sats)] * _CROWD_MAX)
    network.mine_exactly([funding])
    outputs = compact_size(_OUTPUTS) + (_OUTPUT_SATS.to_bytes(8, "little").hex() + _P2WPKH) * _OUTPUTS
    for coin in coins:
        # What makes room for the last of them may be more than the payment: then he finds none himself.
        with contextlib.suppress(RpcError):
            rpc.sendrawtransaction(_spend(coin, outputs), 0)
        if txid not in rpc.getrawmempool():
            return


def _spend(coin: Funding, outputs: str) -> str:
    """In hex, and put together by hand: there is nothing to sign, and it has thousands of outputs."""
    outpoint = bytes.fromhex(coin.txid)[::-1].hex() + coin.vout.to_bytes(4, "little").hex()
    return f"02000000000101{outpoint}00ffffffff{outputs}{_WITNESS}00000000"


MEMPOOL_FULL: Final = Scenario(
    name="mempool-full",
    title="Crowded out of a full mempool",
    covers=("F11",),
    moral="No room now is not never. The same bytes fit later, and a miner with more room never lost them.",
    play=mempool_is_full,
    losers=(NAIVE_TXID, CORE_WALLET, RESEND_ON_ERROR),
    coins=("bech32",),
    restarts_nodes=True,
)
