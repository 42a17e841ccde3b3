"""What a transaction spends, asked of a node: a third party has nothing else to go by."""

from __future__ import annotations

from collections.abc import Sequence

from bitcoin.core import CTransaction

from regtest.malleate.inputs import Prevout
from regtest.malleate.transaction import parse_transaction
from regtest.rpc import Json, Rpc, RpcError, sats_of

_RPC_INVALID_ADDRESS_OR_KEY = -5


class PrevoutUnknown(LookupError):
    """The node can tell nothing of an output that the transaction spends."""


def fetch_prevouts(rpc: Rpc, raw: bytes, known: Sequence[bytes] = ()) -> list[Prevout]:
    """The outputs that `raw` spends, in order of its inputs. Raises `PrevoutUnknown`.

    Looked for among the raw transactions in `known`, then in the chain's unspent outputs, then in mempool and index: an
    output that was spent in a block meanwhile is only found with `-txindex`, or in `known`.
    """
    parents = {tx.GetTxid(): tx for tx in map(parse_transaction, known)}
    return [_fetch_prevout(rpc, i.prevout.hash, i.prevout.n, parents) for i in parse_transaction(raw).vin]


def _fetch_prevout(rpc: Rpc, parent: bytes, vout: int, parents: dict[bytes, CTransaction]) -> Prevout:
    if parent in parents:
        return _output_of(parents[parent], vout)
    txid = parent[::-1].hex()
    # Without the mempool: the transaction at hand may sit in it, and then its prevouts would count as spent.
    unspent: Json = rpc.gettxout(txid, vout, False)  # noqa: FBT003 - the node's parameter order, not ours
    if unspent is not None:
        return Prevout(bytes.fromhex(unspent["scriptPubKey"]["hex"]), sats_of(unspent["value"]))
    try:
        found = rpc.getrawtransaction(txid)
    except RpcError as error:
        if error.code != _RPC_INVALID_ADDRESS_OR_KEY:
            raise
        raise PrevoutUnknown(f"{txid}:{vout} is not unspent, and the node does not have its transaction") from error
    return _output_of(parse_transaction(bytes.fromhex(found)), vout)


def _output_of(tx: CTransaction, vout: int) -> Prevout:
    return Prevout(bytes(tx.vout[vout].scriptPubKey), int(tx.vout[vout].nValue))
