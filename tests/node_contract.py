"""What every node does, simulated or real: the facts that the steps rest on. Run over both: ours stays honest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from tests.unit.signing_orders import wallet
from withdrawals.core.blockscan import scan_block
from withdrawals.core.tx import view_of
from withdrawals.core.types import Feerate, OutPoint, Sats, ScriptPubKey, Txid
from withdrawals.ports import ChainSource, SendResult, Sent, UnspentOutput, UnspentScan

CAP = Feerate(500_000)
FEE_SATS = 1_000


class Lab(Protocol):
    """A node with somebody's money in it."""

    @property
    def chain(self) -> ChainSource:
        """The port of facts."""

    def coin(self) -> OutPoint:
        """A fresh coin in a block that somebody can spend."""

    def pay(self, *outputs: tuple[ScriptPubKey, int]) -> tuple[OutPoint, ...]:
        """Somebody pays these amounts to these scripts, in the next block."""

    def spend(self, coin: OutPoint, *, fee_sats: int = FEE_SATS) -> bytes:
        """A valid transaction that spends it; another fee makes another transaction."""

    def make(
        self,
        *coins: OutPoint,
        fee_sats: int = FEE_SATS,
        outputs: int = 1,
        locktime: int = 0,
        parents: Sequence[bytes] = (),
    ) -> bytes:
        """A valid transaction of somebody's that spends these, perhaps outputs of `parents`, into equal outputs."""

    def other_witness(self, raw: bytes) -> bytes:
        """The same transaction, by txid, with another witness."""

    def coins(self, count: int) -> tuple[OutPoint, ...]:
        """So many fresh coins in one block that somebody can spend."""

    def young_coinbase(self) -> OutPoint:
        """What the miner of the tip earned, which is somebody's."""

    def send(self, raw: bytes, *, feerate_max: Feerate = CAP) -> SendResult:
        """Through the port."""

    def mine(self, blocks: int = 1) -> None:
        """The mempool, then empty blocks."""

    def mine_exactly(self, *raws: bytes) -> None:
        """One block of exactly these."""

    def reorg(self, depth: int, *blocks: Sequence[bytes]) -> None:
        """Others, and empty ones up to one more than were lost, in place of the last blocks."""


def a_block_moves_the_tip_by_one(lab: Lab) -> None:
    """Header, hash and height agree; above the tip there is nothing."""
    before = lab.chain.fetch_tip()
    lab.mine()
    after = lab.chain.fetch_tip()
    header = lab.chain.fetch_header(after.block.hash)
    assert after.block.height == after.headers_height == header.height == before.block.height + 1
    assert (header.prev, header.hash, header.time) == (before.block.hash, after.block.hash, after.time_s)
    assert lab.chain.fetch_hash(before.block.height) == before.block.hash
    assert lab.chain.fetch_hash(after.block.height + 1) is None


def a_block_holds_what_was_mined(lab: Lab) -> None:
    """Its bytes hash to the name it was asked by, and a spend of ours is found in them."""
    coin = lab.coin()
    raw = lab.spend(coin)
    lab.mine_exactly(raw)
    tip = lab.chain.fetch_tip().block
    scan = scan_block(lab.chain.fetch_block(tip.hash), watched_outpoints={coin}, watched_scripts=())
    assert scan.header.hash == tip.hash
    assert [touch.tx.raw for touch in scan.touches] == [raw]


def what_is_sent_is_held_and_then_mined(lab: Lab) -> None:
    """Sent again it is there, in the mempool or in a block; the mempool forgets it with the block."""
    coin = lab.coin()
    raw = lab.spend(coin)
    for _ in range(2):
        sent = lab.send(raw)
        assert (sent.outcome, sent.held_wtxid) == (Sent.PRESENT, view_of(raw).wtxid)
    assert lab.chain.fetch_mempool_spenders([coin]) == {coin: raw}
    lab.mine()
    assert lab.chain.fetch_mempool_spenders([coin]) == {}
    mined = lab.send(raw)
    assert (mined.outcome, mined.held_wtxid) == (Sent.PRESENT, None)


def a_rival_is_a_conflict(lab: Lab) -> None:
    """In the mempool unless it pays less, and in a block always; so is an input that nobody has."""
    coin = lab.coin()
    cheap, dear = lab.spend(coin, fee_sats=FEE_SATS), lab.spend(coin, fee_sats=20 * FEE_SATS)
    assert lab.send(cheap).outcome is Sent.PRESENT
    assert lab.send(dear).outcome is Sent.PRESENT
    assert lab.send(cheap).outcome is Sent.CONFLICT
    assert lab.chain.fetch_mempool_spenders([coin]) == {coin: dear}
    lab.mine_exactly(cheap)
    assert lab.send(dear).outcome is Sent.CONFLICT
    assert lab.chain.fetch_mempool_spenders([coin]) == {}


def our_own_cap_is_refused_first(lab: Lab) -> None:
    """Nothing leaves the node."""
    coin = lab.coin()
    assert lab.send(lab.spend(coin, fee_sats=50_000), feerate_max=Feerate(10_000)).outcome is Sent.NEVER_SENT
    assert lab.chain.fetch_mempool_spenders([coin]) == {}


def a_reorg_gives_transactions_back(lab: Lab) -> None:
    """What a lost block held is in the mempool again, unless the new blocks hold it, or spend its coin."""
    first, second, third = lab.coin(), lab.coin(), lab.coin()
    lost, kept, beaten = lab.spend(first), lab.spend(second), lab.spend(third)
    rival = lab.spend(third, fee_sats=2 * FEE_SATS)
    height = lab.chain.fetch_tip().block.height
    lab.mine_exactly(lost, kept, beaten)
    gone = lab.chain.fetch_tip().block
    lab.reorg(1, [kept, rival])
    tip = lab.chain.fetch_tip().block
    assert tip.height == height + 2
    assert lab.chain.fetch_hash(gone.height) != gone.hash
    assert lab.chain.fetch_header(gone.hash).height == gone.height
    assert lab.chain.fetch_mempool_spenders([first, second, third]) == {first: lost}


def nobody_spends_what_is_not_there(lab: Lab) -> None:
    """An outpoint that never was has no spender, and its spender is refused."""
    ghost = OutPoint(Txid("ab" * 32), 0)
    assert lab.chain.fetch_mempool_spenders([ghost]) == {}


def the_utxo_set_is_read_by_descriptor(lab: Lab) -> None:
    """Every kind of script of ours, both branches, up to the last index that was asked for."""
    hot = wallet()
    ours = [hot.own_scripts(w, branch, index, 1)[0].script for w in range(4) for branch, index in ((0, 7), (1, 0))]
    late = hot.own_scripts(0, 0, 8, 1)[0].script
    paid = lab.pay(*[(script, 50_000 + n) for n, script in enumerate(ours)], (late, 70_000))
    block = lab.chain.fetch_tip().block
    expected = {
        o: UnspentOutput(script, Sats(50_000 + n), block.height, coinbase=False)
        for n, (o, script) in enumerate(zip(paid, ours, strict=False))
    }
    assert lab.chain.fetch_unspent(hot.descriptors, index_max=7) == UnspentScan(block, expected)
    first = {o: out for o, out in expected.items() if out.script in ours[:2]}
    assert lab.chain.fetch_unspent(hot.descriptors[:1], index_max=7).outputs == first
    assert paid[-1] in lab.chain.fetch_unspent(hot.descriptors, index_max=8).outputs


def a_replacement_pays_more_in_all_and_by_the_byte(lab: Lab) -> None:
    """As much is not enough, nor is a satoshi more, nor more for so many more bytes that each of them pays less."""
    coin = lab.coin()
    first = lab.make(coin, fee_sats=FEE_SATS)
    assert lab.send(first).outcome is Sent.PRESENT
    refused = [
        lab.send(lab.make(coin, fee_sats=FEE_SATS, locktime=1)),
        lab.send(lab.make(coin, fee_sats=FEE_SATS + 1)),
        lab.send(lab.make(coin, fee_sats=4 * FEE_SATS, outputs=40)),
    ]
    assert [(s.outcome, "insufficient fee" in s.reason) for s in refused] == [(Sent.CONFLICT, True)] * 3, refused
    assert lab.chain.fetch_mempool_spenders([coin]) == {coin: first}
    second = lab.make(coin, fee_sats=2 * FEE_SATS)
    assert lab.send(second).outcome is Sent.PRESENT
    assert lab.chain.fetch_mempool_spenders([coin]) == {coin: second}


def a_replacement_pays_for_the_children_it_evicts(lab: Lab) -> None:
    """Parent, child and grandchild leave together, for more than all of them paid."""
    coin = lab.coin()
    family = unconfirmed_line(lab, coin, fees=(FEE_SATS, 5 * FEE_SATS, 5 * FEE_SATS))
    held = dict(zip([coin, *map(first_output, family)], family, strict=False))
    assert lab.send(lab.make(coin, fee_sats=9 * FEE_SATS)).outcome is Sent.CONFLICT
    assert lab.chain.fetch_mempool_spenders(held) == held
    dear = lab.make(coin, fee_sats=20 * FEE_SATS)
    assert lab.send(dear).outcome is Sent.PRESENT
    assert lab.chain.fetch_mempool_spenders(held) == {coin: dear}
    assert [lab.send(raw).outcome for raw in family] == [Sent.CONFLICT] * 3


def a_replacement_does_not_spend_what_it_replaces(lab: Lab) -> None:
    """Its own parent would be gone."""
    coin = lab.coin()
    (parent,) = unconfirmed_line(lab, coin, fees=(FEE_SATS,))
    eager = lab.make(coin, first_output(parent), fee_sats=20 * FEE_SATS)
    assert lab.send(eager).outcome is Sent.CONFLICT
    assert lab.chain.fetch_mempool_spenders([coin]) == {coin: parent}


def at_most_a_hundred_are_replaced_at_once(lab: Lab) -> None:
    """Whatever is paid for it."""
    coins = lab.coins(101)
    held = {coin: lab.make(coin) for coin in coins}
    assert {lab.send(raw).outcome for raw in held.values()} == {Sent.PRESENT}
    assert lab.send(lab.make(*coins, fee_sats=1_000 * FEE_SATS)).outcome is Sent.CONFLICT
    assert lab.chain.fetch_mempool_spenders(coins) == held
    most = lab.make(*coins[:100], fee_sats=1_000 * FEE_SATS)
    assert lab.send(most).outcome is Sent.PRESENT
    assert lab.chain.fetch_mempool_spenders(coins) == {**dict.fromkeys(coins[:100], most), coins[100]: held[coins[100]]}
    lab.mine()


def a_confirmed_rival_takes_the_descendants_along(lab: Lab) -> None:
    """They spend what is not there any more."""
    coin = lab.coin()
    family = unconfirmed_line(lab, coin, fees=(FEE_SATS, FEE_SATS))
    lab.mine_exactly(lab.make(coin, fee_sats=3 * FEE_SATS))
    assert lab.chain.fetch_mempool_spenders([coin, first_output(family[0])]) == {}
    assert [lab.send(raw).outcome for raw in family] == [Sent.CONFLICT] * 2


def a_young_coinbase_is_spent_later(lab: Lab) -> None:
    """A hundred blocks later, with the same bytes."""
    lab.mine()
    sent = lab.send(lab.make(lab.young_coinbase()))
    assert (sent.outcome, "premature" in sent.reason) == (Sent.RETRY_SAME_BYTES, True), sent


def a_lock_is_waited_for(lab: Lab) -> None:
    """Locked to a height it stands in a block above that, and comes into the mempool one block before."""
    coin = lab.coin()
    locked = lab.make(coin, locktime=lab.chain.fetch_tip().block.height + 1)
    sent = lab.send(locked)
    assert (sent.outcome, "non-final" in sent.reason) == (Sent.RETRY_SAME_BYTES, True), sent
    lab.mine()
    assert lab.send(locked).outcome is Sent.PRESENT
    assert lab.chain.fetch_mempool_spenders([coin]) == {coin: locked}


def the_first_witness_of_a_txid_stays(lab: Lab) -> None:
    """Another one for the same txid is answered as if it were held, and is not."""
    coin = lab.coin()
    raw = lab.make(coin)
    other = lab.other_witness(raw)
    assert (view_of(other).txid, other != raw) == (view_of(raw).txid, True)
    assert lab.send(raw).outcome is Sent.PRESENT
    again = lab.send(other)
    assert (again.outcome, again.held_wtxid) == (Sent.PRESENT, view_of(raw).wtxid)
    assert lab.chain.fetch_mempool_spenders([coin]) == {coin: raw}


def too_small_a_fee_is_for_later_and_none_at_all_for_never(lab: Lab) -> None:
    """Value comes from nowhere in no mempool."""
    coin = lab.coin()
    assert lab.send(lab.make(coin, fee_sats=1)).outcome is Sent.RETRY_SAME_BYTES
    assert lab.send(lab.make(coin, fee_sats=-1_000)).outcome is Sent.AMBIGUOUS
    assert lab.chain.fetch_mempool_spenders([coin]) == {}


def a_coin_is_made_and_spent_in_one_block(lab: Lab) -> None:
    """Both are seen in it. What is spent again is a conflict to a node, what is not is there (F17)."""
    coin = lab.coin()
    parent = lab.make(coin)
    child = lab.make(first_output(parent), parents=[parent])
    assert lab.send(child).outcome is Sent.CONFLICT
    lab.mine_exactly(parent, child)
    block = lab.chain.fetch_block(lab.chain.fetch_tip().block.hash)
    watched = {coin, first_output(parent)}
    touches = scan_block(block, watched_outpoints=watched, watched_scripts=()).touches
    assert [touch.tx.raw for touch in touches] == [parent, child]
    assert lab.send(parent).outcome is Sent.CONFLICT
    assert lab.send(child).outcome is Sent.PRESENT


def a_reorg_gives_a_line_back_parents_first(lab: Lab) -> None:
    """Three blocks held a line of three, the mempool a fourth; none of it is lost, and all of it is mined again."""
    coin = lab.coin()
    line: list[bytes] = []
    for _ in range(3):
        line.append(lab.make(first_output(line[-1]) if line else coin))
        lab.mine_exactly(line[-1])
    line.append(lab.make(first_output(line[-1])))
    assert lab.send(line[-1]).outcome is Sent.PRESENT
    lab.reorg(3)
    held = dict(zip([coin, *map(first_output, line[:-1])], line, strict=True))
    assert lab.chain.fetch_mempool_spenders(held) == held
    lab.mine()
    assert lab.chain.fetch_mempool_spenders(held) == {}
    assert lab.send(line[-1]).outcome is Sent.PRESENT


def a_reorg_drops_what_descends_from_the_loser(lab: Lab) -> None:
    """The new branch holds a rival of the second of a line: the first is there, all others are nowhere."""
    coin = lab.coin()
    line: list[bytes] = []
    for _ in range(3):
        line.append(lab.make(first_output(line[-1]) if line else coin))
        lab.mine_exactly(line[-1])
    line.append(lab.make(first_output(line[-1])))
    assert lab.send(line[-1]).outcome is Sent.PRESENT
    lab.reorg(3, [line[0], lab.make(first_output(line[0]), fee_sats=3 * FEE_SATS, parents=line)])
    assert lab.chain.fetch_mempool_spenders([coin, *map(first_output, line)]) == {}
    assert [lab.send(raw).outcome for raw in line] == [Sent.CONFLICT] * 4


def a_deep_reorg_gives_the_last_blocks_back(lab: Lab) -> None:
    """Twelve blocks are gone, and what the last of them held waits again."""
    coin = lab.coin()
    lab.mine(11)
    raw = lab.make(coin)
    lab.mine_exactly(raw)
    height = lab.chain.fetch_tip().block.height
    lab.reorg(12)
    assert lab.chain.fetch_tip().block.height == height + 1
    assert lab.chain.fetch_mempool_spenders([coin]) == {coin: raw}
    lab.mine()


def first_output(raw: bytes) -> OutPoint:
    """What its first output is called."""
    return OutPoint(view_of(raw).txid, 0)


def unconfirmed_line(lab: Lab, coin: OutPoint, *, fees: Sequence[int]) -> list[bytes]:
    """A transaction that spends the coin, one that spends its output, and so on, all taken by the mempool."""
    line: list[bytes] = []
    for fee_sats in fees:
        line.append(lab.make(first_output(line[-1]) if line else coin, fee_sats=fee_sats))
        assert lab.send(line[-1]).outcome is Sent.PRESENT
    return line


FACTS: Final[tuple[Callable[[Lab], None], ...]] = (
    a_block_moves_the_tip_by_one,
    a_block_holds_what_was_mined,
    what_is_sent_is_held_and_then_mined,
    a_rival_is_a_conflict,
    our_own_cap_is_refused_first,
    a_reorg_gives_transactions_back,
    nobody_spends_what_is_not_there,
    the_utxo_set_is_read_by_descriptor,
    a_replacement_pays_more_in_all_and_by_the_byte,
    a_replacement_pays_for_the_children_it_evicts,
    a_replacement_does_not_spend_what_it_replaces,
    at_most_a_hundred_are_replaced_at_once,
    a_confirmed_rival_takes_the_descendants_along,
    a_young_coinbase_is_spent_later,
    a_lock_is_waited_for,
    the_first_witness_of_a_txid_stays,
    too_small_a_fee_is_for_later_and_none_at_all_for_never,
    a_coin_is_made_and_spent_in_one_block,
    a_reorg_gives_a_line_back_parents_first,
    a_reorg_drops_what_descends_from_the_loser,
    a_deep_reorg_gives_the_last_blocks_back,
)
