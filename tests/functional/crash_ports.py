"""A composition root whose ports count every call, and end the process at one of them the way a power cut does.

`Meter.wrap` is the hook that `Parts` offers to harnesses: it stands around the ledger (each begin, commit and read),
the chain, the broadcaster, the fees, the bell and the signer. Calls are numbered over all ports together, from 1.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from typing import Any

from withdrawals.ports import Ledger, LedgerTx, LedgerView


class When(StrEnum):
    """On which side of a call something happens."""

    BEFORE = "before"
    AFTER = "after"


Deed = Callable[[str], None]
"""What happens at the chosen call; told its name."""


def die(call: str) -> None:
    """SIGKILL from ourselves: no handler, no `finally`, no flush."""
    del call
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Meter:
    """Counts calls of ports. At call number `number`, or at every call named `name`, `deed` happens."""

    deed: Deed = die
    when: When = When.BEFORE
    number: int | None = None
    name: str | None = None
    calls: list[str] = field(default_factory=list)
    """The names of all calls so far: `ledger.begin`, `chain.fetch_tip`, `signer.ask`, …"""

    def wrap(self, port: str, adapter: object) -> object:
        """The hook for `Parts`."""
        if port == "ledger":
            return _CountedLedger(adapter, self)  # type: ignore[arg-type] # the hook is untyped
        return _Counted(port, adapter, self)

    @contextmanager
    def around(self, call: str) -> Iterator[None]:
        """One call: counted, and perhaps the fatal one."""
        self.calls.append(call)
        chosen = call == self.name or len(self.calls) == self.number
        if chosen and self.when is When.BEFORE:
            self.deed(call)
        yield
        if chosen and self.when is When.AFTER:
            self.deed(call)


class _Counted:
    """Any port whose methods are calls."""

    def __init__(self, port: str, adapter: object, meter: Meter) -> None:
        self._port, self._adapter, self._meter = port, adapter, meter

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever the adapter has
        found = getattr(self._adapter, name)
        if name == "close" or not callable(found):
            return found

        @wraps(found)
        def call(*args: object, **named: object) -> object:
            with self._meter.around(f"{self._port}.{name}"):
                return found(*args, **named)

        return call


class _CountedLedger:
    """The ledger: a transaction is two calls, its beginning and its commit; a read is one."""

    def __init__(self, ledger: Ledger, meter: Meter) -> None:
        self._ledger, self._meter = ledger, meter

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- backup, content_hash, close
        return getattr(self._ledger, name)

    @contextmanager
    def begin(self) -> Iterator[LedgerTx]:
        transaction = self._ledger.begin()
        with self._meter.around("ledger.begin"):
            tx = transaction.__enter__()
        try:
            yield tx
        except BaseException as error:
            if not transaction.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            with self._meter.around("ledger.commit"):
                transaction.__exit__(None, None, None)

    @contextmanager
    def read(self) -> Iterator[LedgerView]:
        snapshot = self._ledger.read()
        with self._meter.around("ledger.read"):
            view = snapshot.__enter__()
        try:
            yield view
        except BaseException as error:
            if not snapshot.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            snapshot.__exit__(None, None, None)
