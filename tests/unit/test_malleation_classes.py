"""Every class of malleation against the bytes that real nodes judged, and on payments of its own coins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
from bitcoin.core import COutPoint
from hypothesis import given, settings
from hypothesis import strategies as st

from regtest.malleate import MALLEATORS, CannotMalleate, InputKind, Malleator, Mining, OwnCoin, Prevout, ids_of
from regtest.malleate.classes import LEGACY
from regtest.malleate.reasons import says
from regtest.malleate.script import push_plainly
from regtest.malleate.serialisation import MISSPELLINGS
from regtest.malleate.transaction import Unlocking, parse_transaction, unlockings_of, with_unlockings
from regtest.specimens import COIN_SATS, Specimen, outputs_of, recipe_of, sign_all
from regtest.specimens.coins import key_coin
from tests.unit.malleation_vectors import SIGNER, VECTORS, hash160, p2pkh, p2sh, recorded, thief_of

SECRET = bytes(range(1, 33))
ALL = list(MALLEATORS.values())
WITHOUT_VECTOR = {"T03R", "T09K", "T15", "T16", "T17"}
"""Classes that nothing was recorded of."""
KEYED = [m for m in ALL if m.needs_key]
TAKES_A_COIN = [m for m in ALL if m.needs_coin]
SAME_BYTES = [i for i in VECTORS if not MALLEATORS[i].needs_key and not MALLEATORS[i].needs_coin]

PARTS = [
    item
    for class_id in ("T01", "W05", "W11", "W12b", "W13", "W16", "W17", "W19")
    for unlocking in unlockings_of(parse_transaction(recorded(class_id).mutant))
    for item in (unlocking.script_sig, *unlocking.witness)
]
"""Signatures, keys, scripts and control blocks, to be put together in every wrong way."""
SHAPE_OF: dict[InputKind, Callable[[Unlocking], bytes]] = {
    InputKind.P2PK: lambda _: b"\x21" + SIGNER + b"\xac",
    InputKind.P2PKH: lambda _: p2pkh(SIGNER),
    InputKind.P2SH: lambda u: p2sh(u.script_sig[1:]),
    InputKind.P2SH_P2WPKH: lambda u: p2sh(u.script_sig[1:]),
    InputKind.P2SH_P2WSH: lambda u: p2sh(u.script_sig[1:]),
    InputKind.P2WPKH: lambda _: b"\x00\x14" + hash160(SIGNER),
    InputKind.P2WSH: lambda _: b"\x00\x20" + bytes(32),
    InputKind.P2TR: lambda _: b"\x51\x20" + SIGNER[1:],
    InputKind.P2A: lambda _: b"\x51\x02\x4e\x73",
}


def by_id(malleator: Malleator) -> str:
    return malleator.id


@cache
def specimen_of(class_id: str) -> Specimen:
    """A payment from coins that are in no chain."""
    recipe = recipe_of(class_id)
    outpoints = [COutPoint(bytes([7 + n]) * 32, n) for n in range(len(recipe.coins))]
    prevouts = tuple(Prevout(coin.script, COIN_SATS) for coin in recipe.coins)
    raw = recipe.finish(sign_all(recipe.coins, outpoints, outputs_of(recipe)), prevouts)
    malleator = MALLEATORS[class_id]
    own = OwnCoin("99" * 32, 1, Prevout(key_coin(InputKind.P2WPKH, SECRET).script, 20_000), SECRET)
    return Specimen(class_id, raw, prevouts, recipe.keys, own if malleator.needs_coin else None)


# ------------------------------------------------------------------------------------------------------------ the table


def test_every_recorded_class_is_in_the_table() -> None:
    """And nothing is but those and the few that were never recorded."""
    assert set(VECTORS) <= set(MALLEATORS)
    assert set(MALLEATORS) - set(VECTORS) <= WITHOUT_VECTOR


@pytest.mark.parametrize("class_id", VECTORS)
def test_a_class_declares_what_the_nodes_recorded(class_id: str) -> None:
    """Ids, outputs, consensus and Core's relay policy in the table are those of the recorded run."""
    malleator, case = MALLEATORS[class_id], VECTORS[class_id]
    assert malleator.changes_txid == case["txid_changes"]
    assert malleator.changes_wtxid == case["wtxid_changes"]
    assert malleator.changes_ntxid == (not case["ntxid_same"])
    assert malleator.changes_outputs == (not case["outs_same"])
    assert malleator.is_relayable == (case["mutant_policy"] == "accepted")
    assert malleator.is_relayable or says(case["mutant_policy"], str(malleator.policy))
    assert malleator.is_minable == (case["mutant_in_block"] == "mined")


@pytest.mark.parametrize("malleator", ALL, ids=by_id)
def test_an_entry_does_not_contradict_itself(malleator: Malleator) -> None:
    """Who can do it follows from what nodes say; what is refused in blocks is refused by relay."""
    assert (malleator.rewrite is None) != (malleator.rebuild is None)
    assert malleator.id[0] in "TW"
    assert malleator.how.endswith(".")
    assert malleator.is_minable or malleator.policy
    assert (malleator.actor == "nobody") == (not malleator.is_minable)
    assert (malleator.actor == "M") <= (not malleator.is_relayable)
    assert (malleator.actor in {"R", "C"}) <= malleator.is_relayable
    assert malleator.below in {None, Mining.BELOW_DERSIG, Mining.BELOW_SEGWIT}
    assert malleator.knots is None or malleator.knots != malleator.policy is not None
    assert not malleator.signer or malleator.wallets


TYPES = {"legacy": "P2PKH", "p2sh-segwit": "P2SH-P2WPKH", "bech32": "P2WPKH", "bech32m": "P2TR"}


@pytest.mark.parametrize("malleator", [m for m in ALL if m.wallets], ids=by_id)
def test_a_class_names_the_coins_of_its_own_kind(malleator: Malleator) -> None:
    """A class that exists under another letter per kind keeps to its own; a mix is what stands beside it."""
    for mix in malleator.wallets:
        assert [TYPES[kind] for kind in mix] == [k for k in (malleator.kind, malleator.beside) if k]


def test_a_mix_is_told_from_alternatives() -> None:
    """T11 takes one transaction with both, T01 a legacy coin."""
    assert MALLEATORS["T11"].wallets == (("legacy", "bech32"),)
    assert MALLEATORS["T01"].wallets == LEGACY == (("legacy",),)


def attempt(malleator: Malleator, raw: bytes, prevouts: Sequence[Prevout]) -> tuple[bytes | None, str]:
    """The mutant, or why there is none."""
    try:
        return malleator.malleate(raw, prevouts, (SECRET,)), ""
    except CannotMalleate as refused:
        return None, refused.why


# ------------------------------------------------------------------------------------------------------- recorded bytes


@pytest.mark.parametrize("class_id", SAME_BYTES)
def test_a_malleator_makes_exactly_the_bytes_that_a_node_judged(class_id: str) -> None:
    """The recorded mutant comes out of the recorded original, byte for byte, wherever no key or coin is needed."""
    case = recorded(class_id)
    assert MALLEATORS[class_id].malleate(case.original, case.prevouts, (), thief_of(case.mutant)) == case.mutant
    assert MALLEATORS[class_id].applies_to(case.original, case.prevouts)


def test_unpadding_undoes_every_padding() -> None:
    """T03R takes the recorded forms with needless or missing zeros back to the recorded minimal one."""
    for class_id in ("T03a", "T03b", "T03e"):
        case = recorded(class_id)
        assert MALLEATORS["T03R"].malleate(case.mutant, case.prevouts) == case.original


@pytest.mark.parametrize("malleator", ALL, ids=by_id)
def test_every_other_transaction_is_mutated_or_refused_with_a_reason(malleator: Malleator) -> None:
    """Whatever it is shown, a malleator changes something or raises `CannotMalleate`; `applies_to` tells which."""
    for class_id in VECTORS:
        case = recorded(class_id)
        for raw in (case.original, case.mutant):
            prevouts = [*case.prevouts, *[case.prevouts[0]] * (len(parse_transaction(raw).vin) - len(case.prevouts))]
            mutant, why = attempt(malleator, raw, prevouts)
            assert mutant != raw, f"{malleator.id} left {class_id} as it was"
            assert (mutant is None) == bool(why)
            if not malleator.needs_key and not malleator.needs_coin:
                assert malleator.applies_to(raw, prevouts) == (mutant is not None)
            assert mutant is None or malleator.applies_to(raw, prevouts)


items = st.lists(st.binary(max_size=80) | st.sampled_from(PARTS), max_size=5)


@settings(deadline=None)  # seventy malleators at once take their time on a busy machine
@given(items=items, place=st.sampled_from(sorted(InputKind)), data=st.data())
def test_no_input_however_odd_makes_a_malleator_fail_otherwise(
    items: list[bytes], place: InputKind, data: st.DataObject
) -> None:
    """Other bytes, or `CannotMalleate`: random stacks with keys, scripts and signatures among them."""
    script_sig = data.draw(st.binary(max_size=40) | st.just(b"".join(map(push_plainly, items))))
    unlocking = Unlocking(script_sig, tuple(items))
    prevout = Prevout(SHAPE_OF[place](unlocking), COIN_SATS)
    bare = parse_transaction(recorded("T01").original)
    raw = with_unlockings(bare, [unlocking])
    for malleator in ALL:
        mutant, why = attempt(malleator, raw, [prevout])
        assert mutant != raw, malleator.id
        assert (mutant is None) == bool(why)


# ------------------------------------------------------------------------------------------------------------ specimens


@pytest.mark.parametrize("malleator", ALL, ids=by_id)
def test_a_mutant_changes_what_its_class_declares_and_nothing_else(malleator: Malleator) -> None:
    """Ids, outputs, outpoints and sequences, computed here of the bytes made here."""
    specimen = specimen_of(malleator.id)
    mutant = specimen.mutant()
    before, after = ids_of(specimen.raw), ids_of(mutant)
    assert (before.txid != after.txid) == malleator.changes_txid
    assert (before.wtxid != after.wtxid) == malleator.changes_wtxid
    assert (before.ntxid != after.ntxid) == malleator.changes_ntxid
    old, new = parse_transaction(specimen.raw), parse_transaction(mutant)
    assert (old.vout != new.vout) == malleator.changes_outputs
    assert [(i.prevout, i.nSequence) for i in old.vin] == [(i.prevout, i.nSequence) for i in new.vin] or (
        malleator.changes_inputs
    )
    assert [i.prevout for i in old.vin] == [i.prevout for i in new.vin][: len(old.vin)]
    assert len(new.vin) - len(old.vin) == malleator.needs_coin
    assert (old.nLockTime, old.nVersion) == (new.nLockTime, new.nVersion)


@pytest.mark.parametrize("malleator", KEYED, ids=by_id)
def test_an_owner_s_class_takes_his_key(malleator: Malleator) -> None:
    """Nobody else's will do, and none neither."""
    specimen = specimen_of(malleator.id)
    assert malleator.applies_to(specimen.raw, specimen.prevouts)
    for keys in ((), (SECRET,)):
        with pytest.raises(CannotMalleate, match=f"{len(keys)} keys given"):
            malleator.malleate(specimen.raw, specimen.prevouts, keys)


@pytest.mark.parametrize("malleator", KEYED, ids=by_id)
def test_an_owner_s_mutant_is_the_same_every_time(malleator: Malleator) -> None:
    """Nothing is drawn by chance, so that a story can be told twice; and it is not what was there."""
    specimen = specimen_of(malleator.id)
    assert specimen.mutant() == specimen.mutant() != specimen.raw


def test_a_wallet_s_key_is_no_use_where_no_key_is_asked_for() -> None:
    """`applies_to` is no for a co-signer's class on a script without co-signers, whoever asks."""
    for class_id, other in (("T12", "T06c"), ("T12b", "T14"), ("W05", "W10"), ("W13", "W16"), ("W14", "W19")):
        specimen = specimen_of(other)
        assert not MALLEATORS[class_id].applies_to(specimen.raw, specimen.prevouts)


@pytest.mark.parametrize("malleator", TAKES_A_COIN, ids=by_id)
def test_who_adds_an_input_needs_a_coin(malleator: Malleator) -> None:
    """And signs for it with its key."""
    specimen = specimen_of(malleator.id)
    with pytest.raises(CannotMalleate, match="no coin of his own"):
        malleator.malleate(specimen.raw, specimen.prevouts)
    added = parse_transaction(specimen.mutant()).vin[-1].prevout
    assert specimen.own
    assert (added.hash[::-1].hex(), added.n) == (specimen.own.txid, specimen.own.vout)


def test_what_is_diverted_goes_to_the_actor() -> None:
    """To the script of his coin, if he names one, whole where all of it is open."""
    specimen = specimen_of("T08a")
    own = OwnCoin("99" * 32, 0, Prevout(key_coin(InputKind.P2WPKH, SECRET).script, 1), SECRET)
    [taken] = parse_transaction(MALLEATORS["T08a"].malleate(specimen.raw, specimen.prevouts, (), own)).vout
    assert bytes(taken.scriptPubKey) == own.prevout.script
    assert taken.nValue == sum(o.nValue for o in parse_transaction(specimen.raw).vout)


def test_a_bump_pays_more_out_of_one_output() -> None:
    """The customer's stays, and every input is signed anew."""
    specimen = specimen_of("T10")
    old, new = (parse_transaction(raw).vout for raw in (specimen.raw, specimen.mutant()))
    assert old[0] == new[0]
    assert old[1].nValue - new[1].nValue == 3_000


def test_a_sequence_is_open_only_where_nothing_is_signed() -> None:
    """Hash types leave out other inputs' sequences, never their own: without an input that needs no signature, none."""
    specimen = specimen_of("T08b")
    with pytest.raises(CannotMalleate, match="each of its inputs signs its own sequence"):
        MALLEATORS["T16"].malleate(specimen.raw, specimen.prevouts)


def test_a_shallow_leaf_does_not_show_the_deeper_one() -> None:
    """Its neighbour is a hash of the other's neighbours: who sees the spend alone cannot take it apart."""
    specimen = specimen_of("W19")
    with pytest.raises(CannotMalleate, match="no second place"):
        MALLEATORS["W19"].malleate(specimen.mutant(), specimen.prevouts)


def test_a_co_signer_s_place_is_that_of_his_key() -> None:
    """CHECKMULTISIG wants signatures in the order of the keys, so the newcomer's comes where his key stands."""
    specimen = specimen_of("T12")
    before, after = (unlockings_of(parse_transaction(raw))[0] for raw in (specimen.raw, specimen.mutant()))
    assert before.script_sig[:60] == after.script_sig[:60]
    assert before.script_sig != after.script_sig


# -------------------------------------------------------------------------------------------------------- serialisation


@pytest.mark.parametrize("class_id", MISSPELLINGS)
@pytest.mark.parametrize("vector", ["T01", "W01"])
def test_a_misspelling_is_other_bytes(class_id: str, vector: str) -> None:
    """S2 takes a transaction without a witness, the others any; a node's test shows that nobody reads them."""
    raw = recorded(vector).original
    if (class_id, vector) == ("S2", "W01"):
        with pytest.raises(CannotMalleate, match="S2: it has a witness"):
            MISSPELLINGS[class_id].spell(raw)
        return
    spelt = MISSPELLINGS[class_id].spell(raw)
    assert spelt[:4] == raw[:4]
    assert len(spelt) > len(raw) or vector == "W01"
    assert spelt != raw
