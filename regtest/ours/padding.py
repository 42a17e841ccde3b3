"""Our own signer, made to pad: what Mt.Gox's signer did to its signatures, done to ours.

Both live in the harness and only here. The processor has no setting that changes how its signer spells a signature,
and none that turns the lint off; who wants to see what happens then must build another processor, as this file does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from unittest.mock import patch

from regtest.malleate.der import parse_signature
from regtest.processor import Signing
from withdrawals.bootstrap import Parts, Wrap
from withdrawals.config import Config
from withdrawals.core.model import PlannedInput
from withdrawals.errors import ConfigError
from withdrawals.ports import Signer, Verifier
from withdrawals.signing.hot import HotSigner

_ANY_HASHTYPE = b"\x01"


class PaddingSigner(HotSigner):
    """A hot signer with the bug of Mt.Gox's: every R carries a zero byte that it does not need."""

    def _encode_ecdsa(self, der: bytes) -> bytes:
        padded = parse_signature(der + _ANY_HASHTYPE).with_r_padded()
        return padded.encode()[: -len(_ANY_HASHTYPE)]


class PaddingParts(Parts):
    """The parts of a processor whose signer pads."""

    @cached_property
    def signer(self) -> Signer:
        """The keys, opened as ever, used as Mt.Gox used theirs."""
        if self.config.key_file is None or self.config.journal is None:
            raise ConfigError("key_file, journal: the signing process needs both; accepted: two paths")
        limits = self.config.policy.limits
        return PaddingSigner(
            self.config.key_file,
            self.config.journal,
            self.config.network,
            fee_max_sats=limits.fee_batch_max_sats,
            pay_max_sats=limits.batch_max_sats,
        )


class UncheckedParts(PaddingParts):
    """The same, and nobody verifies what the signer returns; use it inside `without_lint`."""

    @cached_property
    def verifier(self) -> Verifier:
        """One that finds no fault."""
        return _Blind()


class _Blind:
    """The `Verifier` port, with its eyes closed."""

    def verify(self, raw: bytes, inputs: Sequence[PlannedInput]) -> tuple[str, ...]:
        """No problem, whatever it is."""
        del raw, inputs
        return ()


def parts_for(config: Config, signing: Signing, wrap: Wrap | None = None) -> Parts:
    """The parts of a processor that signs like this; `wrap` stands around its ports."""
    match signing:
        case Signing.SOUND:
            return Parts(config, wrap)
        case Signing.PADDED:
            return PaddingParts(config, wrap)
        case Signing.PADDED_UNCHECKED:
            return UncheckedParts(config, wrap)


@contextlib.contextmanager
def without_lint(signing: Signing) -> Iterator[None]:
    """Inside, this process's signing step has no lint, if that is what the scenario is about.

    The step takes no argument for it, on purpose, so its module is changed from the outside.
    """
    if signing is not Signing.PADDED_UNCHECKED:
        yield
        return
    with patch("withdrawals.steps.sign.lint", lambda _raw, _plan: ()):
        yield
