"""The harness does to real nodes what its verbs say."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from regtest.bitcoind import Bitcoind, WrongProcess
from regtest.network import Network
from regtest.process import ChildFailed
from regtest.provision import NodeProgram, RedisProgram
from regtest.rpc import RpcError, RpcUnreachable, sats_of
from regtest.valkey import Valkey
from regtest.waiting import WaitTimeout, wait_for

SCRIPT = "0014" + "11" * 20
ANYONE = "51"  # OP_TRUE: standard to nobody, spendable by everybody
MakeNetwork = Callable[..., Network]


def confirmations(network: Network, txid: str, *, on: int = 0) -> int:
    """How deep the output 0 of `txid` is; 0 if it is not there."""
    output = network.nodes[on].rpc.gettxout(txid, 0, False)  # noqa: FBT003
    return int(output["confirmations"]) if output else 0


class TestMoney:
    def test_a_script_is_paid_to_the_satoshi(self, module_network: Network) -> None:
        funding = module_network.fund(SCRIPT, 123_456_789)
        output = module_network.rpc.gettxout(funding.txid, funding.vout)
        assert output["scriptPubKey"]["hex"] == SCRIPT
        assert sats_of(output["value"]) == 123_456_789
        assert output["confirmations"] == 1

    def test_one_transaction_pays_many_in_order_even_the_same_one_twice(self, module_network: Network) -> None:
        address = module_network.miner.getnewaddress()
        fundings = module_network.fund_many([(address, 10_000), (SCRIPT, 20_000), (address, 10_000)], confirmations=3)
        assert [(funding.vout, funding.amount_sats) for funding in fundings] == [(0, 10_000), (1, 20_000), (2, 10_000)]
        assert fundings[0].script_hex == fundings[2].script_hex
        for funding in fundings:
            assert module_network.rpc.gettxout(funding.txid, funding.vout)["confirmations"] == 3

    def test_a_script_that_nobody_relays_is_paid_in_a_block(self, module_network: Network) -> None:
        funding = module_network.fund(ANYONE, 5_000, confirmations=2)
        assert confirmations(module_network, funding.txid) == 2
        with pytest.raises(RpcError, match="scriptpubkey"):
            module_network.fund(ANYONE, 5_000, confirmations=0)


class TestBlocks:
    def test_mine_exactly_leaves_the_rest_of_the_mempool_alone(self, module_network: Network) -> None:
        wanted = module_network.fund(SCRIPT, 10_000, confirmations=0)
        left = module_network.miner.sendtoaddress(module_network.miner.getnewaddress(), "0.5")
        raw = module_network.rpc.getrawtransaction(wanted.txid)
        block = module_network.mine_exactly([raw])
        assert module_network.rpc.getblock(block)["tx"][1:] == [wanted.txid]
        assert left in module_network.rpc.getrawmempool()
        module_network.mine_empty(2)
        assert left in module_network.rpc.getrawmempool()
        module_network.mine()
        assert module_network.rpc.getrawmempool() == []

    def test_a_reorg_returns_what_it_took_to_the_mempool_and_mines_it_again(self, module_network: Network) -> None:
        funding = module_network.fund(SCRIPT, 10_000, confirmations=2)
        height, old_tip = module_network.height, module_network.tip
        reorg = module_network.reorg(2)
        assert reorg.disconnected[-1] == old_tip
        assert reorg.connected[-1] == module_network.tip
        assert module_network.height == height + 1
        assert confirmations(module_network, funding.txid) == 3

    def test_a_reorg_to_empty_blocks_leaves_a_payment_unconfirmed(self, module_network: Network) -> None:
        funding = module_network.fund(SCRIPT, 10_000, confirmations=2)
        reorg = module_network.reorg(2, transactions=[])
        assert len(reorg.connected) == 3
        assert confirmations(module_network, funding.txid) == 0
        assert funding.txid in module_network.rpc.getrawmempool()
        module_network.mine()
        assert confirmations(module_network, funding.txid) == 1

    def test_a_reorg_mines_exactly_what_it_is_given_first(self, module_network: Network) -> None:
        funding = module_network.fund(SCRIPT, 10_000)
        raw = module_network.rpc.getrawtransaction(funding.txid, 0, module_network.tip)
        module_network.reorg(1, transactions=[[], [raw]])
        assert confirmations(module_network, funding.txid) == 1

    def test_a_reorg_to_a_lower_tip_mines_nothing(self, module_network: Network) -> None:
        height = module_network.height
        reorg = module_network.reorg(3, new_blocks=0)
        assert module_network.height == height - 3
        assert reorg.connected == ()
        module_network.mine(4)

    def test_of_two_rival_blocks_the_node_keeps_the_first_and_takes_both(self, module_network: Network) -> None:
        first, second = module_network.build_block([]), module_network.build_block([])
        assert module_network.submit_block(first) is None
        kept = module_network.tip
        assert module_network.submit_block(second) == "inconclusive"
        assert module_network.tip == kept
        assert module_network.submit_block(first) == "duplicate"


class TestPeers:
    def test_the_longer_half_of_a_split_wins_when_it_joins(self, make_network: MakeNetwork) -> None:
        network = make_network(nodes=3)
        network.split()
        mine_alone, mine_together = network.mine(2), network.mine(3, on=1)
        assert network.tip == mine_alone[-1]
        assert network.nodes[2].rpc.getbestblockhash() == mine_together[-1]
        network.join()
        assert {node.rpc.getbestblockhash() for node in network.nodes} == {mine_together[-1]}

    def test_peers_follow_a_reorg_and_see_each_other_s_mempool(self, make_network: MakeNetwork) -> None:
        network = make_network(nodes=2)
        funding = network.fund(SCRIPT, 10_000, confirmations=0)
        network.sync(mempools=True)
        assert funding.txid in network.nodes[1].rpc.getrawmempool()
        network.mine(2, on=1)
        network.reorg(2, transactions=[])
        assert confirmations(network, funding.txid, on=1) == 0
        network.nodes[1].restart()
        network.connect(0, 1)
        network.sync(mempools=True)

    def test_the_others_mine_on_while_the_miner_s_node_is_dead(self, make_network: MakeNetwork) -> None:
        network = make_network(nodes=2)
        network.node.kill9()
        mined = network.mine(2, on=1)
        network.node.start()
        network.connect(0, 1)
        network.sync()
        assert network.tip == mined[-1]

    def test_every_node_believes_the_clock_it_is_told(self, make_network: MakeNetwork) -> None:
        network = make_network(nodes=2)
        network.set_mocktime(2_000_000_000)
        [block] = network.mine(on=1)
        assert network.rpc.getblockheader(block)["time"] == 2_000_000_000


class TestNodes:
    def test_a_killed_node_starts_again_at_the_same_address_with_its_chain(self, node: Bitcoind) -> None:
        url = node.url
        node.rpc.generatetoaddress(3, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
        node.restart()
        node.kill9()
        with pytest.raises(ChildFailed, match="ended by itself with status -9"):
            node.rpc.getblockcount()
        node.start()
        assert node.url == url
        assert node.rpc.getblockcount() == 3

    def test_a_node_that_refuses_its_options_says_why(self, bitcoind_binary: NodeProgram) -> None:
        node = Bitcoind(bitcoind_binary, extra_args=["-no-such-option"])
        with pytest.raises(ChildFailed, match="Invalid parameter -no-such-option"):
            node.start()
        node.close()

    def test_a_node_in_another_process_is_not_taken_for_ours(self, node: Bitcoind) -> None:
        pid_file = node.chain_dir / "bitcoind.pid"
        pid_file.write_text(str(os.getpid()), encoding="ascii")
        with pytest.raises(WrongProcess, match="not as our pid"):
            node.wait_ready()

    def test_a_wrong_cookie_is_no_answer(self, node: Bitcoind, tmp_path: Path) -> None:
        stranger = tmp_path / "cookie"
        stranger.write_text("__cookie__:guess", encoding="ascii")
        node.rpc.cookie_path = stranger
        with pytest.raises(RpcUnreachable, match="HTTP 401"):
            node.rpc.getblockcount()
        node.rpc.cookie_path = node.cookie_path

    def test_a_failed_run_leaves_its_data_and_a_good_one_does_not(self, bitcoind_binary: NodeProgram) -> None:
        with Bitcoind(bitcoind_binary) as good:
            pass
        assert not good.datadir.exists()
        with pytest.raises(ZeroDivisionError), Bitcoind(bitcoind_binary) as bad:
            raise ZeroDivisionError
        assert (bad.chain_dir / "debug.log").is_file()
        assert not bad.alive
        bad.close()
        assert not bad.datadir.exists()

    def test_a_batch_of_calls_comes_back_in_order_with_its_errors(self, node: Bitcoind) -> None:
        height, refused, best = node.rpc.batch([("getblockcount", []), ("getblockhash", [9]), ("getblockhash", [0])])
        assert height == 0
        assert isinstance(refused, RpcError)
        assert refused.code == -8
        assert best == node.rpc.getbestblockhash()


class TestValkey:
    @pytest.mark.parametrize("unix_socket", [False, True])
    def test_with_a_log_what_was_answered_survives_a_kill(
        self, redis_program: RedisProgram, *, unix_socket: bool
    ) -> None:
        with Valkey(redis_program, aof=True, unix_socket=unix_socket) as server:
            url, client = server.url, server.client()
            client.set("kept", "yes")
            os.kill(server.pid, signal.SIGKILL)
            wait_for(lambda: not server.alive, "the server's death")
            server.start()
            assert client.get("kept") == b"yes"
            assert server.url == url
            client.close()

    def test_without_a_log_a_restart_forgets_everything(self, redis_program: RedisProgram) -> None:
        with Valkey(redis_program) as server:
            client = server.client()
            client.set("kept", "no")
            server.restart()
            assert client.get("kept") is None
            client.close()


def test_waiting_in_vain_names_what_was_waited_for() -> None:
    with pytest.raises(WaitTimeout, match=r"waited 0\.05 s in vain for: a miracle"):
        wait_for(lambda: False, "a miracle", timeout_s=0.05)
