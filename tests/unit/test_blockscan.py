"""A block is walked by its lengths, and nothing of ours in it is overlooked."""

from __future__ import annotations

import struct

import pytest
from bitcoin.core import CBlock, b2lx
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_tx import GENESIS_COINBASE, GENESIS_HEADER
from withdrawals.core import tx
from withdrawals.core.blockscan import (
    BlockScan,
    MalformedBlock,
    outputs_of,
    scan_block,
    scan_block_for,
    spends_of,
    watch_of,
)
from withdrawals.core.model import TxOut
from withdrawals.core.types import OutPoint, Sats, ScriptPubKey, Txid

NULL = OutPoint(Txid("00" * 32), 0xFFFF_FFFF)
OURS = [ScriptPubKey(bytes([0, 20]) + bytes([n]) * 20) for n in range(3)]
THEIRS = [ScriptPubKey(bytes([0, 20]) + bytes([200 + n]) * 20) for n in range(3)]
SIGNED = tx.InputSignature(witness=(b"\x30" * 71, b"\x02" * 33))


def out(script: bytes, sats: int = 1000) -> TxOut:
    return TxOut(ScriptPubKey(script), Sats(sats))


def transaction(
    prevouts: list[OutPoint], outs: list[TxOut], signature: tx.InputSignature = SIGNED, *, version: int = 2
) -> bytes:
    unsigned = tx.unsigned_tx([(o, 0xFFFF_FFFD) for o in prevouts], outs, version=version)
    return tx.with_signatures(unsigned, [signature] * len(prevouts))


def coinbase(*outs: TxOut) -> bytes:
    return transaction([NULL], list(outs) or [out(THEIRS[0])], tx.InputSignature(b"\x01\x65", (bytes(32),)))


def compact_size(number: int) -> bytes:
    if number < 0xFD:
        return bytes([number])
    return b"\xfd" + struct.pack("<H", number)


def block(*transactions: bytes, header: bytes = GENESIS_HEADER) -> bytes:
    return header + compact_size(len(transactions)) + b"".join(transactions)


def foreign(n: int, vout: int = 0) -> OutPoint:
    return OutPoint(Txid(bytes([n]).hex() * 32), vout)


def scan(raw: bytes, outpoints: list[OutPoint] | None = None, scripts: list[ScriptPubKey] | None = None) -> BlockScan:
    return scan_block(raw, watched_outpoints=outpoints or [], watched_scripts=OURS if scripts is None else scripts)


def test_the_genesis_block_is_read() -> None:
    """Header and coinbase of the first block; its one output is found by its script."""
    script = tx.view_of(GENESIS_COINBASE).outputs[0].script
    seen = scan(block(GENESIS_COINBASE), scripts=[script])
    assert seen.header.hash == "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert seen.header.time == 1231006505
    assert seen.transaction_count == 1
    (touch,) = seen.touches
    assert (touch.position, touch.coinbase, touch.paid_vouts, touch.spent_vins) == (0, True, (0,), ())
    (made,) = outputs_of(seen)
    assert made.coinbase
    assert made.outpoint.txid == "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    assert made.output.sats == 50_0000_0000


def test_only_what_touches_us_is_reported() -> None:
    """A spend of a watched outpoint, a payment to a watched script, both at once; strangers are left out."""
    spender = transaction([foreign(1), foreign(2), foreign(3)], [out(THEIRS[0])])
    payer = transaction([foreign(4)], [out(THEIRS[1]), out(OURS[1], 7)], tx.InputSignature(b"\x51"))
    both = transaction([foreign(5)], [out(OURS[0])])
    stranger = transaction([foreign(2, 1)], [out(THEIRS[2])])
    raw = block(coinbase(), stranger, spender, payer, both)
    seen = scan(raw, [foreign(2), foreign(5)])
    assert [(t.position, t.spent_vins, t.paid_vouts) for t in seen.touches] == [
        (2, (1,), ()),
        (3, (), (1,)),
        (4, (0,), (0,)),
    ]
    assert [t.tx for t in seen.touches] == [tx.view_of(r) for r in (spender, payer, both)]
    assert not any(t.coinbase for t in seen.touches)
    assert [(s.prevout, s.vin, s.tx.txid) for s in spends_of(seen)] == [
        (foreign(2), 1, tx.txid_of(spender)),
        (foreign(5), 0, tx.txid_of(both)),
    ]
    assert [(o.outpoint, o.output) for o in outputs_of(seen)] == [
        (OutPoint(tx.txid_of(payer), 1), out(OURS[1], 7)),
        (OutPoint(tx.txid_of(both), 0), out(OURS[0])),
    ]


@pytest.mark.parametrize("signature", [SIGNED, tx.InputSignature(b"\x51" * 3)], ids=["segwit", "legacy"])
@pytest.mark.covers("CE22")
def test_a_coin_made_and_spent_in_one_block_is_seen_both_times(signature: tx.InputSignature) -> None:
    """Deposit, change of it and the change's change, all in one block, with a stranger in between."""
    deposit = transaction([foreign(1)], [out(THEIRS[0]), out(OURS[0])], signature)
    first = OutPoint(tx.txid_of(deposit), 1)
    sweep = transaction([foreign(2), first], [out(OURS[1]), out(THEIRS[1])], signature)
    second = OutPoint(tx.txid_of(sweep), 0)
    theft = transaction([second], [out(THEIRS[2])], signature)
    seen = scan(block(coinbase(), deposit, transaction([foreign(3)], [out(THEIRS[0])]), sweep, theft))
    assert [o.outpoint for o in outputs_of(seen)] == [first, second]
    assert [(s.prevout, s.vin, s.tx.wtxid) for s in spends_of(seen)] == [
        (first, 1, tx.wtxid_of(sweep)),
        (second, 0, tx.wtxid_of(theft)),
    ]


def test_transactions_of_strangers_are_stepped_over_without_reading_them() -> None:
    """An output of 21 million and one satoshi would not parse; nobody looks, unless it touches us."""
    absurd = bytearray(transaction([foreign(1)], [out(THEIRS[0])]))
    at = absurd.index(struct.pack("<q", 1000))
    absurd[at : at + 8] = struct.pack("<q", 21_000_000 * 100_000_000 + 1)
    assert scan(block(coinbase(), bytes(absurd))).touches == ()
    with pytest.raises(MalformedBlock, match="no transaction"):
        scan(block(coinbase(), bytes(absurd)), [foreign(1)])


def test_wide_lengths_are_walked() -> None:
    """Scripts, witnesses and counts of 253 and more take longer length fields."""
    many_inputs = transaction([foreign(9, n) for n in range(300)], [out(THEIRS[0])], tx.InputSignature(b"\x6a" * 300))
    many_outputs = transaction([foreign(8)], [out(THEIRS[0])] * 299 + [out(OURS[2])])
    big_witness = transaction(
        [foreign(7)],
        [out(b"\x6a" + bytes(400)), out(OURS[0])],
        tx.InputSignature(witness=(bytes(70_000),) + (b"",) * 300),
    )
    raw = block(coinbase(), many_inputs, many_outputs, big_witness, *[transaction([foreign(6)], [out(OURS[1])])] * 250)
    seen = scan(raw, [foreign(9, 299)])
    assert seen.transaction_count == 254
    assert [(t.spent_vins, t.paid_vouts) for t in seen.touches[:3]] == [((299,), ()), ((), (299,)), ((), (1,))]
    assert len(seen.touches) == 253


@pytest.mark.parametrize("count", [63, 64, 65, 128, 129, 200])
@pytest.mark.parametrize("odd", [None, 0, 5, 63, 64, 127], ids=lambda odd: f"odd-{odd}")
def test_a_payment_is_found_wherever_it_stands_in_a_batch(count: int, odd: int | None) -> None:
    """Rows of outputs of one length are looked at together; one of another length among them hides nothing."""
    outs = [out(THEIRS[n % 3]) for n in range(count)]
    if odd is not None and odd < count:
        outs[odd] = out(b"\x6a" * 300)
    for at in {0, 1, 62, 63, 64, 127, 128, count - 2, count - 1} - {odd}:
        if at < count:
            batch = [*outs[:at], out(OURS[at % 3]), *outs[at + 1 :]]
            seen = scan(block(coinbase(), transaction([foreign(1)], batch), transaction([foreign(2)], [out(OURS[0])])))
            assert [t.paid_vouts for t in seen.touches] == [(at,), (0,)]
    assert scan(block(coinbase(), transaction([foreign(1)], outs))).touches == ()


@pytest.mark.parametrize("size", [0, 1, 252, 253, 300])
def test_watched_scripts_of_any_length_are_found_in_a_row(size: int) -> None:
    """A row of equal lengths is compared by whole scripts, whether or not their length fits one byte."""
    script = ScriptPubKey(b"\x6a" * size)
    outs = [out(bytes([n]) * size) for n in range(100)]
    raw = block(coinbase(), transaction([foreign(1)], [*outs, out(script)]))
    vouts = tuple(range(101)) if size == 0 else (100,)
    assert [t.paid_vouts for t in scan(raw, scripts=[script]).touches] == [vouts]
    assert scan(raw, scripts=[ScriptPubKey(b"\x6b" * (size + 1))]).touches == ()


def test_a_watch_is_the_same_after_a_block_that_pays_us() -> None:
    """What is made in a block is watched in that block; what is watched afterwards is the caller's business."""
    deposit = transaction([foreign(1)], [out(OURS[0])])
    coin = OutPoint(tx.txid_of(deposit), 0)
    sweep = block(coinbase(), transaction([coin], [out(THEIRS[0])]))
    watch = watch_of([foreign(3)], OURS)
    for _ in range(2):
        assert len(scan_block_for(block(coinbase(), deposit), watch).touches) == 1
        assert scan_block_for(sweep, watch).touches == ()
    assert scan_block_for(sweep, watch_of([coin], OURS)).touches == scan(sweep, [coin]).touches != ()


def test_a_coinbase_has_one_input() -> None:
    """Core's IsCoinBase: exactly one input, and it spends nothing."""
    two = transaction([NULL, foreign(1)], [out(OURS[0])])
    elsewhere = transaction([OutPoint(NULL.txid, 0)], [out(OURS[0])])
    seen = scan(block(coinbase(out(OURS[0])), two, elsewhere))
    assert [t.coinbase for t in seen.touches] == [True, False, False]


SMALL = block(
    coinbase(out(OURS[0], 50)),
    transaction([foreign(1)], [out(OURS[1]), out(THEIRS[0])]),
    transaction([foreign(2)], [out(THEIRS[0])], tx.InputSignature(b"\x51" * 5)),
)


@pytest.mark.parametrize("end", range(len(SMALL)))
def test_a_block_cut_anywhere_is_malformed(end: int) -> None:
    """A short read is never a block in which nothing happened."""
    assert scan(SMALL).transaction_count == 3
    for scripts in (OURS, []):
        with pytest.raises(MalformedBlock):
            scan(SMALL[:end], [foreign(2)], scripts)


ONE = transaction([foreign(1)], [out(THEIRS[0])], tx.InputSignature())
START = GENESIS_HEADER + b"\x01"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(SMALL + b"\0", id="a byte too many"),
        pytest.param(GENESIS_HEADER + b"\0", id="no transactions"),
        pytest.param(GENESIS_HEADER + b"\xfd\x01\x00" + ONE, id="padded transaction count"),
        pytest.param(START + ONE[:4] + b"\xfd\x01\x00" + ONE[5:], id="padded input count"),
        pytest.param(START + ONE[:4] + b"\xfe\x01\x00\x00\x00" + ONE[5:], id="input count padded to 4 bytes"),
        pytest.param(START + ONE[:4] + b"\xff" * 9 + ONE[5:], id="absurd input count"),
        pytest.param(START + ONE[:41] + b"\xff" * 9 + ONE[42:], id="absurd script length"),
        pytest.param(START + ONE[:46] + b"\xff" * 9 + ONE[47:], id="absurd output count"),
        pytest.param(GENESIS_HEADER + b"\xff" * 9 + ONE, id="absurd transaction count"),
        pytest.param(START + ONE[:4] + b"\0\2" + ONE[4:-4] + b"\1\1\1" + ONE[-4:], id="unknown witness flag"),
        pytest.param(START + ONE[:4] + b"\0\1" + ONE[4:-4] + b"\0" + ONE[-4:], id="witness section without witness"),
        pytest.param(START + ONE[:4] + b"\0\1\0" + ONE[46:-4] + ONE[-4:], id="witness flag and no inputs"),
        pytest.param(START + ONE[:46] + b"\0" + ONE[-4:], id="no outputs"),
    ],
)
def test_what_no_node_would_serve_is_malformed(raw: bytes) -> None:
    """One typed error, whatever the damage; no memory or time is spent on absurd lengths."""
    scan(START + ONE)
    with pytest.raises(MalformedBlock):
        scan(raw)


def test_a_block_of_the_largest_size_is_walked_and_a_byte_more_is_not() -> None:
    """Four million bytes are the limit of consensus; nothing larger is looked at."""
    shell = transaction([foreign(1)], [out(OURS[0])], tx.InputSignature(witness=(bytes(70_000),)))
    filler = tx.InputSignature(witness=(bytes(4_000_000 - len(START) - len(shell) + 70_000),))
    raw = START + transaction([foreign(1)], [out(OURS[0])], filler)
    assert len(raw) == 4_000_000
    assert len(scan(raw).touches) == 1
    with pytest.raises(MalformedBlock, match="more than any block"):
        scan(raw + b"\0")


@pytest.mark.parametrize("size", [252, 253, 254, 65_535, 65_536, 65_537])
def test_lengths_at_the_edges_of_their_encoding_are_walked(size: int) -> None:
    """The least and greatest values of each length field, in every place that has one."""
    for signature in (tx.InputSignature(bytes(size)), tx.InputSignature(witness=(bytes(size),))):
        raw = transaction([foreign(1)], [out(bytes(size)), out(OURS[0])], signature)
        assert [t.paid_vouts for t in scan(block(coinbase(), raw)).touches] == [(1,)]


@given(st.binary(max_size=400))
def test_garbage_is_malformed(garbage: bytes) -> None:
    """Random bytes, alone and behind a good header."""
    for raw in (garbage, GENESIS_HEADER + garbage):
        with pytest.raises(MalformedBlock):
            scan(raw)


@given(st.data())
def test_a_damaged_block_is_malformed_or_another_block(data: st.DataObject) -> None:
    """Flip bytes anywhere: MalformedBlock or a scan, never another error."""
    raw = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        seen = scan(bytes(raw), [foreign(1)])
    except MalformedBlock:
        return
    assert seen.header == tx.header_of(bytes(raw[:80]))


def test_watched_scripts_may_come_in_any_collection() -> None:
    """Set, frozenset, list, tuple, dictionary keys: the same answer."""
    answers = [
        scan_block(SMALL, watched_outpoints=outpoints, watched_scripts=scripts)
        for scripts in (set(OURS), frozenset(OURS), list(OURS), tuple(OURS), dict.fromkeys(OURS).keys())
        for outpoints in ([foreign(2)], {foreign(2)}, frozenset({foreign(2)}))
    ]
    assert answers == answers[:1] * 15
    assert len(answers[0].touches) == 3


# ------------------------------------------------------------------------------------------------ against a full parser

scripts = (
    st.sampled_from([*OURS, *THEIRS])
    | st.binary(max_size=40).map(ScriptPubKey)
    | st.binary(min_size=253, max_size=260).map(ScriptPubKey)
)
signatures = st.builds(
    tx.InputSignature,
    st.binary(max_size=8) | st.binary(min_size=252, max_size=254),
    st.lists(st.binary(max_size=3), max_size=3).map(tuple),
)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[bytes, list[OutPoint]]:
    """A block whose transactions spend strangers' coins and one another's outputs, and all outpoints it spends."""
    made: list[OutPoint] = []
    spent: list[OutPoint] = []
    transactions = [coinbase(*draw(st.lists(scripts.map(out), max_size=2)))]
    for n in range(draw(st.integers(0, 6))):
        available = [o for o in made if o not in spent]
        chosen = draw(st.lists(st.sampled_from(available), max_size=2, unique=True)) if available else []
        chosen = chosen or [foreign(n, draw(st.integers(0, 3)))]
        unsigned = tx.unsigned_tx(
            [(o, 0) for o in chosen], [out(s) for s in draw(st.lists(scripts, min_size=1, max_size=3))]
        )
        raw = tx.with_signatures(unsigned, [draw(signatures) for _ in chosen])
        spent += chosen
        made += [OutPoint(tx.txid_of(raw), vout) for vout in range(len(tx.view_of(raw).outputs))]
        transactions.append(raw)
    return block(*transactions, header=draw(st.binary(min_size=80, max_size=80))), spent


@given(blocks(), st.data())
def test_the_walker_agrees_with_a_full_parser(made: tuple[bytes, list[OutPoint]], data: st.DataObject) -> None:
    """python-bitcoinlib parses every transaction; looking through all of them gives the same touches."""
    raw, spent = made
    watched = data.draw(st.lists(st.sampled_from(spent), unique=True)) if spent else []
    seen = scan(raw, watched)
    parsed = CBlock.deserialize(raw)
    expected = []
    known = set(watched)
    for position, one in enumerate(parsed.vtx):
        prevouts = [OutPoint(Txid(b2lx(i.prevout.hash)), i.prevout.n) for i in one.vin]
        vins = tuple(n for n, prevout in enumerate(prevouts) if prevout in known)
        vouts = tuple(n for n, o in enumerate(one.vout) if bytes(o.scriptPubKey) in set(OURS))
        known |= {OutPoint(Txid(b2lx(one.GetTxid())), n) for n in vouts}
        if vins or vouts:
            expected.append((position, one.is_coinbase(), b2lx(one.GetTxid()), b2lx(one.GetHash()), vins, vouts))
    assert [
        (t.position, t.coinbase, t.tx.txid, t.tx.wtxid, t.spent_vins, t.paid_vouts) for t in seen.touches
    ] == expected
    assert seen.transaction_count == len(parsed.vtx)
    assert seen.header.hash == b2lx(parsed.GetHash())
    assert seen.header.prev == b2lx(parsed.hashPrevBlock)
    assert seen.header.time == parsed.nTime
    assert [s.prevout for s in spends_of(seen)] == [t.tx.prevouts[n] for t in seen.touches for n in t.spent_vins]
