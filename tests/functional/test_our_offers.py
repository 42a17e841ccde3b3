"""What our processor offers to stories beyond the protocol: each offer does to it what its name says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import pytest
import redis

from regtest.faults import Hold
from regtest.malleate import ids_of
from regtest.network import Network
from regtest.ours import InlineWorkers, OurProcessor, WorkerProcesses
from regtest.ours.plug import PowerCut
from regtest.party import NotOffered
from regtest.process import ChildFailed
from regtest.processor import (
    Bumps,
    Crashes,
    DelaysSigner,
    LeavesOut,
    LosesQueue,
    RunsTwice,
)
from regtest.provision import RedisProgram
from regtest.proxy import RpcProxy
from regtest.valkey import Valkey
from tests.functional.world import ANCHOR_DEPTH, COIN_SATS, SATS
from withdrawals.signing.journal import read_journal

WAIT_S: Final = 60.0
MODES: Final = ("inline", "processes")


@pytest.fixture
def proxy(module_network: Network) -> Iterator[RpcProxy]:
    with RpcProxy(module_network.node) as proxy:
        yield proxy


@pytest.fixture
def make_ours(
    module_network: Network, proxy: RpcProxy, redis_program: RedisProgram
) -> Iterator[Callable[[str], OurProcessor]]:
    """One that is up and has two coins; with processes it has a Redis server of its own."""
    with Valkey(redis_program) as server:
        made: list[OurProcessor] = []

        def make(mode: str) -> OurProcessor:
            workers = InlineWorkers() if mode == "inline" else WorkerProcesses()
            ours = OurProcessor(module_network.node, workers=workers, through=proxy, redis_url=server.url)
            made.append(ours)
            ours.start()
            coins = [(ours.deposit_address("bech32"), COIN_SATS)] * 2
            module_network.fund_many(coins, confirmations=ANCHOR_DEPTH)
            ours.tick()
            return ours

        yield make
        for ours in made:
            ours.close()


def owe(network: Network, ours: OurProcessor, request_id: str) -> None:
    ours.enqueue(request_id, str(network.miner.getnewaddress()), SATS)


def journal_lines(ours: OurProcessor) -> int:
    return len(read_journal(ours.premises.directory / "journal.jsonl"))


def test_it_offers_all_of_them(make_ours: Callable[[str], OurProcessor]) -> None:
    """But a queue that can be lost only where there is one."""
    ours = make_ours("inline")
    assert all(isinstance(ours, offer) for offer in (Bumps, LeavesOut, DelaysSigner, Crashes, RunsTwice, LosesQueue))
    with pytest.raises(NotOffered, match="flush_queue"):
        ours.flush_queue()
    with pytest.raises(NotOffered, match="roll_back_queue"):
        ours.roll_back_queue()


@pytest.mark.covers("P3")
@pytest.mark.parametrize("mode", MODES)
def test_killed_between_sending_and_saving_it_has_saved_nothing(
    module_network: Network, make_ours: Callable[[str], OurProcessor], proxy: RpcProxy, mode: str
) -> None:
    """The round under way ends by the kill, and the next life sends the same bytes."""
    ours = make_ours(mode)
    hold = Hold(after=True, timeout_s=WAIT_S)
    proxy.on("sendrawtransaction", hold, times=1)
    owe(module_network, ours, "one")
    died: list[BaseException] = []

    def work() -> None:
        try:
            ours.tick()
        except (PowerCut, ChildFailed) as end:
            died.append(end)

    round_under_way = threading.Thread(target=work)
    round_under_way.start()
    assert hold.reached.wait(WAIT_S)
    ours.kill()
    hold.release.set()
    round_under_way.join(WAIT_S)
    assert len(died) == 1
    [raw] = ours.signed_transactions("one")
    assert ids_of(raw).txid in module_network.rpc.getrawmempool()
    assert ours.status("one") == "batched", "nothing of the sending was saved"
    ours.start()
    ours.tick()
    assert ours.status("one") == "broadcast"
    assert ours.signed_transactions("one") == [raw]
    module_network.mine()


@pytest.mark.parametrize("mode", MODES)
def test_a_signer_that_is_not_heard_has_signed_all_the_same(
    module_network: Network, make_ours: Callable[[str], OurProcessor], mode: str
) -> None:
    """Its journal has the order; asked again it says the same, and that is sent."""
    ours = make_ours(mode)
    ours.delay_signer()
    owe(module_network, ours, "one")
    if mode == "inline":
        ours.tick()
    else:
        module_network.mine_empty()
        deadline = threading.Event()
        while not journal_lines(ours):
            deadline.wait(0.1)
    assert journal_lines(ours) == 1
    assert ours.signed_transactions("one") == []
    assert not ours.cancel("one"), "what a signer was asked for may have been signed"
    ours.release_signer()
    ours.tick()
    assert journal_lines(ours) == 1
    [raw] = ours.signed_transactions("one")
    assert ids_of(raw).txid in module_network.rpc.getrawmempool()
    module_network.mine()


@pytest.mark.covers("P9")
@pytest.mark.parametrize("mode", MODES)
def test_two_of_every_worker_do_the_work_once(
    module_network: Network, make_ours: Callable[[str], OurProcessor], mode: str
) -> None:
    """One line in the journal for each payment, whoever came first."""
    ours = make_ours(mode)
    for name in ("one", "two"):
        owe(module_network, ours, name)
        ours.tick_twice()
    ours.tick()
    assert {ours.status(name) for name in ("one", "two")} == {"broadcast"}
    assert len({raw for name in ("one", "two") for raw in ours.signed_transactions(name)}) == journal_lines(ours)
    module_network.mine()


def test_a_bump_and_a_replacement_that_leaves_one_out(
    module_network: Network, make_ours: Callable[[str], OurProcessor]
) -> None:
    """The first pays the same, the second pays one less; what is in a block cannot be bumped."""
    ours = make_ours("inline")
    for name in ("one", "two"):
        owe(module_network, ours, name)
    ours.tick()
    assert ours.bump("one")
    assert len(ours.signed_transactions("one")) == len(ours.signed_transactions("two")) == 2
    assert ours.leave_out("two")
    assert len(ours.signed_transactions("one")) == 3
    assert module_network.rpc.getrawmempool() == [ids_of(ours.signed_transactions("one")[-1]).txid]
    module_network.mine()
    ours.tick()
    assert not ours.bump("one")
    assert len(ours.signed_transactions("two")) == 3, "he is paid apart"
    module_network.mine()


@pytest.mark.covers("P7")
def test_a_queue_that_is_rolled_back_rings_again(
    module_network: Network, make_ours: Callable[[str], OurProcessor], proxy: RpcProxy
) -> None:
    """What was remembered is there again, and what came since is not; a flush takes both away."""
    ours = make_ours("processes")
    ours.kill()
    owe(module_network, ours, "one")
    queue = "rq:queue:withdrawals"
    assert ours.premises.config.read_text(encoding="utf-8").count("redis_url") == 1
    with closing(ours_client(ours)) as client:
        waiting = client.llen(queue)
        assert waiting
        ours.roll_back_queue()
        owe(module_network, ours, "two")
        assert client.llen(queue) > waiting
        ours.roll_back_queue()
        assert client.llen(queue) == waiting
        ours.flush_queue()
        assert client.llen(queue) == 0
        ours.roll_back_queue()
        assert client.llen(queue) == waiting
    ours.start()
    ours.tick()
    assert {ours.status(name) for name in ("one", "two")} == {"broadcast"}
    module_network.mine()


def ours_client(ours: OurProcessor) -> redis.Redis:
    url = ours.parts.config.redis_url
    assert url is not None
    return redis.Redis.from_url(url)
