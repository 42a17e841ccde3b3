"""Pure decisions: planning from one payment to a full batch, and exclusion over deep lineages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from tests.bench.measure import Row, compare
from tests.unit.builders import WIDE, batched, coin, decide, planned, request
from tests.unit.worlds import txid_named
from withdrawals.core.exclusion import Intent, judge_exclusion
from withdrawals.core.planning import check_plan
from withdrawals.core.types import Ntxid, OutPoint, Txid, WithdrawalId
from withdrawals.errors import ensure

PLANNING_TITLE: Final = (
    "Planning: the queue to one unsigned transaction, and its proof before a signature (processor time)"
)
EXCLUSION_TITLE: Final = "Exclusion: may this plan be shown to a signer? (processor time)"
_SIZES: Final = (1, 10, 100, 1_000, 3_000)
_KNOWN: Final = 100
"""Larger batches are compared with this one."""
_COINS: Final = 1_000
_PAY_SATS: Final = 100_000


def run_planning(budget_s: float) -> list[Row]:
    """1 to 3,000 payments from a thousand coins: per payment, a large batch should cost no more than a small one."""
    rows, known_us = [], 0.0
    for size in _SIZES:
        queue = [request(n, _PAY_SATS + n) for n in range(1, size + 1)]
        coins = [coin(n, 2_000_000) for n in range(1, _COINS + 1)]
        calls: dict[str, Callable[[], object]] = {
            "plan": partial(decide, queue, coins),
            "prove": partial(check_plan, planned(queue, coins), batched(queue), WIDE),
        }
        taken = compare(calls, budget_s / len(_SIZES))
        plan_us = taken["plan"].best_s / size * 1e6
        known_us = plan_us if size == _KNOWN else known_us
        against = (f"per payment of {_KNOWN}", known_us) if size > _KNOWN else ("", 0.0)
        note = f"{taken['plan'].best_s * 1000:.3g} ms in all"
        rows.append(Row(f"plan {size:,} payments, per payment", plan_us, "us", *against, note))
        rows.append(Row(f"prove {size:,} payments, per payment", taken["prove"].best_s / size * 1e6, "us"))
    return rows


def run_exclusion(budget_s: float) -> list[Row]:
    """A chain of generations, each spending from the one before; and a full batch with many earlier attempts."""
    cases: dict[str, tuple[Callable[[], bool], int]] = {}
    for depth in (1, 10, 100, 1_000):
        cases[f"one withdrawal, generation {depth:,}, per earlier plan"] = (_lineage(depth), depth)
    for payments, bumps in ((200, 1), (200, 10), (3_000, 10)):
        cases[f"{payments:,} withdrawals, {bumps} earlier plans, per pair"] = (
            _batch(payments, bumps),
            payments * bumps,
        )
    rows = []
    for name, (judge, pairs) in cases.items():
        ensure(judge(), f"the case {name!r} is permitted")
        best_s = compare({"judge": judge}, budget_s / len(cases))["judge"].best_s
        rows.append(Row(name, best_s / pairs * 1e6, "us", note=f"{best_s * 1000:.3g} ms in all"))
    return rows


_W: Final = WithdrawalId("w-1")


def _lineage(depth: int) -> Callable[[], bool]:
    """A lineage as re-issues make it: each generation lost its coin to a displacer, and the next spends its output."""
    known: dict[Txid, Intent] = {}
    earlier: list[Intent] = []
    base = OutPoint(txid_named("the first coin"), 0)
    for generation in range(depth):
        plan = Intent(Ntxid(f"plan {generation}"), frozenset({base}), frozenset({_W}), sealed=True)
        displacer = txid_named(f"displacer {generation}")
        known[displacer] = Intent(Ntxid(f"displacer {generation}"), frozenset({base}), frozenset(), sealed=True)
        earlier.append(plan)
        base = OutPoint(displacer, 1)
    candidate = Intent(Ntxid("candidate"), frozenset({base}), frozenset({_W}), sealed=True)
    return lambda: judge_exclusion(candidate, {_W: earlier}, known).permitted


def _batch(payments: int, bumps: int) -> Callable[[], bool]:
    """A bump of a batch that was bumped before."""
    ids = frozenset(WithdrawalId(f"w-{n}") for n in range(payments))
    coins = frozenset(OutPoint(txid_named(f"coin {n}"), 0) for n in range(20))
    plans = [Intent(Ntxid(f"plan {n}"), coins, ids, sealed=True) for n in range(bumps + 1)]
    earlier = dict.fromkeys(ids, plans[:-1])
    return lambda: judge_exclusion(plans[-1], earlier, {}).permitted
