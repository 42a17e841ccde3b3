"""The miner's payments on a real node: from coins that are named, because a wallet would draw them by lot."""

from __future__ import annotations

from regtest.funding import build_payment
from regtest.network import Network
from regtest.rpc import COIN_SATS, Json, sats_of

NOBODYS = "0014" + "ab" * 20
WHOLE_SATS = 50 * COIN_SATS
"""What a block mints on a young chain."""
SMALL = [20_000 + n for n in range(40)]


def payment(network: Network, *sats: int, lock_time: int = 0) -> Json:
    """A payment that is not sent, decoded."""
    raw, _ = build_payment(network.miner, [(NOBODYS, each) for each in sats], lock_time=lock_time)
    return network.rpc.decoderawtransaction(raw)


def spent_by(network: Network, decoded: Json) -> list[Json]:
    """The coins, as the miner's wallet lists them."""
    held = {(coin["txid"], coin["vout"]): coin for coin in network.miner.listunspent(0)}
    return [held[i["txid"], i["vout"]] for i in decoded["vin"]]


def test_the_same_payment_is_made_from_the_same_coin(network: Network) -> None:
    """Of those that are worth most the deepest, whatever small ones would do as well; change comes last."""
    network.fund_many([(str(network.miner.getnewaddress()), sats) for sats in SMALL])
    network.mine(2)
    deepest = max(coin["confirmations"] for coin in network.miner.listunspent(1) if coin["amount"] == 50)
    for _ in range(5):
        made = payment(network, *SMALL, lock_time=network.height)
        [coin] = spent_by(network, made)
        assert (sats_of(coin["amount"]), coin["confirmations"]) == (WHOLE_SATS, deepest)
        assert [sats_of(o["value"]) for o in made["vout"]][:-1] == SMALL
        assert len(made["vout"]) == len(SMALL) + 1
        assert made["locktime"] == network.height


def test_a_coin_that_is_kept_for_something_else_is_not_spent(network: Network) -> None:
    """Who makes two payments before either is sent locks the coins of the first."""
    first, again = payment(network, COIN_SATS), payment(network, COIN_SATS)
    assert first["vin"][0]["txid"] == again["vin"][0]["txid"]
    coins = [{"txid": i["txid"], "vout": i["vout"]} for i in first["vin"]]
    network.miner.lockunspent(False, coins)  # noqa: FBT003 - the node's parameter: lock them
    assert payment(network, COIN_SATS)["vin"][0]["txid"] != first["vin"][0]["txid"]


def test_what_is_unconfirmed_is_spent_only_where_all_else_is_too_little(network: Network) -> None:
    """First whole coins, as many as it takes; change that no block has yet comes last of all."""
    whole = len(network.miner.listunspent(1))
    several = spent_by(network, payment(network, (whole - 1) * WHOLE_SATS))
    assert len(several) == whole
    for _ in range(whole):
        network.fund(NOBODYS, WHOLE_SATS // 2, confirmations=0)
    assert not network.miner.listunspent(1)
    assert {coin["confirmations"] for coin in spent_by(network, payment(network, COIN_SATS))} == {0}
    network.fund_many([(NOBODYS, WHOLE_SATS // 2), (NOBODYS, WHOLE_SATS // 2)], confirmations=0)
    network.mine()
    assert not network.rpc.getrawmempool()


def test_a_large_coin_without_a_block_waits_until_small_ones_are_too_little(network: Network) -> None:
    """Size is asked second: what has no block yet can still be taken away."""
    small, large = [10 * COIN_SATS] * 2, 30 * COIN_SATS
    network.fund_many([(str(network.miner.getnewaddress()), sats) for sats in small])
    network.fund(str(network.miner.getnewaddress()), large, confirmations=0)
    others = [c for c in network.miner.listunspent(0) if sats_of(c["amount"]) not in {small[0], large}]
    network.miner.lockunspent(False, [{"txid": c["txid"], "vout": c["vout"]} for c in others])  # noqa: FBT003 - lock
    for sats, expected in ((15 * COIN_SATS, small), (25 * COIN_SATS, [*small, large])):
        assert [sats_of(coin["amount"]) for coin in spent_by(network, payment(network, sats))] == expected
