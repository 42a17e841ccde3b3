"""Arguments that a script takes in more than one spelling: numbers, truth values, and what it throws away."""

from __future__ import annotations

from typing import Final

from regtest.malleate.inputs import SignedInput, Unfit
from regtest.malleate.script import (
    OP_0NOTEQUAL,
    OP_1ADD,
    OP_DROP,
    OP_IF,
    OP_NOT,
    OP_NOTIF,
    first_opcode,
    multisig_of,
)
from regtest.malleate.signing import Keys
from regtest.malleate.transaction import Unlocking

_TRUE, _ALSO_TRUE = b"\x01", b"\x02"
_NUMBER_BYTES_MAX: Final = 4
_SIGN_BIT: Final = 0x80


def zero_pad_number(target: SignedInput, _keys: Keys) -> Unlocking:
    """A zero byte at the high end: one stays one (BIP62, rule 4)."""
    opcode, last = first_opcode(target.script), _last(target)
    if opcode is None or not OP_1ADD <= opcode <= OP_0NOTEQUAL or opcode == OP_NOT:
        raise Unfit("its script does not begin with arithmetic")
    if not last or last[-1] & _SIGN_BIT or len(last) >= _NUMBER_BYTES_MAX:
        raise Unfit("its number is zero, negative or of four bytes")
    if not last[-1]:
        raise Unfit("its number is padded already")
    return _replace_last(target, last + b"\x00")


def say_two_for_true(target: SignedInput, _keys: Keys) -> Unlocking:
    """Anything but zero takes the same branch."""
    if first_opcode(target.script) not in {OP_IF, OP_NOTIF}:
        raise Unfit("its script does not begin with OP_IF")
    if _last(target) != _TRUE:
        raise Unfit("its condition is not one")
    return _replace_last(target, _ALSO_TRUE)


def change_dropped_item(target: SignedInput, _keys: Keys) -> Unlocking:
    """The script throws it away before anything looks at it."""
    if first_opcode(target.script) != OP_DROP:
        raise Unfit("its script does not begin with OP_DROP")
    last = _last(target)
    changed = last[:-1] + bytes([(last[-1] + 1) % 256]) if last else b"x"
    return _replace_last(target, changed)


def fill_dummy(target: SignedInput, _keys: Keys) -> Unlocking:
    """CHECKMULTISIG takes one item more than it uses, whatever it is (BIP147)."""
    if multisig_of(target.script) is None:
        raise Unfit("its script is no bare multisig")
    if not target.arguments or target.arguments[0]:
        raise Unfit("its dummy is not empty")
    return target.with_arguments((_TRUE, *target.arguments[1:]))


def _last(target: SignedInput) -> bytes:
    """The argument on top of the stack when the script begins."""
    if not target.arguments:
        raise Unfit("its script takes no argument")
    return target.arguments[-1]


def _replace_last(target: SignedInput, item: bytes) -> Unlocking:
    return target.with_arguments((*target.arguments[:-1], item))
