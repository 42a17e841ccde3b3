"""Facts of the chain, each checked against the hash it was asked by, and what the mempool shows of our coins."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

from withdrawals.core.model import Header
from withdrawals.core.tx import HEADER_BYTES, HeaderParts, MalformedBlock, MalformedTransaction, header_of, view_of
from withdrawals.core.types import BlockHash, BlockRef, OutPoint, Txid
from withdrawals.errors import ConfigError, NodeRejected, ensure
from withdrawals.node.answers import Answer, Json, accepted, nonsense
from withdrawals.node.rpc import NodeRpc
from withdrawals.node.scanning import scan_unspent
from withdrawals.ports import NodeTip, UnspentScan

Item = TypeVar("Item")

NODE_VERSION_MIN: Final = 290_000
"""Bitcoin Core 29.0, or Knots of that version, as `getnetworkinfo.version` writes it."""

_PREVOUTS_PER_CALL: Final = 1_000
_TRANSACTIONS_PER_BATCH: Final = 20
"""A standard transaction is up to 400,000 weight units: at most 0.8 MB in hex."""
_RPC_MISC_ERROR, _RPC_INVALID_ADDRESS_OR_KEY, _RPC_INVALID_PARAMETER = -1, -5, -8
_MEMPOOL_LOOKS: Final = 2


class NodeChain:
    """`ChainSource` over one node."""

    def __init__(self, rpc: NodeRpc) -> None:
        self._rpc = rpc

    def require_supported(self) -> int:
        """The version as a number: 290000 is 29.0. Raises `ConfigError` if it is too old."""
        version = Answer("getnetworkinfo", self._rpc.call("getnetworkinfo")).whole("version")
        if version < NODE_VERSION_MIN:
            raise ConfigError(f"the node's version is {version}; the oldest that is supported is {NODE_VERSION_MIN}")
        return version

    def fetch_tip(self) -> NodeTip:
        """The tip and what the node says of it, all from one moment: one answer made under the node's main lock."""
        chain, network = self._ask_many([("getblockchaininfo", ()), ("getnetworkinfo", ())])
        block = BlockRef(chain.whole("blocks"), BlockHash(chain.hash("bestblockhash")))
        header = self.fetch_header(block.hash)
        if header.height != block.height:
            raise nonsense("getblockchaininfo", f"tip {block.hash} at height {block.height}, by header {header.height}")
        return NodeTip(
            block=block,
            headers_height=chain.whole("headers"),
            time_s=header.time,
            chain=chain.text("chain"),
            initial_block_download=chain.flag("initialblockdownload"),
            peers=network.whole("connections"),
        )

    def fetch_hash(self, height: int) -> BlockHash | None:
        """The block at this height on the node's active chain; None above its tip."""
        ensure(height >= 0, f"no block has height {height}")
        try:
            return BlockHash(Answer("getblockhash", self._rpc.call("getblockhash", height)).hash())
        except NodeRejected as refusal:
            if refusal.rpc_code == _RPC_INVALID_PARAMETER:  # "Block height out of range"
                return None
            raise

    def fetch_header(self, block_hash: BlockHash) -> Header:
        """A header of any chain the node knows. Raises `NodeRejected` (-5) if it does not know it."""
        described, raw = self._ask_many(
            [("getblockheader", (block_hash, True)), ("getblockheader", (block_hash, False))]
        )
        parts = _checked(block_hash, raw.data(), "getblockheader")
        return Header(described.whole("height"), parts.hash, parts.prev, parts.time)

    def fetch_block(self, block_hash: BlockHash) -> bytes:
        """The raw serialised block (BIP144). Raises `NodeRejected`: -5 if unknown, -1 if pruned."""
        raw = Answer("getblock", self._rpc.call("getblock", block_hash, 0)).data()
        _checked(block_hash, raw[:HEADER_BYTES], "getblock")
        return raw

    def fetch_mempool_spenders(self, outpoints: Collection[OutPoint]) -> Mapping[OutPoint, bytes]:
        """Raw bytes of the mempool transaction that spends each outpoint; missing: the mempool shows none.

        A spender that leaves the mempool between our two questions is looked for once more, then left out.
        """
        spenders: dict[OutPoint, bytes] = {}
        wanted: Collection[OutPoint] = dict.fromkeys(outpoints)
        for _look in range(_MEMPOOL_LOOKS):
            named = self._fetch_spender_names(wanted)
            raws = self._fetch_transactions(dict.fromkeys(named.values()))
            for outpoint, txid in named.items():
                if (raw := raws.get(txid)) is not None:
                    spenders[outpoint] = _checked_spender(outpoint, txid, raw)
            wanted = named.keys() - spenders.keys()
            if not wanted:
                break
        return spenders

    def fetch_unspent(self, descriptors: Sequence[str], *, index_max: int) -> UnspentScan:
        """Every unspent output of these descriptors in the node's UTXO set. See `scanning.scan_unspent`."""
        return scan_unspent(self._rpc, descriptors, index_max=index_max)

    def _fetch_spender_names(self, outpoints: Iterable[OutPoint]) -> dict[OutPoint, Txid]:
        """Which mempool transaction spends each outpoint. The node may answer in another order than it was asked."""
        named: dict[OutPoint, Txid] = {}
        for chunk in _chunks(outpoints, _PREVOUTS_PER_CALL):
            asked = {(outpoint.txid, outpoint.vout): outpoint for outpoint in chunk}
            items = self._ask_prevouts([{"txid": txid, "vout": vout} for txid, vout in asked]).items()
            answered = [(asked.get((Txid(item.hash("txid")), item.whole("vout"))), item) for item in items]
            if len(items) != len(asked) or {outpoint for outpoint, _ in answered} != set(asked.values()):
                raise nonsense("gettxspendingprevout", "it is about other outpoints than asked")
            for outpoint, item in answered:
                # With a block hash it is a spend in a block, found by an index that newer nodes may keep.
                if outpoint is not None and item.has("spendingtxid") and not item.has("blockhash"):
                    named[outpoint] = Txid(item.hash("spendingtxid"))
        return named

    def _ask_prevouts(self, outputs: Sequence[Mapping[str, object]]) -> Answer:
        method = "gettxspendingprevout"
        try:
            return Answer(method, self._rpc.call(method, outputs))
        except NodeRejected as refusal:
            # A node that is still building its index of spenders refuses, unless told that the mempool is enough. Nodes
            # without that index do not know the option, so it is not sent to begin with.
            if refusal.rpc_code != _RPC_MISC_ERROR or "txospenderindex" not in refusal.rpc_message:
                raise
        return Answer(method, self._rpc.call(method, outputs, {"mempool_only": True}))

    def _fetch_transactions(self, txids: Iterable[Txid]) -> dict[Txid, bytes]:
        """The raw bytes of those that the node still has."""
        raws: dict[Txid, bytes] = {}
        for chunk in _chunks(txids, _TRANSACTIONS_PER_BATCH):
            answers = self._rpc.call_many([("getrawtransaction", (txid, 0)) for txid in chunk])
            for txid, answer in zip(chunk, answers, strict=True):
                if isinstance(answer, NodeRejected) and answer.rpc_code == _RPC_INVALID_ADDRESS_OR_KEY:
                    continue
                raws[txid] = Answer("getrawtransaction", accepted(answer)).data()
        return raws

    def _ask_many(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Answer]:
        answers: list[Json] = [accepted(answer) for answer in self._rpc.call_many(calls)]
        return [Answer(method, answer) for (method, _), answer in zip(calls, answers, strict=True)]


def _checked(block_hash: BlockHash, header: bytes, method: str) -> HeaderParts:
    """A raw header that really has this hash."""
    try:
        parts = header_of(header)
    except MalformedBlock as error:
        raise nonsense(method, str(error)) from error
    if parts.hash != block_hash:
        raise nonsense(method, f"asked for block {block_hash}, got {parts.hash}")
    return parts


def _checked_spender(outpoint: OutPoint, txid: Txid, raw: bytes) -> bytes:
    """Raw bytes that really are this transaction and spend this outpoint."""
    try:
        view = view_of(raw)
    except MalformedTransaction as error:
        raise nonsense("getrawtransaction", str(error)) from error
    if view.txid != txid or outpoint not in view.prevouts:
        raise nonsense("getrawtransaction", f"asked for {txid}, the spender of {outpoint}, got {view.txid}")
    return raw


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
