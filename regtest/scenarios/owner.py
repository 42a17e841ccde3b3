"""What others sign: another holder of the processor's keys, and strangers with coins of their own."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from bitcoin.core import COutPoint, CTransaction, CTxIn, CTxOut, Hash160
from bitcoin.core.script import CScript
from coincurve import PrivateKey

from regtest.malleate import MALLEATORS, OwnCoin, Prevout, fetch_prevouts
from regtest.malleate.signing import ALL, ecdsa_message, key_script, sign_as_core, sign_input
from regtest.malleate.transaction import Unlocking, parse_transaction, unlockings_of, with_unlockings
from regtest.network import Network
from regtest.party import Party

FINAL_SEQUENCE: Final = 0xFFFF_FFFF
"""Once it said "I shall not be replaced". No node listens any more."""
_ANYONE_CAN_PAY: Final = 0x80
_STRANGER: Final = "T22"
_STRANGERS_SATS: Final = 50_000
_LINK_FEE_SATS: Final = 20_000
"""Far above what a processor pays, so that it is not the links that a full chain is cut of."""


class Owner:
    """Somebody with the processor's keys, who does not ask it."""

    def __init__(self, network: Network, party: Party) -> None:
        self._network, self._party = network, party

    def replace(self, raw: bytes, outputs: Sequence[tuple[str, int]]) -> bytes:
        """Another transaction that spends the same coins, to these scripts in hex, and signals that it is final."""
        tx, prevouts = parse_transaction(raw), fetch_prevouts(self._network.rpc, raw)
        keys = self._party.owner_keys(prevouts)
        vin = [CTxIn(i.prevout, CScript(), FINAL_SEQUENCE) for i in tx.vin]
        vout = [CTxOut(sats, CScript(bytes.fromhex(script))) for script, sats in outputs]
        bare = CTransaction(vin, vout, 0, tx.nVersion)
        return with_unlockings(bare, [sign_input(bare, n, prevouts, keys) for n in range(len(vin))])

    def sign_openly(self, raw: bytes) -> bytes:
        """The same transaction signed ALL with ANYONECANPAY, by which inputs can be added; its coins are P2WPKH."""
        tx, prevouts = parse_transaction(raw), fetch_prevouts(self._network.rpc, raw)
        keys = self._party.owner_keys(prevouts)
        return with_unlockings(tx, [_openly(tx, n, prevout, keys) for n, prevout in enumerate(prevouts)])


def _openly(tx: CTransaction, index: int, prevout: Prevout, keys: Sequence[bytes]) -> Unlocking:
    for secret in keys:
        public_key = PrivateKey(secret).public_key.format()
        if prevout.script == _script_of(public_key):
            hashtype = ALL | _ANYONE_CAN_PAY
            digest = ecdsa_message(tx, index, prevout, key_script(public_key), hashtype, segwit=True)
            return Unlocking(b"", (sign_as_core(secret, digest, hashtype).encode(), public_key))
    raise LookupError(f"no key for {prevout.script.hex()}")


def strangers_coin(network: Network, sats: int = _STRANGERS_SATS) -> OwnCoin:
    """A confirmed coin of somebody who has nothing to do with it all."""
    secret = secrets.token_bytes(32)
    script = _script_of(PrivateKey(secret).public_key.format())
    funding = network.fund(script.hex(), sats)
    return OwnCoin(funding.txid, funding.vout, Prevout(script, sats), secret)


def strangers_chain(coin: OwnCoin, length: int, script_hex: str, sats: int) -> list[bytes]:
    """So many transactions in a row, each from the one before; the first output of the last is a deposit."""
    chain: list[bytes] = []
    outpoint, prevout = COutPoint(bytes.fromhex(coin.txid)[::-1], coin.vout), coin.prevout
    for link in range(length):
        deposits = [CTxOut(sats, CScript(bytes.fromhex(script_hex)))] if link == length - 1 else []
        rest = prevout.sats - _LINK_FEE_SATS - sum(o.nValue for o in deposits)
        bare = CTransaction([CTxIn(outpoint)], [*deposits, CTxOut(rest, CScript(prevout.script))], 0, 2)
        chain.append(with_unlockings(bare, [sign_input(bare, 0, [prevout], [coin.secret])]))
        outpoint, prevout = COutPoint(bare.GetTxid(), len(deposits)), Prevout(prevout.script, rest)
    return chain


def with_an_input_added(network: Network, raw: bytes, coin: OwnCoin) -> bytes:
    """The stranger's version: one more input, all of it to the miner, where the signatures let it in.

    Raises `CannotMalleate` where they do not.
    """
    return MALLEATORS[_STRANGER].malleate(raw, fetch_prevouts(network.rpc, raw), (), coin)


def with_an_input_forced_in(network: Network, raw: bytes, coin: OwnCoin) -> bytes:
    """The same, whatever the signatures say: they stay as they are."""
    tx = parse_transaction(raw)
    added = CTxIn(COutPoint(bytes.fromhex(coin.txid)[::-1], coin.vout), CScript(), tx.vin[0].nSequence)
    larger = CTransaction((*tx.vin, added), tx.vout, tx.nLockTime, tx.nVersion)
    prevouts = [*fetch_prevouts(network.rpc, raw), coin.prevout]
    return with_unlockings(larger, [*unlockings_of(tx), sign_input(larger, len(tx.vin), prevouts, [coin.secret])])


def _script_of(public_key: bytes) -> bytes:
    return b"\x00\x14" + bytes(Hash160(public_key))
