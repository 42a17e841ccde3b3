"""Wallet descriptors (BIP380, BIP389): text to keys, checksums, and the wallet's scripts by index.

We read a small part of the language, exactly: `pkh`, `wpkh`, `sh(wpkh)` and `tr` (key path only) around one extended
key, with two branches `<0;1>` (first receive, second change) and an unhardened range `/*`. The checksum is required,
and the key must be of the wallet's network: embit, which does the BIP32 arithmetic here, checks neither.

No error of this module quotes what it was given: the text may hold a private key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from embit import base58
from embit.base import EmbitError
from embit.bip32 import HDKey

from withdrawals.core.model import OwnScript
from withdrawals.core.types import Network, ScriptKind
from withdrawals.errors import ConfigError, ensure
from withdrawals.signing.checksum import with_checksum, without_checksum
from withdrawals.signing.scripts import script_from_pubkey

BRANCHES: Final = 2
"""Branch 0 receives, branch 1 is change, whatever numbers the descriptor gives them."""
HARDENED: Final = 0x8000_0000
_INDEX_MAX: Final = HARDENED - 1
_EXTENDED_KEY_BYTES: Final = 78
_UNCOMPRESSED_HEX_CHARS: Final = 130
_UNCOMPRESSED_WIF_CHARS: Final = 51

_HEADS: Final = {
    "pkh(": (ScriptKind.P2PKH, False),
    "wpkh(": (ScriptKind.P2WPKH, False),
    "sh(wpkh(": (ScriptKind.P2SH, True),
    "tr(": (ScriptKind.P2TR, False),
}
HEAD_OF: Final = {kind: head for head, (kind, _nested) in _HEADS.items()}
"""How a descriptor of this kind begins; P2SH stands for `sh(wpkh(`."""

_SHAPE: Final = re.compile(
    r"(?P<head>pkh\(|wpkh\(|sh\(wpkh\(|tr\()"
    r"(?:\[(?P<fingerprint>[0-9a-fA-F]{8})(?P<origin>(?:/[0-9]{1,10}[h']?)*)\])?"
    r"(?P<key>[1-9A-HJ-NP-Za-km-z]+)"
    r"(?P<steps>(?:/[0-9]{1,10}[h']?)*)"
    r"/(?:<(?P<a>[0-9]{1,10});(?P<b>[0-9]{1,10})>|\{(?P<c>[0-9]{1,10}),(?P<d>[0-9]{1,10})\})"
    r"/\*(?P<tail>\)+)"
)
_WANTED: Final = (
    "pkh(KEY), wpkh(KEY), sh(wpkh(KEY)) or tr(KEY), where KEY is an extended key with a path that ends in <0;1>/*"
)

# BIP32 version bytes: (network is mainnet, key is private).
_VERSIONS: Final = {
    bytes.fromhex("0488b21e"): (True, False),
    bytes.fromhex("0488ade4"): (True, True),
    bytes.fromhex("043587cf"): (False, False),
    bytes.fromhex("04358394"): (False, True),
}
PRIVATE_VERSION: Final = {main: version for version, (main, private) in _VERSIONS.items() if private}
_PUBLIC_VERSION: Final = {main: version for version, (main, private) in _VERSIONS.items() if not private}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One descriptor, parsed. Holds a private key if its text did; never shown."""

    kind: ScriptKind
    nested: bool
    main: bool
    fingerprint: bytes
    """Of the master key; empty without key origin."""
    origin: tuple[int, ...]
    key: Any = field(repr=False)
    steps: tuple[int, ...]
    branches: tuple[int, int]

    @property
    def private(self) -> bool:
        """True if it holds a private key."""
        return bool(self.key.is_private)

    def branch_key(self, branch: int) -> Any:  # noqa: ANN401  (embit ships no types)
        """The extended key whose children are this branch's keys; private if the descriptor is."""
        ensure(0 <= branch < BRANCHES, f"no branch {branch}")
        return self.key.derive([*self.steps, self.branches[branch]])

    def public(self) -> Descriptor:
        """The same wallet without private keys: the path up to the last hardened step is folded into the key origin."""
        if not self.private:
            return self
        hardened = [at for at, step in enumerate(self.steps) if step >= HARDENED]
        cut = hardened[-1] + 1 if hardened else 0
        folded = self.key.derive(list(self.steps[:cut])).to_public(_PUBLIC_VERSION[self.main])
        fingerprint = self.fingerprint or (bytes(self.key.my_fingerprint) if cut else b"")
        return Descriptor(
            self.kind,
            self.nested,
            self.main,
            fingerprint,
            self.origin + self.steps[:cut],
            folded,
            self.steps[cut:],
            self.branches,
        )

    def public_text(self) -> str:
        """The public descriptor with its checksum, in one spelling (`h`, lower-case fingerprint, `<a;b>`)."""
        public = self.public()
        origin = f"[{public.fingerprint.hex()}{_path_text(public.origin)}]" if public.fingerprint else ""
        head = HEAD_OF[self.kind]
        a, b = self.branches
        body = f"{head}{origin}{public.key.to_base58()}{_path_text(public.steps)}/<{a};{b}>/*{')' * head.count('(')}"
        return with_checksum(body)


@dataclass(frozen=True, slots=True)
class Wallet:
    """The hot wallet's public side: its descriptors in a fixed order, and every script by (wallet, branch, index)."""

    network: Network
    descriptors: tuple[str, ...]
    """Public, canonical, with checksum. A script's `wallet` is its descriptor's place in here."""
    _parsed: tuple[Descriptor, ...] = field(repr=False, compare=False)
    _branch_keys: tuple[tuple[Any, Any], ...] = field(repr=False, compare=False)

    def fingerprint(self) -> str:
        """SHA-256 hex of the newline-joined public descriptors: which wallet this is, without any key."""
        return hashlib.sha256("\n".join(self.descriptors).encode()).hexdigest()

    def own_scripts(self, wallet: int, branch: int, start: int, count: int) -> tuple[OwnScript, ...]:
        """`count` scripts of a branch from index `start`; about 0.13 ms each. InvariantBroken outside the wallet."""
        ensure(0 <= wallet < len(self.descriptors), f"no descriptor {wallet}")
        ensure(0 <= branch < BRANCHES, f"no branch {branch}")
        ensure(start >= 0 and count >= 0 and start + count <= HARDENED, f"no indices {start}+{count}")
        described, key = self._parsed[wallet], self._branch_keys[wallet][branch]
        return tuple(
            OwnScript(
                script_from_pubkey(described.kind, bytes(key.child(index).sec())),
                described.kind,
                described.nested,
                wallet,
                branch,
                index,
            )
            for index in range(start, start + count)
        )


def parse_wallet(descriptors: Sequence[str], network: Network) -> Wallet:
    """Descriptors, public or private, to the wallet they describe. Raises `ConfigError`, naming it by number."""
    parsed: list[Descriptor] = []
    for number, text in enumerate(descriptors, start=1):
        try:
            parsed.append(parse_descriptor(text, network).public())
        except ConfigError as error:
            raise ConfigError(f"descriptor {number}: {error}") from None
    return wallet_of(parsed, network)


def wallet_of(parsed: Sequence[Descriptor], network: Network) -> Wallet:
    """The wallet of these descriptors, without their private keys. Raises `ConfigError`."""
    public = tuple(d.public() for d in parsed)
    texts = tuple(d.public_text() for d in public)
    if not texts:
        raise ConfigError("a wallet needs at least one descriptor")
    if len(set(texts)) != len(texts):
        raise ConfigError("a descriptor is given twice")
    return Wallet(network, texts, public, tuple((d.branch_key(0), d.branch_key(1)) for d in public))


def public_of(private_descriptors: Sequence[str], network: Network) -> tuple[str, ...]:
    """Private descriptors to public ones with checksum. Raises `ConfigError`."""
    return parse_wallet(private_descriptors, network).descriptors


def parse_descriptor(text: str, network: Network) -> Descriptor:
    """One descriptor with its checksum. Raises `ConfigError`, which never quotes the text."""
    body = without_checksum(text)
    shape = _SHAPE.fullmatch(body)
    if shape is None:
        raise ConfigError(_why_not(body))
    kind, nested = _HEADS[shape["head"]]
    if len(shape["tail"]) != shape["head"].count("("):
        raise ConfigError(f"parentheses do not match; accepted: {_WANTED}")
    branches = (_index(shape["a"] or shape["c"]), _index(shape["b"] or shape["d"]))
    if branches[0] == branches[1]:
        raise ConfigError("the receive and the change branch are the same")
    steps = _parse_path(shape["steps"])
    key = _parse_key(shape["key"], network)
    if not key.is_private and any(step >= HARDENED for step in steps):
        raise ConfigError("a hardened step after a public key cannot be derived")
    return Descriptor(
        kind,
        nested,
        network is Network.MAINNET,
        bytes.fromhex(shape["fingerprint"] or ""),
        _parse_path(shape["origin"] or ""),
        key,
        steps,
        branches,
    )


def _parse_key(text: str, network: Network) -> Any:  # noqa: ANN401  (embit ships no types)
    try:
        raw = base58.decode_check(text)
        key = HDKey.parse(raw) if len(raw) == _EXTENDED_KEY_BYTES and raw[:4] in _VERSIONS else None
    except (EmbitError, ValueError, IndexError):
        # Chained errors would carry the text of the key into logs.
        raise ConfigError("the descriptor's key is not a valid extended key") from None
    if key is None:
        raise ConfigError("the descriptor's key is not an extended key (xpub, xprv, tpub or tprv)")
    main, _private = _VERSIONS[raw[:4]]
    if main != (network is Network.MAINNET):
        raise ConfigError(f"the descriptor's key belongs to another network than {network}")
    return key


def _parse_path(text: str) -> tuple[int, ...]:
    return tuple(_index(step.rstrip("h'")) + (HARDENED if step[-1] in "h'" else 0) for step in text.split("/")[1:])


def _index(digits: str) -> int:
    index = int(digits)
    if index > _INDEX_MAX:
        raise ConfigError(f"a path step is above {_INDEX_MAX}")
    return index


def _path_text(path: Sequence[int]) -> str:
    return "".join(f"/{step - HARDENED}h" if step >= HARDENED else f"/{step}" for step in path)


def _why_not(body: str) -> str:
    """What is wrong with a descriptor that does not have our shape, without quoting it."""
    inner = re.sub(r"^(?:[a-z]+\()+(?:\[[^\]]*\])?|\)+$", "", body)
    if inner[:2] in {"04", "06", "07"} and len(inner) == _UNCOMPRESSED_HEX_CHARS:
        return "the key is uncompressed: coins sent to it under segwit could never be spent; extended keys are accepted"
    if inner[:1] in {"5", "9"} and len(inner) == _UNCOMPRESSED_WIF_CHARS:
        return "the private key is of the uncompressed form: its segwit coins could never be spent"
    if re.search(r"\*[h']", body):
        return "a hardened range cannot be derived from public keys; the path must end in /*"
    if not body.rstrip(")").endswith("/*"):
        return f"the descriptor is not ranged; accepted: {_WANTED}"
    if re.search(r"<[0-9;]*[h']|\{[0-9,]*[h']", body):
        return "a hardened branch cannot be derived from public keys"
    return f"this form of descriptor is not supported; accepted: {_WANTED}"
