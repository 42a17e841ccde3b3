"""Signed transactions from the miner's wallet, made to measure, for tests that send them themselves."""

from __future__ import annotations

from collections.abc import Sequence

from regtest.funding import miner_address
from regtest.network import Network
from regtest.rpc import btc_of, sats_of
from withdrawals.core import tx
from withdrawals.core.types import OutPoint, Txid

COIN_SATS = 1_000_000
RBF_SEQUENCE = 0xFFFF_FFFD


def confirmed_coin(network: Network, *, confirmations: int = 1, kind: str = "bech32") -> OutPoint:
    """A coin of 0.01 BTC that the miner can sign for and will not spend by itself."""
    miner = network.miner
    address = str(miner.getnewaddress("", kind))
    funding = network.fund(address, COIN_SATS, confirmations=confirmations)
    miner.lockunspent(False, [{"txid": funding.txid, "vout": funding.vout}])  # noqa: FBT003 - the node's parameter
    return OutPoint(Txid(funding.txid), funding.vout)


def signed(
    network: Network,
    coins: Sequence[OutPoint],
    *,
    fee_sats: int,
    outputs: int = 1,
    locktime: int = 0,
    address: str | None = None,
) -> bytes:
    """A transaction that spends these coins of the miner's into equal outputs to itself."""
    miner = network.miner
    total = sum(sats_of(network.rpc.gettxout(coin.txid, coin.vout)["value"]) for coin in coins)
    each = (total - fee_sats) // outputs
    inputs = [{"txid": coin.txid, "vout": coin.vout, "sequence": RBF_SEQUENCE} for coin in coins]
    pays = [{address or miner_address(miner): btc_of(each)} for _ in range(outputs)]
    made = miner.signrawtransactionwithwallet(miner.createrawtransaction(inputs, pays, locktime))
    assert made["complete"], made
    return bytes.fromhex(made["hex"])


def with_broken_witness(raw: bytes) -> bytes:
    """The same transaction, by txid, with a signature that is none."""
    parts = tx.parts_of(raw)
    first, *others = [tx.InputSignature(each.script_sig, each.witness) for each in parts.inputs]
    signature, *rest = first.witness
    broken = tx.InputSignature(first.script_sig, (signature[:10] + bytes([signature[10] ^ 1]) + signature[11:], *rest))
    unsigned = tx.unsigned_tx(
        [(each.outpoint, each.sequence) for each in parts.inputs],
        parts.outputs,
        version=parts.version,
        locktime=parts.locktime,
    )
    return tx.with_signatures(unsigned, [broken, *others])
