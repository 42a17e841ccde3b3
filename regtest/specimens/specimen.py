"""Specimens: on a live network, a coin that a class can be done to, and its owner's payment from it, not sent yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bitcoin.core import COutPoint, CTransaction, CTxIn, CTxOut
from bitcoin.core.script import CScript

from regtest.funding import Funding
from regtest.malleate import MALLEATORS, InputKind, Malleator, OwnCoin, Prevout
from regtest.malleate.transaction import with_unlockings
from regtest.network import Network
from regtest.specimens.coins import Coin, Place, fresh_secret, key_coin
from regtest.specimens.recipes import Recipe, recipe_of

COIN_SATS: Final = 10_000_000
_PAID_SATS: Final = 1_000_000
_FEE_SATS: Final = 2_000
_OWN_COIN_SATS: Final = 20_000
"""What an actor adds of his own: all of it goes to the miner, and must not look like a mistake to a node."""
_SEQUENCE: Final = 0xFFFFFFFD


@dataclass(frozen=True, slots=True)
class Specimen:
    """A payment as its signer left it, what it spends, and what the actor of its class has."""

    class_id: str
    raw: bytes
    prevouts: tuple[Prevout, ...]
    keys: tuple[bytes, ...]
    own: OwnCoin | None

    @property
    def malleator(self) -> Malleator:
        """Its class."""
        return MALLEATORS[self.class_id]

    def mutant(self) -> bytes:
        """What its class makes of it."""
        return self.malleator.malleate(self.raw, self.prevouts, self.keys, self.own)


def make_specimen(class_id: str, network: Network) -> Specimen:
    """One specimen; its coins are paid from the miner's wallet and in a block."""
    return make_specimens([class_id], network)[class_id]


def make_specimens(class_ids: Iterable[str], network: Network) -> dict[str, Specimen]:
    """Specimens of many classes, by id, from coins of one transaction: one block for all."""
    recipes = {class_id: recipe_of(class_id) for class_id in class_ids}
    strangers = {class_id: fresh_secret() for class_id in recipes if MALLEATORS[class_id].needs_coin}
    payments = [(coin.script.hex(), COIN_SATS) for recipe in recipes.values() for coin in recipe.coins]
    payments += [(_stranger_s(secret).script.hex(), _OWN_COIN_SATS) for secret in strangers.values()]
    paid = iter(network.fund_many(payments))
    signed = {class_id: _signed(recipe, paid) for class_id, recipe in recipes.items()}
    own = {class_id: _own_coin(secret, next(paid)) for class_id, secret in strangers.items()}
    return {
        class_id: Specimen(class_id, *signed[class_id], recipe.keys, own.get(class_id))
        for class_id, recipe in recipes.items()
    }


def sign_all(coins: Sequence[Coin], outpoints: Sequence[COutPoint], vout: Sequence[CTxOut]) -> bytes:
    """A payment from these coins, spent in the canonical way; each is worth `COIN_SATS`."""
    prevouts = [Prevout(coin.script, COIN_SATS) for coin in coins]
    tx = CTransaction([CTxIn(o, CScript(), _SEQUENCE) for o in outpoints], vout, 0, 2)
    return with_unlockings(tx, [coin.unlock(Place(tx, n, prevouts)) for n, coin in enumerate(coins)])


def outputs_of(recipe: Recipe) -> list[CTxOut]:
    """A customer's output and change, to keys that nobody keeps; or one output."""
    sats = [_PAID_SATS] * (recipe.outputs - 1)
    rest = COIN_SATS * len(recipe.coins) - sum(sats) - _FEE_SATS
    return [CTxOut(s, CScript(key_coin(InputKind.P2WPKH, fresh_secret()).script)) for s in (*sats, rest)]


def _signed(recipe: Recipe, paid: Iterator[Funding]) -> tuple[bytes, tuple[Prevout, ...]]:
    prevouts = tuple(Prevout(coin.script, COIN_SATS) for coin in recipe.coins)
    outpoints = [COutPoint(bytes.fromhex(f.txid)[::-1], f.vout) for f in (next(paid) for _ in recipe.coins)]
    return recipe.finish(sign_all(recipe.coins, outpoints, outputs_of(recipe)), prevouts), prevouts


def _stranger_s(secret: bytes) -> Coin:
    return key_coin(InputKind.P2WPKH, secret)


def _own_coin(secret: bytes, paid: Funding) -> OwnCoin:
    return OwnCoin(paid.txid, paid.vout, Prevout(_stranger_s(secret).script, paid.amount_sats), secret)
