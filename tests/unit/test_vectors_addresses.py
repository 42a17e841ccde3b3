"""Core's own addresses (key_io_valid.json, key_io_invalid.json) give Core's scripts, or Core's refusal.

Every segwit address of BIP173 and BIP350, valid or not, is in the tables of test_addresses.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from withdrawals.core.addresses import address_of, parse_address
from withdrawals.core.tx import script_kind_of
from withdrawals.core.types import Network
from withdrawals.errors import AddressUnknownProgram, AddressWrongNetwork, InvalidAddress

SAME_BASE58 = {Network.TESTNET, Network.TESTNET4, Network.SIGNET, Network.REGTEST}
SAME_BECH32 = {Network.TESTNET, Network.TESTNET4, Network.SIGNET}

UNKNOWN_PROGRAMS = {2, 3, 16}
"""The witness versions of Core's file that nothing is defined for: Core pays to them, and anyone may take it."""

CoreFile = Callable[[str], Any]


@pytest.fixture
def addresses(core_file: CoreFile) -> list[tuple[str, bytes, Network, bool]]:
    """Text, script, network, and whether it is as good in the other case."""
    return [
        (text, bytes.fromhex(script), Network(told["chain"]), bool(told.get("tryCaseFlip")))
        for text, script, told in core_file("key_io_valid.json")
        if not told["isPrivkey"]
    ]


def readers_of(text: str, network: Network) -> set[Network]:
    """The networks on which this address means the same, by its prefix."""
    if network is Network.MAINNET:
        return {network}
    if text.lower().startswith(("tb1", "bcrt1")):
        return SAME_BECH32 if network in SAME_BECH32 else {network}
    return SAME_BASE58


def version_of(script: bytes) -> int | None:
    """The witness version that a script asks for; None if it is no witness program."""
    is_program = 4 <= len(script) <= 42 and script[1] == len(script) - 2
    if not is_program or not (script[0] == 0 or 0x51 <= script[0] <= 0x60):
        return None
    return script[0] and script[0] - 0x50


def test_the_file_has_what_it_is_read_for(addresses: list[tuple[str, bytes, Network, bool]]) -> None:
    """All rows, of every network but the old testnet, which shares its prefixes with testnet4."""
    assert len(addresses) == 54
    assert {network for _text, _script, network, _flip in addresses} == set(Network) - {Network.TESTNET}
    assert {version_of(s) for _text, s, _network, _flip in addresses} == {None, 0, 1} | UNKNOWN_PROGRAMS


def test_an_address_is_the_script_that_core_makes_of_it(addresses: list[tuple[str, bytes, Network, bool]]) -> None:
    """Byte for byte on every network of its prefix, and back; a program nobody knows is called that."""
    unknown = 0
    for text, script, network, _flip in addresses:
        for reader in Network:
            if reader not in readers_of(text, network):
                with pytest.raises(AddressWrongNetwork):
                    parse_address(text, reader)
            elif script_kind_of(script) is None:
                unknown += reader is network
                assert version_of(script) in UNKNOWN_PROGRAMS
                with pytest.raises(AddressUnknownProgram):
                    parse_address(text, reader)
            else:
                assert parse_address(text, reader) == script
        if script_kind_of(script) is not None:
            assert address_of(script, network) == (text if version_of(script) is None else text.lower())
    assert unknown == 8


def test_the_other_case_is_as_good_where_core_says_so(addresses: list[tuple[str, bytes, Network, bool]]) -> None:
    """Bech32 may be shouted; base58 in the other case is no address."""
    flips = 0
    for text, script, network, flip in addresses:
        if flip and script_kind_of(script) is not None:
            flips += 1
            assert parse_address(text.swapcase(), network) == script
        elif flip:
            with pytest.raises(AddressUnknownProgram):
                parse_address(text.swapcase(), network)
        else:
            with pytest.raises(InvalidAddress):
                parse_address(text.swapcase(), network)
    assert flips > 10


def test_what_core_calls_no_address_is_none_on_any_network(core_file: CoreFile) -> None:
    """Wrong lengths, checksums, versions, paddings, prefixes, and keys in wrong envelopes: refused with our error."""
    texts = [text for (text,) in core_file("key_io_invalid.json")]
    assert len(texts) == 70
    for text in texts:
        for network in Network:
            with pytest.raises(InvalidAddress):
                parse_address(text, network)


def test_a_private_key_is_no_address_and_is_not_repeated(core_file: CoreFile) -> None:
    """Core's private keys, as somebody might paste them: refused on every network, and kept out of the error."""
    keys = [text for text, _payload, told in core_file("key_io_valid.json") if told["isPrivkey"]]
    assert len(keys) == 16
    for key in keys:
        for network in Network:
            with pytest.raises(InvalidAddress) as refused:
                parse_address(key, network)
            assert key not in str(refused.value)
