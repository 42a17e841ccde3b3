"""Addresses are read for one network, exactly, or refused with the reason."""

from __future__ import annotations

import string

import coincurve
import pytest
from embit import base58 as embit_base58
from hypothesis import given
from hypothesis import strategies as st

from withdrawals.core.addresses import address_of, check_not_dust, dust_threshold_sats, parse_address
from withdrawals.core.tx import hash256, script_of
from withdrawals.core.types import Network, ScriptKind, ScriptPubKey
from withdrawals.errors import (
    AddressChecksum,
    AddressEncodingMixup,
    AddressMixedCase,
    AddressUnknownProgram,
    AddressWrongNetwork,
    DustAmount,
    InvalidAddress,
    InvariantBroken,
    TheirError,
)

MAIN, TEST, TESTNET4, SIGNET, REGTEST = Network
G_X = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"

VALID = [
    # BIP173 and BIP350, every vector that is not of an unknown program.
    (MAIN, "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
    (MAIN, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
    (TEST, "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
    (
        MAIN,
        "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3",
        "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
    ),
    (
        TEST,
        "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
        "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
    ),
    (
        TEST,
        "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy",
        "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
    ),
    (
        TEST,
        "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c",
        "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
    ),
    (MAIN, "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", f"5120{G_X}"),
    # Base58: the genesis coinbase's key, the first multisig (BIP13's example form), a hash of zeros, testnet forms.
    (MAIN, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac"),
    (MAIN, "1111111111111111111114oLvT2", "76a914000000000000000000000000000000000000000088ac"),
    (MAIN, "3P14159f73E4gFr7JterCCQh9QjiTjiZrG", "a914e9c3dd0c07aac76179ebc76a6c78d4d67c6c160a87"),
    (TEST, "mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r", "76a914751e76e8199196d454941c45d1b3a323f1433bd688ac"),
]

INVALID = [
    # BIP350's list, then what BIP173 adds to it.
    (MAIN, "tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut", InvalidAddress, "unknown HRP"),
    (MAIN, "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", AddressEncodingMixup, "bech32 v1"),
    (TEST, "tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf", AddressEncodingMixup, "bech32 v2"),
    (MAIN, "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL", AddressEncodingMixup, "bech32 v16"),
    (MAIN, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh", AddressEncodingMixup, "bech32m v0 of 20"),
    (TEST, "tb1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47", AddressEncodingMixup, "bech32m v0 of 32"),
    (MAIN, "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4", InvalidAddress, "o in checksum"),
    (MAIN, "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R", InvalidAddress, "version 17 (bech32m)"),
    (MAIN, "bc1pw5dgrnzv", InvalidAddress, "program of 1 byte"),
    (
        MAIN,
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav",
        InvalidAddress,
        "program of 41 bytes (bech32m)",
    ),
    (MAIN, "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P", InvalidAddress, "v0 of 16 bytes"),
    (TEST, "tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq47Zagq", AddressMixedCase, "mixed case (v1)"),
    (MAIN, "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf", InvalidAddress, "5 bits of padding"),
    (TEST, "tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vpggkg4j", InvalidAddress, "padding not zero"),
    (MAIN, "bc1gmk9yu", InvalidAddress, "no data"),
    (MAIN, "tc1qw508d6qejxtdg4y5r3zarvary0c5xw7kg3g4ty", InvalidAddress, "unknown HRP (v0)"),
    (MAIN, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", AddressChecksum, "checksum"),
    (MAIN, "BC13W508D6QEJXTDG4Y5R3ZARVARY0C5XW7KN40WF2", InvalidAddress, "version 17"),
    (MAIN, "bc1rw5uspcuh", InvalidAddress, "v3 of 1 byte"),
    (
        MAIN,
        "bc10w508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kw5rljs90",
        InvalidAddress,
        "program of 41 bytes",
    ),
    (TEST, "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sL5k7", AddressMixedCase, "mixed case"),
    (MAIN, "bc1zw508d6qejxtdg4y5r3zarvaryvqyzf3du", InvalidAddress, "5 bits of padding (v2)"),
    (TEST, "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3pjxtptv", InvalidAddress, "padding not zero (v0)"),
    # Programs of later versions: valid encodings in BIP350, old bech32 ones in BIP173, and pay-to-anchor.
    (
        MAIN,
        "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
        AddressUnknownProgram,
        "v1 of 40 bytes",
    ),
    (MAIN, "BC1SW50QGDZ25J", AddressUnknownProgram, "v16"),
    (MAIN, "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", AddressUnknownProgram, "v2"),
    (MAIN, "bc1pfeessrawgf", AddressUnknownProgram, "pay-to-anchor"),
    (
        MAIN,
        "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7k7grplx",
        AddressEncodingMixup,
        "v1 of 40 bytes in bech32",
    ),
    (MAIN, "BC1SW50QA3JX3S", AddressEncodingMixup, "v16 in bech32"),
    (MAIN, "bc1zw508d6qejxtdg4y5r3zarvaryvg6kdaj", AddressEncodingMixup, "v2 in bech32"),
    # Everything else that people send.
    (MAIN, "", InvalidAddress, "empty"),
    (MAIN, " ", InvalidAddress, "a space"),
    (MAIN, " bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", InvalidAddress, "leading space"),
    (MAIN, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4\n", InvalidAddress, "trailing newline"),
    (MAIN, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa ", InvalidAddress, "trailing space"),
    (MAIN, "1A1zP1eP5QGefi2DMPTfTL5SLmv7Di vfNa", InvalidAddress, "space inside"),
    (MAIN, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfN\u0430", InvalidAddress, "Cyrillic a"),
    (MAIN, "bitcoin:1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", InvalidAddress, "a URI"),
    (MAIN, "11A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", InvalidAddress, "one leading 1 too many"),
    (MAIN, "111111111111111111114oLvT2", InvalidAddress, "one leading 1 too few"),
    (MAIN, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfN", AddressChecksum, "cut"),
    (MAIN, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", AddressChecksum, "base58 checksum"),
    (MAIN, "hello", InvalidAddress, "a word"),
    (MAIN, "0OIl" * 8, InvalidAddress, "characters that base58 leaves out"),
    (MAIN, "bc1", InvalidAddress, "a bare prefix"),
    (MAIN, "bc1qqqqqq", InvalidAddress, "too short for a checksum and a program"),
    (MAIN, "bc1" + "q" * 88, InvalidAddress, "91 characters"),
    (MAIN, "1" * 100_000, InvalidAddress, "very long"),
    (MAIN, "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1", InvalidAddress, "another coin's version byte"),
]


@pytest.mark.parametrize(("network", "text", "script"), VALID, ids=[v[1] for v in VALID])
def test_an_address_is_its_script_on_its_network(network: Network, text: str, script: str) -> None:
    """The vectors of BIP173 and BIP350 and known base58 addresses; and back."""
    assert parse_address(text, network).hex() == script
    assert address_of(bytes.fromhex(script), network) in {text, text.lower()}


@pytest.mark.parametrize(("network", "text", "error"), [v[:3] for v in INVALID], ids=[v[3] for v in INVALID])
def test_what_is_no_address_is_refused_with_the_reason(
    network: Network, text: str, error: type[InvalidAddress]
) -> None:
    """Each wrong form has exactly its own error, and a short message."""
    with pytest.raises(InvalidAddress) as caught:
        parse_address(text, network)
    assert type(caught.value) is error
    assert isinstance(caught.value, TheirError)
    assert caught.value.field == "address"
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [None, 5, 1.5, True, b"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", ["x"], {}])
def test_an_address_is_text(value: object) -> None:
    """JSON can hold anything; nothing but text is read."""
    with pytest.raises(InvalidAddress):
        parse_address(value, MAIN)


@pytest.mark.parametrize("kind", list(ScriptKind))
@pytest.mark.parametrize(
    ("written_for", "read_for"),
    [(MAIN, TEST), (MAIN, TESTNET4), (MAIN, SIGNET), (MAIN, REGTEST), (TEST, MAIN), (SIGNET, MAIN), (REGTEST, MAIN)],
)
def test_an_address_of_another_network_says_so(kind: ScriptKind, written_for: Network, read_for: Network) -> None:
    """Not a typing error: the customer copied it from the wrong wallet."""
    text = address_of(script_of(kind, sample_program(kind)), written_for)
    with pytest.raises(AddressWrongNetwork, match=str(read_for)):
        parse_address(text, read_for)


@pytest.mark.parametrize("network", [TEST, TESTNET4, SIGNET])
def test_regtest_and_the_test_networks_differ_in_bech32_only(network: Network) -> None:
    """They share base58 version bytes, so only the HRP can tell them apart."""
    segwit, legacy = (script_of(k, sample_program(k)) for k in (ScriptKind.P2WPKH, ScriptKind.P2PKH))
    assert parse_address(address_of(legacy, network), REGTEST) == legacy
    for one, other in ((network, REGTEST), (REGTEST, network)):
        with pytest.raises(AddressWrongNetwork):
            parse_address(address_of(segwit, one), other)
    assert parse_address(address_of(segwit, network), TEST) == segwit


def sample_program(kind: ScriptKind) -> bytes:
    return bytes.fromhex(G_X)[: 32 if kind in {ScriptKind.P2WSH, ScriptKind.P2TR} else 20]


@pytest.mark.parametrize("network", list(Network))
@pytest.mark.parametrize("kind", list(ScriptKind))
@given(data=st.data())
def test_writing_and_reading_an_address_are_inverse(network: Network, kind: ScriptKind, data: st.DataObject) -> None:
    """Any program, leading zeros included, on any network, in lower case and (bech32) in upper case."""
    size = len(sample_program(kind))
    script = script_of(kind, data.draw(st.binary(min_size=size, max_size=size)))
    text = address_of(script, network)
    assert parse_address(text, network) == script
    if kind not in {ScriptKind.P2PKH, ScriptKind.P2SH}:
        assert text == text.lower()
        assert parse_address(text.upper(), network) == script


@given(st.binary(min_size=20, max_size=20))
def test_our_base58_agrees_with_another_implementation(program: bytes) -> None:
    """Embit encodes the same text."""
    for kind, version in ((ScriptKind.P2PKH, 0), (ScriptKind.P2SH, 5)):
        payload = bytes([version]) + program
        assert address_of(script_of(kind, program), MAIN) == embit_base58.encode(payload + hash256(payload)[:4])


@pytest.mark.parametrize(("network", "text"), [(n, t) for n, t, _s in VALID], ids=[f"{n}-{t}" for n, t, _s in VALID])
def test_no_single_wrong_character_goes_unnoticed(network: Network, text: str) -> None:
    """Every position, every other letter or digit: refused. A change of case alone is mixed case, or a checksum."""
    for at, was in enumerate(text):
        for character in string.ascii_letters + string.digits:
            if character != was:
                with pytest.raises(InvalidAddress):
                    parse_address(text[:at] + character + text[at + 1 :], network)


@pytest.mark.parametrize(("network", "text"), [(n, t) for n, t, _s in VALID])
def test_no_lost_doubled_or_swapped_character_goes_unnoticed(network: Network, text: str) -> None:
    """The slips of typing and pasting."""
    for at in range(len(text)):
        slips = {text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:]}
        slips.add(text[:at] + text[at : at + 2][::-1] + text[at + 2 :])
        for slip in slips - {text}:
            with pytest.raises(InvalidAddress):
                parse_address(slip, network)


@given(st.text(max_size=100), st.sampled_from(list(Network)))
def test_any_text_is_refused_with_our_error(text: str, network: Network) -> None:
    """Random text never raises anything else, and is never an address."""
    with pytest.raises(InvalidAddress):
        parse_address(text, network)


@given(st.sampled_from(["bc1", "tb1", "bcrt1"]), st.text("qpzry9x8gf2tvdw0s3jn54khce6mua7l", max_size=87))
def test_random_bech32_characters_are_refused_with_our_error(prefix: str, characters: str) -> None:
    """One chance in 2^29 of a valid checksum."""
    for network in Network:
        with pytest.raises(InvalidAddress):
            parse_address(prefix + characters, network)


@pytest.mark.parametrize("wrapped", ["{}", "{}\n", " {}", "{} x"])
def test_a_private_key_pasted_as_an_address_is_not_repeated(wrapped: str) -> None:
    """The error goes to logs and replies; a secret must not."""
    payload = b"\x80" + coincurve.PrivateKey(b"\x07" * 32).secret
    wif, long_wif = (embit_base58.encode(p + hash256(p)[:4]) for p in (payload, payload + b"\x01"))
    assert (len(wif), len(long_wif)) == (51, 52)
    seed_words = " ".join(["abandon"] * 11 + ["about"])
    for secret in (wif, long_wif, "xprv" + wif * 2, seed_words):
        with pytest.raises(InvalidAddress) as caught:
            parse_address(wrapped.format(secret), MAIN)
        assert secret[:12] not in str(caught.value)


DUST = [
    (ScriptKind.P2PKH, 546),
    (ScriptKind.P2SH, 540),
    (ScriptKind.P2WPKH, 294),
    (ScriptKind.P2WSH, 330),
    (ScriptKind.P2TR, 330),
]


@pytest.mark.parametrize(("kind", "threshold_sats"), DUST)
def test_dust_is_what_core_calls_dust(kind: ScriptKind, threshold_sats: int) -> None:
    """Core's thresholds at its default dust relay feerate; the threshold itself is no dust."""
    script = script_of(kind, sample_program(kind))
    assert dust_threshold_sats(script) == threshold_sats
    check_not_dust(threshold_sats, script)
    with pytest.raises(DustAmount, match=f"at least {threshold_sats} sats to a {kind} address"):
        check_not_dust(threshold_sats - 1, script)


def test_dust_follows_the_feerate_and_rounds_up() -> None:
    """98 vB at 1,001 sat/kvB is 98.098 sats: 99 to be sure."""
    script = script_of(ScriptKind.P2WPKH, sample_program(ScriptKind.P2WPKH))
    assert dust_threshold_sats(script, 1000) == 98
    assert dust_threshold_sats(script, 1001) == 99
    assert dust_threshold_sats(script, 0) == 0
    with pytest.raises(DustAmount):
        check_not_dust(294, script, 3001)


@pytest.mark.parametrize("script", ["", "6a", "51024e73", "21" + "02" * 33 + "ac"])
def test_a_script_without_an_address_is_our_own_mistake(script: str) -> None:
    """What we pay was parsed from an address, so this cannot happen to a caller."""
    with pytest.raises(InvariantBroken):
        address_of(bytes.fromhex(script), MAIN)
    with pytest.raises(InvariantBroken):
        dust_threshold_sats(ScriptPubKey(bytes.fromhex(script)))
