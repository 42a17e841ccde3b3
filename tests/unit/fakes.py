"""What cannot run in a unit test: a node, a clock and dice. The node keeps a real chain of real bytes in memory.

It is as honest as Bitcoin Core about what it has: a block connects only if what it spends is there; a reorg gives the
transactions of the lost blocks back to the mempool, unless policy would not have them; a send is refused where an input
is gone, and replaces only what pays less. It verifies no signature: whoever tests scripts asks a real node.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product

from withdrawals.core.model import Header, TxOut, TxView
from withdrawals.core.tx import InputSignature, hash256, script_of, unsigned_tx, view_of, vsize_of, with_signatures
from withdrawals.core.types import (
    COIN,
    BlockHash,
    BlockRef,
    Feerate,
    Network,
    OutPoint,
    Sats,
    ScriptKind,
    ScriptPubKey,
    Txid,
    Wtxid,
)
from withdrawals.errors import NodeRejected, NodeUnavailable, ScanInProgress
from withdrawals.ports import NodeTip, SendResult, Sent, UnspentOutput, UnspentScan
from withdrawals.signing.descriptors import BRANCHES, parse_wallet

START = 1_700_000_000
BLOCK_S = 600
SUBSIDY = Sats(50 * COIN)
DEPOSIT_FEE_SATS = 10_000
_NO_TXID = Txid("00" * 32)
_UNKNOWN_BLOCK = -5


@dataclass
class FakeClock:
    """Unix seconds that stand still until somebody moves them."""

    at: int = START

    def now(self) -> int:
        return self.at

    def sleep(self, seconds: int) -> None:
        self.at += seconds


@dataclass
class FakeDice:
    """Random enough to differ, and the same in every run."""

    thrown: int = 0

    def hex(self, digits: int) -> str:
        self.thrown += 1
        return hashlib.sha256(f"throw {self.thrown}".encode()).hexdigest()[:digits]


class SilentBell:
    """Nobody hears it; what was rung is noted."""

    def __init__(self) -> None:
        self.rings: list[tuple[str, str]] = []

    def ring(self, job: str, target: str = "") -> bool:
        self.rings.append((job, target))
        return False

    def backlog(self, job: str) -> int:
        return sum(rung == job for rung, _ in self.rings)


@dataclass(frozen=True)
class Block:
    """A block with its bytes, and every output that is unspent once it is connected."""

    header: Header
    txs: tuple[TxView, ...]
    raw: bytes
    unspent: Mapping[OutPoint, TxOut]

    @property
    def ref(self) -> BlockRef:
        return BlockRef(self.header.height, self.header.hash)


def stranger(inputs: Iterable[OutPoint], outputs: Sequence[TxOut], *, script_sig: bytes = b"\x01\x51") -> bytes:
    """A transaction that none of our plans made: somebody else has our keys, or an operator used another wallet."""
    unsigned = unsigned_tx([(o, 0xFFFF_FFFD) for o in inputs], outputs)
    return with_signatures(unsigned, [InputSignature(script_sig)] * len(view_of(unsigned).prevouts))


def customer_script(number: int) -> ScriptPubKey:
    """A script that is not ours."""
    return script_of(ScriptKind.P2WPKH, hashlib.sha256(f"customer {number}".encode()).digest()[:20])


@cache
def _scripts_of(descriptors: tuple[str, ...], index_max: int) -> frozenset[ScriptPubKey]:
    """Every script of these descriptors up to this index, both branches."""
    wallet = parse_wallet(descriptors, Network.REGTEST)
    branches = product(range(len(descriptors)), range(BRANCHES))
    return frozenset(own.script for w, b in branches for own in wallet.own_scripts(w, b, 0, index_max + 1))


@dataclass
class FakeNode:
    """`ChainSource`, `Broadcaster` and `FeeSource` over a chain of its own. Mining moves the clock by ten minutes."""

    clock: FakeClock
    feerate: Feerate | None = None
    headers_ahead: int = 0
    name: str = "regtest"
    """What the node calls its chain."""
    peers: int = 8
    down: str = ""
    """Why the node cannot be reached; empty: it can."""
    scanning: bool = False
    """Somebody else's scan of the UTXO set is under way."""
    lose_replies: bool = False
    """Sends take effect, and nobody hears the answer."""
    mempool: dict[Txid, TxView] = field(default_factory=dict)
    nonstandard: set[Wtxid] = field(default_factory=set)
    """What policy keeps out of every mempool, also after a reorg."""
    sent: list[bytes] = field(default_factory=list)
    """Every transaction that was ever handed to us, in order."""
    _chain: list[Block] = field(default_factory=list)
    _blocks: dict[BlockHash, Block] = field(default_factory=dict)
    _purse: list[OutPoint] = field(default_factory=list)
    _nonce: int = 0

    def __post_init__(self) -> None:
        for _ in range(10):
            self._connect(())

    # ---------------------------------------------------------------------------------------------- verbs for a test

    @property
    def height(self) -> int:
        return self._chain[-1].header.height

    def unspent(self) -> Mapping[OutPoint, TxOut]:
        """Every unspent output of the active chain."""
        return self._chain[-1].unspent

    def transactions(self) -> list[TxView]:
        """Every transaction of the active chain but coinbases, oldest first."""
        return [tx for block in self._chain for tx in block.txs[1:]]

    def paid_to(self, script: ScriptPubKey) -> list[int]:
        """What the active chain pays to this script, output by output."""
        return [o.sats for tx in self.transactions() for o in tx.outputs if o.script == script]

    def deposit(self, *outputs: tuple[ScriptPubKey, int]) -> tuple[OutPoint, ...]:
        """Somebody pays these, and keeps the rest but for a fee; the outpoints, once it is mined."""
        rest = (customer_script(-1), SUBSIDY - sum(sats for _, sats in outputs) - DEPOSIT_FEE_SATS)
        paid = [*outputs, rest] if rest[1] > 0 else outputs
        tx = self.sees(stranger([self.purse()], [TxOut(script, Sats(sats)) for script, sats in paid]))
        return tuple(OutPoint(tx.txid, vout) for vout in range(len(outputs)))

    def purse(self) -> OutPoint:
        """An outpoint of somebody with SUBSIDY to spend."""
        return self._purse.pop(0)

    def sees(self, raw: bytes) -> TxView:
        """Another node relays this to us; what spends the same, we had seen later, and drop."""
        tx = view_of(raw)
        self._drop(set(tx.prevouts))
        self.mempool[tx.txid] = tx
        return tx

    def forgets(self) -> None:
        """The mempool is gone, as after kill -9."""
        self.mempool.clear()

    def mine(self, blocks: int = 1) -> BlockRef:
        """The mempool in the next block, then empty ones."""
        for _ in range(blocks):
            self._connect([tx.raw for tx in self.mempool.values() if self._is_minable(tx)])
        return self._chain[-1].ref

    def mine_exactly(self, *raws: bytes) -> BlockRef:
        """A block of exactly these, whatever policy says of them."""
        self._connect(raws)
        return self._chain[-1].ref

    def reorg(self, depth: int, *blocks: Sequence[bytes], forget: bool = False) -> None:
        """Take `depth` blocks back; `blocks` stand in their place, and empty ones up to one more than there were.

        What the lost blocks held returns to the mempool where it still can, unless the node is made to forget it.
        """
        lost = [tx for block in self._chain[-depth:] for tx in block.txs[1:]]
        waiting = list(self.mempool.values())
        del self._chain[-depth:]
        self.mempool.clear()
        for raws in [*blocks, *[()] * (depth + 1 - len(blocks))]:
            self._connect(raws)
        for tx in ([] if forget else lost) + waiting:
            fits = all(o in self._spendable() and o not in self._taken() for o in tx.prevouts)
            if fits and tx.wtxid not in self.nonstandard:
                self.mempool[tx.txid] = tx

    def rewind(self, depth: int) -> None:
        """Take `depth` blocks back, as `invalidateblock` does, and forget what was in them and in the mempool."""
        del self._chain[-depth:]
        self.mempool.clear()

    def disconnect(self) -> None:
        """The tip's header is known and its block is not (yet): the node re-indexes, or is just starting."""
        self._chain.pop()
        self.headers_ahead += 1

    # ------------------------------------------------------------------------------------------------------ the ports

    def fetch_tip(self) -> NodeTip:
        self._answer()
        header = self._chain[-1].header
        ahead = header.height + self.headers_ahead
        return NodeTip(
            self._chain[-1].ref, ahead, header.time, self.name, initial_block_download=False, peers=self.peers
        )

    def fetch_hash(self, height: int) -> BlockHash | None:
        self._answer()
        return self._chain[height].header.hash if height < len(self._chain) else None

    def fetch_header(self, block_hash: BlockHash) -> Header:
        return self._find(block_hash).header

    def fetch_block(self, block_hash: BlockHash) -> bytes:
        return self._find(block_hash).raw

    def fetch_mempool_spenders(self, outpoints: Collection[OutPoint]) -> Mapping[OutPoint, bytes]:
        self._answer()
        return {o: tx.raw for tx in self.mempool.values() for o in tx.prevouts if o in set(outpoints)}

    def fetch_unspent(self, descriptors: Sequence[str], *, index_max: int) -> UnspentScan:
        self._answer()
        if self.scanning:
            raise ScanInProgress("scantxoutset: the node says: Scan already in progress")
        ours = _scripts_of(tuple(descriptors), index_max)
        made: dict[OutPoint, tuple[int, bool]] = {
            OutPoint(tx.txid, vout): (block.header.height, place == 0)
            for block in self._chain
            for place, tx in enumerate(block.txs)
            for vout in range(len(tx.outputs))
        }
        found = {
            o: UnspentOutput(out.script, out.sats, made[o][0], coinbase=made[o][1])
            for o, out in self.unspent().items()
            if out.script in ours
        }
        return UnspentScan(self._chain[-1].ref, found)

    def fetch_feerate(self, target_blocks: int) -> Feerate | None:
        self._answer()
        return self.feerate if target_blocks else None

    def send(self, raw: bytes, *, feerate_max: Feerate) -> SendResult:
        if self.down:
            return SendResult(Sent.RETRY_SAME_BYTES, self.down, None)
        self.sent.append(raw)
        answer = self._judge(view_of(raw), feerate_max)
        return SendResult(Sent.AMBIGUOUS, "no reply", None) if self.lose_replies else answer

    # -------------------------------------------------------------------------------------------------------- inside

    def _answer(self) -> None:
        if self.down:
            raise NodeUnavailable(self.down)

    def _find(self, block_hash: BlockHash) -> Block:
        self._answer()
        if block_hash not in self._blocks:
            raise NodeRejected("getblock", _UNKNOWN_BLOCK, "Block not found")
        return self._blocks[block_hash]

    def _spendable(self) -> dict[OutPoint, TxOut]:
        """Unspent outputs of the chain and of the mempool."""
        fresh = {OutPoint(tx.txid, vout): out for tx in self.mempool.values() for vout, out in enumerate(tx.outputs)}
        return {**self.unspent(), **fresh}

    def _taken(self) -> set[OutPoint]:
        return {o for tx in self.mempool.values() for o in tx.prevouts}

    def _is_minable(self, tx: TxView) -> bool:
        return all(o in self._spendable() for o in tx.prevouts)

    def _drop(self, outpoints: set[OutPoint]) -> None:
        """Whatever spends these leaves the mempool, and its children with it."""
        for tx in [t for t in self.mempool.values() if outpoints & set(t.prevouts)]:
            self.mempool.pop(tx.txid, None)
            self._drop({OutPoint(tx.txid, vout) for vout in range(len(tx.outputs))})

    def _fee_of(self, tx: TxView) -> int:
        known = self._spendable()
        return sum(known[o].sats for o in tx.prevouts) - sum(o.sats for o in tx.outputs)

    def _judge(self, tx: TxView, feerate_max: Feerate) -> SendResult:  # noqa: PLR0911 -- one line for each answer
        held = self.mempool.get(tx.txid)
        if held is not None:
            return SendResult(Sent.PRESENT, "txn-already-in-mempool", held.wtxid)
        if any(OutPoint(tx.txid, vout) in self.unspent() for vout in range(len(tx.outputs))):
            return SendResult(Sent.PRESENT, "transaction outputs already in utxo set", None)
        if not self._is_minable(tx):
            return SendResult(Sent.CONFLICT, "bad-txns-inputs-missingorspent", None)
        if tx.wtxid in self.nonstandard:
            return SendResult(Sent.AMBIGUOUS, "this node's policy refuses these bytes", None)
        fee, vsize = self._fee_of(tx), vsize_of(tx.raw)
        if fee * 1000 > feerate_max * vsize:
            return SendResult(Sent.NEVER_SENT, "max-fee-exceeded", None)
        rivals = [t for t in self.mempool.values() if set(t.prevouts) & set(tx.prevouts)]
        if any(fee < self._fee_of(r) + vsize or fee * vsize_of(r.raw) <= self._fee_of(r) * vsize for r in rivals):
            return SendResult(Sent.CONFLICT, "insufficient fee, rejecting replacement", None)
        self.sees(tx.raw)
        return SendResult(Sent.PRESENT, "accepted", tx.wtxid)

    def _connect(self, raws: Iterable[bytes]) -> None:
        height = len(self._chain)
        prev = self._chain[-1].header.hash if self._chain else BlockHash("00" * 32)
        unspent = dict(self._chain[-1].unspent) if self._chain else {}
        txs = [self._coinbase(), *(view_of(raw) for raw in raws)]
        for tx in txs:
            for outpoint in tx.prevouts if tx is not txs[0] else ():
                assert outpoint in unspent, f"{tx.txid} spends {outpoint}, which this chain does not have"
                del unspent[outpoint]
            unspent.update((OutPoint(tx.txid, vout), out) for vout, out in enumerate(tx.outputs))
            self.mempool.pop(tx.txid, None)
            self._drop(set(tx.prevouts))
        self.clock.sleep(BLOCK_S)
        # Version, parent, a stand-in for the Merkle root, time, target and nonce: what nobody here checks is not mined.
        root = hash256(b"".join(bytes.fromhex(tx.txid) for tx in txs))
        fields = bytes.fromhex(prev)[::-1] + root + struct.pack("<III", self.clock.at, 0x207F_FFFF, self._nonce)
        header = struct.pack("<i", 1) + fields
        assert len(txs) < 0xFD
        block_hash = BlockHash(hash256(header)[::-1].hex())
        raw = header + bytes([len(txs)]) + b"".join(tx.raw for tx in txs)
        block = Block(Header(height, block_hash, prev, self.clock.at), tuple(txs), raw, unspent)
        self._chain.append(block)
        self._blocks[block_hash] = block

    def _coinbase(self) -> TxView:
        self._nonce += 1
        miner = TxOut(script_of(ScriptKind.P2WPKH, self._nonce.to_bytes(20, "big")), SUBSIDY)
        tx = view_of(unsigned_tx([(OutPoint(_NO_TXID, 0xFFFF_FFFF), self._nonce)], [miner]))
        self._purse.append(OutPoint(tx.txid, 0))
        return tx
