"""The owner's keys, out of the node's own wallet: for the classes that only an owner can carry out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from embit.descriptor import Descriptor

from regtest.malleate.inputs import InputKind, Prevout
from regtest.rpc import Json, Rpc

_KINDS: Final = frozenset({InputKind.P2PKH, InputKind.P2SH, InputKind.P2WPKH, InputKind.P2TR})
"""What the descriptors of Bitcoin Core's wallet make, one for each of its address types."""


class KeyNotInWallet(LookupError):
    """None of the wallet's descriptors makes the script that is to be signed for."""


def fetch_wallet_keys(wallet: Rpc, prevouts: Sequence[Prevout]) -> list[bytes]:
    """The secrets, 32 bytes each, that sign for these prevouts; the wallet must be an unlocked descriptor one.

    Of P2TR it is the internal key's, without the tweak. Outputs of other kinds than a wallet's own are passed over.

    Raises `KeyNotInWallet` if one of them is not the wallet's.
    """
    wanted = {prevout.script for prevout in prevouts if prevout.kind in _KINDS}
    found: dict[bytes, bytes] = {}
    for entry in wallet.listdescriptors(True)["descriptors"]:  # noqa: FBT003 - the node's parameter, "private"
        found.update(_keys_of_descriptor(entry, wanted))
    if missing := wanted - found.keys():
        raise KeyNotInWallet(", ".join(sorted(script.hex() for script in missing)))
    return list(found.values())


def _keys_of_descriptor(entry: Json, wanted: set[bytes]) -> dict[bytes, bytes]:
    text = str(entry["desc"])
    if not text.startswith(("pkh(", "wpkh(", "sh(wpkh(", "tr(")):
        return {}
    descriptor = Descriptor.from_string(text)
    first, last = entry.get("range", (0, 0))
    found = {}
    for index in range(first, min(last, int(entry.get("next_index", last))) + 1):
        derived = descriptor.derive(index)
        script = bytes(derived.script_pubkey().data)
        if script in wanted:
            found[script] = bytes(derived.key.private_key.secret)
    return found
