"""What a story leaves behind for a report: who did what when, which transactions there were, and what the chain held.

It is plain data, taken down while the story is played and read from the node at its end. Reports draw pictures of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from regtest.malleate import ids_of
from regtest.malleate.transaction import parse_transaction
from regtest.rpc import Json, Rpc


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of a story as a report shows it; ids are whole."""

    label: str
    words: str
    height: int | None = None
    """The height of the tip at that moment."""


class Role(StrEnum):
    """What a transaction is in a story."""

    FUNDING = "funding"
    """It gave the wallet its coins."""
    ATTEMPT = "attempt"
    """Signed by the processor."""
    TWIN = "twin"
    """A mutant of an attempt: the same coins and outputs in another encoding, or by another signature."""
    FOREIGN = "foreign"
    """Somebody else's spend of the same coins."""
    CHILD = "child"
    """A spend of an attempt's output by somebody else."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One transaction, as it was seen."""

    role: Role
    raw: bytes
    name: str
    """What the story calls it: `attempt 1`, `T02b twin`."""

    @property
    def txid(self) -> str:
        """Its id, in display order."""
        return ids_of(self.raw).txid

    @property
    def wtxid(self) -> str:
        """The id of its bytes, witness included."""
        return ids_of(self.raw).wtxid

    @property
    def spends(self) -> tuple[str, ...]:
        """The outpoints that it spends, as `txid:vout`."""
        return tuple(f"{i.prevout.hash[::-1].hex()}:{i.prevout.n}" for i in parse_transaction(self.raw).vin)

    @property
    def outputs(self) -> tuple[tuple[str, int], ...]:
        """Of every output the scriptPubKey in hex, and its satoshis."""
        return tuple((bytes(o.scriptPubKey).hex(), int(o.nValue)) for o in parse_transaction(self.raw).vout)


@dataclass(frozen=True, slots=True)
class BlockSeen:
    """A block that stood at this height at the end of a story, or that a reorg left behind."""

    hash: str
    previous: str
    height: int
    active: bool
    wtxids: tuple[str, ...]
    """Of the exhibits that it holds."""


@dataclass(frozen=True, slots=True)
class Record:
    """All of one story."""

    moments: tuple[Moment, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    blocks: tuple[BlockSeen, ...] = ()
    """Those that hold an exhibit, and those beside them in a fork; by height, the active branch first."""
    customers: tuple[tuple[str, str, int], ...] = ()
    """Request id, scriptPubKey in hex and satoshis owed, of each."""


def blocks_with(rpc: Rpc, exhibits: Iterable[Exhibit], start_height: int) -> tuple[BlockSeen, ...]:
    """Every block above `start_height`, on the active chain or on a branch that lost, that holds one of the exhibits.

    Blocks of lost branches that hold none are there too where the branch holds one: so the fork can be drawn.
    """
    wanted = {exhibit.wtxid for exhibit in exhibits}
    found: dict[str, BlockSeen] = {}
    for tip in rpc.getchaintips():
        if tip["status"] == "headers-only" or int(tip["height"]) <= start_height:
            continue
        branch = _branch(rpc, str(tip["hash"]), start_height, wanted, found)
        if tip["status"] == "active" or any(block.wtxids for block in branch):
            found.update({block.hash: block for block in branch})
    kept = (block for block in found.values() if block.wtxids or not block.active)
    return tuple(sorted(kept, key=lambda block: (block.height, not block.active, block.hash)))


def _branch(rpc: Rpc, tip: str, start_height: int, wanted: set[str], known: dict[str, BlockSeen]) -> list[BlockSeen]:
    """From a tip down to where it meets what is known, or to the story's beginning."""
    branch: list[BlockSeen] = []
    while tip not in known:
        block: Json = rpc.getblock(tip, 2)
        if int(block["height"]) <= start_height:
            break
        here = tuple(str(tx["hash"]) for tx in block["tx"] if tx["hash"] in wanted)
        active = int(block["confirmations"]) >= 0
        branch.append(BlockSeen(tip, str(block["previousblockhash"]), int(block["height"]), active, here))
        tip = str(block["previousblockhash"])
    return branch
