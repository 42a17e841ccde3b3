"""ECDSA signatures as they stand in a transaction, read leniently: the odd spellings are what this package is about.

A signature is `30 len 02 len(R) R 02 len(S) S hashtype`. BIP66 asks that R and S be as short as a positive big-endian
number can be, and BIP62's low-S rule that S be at most half the order; blocks demand only the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""The order of secp256k1's group (SEC 2, section 2.4.1). If (r, s) is a signature, so is (r, order - s)."""

_SEQUENCE, _INTEGER = 0x30, 0x02
_HIGH_BIT = 0x80
_SHORT_R_BYTES: Final = 32


class NotASignature(ValueError):
    """The bytes do not have the shape of a DER signature with a hash type behind it."""


@dataclass(frozen=True, slots=True)
class DerSignature:
    """R and S exactly as encoded, padding included, and the hash type byte."""

    r: bytes
    s: bytes
    hashtype: int

    @property
    def s_value(self) -> int:
        """S as a number."""
        return int.from_bytes(self.s)

    @property
    def has_low_s(self) -> bool:
        """Whether S is in the lower half, as relay demands."""
        return self.s_value <= ORDER // 2

    @property
    def has_short_r(self) -> bool:
        """Whether R takes no more than 32 bytes, which Bitcoin Core's signer grinds for."""
        return len(self.r) <= _SHORT_R_BYTES

    @property
    def is_padded(self) -> bool:
        """Whether R or S carries zero bytes that a positive number does not need."""
        return self.r != minimal_integer(int.from_bytes(self.r)) or self.s != minimal_integer(self.s_value)

    def with_s_negated(self) -> DerSignature:
        """The other S that verifies just as well."""
        return replace(self, s=minimal_integer(ORDER - self.s_value))

    def with_r_padded(self) -> DerSignature:
        """One needless zero byte in front of R: the bug of Mt.Gox's signer."""
        return replace(self, r=b"\x00" + self.r)

    def with_s_padded(self) -> DerSignature:
        """The same in front of S."""
        return replace(self, s=b"\x00" + self.s)

    def without_padding(self) -> DerSignature:
        """Both numbers as short as BIP66 demands."""
        return replace(self, r=minimal_integer(int.from_bytes(self.r)), s=minimal_integer(self.s_value))

    def encode(self) -> bytes:
        """The bytes as they are pushed; never longer than 75."""
        numbers = bytes([_INTEGER, len(self.r)]) + self.r + bytes([_INTEGER, len(self.s)]) + self.s
        return bytes([_SEQUENCE, len(numbers)]) + numbers + bytes([self.hashtype])


def parse_signature(encoded: bytes) -> DerSignature:
    """Read a signature whatever the padding of its numbers. Raises `NotASignature`."""
    try:
        sequence, total, r_tag, r_size = encoded[:4]
        s_tag, s_size = encoded[4 + r_size : 6 + r_size]
    except ValueError as error:
        raise NotASignature(f"{encoded.hex()} ends too early") from error
    r, s = encoded[4 : 4 + r_size], encoded[6 + r_size : 6 + r_size + s_size]
    signature = DerSignature(r, s, encoded[-1])
    shaped = (sequence, r_tag, s_tag) == (_SEQUENCE, _INTEGER, _INTEGER) and total == len(encoded) - 3
    if not shaped or not r or not s or signature.encode() != encoded:
        raise NotASignature(f"{encoded.hex()} is not a DER signature and a hash type")
    return signature


def minimal_integer(value: int) -> bytes:
    """A positive number as DER's shortest big-endian integer: a zero in front only if the high bit is set."""
    encoded = value.to_bytes(max(1, (value.bit_length() + 7) // 8))
    return b"\x00" + encoded if encoded[0] & _HIGH_BIT else encoded
