"""Every call that leaves a process: the ledger, the node, the signer, the files of the journal, the bell.

At each of them chance may let another process go on, let this one die, or let the call fail. Inside a transaction of
ours nobody else can run (the database would not let them), but a process can die there too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from withdrawals.ports import Ledger, LedgerTx, LedgerView, SignedAnswer, Signer, SigningOrder


class Edge(Protocol):
    """What a process's calls go past."""

    def cross(self, call: str, *, switch: bool = True) -> None:
        """Before a call. May raise what the call itself could raise, or Killed. `switch`: others may run first."""

    def after(self, call: str) -> None:
        """After a call took effect. May raise what a lost reply looks like, or Killed."""


class EdgedLedger:
    """The ledger: the beginning and the commit of a transaction are two calls, a read is one."""

    def __init__(self, ledger: Ledger, edge: Edge) -> None:
        self._ledger, self._edge = ledger, edge

    def begin(self) -> AbstractContextManager[LedgerTx]:
        """A write transaction."""
        return _Edged(self._ledger.begin(), self._edge, "ledger.begin", commit=True)

    def read(self) -> AbstractContextManager[LedgerView]:
        """A read snapshot."""
        return _Edged(self._ledger.read(), self._edge, "ledger.read", commit=False)

    def content_hash(self) -> str:
        """Over every row."""
        return self._ledger.content_hash()

    def backup(self, path: Path) -> None:
        """A consistent copy."""
        self._ledger.backup(path)

    def close(self) -> None:
        """Let go."""
        self._ledger.close()


class _Edged(AbstractContextManager[Any]):
    """One transaction."""

    def __init__(self, inner: AbstractContextManager[Any], edge: Edge, call: str, *, commit: bool) -> None:
        self._inner, self._edge, self._call, self._commits = inner, edge, call, commit

    def __enter__(self) -> Any:  # noqa: ANN401 -- a view or a transaction
        self._edge.cross(self._call)
        return self._inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if error is None and self._commits:
            try:
                self._edge.cross("ledger.commit", switch=False)
            except BaseException as death:
                self._inner.__exit__(type(death), death, death.__traceback__)
                raise
        swallowed = self._inner.__exit__(kind, error, trace)
        if error is None and self._commits:
            self._edge.after("ledger.commit")
        return swallowed


class EdgedPort:
    """Any port whose methods are calls."""

    def __init__(self, port: str, adapter: object, edge: Edge) -> None:
        self._port, self._adapter, self._edge = port, adapter, edge

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever the adapter has
        found = getattr(self._adapter, name)
        if name == "close" or not callable(found):
            return found
        call = f"{self._port}.{name}"

        @wraps(found)
        def edged(*args: object, **named: object) -> object:
            self._edge.cross(call)
            answer = found(*args, **named)
            self._edge.after(call)
            return answer

        setattr(self, name, edged)
        return edged


class EdgedSigner:
    """The signer. `asked` sees the order before the keys do, `signed` every answer, also one that nobody receives."""

    def __init__(
        self,
        signer: Signer,
        edge: Edge,
        *,
        asked: Callable[[SigningOrder], None],
        signed: Callable[[SigningOrder, SignedAnswer], SignedAnswer],
    ) -> None:
        self.inner, self._edge, self._asked, self._signed = signer, edge, asked, signed

    def compare(self, journal_head: str) -> None:
        """As the port says."""
        self._edge.cross("signer.compare")
        self.inner.compare(journal_head)

    def ask(self, order: SigningOrder) -> SignedAnswer:
        """As the port says."""
        self._edge.cross("signer.ask")
        self._asked(order)
        answer = self._signed(order, self.inner.ask(order))
        self._edge.after("signer.ask")
        return answer

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- close, wallet, lines_after
        return getattr(self.inner, name)
