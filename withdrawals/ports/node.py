"""The ports of the node: facts tied to a block hash, the sending of stored bytes, and fee estimates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from withdrawals.core.model import Header
    from withdrawals.core.types import BlockHash, BlockRef, Feerate, OutPoint, Sats, ScriptPubKey, Wtxid


@dataclass(frozen=True, slots=True)
class NodeTip:
    """What the node says of itself in one moment. `time_s`: the tip's header time."""

    block: BlockRef
    headers_height: int
    time_s: int
    chain: str
    """Core's name: main, test, testnet4, signet, regtest."""
    initial_block_download: bool
    """Latches to false and proves nothing; shown to people only."""
    peers: int


@dataclass(frozen=True, slots=True)
class UnspentOutput:
    """An output in the UTXO set of the node's chain, and the height of its block."""

    script: ScriptPubKey
    sats: Sats
    height: int
    coinbase: bool


@dataclass(frozen=True, slots=True)
class UnspentScan:
    """What a node's UTXO set held of a wallet when `block` was its tip. The mempool has no say in it."""

    block: BlockRef
    outputs: Mapping[OutPoint, UnspentOutput]


class ChainSource(Protocol):
    """Facts from a node. Raises NodeUnavailable, NodeRejected, OutcomeUnknown; never guesses."""

    def fetch_tip(self) -> NodeTip:
        """The tip of the node's active chain, and how the node is doing."""

    def fetch_hash(self, height: int) -> BlockHash | None:
        """The block at this height on the node's active chain; None above its tip."""

    def fetch_header(self, block_hash: BlockHash) -> Header:
        """The header of this block, on the active chain or not. Raises NodeRejected where the node never saw it."""

    def fetch_block(self, block_hash: BlockHash) -> bytes:
        """The raw serialised block (BIP144)."""

    def fetch_mempool_spenders(self, outpoints: Collection[OutPoint]) -> Mapping[OutPoint, bytes]:
        """Raw bytes of the mempool transaction that spends each outpoint; missing: the mempool shows none."""

    def fetch_unspent(self, descriptors: Sequence[str], *, index_max: int) -> UnspentScan:
        """Every unspent output of these public descriptors, at indices 0 to `index_max`, whoever made it.

        Reads the node's whole UTXO set, which takes minutes on mainnet. Raises ScanInProgress while another scan runs.
        """


class Sent(StrEnum):
    """What a send came to. The default, for every answer that we cannot read, is `ambiguous`."""

    PRESENT = "present"
    """The node holds exactly this txid, in its mempool or in its chain's UTXO set."""
    CONFLICT = "conflict"
    """Something else spends an input, or an input is gone, or this was long since paid: look at the outpoints."""
    RETRY_SAME_BYTES = "retry_same_bytes"
    """Not now (fees, non-final, premature coinbase, node busy): the same bytes, later."""
    NEVER_SENT = "never_sent"
    """Our own cap refused before anything left the node (max feerate, max burn)."""
    AMBIGUOUS = "ambiguous"
    """No reply, or an answer we do not know. It may be in every mempool."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """`held_wtxid`: the wtxid the node's mempool really holds under our txid; None if it holds none or did not say."""

    outcome: Sent
    reason: str
    held_wtxid: Wtxid | None


class Broadcaster(Protocol):
    """Sends stored bytes. May be repeated freely; never raises for an answer of the node (see `Sent`)."""

    def send(self, raw: bytes, *, feerate_max: Feerate) -> SendResult:
        """Hand these bytes to the node, which refuses them above `feerate_max` (sat/kvB): what came of it."""


class FeeSource(Protocol):
    """Feerate estimates."""

    def fetch_feerate(self, target_blocks: int) -> Feerate | None:
        """sat/kvB, at least the node's own mempool minimum; None where the node has no estimate."""
