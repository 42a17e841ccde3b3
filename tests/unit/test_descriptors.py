from __future__ import annotations

import hashlib

import pytest
from embit import bip39
from embit.bip32 import HDKey
from embit.descriptor import Descriptor as EmbitDescriptor

from tests.unit.signing_orders import DESCRIPTORS, MASTER
from withdrawals.core.types import Network, ScriptKind
from withdrawals.errors import ConfigError, InvariantBroken
from withdrawals.signing.checksum import checksum_of, with_checksum, without_checksum
from withdrawals.signing.descriptors import parse_descriptor, parse_wallet, public_of

SEED = bip39.mnemonic_to_seed("abandon " * 11 + "about")
XPRV = str(HDKey.from_seed(SEED).to_base58())
TPRV = str(HDKey.from_seed(SEED, version=bytes.fromhex("04358394")).to_base58())
ACCOUNT = HDKey.from_seed(SEED, version=bytes.fromhex("04358394")).derive("m/84h/1h/0h")
TPUB = str(ACCOUNT.to_public().to_base58())
POINT = "02" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
UNCOMPRESSED = "04" + POINT[2:] + "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
UNCOMPRESSED_WIF = "5HpHagT65TZzG1PH3CSu63k8DbpvD8s5ip4nEB3kEsreAnchuDf"


@pytest.mark.parametrize(
    ("network", "descriptor", "account", "scripts"),
    [
        (
            Network.MAINNET,
            f"tr({XPRV}/86h/0h/0h/<0;1>/*)",
            "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ",
            {
                (0, 0): "5120a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c",
                (0, 1): "5120a82f29944d65b86ae6b5e5cc75e294ead6c59391a1edc5e016e3498c67fc7bbb",
                (1, 0): "5120882d74e5d0572d5a816cef0041a96b6c1de832f6f9676d9605c44d5e9a97d3dc",
            },
        ),
        (
            Network.MAINNET,
            f"wpkh({XPRV}/84h/0h/0h/<0;1>/*)",
            "xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv1VMrjPC7PW6V",
            {
                (0, 0): "0014c0cebcd6c3d3ca8c75dc5ec62ebe55330ef910e2",
                (0, 1): "00149c90f934ea51fa0f6504177043e0908da6929983",
                (1, 0): "00143e34985dca6fddc9fb369940e4c7d8e2873f529c",
            },
        ),
        (
            Network.TESTNET,
            f"sh(wpkh({TPRV}/49h/1h/0h/<0;1>/*))",
            "tpubDD7tXK8KeQ3YY83yWq755fHY2JW8Ha8Q765tknUM5rSvjPcGWfUppDFMpQ1ScziKfW3ZNtZvAD7M3u7bSs7HofjTD3KP3YxPK7X6hwV8Rk2",
            {(0, 0): "a914336caa13e08b96080a32b5d818d59b4ab3b3674287"},
        ),
    ],
    ids=["BIP86", "BIP84", "BIP49"],
)
def test_the_bips_own_vectors_derive(
    network: Network, descriptor: str, account: str, scripts: dict[tuple[int, int], str]
) -> None:
    """Account keys and scripts of the test vectors in BIP86, BIP84 and BIP49 come out exactly."""
    wallet = parse_wallet([with_checksum(descriptor)], network)
    assert account in wallet.descriptors[0]
    for (branch, index), script in scripts.items():
        assert wallet.own_scripts(0, branch, index, 1)[0].script.hex() == script


@pytest.mark.parametrize("text", DESCRIPTORS)
def test_embit_reads_the_public_form_and_derives_the_same_scripts(text: str) -> None:
    """A second implementation agrees on every kind, branch and index."""
    wallet = parse_wallet([text], Network.REGTEST)
    other = EmbitDescriptor.from_string(wallet.descriptors[0])
    assert not other.key.is_private
    for branch in (0, 1):
        for place in wallet.own_scripts(0, branch, 5, 3):
            assert (place.wallet, place.branch) == (0, branch)
            assert other.derive(place.index, branch).script_pubkey().data == place.script


def test_a_script_says_where_it_comes_from() -> None:
    """Kind, nesting, wallet, branch and index are those of the descriptor asked."""
    wallet = parse_wallet(DESCRIPTORS, Network.REGTEST)
    kinds = [wallet.own_scripts(w, 1, 9, 1)[0] for w in range(4)]
    assert [(o.kind, o.nested) for o in kinds] == [
        (ScriptKind.P2PKH, False),
        (ScriptKind.P2SH, True),
        (ScriptKind.P2WPKH, False),
        (ScriptKind.P2TR, False),
    ]
    assert [(o.wallet, o.branch, o.index) for o in kinds] == [(w, 1, 9) for w in range(4)]
    assert [o.index for o in wallet.own_scripts(2, 0, 4, 3)] == [4, 5, 6]
    assert wallet.own_scripts(2, 0, 4, 0) == ()


@pytest.mark.parametrize("place", [(4, 0, 0, 1), (-1, 0, 0, 1), (0, 2, 0, 1), (0, -1, 0, 1), (0, 0, -1, 1)])
def test_a_place_outside_the_wallet_is_our_mistake(place: tuple[int, int, int, int]) -> None:
    """No index wraps round to another descriptor or branch."""
    with pytest.raises(InvariantBroken):
        parse_wallet(DESCRIPTORS, Network.REGTEST).own_scripts(*place)


@pytest.mark.parametrize(
    ("private", "public"),
    [
        (f"wpkh({TPRV}/84h/1h/0h/<0;1>/*)", f"wpkh([73c5da0a/84h/1h/0h]{TPUB}/<0;1>/*)"),
        (f"wpkh({TPRV}/84'/1'/0'/<0;1>/*)", f"wpkh([73c5da0a/84h/1h/0h]{TPUB}/<0;1>/*)"),
        (f"wpkh({TPRV}/84h/1h/0h/{{0,1}}/*)", f"wpkh([73c5da0a/84h/1h/0h]{TPUB}/<0;1>/*)"),
        (f"wpkh({TPRV}/84h/1h/0h/7/<10;11>/*)", f"wpkh([73c5da0a/84h/1h/0h]{TPUB}/7/<10;11>/*)"),
        (f"wpkh([AABBCCDD/9h]{ACCOUNT.to_base58()}/<0;1>/*)", f"wpkh([aabbccdd/9h]{TPUB}/<0;1>/*)"),
        (
            f"wpkh([aabbccdd/9h]{HDKey.from_base58(TPRV).derive('m/84h').to_base58()}/1h/0h/<0;1>/*)",
            f"wpkh([aabbccdd/9h/1h/0h]{TPUB}/<0;1>/*)",
        ),
        (f"wpkh({ACCOUNT.to_base58()}/<0;1>/*)", f"wpkh({TPUB}/<0;1>/*)"),
        (f"wpkh({TPUB}/<0;1>/*)", f"wpkh({TPUB}/<0;1>/*)"),
    ],
)
def test_hardened_steps_fold_into_the_key_origin(private: str, public: str) -> None:
    """The path up to the last hardened step becomes the origin, so that the rest derives from public keys."""
    assert public_of([with_checksum(private)], Network.REGTEST) == (with_checksum(public),)


def test_the_fingerprint_names_the_wallet_without_its_keys() -> None:
    """Private and public text of one wallet have one fingerprint; order and content change it."""
    private = parse_wallet(DESCRIPTORS, Network.REGTEST)
    public = parse_wallet(private.descriptors, Network.REGTEST)
    assert public == private
    assert public.fingerprint() == private.fingerprint()
    assert private.fingerprint() == hashlib.sha256("\n".join(private.descriptors).encode()).hexdigest()
    assert parse_wallet(DESCRIPTORS[::-1], Network.REGTEST).fingerprint() != private.fingerprint()
    assert "prv" not in repr(private)


def test_the_checksum_of_bip380() -> None:
    """The BIP's example."""
    assert checksum_of("raw(deadbeef)") == "89f8spxm"
    assert without_checksum("raw(deadbeef)#89f8spxm") == "raw(deadbeef)"


@pytest.mark.parametrize(
    "text",
    [
        "raw(deadbeef)",
        "raw(deadbeef)#",
        "raw(deadbeef)#89f8spxmx",
        "raw(deadbeef)#89f8spx",
        "raw(deedbeef)#89f8spxm",
        "raw(deadbeef)##9f8spxm",
        "raw(Ü)#00000000",
    ],
)
def test_a_missing_or_wrong_checksum_is_refused(text: str) -> None:
    """The invalid examples of BIP380, and no checksum at all: embit accepts all but one of them."""
    with pytest.raises(ConfigError):
        without_checksum(text)


def test_every_changed_character_breaks_the_checksum() -> None:
    """One wrong character anywhere in a real descriptor is found."""
    good = with_checksum(f"wpkh({TPUB}/<0;1>/*)")
    for at in range(len(good)):
        other = "q" if good[at] != "q" else "p"
        with pytest.raises(ConfigError):
            parse_descriptor(good[:at] + other + good[at + 1 :], Network.REGTEST)


@pytest.mark.parametrize(
    ("network", "body", "why"),
    [
        (Network.REGTEST, f"wpkh({XPRV}/84h/1h/0h/<0;1>/*)", "another network"),
        (Network.MAINNET, f"wpkh({TPUB}/<0;1>/*)", "another network"),
        (Network.REGTEST, f"wpkh({UNCOMPRESSED})", "uncompressed"),
        (Network.REGTEST, f"sh(wpkh({UNCOMPRESSED}))", "uncompressed"),
        (Network.REGTEST, f"wpkh({UNCOMPRESSED_WIF})", "uncompressed"),
        (Network.REGTEST, f"wpkh({POINT})", "not ranged"),
        (Network.REGTEST, f"wpkh({TPUB}/0/1)", "not ranged"),
        (Network.REGTEST, f"wpkh({TPUB}/0/*)", "not supported"),
        (Network.REGTEST, f"wpkh({TPUB}/<0;1>/*h)", "hardened range"),
        (Network.REGTEST, f"wpkh({TPRV}/<0;1>/*')", "hardened range"),
        (Network.REGTEST, f"wpkh({TPRV}/<0h;1h>/*)", "hardened branch"),
        (Network.REGTEST, f"wpkh({TPUB}/<0;1;2>/*)", "not supported"),
        (Network.REGTEST, f"wpkh({TPUB}/<1;1>/*)", "the same"),
        (Network.REGTEST, f"wpkh({TPUB}/0h/<0;1>/*)", "hardened step"),
        (Network.REGTEST, f"wpkh({TPUB}/2147483648/<0;1>/*)", "above"),
        (Network.REGTEST, f"wsh(pk({TPUB}/<0;1>/*))", "not supported"),
        (Network.REGTEST, f"sh(pkh({TPUB}/<0;1>/*))", "not supported"),
        (Network.REGTEST, f"tr({TPUB}/<0;1>/*,pk({TPUB}/<0;1>/*))", "not supported"),
        (Network.REGTEST, f"wpkh({TPUB}/<0;1>/*))", "parentheses"),
        (Network.REGTEST, f"sh(wpkh({TPUB}/<0;1>/*)", "parentheses"),
        (Network.REGTEST, f"wpkh({TPUB[:-1]}1/<0;1>/*)", "not a valid extended key"),
        (Network.REGTEST, f"wpkh({TPUB[4:]}/<0;1>/*)", "not a valid extended key"),
        (Network.REGTEST, f"wpkh({UNCOMPRESSED_WIF}/<0;1>/*)", "not an extended key"),
        (
            Network.MAINNET,
            "wpkh(zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs/<0;1>/*)",
            "not an extended key",
        ),
    ],
)
def test_what_cannot_be_spent_or_derived_is_refused(network: Network, body: str, why: str) -> None:
    """Wrong network, uncompressed keys, hardened ranges, other shapes: a typed error that quotes no key."""
    with pytest.raises(ConfigError, match=why) as caught:
        parse_wallet([with_checksum(body)], network)
    for secret in (XPRV, TPRV, TPUB, UNCOMPRESSED_WIF):
        assert secret not in str(caught.value)


def test_a_wallet_is_neither_empty_nor_doubled() -> None:
    """A descriptor twice, in whatever spelling, would count every coin twice."""
    with pytest.raises(ConfigError, match="at least one"):
        parse_wallet([], Network.REGTEST)
    twice = [with_checksum(f"wpkh({MASTER}/84{mark}/1h/0h/<0;1>/*)") for mark in "h'"]
    with pytest.raises(ConfigError, match="twice"):
        parse_wallet(twice, Network.REGTEST)


def test_embit_alone_would_have_accepted_all_three() -> None:
    """Why we check ourselves: no checksum error, no network error and no compression error from the library."""
    EmbitDescriptor.from_string(f"wpkh({TPUB}/<0;1>/*)#qqqqqqqq")
    EmbitDescriptor.from_string(f"wpkh({XPRV}/84h/1h/0h/<0;1>/*)")
    assert len(EmbitDescriptor.from_string(f"wpkh({UNCOMPRESSED})").key.sec()) == 65
