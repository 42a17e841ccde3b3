"""The mempool of a simulated node, by the rules of Bitcoin Core 28 to 30 as far as a sender of transactions can tell.

The order of the checks is Core's (MemPoolAccept in validation.cpp), because it decides which reason a sender hears: a
rival that pays more is named before a script that policy refuses. Scripts are not run; what a node would refuse for
them is said by `Policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.simulation.blocks import (
    ActiveChain,
    Coin,
    Forbidden,
    Verify,
    fee_of,
    require_aged,
    require_final,
    require_sane,
)
from tests.simulation.transactions import Tx
from withdrawals.core.model import TxOut
from withdrawals.core.types import Feerate, OutPoint, Txid, Wtxid
from withdrawals.ports import Clock

HOUR_S: Final = 3_600
_ROLLING_HALF_LIFE_S: Final = 12 * HOUR_S


class Refused(Exception):
    """A mempool does not take it. `reason`: Core's words; `code`: Core's number for a sender."""

    def __init__(self, reason: str, *, code: int = -26) -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


@dataclass
class Policy:
    """What one node thinks of transactions that consensus allows. May be changed at any time."""

    min_relay: Feerate = Feerate(1_000)
    incremental: Feerate = Feerate(1_000)
    """What a replacement pays more for each of its own bytes; Core 30 asks 100 for both."""
    size_max_vbytes: int = 300_000_000
    expiry_s: int = 336 * HOUR_S
    chain_max: int = 25
    """Unconfirmed ancestors, and descendants, of a transaction, itself included."""
    chain_max_vbytes: int = 101_000
    evictions_max: int = 100
    replacement_may_add_unconfirmed: bool = False
    """BIP125's second rule was dropped in Core 31."""
    nonstandard: set[Wtxid] = field(default_factory=set)
    """Bytes that this node never relays: their scripts fail its flags."""
    refuses_output: Callable[[TxOut], bool] | None = None
    """An output that this node never relays."""


class Entry(NamedTuple):
    """A transaction in the mempool, and when it came."""

    tx: Tx
    fee_sats: int
    entered_at: int

    @property
    def feerate(self) -> float:
        """sat/vB, to sort by; two integers are compared where a rule depends on it."""
        return self.fee_sats / self.tx.vsize


class Mempool:
    """Unconfirmed transactions of one node, over its chain. Parents need not stand before children in `entries`."""

    def __init__(self, chain: ActiveChain, policy: Policy, clock: Clock, verify: Verify | None = None) -> None:
        self.entries: dict[Txid, Entry] = {}
        self.spenders: dict[OutPoint, Txid] = {}
        self._chain, self.policy, self._clock, self._verify = chain, policy, clock, verify
        self._vbytes = 0
        self._floor = 0
        self._floor_at: int | None = None

    # --------------------------------------------------------------------------------------------------------- reading

    def coin(self, outpoint: OutPoint) -> Coin | None:
        """An output of the chain or of the mempool, whoever in the mempool spends it."""
        made = self.entries.get(outpoint.txid)
        if made is not None:
            if outpoint.vout >= len(made.tx.outputs):
                return None
            return Coin(made.tx.outputs[outpoint.vout], self._chain.tip.height + 1, coinbase=False)
        return self._chain.coins.get(outpoint)

    def ancestors(self, tx: Tx) -> dict[Txid, Entry]:
        """Everything unconfirmed that it descends from, without itself, nearest first."""
        found: dict[Txid, Entry] = {}
        waiting = [tx]
        for each in waiting:
            for outpoint in each.prevouts:
                parent = self.entries.get(outpoint.txid)
                if parent is not None and outpoint.txid not in found:
                    found[outpoint.txid] = parent
                    waiting.append(parent.tx)
        return found

    def descendants(self, txs: Iterable[Tx]) -> dict[Txid, Entry]:
        """Everything in the mempool that descends from these, with those of these that are in it themselves."""
        found: dict[Txid, Entry] = {}
        waiting = list(txs)
        for tx in waiting:
            entry = self.entries.get(tx.txid)
            if entry is not None:
                found[tx.txid] = entry
            for outpoint in tx.outpoints:
                child = self.spenders.get(outpoint)
                if child is not None and child not in found:
                    found[child] = self.entries[child]
                    waiting.append(self.entries[child].tx)
        return found

    def rivals(self, tx: Tx) -> dict[Txid, Entry]:
        """What spends an outpoint that this spends too."""
        names = dict.fromkeys(self.spenders[o] for o in tx.prevouts if o in self.spenders)
        return {txid: self.entries[txid] for txid in names if txid != tx.txid}

    def min_feerate(self) -> Feerate:
        """sat/kvB below which nothing is taken now: more than the relay minimum for a while after an eviction."""
        return Feerate(max(self.policy.min_relay, self._rolling_floor()))

    def ordered(self) -> list[Entry]:
        """By feerate, highest first, but no child before its parents."""
        placed: dict[Txid, Entry] = {}
        for entry in sorted(self.entries.values(), key=lambda e: -e.feerate):
            if entry.tx.txid in placed:
                continue
            family = [e for e in self.ancestors(entry.tx).values() if e.tx.txid not in placed]
            for older in _parents_first(family):
                placed[older.tx.txid] = older
            placed[entry.tx.txid] = entry
        return list(placed.values())

    # ---------------------------------------------------------------------------------------------------------- taking

    def accept(self, tx: Tx, *, limits: bool = True, fee_max_of: Callable[[int], int] | None = None) -> None:
        """Take a transaction in, and out whatever it replaces. Raises `Refused`.

        Without `limits` no feerate is asked, as when a reorg gives it back. `fee_max_of`: the sender's own cap on the
        fee by virtual size, looked at when the mempool would take it.
        """
        fee, coins = self._check_inputs(tx)
        if limits:
            self._check_feerate(tx, fee)
        family = self.ancestors(tx)
        rivals = self.rivals(tx)
        gone = self.descendants([entry.tx for entry in rivals.values()]) if rivals else {}
        self._check_chain(tx, family, gone)
        if rivals:
            self._check_replacement(tx, fee, rivals, gone)
        self._check_scripts(tx, coins)
        if fee_max_of is not None and fee > fee_max_of(tx.vsize):
            raise Refused("Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)", code=-25)
        self._drop(gone)
        self._add(Entry(tx, fee, self._clock.now()))
        if limits:
            self._expire()
            self._trim()
            if tx.txid not in self.entries:
                raise Refused("mempool full")

    def force(self, tx: Tx) -> None:
        """Hold it whatever policy says, and not its rivals. Raises `Refused` where consensus forbids it."""
        held = self.entries.get(tx.txid)
        if held is not None:
            # The same spends and outputs in other bytes: what descends from it stays.
            self._vbytes += tx.vsize - held.tx.vsize
            self.entries[tx.txid] = held._replace(tx=tx)
            return
        fee, coins = self._check_inputs(tx, policy=False)
        if self._verify is not None and not self._verify(tx.raw, [coin.output for coin in coins]):
            raise Refused("mempool-script-verify-flag-failed")
        self._drop(self.descendants([entry.tx for entry in self.rivals(tx).values()]))
        self._add(Entry(tx, fee, self._clock.now()))

    def _check_inputs(self, tx: Tx, *, policy: bool = True) -> tuple[int, list[Coin]]:
        chain = self._chain
        height = chain.tip.height + 1
        try:
            require_sane(tx)
            if policy and self.policy.refuses_output is not None and any(map(self.policy.refuses_output, tx.outputs)):
                raise Refused("scriptpubkey")
            require_final(tx, height, chain.tip.median_time)
            held = self.entries.get(tx.txid)
            if held is not None:
                same = held.tx.wtxid == tx.wtxid
                raise Refused("txn-already-in-mempool" if same else "txn-same-nonwitness-data-in-mempool")
            coins = [coin for coin in map(self.coin, tx.prevouts) if coin is not None]
            if len(coins) < len(tx.prevouts):
                if any(o in chain.coins for o in tx.outpoints):
                    raise Refused("txn-already-known")
                raise Refused("bad-txns-inputs-missingorspent", code=-25)
            require_aged(tx, coins, height)
            return fee_of(tx, coins, height), coins
        except Forbidden as forbidden:
            raise Refused(forbidden.reason) from forbidden

    def _check_feerate(self, tx: Tx, fee: int) -> None:
        floor = self._rolling_floor()
        if floor and fee < fee_at(floor, tx.vsize):
            raise Refused(f"mempool min fee not met, {fee} < {fee_at(floor, tx.vsize)}")
        if fee < fee_at(self.policy.min_relay, tx.vsize):
            raise Refused(f"min relay fee not met, {fee} < {fee_at(self.policy.min_relay, tx.vsize)}")

    def _check_chain(self, tx: Tx, family: dict[Txid, Entry], gone: dict[Txid, Entry]) -> None:
        if not family:
            return
        policy = self.policy
        if any(txid in gone for txid in family):
            raise Refused(f"bad-txns-spends-conflicting-tx, {tx.txid} spends what it replaces")
        if len(family) + 1 > policy.chain_max:
            raise Refused(f"too-long-mempool-chain, too many unconfirmed ancestors [limit: {policy.chain_max}]")
        if tx.vsize + sum(e.tx.vsize for e in family.values()) > policy.chain_max_vbytes:
            raise Refused("too-long-mempool-chain, exceeds ancestor size limit")
        for entry in family.values():
            below = {t: e for t, e in self.descendants([entry.tx]).items() if t not in gone}
            if len(below) + 1 > policy.chain_max:
                raise Refused(f"too-long-mempool-chain, too many descendants for tx {entry.tx.txid}")
            if tx.vsize + sum(e.tx.vsize for e in below.values()) > policy.chain_max_vbytes:
                raise Refused(f"too-long-mempool-chain, exceeds descendant size limit for tx {entry.tx.txid}")

    def _check_replacement(self, tx: Tx, fee: int, rivals: dict[Txid, Entry], gone: dict[Txid, Entry]) -> None:
        policy = self.policy
        for rival in rivals.values():
            if fee * rival.tx.vsize <= rival.fee_sats * tx.vsize:
                raise Refused(f"insufficient fee, rejecting replacement {tx.txid}; new feerate <= old feerate")
        if len(gone) > policy.evictions_max:
            raise Refused(f"too many potential replacements, rejecting replacement {tx.txid}; too many evictions")
        if not policy.replacement_may_add_unconfirmed:
            old = {o.txid for rival in rivals.values() for o in rival.tx.prevouts}
            for outpoint in tx.prevouts:
                if outpoint.txid in self.entries and outpoint.txid not in old:
                    raise Refused(f"replacement-adds-unconfirmed, replacement {tx.txid} adds unconfirmed input")
        lost = sum(entry.fee_sats for entry in gone.values())
        if fee < lost:
            raise Refused(f"insufficient fee, rejecting replacement {tx.txid}, less fees than conflicting txs")
        if fee - lost < fee_at(policy.incremental, tx.vsize):
            raise Refused(f"insufficient fee, rejecting replacement {tx.txid}, not enough additional fees to relay")

    def _check_scripts(self, tx: Tx, coins: Sequence[Coin]) -> None:
        if tx.wtxid in self.policy.nonstandard:
            raise Refused("mempool-script-verify-flag-failed (this node's policy refuses these bytes)")
        if self._verify is not None and not self._verify(tx.raw, [coin.output for coin in coins]):
            raise Refused("mempool-script-verify-flag-failed (a signature or script fails)")

    # --------------------------------------------------------------------------------------------------------- leaving

    def clear(self) -> None:
        """As after a crash."""
        self.entries.clear()
        self.spenders.clear()
        self._vbytes, self._floor, self._floor_at = 0, 0, None

    def remove(self, txs: Iterable[Tx]) -> None:
        """These, and whatever descends from them."""
        self._drop(self.descendants(txs))

    def confirmed(self, txs: Iterable[Tx]) -> None:
        """A block holds these: they leave, and so do their rivals with all that descends from those."""
        if not self.entries:
            return
        for tx in txs:
            held = self.entries.get(tx.txid)
            if held is not None:
                self._drop({tx.txid: held})
            rivals = self.rivals(tx)
            if rivals:
                self._drop(self.descendants([entry.tx for entry in rivals.values()]))

    def reload(self, entry: Entry) -> None:
        """From `mempool.dat`: through policy, with the time at which it came; what is too old or refused is gone."""
        if entry.entered_at < self._clock.now() - self.policy.expiry_s:
            return
        with suppress(Refused):
            self.accept(entry.tx)
            self.entries[entry.tx.txid] = self.entries[entry.tx.txid]._replace(entered_at=entry.entered_at)

    def reorganised(self, lost: Iterable[Tx]) -> None:
        """The chain is another one, which does not hold `lost` (oldest first): take back what policy allows."""
        for tx in lost:
            try:
                self.accept(tx, limits=False)
            except Refused:
                # Core drops what descends from it; the same txid in another witness stays.
                if tx.txid not in self.entries:
                    self.remove([tx])
        for entry in list(self.entries.values()):
            if entry.tx.txid in self.entries and not self._still_fits(entry.tx):
                self.remove([entry.tx])
        self._expire()
        self._trim()

    def block_came(self) -> None:
        """The feerate that an eviction asked for decays from here on."""
        if self._floor and self._floor_at is None:
            self._floor_at = self._clock.now()

    def _still_fits(self, tx: Tx) -> bool:
        coins = [coin for coin in map(self.coin, tx.prevouts) if coin is not None]
        tip = self._chain.tip
        try:
            require_final(tx, tip.height + 1, tip.median_time)
            if len(coins) < len(tx.prevouts):
                return False
            require_aged(tx, coins, tip.height + 1)
            fee_of(tx, coins, tip.height + 1)
        except Forbidden:
            return False
        return True

    def _expire(self) -> None:
        """Lazily, as Core does: only when something else comes in."""
        oldest = self._clock.now() - self.policy.expiry_s
        late = [entry.tx for entry in self.entries.values() if entry.entered_at < oldest]
        if late:
            self.remove(late)

    def _trim(self) -> None:
        """Over its size, the worst package leaves: the lowest of the higher of a feerate and its descendants'."""
        while self._vbytes > self.policy.size_max_vbytes:
            packages = [self.descendants([entry.tx]) for entry in self.entries.values()]
            worst = min(packages, key=_package_feerate)
            fees, vbytes = _sums(worst)
            self._floor = max(self._floor, fees * 1_000 // vbytes + self.policy.incremental)
            self._floor_at = None
            self._drop(worst)

    def _rolling_floor(self) -> int:
        """Halved for every whole half-life since the block after the last eviction; then nothing (Core's GetMinFee)."""
        if not self._floor or self._floor_at is None:
            return self._floor
        halvings = (self._clock.now() - self._floor_at) // _ROLLING_HALF_LIFE_S
        floor = self._floor >> halvings if halvings > 0 else self._floor
        return 0 if floor < self.policy.incremental // 2 else max(floor, self.policy.incremental)

    def _add(self, entry: Entry) -> None:
        self.entries[entry.tx.txid] = entry
        self._vbytes += entry.tx.vsize
        for outpoint in entry.tx.prevouts:
            self.spenders[outpoint] = entry.tx.txid

    def _drop(self, gone: dict[Txid, Entry]) -> None:
        for txid, entry in gone.items():
            del self.entries[txid]
            self._vbytes -= entry.tx.vsize
            for outpoint in entry.tx.prevouts:
                del self.spenders[outpoint]


def fee_at(feerate: int, vsize: int) -> int:
    """The fee of so many virtual bytes at sat/kvB, rounded up (Core's CFeeRate::GetFee since 28)."""
    return -(-feerate * vsize // 1_000)


def _sums(package: dict[Txid, Entry]) -> tuple[int, int]:
    return sum(e.fee_sats for e in package.values()), sum(e.tx.vsize for e in package.values())


def _package_feerate(package: dict[Txid, Entry]) -> float:
    fees, vbytes = _sums(package)
    return max(next(iter(package.values())).feerate, fees / vbytes)


def _parents_first(family: Sequence[Entry]) -> list[Entry]:
    """Entries sorted so that none stands before one that it spends; otherwise in the order they came."""
    waiting = {entry.tx.txid: entry for entry in family}
    placed: list[Entry] = []

    while waiting:
        ready = [e for e in waiting.values() if not any(o.txid in waiting for o in e.tx.prevouts)]
        for entry in ready:
            del waiting[entry.tx.txid]
        placed += ready
    return placed
