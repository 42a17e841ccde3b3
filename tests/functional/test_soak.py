"""A slice of `make soak`: seconds of load while things die and lie, and everybody is paid exactly once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from regtest.network import Network
from regtest.oracle import payments_by_script, payments_to
from regtest.provision import NodeProgram, RedisProgram
from tests.soak.judge import Owed, wrongly_paid

SEED = 1795
MINUTES = 0.2
KILLS_MIN = 5
KINDS_MIN = 4
SCRIPT = "0014" + "11" * 20
OTHER = "0014" + "22" * 20


@pytest.mark.timeout(240)
@pytest.mark.covers("P3", "P7", "I9")
def test_nobody_is_paid_twice_or_never_while_things_die_and_lie(
    bitcoind_binary: NodeProgram, redis_program: RedisProgram
) -> None:
    """Workers, Redis and node are killed, frozen, flushed; blocks are lost; other encodings of payments are mined."""
    command = [sys.executable, "-m", "tests.soak", "--minutes", str(MINUTES), "--seed", str(SEED)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=220)
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout.splitlines()[-1])
    assert told["violations"] == []
    kills = {kind: count for kind, count in told["kills"].items() if count}
    assert sum(kills.values()) >= KILLS_MIN, kills
    assert len(kills) >= KINDS_MIN, kills
    assert told["paid"] > 0
    assert told["paid"] + told["cancelled"] == told["requests"]
    assert told["reorgs"] > 0


def test_the_judge_reads_from_blocks_what_was_paid_twice_and_what_never(network: Network) -> None:
    """On a real chain: one that is paid as owed, the same paid once more, and one who waits in vain."""
    start = network.height
    owed = [Owed("one", "", SCRIPT, 50_000), Owed("two", "", OTHER, 60_000)]

    def verdict() -> list[str]:
        paid = payments_by_script(network.rpc, start)
        assert paid.get(SCRIPT, []) == payments_to(network.rpc, SCRIPT, start)
        return list(wrongly_paid(owed, (), {script: [p.sats for p in found] for script, found in paid.items()}))

    network.fund(SCRIPT, 50_000)
    assert verdict() == [f"chain: 1 x 60000 sats never paid to {OTHER} (two)"]
    network.fund(OTHER, 60_000)
    assert verdict() == []
    network.fund(SCRIPT, 50_000)
    assert verdict() == [f"chain: 1 x 50000 sats paid though not owed to {SCRIPT} (one)"]
