"""What every node does, fake or real: the facts that the steps rest on. Run over both: the fake stays honest."""

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


FACTS: Final[tuple[Callable[[Lab], None], ...]] = (
    a_block_moves_the_tip_by_one,
    a_block_holds_what_was_mined,
    what_is_sent_is_held_and_then_mined,
    a_rival_is_a_conflict,
    our_own_cap_is_refused_first,
    a_reorg_gives_transactions_back,
    nobody_spends_what_is_not_there,
    the_utxo_set_is_read_by_descriptor,
)
