"""Stories about "not now": a payment that a lower tip forbids, and chains that are too long for a mempool."""

from __future__ import annotations

from typing import Final

from regtest.funding import build_payment, script_of
from regtest.malleate import ids_of
from regtest.rpc import COIN_SATS, btc_of
from regtest.scenarios.model import CORE_WALLET, NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.owner import strangers_chain, strangers_coin
from regtest.scenarios.stage import ANCHOR_DEPTH, OWED, SIGNED, Stage
from regtest.scenarios.twins import COIN

_DEPOSIT: Final = 3 * COIN_SATS
_OWED_SATS: Final = 2 * COIN_SATS
_REFILL: Final = 250_000_000
_BELOW: Final = 2
"""How far the new tip is below the deposit's block, so that its lock time is ahead again."""
_CATCH_UP: Final = 9
_CHANGE_CHAIN_MAX: Final = 3
_ON_ONE_CHAIN: Final = 5
_SMALL_SATS: Final = 10_000_000


def lower_tip(stage: Stage) -> None:
    """A depositor's wallet sets lock times against fee sniping; a reorg to a lower tip forbids what was buried."""
    network, weather = stage.network, stage.weather
    network.mine_empty(_BELOW)
    deposit = _locked_payment(stage, _DEPOSIT)
    network.rpc.sendrawtransaction(deposit.hex())
    network.mine(ANCHOR_DEPTH)
    raw = stage.begin_work(_OWED_SATS)
    network.reorg(ANCHOR_DEPTH + _BELOW, new_blocks=0)
    _refill(stage)
    stage.tell("a lower tip", f"the deposit: {weather.answer_to(deposit)}; the payment: {weather.answer_to(raw)}")
    stage.work()
    stage.ask()
    stage.complain()
    stage.work()
    stage.expect("what a lower tip forbids is not built anew", holds=stage.is_one_payment())
    network.mine(_CATCH_UP)
    weather.send_again(deposit, raw)
    back = weather.holds(ids_of(raw).txid)
    stage.tell("the chain catches up", f"whoever saw both sends them again; {'they are' if back else 'NOT'} taken")
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def _locked_payment(stage: Stage, sats: int) -> bytes:
    """A deposit that no block may have before the next one."""
    address = stage.party.processor.deposit_address(stage.coins[0])
    raw, _ = build_payment(stage.network.miner, [(address, sats)], lock_time=stage.network.height)
    return bytes.fromhex(raw)


def _refill(stage: Stage) -> None:
    """A coin that was never undone, for whoever wants to pay from another one."""
    address = stage.party.processor.deposit_address(stage.coins[0])
    refill, _ = build_payment(stage.network.miner, [(address, _REFILL)])
    stage.network.mine_exactly([refill])


def chain_too_long(stage: Stage) -> None:
    """Its coin came at the end of a long chain; a reorg makes all of that unconfirmed, and one more is too many."""
    network, weather = stage.network, stage.weather
    script = script_of(network.rpc, stage.party.processor.deposit_address(stage.coins[0]))
    length = weather.chain_max
    chain = strangers_chain(strangers_coin(network, 2 * _DEPOSIT), length, script, _DEPOSIT)
    network.mine_exactly([link.hex() for link in chain])
    network.mine(ANCHOR_DEPTH - 1)
    raw = stage.begin_work(_OWED_SATS)
    network.reorg(ANCHOR_DEPTH, new_blocks=0)
    _refill(stage)
    there = weather.holds(ids_of(raw).txid)
    stage.tell("a reorg", f"{length} in a row are unconfirmed again, and it {'is one of them' if there else 'is out'}")
    stage.tell("sent again", f"{weather.answer_to(raw)}")
    stage.work()
    stage.ask()
    stage.complain()
    stage.work()
    stage.expect("what a mempool has no room for is not built anew", holds=stage.is_one_payment())
    network.mine(ANCHOR_DEPTH)
    stage.work()
    weather.send_again(raw)
    stage.tell_txid("there is room again", "and somebody sends it again:", raw)
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def change_chain(stage: Stage) -> None:
    """Many customers, one coin, and no block for a while: each payment from the change of the one before."""
    deposit = stage.party.processor.deposit_address(stage.coins[0])
    stage.network.fund(deposit, COIN, confirmations=ANCHOR_DEPTH)
    options = (stage.weather.chain_limit(_CHANGE_CHAIN_MAX), "-walletrejectlongchains=0")
    with stage.weather.forgetful(*options):
        for _ in range(_ON_ONE_CHAIN):
            stage.owe(_SMALL_SATS)
            stage.work()
        stage.tell(OWED, f"{btc_of(stage.owed_sats)} BTC, {_ON_ONE_CHAIN} customers one after another, and no block")
        signed = list(dict.fromkeys(ids_of(raw).txid for c in stage.customers for raw in stage.signed_for(c)))
        lost = [txid for txid in signed if not stage.weather.holds(txid)]
        stage.tell(SIGNED, f"{len(signed)} transactions, of which {len(lost)} found no room in the mempool")
        stage.expect("nothing is signed that no mempool has room for", holds=not lost)
        for customer in stage.customers:
            stage.complain(customer)
    for _ in range(ANCHOR_DEPTH):
        stage.mine_what_waits()
    for customer in stage.customers:
        stage.complain(customer)
    stage.mine_what_waits()
    stage.curtain()


LOWER_TIP: Final = Scenario(
    name="lower-tip",
    title="A lower tip: what was buried is premature",
    covers=("F8",),
    moral="Not now is not never. The same bytes wait until the chain has caught up.",
    play=lower_tip,
    losers=(NAIVE_TXID, CORE_WALLET, RESEND_ON_ERROR),
    coins=("bech32",),
)

CHAIN_TOO_LONG: Final = Scenario(
    name="chain-too-long",
    title="One too many in a row for the mempool",
    covers=("F13",),
    moral="A mempool without room says nothing of a payment. It is sent again when the chain before it is mined.",
    play=chain_too_long,
    losers=(NAIVE_TXID, CORE_WALLET, RESEND_ON_ERROR),
    coins=("bech32",),
)

CHANGE_CHAIN: Final = Scenario(
    name="change-chain",
    title="Many payouts in a row, from change of change",
    covers=("F19", "F13"),
    moral="What builds on unconfirmed change has an end, and a wallet names a txid beyond it. We wait, and batch.",
    play=change_chain,
    nobody_loses="What found no room is paid again from the very coin that it would have spent: there is no other.",
    coins=("bech32",),
    restarts_nodes=True,
)
