"""A slice of `make soak`: seconds of load while things die and lie, and everybody is paid exactly once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from regtest.network import Network
from regtest.oracle import payments_by_script, payments_to
from regtest.provision import NodeProgram, RedisProgram
from tests.soak.judge import Owed, differences_of

SEED = 1795
MINUTES = 0.2
SCRIPT = "0014" + "11" * 20
OTHER = "0014" + "22" * 20


@pytest.mark.timeout(600)
@pytest.mark.covers("P3", "P7", "I9")
@pytest.mark.parametrize(
    ("kills_per_minute", "kills_min", "roles_min"),
    [
        pytest.param(0, 3, 3, id="kills and freezes by schedule"),
        pytest.param(150, 12, 4, id="storm of kills"),
    ],
)
def test_nobody_is_paid_twice_or_never_while_things_die_and_lie(
    bitcoind_binary: NodeProgram, redis_program: RedisProgram, kills_per_minute: int, kills_min: int, roles_min: int
) -> None:
    """Workers, Redis and node are killed, frozen, flushed; blocks are lost; other encodings of payments are mined."""
    command = [sys.executable, "-m", "tests.soak", "--minutes", str(MINUTES), "--seed", str(SEED)]
    if kills_per_minute:
        command += ["--kills", str(kills_per_minute)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=580)
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout.splitlines()[-1])
    assert (told["violations"], told["paid_twice"], told["lost"]) == ([], 0, 0)
    assert told["kills"] == sum(told["kills_by_role"].values()) >= kills_min, told
    assert len(told["kills_by_role"]) >= roles_min, told
    assert told["recovery_s"].keys() <= told["kills_by_role"].keys()
    assert all(0 < times["median"] <= times["p99"] for times in told["recovery_s"].values()), told
    assert told["freezes"] + told["flushes"] > 0
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
        amounts = {script: [p.sats for p in found] for script, found in paid.items()}
        return [words for difference in differences_of(owed, (), amounts) for words in difference.words()]

    network.fund(SCRIPT, 50_000)
    assert verdict() == [f"chain: 1 x 60000 sats never paid to {OTHER} (two)"]
    network.fund(OTHER, 60_000)
    assert verdict() == []
    network.fund(SCRIPT, 50_000)
    assert verdict() == [f"chain: 1 x 50000 sats paid though not owed to {SCRIPT} (one)"]
