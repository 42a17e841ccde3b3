"""Malleators: given a signed transaction, what somebody else can make of it, most often the same payment once more.

They work on bytes alone and know nothing of the processor under attack, so they can be pointed at any. Take one from
`MALLEATORS` by its class id, give it the raw transaction and the outputs it spends (`fetch_prevouts` asks a node for
them), and see that it is mined the way its `mining` says. `regtest.specimens` makes a coin and a spend for every class.
"""

from __future__ import annotations

from regtest.malleate.catalogue import catalogue_page, describe_malleators
from regtest.malleate.classes import MALLEATORS
from regtest.malleate.inputs import InputKind, Prevout, Unfit
from regtest.malleate.model import Actor, CannotMalleate, Malleator, Mining
from regtest.malleate.prevouts import fetch_prevouts
from regtest.malleate.transaction import TransactionIds, ids_of
from regtest.malleate.wallet_keys import fetch_wallet_keys
from regtest.malleate.whole import OwnCoin

__all__ = [
    "MALLEATORS",
    "Actor",
    "CannotMalleate",
    "InputKind",
    "Malleator",
    "Mining",
    "OwnCoin",
    "Prevout",
    "TransactionIds",
    "Unfit",
    "catalogue_page",
    "describe_malleators",
    "fetch_prevouts",
    "fetch_wallet_keys",
    "ids_of",
]
