"""Addresses to scriptPubKeys and back, for a network that the caller names; and what is too small to pay.

An address is read for one network or refused: a payment to the right hash on the wrong chain is lost money. Each way to
be wrong has its own error, so that an exchange can tell its customer what to mend. Sources: BIP13 (P2SH), BIP173
(bech32), BIP350 (bech32m), BIP341 (P2TR).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from withdrawals.core.tx import hash256, program_of, script_kind_of, script_of
from withdrawals.core.types import Feerate, Network, Sats, ScriptKind, ScriptPubKey
from withdrawals.errors import (
    AddressChecksum,
    AddressEncodingMixup,
    AddressMixedCase,
    AddressUnknownProgram,
    AddressWrongNetwork,
    DustAmount,
    InvalidAddress,
    ensure,
)

DUST_RELAY_FEERATE: Final = Feerate(3000)
"""sat/kvB: Core's DUST_RELAY_TX_FEE (policy/policy.h), the default of `-dustrelayfee`."""

_ACCEPTED: Final = "a P2PKH, P2SH, P2WPKH, P2WSH or P2TR address, without spaces"
_LONGEST: Final = 90
"""Characters of the longest bech32 string (BIP173); base58 addresses are shorter still."""


@dataclass(frozen=True, slots=True)
class _Prefixes:
    p2pkh: int
    p2sh: int
    hrp: str


_TEST: Final = _Prefixes(p2pkh=111, p2sh=196, hrp="tb")
_PREFIXES: Final = {
    Network.MAINNET: _Prefixes(p2pkh=0, p2sh=5, hrp="bc"),
    Network.TESTNET: _TEST,
    Network.TESTNET4: _TEST,
    Network.SIGNET: _TEST,
    Network.REGTEST: _Prefixes(p2pkh=111, p2sh=196, hrp="bcrt"),
}
_HRPS: Final = sorted({p.hrp for p in _PREFIXES.values()})
_VERSIONS: Final = {p.p2pkh for p in _PREFIXES.values()} | {p.p2sh for p in _PREFIXES.values()}
_BECH32_START: Final = re.compile(f"({'|'.join(_HRPS)})1", re.IGNORECASE)


def parse_address(text: object, network: Network) -> ScriptPubKey:
    """Read an address of this network. Raises `InvalidAddress` or the child of it that says what is wrong.

    Text only, taken literally: nothing is trimmed. Bech32 may be all upper case (as in QR codes). Testnet, testnet4
    and signet share their prefixes and cannot be told apart; regtest shares the base58 ones with them.
    """
    if not isinstance(text, str) or not text.isascii() or not text.isalnum():
        raise InvalidAddress("address", _shown(text), _ACCEPTED)
    if len(text) > _LONGEST:
        raise InvalidAddress("address", _shown(text), f"{_ACCEPTED}, of at most {_LONGEST} characters")
    if start := _BECH32_START.match(text):
        return _parse_segwit(text, start[1].lower(), network)
    return _parse_base58(text, network)


def address_of(script: bytes, network: Network) -> str:
    """The address of a scriptPubKey of a known kind, bech32 in lower case. Any other script breaks an invariant."""
    kind, program, prefixes = script_kind_of(script), program_of(script), _PREFIXES[network]
    if kind in {ScriptKind.P2PKH, ScriptKind.P2SH}:
        payload = bytes([prefixes.p2pkh if kind is ScriptKind.P2PKH else prefixes.p2sh]) + program
        return _to_base58(payload + hash256(payload)[:4])
    version, constant = (1, _BECH32M) if kind is ScriptKind.P2TR else (0, _BECH32)
    values = [version, *_regroup(program)]
    checksum = _polymod([*_expand(prefixes.hrp), *values, *([0] * _CHECKSUM_VALUES)]) ^ constant
    values += [(checksum >> 5 * (_CHECKSUM_VALUES - 1 - i)) & 31 for i in range(_CHECKSUM_VALUES)]
    return f"{prefixes.hrp}1{''.join(_CHARSET[v] for v in values)}"


_SECRET_CHARACTERS: Final = 51
"""A private key in base58 has 51 characters or more, a base58 address at most 35."""


def _shown(text: object) -> str:
    # Errors end up in logs and replies. People paste private keys and seed words where an address belongs.
    shown = text if isinstance(text, str) else repr(text)
    return shown if len(shown) < _SECRET_CHARACTERS else f"{shown[:4]}... ({len(shown)} characters)"


# ---------------------------------------------------------------------------------------------------------------- dust

_TXOUT_OVERHEAD: Final = 8 + 1
"""Bytes of the amount and of the CompactSize of a script shorter than 253 bytes."""
_SPEND_LEGACY: Final = 32 + 4 + 1 + 107 + 4
_SPEND_WITNESS: Final = 32 + 4 + 1 + 107 // 4 + 4
"""Virtual bytes of a typical input that spends the output: outpoint, CompactSize, signature and key, sequence."""


def dust_threshold_sats(script: bytes, dust_relay_feerate: int = DUST_RELAY_FEERATE) -> Sats:
    """The least amount that nodes relay to this scriptPubKey of a known kind; 546, 540, 294, 330, 330 by default.

    An output is dust if creating and spending it at the dust feerate (sat/kvB) costs more than it holds. Rounded up,
    as in Core's GetDustThreshold (policy/policy.cpp).
    """
    kind = script_kind_of(script)
    ensure(kind is not None, f"script {script.hex()} is of no known kind")
    spend = _SPEND_LEGACY if kind in {ScriptKind.P2PKH, ScriptKind.P2SH} else _SPEND_WITNESS
    size = _TXOUT_OVERHEAD + len(script) + spend
    return Sats(-(-size * dust_relay_feerate // 1000))


def check_not_dust(sats: int, script: bytes, dust_relay_feerate: int = DUST_RELAY_FEERATE) -> None:
    """Raise `DustAmount` if no node would relay an output of `sats` to this script."""
    threshold_sats = dust_threshold_sats(script, dust_relay_feerate)
    if sats < threshold_sats:
        raise DustAmount("amount", sats, f"at least {threshold_sats} sats to a {script_kind_of(script)} address")


# -------------------------------------------------------------------------------------------------- bech32 and bech32m

_CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUE_OF: Final = {character: value for value, character in enumerate(_CHARSET)}
_GENERATORS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32, _BECH32M = 1, 0x2BC830A3
_CHECKSUM_VALUES: Final = 6
_LAST_VERSION: Final = 16
_PROGRAM_SIZES: Final = range(2, 41)
_V0_KINDS: Final = {20: ScriptKind.P2WPKH, 32: ScriptKind.P2WSH}
_P2TR_BYTES: Final = 32


def _parse_segwit(text: str, hrp: str, network: Network) -> ScriptPubKey:
    if text not in (text.lower(), text.upper()):
        raise AddressMixedCase("address", text, "all lower case or all upper case")
    characters = text.lower()[len(hrp) + 1 :]
    if any(c not in _VALUE_OF for c in characters):
        raise InvalidAddress("address", text, f"only the characters {_CHARSET} after {hrp}1")
    values = [_VALUE_OF[c] for c in characters]
    if len(values) <= _CHECKSUM_VALUES:
        raise InvalidAddress("address", text, _ACCEPTED)
    constant = _polymod([*_expand(hrp), *values])
    if constant not in (_BECH32, _BECH32M):
        raise AddressChecksum("address", text, "an address without a typing error")
    if hrp != _PREFIXES[network].hrp:
        raise AddressWrongNetwork("address", text, f"an address of the network {network}")
    version, program = values[0], _bytes_of(values[1:-_CHECKSUM_VALUES])
    if version > _LAST_VERSION or program is None or len(program) not in _PROGRAM_SIZES:
        raise InvalidAddress("address", text, _ACCEPTED)
    if (constant == _BECH32M) is (version == 0):
        raise AddressEncodingMixup("address", text, "bech32 for witness version 0, bech32m for every later one")
    return _script_of_program(text, version, program)


def _script_of_program(text: str, version: int, program: bytes) -> ScriptPubKey:
    if version == 0:
        if len(program) not in _V0_KINDS:
            raise InvalidAddress("address", text, "20 or 32 bytes in a program of witness version 0")
        return script_of(_V0_KINDS[len(program)], program)
    if version > 1 or len(program) != _P2TR_BYTES:
        # Anyone may be able to take what is sent there; pay-to-anchor is made for exactly that.
        raise AddressUnknownProgram("address", text, "witness version 0, or version 1 with 32 bytes")
    return script_of(ScriptKind.P2TR, program)


def _polymod(values: list[int]) -> int:
    """BIP173's checksum: the remainder of a BCH code over GF(32)."""
    remainder = 1
    for value in values:
        top = remainder >> 25
        remainder = (remainder & 0x1FF_FFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            remainder ^= generator if top >> bit & 1 else 0
    return remainder


def _expand(hrp: str) -> list[int]:
    return [*(ord(c) >> 5 for c in hrp), 0, *(ord(c) & 31 for c in hrp)]


def _regroup(program: bytes) -> list[int]:
    """Bytes to groups of five bits, the last filled up with zeros."""
    padding = -len(program) * 8 % 5
    number, groups = int.from_bytes(program, "big") << padding, (len(program) * 8 + padding) // 5
    return [number >> 5 * (groups - 1 - i) & 31 for i in range(groups)]


def _bytes_of(groups: list[int]) -> bytes | None:
    """Groups of five bits to bytes; None if what is left over is five bits or more, or not all zeros (BIP173)."""
    number = 0
    for group in groups:
        number = number << 5 | group
    size, left_over = divmod(len(groups) * 5, 8)
    if left_over >= 5 or number & ((1 << left_over) - 1):  # noqa: PLR2004 - five bits are a whole group
        return None
    return (number >> left_over).to_bytes(size, "big")


# --------------------------------------------------------------------------------------------------------- base58check

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ADDRESS_BYTES: Final = 1 + 20 + 4
"""Version, hash and checksum."""


def _parse_base58(text: str, network: Network) -> ScriptPubKey:
    decoded = _from_base58(text)
    if decoded is None or len(decoded) != _ADDRESS_BYTES:
        raise InvalidAddress("address", _shown(text), _ACCEPTED)
    payload, checksum = decoded[:-4], decoded[-4:]
    if hash256(payload)[:4] != checksum:
        raise AddressChecksum("address", text, "an address without a typing error")
    prefixes, version = _PREFIXES[network], payload[0]
    if version == prefixes.p2pkh:
        return script_of(ScriptKind.P2PKH, payload[1:])
    if version == prefixes.p2sh:
        return script_of(ScriptKind.P2SH, payload[1:])
    if version in _VERSIONS:
        raise AddressWrongNetwork("address", text, f"an address of the network {network}")
    raise InvalidAddress("address", text, _ACCEPTED)


def _from_base58(text: str) -> bytes | None:
    number = 0
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            return None
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _to_base58(data: bytes) -> str:
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits
