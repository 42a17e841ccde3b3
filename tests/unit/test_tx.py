"""Ids, sizes and scripts of transactions, as every node computes them."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from withdrawals.core import tx
from withdrawals.core.model import TxOut
from withdrawals.core.types import MAX_MONEY, OutPoint, Sats, ScriptKind, ScriptPubKey, Txid
from withdrawals.errors import InvariantBroken, WithdrawalsError

CLASSES = json.loads((Path(__file__).parent / "data" / "malleability-classes.json").read_text())

GENESIS_HEADER = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a"
    "51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
)
GENESIS_COINBASE = bytes.fromhex(
    "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468652054696d65"
    "732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420666f72206261"
    "6e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38"
    "c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
)
BIP143_SIGNED = bytes.fromhex(
    # BIP143, "Native P2WPKH": the signed transaction, one P2PK and one P2WPKH input.
    "01000000000102fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f00000000494830450221008b9d1dc26ba6a9cb"
    "62127b02742fa9d754cd3bebf337f7a55d114c8e5cdd30be022040529b194ba3f9281a99f2b1c0a19c0489bc22ede944ccf4ecbab4cc618ef3ed"
    "01eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9"
    "148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac00"
    "0247304402203609e17b84f6a7d30c80bfa610b5b4542f32a8a0d5447a12fb1366d7f01cc44a0220573a954c4518331561406f90300e8f3358f5"
    "1928d43c212a8caed02de67eebee0121025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee635711000000"
)
BIP143_UNSIGNED = bytes.fromhex(
    "0100000002fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000000eeffffffef51e1b804cc89d182d27965"
    "5c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a783a76"
    "ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac11000000"
)

outpoints = st.builds(
    OutPoint, st.binary(min_size=32, max_size=32).map(lambda b: Txid(b.hex())), st.integers(0, 0xFFFF_FFFF)
)
outputs = st.builds(TxOut, st.binary(max_size=300).map(ScriptPubKey), st.integers(0, MAX_MONEY).map(Sats))
signatures = st.builds(
    tx.InputSignature, st.binary(max_size=300), st.lists(st.binary(max_size=300), max_size=4).map(tuple)
)


def double_sha(data: bytes) -> str:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()[::-1].hex()


@pytest.mark.parametrize("case", CLASSES, ids=lambda c: c["id"])
def test_ids_of_every_malleation_class_change_as_a_node_saw_them_change(case: dict[str, str | bool]) -> None:
    """txid, wtxid and ntxid of 70 executed malleations differ or agree exactly as recorded on a running node."""
    canonical, mutant = (tx.view_of(bytes.fromhex(str(case[k]))) for k in ("canon_hex", "mut_hex"))
    assert (canonical.txid != mutant.txid) is case["txid_changes"]
    assert (canonical.wtxid != mutant.wtxid) is case["wtxid_changes"]
    assert (canonical.ntxid == mutant.ntxid) is case["ntxid_same"]
    assert (canonical.outputs == mutant.outputs) is case["outs_same"]
    assert bool(set(canonical.prevouts) & set(mutant.prevouts)) is case["shares_outpoint"]


def test_the_genesis_coinbase_and_header_hash_to_their_famous_names() -> None:
    """The first transaction and block of mainnet."""
    view = tx.view_of(GENESIS_COINBASE)
    assert str(view.txid) == str(view.wtxid) == "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    assert view.prevouts == (OutPoint(Txid("00" * 32), 0xFFFF_FFFF),)
    assert view.outputs[0].sats == 50_0000_0000
    header = tx.header_of(GENESIS_HEADER)
    assert header.hash == "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert header.prev == "00" * 32
    assert header.time == 1231006505
    assert tx.block_hash_of(GENESIS_HEADER) == header.hash


def test_the_segwit_example_of_bip143_has_its_txid_wtxid_and_size() -> None:
    """BIP143's P2WPKH example: the txid leaves the witness out, the wtxid takes it in, vsize counts it a quarter."""
    stripped = BIP143_SIGNED[:4] + BIP143_SIGNED[6 : -4 - 108] + BIP143_SIGNED[-4:]
    view = tx.view_of(BIP143_SIGNED)
    assert view.txid == tx.txid_of(BIP143_SIGNED) == double_sha(stripped)
    assert view.txid == "e8151a2af31c368a35053ddd4bdb285a8595c769a3ad83e0fa02314a602d4609"
    assert view.wtxid == tx.wtxid_of(BIP143_SIGNED) == double_sha(BIP143_SIGNED)
    assert view.ntxid == tx.ntxid_of(BIP143_SIGNED) == double_sha(BIP143_UNSIGNED)
    assert tx.weight_of(BIP143_SIGNED) == 3 * len(stripped) + len(BIP143_SIGNED) == 1042
    assert tx.vsize_of(BIP143_SIGNED) == 261


def test_a_transaction_taken_apart_can_be_put_together_again() -> None:
    """Parts of the signed example give back the unsigned one, and with the signatures the signed one."""
    parts = tx.parts_of(BIP143_SIGNED)
    assert (parts.version, parts.locktime) == (1, 17)
    assert [len(i.witness) for i in parts.inputs] == [0, 2]
    assert [i.sequence for i in parts.inputs] == [0xFFFF_FFEE, 0xFFFF_FFFF]
    unsigned = tx.unsigned_tx(
        [(i.outpoint, i.sequence) for i in parts.inputs], parts.outputs, version=parts.version, locktime=parts.locktime
    )
    assert unsigned == BIP143_UNSIGNED
    signatures = [tx.InputSignature(i.script_sig, i.witness) for i in parts.inputs]
    assert tx.with_signatures(unsigned, signatures) == BIP143_SIGNED


@given(
    inputs=st.lists(st.tuples(outpoints, st.integers(0, 0xFFFF_FFFF), signatures), min_size=1, max_size=4),
    outs=st.lists(outputs, min_size=1, max_size=4),
    locktime=st.integers(0, 0xFFFF_FFFF),
)
def test_signing_never_changes_what_is_spent_or_paid(
    inputs: list[tuple[OutPoint, int, tx.InputSignature]], outs: list[TxOut], locktime: int
) -> None:
    """Whatever the signatures: prevouts, outputs and ntxid stay; parts and sizes read back as they were written."""
    unsigned = tx.unsigned_tx([(o, sequence) for o, sequence, _s in inputs], outs, locktime=locktime)
    assert {tx.txid_of(unsigned), tx.wtxid_of(unsigned), tx.ntxid_of(unsigned)} == {double_sha(unsigned)}
    signed = tx.with_signatures(unsigned, [s for _o, _n, s in inputs])
    view, parts = tx.view_of(signed), tx.parts_of(signed)
    assert view.ntxid == double_sha(unsigned)
    assert view.wtxid == double_sha(signed)
    assert view.prevouts == tuple(o for o, _n, _s in inputs)
    assert view.outputs == parts.outputs == tuple(outs)
    assert all(type(o.script) is bytes for o in view.outputs)
    assert [(i.outpoint, i.sequence, tx.InputSignature(i.script_sig, i.witness)) for i in parts.inputs] == inputs
    assert (parts.version, parts.locktime) == (2, locktime)
    without_witness = tx.with_signatures(unsigned, [tx.InputSignature(s.script_sig) for _o, _n, s in inputs])
    assert view.txid == double_sha(without_witness)
    assert tx.weight_of(signed) == 3 * len(without_witness) + len(signed)
    assert tx.vsize_of(signed) == (tx.weight_of(signed) + 3) // 4


@given(st.binary(max_size=400))
def test_garbage_is_refused_with_one_error(garbage: bytes) -> None:
    """Random bytes never raise anything but MalformedTransaction."""
    with pytest.raises(tx.MalformedTransaction) as caught:
        tx.view_of(garbage)
    assert isinstance(caught.value, WithdrawalsError)


@given(st.sampled_from(CLASSES), st.data())
def test_a_damaged_transaction_is_refused_or_is_another_one(case: dict[str, str], data: st.DataObject) -> None:
    """Flip, cut or insert a byte anywhere: MalformedTransaction, or a transaction that serialises to those bytes."""
    raw = bytearray.fromhex(case["canon_hex"])
    at = data.draw(st.integers(0, len(raw) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "insert"])):
        case "flip":
            raw[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            del raw[at:]
        case "insert":
            raw.insert(at, data.draw(st.integers(0, 255)))
    try:
        view = tx.view_of(bytes(raw))
    except tx.MalformedTransaction:
        return
    assert view.wtxid == double_sha(bytes(raw)) != tx.wtxid_of(bytes.fromhex(case["canon_hex"]))


@pytest.mark.parametrize("end", range(len(BIP143_SIGNED)))
def test_every_truncation_is_refused(end: int) -> None:
    """No prefix of a transaction is a transaction."""
    with pytest.raises(tx.MalformedTransaction):
        tx.view_of(BIP143_SIGNED[:end])


ONE_IN_ONE_OUT = tx.unsigned_tx([(OutPoint(Txid("11" * 32), 0), 0)], [TxOut(ScriptPubKey(b"\x51"), Sats(1))])


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(ONE_IN_ONE_OUT + b"\0", id="trailing byte"),
        pytest.param(ONE_IN_ONE_OUT[:4] + b"\xfd\x01\x00" + ONE_IN_ONE_OUT[5:], id="padded CompactSize"),
        pytest.param(
            ONE_IN_ONE_OUT[:4] + b"\0\1" + ONE_IN_ONE_OUT[4:-4] + b"\0" + bytes(4), id="empty witness section"
        ),
        pytest.param(ONE_IN_ONE_OUT[:4] + b"\0\2" + ONE_IN_ONE_OUT[4:-4] + b"\0" + bytes(4), id="unknown segwit flag"),
        pytest.param(b"\2\0\0\0" + b"\0" + ONE_IN_ONE_OUT[46:], id="no inputs"),
        pytest.param(ONE_IN_ONE_OUT[:46] + b"\0" + bytes(4), id="no outputs"),
        pytest.param(ONE_IN_ONE_OUT[:47] + b"\xff" * 8 + ONE_IN_ONE_OUT[55:], id="negative amount"),
        pytest.param(
            ONE_IN_ONE_OUT[:47] + struct.pack("<q", MAX_MONEY + 1) + ONE_IN_ONE_OUT[55:], id="more than all money"
        ),
        pytest.param(ONE_IN_ONE_OUT[:4] + b"\xff" * 9 + ONE_IN_ONE_OUT[5:], id="absurd input count"),
    ],
)
def test_serialisations_that_no_node_decodes_are_refused(raw: bytes) -> None:
    """A second spelling of the same transaction would have a second id; nodes answer `TX decode failed`."""
    tx.view_of(ONE_IN_ONE_OUT)
    with pytest.raises(tx.MalformedTransaction):
        tx.view_of(raw)


def test_a_transaction_signed_before_takes_no_signatures() -> None:
    """Signatures go into empty inputs only, one for each."""
    one = tx.InputSignature(b"\x01\x02")
    for signed in (one, tx.InputSignature(witness=(b"\x01",))):
        with pytest.raises(InvariantBroken, match="already"):
            tx.with_signatures(tx.with_signatures(BIP143_UNSIGNED, [signed, signed]), [one, one])
    with pytest.raises(InvariantBroken, match="1 signatures for 2 inputs"):
        tx.with_signatures(BIP143_UNSIGNED, [one])
    with pytest.raises(InvariantBroken, match="at least one"):
        tx.unsigned_tx([], [TxOut(ScriptPubKey(b""), Sats(1))])
    with pytest.raises(InvariantBroken, match="not money"):
        tx.unsigned_tx([(OutPoint(Txid("11" * 32), 0), 0)], [TxOut(ScriptPubKey(b""), Sats(MAX_MONEY + 1))])


@pytest.mark.parametrize("sats", [0, 1, MAX_MONEY])
def test_an_output_may_hold_nothing_or_everything(sats: int) -> None:
    """Both ends of what is money are written and read."""
    raw = tx.unsigned_tx([(OutPoint(Txid("11" * 32), 0), 0)], [TxOut(ScriptPubKey(b"\x6a"), Sats(sats))])
    assert tx.view_of(raw).outputs[0].sats == sats
    with pytest.raises(InvariantBroken, match="not money"):
        tx.unsigned_tx([(OutPoint(Txid("11" * 32), 0), 0)], [TxOut(ScriptPubKey(b"\x6a"), Sats(-1))])


def test_a_header_has_eighty_bytes() -> None:
    """Anything longer or shorter is no header."""
    for raw in (b"", GENESIS_HEADER[:-1], GENESIS_HEADER + b"\0"):
        with pytest.raises(tx.MalformedBlock):
            tx.header_of(raw)


def test_an_outpoint_serialises_as_inputs_name_it() -> None:
    """Internal byte order, then the index in little-endian: the bytes found in the transaction."""
    first = tx.view_of(BIP143_SIGNED).prevouts[0]
    assert tx.outpoint_bytes(first) == BIP143_UNSIGNED[5:41]


@pytest.mark.parametrize(
    ("data", "script"),
    [
        (b"", "00"),
        (b"\x01", "51"),
        (b"\x10", "60"),
        (b"\x81", "4f"),
        (b"\x00", "0100"),
        (b"\x11", "0111"),
        (b"\x80", "0180"),
        (b"\xaa" * 75, "4b" + "aa" * 75),
        (b"\xaa" * 76, "4c4c" + "aa" * 76),
        (b"\xaa" * 255, "4cff" + "aa" * 255),
        (b"\xaa" * 256, "4d0001" + "aa" * 256),
        (b"\xaa" * 65535, "4dffff" + "aa" * 65535),
        (b"\xaa" * 65536, "4e00000100" + "aa" * 65536),
    ],
    ids=lambda value: f"{len(value)}",
)
def test_push_is_the_shortest_spelling(data: bytes, script: str) -> None:
    """The boundaries of Core's CheckMinimalPush."""
    assert tx.push(data).hex() == script
    assert tx.parse_pushes(tx.push(data)) == (tx.Push(bytes.fromhex(script)[0], data, minimal=True),)


@given(st.lists(st.binary(max_size=600), max_size=5))
def test_minimal_pushes_read_back_as_minimal(items: list[bytes]) -> None:
    """parse_pushes inverts push."""
    pushes = tx.parse_pushes(b"".join(tx.push(item) for item in items))
    assert pushes is not None
    assert [p.data for p in pushes] == items
    assert all(p.minimal for p in pushes)


@given(st.binary(max_size=120))
def test_parsing_pushes_never_raises_and_never_invents_bytes(script: bytes) -> None:
    """Any bytes: either not all pushes, or pushes whose lengths add up to the script."""
    pushes = tx.parse_pushes(script)
    if pushes is not None:
        width = {0x4C: 1, 0x4D: 2, 0x4E: 4}
        spelled = [1 if p.opcode > 0x4E else 1 + width.get(p.opcode, 0) + len(p.data) for p in pushes]
        assert sum(spelled) == len(script)


@pytest.mark.parametrize(
    ("script", "minimal"),
    [
        ("4c01aa", False),
        ("4d0100aa", False),
        ("4e01000000aa", False),
        ("0105", False),
        ("0181", False),
        ("4c00", False),
    ],
)
def test_a_longer_spelling_of_a_push_is_seen(script: str, minimal: bool) -> None:  # noqa: FBT001
    """PUSHDATA where a plain push would do, or data where an opcode would do."""
    pushes = tx.parse_pushes(bytes.fromhex(script))
    assert pushes is not None
    assert [p.minimal for p in pushes] == [minimal]


@pytest.mark.parametrize("script", ["61", "0075", "50", "02aa", "4c", "4d01", "4e010000", "4c05aa", "ac"])
def test_what_is_not_only_whole_pushes_is_none(script: str) -> None:
    """OP_NOP, OP_DROP, OP_RESERVED, CHECKSIG and cut-off pushes."""
    assert tx.parse_pushes(bytes.fromhex(script)) is None


@pytest.mark.parametrize("kind", list(ScriptKind))
@given(data=st.data())
def test_scripts_are_recognised_by_kind_and_give_back_their_program(kind: ScriptKind, data: st.DataObject) -> None:
    """script_of, script_kind_of and program_of agree; one byte more or less, or another opcode, is no known kind."""
    size = 32 if kind in {ScriptKind.P2WSH, ScriptKind.P2TR} else 20
    program = data.draw(st.binary(min_size=size, max_size=size))
    script = tx.script_of(kind, program)
    assert tx.script_kind_of(script) is kind
    assert tx.program_of(script) == program
    assert tx.script_kind_of(script + b"\0") is None
    assert tx.script_kind_of(script[:-1]) is None
    assert tx.script_kind_of(bytes([script[0] ^ 0x20]) + script[1:]) is None
    with pytest.raises(InvariantBroken):
        tx.script_of(kind, program + b"\0")


def test_a_script_of_no_known_kind_has_no_program() -> None:
    """Pay-to-anchor, P2PK, an empty script: nothing to take out."""
    for script in (b"", bytes.fromhex("51024e73"), b"\x21" + b"\x02" * 33 + b"\xac"):
        assert tx.script_kind_of(script) is None
        with pytest.raises(InvariantBroken):
            tx.program_of(script)


@pytest.mark.parametrize("openssl", [tx._OPENSSL_HAS_RIPEMD160, False])
def test_hash160_is_ripemd160_of_sha256(openssl: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """The key of BIP143's example hashes to its witness program, with OpenSSL's help or without."""
    monkeypatch.setattr(tx, "_OPENSSL_HAS_RIPEMD160", openssl)
    key = bytes.fromhex("025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee6357")
    assert tx.hash160(key).hex() == "1d0f172a0ecb48aee1be1f2687d2963ae33f71a1"
    assert tx.hash256(BIP143_UNSIGNED)[::-1].hex() == tx.txid_of(BIP143_UNSIGNED)
