"""Stories about coins that went elsewhere: what was displaced comes back, twice over, and beside its successor."""

from __future__ import annotations

from typing import Final

from regtest.funding import build_payment
from regtest.malleate import fetch_prevouts, ids_of
from regtest.processor import LeavesOut, ShowsTransactions
from regtest.record import Role
from regtest.rpc import COIN_SATS, btc_of
from regtest.scenarios.hands import (
    befall_sending,
    by_hand,
    fund_exactly,
    outpoints_of,
    refill_beside,
    refusal,
)
from regtest.scenarios.model import BATCH_VERDICT, CORE_WALLET, NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.stage import ANCHOR_DEPTH, OWED, SIGNED, Stage
from regtest.scenarios.twins import COIN, OWED_SATS

_TIGHT_SATS: Final = OWED_SATS + 9_000
"""A coin that pays, whatever the node has come to think of fees, and does not any more when somebody has moved it."""
_REFILL: Final = 3 * COIN_SATS
_TAKEN_BACK_FEE_SATS: Final = 20_000
_POISON_SATS: Final = 1_000


def two_displacers(stage: Stage) -> None:
    """One foreign spend displaces the first try; after a reorg another displaces the second; then the first is mined.

    Whoever only looks at what displaced the last try builds a third one that the first can be mined beside.
    """
    fund_exactly(stage, _TIGHT_SATS)
    stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    first = stage.last_signed()
    stage.tell_txid(SIGNED, "txid", first)
    refill_beside(stage, COIN, COIN)
    moved = stage.owner_moves(first)
    _it_is_looked_into(stage, moved)
    second = stage.last_signed()
    others = [coin for coin in outpoints_of(second) if not coin.startswith(ids_of(moved).txid)]
    if second != first and others:
        stage.tell_txid("paid anew", "with one more coin:", second)
        again = by_hand(stage, others)
        stage.network.reorg(1, transactions=[[again.hex()]])
        stage.tell_txid("a reorg", "undoes that move, and the owner has moved the other coin instead:", again)
        _it_is_looked_into(stage, again)
    else:
        stage.network.reorg(1, transactions=[])
        stage.tell("a reorg", "undoes that move")
        stage.work()
    if ids_of(first).txid in stage.network.rpc.getrawmempool() or not stage.paid_sats:
        stage.network.mine_exactly([first.hex()])
        stage.tell_txid("a miner takes the first", "that was ever signed:", first)
    stage.work()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def cancelled_and_paid(stage: Stage) -> None:
    """The coin is gone, so the exchange gives the money back; a reorg brings the coin back, and with it the payment."""
    raw = stage.begin(OWED_SATS, COIN)
    moved = stage.owner_moves(raw)
    stage.work()
    stage.ask()
    stage.cancel()
    stage.explain(moved)
    stage.cancel()
    stage.work()
    stage.network.reorg(1, transactions=[[raw.hex()]])
    stage.tell_txid("a reorg", "undoes the move, and mines what was signed first:", raw)
    stage.others_send_again()
    stage.work()
    stage.ask()
    stage.mine_what_waits()
    stage.curtain()


def equal_outputs(stage: Stage) -> None:
    """Two are owed the same sum at one address; somebody spends the coins of both and pays it once."""
    stage.fund(COIN)
    stage.fund(COIN)
    first = stage.owe(OWED_SATS)
    stage.last_signed(first)
    second = stage.owe(OWED_SATS, first.address)
    stage.work()
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC to each of two, at the same address")
    made = [stage.last_signed(customer) for customer in (first, second)]
    txids = {ids_of(raw).txid for raw in made}
    coins = dict.fromkeys(coin for raw in made for coin in outpoints_of(raw) if coin.partition(":")[0] not in txids)
    rescue = by_hand(stage, list(coins), (first.address, OWED_SATS))
    stage.network.mine_exactly([rescue.hex()])
    stage.tell_txid("an operator pays one of them", "with the coins of both:", rescue)
    stage.work()
    for customer in (first, second):
        stage.ask(customer)
    stage.explain(rescue)
    stage.work()
    stage.mine_what_waits()
    for customer in (first, second):
        stage.ask(customer)
        stage.complain(customer)
    stage.mine_what_waits()
    stage.curtain()


def lone_deposit(stage: Stage) -> None:
    """All that the wallet has is a deposit of one block; the depositor takes it back, and later it is there again."""
    miner, address = stage.network.miner, stage.party.processor.deposit_address(stage.coins[0])
    deposit, _ = build_payment(miner, [(address, COIN)])
    coins = [{"txid": c.partition(":")[0], "vout": int(c.partition(":")[2])} for c in _outpoints(deposit)]
    sats = sum(p.sats for p in fetch_prevouts(stage.network.rpc, bytes.fromhex(deposit))) - _TAKEN_BACK_FEE_SATS
    unsigned = miner.createrawtransaction(coins, [{str(miner.getnewaddress()): btc_of(sats)}])
    taken_back = str(miner.signrawtransactionwithwallet(unsigned)["hex"])
    miner.lockunspent(False, coins)  # noqa: FBT003 - the node's parameter: lock them, so that the refill takes others
    refill, _ = build_payment(miner, [(stage.party.processor.deposit_address(stage.coins[0]), _REFILL)])
    stage.exhibit(Role.FUNDING, bytes.fromhex(deposit), "deposit")
    stage.exhibit(Role.FOREIGN, bytes.fromhex(taken_back), "taken back")
    height = stage.network.height
    stage.network.mine_exactly([deposit])
    stage.work()
    stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC; all there is is a deposit, one block deep")
    stage.work()
    lost = stage.signed
    stage.tell(SIGNED, "nothing: a coin of somebody else's making may be unmade" if not lost else ids_of(lost[-1]).txid)
    stage.expect("nothing is built on a shallow deposit alone", holds=not lost)
    stage.network.reorg(1, transactions=[[refill], [taken_back]])
    stage.network.mine_empty(ANCHOR_DEPTH)
    stage.tell("the depositor takes it back", "by a reorg; a refill of our own comes in")
    stage.work()
    stage.ask()
    stage.complain()
    stage.work()
    stage.mine_what_waits()
    undone = stage.network.height - height
    stage.turn_back(undone, [bytes.fromhex(deposit), bytes.fromhex(refill)], lost)
    stage.tell("the chain turns back", f"{undone} blocks go, and the deposit is there after all")
    stage.work()
    stage.mine_what_waits()
    stage.curtain()


def poisoned_batch(stage: Stage) -> None:
    """No node relays it for one customer's sake, who is left out; then a miner takes the first version after all."""
    stage.party.needs(LeavesOut)
    stage.party.needs(ShowsTransactions)
    stage.fund(COIN)
    stage.fund(COIN)
    befall_sending(stage, refusal(-26, "dust", taken=False))
    one, poison = stage.owe(OWED_SATS // 2), stage.owe(_POISON_SATS)
    stage.tell(OWED, f"{btc_of(one.sats)} BTC, and {btc_of(poison.sats)} BTC to another")
    full = stage.last_signed(poison)
    stage.tell_txid(SIGNED, "for both, and no node takes it:", full)
    stage.line.clear()
    left_out = stage.party.leave_out(poison.request_id)
    stage.expect("one can be left out of a payment", holds=left_out)
    stage.tell_txid("he is left out", "of a replacement:", stage.last_signed(one))
    stage.network.mine()
    stage.work()
    stage.ask(one)
    stage.ask(poison)
    stage.network.reorg(1, transactions=[[full.hex()]])
    stage.tell_txid("a miner takes the first version", "by a reorg:", full)
    stage.work()
    for customer in (one, poison):
        stage.ask(customer)
        stage.complain(customer)
    stage.mine_what_waits()
    stage.curtain()


def _it_is_looked_into(stage: Stage, foreign: bytes) -> None:
    """The processor sees it, the customer complains, an operator says what it was, and work goes on."""
    stage.work()
    stage.ask()
    stage.complain()
    stage.explain(foreign)
    stage.work()


def _outpoints(raw_hex: str) -> list[str]:
    return outpoints_of(bytes.fromhex(raw_hex))


TWO_DISPLACERS: Final = Scenario(
    name="two-displacers",
    title="A different spend displaces each try",
    covers=("CE2", "I1"),
    moral="A new try must exclude every old one, not only the one that was displaced last.",
    play=two_displacers,
    losers=(NAIVE_TXID, CORE_WALLET, BATCH_VERDICT),
)

CANCELLED_AND_PAID: Final = Scenario(
    name="cancelled-and-paid",
    title="Cancelled, refunded, and paid by a reorg",
    covers=("CE6", "P17"),
    moral="Mt.Gox's sixth step, without the attacker. What was signed once can be taken back by nobody.",
    play=cancelled_and_paid,
    losers=(NAIVE_TXID, CORE_WALLET, BATCH_VERDICT),
)

EQUAL_OUTPUTS: Final = Scenario(
    name="equal-outputs",
    title="Two equal debts, and one output that could be either",
    covers=("CE7", "I11"),
    moral="One output settles one debt. The other is still owed, and is paid once.",
    play=equal_outputs,
    losers=(NAIVE_TXID, CORE_WALLET),
)

LONE_DEPOSIT: Final = Scenario(
    name="lone-deposit",
    title="A deposit of one block is all there is",
    covers=("CE15", "I13"),
    moral="A coin that another can unmake is no ground to build on, unless one of ours stands beside it.",
    play=lone_deposit,
    losers=(NAIVE_TXID, CORE_WALLET, RESEND_ON_ERROR, BATCH_VERDICT),
    coins=("bech32",),
)

POISONED_BATCH: Final = Scenario(
    name="poisoned-batch",
    title="Nobody relays it, for one customer's sake",
    covers=("CE19", "I7"),
    moral="Whoever is left out is paid from what the replacement left, and so never beside the first version.",
    play=poisoned_batch,
    nobody_loses="Each of them pays one customer at a time, so none is kept back for another's sake.",
    sits_out=("*",),
    coins=("bech32",),
    proxied=True,
)
