"""What is pushed in another way, or pushed and run besides: superfluous bytes in scriptSigs and witnesses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from regtest.malleate.inputs import SINGLE_KEY, InputKind, SignedInput, Unfit
from regtest.malleate.script import (
    OP_0,
    OP_CHECKSIG,
    OP_CODESEPARATOR,
    OP_DROP,
    OP_NOP,
    OP_PUSHDATA1,
    OP_PUSHDATA2,
    OP_PUSHDATA4,
    UnreadableScript,
    push,
    push_by,
    push_plainly,
    pushed_items,
)
from regtest.malleate.signing import Keys
from regtest.malleate.transaction import Unlocking

ANNEX: Final = b"\x50annex"
_STUFFING: Final = b"x"
_GREETING: Final = b"gox!"
_ONE: Final = b"\x01"
InputRewrite = Callable[[SignedInput, Keys], Unlocking]


def pushing_all_by(opcode: int) -> InputRewrite:
    """Every item behind this opcode."""
    return lambda target, _keys: _changed(target, b"".join(push_by(opcode, item) for item in target.items))


def _pushing_first_by(opcode: int) -> InputRewrite:
    return lambda target, _keys: _changed(
        target, b"".join(push(item) if n else push_by(opcode, item) for n, item in enumerate(target.items))
    )


push_all_by_pushdata2: Final = pushing_all_by(OP_PUSHDATA2)
push_signature_by_pushdata1: Final = _pushing_first_by(OP_PUSHDATA1)
push_signature_by_pushdata4: Final = _pushing_first_by(OP_PUSHDATA4)


def push_script_by_pushdata2(target: SignedInput, _keys: Keys) -> Unlocking:
    """The redeem script alone, behind a length of two bytes."""
    arguments = b"".join(map(push, target.arguments))
    return _changed(target, arguments + push_by(OP_PUSHDATA2, target.script))


def push_program_by_pushdata1(target: SignedInput, _keys: Keys) -> Unlocking:
    """The witness program that a P2SH output hides, behind a length byte of its own."""
    return _changed(target, push_by(OP_PUSHDATA1, _program(target)))


def push_number_as_data(target: SignedInput, _keys: Keys) -> Unlocking:
    """The argument next to the script, a small number, with a length byte instead of in its own opcode."""
    *others, last = target.arguments or (b"",)
    if push(last) == push_plainly(last):
        raise Unfit("its last argument is no number that has an opcode of its own")
    return _changed(target, b"".join(map(push, others)) + push_plainly(last) + push(target.script))


def _putting_in_front(prefix: bytes) -> InputRewrite:
    return lambda target, _keys: _changed(target, prefix + target.unlocking.script_sig)


def _putting_behind(suffix: bytes) -> InputRewrite:
    return lambda target, _keys: _changed(target, target.unlocking.script_sig + suffix)


append_nop: Final = _putting_behind(bytes([OP_NOP]))
append_push_and_drop: Final = _putting_behind(bytes([OP_0, OP_DROP]))
prepend_nop: Final = _putting_in_front(bytes([OP_NOP]))
prepend_empty_push: Final = _putting_in_front(push(b""))
prepend_data_push: Final = _putting_in_front(push(_GREETING))
prepend_one: Final = _putting_in_front(push(_ONE))


def run_checksig_before(target: SignedInput, _keys: Keys) -> Unlocking:
    """A signature check inside the scriptSig, behind a separator; it fails, and its result is dropped."""
    check = push(b"") + push(target.public_key) + bytes([OP_CODESEPARATOR, OP_CHECKSIG, OP_DROP])
    return _changed(target, check + target.unlocking.script_sig)


def fill_script_sig(target: SignedInput, _keys: Keys) -> Unlocking:
    """A push where a native segwit input must have nothing."""
    if target.unlocking.script_sig:
        raise Unfit("its scriptSig is not empty")
    return target.unlocking._replace(script_sig=push(_ONE))


def prepend_witness_item(target: SignedInput, _keys: Keys) -> Unlocking:
    """One item more at the bottom of the stack."""
    return target.with_items((_ONE, *target.items))


def prepend_script_path_item(target: SignedInput, keys: Keys) -> Unlocking:
    """The same for a tapscript."""
    if not target.is_script_path:
        raise Unfit("it is a key path spend")
    return prepend_witness_item(target, keys)


def strip_witness(target: SignedInput, _keys: Keys) -> Unlocking:
    """The witness left away, as an old node would pass the transaction on."""
    if not target.unlocking.witness:
        raise Unfit("it has no witness")
    return target.unlocking._replace(witness=())


def stuff_witness(target: SignedInput, _keys: Keys) -> Unlocking:
    """A witness for an output that needs none."""
    if target.unlocking.witness:
        raise Unfit("it has a witness")
    return target.unlocking._replace(witness=(_STUFFING,))


def add_annex_to_key_path(target: SignedInput, _keys: Keys) -> Unlocking:
    """An annex behind a signature that did not sign it."""
    if target.is_script_path:
        raise Unfit("it is a script path spend")
    return _with_annex(target)


def add_annex_to_free_leaf(target: SignedInput, _keys: Keys) -> Unlocking:
    """An annex behind a leaf that nothing is signed for: nobody notices."""
    if not target.is_script_path or not target.is_free:
        raise Unfit("its signatures commit to the annex that is not there")
    return _with_annex(target)


def _with_annex(target: SignedInput) -> Unlocking:
    if target.annex is not None:
        raise Unfit("it has an annex")
    return target.unlocking._replace(witness=(*target.items, ANNEX))


def _changed(target: SignedInput, script_sig: bytes) -> Unlocking:
    """Another scriptSig, where there is one of the ordinary form now."""
    try:
        ordinary = b"".join(map(push, pushed_items(target.unlocking.script_sig)))
    except UnreadableScript as error:
        raise Unfit(f"its scriptSig cannot be read: {error}") from error
    if target.unlocking.script_sig != ordinary:
        raise Unfit("it is not pushed in the shortest way any more")
    if target.kind in SINGLE_KEY:
        _ = target.public_key  # raises if more is pushed than a single key takes
    return target.unlocking._replace(script_sig=script_sig)


def _program(target: SignedInput) -> bytes:
    if target.kind not in {InputKind.P2SH_P2WPKH, InputKind.P2SH_P2WSH}:
        raise Unfit("it hides no witness program")
    return target.unlocking.script_sig[1:]
