"""For every class the coins whose spending it can be done to; without a word here, its kind's usual coin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from regtest.malleate import MALLEATORS, InputKind, Malleator, Prevout
from regtest.malleate import script as ops
from regtest.malleate.taproot import branch_hash, leaf_hash
from regtest.specimens import coins
from regtest.specimens.coins import Coin, fresh_secret

_NONE, _SINGLE, _ALL_ANYONE_CAN_PAY = 0x02, 0x03, 0x81
_SINGLE_KEY: Final = frozenset({InputKind.P2PK, InputKind.P2PKH, InputKind.P2WPKH, InputKind.P2SH_P2WPKH})


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a specimen spends, in order of its inputs, and what it looks like besides."""

    coins: tuple[Coin, ...]
    keys: tuple[bytes, ...] = ()
    """The secrets that the class's actor holds."""
    outputs: int = 2
    finish: Callable[[bytes, Sequence[Prevout]], bytes] = field(default=lambda raw, _prevouts: raw)
    """What the signer does to the signed bytes, where he is an odd one."""


def recipe_of(class_id: str) -> Recipe:
    """With fresh keys. Raises `KeyError` for a class that does not exist."""
    malleator = MALLEATORS[class_id]
    return _SPECIAL[class_id](malleator.kind) if class_id in _SPECIAL else _usual(malleator)


def _usual(malleator: Malleator) -> Recipe:
    kind, secret = malleator.kind, fresh_secret()
    if kind in _SINGLE_KEY:
        return Recipe((coins.key_coin(kind, secret),), (secret,) if malleator.needs_key else ())
    if kind is InputKind.P2TR:
        return Recipe((coins.taproot_key_coin(secret),), (secret,) if malleator.needs_key else ())
    if kind is InputKind.P2A:
        return Recipe((coins.anchor_coin(),))
    return Recipe((coins.multisig_coin(kind, [fresh_secret() for _ in range(3)]),))


def _of(make: Callable[[InputKind, bytes], Coin]) -> Callable[[InputKind], Recipe]:
    """A coin with a key that the actor does not need."""
    return lambda kind: Recipe((make(kind, fresh_secret()),))


def _hashtype(hashtype: int) -> Callable[[InputKind], Recipe]:
    return lambda kind: Recipe((coins.key_coin(kind, fresh_secret(), hashtype),))


def _cosigner(number: int) -> Callable[[InputKind], Recipe]:
    """Two of three have signed; the actor is this one of them."""

    def make(kind: InputKind) -> Recipe:
        secrets = [fresh_secret() for _ in range(3)]
        return Recipe((coins.multisig_coin(kind, secrets),), (secrets[number],))

    return make


def _long_r(_kind: InputKind) -> Recipe:
    return Recipe((coins.long_r_coin(fresh_secret()),))


def _padded(kind: InputKind) -> Recipe:
    return Recipe((coins.key_coin(kind, fresh_secret()),), finish=MALLEATORS["T03a"].malleate)


def _single_bug(kind: InputKind) -> Recipe:
    """The second input has no output across from it."""
    pair = (coins.key_coin(kind, fresh_secret()), coins.key_coin(kind, fresh_secret(), _SINGLE))
    return Recipe(pair, outputs=1)


def _mixed(kind: InputKind) -> Recipe:
    return Recipe((coins.key_coin(kind, fresh_secret()), coins.key_coin(InputKind.P2WPKH, fresh_secret())))


def _beside_anchor(kind: InputKind) -> Recipe:
    return Recipe((coins.key_coin(kind, fresh_secret(), _SINGLE), coins.anchor_coin()), outputs=1)


def _over_leaf(_kind: InputKind) -> Recipe:
    """The owner holds the internal key and that of the only leaf."""
    internal, leaf = fresh_secret(), fresh_secret()
    coin = coins.taproot_key_coin(internal, leaf_hash(coins.key_leaf(leaf)))
    return Recipe((coin,), (internal, leaf))


def _hash_leaf(_kind: InputKind) -> Recipe:
    return Recipe((coins.only_leaf_coin(coins.HASH_LOCK, coins.show_preimage),))


def _branch_leaf(_kind: InputKind) -> Recipe:
    secret = fresh_secret()
    first, other = coins.key_leaf(secret), coins.key_leaf(fresh_secret())
    leaf = bytes([ops.OP_IF]) + first + bytes([ops.OP_ELSE]) + other + bytes([ops.OP_ENDIF])
    return Recipe((coins.only_leaf_coin(leaf, lambda sign: [sign(secret), b"\x01"]),))


def _key_leaf(_kind: InputKind) -> Recipe:
    secret = fresh_secret()
    return Recipe((coins.only_leaf_coin(coins.key_leaf(secret), lambda sign: [sign(secret)]),))


def _leaf_twice(_kind: InputKind) -> Recipe:
    """The tree is a leaf beside the branch of the same leaf and another; the deeper one is spent."""
    same, other = leaf_hash(coins.HASH_LOCK), leaf_hash(coins.key_leaf(fresh_secret()))
    root = branch_hash(same, branch_hash(same, other))
    return Recipe((coins.taproot_leaf_coin(coins.HASH_LOCK, root, (other, same), coins.show_preimage),))


_SPECIAL: Final[dict[str, Callable[[InputKind], Recipe]]] = {
    "T03e": _long_r,
    "T03R": _padded,
    "T06a": _of(coins.number_coin),
    "T06b": _of(coins.number_coin),
    "T06c": _of(coins.branch_coin),
    "T07b": _of(coins.drop_coin),
    "T08a": _hashtype(_NONE),
    "T08b": _hashtype(_SINGLE),
    "T08c": _hashtype(_ALL_ANYONE_CAN_PAY),
    "T08d": _single_bug,
    "T11": _mixed,
    "T12": _cosigner(2),
    "T12b": _cosigner(1),
    "T13": _of(coins.repeated_key_coin),
    "T14": _of(coins.failing_check_coin),
    "T16": _beside_anchor,
    "T17": lambda kind: Recipe((coins.hash_lock_coin(kind),)),
    "T21": _hashtype(_NONE),
    "T22": _hashtype(_ALL_ANYONE_CAN_PAY),
    "W05": _cosigner(2),
    "W05b": _cosigner(1),
    "W05s": _cosigner(2),
    "W09": _of(coins.branch_coin),
    "W10": _of(coins.drop_coin),
    "W11": _of(coins.number_coin),
    "W12": _of(coins.repeated_key_coin),
    "W12b": _of(coins.failing_check_coin),
    "W14": _over_leaf,
    "W16": _hash_leaf,
    "W17": _branch_leaf,
    "W18c": _key_leaf,
    "W19": _leaf_twice,
}
