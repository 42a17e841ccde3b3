"""Every class that an ordinary hot wallet's payments can suffer, done to payments of the node's own wallet."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from regtest.funding import Funding
from regtest.malleate import MALLEATORS, CannotMalleate, Malleator, Prevout, fetch_wallet_keys
from regtest.malleate.transaction import parse_transaction, unlockings_of
from regtest.network import Network
from regtest.rpc import Rpc, btc_of
from tests.functional.node_verdicts import check_block, check_ids, check_relay

COIN_SATS = 5_000_000
PAID_SATS = 700_000
CUSTOMERS = 5
FEE_SATS = 5_000
COINS_OF_A_TYPE = 2
EVERY_TYPE = ("legacy", "p2sh-segwit", "bech32", "bech32m")
OF_WALLETS = [m for m in MALLEATORS.values() if m.wallets]
CASES = [(m, mix) for m in OF_WALLETS for mix in (*m.wallets, EVERY_TYPE)]
ODD_SIGNERS = {m.id for m in OF_WALLETS if m.signer}
"""Classes that take a signer other than the wallet: T03e one that does not grind, T03R one that pads."""


@dataclass(frozen=True)
class Payment:
    """Two coins of each type of the mix, each of a key of its own, to five customers, as the wallet signs it."""

    raw: bytes
    prevouts: list[Prevout]


def pay_from(wallet: Rpc, coins: list[Funding], customers: list[str], change: str) -> Payment:
    inputs = [{"txid": coin.txid, "vout": coin.vout} for coin in coins]
    paid = [{customer: btc_of(PAID_SATS)} for customer in customers]
    paid.append({change: btc_of(COIN_SATS * len(coins) - CUSTOMERS * PAID_SATS - FEE_SATS)})
    signed = wallet.signrawtransactionwithwallet(wallet.createrawtransaction(inputs, paid))
    assert signed["complete"]
    raw = bytes.fromhex(signed["hex"])
    return Payment(raw, [Prevout(bytes.fromhex(coin.script_hex), coin.amount_sats) for coin in coins])


@pytest.fixture(scope="module")
def payments(module_network: Network) -> dict[tuple[str, tuple[str, ...]], Payment]:
    """One for every class and mix of coins; all coins come from one block."""
    wallet = module_network.node.wallet("hot")
    addresses = {kind: [wallet.getnewaddress("", kind) for _ in range(COINS_OF_A_TYPE)] for kind in EVERY_TYPE}
    wanted = [address for _, mix in CASES for kind in mix for address in addresses[kind]]
    coins = iter(module_network.fund_many([(address, COIN_SATS) for address in wanted]))
    customers, change = [wallet.getnewaddress() for _ in range(CUSTOMERS)], wallet.getrawchangeaddress()
    return {
        (m.id, mix): pay_from(wallet, [next(coins) for _ in mix * COINS_OF_A_TYPE], customers, change)
        for m, mix in CASES
    }


def case_id(case: tuple[Malleator, tuple[str, ...]]) -> str:
    return f"{case[0].id}-{'+'.join(case[1])}"


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_wallet_s_payment_is_malleated_as_its_class_declares(
    module_network: Network,
    payments: dict[tuple[str, tuple[str, ...]], Payment],
    case: tuple[Malleator, tuple[str, ...]],
) -> None:
    """Every input that it fits is rewritten, and the node says the same as of the class's own specimen."""
    malleator, mix = case
    rpc, knots = module_network.rpc, module_network.node.program.is_knots
    payment = payments[malleator.id, mix]
    raw = payment.raw
    if malleator.id == "T03R":
        raw = MALLEATORS["T03a"].malleate(raw, payment.prevouts)
    keys = fetch_wallet_keys(module_network.node.wallet("hot"), payment.prevouts) if malleator.needs_key else ()
    if malleator.id == "T03e":
        with pytest.raises(CannotMalleate, match="signers that grind, such as Bitcoin Core, never make another"):
            malleator.malleate(raw, payment.prevouts)
        return
    mutant = malleator.malleate(raw, payment.prevouts, keys)
    assert malleator.applies_to(raw, payment.prevouts)
    before, after = (unlockings_of(parse_transaction(each)) for each in (raw, mutant))
    touched = {n for n, (one, other) in enumerate(zip(before, after, strict=True)) if one != other}
    targets = {n for n, prevout in enumerate(payment.prevouts) if is_target(malleator, prevout)}
    assert touched == (targets if malleator.rewrite else set(range(len(before))))
    check_ids(raw, mutant, malleator)
    check_relay(rpc, raw, malleator.original_policy_of(knots=knots))
    check_relay(rpc, mutant, malleator.policy_of(knots=knots))
    check_block(module_network, raw, mutant, malleator)


@pytest.mark.parametrize("mix", [(kind,) for kind in EVERY_TYPE] + [EVERY_TYPE], ids="+".join)
def test_no_class_does_anything_to_coins_that_it_does_not_name(
    module_network: Network, payments: dict[tuple[str, tuple[str, ...]], Payment], mix: tuple[str, ...]
) -> None:
    """Even with the wallet's keys: what a class says of hot wallets is all that can be done to them."""
    payment = next(p for (_, of), p in payments.items() if of == mix)
    keys = fetch_wallet_keys(module_network.node.wallet("hot"), payment.prevouts)
    done = set()
    for malleator in MALLEATORS.values():
        try:
            malleator.malleate(payment.raw, payment.prevouts, keys)
        except CannotMalleate:
            continue
        done.add(malleator.id)
    named = {m.id for m in OF_WALLETS if any(set(of) <= set(mix) for of in m.wallets)}
    assert done == named - ODD_SIGNERS


def is_target(malleator: Malleator, prevout: Prevout) -> bool:
    """P2SH coins of the wallet are all of nested segwit."""
    return malleator.kind == {"P2SH": "P2SH-P2WPKH"}.get(str(prevout.kind), prevout.kind)
