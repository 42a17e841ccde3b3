"""What is signed, and whether it verifies, by published vectors: Core's sighash.json, BIP143, BIP341.

The product signs ALL (ECDSA) and DEFAULT (Schnorr) only, so few published digests can be asked of it directly. The rest
judge a second implementation, for every hash type, and that one then judges the product on all the same transactions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coincurve
import pytest
from embit.script import Script
from embit.transaction import Transaction

from tests import vectors
from tests.vectors.digests import ALL, legacy_digest, segwit_digest
from tests.vectors.spends import plan_of, unsigned_of
from withdrawals.core.addresses import address_of
from withdrawals.core.lint import Code, lint
from withdrawals.core.model import OwnScript, PlannedInput, TxOut
from withdrawals.core.tx import InputSignature, hash160, parts_of, script_of, with_signatures
from withdrawals.core.types import Network, Sats, ScriptKind, ScriptPubKey
from withdrawals.signing.digests import Digests
from withdrawals.signing.scripts import script_from_pubkey, taproot_output_key, taproot_tweak
from withdrawals.signing.verify import verify_signatures

BIP143 = json.loads((Path(vectors.__file__).parent / "bip143.json").read_text())
PUBKEY = coincurve.PrivateKey(b"\x07" * 32).public_key.format()
SCRIPT_CODE = script_of(ScriptKind.P2PKH, hash160(PUBKEY))

EMBIT_MISTAKES = {0x03, 0x81, 0x82, 0x83}
"""Taproot hash types (SINGLE, any ANYONECANPAY) whose digest embit 0.8.0 gets wrong: it puts the output and the whole
input into the message where BIP341 has the output's hash and the outpoint. The product asks it for DEFAULT alone."""

CoreFile = Callable[[str], Any]


def coins_of(spent: list[list[Any]]) -> list[TxOut]:
    return [TxOut(ScriptPubKey(bytes.fromhex(script)), Sats(sats)) for script, sats in spent]


# ------------------------------------------------------------------------------------------------------------- legacy


def test_the_second_opinion_gives_every_digest_of_core(core_file: CoreFile) -> None:
    """500 random transactions, scripts and hash types of 32 bits."""
    rows = core_file("sighash.json")[1:]
    assert len(rows) == 500
    for raw, script, at, hash_type, expected in rows:
        parts = parts_of(bytes.fromhex(raw))
        assert legacy_digest(parts, at, bytes.fromhex(script), hash_type)[::-1].hex() == expected


def test_the_product_digests_the_same_transactions_alike(core_file: CoreFile) -> None:
    """Every input of Core's transactions, as if it spent a coin of ours of each ECDSA kind."""
    compared = 0
    for row in core_file("sighash.json")[1:]:
        raw = bytes.fromhex(row[0])
        parts = parts_of(raw)
        for kind in (ScriptKind.P2PKH, ScriptKind.P2WPKH, ScriptKind.P2SH):
            own = OwnScript(script_from_pubkey(kind, PUBKEY), kind, kind is ScriptKind.P2SH, 0, 0, 0)
            sats = [Sats(1_000 + n) for n in range(len(parts.inputs))]
            inputs = [PlannedInput(i.outpoint, n, own, i.sequence) for i, n in zip(parts.inputs, sats, strict=True)]
            digests = Digests(raw, inputs)
            for at in range(len(inputs)):
                expected = (
                    legacy_digest(parts, at, SCRIPT_CODE, ALL)
                    if kind is ScriptKind.P2PKH
                    else segwit_digest(parts, at, SCRIPT_CODE, sats[at], ALL)
                )
                assert digests.ecdsa(at, PUBKEY) == expected
                compared += 1
    assert compared == 3_777


# ------------------------------------------------------------------------------------------------------------- BIP143


@pytest.mark.parametrize("row", BIP143["digests"], ids=lambda row: row["name"])
def test_bip143_digests(row: dict[str, Any]) -> None:
    """The second opinion, and the library under the product, give what the BIP prints."""
    raw, script, expected = (bytes.fromhex(row[name]) for name in ("unsigned", "script_code", "sighash"))
    at, sats, hash_type = row["input"], row["sats"], row["hash_type"]
    assert segwit_digest(parts_of(raw), at, script, sats, hash_type) == expected
    assert Transaction.parse(raw).sighash_segwit(at, Script(script), sats, hash_type) == expected


@pytest.mark.parametrize("row", BIP143["signed"], ids=lambda row: row["name"])
def test_bip143_signatures_verify_and_are_fit_to_send(row: dict[str, Any]) -> None:
    """The BIP's transactions of single keys: our inputs are taken, a P2PK coin beside them is none of ours."""
    raw = bytes.fromhex(row["raw"])
    plan = plan_of(unsigned_of(raw), coins_of(row["spent"]))
    problems = {int(p.split(":")[0].removeprefix("input ")) for p in verify_signatures(raw, plan.inputs)}
    flaws = {f.vin: f.code for f in lint(raw, plan)}
    strangers = set(range(len(plan.inputs))) - set(row["ours"])
    assert problems == strangers
    assert flaws == dict.fromkeys(strangers, Code.KIND_NOT_SIGNED_HERE)
    for at in row["ours"]:
        digest = next(d["sighash"] for d in BIP143["digests"] if d["name"] == row["name"])
        assert Digests(raw, plan.inputs).ecdsa(at, bytes.fromhex(row["pubkeys"][str(at)])).hex() == digest


# ------------------------------------------------------------------------------------------------------------- BIP341


def test_bip341_scripts_and_addresses(core_file: CoreFile) -> None:
    """Each output key is the address the BIP prints; without a script tree the tweak and the key are ours as well."""
    rows = core_file("bip341_wallet_vectors.json")["scriptPubKey"]
    assert len(rows) == 7
    plain = 0
    for row in rows:
        given, expected, between = row["given"], row["expected"], row["intermediary"]
        script = bytes.fromhex(expected["scriptPubKey"])
        assert address_of(script, Network.MAINNET) == expected["bip350Address"]
        if given["scriptTree"] is None:
            plain += 1
            pubkey = b"\x02" + bytes.fromhex(given["internalPubkey"])
            assert taproot_tweak(pubkey).hex() == between["tweak"]
            assert taproot_output_key(pubkey).hex() == between["tweakedPubkey"]
            assert script_from_pubkey(ScriptKind.P2TR, pubkey) == script
    assert plain == 1


def test_bip341_digests_and_signatures(core_file: CoreFile) -> None:
    """Seven key path inputs of seven hash types in one transaction; those of type DEFAULT are ours, no other is."""
    (spending,) = core_file("bip341_wallet_vectors.json")["keyPathSpending"]
    given = spending["given"]
    spent = coins_of([[u["scriptPubKey"], u["amountSats"]] for u in given["utxosSpent"]])
    raw = bytes.fromhex(given["rawUnsignedTx"])
    plan = plan_of(raw, spent)
    signatures = [InputSignature()] * len(spent)
    library = Transaction.parse(raw)
    scripts, values = [Script(bytes(o.script)) for o in spent], [int(o.sats) for o in spent]
    defaults, library_wrong = set(), set()
    for row in spending["inputSpending"]:
        at, hash_type = row["given"]["txinIndex"], row["given"]["hashType"]
        expected = bytes.fromhex(row["intermediary"]["sigHash"])
        signatures[at] = InputSignature(witness=tuple(bytes.fromhex(w) for w in row["expected"]["witness"]))
        if library.sighash_taproot(at, scripts, values, hash_type) != expected:
            library_wrong.add(hash_type)
        assert (Digests(raw, plan.inputs).taproot(at) == expected) is (hash_type == 0)
        defaults |= {at} if hash_type == 0 else set()
    assert library_wrong == EMBIT_MISTAKES
    signed = with_signatures(raw, signatures)
    refused = {int(p.split(":")[0].removeprefix("input ")) for p in verify_signatures(signed, plan.inputs)}
    assert defaults
    assert refused == set(range(len(spent))) - defaults
    # ALL commits to the same and passes the lint; two inputs of the nine are no taproot coins and stay unsigned.
    sealed = {r["given"]["txinIndex"] for r in spending["inputSpending"] if r["given"]["hashType"] in {0, 1}}
    assert {f.vin for f in lint(signed, plan)} == set(range(len(spent))) - sealed


def test_bip341s_own_signed_transaction_is_the_one_put_together(core_file: CoreFile) -> None:
    """Our serialisation of its signatures, legacy and segwit beside taproot, is the BIP's, byte for byte."""
    (spending,) = core_file("bip341_wallet_vectors.json")["keyPathSpending"]
    full = bytes.fromhex(spending["auxiliary"]["fullySignedTx"])
    signatures = [InputSignature(i.script_sig, i.witness) for i in parts_of(full).inputs]
    assert with_signatures(bytes.fromhex(spending["given"]["rawUnsignedTx"]), signatures) == full
    plan = plan_of(
        unsigned_of(full), coins_of([[u["scriptPubKey"], u["amountSats"]] for u in spending["given"]["utxosSpent"]])
    )
    problems = {int(p.split(":")[0].removeprefix("input ")) for p in verify_signatures(full, plan.inputs)}
    others = {r["given"]["txinIndex"] for r in spending["inputSpending"] if r["given"]["hashType"] != 0}
    # The two that are no taproot coins are a P2PKH and a P2WPKH signed ALL.
    assert problems == others
