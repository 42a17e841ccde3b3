"""The classes of malleation that can be carried out, as one table. The ids are those of docs/malleability.md."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from regtest.malleate.model import Actor, InputKind, Keys, Malleator, Mining, SignedInput, Unfit
from regtest.malleate.resign import sign_again
from regtest.malleate.transaction import Unlocking

_OP_PUSHDATA2: Final = b"\x4d"

HIGH_S: Final = "Non-canonical signature: S value is unnecessarily high"
LONG_PUSH: Final = "Data push larger than necessary"
NOT_DER: Final = "Non-canonical DER signature"


def flip_s(target: SignedInput, _keys: Keys) -> Unlocking:
    """S becomes order - S, which verifies as well. It needs no key and nothing but the signature (BIP62, rule 5)."""
    if not target.signature.has_low_s:
        raise Unfit("its S is high already")
    return target.with_signature(target.signature.with_s_negated())


def push_by_pushdata2(target: SignedInput, _keys: Keys) -> Unlocking:
    """Signature and public key pushed with a length of two bytes: the form seen in the wild in February 2014."""
    pushes = [_OP_PUSHDATA2 + len(item).to_bytes(2, "little") + item for item in target.pushed]
    unlocking = Unlocking(b"".join(pushes), ())
    if unlocking == target.unlocking:
        raise Unfit("it is pushed by PUSHDATA2 already")
    return unlocking


def pad_r(target: SignedInput, _keys: Keys) -> Unlocking:
    """A zero byte in front of R, as the signer of Mt.Gox put it. Blocks have refused it since BIP66."""
    if target.signature.is_padded:
        raise Unfit("its signature is padded already")
    return target.with_signature(target.signature.with_r_padded())


def strip_padding(target: SignedInput, _keys: Keys) -> Unlocking:
    """The reverse: a padded original, which no node relays, becomes one that all do. This is what thieves did."""
    if not target.signature.is_padded:
        raise Unfit("its signature is not padded")
    return target.with_signature(target.signature.without_padding())


def sign_with_another_nonce(target: SignedInput, keys: Keys) -> Unlocking:
    """The owner signs the same message again: another R and S. Two signers that differ in their nonces do it too."""
    return target.with_signature(sign_again(target, keys))


_TABLE: Final = (
    Malleator(
        id="T01",
        form="P2PKH: S flipped to the upper half",
        actor=Actor.MINER,
        changes_txid=True,
        consensus=None,
        policy=HIGH_S,
        mining=Mining.BLOCK,
        kind=InputKind.P2PKH,
        rewrite=flip_s,
    ),
    Malleator(
        id="T02b",
        form="P2PKH: signature and key pushed by PUSHDATA2, the wild form of 2014",
        actor=Actor.MINER,
        changes_txid=True,
        consensus=None,
        policy=LONG_PUSH,
        mining=Mining.BLOCK,
        kind=InputKind.P2PKH,
        rewrite=push_by_pushdata2,
    ),
    Malleator(
        id="T03a",
        form="P2PKH: R padded with a zero byte, the form Mt.Gox signed",
        actor=Actor.NOBODY,
        changes_txid=True,
        consensus=NOT_DER,
        policy=NOT_DER,
        mining=Mining.BELOW_DERSIG,
        kind=InputKind.P2PKH,
        rewrite=pad_r,
    ),
    Malleator(
        id="T03R",
        form="P2PKH: a padded original made minimal, what was done to Mt.Gox",
        actor=Actor.RELAY,
        changes_txid=True,
        consensus=None,
        policy=None,
        mining=Mining.SEND,
        kind=InputKind.P2PKH,
        rewrite=strip_padding,
    ),
    Malleator(
        id="T09",
        form="P2PKH: signed again with another nonce",
        actor=Actor.OWNER,
        changes_txid=True,
        consensus=None,
        policy=None,
        mining=Mining.SEND,
        kind=InputKind.P2PKH,
        rewrite=sign_with_another_nonce,
    ),
    Malleator(
        id="T11",
        form="P2PKH beside P2WPKH: S flipped on the legacy input, so segwit does not help",
        actor=Actor.MINER,
        changes_txid=True,
        consensus=None,
        policy=HIGH_S,
        mining=Mining.BLOCK,
        kind=InputKind.P2PKH,
        rewrite=flip_s,
        beside=InputKind.P2WPKH,
    ),
    Malleator(
        id="W01",
        form="P2WPKH: S flipped to the upper half",
        actor=Actor.MINER,
        changes_txid=False,
        consensus=None,
        policy=HIGH_S,
        mining=Mining.BLOCK,
        kind=InputKind.P2WPKH,
        rewrite=flip_s,
    ),
    Malleator(
        id="W04",
        form="P2WPKH: signed again with another nonce",
        actor=Actor.OWNER,
        changes_txid=False,
        consensus=None,
        policy=None,
        mining=Mining.SEND,
        kind=InputKind.P2WPKH,
        rewrite=sign_with_another_nonce,
    ),
)

MALLEATORS: Final[Mapping[str, Malleator]] = MappingProxyType({malleator.id: malleator for malleator in _TABLE})
"""Every class that can be carried out, by its id. All keep the normalised id, the outputs and the outpoints."""


def describe_malleators() -> str:
    """The table for people: one line per class."""
    lines = [("id", "actor", "changes", "relay policy", "consensus", "form")]
    for malleator in MALLEATORS.values():
        changed = "txid, wtxid" if malleator.changes_txid else "wtxid"
        verdicts = (malleator.policy or "accepts", malleator.consensus or "accepts")
        lines.append((malleator.id, malleator.actor, changed, *verdicts, malleator.form))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
