"""Every part that the project stands on runs here and does its one thing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import redis
import rq
from rq.serializers import JSONSerializer

from regtest.bitcoind import Bitcoind

BURN = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def test_the_node_mines_a_block(node: Bitcoind) -> None:
    [block] = node.rpc.generatetoaddress(1, BURN)
    assert node.rpc.getbestblockhash() == block
    assert node.rpc.getblockcount() == 1
    assert node.rpc.getblockchaininfo()["chain"] == "regtest"


def test_a_worker_process_runs_a_json_job(redis_url: str) -> None:
    connection = redis.Redis.from_url(redis_url)
    try:
        queue = rq.Queue("smoke", connection=connection, serializer=JSONSerializer)
        job = queue.enqueue("operator.add", 20, 22)
        worker = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--url", redis_url]
        done = subprocess.run(
            [*worker, "--serializer", "rq.serializers.JSONSerializer", "smoke"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert job.return_value(refresh=True) == 42
    finally:
        connection.close()


@pytest.mark.parametrize("option", ["-blockmaxsize", "-blockmaxweight"])
def test_the_node_is_told_to_fill_its_blocks(node: Bitcoind, option: str) -> None:
    """Knots mines 300 kB unless told otherwise, and Core does not know the option that tells it."""
    told = any(word.startswith(f"{option}=4000000") for word in node.command())
    assert told == (node.program.is_knots or option == "-blockmaxweight")
