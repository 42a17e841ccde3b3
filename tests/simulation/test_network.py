"""The simulated network keeps the contract of a real node, and what only a simulation can do, it does as it says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from tests.network_contract import PAIR_FACTS, Pair
from tests.node_contract import FACTS, FEE_SATS, Lab, first_output, unconfirmed_line
from tests.simulation.blocks import COINBASE_MATURITY, Block, Forbidden
from tests.simulation.lab import SimLab, SimPair
from tests.simulation.mempool import HOUR_S
from tests.simulation.network import stranger_script, strangers_tx
from tests.simulation.transactions import coinbase_of, tx_of
from withdrawals.core.blockscan import scan_block
from withdrawals.core.model import TxOut
from withdrawals.core.tx import view_of, vsize_of
from withdrawals.core.types import Feerate, Sats
from withdrawals.ports import Sent


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_the_simulated_node_keeps_the_contract(fact: Callable[[Lab], None]) -> None:
    """Whatever a step is tested against here, it meets out there."""
    fact(SimLab())


@pytest.mark.parametrize("fact", PAIR_FACTS, ids=lambda fact: fact.__name__)
def test_two_simulated_nodes_keep_the_contract(fact: Callable[[Pair], None]) -> None:
    """What goes between them, they pass on as real ones do."""
    fact(SimPair())


# --------------------------------------------------------------------------------------------------------------- bytes


def test_a_coinbase_is_what_a_parser_reads_from_its_bytes() -> None:
    """It is put together without one."""
    outputs = (TxOut(stranger_script("a"), Sats(1)), TxOut(stranger_script("b"), Sats(2)))
    coinbase = coinbase_of(700_000, 5, outputs)
    assert coinbase.view == view_of(coinbase.raw)


def test_sizes_and_locks_are_read_from_the_bytes() -> None:
    """As the core's own parser has them."""
    lab = SimLab()
    legacy = strangers_tx([lab.coin()], [TxOut(stranger_script("a"), Sats(1))])
    for raw in (lab.make(*lab.coins(3), outputs=300, locktime=7), legacy):
        assert tx_of(raw).vsize == vsize_of(raw)
    assert (tx_of(lab.make(lab.coin(), locktime=7)).locktime, tx_of(legacy).locktime) == (7, 0)


# ----------------------------------------------------------------------------------------------------------- consensus


def test_no_block_holds_what_consensus_forbids() -> None:
    """A miner with all the power in the world cannot have it."""
    lab = SimLab()
    coin, young = lab.coin(), lab.young_coinbase()
    raw, rival = lab.make(coin), lab.make(coin, fee_sats=2 * FEE_SATS)
    child = lab.make(first_output(raw), parents=[raw])
    cases: dict[str, list[tuple[bytes, ...]]] = {
        "bad-txns-inputs-missingorspent": [(raw, rival), (raw, raw), (child, raw), (child,)],
        "bad-txns-in-belowout": [(lab.make(coin, fee_sats=-1),)],
        "bad-txns-premature-spend-of-coinbase": [(lab.make(young),)],
        "bad-txns-inputs-duplicate": [(lab.make(coin, coin),)],
        "non-final": [(lab.make(coin, locktime=lab.node.height + 1),)],
    }
    before = (lab.node.tip, dict(lab.node.chain.coins), list(lab.network.blocks))
    for reason, blocks in cases.items():
        for raws in blocks:
            with pytest.raises(Forbidden) as forbidden:
                lab.mine_exactly(*raws)
            assert forbidden.value.reason == reason
    assert (lab.node.tip, lab.node.chain.coins, lab.network.blocks) == before
    lab.mine_exactly(raw, child)


def test_a_coinbase_can_be_spent_a_hundred_blocks_later_and_not_before() -> None:
    """And it holds the fees of its block."""
    lab = SimLab()
    lab.mine_exactly(lab.make(lab.coin(), fee_sats=777))
    coinbase = lab.young_coinbase()
    raw = lab.make(coinbase)
    assert lab.node.chain.coins[coinbase].output.sats % 1_000 == 777
    lab.mine(COINBASE_MATURITY - 2)
    assert lab.send(raw).outcome is Sent.RETRY_SAME_BYTES
    lab.mine()
    assert lab.send(raw).outcome is Sent.PRESENT


def test_scripts_are_checked_where_somebody_can() -> None:
    """By a hook that is given the outputs that are spent."""
    lab = SimLab()
    good, bad = lab.make(lab.coin()), lab.make(lab.coin())
    spent: list[Sequence[TxOut]] = []

    def verify(raw: bytes, outputs: Sequence[TxOut]) -> bool:
        spent.append(outputs)
        return raw != bad

    lab.network.verify = lab.node.mempool._verify = verify
    assert lab.send(good).outcome is Sent.PRESENT
    assert lab.send(bad).outcome is Sent.AMBIGUOUS
    assert [out.sats for out in spent[0]] == [1_000_000]
    with pytest.raises(Forbidden, match="script-verify-flag"):
        lab.mine_exactly(bad)


# ------------------------------------------------------------------------------------------------------------- reorgs


@pytest.mark.parametrize("depth", [1, 2, 11, 150])
def test_there_and_back_again_is_the_same_set_of_coins(depth: int) -> None:
    """Blocks are undone exactly, however many, and the longest branch wins each time."""
    lab = SimLab()
    for _ in range(depth):
        lab.mine_exactly(lab.make(lab.coin()))
        lab.mine()
    tip, coins = lab.node.tip, dict(lab.node.chain.coins)
    lab.network.reorg(lab.node, depth)
    assert tip not in lab.node.chain
    longer = lab.network.branch(tip, [(), ()])
    lab.network.publish(longer[-1])
    assert lab.node.tip is longer[-1]
    lab.node.rewind(2)
    assert (lab.node.tip, lab.node.chain.coins) == (tip, coins)


def test_of_two_branches_of_one_length_the_first_seen_is_followed() -> None:
    """Each node has its own, until one of them grows."""
    pair = SimPair()
    pair.split()
    pair.mine()
    pair.mine_on_other([])
    pair.join()
    ours, theirs = pair.node.tip, pair.network.nodes[1].tip
    assert (ours is theirs, ours.height) == (False, theirs.height)
    pair.mine_on_other([])
    assert pair.node.tip.parent is theirs
    assert pair.network.tips() == [ours, pair.node.tip]


def test_a_reorg_can_hold_what_was_lost() -> None:
    """But for what its rival took the place of, and what descends from that."""
    lab = SimLab()
    coin = lab.coin()
    other = lab.make(lab.coin())
    lost, rival = lab.make(coin), lab.make(coin, fee_sats=9)
    child = lab.make(first_output(lost), parents=[lost])
    lab.mine_exactly(other)
    lab.mine_exactly(lost)
    lab.mine_exactly(child)
    blocks = lab.network.reorg(lab.node, 3, [rival, other], old=True)
    assert [len(block.txs) for block in blocks] == [3, 1, 1, 1]
    again = lab.network.reorg(lab.node, 1, old=True)
    assert lab.node.tip is again[-1]


# ------------------------------------------------------------------------------------------------------------- mempool


def test_what_no_policy_relays_can_still_be_mined_and_does_not_come_back() -> None:
    """By its bytes, or by an output: neither is in any mempool, and a reorg loses it."""
    lab = SimLab()
    first, second = lab.make(lab.coin()), lab.make(lab.coin())
    lab.node.policy.nonstandard.add(view_of(first).wtxid)
    odd = view_of(second).outputs[0].sats
    assert lab.send(first).outcome is Sent.AMBIGUOUS
    lab.node.policy.refuses_output = lambda out: out.sats == odd
    assert lab.send(second).outcome is Sent.AMBIGUOUS
    lab.mine_exactly(first, second)
    lab.reorg(1)
    assert lab.node.mempool.entries == {}


def test_a_full_mempool_drops_the_cheapest_and_asks_more_until_a_day_is_over() -> None:
    """The cheapest package, descendants counted."""
    lab = SimLab()
    coin, *others = lab.coins(3)
    dear = [lab.make(other, fee_sats=5_000) for other in others]
    lab.node.policy.size_max_vbytes = 3 * vsize_of(dear[0])
    line = unconfirmed_line(lab, coin, fees=(200, 200))
    for raw in dear:
        assert lab.send(raw).outcome is Sent.PRESENT
    assert list(lab.node.mempool.entries) == [view_of(raw).txid for raw in dear]
    sent = lab.send(line[0])
    assert (sent.outcome, "mempool min fee not met" in sent.reason) == (Sent.RETRY_SAME_BYTES, True)
    lab.node.feerate = Feerate(1)
    assert lab.node.fetch_feerate(6) == lab.node.mempool.min_feerate() > lab.node.policy.min_relay
    lab.mine()
    lab.clock.at += 48 * HOUR_S
    assert lab.send(line[0]).outcome is Sent.PRESENT


def test_what_waited_for_two_weeks_leaves_when_something_comes() -> None:
    """Not before: Core looks at the clock only then."""
    lab = SimLab()
    old, late = map(lab.make, lab.coins(2))
    lab.send(old)
    lab.clock.at += 336 * HOUR_S + 1
    assert list(lab.node.mempool.entries) == [view_of(old).txid]
    lab.send(late)
    assert list(lab.node.mempool.entries) == [view_of(late).txid]


@pytest.mark.parametrize("keep", [True, False])
def test_a_restart_keeps_the_mempool_or_loses_it(keep: bool) -> None:  # noqa: FBT001 -- what the test is about
    """From the file it is read through the policy of now."""
    lab = SimLab()
    coin, other = lab.coins(2)
    line = unconfirmed_line(lab, coin, fees=(1_000, 1_000))
    refused = lab.make(other)
    lab.send(refused)
    lab.node.policy.nonstandard.add(view_of(refused).wtxid)
    lab.node.restart(keep_mempool=keep)
    assert list(lab.node.mempool.entries) == ([view_of(raw).txid for raw in line] if keep else [])


def test_a_node_relays_what_its_peer_lacks_the_parents_of() -> None:
    """Parents first; what the peer's own policy refuses stops there."""
    pair = SimPair()
    other = pair.network.nodes[1]
    coin = pair.coin()
    pair.split()
    line = unconfirmed_line(pair, coin, fees=(1_000, 1_000, 1_000))
    other.policy.nonstandard.add(view_of(line[2]).wtxid)
    pair.network.join()
    assert list(other.mempool.entries) == [view_of(raw).txid for raw in line[:2]]


# ----------------------------------------------------------------------------------------------------- what a miner may


def test_a_miner_chooses() -> None:
    """What he leaves out, all he takes, and what nobody relays; children never without parents, the best first."""
    lab = SimLab()
    coin, *others = lab.coins(3)
    line = unconfirmed_line(lab, coin, fees=(500, 20_000))
    single, extra = lab.make(others[0], fee_sats=5_000), lab.make(others[1], fee_sats=0)
    lab.send(single)
    names = [view_of(raw).txid for raw in [*line, single]]
    network, node = lab.network, lab.node

    def mined(block: Block) -> list[bytes]:
        node.rewind(1)
        return [tx.raw for tx in block.txs[1:]]

    assert mined(network.mine(node)) == [*line, single]
    assert mined(network.mine(node, exclude=names[:1])) == [single]
    assert mined(network.mine(node, only=names[:1])) == [line[0]]
    assert mined(network.mine(node, only=names[1:2])) == []
    assert mined(network.mine(node, only=names[:2], extra=[extra])) == [extra, *line]


def test_the_world_is_told_of_everything_once() -> None:
    """Every block of every branch, and every transaction, refused or mined unseen, in the order it came."""
    pair = SimPair()
    blocks: list[Block] = []
    raws: list[bytes] = []
    pair.network.block_listeners.append(blocks.append)
    pair.network.transaction_listeners.append(raws.append)
    coin, second = pair.network.deposit(*[(stranger_script("somebody"), 90_000)] * 2)
    pair.mine()
    sent, refused, mined = pair.make(coin), pair.make(coin, fee_sats=1_001), pair.make(second)
    for raw in (sent, refused, sent):
        pair.send(raw)
    pair.mine_exactly(sent, mined)
    pair.network.build(pair.node.tip)
    assert raws[1:] == [sent, refused, mined]
    assert blocks == pair.network.blocks[-3:]
    assert [block.serial for block in pair.network.blocks] == list(range(len(pair.network.blocks)))
    assert scan_block(blocks[1].raw, watched_outpoints={second}, watched_scripts=()).touches[0].tx.raw == mined


def test_what_could_be_mined_is_known_with_its_ancestors() -> None:
    """On this node's chain: a line without its rival, and no more once the rival is mined."""
    lab = SimLab()
    coin = lab.coin()
    line = unconfirmed_line(lab, coin, fees=(1_000, 1_000))
    assert lab.network.package(lab.node, line[1]) == tuple(line)
    assert lab.network.package(lab.node, line[1], {}) is None
    lab.mine_exactly(lab.make(coin, fee_sats=4))
    assert lab.network.package(lab.node, line[1]) is None
    lab.reorg(1, [line[0]])
    assert lab.network.package(lab.node, line[1]) == (line[1],)


def test_the_purse_goes_on_with_mature_coinbases() -> None:
    """Nobody gets the same coin twice."""
    lab = SimLab()
    lab.mine(COINBASE_MATURITY)
    given = [lab.network.purse() for _ in range(256 + 10)]
    assert len(set(given)) == len(given)
    assert all(o in lab.node.chain.coins for o in given)
    with pytest.raises(Forbidden, match="purse is empty"):
        lab.network.purse()


STORY = """
from tests.network_contract import PAIR_FACTS
from tests.simulation.lab import SimPair
pair = SimPair()
for fact in PAIR_FACTS:
    fact(pair)
coins = set(pair.coins(40))
for coin in sorted(coins):
    pair.send(pair.make(coin))
print([block.hash for block in pair.network.blocks][-1])
print([o.txid for o in pair.chain.fetch_mempool_spenders(coins)], list(pair.node.chain.coins)[-9:])
"""


def test_no_order_of_a_set_is_seen_from_outside() -> None:
    """Python hashes strings differently in every process; the same story has the same blocks and answers in all."""
    told = {
        subprocess.run(
            [sys.executable, "-c", STORY], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert "[]" not in told.pop()
