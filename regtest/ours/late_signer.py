"""A signer whose answers do not arrive: it writes the order down, signs, and the line is dead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from withdrawals.errors import SignerUnavailable
from withdrawals.ports import SignedAnswer, Signer, SigningOrder

Wrap = Callable[[str, object], object]
FLAG: Final = "signer-is-not-heard"
"""While a file of this name lies beside the configuration nobody hears the signer. So it works over processes, too."""


class LateSigner:
    """The `Signer` port over a real one."""

    def __init__(self, signer: Signer, flag: Path) -> None:
        self._signer, self._flag = signer, flag

    def compare(self, journal_head: str) -> None:
        """As the signer does it."""
        self._signer.compare(journal_head)

    def ask(self, order: SigningOrder) -> SignedAnswer:
        """The order is journalled and signed. Raises SignerUnavailable where the answer is not heard."""
        answer = self._signer.ask(order)
        if self._flag.exists():
            raise SignerUnavailable("the signer does not answer")
        return answer

    def close(self) -> None:
        """Let go of keys and journal."""
        close = getattr(self._signer, "close", None)
        if close is not None:
            close()


def late(flag: Path) -> Wrap:
    """The hook for `Parts` that puts it in front of the real signer."""

    def wrap(port: str, adapter: object) -> object:
        return LateSigner(adapter, flag) if port == "signer" else adapter  # type: ignore[arg-type] # as typed

    return wrap
