"""Scripts as bytes: pushes in their shortest form and in longer ones, and the shapes of scripts that classes know."""

from __future__ import annotations

from typing import Final

from bitcoin.core.script import CScript, CScriptInvalidError

OP_0, OP_PUSHDATA1, OP_PUSHDATA2, OP_PUSHDATA4, OP_1NEGATE, OP_1, OP_16 = 0x00, 0x4C, 0x4D, 0x4E, 0x4F, 0x51, 0x60
OP_NOP, OP_IF, OP_NOTIF, OP_ELSE, OP_ENDIF, OP_DROP, OP_DUP = 0x61, 0x63, 0x64, 0x67, 0x68, 0x75, 0x76
OP_EQUAL, OP_EQUALVERIFY, OP_1ADD, OP_0NOTEQUAL, OP_NOT, OP_NUMEQUALVERIFY = 0x87, 0x88, 0x8B, 0x92, 0x91, 0x9D
OP_VERIFY, OP_SHA256, OP_HASH160, OP_CODESEPARATOR = 0x69, 0xA8, 0xA9, 0xAB
OP_CHECKSIG, OP_CHECKMULTISIGVERIFY, OP_CHECKMULTISIG, OP_CHECKSIGADD = 0xAC, 0xAF, 0xAE, 0xBA

_SHORT_PUSH_MAX: Final = 75
_LENGTH_BYTES: Final = {OP_PUSHDATA1: 1, OP_PUSHDATA2: 2, OP_PUSHDATA4: 4}


class UnreadableScript(ValueError):
    """It ends inside a push, or does more than push where only pushes are expected."""


def push(item: bytes) -> bytes:
    """The shortest push of these bytes, the only one that relay takes (BIP62, rule 3)."""
    if not item:
        return bytes([OP_0])
    if len(item) == 1 and 1 <= item[0] <= OP_16 - OP_1 + 1:
        return bytes([OP_1 + item[0] - 1])
    if item == b"\x81":
        return bytes([OP_1NEGATE])
    return push_plainly(item)


def push_plainly(item: bytes) -> bytes:
    """The bytes with the shortest length before them, also where an opcode of its own would push them."""
    if len(item) <= _SHORT_PUSH_MAX:
        return bytes([len(item)]) + item
    return push_by(OP_PUSHDATA1 if len(item) < 1 << 8 else OP_PUSHDATA2, item)


def push_by(opcode: int, item: bytes) -> bytes:
    """The bytes behind one of the PUSHDATA opcodes, whether they need its longer length or not."""
    return bytes([opcode]) + len(item).to_bytes(_LENGTH_BYTES[opcode], "little") + item


def operations_of(script: bytes) -> list[tuple[int, bytes | None]]:
    """Opcodes in order, each with what it pushes, None for those that push nothing. Raises `UnreadableScript`."""
    try:
        found = [(int(opcode), None if data is None else bytes(data)) for opcode, data, _ in CScript(script).raw_iter()]
    except CScriptInvalidError as error:
        raise UnreadableScript(str(error)) from error
    return [(opcode, _pushed_by(opcode) if data is None else data) for opcode, data in found]


def pushed_items(script: bytes) -> list[bytes]:
    """What a scriptSig leaves on the stack, if it does nothing but push. Raises `UnreadableScript`."""
    items = []
    for opcode, data in operations_of(script):
        if data is None:
            raise UnreadableScript(f"opcode {opcode:#04x} does not push")
        items.append(data)
    return items


def first_opcode(script: bytes) -> int | None:
    """The operation that a script begins with: what becomes of the topmost argument."""
    return script[0] if script else None


def multisig_of(script: bytes) -> tuple[int, list[bytes]] | None:
    """How many signatures, by which public keys, a bare multisig script asks for; None if it is something else."""
    try:
        match operations_of(script):
            case [(_, bytes(needed)), *keys, (_, bytes(count)), (int(last), None)] if last == OP_CHECKMULTISIG:
                public_keys = [key for _, key in keys if key]
            case _:
                return None
    except UnreadableScript:
        return None
    return (
        (needed[0], public_keys) if needed and count == bytes([len(keys)]) and len(public_keys) == len(keys) else None
    )


def checks_signatures(script: bytes) -> bool:
    """Whether any operation of the script looks at a signature; an unreadable one may."""
    try:
        return any(
            OP_CHECKSIG <= opcode <= OP_CHECKMULTISIGVERIFY or opcode == OP_CHECKSIGADD
            for opcode, _ in operations_of(script)
        )
    except UnreadableScript:
        return True


def _pushed_by(opcode: int) -> bytes | None:
    """What the opcodes push that carry their number in themselves."""
    if opcode == OP_1NEGATE:
        return b"\x81"
    return bytes([opcode - OP_1 + 1]) if OP_1 <= opcode <= OP_16 else None
