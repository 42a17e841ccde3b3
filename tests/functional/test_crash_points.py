"""Killed at every call of every port, before and after it, and everybody is paid exactly once each time.

How many calls a withdrawal's whole way has is learnt from a process that lives; then a process dies at each of them.
Deaths before a call and deaths after one happen side by side, on a node each.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from regtest.funding import miner_address
from regtest.network import Network
from regtest.provision import NodeProgram
from tests.conftest import has_failed
from tests.functional.crash_ports import When
from tests.functional.crash_victim import BUMP, BUMPED, CONFLICT, FINAL_DEPTH, REISSUED, Order, Report
from tests.functional.world import COIN_SATS, World
from withdrawals import ports
from workers.follower import LEASE_S

SHARES: Final = 6
"""Tests that the points are dealt to; each side of each has its own wallet, ledger and journal."""
SATS: Final = 100_000
RESCUE_S_MAX: Final = 30.0
POLICY: Final = {"final_depth": FINAL_DEPTH, "anchor_depth_min": FINAL_DEPTH, "tip_age_max_s": 1_000_000}
"""The victims' clocks are ahead, so a tip may look old to them."""
LEAVES_A_TRACE: Final = {"ledger.commit", "signer.ask", "broadcaster.send", "bell.ring"}
"""The calls that change anything outside the process."""
NOT_ON_THE_WAY: Final = {"chain.fetch_header", "chain.fetch_unspent"}
"""Methods of the ports that no step calls between a request and its last block."""


class Victims:
    """The program that dies for us on one node, and the orders to it."""

    def __init__(self, network: Network, directory: Path) -> None:
        self.network, self.directory = network, directory
        self.log = directory / "stderr.txt"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.functional.crash_victim"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=Path(__file__).parents[2],
                start_new_session=True,
            )
        self._mine_to = miner_address(network.miner)
        self._ahead_s = 0
        self._worlds: list[World] = []

    def begin(self) -> World:
        """A wallet with money, whose ledger has followed the chain so far."""
        world = World(self.network, self.directory / f"world{len(self._worlds)}", policy=POLICY)
        self._worlds.append(world)
        world.fund_hot_wallet(COIN_SATS, COIN_SATS)
        world.tick()
        return world

    def live(
        self,
        world: World,
        request_id: str,
        *,
        number: int | None = None,
        when: When = When.BEFORE,
        bump: bool = False,
        left_out: str = "",
    ) -> Report:
        """One process that takes the request from its beginning to its end, or to its own death."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # The lease of a follower that died is over when the next one starts: its clock says so.
        self._ahead_s += LEASE_S + 1
        customer = world.customers[request_id]
        order = Order(
            config=str(world.config_path),
            request_id=request_id,
            address=customer.address,
            sats=customer.sats,
            mine_to=self._mine_to,
            node_port=world.node.rpc_port,
            node_cookie=str(world.node.cookie_path),
            ahead_s=self._ahead_s,
            number=number,
            when=when,
            bump=bump,
            left_out=left_out,
            left_out_address=world.customers[left_out].address if left_out else "",
            left_out_sats=world.customers[left_out].sats if left_out else 0,
        )
        self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the victims' program ended: {self.errors}"
        found = json.loads(line)
        return Report(found["signal"], found["status"], tuple(found["calls"]))

    def live_to_the_end(
        self, world: World, request_id: str, *, number: int | None = None, bump: bool = False, left_out: str = ""
    ) -> Report:
        """A process that comes to its end by itself, without an error."""
        report = self.live(world, request_id, number=number, bump=bump, left_out=left_out)
        assert report.signal == report.status == 0, self.errors
        return report

    @property
    def errors(self) -> str:
        """What victims that did not die complained about."""
        return self.log.read_text(encoding="utf-8")

    def close(self) -> None:
        """End the program, and let go of the worlds."""
        self._process.kill()
        self._process.communicate()
        for world in self._worlds:
            world.close()


def _closing(network: Network, request: pytest.FixtureRequest) -> Callable[..., None]:
    return lambda *_error: network.close(failed=has_failed(request))


@pytest.fixture(scope="module")
def sides(
    request: pytest.FixtureRequest, bitcoind_binary: NodeProgram, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[When, Victims]]:
    """A node and a program that dies for each side of a call."""
    with ExitStack() as stack:
        found: dict[When, Victims] = {}
        for when in When:
            network = Network(bitcoind_binary)
            stack.push(_closing(network, request))
            network.start()
            found[when] = Victims(network, tmp_path_factory.mktemp(when))
            stack.callback(found[when].close)
        yield found


@pytest.fixture(scope="module")
def whole_way(sides: dict[When, Victims]) -> tuple[str, ...]:
    """The calls of a process that takes a request to its end and lives."""
    victims = sides[When.BEFORE]
    world = victims.begin()
    report = victims.live_to_the_end(world, world.customer(sats=SATS))
    world.assert_final_and_paid_once()
    return report.calls


@pytest.fixture(scope="module")
def bumped_way(sides: dict[When, Victims]) -> tuple[str, ...]:
    """The same with a bump in between."""
    victims = sides[When.BEFORE]
    world = victims.begin()
    report = victims.live_to_the_end(world, world.customer(sats=SATS), bump=True)
    assert len(world.signed("r1")) == 2
    world.assert_final_and_paid_once()
    return report.calls


@pytest.fixture(scope="module")
def reissued_way(sides: dict[When, Victims]) -> tuple[str, ...]:
    """One of two is left out of the bump: the block with it leaves him unpaid, and a re-issue pays him."""
    victims = sides[When.BEFORE]
    world = victims.begin()
    kept, left_out = world.customer(sats=SATS), world.customer(sats=SATS)
    report = victims.live_to_the_end(world, kept, bump=True, left_out=left_out)
    assert world.batch(left_out).generation == 2
    world.assert_final_and_paid_once()
    return report.calls


def kill_at(
    victims: Victims, world: World, numbers: Sequence[int], when: When, *, bump: bool = False, split: bool = False
) -> str:
    """A death at each of these calls, each followed by one more process, which must find everything left to do."""
    killed: Counter[str] = Counter()
    slowest_s = 0.0
    for number in numbers:
        request_id, left_out = world.customer(sats=SATS), world.customer(sats=SATS) if split else ""
        death = victims.live(world, request_id, number=number, when=when, bump=bump, left_out=left_out)
        assert death.signal == signal.SIGKILL, (when, number, death, victims.errors)
        assert len(death.calls) == number
        killed[death.calls[-1]] += 1
        began = time.monotonic()
        victims.live_to_the_end(world, request_id, bump=bump, left_out=left_out)
        slowest_s = max(slowest_s, time.monotonic() - began)
        for name in filter(None, (request_id, left_out)):
            assert world.state(name) == "final", (when, number, death.calls[-1])
            world.assert_paid_exactly_once(name)
    world.assert_final_and_paid_once()
    assert world.mempool_txids() == set()
    assert slowest_s < RESCUE_S_MAX
    return f"killed {when} {killed.total()} calls, the slowest rescue took {slowest_s:.2f} s: {dict(killed)}"


def kill_on_both_sides(
    sides: dict[When, Victims],
    numbers: Sequence[int],
    way: tuple[str, ...],
    *,
    bump: bool = False,
    split: bool = False,
) -> None:
    """Deaths before each of these calls on one node, after each of them on the other, at the same time."""
    worlds = {when: victims.begin() for when, victims in sides.items()}
    with ThreadPoolExecutor(len(sides)) as pool:
        for words in pool.map(
            lambda when: kill_at(sides[when], worlds[when], numbers, when, bump=bump, split=split), sides
        ):
            print(f"\n{words}, of {len(way)} calls")  # noqa: T201 -- shown by pytest -rP


@pytest.mark.covers("P3", "I2")
@pytest.mark.parametrize("share", range(SHARES))
def test_a_process_killed_at_any_call_pays_exactly_once(
    sides: dict[When, Victims], whole_way: tuple[str, ...], share: int
) -> None:
    """SIGKILL at call n of all ports together; the next process hears the request again, and does what is left."""
    kill_on_both_sides(sides, range(1 + share, len(whole_way) + 1, SHARES), whole_way)


@pytest.mark.covers("P3", "P12", "I2", "I7")
def test_a_process_killed_at_any_call_of_a_bump_pays_exactly_once(
    sides: dict[When, Victims], bumped_way: tuple[str, ...]
) -> None:
    """Any that leaves a trace, from the operator's command until its bytes are sent; the next process bumps again."""
    start, end = bumped_way.index(BUMP), bumped_way.index(BUMPED)
    numbers = [n for n, call in enumerate(bumped_way, start=1) if start < n <= end and call in LEAVES_A_TRACE]
    assert {bumped_way[n - 1] for n in numbers} >= LEAVES_A_TRACE
    kill_on_both_sides(sides, numbers, bumped_way, bump=True)


@pytest.mark.covers("P3", "I1", "I2", "I7", "CE19")
def test_a_process_killed_at_any_call_of_a_reissue_pays_exactly_once(
    sides: dict[When, Victims], reissued_way: tuple[str, ...]
) -> None:
    """Any that leaves a trace, from the block that leaves somebody unpaid until the bytes planned for him are sent.

    Between two of them nothing outside the process changes, so a death after one is a death before the next.
    """
    start, end = reissued_way.index(CONFLICT), reissued_way.index(REISSUED)
    numbers = [n for n, call in enumerate(reissued_way, start=1) if start < n <= end and call in LEAVES_A_TRACE]
    assert {reissued_way[n - 1] for n in numbers} >= LEAVES_A_TRACE
    kill_on_both_sides(sides, numbers, reissued_way, bump=True, split=True)


def test_the_whole_way_calls_every_method_of_every_port(whole_way: tuple[str, ...]) -> None:
    """A method that is not on the way was killed at nowhere: a new one must be put on it, or be named above."""
    protocols = {
        "chain": ports.ChainSource,
        "broadcaster": ports.Broadcaster,
        "fees": ports.FeeSource,
        "signer": ports.Signer,
        "bell": ports.Bell,
    }
    methods = {
        f"{port}.{name}" for port, protocol in protocols.items() for name in vars(protocol) if not name.startswith("_")
    }
    assert set(whole_way) == (methods - NOT_ON_THE_WAY) | {"ledger.begin", "ledger.commit", "ledger.read"}


def test_nobody_is_asked_inside_a_transaction(whole_way: tuple[str, ...]) -> None:
    """Between the beginning of a write and its commit no node, no signer and no bell is waited for."""
    begun = [after for call, after in pairwise(whole_way) if call == "ledger.begin"]
    assert begun
    assert set(begun) == {"ledger.commit"}


def test_a_process_told_to_die_one_call_later_lives(sides: dict[When, Victims], whole_way: tuple[str, ...]) -> None:
    """After all these deaths the way is as long as before, call for call: no point was left out."""
    victims = sides[When.BEFORE]
    world = victims.begin()
    report = victims.live_to_the_end(world, world.customer(sats=SATS), number=len(whole_way) + 1)
    assert report.calls == whole_way
