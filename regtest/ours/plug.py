"""A power cut for workers that share our own process: from one moment on, no call of theirs comes through any more.

A thread cannot be killed. But all that a worker does to the world goes through the ports of its `Parts`, and these
can go dead: whatever it is at, it ends at its next call, and nothing that it had not committed is ever written.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from withdrawals.ports import Ledger, LedgerTx, LedgerView


class PowerCut(BaseException):
    """There is nobody left to catch this: code that survives errors must not survive it."""


class Plug:
    """What the ports of one worker hang on."""

    def __init__(self) -> None:
        self._pulled = threading.Event()

    def pull(self) -> None:
        """Every call from now on raises `PowerCut`."""
        self._pulled.set()

    def check(self) -> None:
        """Raise `PowerCut` if there is no power."""
        if self._pulled.is_set():
            raise PowerCut

    def wrap(self, port: str, adapter: object) -> object:
        """The hook that `Parts` offers."""
        return _Ledger(adapter, self) if port == "ledger" else _Port(adapter, self)  # type: ignore[arg-type] # as typed


class _Port:
    """Any port whose methods are calls."""

    def __init__(self, adapter: object, plug: Plug) -> None:
        self._adapter, self._plug = adapter, plug

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever the adapter has
        found = getattr(self._adapter, name)
        if name == "close" or not callable(found):
            return found

        @wraps(found)
        def call(*args: object, **named: object) -> object:
            self._plug.check()
            told = found(*args, **named)
            self._plug.check()
            return told

        return call


class _Ledger:
    """The ledger: what was not committed when the power went is rolled back, as the database does it by itself."""

    def __init__(self, ledger: Ledger, plug: Plug) -> None:
        self._ledger, self._plug = ledger, plug

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- backup, content_hash, close
        return getattr(self._ledger, name)

    @contextmanager
    def begin(self) -> Iterator[LedgerTx]:
        self._plug.check()
        with self._ledger.begin() as tx:
            yield tx
            self._plug.check()

    @contextmanager
    def read(self) -> Iterator[LedgerView]:
        self._plug.check()
        with self._ledger.read() as view:
            yield view
