"""The key file: private descriptors as text, read by the signing process alone.

One private descriptor with its checksum a line; lines that begin with `#` are comments. Whoever reads this file owns
the coins, so it must be a regular file of ours that nobody else can read. Nothing of it ever reaches a log, an error or
a repr.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from embit.bip32 import HDKey

from withdrawals.core.model import OwnScript
from withdrawals.core.types import Network, ScriptKind
from withdrawals.errors import ConfigError, SignerUnavailable, ensure
from withdrawals.signing.checksum import with_checksum
from withdrawals.signing.descriptors import (
    BRANCHES,
    HEAD_OF,
    PRIVATE_VERSION,
    Descriptor,
    Wallet,
    parse_descriptor,
    wallet_of,
)
from withdrawals.signing.files import create_private, make_durable, make_name_durable, open_private, write_at

_FILE_BYTES_MAX: Final = 65_536
_SEED_BYTES: Final = 64
"""BIP32 allows 16 to 64 bytes; the most costs nothing."""
_PURPOSE: Final = {ScriptKind.P2PKH: 44, ScriptKind.P2SH: 49, ScriptKind.P2WPKH: 84, ScriptKind.P2TR: 86}
"""BIP44, BIP49, BIP84, BIP86: the paths by which any other wallet finds the coins again."""


class HotKeys:
    """Private keys of a wallet, by script. Never shown, copied into another process, or compared."""

    __slots__ = ("_branch_keys", "wallet")

    def __init__(self, wallet: Wallet, descriptors: Sequence[Descriptor]) -> None:
        ensure(all(d.private for d in descriptors), "a descriptor holds no private key")
        self.wallet = wallet
        self._branch_keys: tuple[tuple[Any, ...], ...] = tuple(
            tuple(d.branch_key(branch) for branch in range(BRANCHES)) for d in descriptors
        )

    def secret_of(self, own: OwnScript) -> bytes:
        """The 32-byte secret behind a script of ours (before any taproot tweak)."""
        return bytes(self._branch_keys[own.wallet][own.branch].child(own.index).secret)

    def __repr__(self) -> str:
        return f"<HotKeys of wallet {self.wallet.fingerprint()[:12]}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("private keys are not serialised")


def load_key_file(path: Path, network: Network, *, allow_mainnet_hot_keys: bool = False) -> HotKeys:
    """The keys in a key file. Raises `ConfigError` for a bad file, `SignerUnavailable` for a missing one."""
    _refuse_mainnet(network, allowed=allow_mainnet_hot_keys)
    try:
        fd = open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        raise SignerUnavailable(f"there is no key file at {path}") from None
    with os.fdopen(fd, "rb") as file:
        raw = file.read(_FILE_BYTES_MAX + 1)
    if len(raw) > _FILE_BYTES_MAX:
        raise ConfigError(f"{path} is larger than any key file")
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} holds bytes that are not ASCII") from None
    descriptors = _parse_lines(path, text, network)
    return HotKeys(wallet_of(descriptors, network), descriptors)


def create_key_file(
    path: Path,
    network: Network,
    kinds: Sequence[ScriptKind] = (ScriptKind.P2WPKH,),
    *,
    allow_mainnet_hot_keys: bool = False,
) -> Wallet:
    """Make a fresh seed and write one descriptor for each kind (P2SH stands for P2SH-P2WPKH); durable on return.

    Raises `ConfigError`, also if anything exists at `path` already: keys are never overwritten.
    """
    _refuse_mainnet(network, allowed=allow_mainnet_hot_keys)
    if not kinds or len(set(kinds)) != len(kinds) or not set(kinds) <= set(_PURPOSE):
        raise ConfigError(f"key kinds must be distinct, from {', '.join(_PURPOSE)}")
    lines = _fresh_descriptors(network, kinds)
    text = "# Private keys. Whoever reads this file owns the coins.\n" + "".join(f"{line}\n" for line in lines)
    try:
        fd = create_private(path)
    except FileExistsError:
        raise ConfigError(f"{path} exists already, and keys are never overwritten") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be created: {error.strerror}") from error
    try:
        write_at(fd, text.encode("ascii"), 0)
        make_durable(fd)
        make_name_durable(path)
    except OSError as error:
        path.unlink()  # nobody has seen its addresses yet, and half a key file is none
        raise ConfigError(f"{path} cannot be written: {error.strerror}; nothing of it is left") from error
    finally:
        os.close(fd)
    return wallet_of([parse_descriptor(line, network) for line in lines], network)


def _fresh_descriptors(network: Network, kinds: Sequence[ScriptKind]) -> tuple[str, ...]:
    main = network is Network.MAINNET
    master = HDKey.from_seed(os.urandom(_SEED_BYTES), version=PRIVATE_VERSION[main]).to_base58()
    coin = 0 if main else 1
    bodies = [
        f"{HEAD_OF[kind]}{master}/{_PURPOSE[kind]}h/{coin}h/0h/<0;1>/*{')' * HEAD_OF[kind].count('(')}"
        for kind in kinds
    ]
    return tuple(with_checksum(body) for body in bodies)


def _parse_lines(path: Path, text: str, network: Network) -> tuple[Descriptor, ...]:
    descriptors: list[Descriptor] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            descriptor = parse_descriptor(line, network)
        except ConfigError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
        if not descriptor.private:
            raise ConfigError(f"{path}, line {number}: the descriptor holds no private key")
        descriptors.append(descriptor)
    if not descriptors:
        raise ConfigError(f"{path} holds no descriptor")
    return tuple(descriptors)


def _refuse_mainnet(network: Network, *, allowed: bool) -> None:
    if network is Network.MAINNET and not allowed:
        raise ConfigError("keys of mainnet are not kept in a hot key file unless the configuration allows it in words")
