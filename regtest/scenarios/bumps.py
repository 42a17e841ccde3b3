"""Stories about replacements: chains of them, twins of them, and the older version that wins after all."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Final

from regtest.faults import Answer
from regtest.funding import build_payment
from regtest.malleate import ids_of
from regtest.party import NotOffered
from regtest.processor import Bumps
from regtest.rpc import COIN_SATS, btc_of, sats_of
from regtest.scenarios.hands import fund_exactly, outpoints_of
from regtest.scenarios.model import CORE_WALLET, NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.stage import ANCHOR_DEPTH, OWED, SIGNED, Stage
from regtest.scenarios.twins import COIN, OWED_SATS

_BUMPS: Final = 2
_TARGET_BLOCKS: Final = 6
_TIGHT_VSIZE: Final = 150
"""A little more than a payment from one coin without change: what a coin has beside the payment pays for just that."""
_LITTLE_VSIZE: Final = 4 * _TIGHT_VSIZE
"""A coin that pays for itself in a bump, and for the bump."""
_LEAST_RATE: Final = 2
_FIRST_SATS: Final = COIN_SATS // 2
_LATER_SATS: Final = 2 * COIN_SATS
"""More than a coin, less than a coin and the change of the first payment: it takes both."""
_REFILL: Final = 3 * COIN_SATS


def bump_chain(stage: Stage) -> None:
    """Two bumps, each of which needs one more coin; then a miner takes the first version, and tries the others."""
    stage.party.needs(Bumps)
    rate = rate_from_now_on(stage)
    fund_exactly(stage, OWED_SATS + _TIGHT_VSIZE * rate, *[_LITTLE_VSIZE * rate] * _BUMPS, COIN)
    stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    stage.last_signed()
    for _ in range(_BUMPS):
        bump(stage)
    versions = stage.signed
    if not any(_needs_another_coin(older, newer) for older, newer in pairwise(versions)):
        raise NotOffered("a bump that needs one more coin")
    stage.network.mine_exactly([versions[0].hex()])
    stage.tell_txid("a miner takes the first", "of all versions,", versions[0])
    for number, version in enumerate(versions[1:], 2):
        refusal = stage.attacker.try_to_mine(version)
        words = "MINED TOO" if refusal is None else f"no block can hold it: {refusal}"
        stage.tell(f"and tries version {number}", words)
    stage.work()
    stage.ask()
    stage.complain()
    stage.mine_what_waits()
    stage.curtain()


def bumped_twins(stage: Stage) -> None:
    """The twin is the one in the mempool; it is bumped, the bump has a twin as well, and the first twin is mined."""
    stage.party.needs(Bumps)
    raw = stage.begin(OWED_SATS, COIN)
    twin = stage.twin_of(raw, "T09")
    stage.attacker.seat(twin)
    stage.tell_txid("a twin takes its place", "in the mempool:", twin)
    stage.work()
    bump(stage)
    bumped = stage.last_signed()
    if bumped != raw:
        second = stage.twin_of(bumped, "T09")
        stage.attacker.seat(second)
        stage.tell_txid("a twin of the bump", "takes its place, too:", second)
        bump(stage)
    stage.network.mine_exactly([twin.hex()])
    stage.tell_txid("a miner has the first twin", "still,", twin)
    stage.work()
    stage.ask()
    again = stage.party.bump(stage.customer.request_id)
    stage.expect("what a twin has paid is not bumped", holds=not again)
    stage.complain()
    stage.mine_what_waits()
    stage.curtain()


def older_version_wins(stage: Stage) -> None:
    """The newer version is mined and its change spent; a reorg has the older one, and then the newer one again."""
    stage.party.needs(Bumps)
    older = stage.begin(_FIRST_SATS, COIN)
    first = stage.customer
    bump(stage)
    newer = stage.last_signed()
    height = stage.network.height
    stage.network.mine_exactly([newer.hex()])
    stage.work()
    later = stage.owe(_LATER_SATS)
    stage.tell("a second one is owed", f"{btc_of(_LATER_SATS)} BTC")
    rides = stage.last_signed(later)
    stage.tell_txid("signed on the change", "of the newer version,", rides)
    refill, _ = build_payment(stage.network.miner, [(stage.party.processor.deposit_address(stage.coins[0]), _REFILL)])
    stage.network.reorg(1, transactions=[[refill], [older.hex()]])
    stage.tell_txid("the older version wins", "by a reorg:", older)
    stage.network.mine_empty(ANCHOR_DEPTH)
    stage.work()
    for customer in (first, later):
        stage.ask(customer)
        stage.complain(customer)
    stage.work()
    stage.mine_what_waits()
    undone = stage.network.height - height
    stage.turn_back(undone, [newer, bytes.fromhex(refill)], [rides])
    stage.tell("the chain turns back", f"{undone} blocks go, and both payments stand as they did at first")
    stage.work()
    stage.mine_what_waits()
    stage.curtain()


def rate_from_now_on(stage: Stage) -> int:
    """What the node would have a payment cost, in satoshis per virtual byte, which is its answer from now on.

    It learns from what it has seen, and might think otherwise by the time that the coins are buried.
    """
    guess = stage.network.rpc.estimatesmartfee(_TARGET_BLOCKS)
    rate = max(_LEAST_RATE, sats_of(guess.get("feerate", 0)) // 1_000)
    stage.line.on("estimatesmartfee", Answer({"feerate": Decimal(btc_of(1_000 * rate)), "blocks": _TARGET_BLOCKS}))
    return rate


def _needs_another_coin(older: bytes, newer: bytes) -> bool:
    return not set(outpoints_of(newer)) <= set(outpoints_of(older))


def bump(stage: Stage) -> None:
    """The processor raises the fee of what waits."""
    before = len(stage.signed)
    bumped = stage.party.bump(stage.customer.request_id) and len(stage.signed) > before
    stage.expect("what waits can be bumped", holds=bumped)
    if not bumped:
        stage.tell("a bump", "is refused")
        return
    stage.tell(SIGNED, f"a bump, {ids_of(stage.signed[-1]).txid}")


BUMP_CHAIN: Final = Scenario(
    name="bump-chain",
    title="Three versions, of which the first and last",
    covers=("P12",),
    moral="Every version keeps every coin of all before it, so any two of them exclude each other.",
    play=bump_chain,
    nobody_loses="Three bump from the change alone, and the node's wallet adds a coin only as it draws it.",
    sits_out=("*",),
    coins=("bech32",),
    proxied=True,
)

BUMPED_TWINS: Final = Scenario(
    name="bumped-twins",
    title="Re-encoded, then bumped, then both again",
    covers=("P13", "T09"),
    moral="A bump spends the coins of what it replaces, whatever that is called today.",
    play=bumped_twins,
    losers=(CORE_WALLET,),
    sits_out=(NAIVE_TXID,),
)

OLDER_VERSION: Final = Scenario(
    name="older-version",
    title="The older version wins, and takes a later one along",
    covers=("P14",),
    moral="Whose change is it? What rides on a replacement falls with it, and is built anew from what both share.",
    play=older_version_wins,
    losers=(CORE_WALLET, RESEND_ON_ERROR),
    sits_out=(NAIVE_TXID,),
    coins=("bech32",),
)
