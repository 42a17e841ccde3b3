"""What an audit reads that no step needs: whole tables, page by page, with the columns as they are stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from withdrawals.core.model import Coin, Header, Payment, Spend
    from withdrawals.core.types import BatchId, OutPoint, Wtxid


@dataclass(frozen=True, slots=True)
class FactRows:
    """Every fact that names a block of some heights, whether or not the followed chain has that block."""

    headers: tuple[Header, ...]
    """Lowest first."""
    coins: tuple[Coin, ...]
    spends: tuple[Spend, ...]
    payments: tuple[Payment, ...]


@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """Bytes, and the ids that stand beside them: text as stored, proved by nobody yet."""

    wtxid: str
    txid: str
    ntxid: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Reservation:
    """A coin kept for a batch, from `reserved_at` until `ended_at` (None: still). `id` counts all there ever were."""

    id: int
    outpoint: OutPoint
    batch_id: BatchId
    ended_at: int | None


class BooksView(Protocol):
    """Reads of one consistent snapshot, for whoever proves the rest of it."""

    def list_facts(self, low: int, high: int) -> FactRows:
        """Headers, coins, spends and payments of the heights `low` to `high`, both included."""

    def list_transactions(self, after: str = "", *, limit: int = 1_000) -> tuple[StoredTransaction, ...]:
        """Stored transactions in the order of their wtxids, those after this one."""

    def list_reservations(self, after: int = 0, *, limit: int = 10_000) -> tuple[Reservation, ...]:
        """Every reservation there ever was, in the order in which they were made, those after this id."""

    def load_asked_at(self, batch_id: BatchId) -> Mapping[int, int]:
        """When (Unix seconds) each plan of a batch that was ever asked was asked first, by its number."""

    def load_first_seen(self, wtxids: Collection[Wtxid]) -> Mapping[Wtxid, int]:
        """When (Unix seconds) the bytes of each of these stored transactions first came to us."""
