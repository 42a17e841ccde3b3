"""Scripts as Core's test vectors write them: `0x51 0x20 0x…`, `DUP HASH160`, `-1`, `'text'` (its ParseScript)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_FROM_NOP: Final = """
    NOP VER IF NOTIF VERIF VERNOTIF ELSE ENDIF VERIFY RETURN
    TOALTSTACK FROMALTSTACK 2DROP 2DUP 3DUP 2OVER 2ROT 2SWAP IFDUP DEPTH DROP DUP NIP OVER PICK ROLL ROT SWAP TUCK
    CAT SUBSTR LEFT RIGHT SIZE INVERT AND OR XOR EQUAL EQUALVERIFY RESERVED1 RESERVED2
    1ADD 1SUB 2MUL 2DIV NEGATE ABS NOT 0NOTEQUAL ADD SUB MUL DIV MOD LSHIFT RSHIFT
    BOOLAND BOOLOR NUMEQUAL NUMEQUALVERIFY NUMNOTEQUAL LESSTHAN GREATERTHAN LESSTHANOREQUAL GREATERTHANOREQUAL
    MIN MAX WITHIN RIPEMD160 SHA1 SHA256 HASH160 HASH256 CODESEPARATOR
    CHECKSIG CHECKSIGVERIFY CHECKMULTISIG CHECKMULTISIGVERIFY
    NOP1 CHECKLOCKTIMEVERIFY CHECKSEQUENCEVERIFY NOP4 NOP5 NOP6 NOP7 NOP8 NOP9 NOP10 CHECKSIGADD
"""
_NOP: Final = 0x61
OPCODES: Final = {"RESERVED": 0x50, **{name: _NOP + at for at, name in enumerate(_FROM_NOP.split())}}
"""Every operator by its name without OP_; the operators that push have no name here."""


def parse_script(text: str) -> bytes:
    """The bytes of a script written in words. Raises `KeyError` for a word that is none."""
    return b"".join(_word(word) for word in text.split())


def operations(script: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Each operation: its opcode, what it pushes if it does (numbers too), and its bytes; the last may be cut short."""
    at = 0
    while at < len(script):
        opcode = script[at]
        width = {0x4C: 1, 0x4D: 2, 0x4E: 4}.get(opcode, 0)
        start = at + 1 + width
        size = int.from_bytes(script[at + 1 : start], "little") if width else opcode if opcode < 0x4C else 0
        number = opcode == 0x4F or 0x51 <= opcode <= 0x60
        data = bytes([0x81 if opcode == 0x4F else opcode - 0x50]) if number else script[start : start + size]
        yield opcode, data, script[at : start + size]
        at = start + size


def pushed(script: bytes) -> list[bytes]:
    """What the pushes of a script push, in order; every other operator is passed over."""
    return [data for opcode, data, _raw in operations(script) if opcode <= 0x60 and opcode != 0x50]


def push_any(data: bytes) -> bytes:
    """A push whose size alone chooses the opcode, as CScript's `<<` does: a byte that has an operator gets none."""
    size = len(data)
    if size < 0x4C:
        return bytes([size]) + data
    if size < 1 << 8:
        return struct.pack("<BB", 0x4C, size) + data
    return struct.pack("<BH", 0x4D, size) + data


def _word(word: str) -> bytes:
    if word.startswith("0x"):
        return bytes.fromhex(word[2:])
    if len(word) > 1 and word[0] == word[-1] == "'":
        return push_any(word[1:-1].encode())
    if word.lstrip("-").isdecimal():
        return _number(int(word))
    return bytes([OPCODES[word.removeprefix("OP_")]])


def _number(number: int) -> bytes:
    """A push of a script number: little-endian, its sign in the highest bit (CScriptNum)."""
    if number == 0:
        return b"\x00"
    if number == -1 or 1 <= number <= 16:  # those have operators
        return bytes([0x50 + number])
    size = abs(number).bit_length() // 8 + 1
    return push_any((abs(number) | (number < 0) << (8 * size - 1)).to_bytes(size, "little"))
