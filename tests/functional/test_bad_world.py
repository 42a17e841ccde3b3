"""The wrong node, a node that stands still, Python without its checks: nothing is paid, and it is said."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from regtest.bitcoind import Bitcoind
from regtest.network import Network
from regtest.provision import NodeProgram
from tests.conftest import has_failed
from tests.functional.world import COIN_SATS, SATS, World
from withdrawals.bootstrap import Parts
from withdrawals.config import Config, NodeConfig
from withdrawals.core.types import Network as Chain
from withdrawals.errors import NotAllowed, OutOfRange, WithdrawalsError, WrongChain
from withdrawals.processor import Processor
from withdrawals.signing.keyfile import create_key_file
from workers.follower import Follower

DAY_S = 86_400


class Testnet4Node(Bitcoind):
    """A node of another chain, alone: it has that chain's first block and nothing else."""

    __test__ = False

    @property
    def chain_dir(self) -> Path:
        return self.datadir / "testnet4"

    def command(self) -> list[str]:
        return ["-testnet4" if word == "-regtest" else word for word in super().command()]


@pytest.fixture
def testnet4_node(request: pytest.FixtureRequest, bitcoind_binary: NodeProgram) -> Iterator[Bitcoind]:
    node = Testnet4Node(bitcoind_binary, name="testnet4")
    node.start()
    yield node
    node.close(failed=has_failed(request))


def cli(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    """`withdrawals WORDS --json` as a process of its own."""
    command = [sys.executable, "-m", "withdrawals", "--config", str(world.config_path), *words, "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def point_at(world: World, node: Bitcoind) -> None:
    """From now on the configuration names this node."""
    text = world.config_path.read_text(encoding="utf-8")
    text = text.replace(world.node.url, node.url).replace(str(world.node.cookie_path), str(node.cookie_path))
    world.config_path.write_text(text, encoding="utf-8")
    world.start_over()


def fresh_config(directory: Path, node: Bitcoind, network: Chain) -> Config:
    """A processor that was never initialised."""
    keys = directory / "keys.txt"
    wallet = create_key_file(keys, network)
    return Config(
        network=network,
        ledger_url=f"sqlite:///{directory}/ledger.db",
        node=NodeConfig(node.url, cookie_file=node.cookie_path),
        descriptors=wallet.descriptors,
        key_file=keys,
        journal=directory / "journal.jsonl",
        lookahead=20,
    )


# ------------------------------------------------------------------------------------------------------------- init


@pytest.mark.parametrize("network", [Chain.TESTNET4, Chain.SIGNET, Chain.TESTNET])
def test_init_on_a_node_of_another_chain_leaves_nothing_behind(
    module_network: Network, tmp_path: Path, network: Chain
) -> None:
    parts = Parts(fresh_config(tmp_path, module_network.node, network))
    words = f"the node is on regtest, the configuration says {network}"
    with Processor(parts) as processor, pytest.raises(WrongChain, match=words):
        processor.init()
    assert not (tmp_path / "ledger.db").exists()


def test_init_twice_is_init_once(module_network: Network, make_world: Callable[..., World]) -> None:
    """Although the tip, which it took for its birthday, has moved."""
    world = make_world(module_network)
    before = world.parts.ledger.content_hash()
    module_network.mine(1)
    assert world.processor.init().birthday_height == world.birthday
    assert world.processor.init(birthday_height=world.birthday).birthday_height == world.birthday
    with pytest.raises(NotAllowed, match="cannot be changed"):
        world.processor.init(birthday_height=world.birthday + 1)
    assert world.parts.ledger.content_hash() == before


def test_a_birthday_above_the_tip_is_refused(module_network: Network, tmp_path: Path) -> None:
    with Processor(Parts(fresh_config(tmp_path, module_network.node, Chain.REGTEST))) as processor:
        with pytest.raises(OutOfRange, match="the height of the node's tip"):
            processor.init(birthday_height=module_network.height + 1)
        assert processor.init(birthday_height=module_network.height - 5).birthday_height == module_network.height - 5


def test_another_wallet_cannot_take_a_ledger_over(
    module_network: Network, make_world: Callable[..., World], tmp_path: Path
) -> None:
    world = make_world(module_network)
    before = world.parts.ledger.content_hash()
    config = fresh_config(tmp_path, module_network.node, Chain.REGTEST)
    taken = dataclasses.replace(config, ledger_url=world.config.ledger_url)
    with Processor(Parts(taken)) as processor, pytest.raises(WrongChain, match="another wallet"):
        processor.init()
    assert world.parts.ledger.content_hash() == before


# -------------------------------------------------------------------------------------------------------- wrong node


@pytest.mark.covers("I6")
def test_on_a_node_of_another_chain_nothing_is_followed_planned_or_sent(
    module_network: Network, make_world: Callable[..., World], testnet4_node: Bitcoind
) -> None:
    """The processor was initialised on regtest; then somebody changed the configuration."""
    world = make_world(module_network)
    world.fund_hot_wallet()
    world.tick()
    point_at(world, testnet4_node)
    world.processor.enqueue("r1", world.customer_address(), sats=SATS)
    before = world.parts.ledger.content_hash()
    world.tick()
    status = cli(world, "status")
    assert status.returncode == 1
    assert any("is on testnet4, this ledger on regtest" in line for line in json.loads(status.stdout)["attention"])
    bump = cli(world, "bump", "r1", "--reason", "in a hurry")
    init = cli(world, "init")
    assert (bump.returncode, json.loads(bump.stdout)["error"]["code"]) == (3, "not_allowed")
    assert (init.returncode, json.loads(init.stdout)["error"]["code"]) == (4, "wrong_chain")
    assert world.state("r1") == "queued"
    assert "wrong_chain: the node is on testnet4" in world.processor.show("r1").next_step
    assert world.parts.ledger.content_hash() == before
    assert testnet4_node.rpc.getrawmempool() == []


@pytest.mark.covers("I6")
def test_another_chain_of_the_same_network_opens_the_breaker(
    module_network: Network, make_network: Callable[..., Network], make_world: Callable[..., World]
) -> None:
    """Every regtest has the same first block: what gives the other node away is that it lacks our blocks."""
    world = make_world(module_network)
    world.fund_hot_wallet()
    world.request("r1")
    world.inline.follower.round()
    elsewhere = make_network()
    elsewhere.mine(20)
    coins = world.processor.coins()
    point_at(world, elsewhere.node)
    world.tick()
    assert world.breaker() == ["deep_reorg"]
    assert world.state("r1") == "queued"
    assert world.processor.coins() == coins
    point_back(world, elsewhere.node)
    world.processor.resume(reason="the right node again")
    world.tick()
    world.mine_to_final()
    world.assert_paid_exactly_once("r1")


def point_back(world: World, node: Bitcoind) -> None:
    text = world.config_path.read_text(encoding="utf-8")
    text = text.replace(node.url, world.node.url).replace(str(node.cookie_path), str(world.node.cookie_path))
    world.config_path.write_text(text, encoding="utf-8")
    world.start_over()


# ------------------------------------------------------------------------------------------------------- stalled node


@pytest.mark.covers("I6")
def test_on_a_node_that_stands_still_requests_wait_although_it_says_it_is_synced(
    make_network: Callable[..., Network], make_world: Callable[..., World]
) -> None:
    """`initialblockdownload` latches: cut off for days, the node goes on saying false."""
    network = make_network(f"-mocktime={int(time.time()) - 5 * DAY_S // 2}")
    world = make_world(network)
    world.fund_hot_wallet()
    world.tick()
    network.rpc.setmocktime(0)
    assert network.rpc.getblockchaininfo()["initialblockdownload"] is False
    world.request("r1")
    before = world.parts.ledger.content_hash()
    world.tick()
    status = cli(world, "status")
    attention = json.loads(status.stdout)["attention"]
    assert status.returncode == 1
    assert any("its newest block is 2 d old. Is it cut off?" in line for line in attention)
    assert any(line.startswith("gate: closed: tip_old: ") for line in attention)
    assert "the world gate is closed (tip_old: " in world.processor.show("r1").next_step
    assert (world.state("r1"), world.mempool_txids()) == ("queued", set())
    assert world.parts.ledger.content_hash() == before
    world.mine(1)
    assert world.state("r1") == "broadcast"
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("I6")
def test_while_a_node_stands_still_a_bump_is_refused_and_sending_again_is_not(
    make_network: Callable[..., Network], make_world: Callable[..., World]
) -> None:
    """What was signed is out for ever; only new signatures wait."""
    network = make_network()
    world = make_world(network)
    world.fund_hot_wallet()
    world.request("r1")
    world.tick()
    sent = world.mempool_txids()
    network.node.restart(["-persistmempool=0"])
    assert world.mempool_txids() == set()
    world.start_over(later_s=DAY_S)
    before = world.parts.ledger.content_hash()
    with pytest.raises(WithdrawalsError) as refused:
        world.processor.bump("r1", reason="in a hurry")
    assert refused.value.code == "gate_closed"
    assert world.parts.ledger.content_hash() == before
    world.tick()
    assert world.mempool_txids() == sent


# ---------------------------------------------------------------------------------------------------------- python -O


def test_without_its_checks_no_process_of_ours_runs(module_network: Network, make_world: Callable[..., World]) -> None:
    """`python -O` drops the assertions of libraries that guard money."""
    world = make_world(module_network, redis_url="redis://127.0.0.1:1/0")
    world.fund_hot_wallet()
    world.request("r1")
    before = world.parts.ledger.content_hash()
    world.stop_inline()
    for words in (["run"], ["work"], ["work", "--queue", "sign"], ["follow"], ["sweep"]):
        command = [sys.executable, "-m", "withdrawals", "--config", str(world.config_path), *words]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONOPTIMIZE": "1"}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 3
        assert done.stderr.startswith("error [bad_config]: python -O drops the checks")
    world.start_over()
    assert world.parts.ledger.content_hash() == before
    assert not world.journal_path.exists()


# ------------------------------------------------------------------------------------------------------- an empty purse


def test_more_than_the_wallet_holds_waits_and_goes_out_when_coins_arrive(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """No error, at no time; and what can be paid meanwhile is."""
    world = make_world(module_network)
    world.fund_hot_wallet(COIN_SATS)
    world.request("large", sats=3 * COIN_SATS)
    world.request("small")
    world.tick()
    assert (world.state("large"), world.state("small")) == ("queued", "broadcast")
    missing = 3 * COIN_SATS - world.processor.status().change_sats
    assert world.processor.status().missing_sats == missing
    status = cli(world, "status")
    assert status.returncode == 1
    assert json.loads(status.stdout)["missing_sats"] == missing
    assert "the queue needs a refill of" in world.processor.show("large").next_step
    world.mine(1)
    world.fund_hot_wallet(3 * COIN_SATS, depth=1)
    world.tick()
    assert world.processor.status().missing_sats == 0
    world.mine(5)
    world.mine_to_final()
    world.mine_to_final()
    world.assert_final_and_paid_once()


def test_a_follower_of_a_wrong_node_reports_it_and_goes_on_trying(
    module_network: Network, make_world: Callable[..., World], testnet4_node: Bitcoind
) -> None:
    world = make_world(module_network)
    tip = world.processor.status().ledger_height
    point_at(world, testnet4_node)
    assert Follower(world.parts).round() is None
    assert world.processor.status().ledger_height == tip
