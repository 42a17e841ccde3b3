"""Malleators: given a signed transaction, the other encodings of the same payment that somebody else can make.

They work on bytes alone and know nothing of the processor under attack, so they can be pointed at any. Take one from
`MALLEATORS` by its class id, give it the raw transaction and the outputs it spends (`fetch_prevouts` asks a node for
them), and see that it is mined the way its `mining` says.
"""

from __future__ import annotations

from regtest.malleate.classes import MALLEATORS, describe_malleators
from regtest.malleate.model import Actor, CannotMalleate, Malleator, Mining, Prevout
from regtest.malleate.prevouts import fetch_prevouts
from regtest.malleate.transaction import TransactionIds, ids_of
from regtest.malleate.wallet_keys import fetch_wallet_keys

__all__ = [
    "MALLEATORS",
    "Actor",
    "CannotMalleate",
    "Malleator",
    "Mining",
    "Prevout",
    "TransactionIds",
    "describe_malleators",
    "fetch_prevouts",
    "fetch_wallet_keys",
    "ids_of",
]
