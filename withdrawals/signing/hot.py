"""The hot signer: keys in a file of this host, a journal beside them, and its own checks before either is used."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from coincurve import PrivateKey
from coincurve.utils import DEFAULT_NONCE

from withdrawals.core.model import JournalLine, PlannedInput
from withdrawals.core.tx import InputSignature, push, with_signatures
from withdrawals.core.types import Network, Sats, ScriptKind
from withdrawals.errors import OrderRefused, ensure
from withdrawals.ports import SignedAnswer, SigningOrder
from withdrawals.signing.descriptors import Wallet
from withdrawals.signing.digests import Digests
from withdrawals.signing.journal import Journal, Standing
from withdrawals.signing.keyfile import load_key_file
from withdrawals.signing.lines import entry_of
from withdrawals.signing.orders import Caps, cap_problems, order_problems
from withdrawals.signing.own import OwnScripts
from withdrawals.signing.scripts import redeem_script_of, taproot_tweak
from withdrawals.signing.verify import SIGHASH_ALL

_ORDER_OF_CURVE: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_DER_R_LENGTH_AT: Final = 3
_LOW_R_BYTES: Final = 32
_NO_AUX: Final = bytes(32)
"""BIP340's auxiliary randomness, fixed: the same order must give the same bytes, as Bitcoin Core's signer does too."""
_EVEN_Y: Final = 2
_RFC6979: Final = DEFAULT_NONCE[0]
"""libsecp256k1's own nonce function (a null pointer); what goes with it is 32 bytes of extra entropy."""


class HotSigner:
    """The `Signer` port over a key file and its journal. One process, one at a time; not across a fork."""

    def __init__(
        self,
        key_file: Path,
        journal_path: Path,
        network: Network,
        *,
        fee_max_sats: Sats,
        pay_max_sats: Sats | None = None,
        allow_mainnet_hot_keys: bool = False,
    ) -> None:
        """Read the keys, lock and prove the journal.

        Raises `ConfigError` (keys or permissions), `SignerUnavailable` (no key file, or another process signs),
        `JournalDamaged`.
        """
        self._keys = load_key_file(key_file, network, allow_mainnet_hot_keys=allow_mainnet_hot_keys)
        self._own = OwnScripts(self._keys.wallet)
        self._caps = Caps(fee_max_sats, pay_max_sats)
        self._turn = threading.Lock()
        self._journal = Journal(journal_path)
        self._closed = False

    @property
    def wallet(self) -> Wallet:
        """The public side of the keys."""
        return self._keys.wallet

    @property
    def journal_head(self) -> str:
        """The journal's head now."""
        return self._journal.head

    def lines_after(self, head: str) -> tuple[JournalLine, ...] | None:
        """The journal's lines after this head, oldest first; None if it never had that head."""
        with self._turn:
            return self._journal.lines_after(head)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the journal and its lock. Waits for an order that is being signed."""
        with self._turn:
            self._closed = True
            self._journal.close()

    def compare(self, journal_head: str) -> None:
        """Raise `StaleLedger` unless the journal's head is this one; `SignerUnavailable`, `JournalDamaged`."""
        with self._turn:
            self._open_anew()
            self._journal.compare(journal_head)

    def ask(self, order: SigningOrder) -> SignedAnswer:
        """Compare heads, check the order, journal it durably, sign it. The same order gives the same bytes.

        Raises `StaleLedger`, `SignerUnavailable`, `JournalDamaged`; `OrderRefused` if the order is not sound, before
        it is journalled; `InvariantBroken` if its batch and plan number were used for another order.
        """
        with self._turn:
            self._open_anew()
            entry = entry_of(order)
            standing = self._journal.standing(order.journal_head, entry)
            self._check(order, standing)
            if standing is Standing.NEW:
                self._journal.append(entry)
            return SignedAnswer(self._sign(order), self._journal.head)

    def _open_anew(self) -> None:
        """After an append that did not finish (a full disk, a job's timeout), go on from what is really in the file.

        A process that signs lives for months: a disk that was full for a second must not end its signing for good.
        """
        if not self._journal.unfinished or self._closed:
            return
        self._journal.close()
        self._journal = Journal(self._journal.path)

    def _check(self, order: SigningOrder, standing: Standing) -> None:
        problems = order_problems(order, self._own, journal_lines=len(self._journal))
        if not problems and standing is Standing.NEW:
            problems = cap_problems(order, self._caps)
        if problems:
            raise OrderRefused(order.batch_id, order.plan_number, problems)

    def _sign(self, order: SigningOrder) -> bytes:
        digests = Digests(order.unsigned, order.inputs)
        return with_signatures(
            order.unsigned, [self._sign_input(digests, at, planned) for at, planned in enumerate(order.inputs)]
        )

    def _sign_input(self, digests: Digests, at: int, planned: PlannedInput) -> InputSignature:
        key = PrivateKey(self._keys.secret_of(planned.own))
        if planned.own.kind is ScriptKind.P2TR:
            return InputSignature(b"", (_taproot_key(key).sign_schnorr(digests.taproot(at), _NO_AUX),))
        pubkey = key.public_key.format()
        signature = self._encode_ecdsa(_sign_ecdsa(key, digests.ecdsa(at, pubkey))) + SIGHASH_ALL
        if planned.own.kind is ScriptKind.P2PKH:
            return InputSignature(push(signature) + push(pubkey))
        return InputSignature(push(redeem_script_of(pubkey)) if planned.own.nested else b"", (signature, pubkey))

    def _encode_ecdsa(self, der: bytes) -> bytes:
        """How an ECDSA signature is spelled: strict DER, as libsecp256k1 wrote it."""
        return der


def _sign_ecdsa(key: PrivateKey, digest: bytes) -> bytes:
    """RFC 6979, low S, and R below 2^255 by counting up the extra entropy from 1: Bitcoin Core's `CKey::Sign`.

    Low R makes every signature at most 70 bytes long, so that sizes are known before signing.
    """
    der = key.sign(digest, hasher=None)
    counter = 0
    while der[_DER_R_LENGTH_AT] > _LOW_R_BYTES:
        counter += 1
        der = key.sign(digest, hasher=None, custom_nonce=(_RFC6979, counter.to_bytes(32, "little")))
    # A signature that a fault in memory or processor spoiled can give the key away; it does not leave this function.
    ensure(key.public_key.verify(der, digest, hasher=None), "a fresh signature does not verify")
    return der


def _taproot_key(key: PrivateKey) -> PrivateKey:
    """The key of the output: negated if its point has an odd y, then tweaked with no script tree (BIP341, BIP86)."""
    pubkey = key.public_key.format()
    if pubkey[0] != _EVEN_Y:
        key = PrivateKey((_ORDER_OF_CURVE - key.to_int()).to_bytes(32, "big"))
    return key.add(taproot_tweak(pubkey))
