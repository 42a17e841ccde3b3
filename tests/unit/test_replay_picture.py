"""The picture of a story: it shows what the record and the chain say, and nothing in it lies on anything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regtest.malleate.transaction import Unlocking, parse_transaction, with_unlockings
from regtest.oracle import ChainPayment
from regtest.record import BlockSeen, Exhibit, Moment, Record, Role
from regtest.replay.boxes import Box
from regtest.replay.layout import BEND, Layout, layout_of
from regtest.replay.picture import picture_svg
from regtest.replay.scene import Scene, scene_of
from regtest.replay.shown import State
from tests.unit.replays import BTC, block, hash_of, mtgox_record, payments_in, script_of, transaction

COIN_1, COIN_2, COIN_3 = (f"{hash_of('coin', number)}:0" for number in (1, 2, 3))
CHANGE, OTHER = script_of(90), script_of(900)
ONE = (("payout-001", script_of(1), BTC),)


def attempt(number: int, spends: Sequence[str], pays: Sequence[tuple[str, int]] | None = None) -> Exhibit:
    outputs = pays if pays is not None else [(script_of(1), BTC), (CHANGE, BTC // 2)]
    return Exhibit(Role.ATTEMPT, transaction(spends, outputs), f"attempt {number}")


def twin_of(exhibit: Exhibit, unlocking: bytes = b"\x51") -> Exhibit:
    return Exhibit(Role.TWIN, transaction(exhibit.spends, exhibit.outputs, unlocking), "T01 twin")


def fates(scene: Scene) -> list[tuple[str, str, State]]:
    return [(shown.tag, shown.name, shown.state) for shown in scene.transactions]


# ------------------------------------------------------------------------------------------------- what is in a picture


def test_rivals_for_a_coin_are_neighbours_and_share_it() -> None:
    """The attempt that never was mined, its twin that was, and the second payment from another coin."""
    record = mtgox_record(pays_again=True)
    scene = scene_of(record, payments_in(record))
    assert fates(scene) == [
        ("A", "attempt 1", State.NEVER),
        ("B", "T02b twin", State.MINED),
        ("C", "attempt 2", State.MINED),
    ]
    assert [(len(coin.outpoints), coin.spenders) for coin in scene.coins] == [(1, (0, 1)), (1, (2,))]
    [payee] = scene.payees
    assert (payee.name, payee.owed_sats, payee.has_sats) == ("payout-001", BTC, 2 * BTC)
    assert [(seen.height, scene.tags_in(seen)) for seen in scene.active] == [(119, "B"), (120, "C")]
    assert scene.tip == 125


def test_what_only_a_lost_branch_holds_is_lost() -> None:
    """It was in a block, and the branch with that block was left behind."""
    first = attempt(1, [COIN_1])
    twin = twin_of(first)
    lost = block(119, first, name="lost", active=False)
    empty = block(120, name="lost", previous=lost.hash, active=False)
    scene = scene_of(Record((), (first, twin), (block(119, twin), lost, empty), ONE))
    assert [(shown.state, shown.where) for shown in scene.transactions] == [
        (State.LOST, "lost with block 119"),
        (State.MINED, "in block 119"),
    ]
    assert scene.lost == ((lost, empty),)


def test_a_branch_may_leave_a_branch_that_was_left() -> None:
    """Three branches part at one block, and one of them parts again."""
    trunk = block(100, name="a", active=False)
    left = block(101, name="b", previous=trunk.hash, active=False)
    right = block(101, name="c", previous=trunk.hash, active=False)
    longer = block(102, name="c", previous=right.hash, active=False)
    first = attempt(1, [COIN_1])
    scene = scene_of(Record((), (first,), (block(100, first), trunk, left, right, longer), ONE))
    assert sorted(tuple(seen.height for seen in branch) for branch in scene.lost) in (
        [(100, 101), (101, 102)],
        [(100, 101, 102), (101,)],
    )
    assert {seen.hash for branch in scene.lost for seen in branch} == {b.hash for b in (trunk, left, right, longer)}


def test_a_child_hangs_on_the_parent_that_the_chain_has() -> None:
    """Of two with one txid, and other witnesses, it is the mined one whose output is spent."""
    first = attempt(1, [COIN_1])
    bytes_of_twin = with_unlockings(parse_transaction(first.raw), [Unlocking(b"", (b"\x01",))])
    twin = Exhibit(Role.TWIN, bytes_of_twin, "W01 twin")
    assert (twin.txid, twin.wtxid != first.wtxid) == (first.txid, True)
    child = Exhibit(Role.CHILD, transaction([f"{first.txid}:1"], [(script_of(70), BTC // 4)]), "somebody's child")
    scene = scene_of(Record((), (first, twin, child), (block(119, twin),), ONE))
    [spend] = scene.spends
    assert (spend.parent, spend.vout, spend.child) == (1, 1, 2)
    assert [output.words for output in scene.transactions[1].outputs] == ["payout-001", "change"]
    assert [payee.has_sats for payee in scene.payees] == [BTC]


def test_where_the_coins_came_from_is_background() -> None:
    """The deposit is no box; it tells how much its coin is worth. One that is disputed is a box."""
    deposit = Exhibit(Role.FUNDING, transaction([COIN_3], [(script_of(80), 3 * BTC)]), "deposit")
    first = attempt(1, [f"{deposit.txid}:0"])
    calm = scene_of(Record((), (deposit, first), (block(118, deposit), block(119, first)), ONE))
    assert fates(calm) == [("A", "attempt 1", State.MINED)]
    assert [coin.sats for coin in calm.coins] == [3 * BTC]
    rival = Exhibit(Role.FOREIGN, transaction([COIN_3], [(script_of(81), 3 * BTC)]), "double spend")
    disputed = scene_of(Record((), (deposit, rival, first), (block(118, rival),), ONE))
    assert [name for _, name, _ in fates(disputed)] == ["deposit", "double spend", "attempt 1"]


def test_parents_stand_above_their_children() -> None:
    """Also where the record names the child first."""
    deposit = Exhibit(Role.FUNDING, transaction([COIN_3], [(script_of(80), 3 * BTC)]), "deposit")
    rival = Exhibit(Role.FOREIGN, transaction([COIN_3], [(script_of(81), 3 * BTC)]), "taken back")
    first = attempt(1, [f"{deposit.txid}:0"])
    second = attempt(2, [f"{first.txid}:1"])
    scene = scene_of(Record((), (second, first, deposit, rival), (), ONE))
    assert [name for _, name, _ in fates(scene)] == ["deposit", "taken back", "attempt 1", "attempt 2"]
    assert [output.words for output in scene.transactions[0].outputs] == ["to the wallet"]
    assert [box.x for box in layout_of(scene).boxes] == sorted(box.x for box in layout_of(scene).boxes)


def test_a_crowd_is_drawn_as_a_few_and_the_rest() -> None:
    """A hundred payments of a hundred customers fit into a picture, and their sums are right."""
    customers = tuple((f"payout-{n:03d}", script_of(n), 1_000 + n) for n in range(1, 101))
    attempts = [attempt(n, [f"{hash_of('coin', n)}:0"], [(script_of(n), 1_000 + n), (OTHER, 5)]) for n in range(1, 101)]
    record = Record((), tuple(attempts), (block(119, *attempts),), customers)
    scene = scene_of(record, payments_in(record))
    assert [shown.count for shown in scene.transactions] == [1, 1, 1, 97]
    assert sum(output.sats for shown in scene.transactions for output in shown.outputs) == sum(
        sats for exhibit in attempts for _, sats in exhibit.outputs
    )
    [payee] = scene.payees
    assert (payee.name, payee.count, payee.owed_sats, payee.has_sats) == ("100 customers", 100, 105_050, 105_050)
    assert scene.tags_in(scene.active[0]) == "ABCD"
    assert len(picture_svg(record)) < 12_000


def test_whoever_has_a_part_in_the_story_is_never_lost_in_a_crowd() -> None:
    """The twin among forty payments stands in the picture, beside what it is the twin of."""
    attempts = [attempt(n, [f"{hash_of('coin', n)}:0"]) for n in range(1, 41)]
    twin = twin_of(attempts[30])
    scene = scene_of(Record((), (*attempts, twin), (block(119, twin),), ONE))
    names = [shown.name for shown in scene.transactions]
    assert names.index("T01 twin") == names.index("attempt 31") + 1
    assert names[-1] == "38 more like these"


def test_what_paid_and_is_not_in_the_record_is_in_the_picture() -> None:
    """The sum that a customer has is the chain's, whether or not the record has every transaction."""
    record = mtgox_record(pays_again=False)
    unseen = ChainPayment("ee" * 32, 0, BTC, 117, "bb" * 32)
    scene = scene_of(record, (unseen, *payments_in(record)))
    assert fates(scene)[-1] == ("C", "earlier payment", State.MINED)
    assert [payee.has_sats for payee in scene.payees] == [2 * BTC]


def test_without_the_chains_word_the_blocks_of_the_record_count() -> None:
    """Of a story that was not judged a picture is drawn all the same."""
    assert [payee.has_sats for payee in scene_of(mtgox_record(pays_again=True)).payees] == [2 * BTC]
    assert [payee.has_sats for payee in scene_of(mtgox_record(pays_again=False)).payees] == [BTC]


def test_customers_with_one_address_are_one() -> None:
    """What is paid to a shared address cannot be told apart."""
    first = attempt(1, [COIN_1])
    customers = (("payout-001", script_of(1), BTC // 2), ("payout-002", script_of(1), BTC // 2))
    [payee] = scene_of(Record((), (first,), (block(119, first),), customers)).payees
    assert (payee.name, payee.owed_sats, payee.has_sats) == ("2 customers", BTC, BTC)


def test_a_record_without_transactions_has_no_picture() -> None:
    """Nothing is drawn where nothing was seen."""
    assert picture_svg(Record((Moment("signed", "nothing", 1),))) == ""


VERDICTS = [(2 * BTC, "PAID TWICE"), (BTC + 1, "TOO MUCH"), (BTC, "paid once"), (1, "paid in part"), (0, "not paid")]


@pytest.mark.parametrize(("has_sats", "words"), VERDICTS, ids=[words for _, words in VERDICTS])
def test_the_customer_shows_what_came_of_it(has_sats: int, words: str) -> None:
    """In a word, beside the two sums."""
    first = attempt(1, [COIN_1], [(script_of(1), has_sats), (CHANGE, 7)])
    svg = picture_svg(Record((), (first,), (block(119, first),), ONE))
    assert f">{words}</text>" in svg


def test_a_picture_is_xml_and_says_in_words_what_it_shows() -> None:
    """Whatever a transaction or a customer is called."""
    nasty = "<b>&\"' \x00\ud800"
    first = Exhibit(Role.ATTEMPT, transaction([COIN_1], [(script_of(1), BTC)]), nasty)
    svg = picture_svg(Record((), (first,), (block(119, first),), ((nasty, script_of(1), BTC),)))
    root = parsed(svg)
    assert root.get("role") == "img"
    assert "is owed 1.0 and has 1.0" in (root.get("aria-label") or "")
    assert root.find(".//b") is None


# ---------------------------------------------------------------------------------------------------- where things are


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Up to twelve transactions that spend coins and each other, in blocks of a chain with lost branches."""
    customers = tuple((f"payout-{n}", script_of(n), BTC) for n in range(draw(st.integers(0, 6))))
    scripts = [script for _, script, _ in customers] + [CHANGE, script_of(91), script_of(92)]
    exhibits: list[Exhibit] = []
    outpoints = [f"{hash_of('coin', n)}:{n}" for n in range(4)]
    for number in range(draw(st.integers(1, 12))):
        spends = draw(st.lists(st.sampled_from(outpoints), min_size=1, max_size=3, unique=True))
        pays = draw(st.lists(st.sampled_from(scripts), min_size=1, max_size=5))
        raw = transaction(spends, [(script, BTC + n) for n, script in enumerate(pays)], bytes([number]))
        exhibit = Exhibit(draw(st.sampled_from(list(Role))), raw, f"transaction {number}")
        exhibits.append(exhibit)
        outpoints += [f"{exhibit.txid}:{vout}" for vout in range(len(pays))]
    blocks = list(_blocks(draw, exhibits))
    moments = tuple(Moment("x", "y", 100 + n) for n in range(draw(st.integers(0, 3))))
    return Record(moments, tuple(exhibits), tuple(sorted(blocks, key=lambda seen: (seen.height, seen.hash))), customers)


def _blocks(draw: st.DrawFn, exhibits: Sequence[Exhibit]) -> Iterator[BlockSeen]:
    for height in draw(st.lists(st.integers(100, 120), max_size=4, unique=True)):
        yield block(height, *draw(st.lists(st.sampled_from(exhibits), max_size=4, unique=True)))
    tips: list[tuple[int, str | None]] = [(draw(st.integers(99, 115)), None)]
    for number in range(draw(st.integers(0, 3))):
        height, previous = draw(st.sampled_from(tips))
        for _ in range(draw(st.integers(1, 4))):
            height += 1
            held = draw(st.lists(st.sampled_from(exhibits), max_size=2, unique=True))
            seen = block(height, *held, name=f"lost {number}", previous=previous, active=False)
            previous = seen.hash
            tips.append((height, previous))
            yield seen


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records())
def test_nothing_lies_on_anything_else_and_no_line_runs_through_a_box(record: Record) -> None:
    """For any record: boxes apart, lines beside them, and all of it inside of the picture."""
    scene = scene_of(record)
    layout = layout_of(scene)
    boxes = layout.all_boxes
    for number, box in enumerate(boxes):
        assert box.x >= 0
        assert box.y >= 0
        assert box.right <= layout.width
        assert box.bottom <= layout.height
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
    for run in runs(layout):
        assert not any(run.overlaps(box) for box in boxes)
    assert len(layout.boxes) == len(scene.transactions)
    parsed(picture_svg(record) or "<svg/>")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records())
def test_every_transaction_has_its_letter_and_every_letter_its_block(record: Record) -> None:
    """The strip of blocks names no letter that no box has, and each block that holds something shown is drawn."""
    scene = scene_of(record)
    layout = layout_of(scene)
    letters = [shown.tag for shown in scene.transactions]
    assert len(set(letters)) == len(letters)
    drawn = {(seen.height, seen.tags) for seen in layout.blocks if seen.tags}
    held = [*scene.active, *(seen for branch in scene.lost for seen in branch)]
    assert drawn == {(seen.height, scene.tags_in(seen)) for seen in held if scene.tags_in(seen)}
    assert set("".join(tags for _, tags in drawn)) <= set(letters)


def runs(layout: Layout) -> Iterator[Box]:
    """The level parts of every line, as boxes of no height, without their ends; and the place in which each bends."""
    for edge in layout.edges:
        if edge.bend > edge.x1 + 1:
            yield Box(edge.x1 + 1, edge.y1, edge.bend - edge.x1 - 2, 1)
        after = min(edge.bend + BEND, edge.x2)
        top, bottom = sorted((edge.y1, edge.y2))
        yield Box(edge.bend + 1, top, after - edge.bend - 2, bottom - top + 1)
        if edge.x2 > after + 1:
            yield Box(after + 1, edge.y2, edge.x2 - after - 2, 1)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg.encode("utf-8"))  # noqa: S314 - what is read was written here
