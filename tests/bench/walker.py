"""The block walker against python-bitcoinlib's full parse of the same blocks, and what watching costs."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from typing import Final

from bitcoin.core import CBlock

from tests.bench.blocks import address_script, block_of_batches, block_of_small_transactions
from tests.bench.measure import Row, compare
from withdrawals.core.blockscan import Watch, scan_block_for, watch_of
from withdrawals.core.tx import outpoint_bytes
from withdrawals.core.types import OutPoint, ScriptPubKey, Txid

TITLE: Final = "A full block of 4,000,000 weight units, 100,000 outpoints and 10,000 scripts watched (processor time)"
OUTPOINTS, SCRIPTS = 100_000, 10_000
_MIB: Final = 1 << 20


def run(budget_s: float) -> list[Row]:
    """Blocks of strangers, in which nothing is parsed; then one whose ten batches are all ours, and are."""
    rng = random.Random(1)
    outpoints = [OutPoint(Txid(rng.randbytes(32).hex()), rng.randrange(4)) for _ in range(OUTPOINTS)]
    scripts = frozenset(ScriptPubKey(address_script(rng, mixed=False)) for _ in range(SCRIPTS))
    watch = watch_of(outpoints, scripts)
    ours = outpoint_bytes(outpoints[0])
    blocks = {
        "many small transactions": block_of_small_transactions(rng),
        "ten full batches to P2WPKH": block_of_batches(rng, mixed=False),
        "ten full batches to every kind of address": block_of_batches(rng, mixed=True),
        "ten full batches, each of them ours": block_of_batches(
            rng, mixed=False, prevout=ours, payee=next(iter(scripts))
        ),
    }
    rows = [_block_row(name, raw, watch, budget_s / (len(blocks) + 1)) for name, raw in blocks.items()]
    return [*rows, *_watch_rows(outpoints, scripts, budget_s / (len(blocks) + 1))]


def _block_row(name: str, raw: bytes, watch: Watch, budget_s: float) -> Row:
    taken = compare(
        {"walker": lambda: scan_block_for(raw, watch), "full parse": lambda: CBlock.deserialize(raw)}, budget_s
    )
    walker, parse = taken["walker"], taken["full parse"]
    note = (
        f"{len(raw):,} bytes; medians {walker.median_s * 1000:.3g} and {parse.median_s * 1000:.3g} ms of {parse.rounds}"
    )
    return Row(name, walker.best_s * 1000, "ms", "CBlock.deserialize", parse.best_s * 1000, note)


def _watch_rows(outpoints: list[OutPoint], scripts: frozenset[ScriptPubKey], budget_s: float) -> list[Row]:
    making = compare({"watch": lambda: watch_of(outpoints, scripts)}, budget_s)["watch"]
    per = "100,000 outpoints"
    return [
        Row(f"making the watch of {per}", making.best_s * 1000, "ms", note="once, however many blocks are walked"),
        Row(f"memory of the watch of {per}", _memory_of(lambda: watch_of(outpoints, scripts)), "MiB"),
        Row(
            f"memory of {per} as values", _memory_of(lambda: _copies(outpoints)), "MiB", note="as the ledger loads them"
        ),
    ]


def _copies(outpoints: list[OutPoint]) -> frozenset[OutPoint]:
    """New values that share nothing with the old ones."""
    return frozenset(OutPoint(Txid(o.txid[:1] + o.txid[1:]), o.vout) for o in outpoints)


def _memory_of(make: Callable[[], object]) -> float:
    """MiB that are still taken while the made thing lives."""
    tracemalloc.start()
    try:
        before, _peak = tracemalloc.get_traced_memory()
        made = make()
        after, _peak = tracemalloc.get_traced_memory()
        del made
    finally:
        tracemalloc.stop()
    return (after - before) / _MIB
