"""The disk fails at the first, the second, the third ... call of one withdrawal's way, until there is no such call."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import count

import pytest

from tests.functional.disk_victim import Order, Report

log = logging.getLogger(__name__)

EVERY_CALL = "WITHDRAWALS_EVERY_CALL"
"""Set to 1, no call is passed over: a quarter of an hour. Else the ledger's many writes are tried by steps."""
STEPS = {1: 7, None: 19}
"""By how often the fault is met: once, or until there is room."""
LEDGER = r"/ledger\.db(-wal|-shm)?$"
JOURNAL = r"/journal$|/victim$"
"""The file, and the directory that holds its name."""
Victim = Callable[[Order], Report]


@pytest.fixture(scope="module")
def victim(disk_faults: None) -> Iterator[Victim]:
    """One program that forks a victim for every order."""
    command = [sys.executable, "-m", "tests.functional.disk_victim"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        orders, reports = program.stdin, program.stdout
        assert orders is not None
        assert reports is not None

        def live(order: Order) -> Report:
            orders.write(json.dumps(asdict(order)) + "\n")
            orders.flush()
            told = json.loads(reports.readline())
            return Report(told["refused"], tuple(told["troubles"]), tuple(told["wrong"]))

        yield live
        orders.close()


@pytest.mark.timeout(900)
@pytest.mark.covers("P3", "I2", "I12")
@pytest.mark.parametrize("times", [1, None], ids=["once", "until there is room"])
@pytest.mark.parametrize(
    ("fault", "files", "steps"),
    [
        pytest.param("FULL", LEDGER, {"open", "enqueue", "plan", "sign", "broadcast"}, id="the ledger's disk is full"),
        pytest.param("BAD_WRITES", LEDGER, {"open", "enqueue", "plan", "sign", "broadcast"}, id="its writes fail"),
        pytest.param("BAD_SYNCS", LEDGER, {"enqueue", "plan", "sign", "broadcast"}, id="its syncs fail"),
        pytest.param("FULL", JOURNAL, {"sign"}, id="the journal's disk is full"),
        pytest.param("BAD_WRITES", JOURNAL, {"sign"}, id="the journal's writes fail"),
        pytest.param("BAD_SYNCS", JOURNAL, {"sign"}, id="the journal's syncs fail"),
    ],
)
def test_whatever_call_the_disk_fails_at_it_is_told_and_paid_once_in_the_end(
    victim: Victim, fault: str, files: str, steps: set[str], times: int | None
) -> None:
    """A typed error at that step and no other end; the same process goes on; the chain pays once; the audit agrees."""
    met: Counter[str] = Counter()
    many = files == LEDGER and fault != "BAD_SYNCS" and os.environ.get(EVERY_CALL) != "1"
    for first in count(1, STEPS[times] if many else 1):
        report = victim(Order(fault, files, first, times))
        assert report.wrong == (), f"{fault} at call {first}: {report}"
        if not report.refused:
            assert report.troubles == ()
            break
        met.update(trouble.split(":")[0] for trouble in report.troubles)
        met["nowhere, for it was no loss"] += not report.troubles
    log.info("%s of %s at call 1 to %d: %s", fault, files, first - 1, dict(met))
    assert steps <= met.keys() if times else met.keys() & steps, met


def test_the_way_without_a_fault_meets_none(victim: Victim) -> None:
    """So what the other tests see is the fault's doing."""
    assert victim(Order("BAD_WRITES", "/no-such-file$", 1, None)) == Report(0, (), ())
