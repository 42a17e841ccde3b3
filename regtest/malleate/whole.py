"""Changes of the transaction itself, where its signatures leave it open, or whoever holds the keys signs anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bitcoin.core import COutPoint, CTransaction, CTxIn, CTxOut, Hash160
from bitcoin.core.script import CScript
from coincurve import PrivateKey

from regtest.malleate.inputs import Prevout, SignedInput, Unfit
from regtest.malleate.signing import Keys, sign_input
from regtest.malleate.transaction import Unlocking, with_unlockings

_NONE, _SINGLE, _ANYONE_CAN_PAY, _ALL = 0x02, 0x03, 0x80, 0x01
_BASE: Final = 0x1F
_THIEF_SCRIPT: Final = b"\x00\x14" + b"whoever is watching!"
_BUMP_SATS_MIN: Final = 3_000
_BUMP_SATS_PER_BYTE: Final = 5
_DUST_SATS: Final = 1_000


@dataclass(frozen=True, slots=True)
class OwnCoin:
    """A coin of the actor's own, that he adds, and to whose script he diverts what he can."""

    txid: str
    vout: int
    prevout: Prevout
    secret: bytes


_SOME_SECRET: Final = bytes(31) + b"\x01"
SOME_COIN: Final = OwnCoin(
    "00" * 32,
    0,
    Prevout(b"\x00\x14" + bytes(Hash160(PrivateKey(_SOME_SECRET).public_key.format())), _DUST_SATS),
    _SOME_SECRET,
)
"""One that does not exist: enough to see whether an actor who has one could add it."""


@dataclass(frozen=True, slots=True)
class Case:
    """A whole transaction before an actor: all its inputs, those of the class's kind, and what he has."""

    inputs: tuple[SignedInput, ...]
    targets: tuple[SignedInput, ...]
    keys: Keys
    own: OwnCoin | None

    @property
    def tx(self) -> CTransaction:
        """The transaction."""
        return self.inputs[0].tx

    @property
    def prevouts(self) -> list[Prevout]:
        """What it spends."""
        return list(self.inputs[0].prevouts)

    @property
    def unlockings(self) -> list[Unlocking]:
        """What its inputs bring."""
        return [i.unlocking for i in self.inputs]

    @property
    def loot(self) -> bytes:
        """The actor's script."""
        return self.own.prevout.script if self.own else _THIEF_SCRIPT


Rebuild = Callable[[Case], bytes]
"""Another transaction out of this one. Raises `Unfit`."""


def take_all_outputs(case: Case) -> bytes:
    """One output of the actor's for all of them, where every signature is of hash type NONE."""
    if not all(_base(h) == _NONE for target in case.targets for h in target.hashtypes):
        raise Unfit("its hash type is not NONE")
    _require_no_committed_output(case)
    return _paying_to(case, [(sum(o.nValue for o in case.tx.vout), case.loot)])


def take_unsigned_outputs(case: Case) -> bytes:
    """The outputs that no signature of hash type SINGLE stands across from."""
    if not all(_base(h) == _SINGLE for target in case.targets for h in target.hashtypes):
        raise Unfit("its hash type is not SINGLE")
    committed = _committed_outputs(case)
    paid = [
        (o.nValue, bytes(o.scriptPubKey) if place in committed else case.loot) for place, o in enumerate(case.tx.vout)
    ]
    return _paying_to(case, paid)


def take_unguarded_outputs(case: Case) -> bytes:
    """All outputs of a transaction that needs no signature at all."""
    if not all(i.is_free for i in case.inputs):
        raise Unfit("a signature is needed to spend what it spends")
    return _paying_to(case, [(sum(o.nValue for o in case.tx.vout), case.loot)])


def add_input(case: Case) -> bytes:
    """A coin of the actor's own, where the signatures allow for others; all of it goes to the miner."""
    if not all(h & _ANYONE_CAN_PAY and _base(h) == _ALL for i in case.inputs for h in i.hashtypes):
        raise Unfit("its hash type is not ALL with ANYONECANPAY")
    if case.own is None:
        raise Unfit("the actor has no coin of his own")
    tx, own = case.tx, case.own
    added = CTxIn(COutPoint(bytes.fromhex(own.txid)[::-1], own.vout), CScript(), tx.vin[0].nSequence)
    if any(i.prevout == added.prevout for i in tx.vin):
        raise Unfit("the actor's coin is among its inputs already")
    larger = CTransaction((*tx.vin, added), tx.vout, tx.nLockTime, tx.nVersion)
    unlocking = sign_input(larger, len(tx.vin), [*case.prevouts, own.prevout], [own.secret])
    return with_unlockings(larger, [*case.unlockings, unlocking])


def change_free_sequence(case: Case) -> bytes:
    """The sequence of an input that needs no signature, where the others do not sign sequences but their own."""
    open_ones = {_NONE, _SINGLE}
    if not all(_base(h) in open_ones or h & _ANYONE_CAN_PAY for i in case.inputs for h in i.hashtypes):
        raise Unfit("its hash type commits to the sequences of all inputs")
    free = [i.index for i in case.inputs if i.is_free]
    if not free:
        raise Unfit("each of its inputs signs its own sequence")
    vin = list(case.tx.vin)
    for index in free:
        sequence = vin[index].nSequence
        vin[index] = CTxIn(vin[index].prevout, vin[index].scriptSig, sequence - 1 if sequence else 1)
    changed = CTransaction(vin, case.tx.vout, case.tx.nLockTime, case.tx.nVersion)
    return with_unlockings(changed, case.unlockings)


def bump_fee(case: Case) -> bytes:
    """A higher fee, out of the last output that can bear it, and every input signed anew."""
    tx = case.tx
    size = len(with_unlockings(tx, case.unlockings))
    more_sats = max(_BUMP_SATS_MIN, _BUMP_SATS_PER_BYTE * size)
    payer = next((n for n in reversed(range(len(tx.vout))) if tx.vout[n].nValue >= more_sats + _DUST_SATS), None)
    if payer is None:
        raise Unfit(f"no output can pay {more_sats} sats more")
    vout = [CTxOut(o.nValue - more_sats * (n == payer), o.scriptPubKey) for n, o in enumerate(tx.vout)]
    bare = CTransaction([CTxIn(i.prevout, CScript(), i.nSequence) for i in tx.vin], vout, tx.nLockTime, tx.nVersion)
    return with_unlockings(bare, [sign_input(bare, n, case.prevouts, case.keys) for n in range(len(tx.vin))])


def _base(hashtype: int) -> int:
    return hashtype & _BASE


def _committed_outputs(case: Case) -> set[int]:
    """The outputs that some signature fixes."""
    committed: set[int] = set()
    for i in case.inputs:
        for hashtype in i.hashtypes:
            if _base(hashtype) == _SINGLE:
                committed.add(i.index)
            elif _base(hashtype) != _NONE:
                raise Unfit(f"input {i.index} signs all outputs")
    return committed


def _require_no_committed_output(case: Case) -> None:
    if committed := _committed_outputs(case):
        raise Unfit(f"outputs {sorted(committed)} are signed")


def _paying_to(case: Case, paid: list[tuple[int, bytes]]) -> bytes:
    vout = [CTxOut(sats, CScript(script)) for sats, script in paid]
    if vout == list(case.tx.vout):
        raise Unfit("nothing is left of its outputs that the actor could take")
    changed = CTransaction(case.tx.vin, vout, case.tx.nLockTime, case.tx.nVersion)
    return with_unlockings(changed, case.unlockings)
