"""What malleators ask for and what they say when they cannot, and signatures taken apart."""

from __future__ import annotations

import pytest
from coincurve import PrivateKey
from embit.script import Script, Witness
from embit.transaction import Transaction as EmbitTx
from embit.transaction import TransactionInput, TransactionOutput
from hypothesis import given
from hypothesis import strategies as st

from regtest.malleate import MALLEATORS, Actor, CannotMalleate, Malleator, Prevout, describe_malleators, ids_of
from regtest.malleate.der import ORDER, DerSignature, NotASignature, minimal_integer, parse_signature
from regtest.malleate.inputs import InputKind
from regtest.malleate.transaction import parse_transaction, unlockings_of
from tests.unit.malleation_vectors import INPUT_SATS, hash160
from tests.unit.malleation_vectors import VECTORS as CLASSES
from tests.unit.malleation_vectors import p2pkh as p2pkh_script
from tests.unit.malleation_vectors import prevouts_of as recorded_prevouts_of

KEYLESS = [malleator for malleator in MALLEATORS.values() if not malleator.needs_key and not malleator.needs_coin]
SECRET = bytes(range(1, 33))

numbers = st.integers(1, ORDER - 1)


def p2pkh(public_key: bytes) -> Prevout:
    return Prevout(p2pkh_script(public_key), INPUT_SATS)


def prevouts_of(raw: bytes) -> list[Prevout]:
    return recorded_prevouts_of(raw, InputKind.P2PKH)


def signed_by_us(kind: InputKind) -> tuple[bytes, list[Prevout]]:
    """One input of our own, signed the ordinary way; embit computes what is signed."""
    key = PrivateKey(SECRET)
    public_key = key.public_key.format()
    prevout = p2pkh(public_key) if kind is InputKind.P2PKH else Prevout(b"\x00\x14" + hash160(public_key), INPUT_SATS)
    tx = EmbitTx(vin=[TransactionInput(b"\x07" * 32, 1)], vout=[TransactionOutput(9_000, Script(prevout.script))])
    code = Script(p2pkh(public_key).script)
    if kind is InputKind.P2PKH:
        signature = key.sign(tx.sighash_legacy(0, code), hasher=None) + b"\x01"
        pushes = b"".join(bytes([len(item)]) + item for item in (signature, public_key))
        tx.vin[0].script_sig = Script(pushes)
    else:
        signature = key.sign(tx.sighash_segwit(0, code, INPUT_SATS), hasher=None) + b"\x01"
        tx.vin[0].witness = Witness([signature, public_key])
    return bytes(tx.serialize()), [prevout]


@pytest.mark.parametrize(("class_id", "kind"), [("T09", InputKind.P2PKH), ("W04", InputKind.P2WPKH)])
def test_an_owner_signs_the_same_message_again(class_id: str, kind: InputKind) -> None:
    """The new signature verifies over the digest that embit computes, is low in S, and is another one."""
    original, prevouts = signed_by_us(kind)
    malleator = MALLEATORS[class_id]
    mutant = malleator.malleate(original, prevouts, [bytes(31) + b"\x05", SECRET])
    before, after = ids_of(original), ids_of(mutant)
    assert (before.txid != after.txid, before.wtxid != after.wtxid) == (malleator.changes_txid, True)
    assert before.ntxid == after.ntxid
    unlocking = unlockings_of(parse_transaction(mutant))[0]
    encoded = unlocking.witness[0] if unlocking.witness else unlocking.script_sig[1 : 1 + unlocking.script_sig[0]]
    assert parse_signature(encoded).has_low_s
    code = Script(p2pkh(PrivateKey(SECRET).public_key.format()).script)
    tx = EmbitTx.parse(mutant)
    digest = tx.sighash_legacy(0, code) if kind is InputKind.P2PKH else tx.sighash_segwit(0, code, INPUT_SATS)
    assert PrivateKey(SECRET).public_key.verify(encoded[:-1], digest, hasher=None)
    assert malleator.malleate(original, prevouts, [SECRET]) == mutant


@pytest.mark.parametrize(
    ("class_id", "vector", "why"),
    [
        ("T01", "W01", "spends no P2PKH output"),
        ("W01", "T01", "spends no P2WPKH output"),
        ("T11", "T01", "spends no P2WPKH output"),
        ("T11", "W01", "spends no P2PKH output"),
        ("T03R", "T01", "not padded"),
        ("T09", "T09", "none of the 0 keys"),
    ],
)
def test_a_malleator_says_why_it_cannot(class_id: str, vector: str, why: str) -> None:
    """Typed, with the class and the reason, so that a scenario that does not bite is noticed."""
    original = bytes.fromhex(CLASSES[vector]["canon_hex"])
    with pytest.raises(CannotMalleate, match=why) as caught:
        MALLEATORS[class_id].malleate(original, prevouts_of(original))
    assert caught.value.class_id == class_id


@pytest.mark.parametrize("class_id", ["T01", "T02b", "T03a", "T11", "W01"])
def test_what_was_mutated_cannot_be_mutated_the_same_way_again(class_id: str) -> None:
    """A second application finds nothing to do instead of silently giving the same bytes, or the original."""
    mutant = bytes.fromhex(CLASSES[class_id]["mut_hex"])
    prevouts = prevouts_of(bytes.fromhex(CLASSES[class_id]["canon_hex"]))
    assert not MALLEATORS[class_id].applies_to(mutant, prevouts)
    with pytest.raises(CannotMalleate):
        MALLEATORS[class_id].malleate(mutant, prevouts)


@pytest.mark.parametrize("vector", ["T01", "T03a", "T11", "W01", "W04"])
@pytest.mark.parametrize("malleator", KEYLESS, ids=lambda m: m.id)
def test_applies_to_tells_whether_malleate_works(malleator: Malleator, vector: str) -> None:
    """For everybody without a key the two always agree."""
    original = bytes.fromhex(CLASSES[vector]["canon_hex"])
    prevouts = prevouts_of(original)
    try:
        worked = malleator.malleate(original, prevouts) != original
    except CannotMalleate:
        worked = False
    assert malleator.applies_to(original, prevouts) == worked


def test_an_owner_is_told_what_a_key_would_allow() -> None:
    """`applies_to` does not need the key that `malleate` needs."""
    original, prevouts = signed_by_us(InputKind.P2PKH)
    assert MALLEATORS["T09"].applies_to(original, prevouts)
    assert not MALLEATORS["W04"].applies_to(original, prevouts)
    for key_of_another in ((), (SECRET[::-1],)):
        with pytest.raises(CannotMalleate) as caught:
            MALLEATORS["T09"].malleate(original, prevouts, key_of_another)
        assert caught.value.lacks_key


def test_a_wrong_amount_is_noticed_before_a_useless_signature_is_made() -> None:
    """BIP143 signs the amount: with another one the old signature does not verify, and neither would a new one."""
    original, [prevout] = signed_by_us(InputKind.P2WPKH)
    with pytest.raises(CannotMalleate, match="does not verify"):
        MALLEATORS["W04"].malleate(original, [Prevout(prevout.script, prevout.sats + 1)], [SECRET])


def test_every_input_needs_its_prevout() -> None:
    """One too few is refused, not guessed."""
    original = bytes.fromhex(CLASSES["T11"]["canon_hex"])
    with pytest.raises(CannotMalleate, match="1 prevouts were given for 2 inputs"):
        MALLEATORS["T11"].malleate(original, prevouts_of(original)[:1])


@given(r=numbers, s=numbers, hashtype=st.integers(0, 255), padding=st.integers(0, 1))
def test_a_signature_survives_being_taken_apart(r: int, s: int, hashtype: int, padding: int) -> None:
    """Padded or not; stripping always gives the minimal one, negating twice the same one."""
    minimal = DerSignature(minimal_integer(r), minimal_integer(s), hashtype)
    signature = minimal.with_r_padded() if padding else minimal
    assert parse_signature(signature.encode()) == signature
    assert signature.is_padded == bool(padding)
    assert signature.without_padding() == minimal
    assert minimal.with_s_negated().with_s_negated() == minimal
    assert minimal.has_low_s != minimal.with_s_negated().has_low_s


@given(st.binary(max_size=80))
def test_no_bytes_make_the_signature_reader_fail_otherwise(data: bytes) -> None:
    """What is read is what was written; all else is `NotASignature`."""
    try:
        signature = parse_signature(data)
    except NotASignature:
        return
    assert signature.encode() == data


def test_the_table_for_people_has_every_class_on_a_line() -> None:
    """Id and actor lead each line."""
    lines = describe_malleators().splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [[m.id, m.actor] for m in MALLEATORS.values()]
    assert {malleator.actor for malleator in MALLEATORS.values()} >= {Actor.RELAY, Actor.MINER, Actor.OWNER}
