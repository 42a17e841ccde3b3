"""An event loop in a thread of its own, so that synchronous code can use one asynchronous client all its life.

A client of this kind is bound to the loop that it first ran in, so neither a loop per call nor a forked copy of a loop
can serve it. Threads do not survive a fork (RQ forks a process for every job): a child starts a loop and a client of
its own at first use, and leaves what it inherited alone, because closing that would reach into the parent's sockets.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

from withdrawals.errors import ensure

Client = TypeVar("Client")
Result = TypeVar("Result")

_STOP_TIMEOUT_S = 10.0


class _Worker(Generic[Client]):
    """One running loop with one open client."""

    def __init__(self, open_client: Callable[[], AbstractAsyncContextManager[Client]]) -> None:
        self._started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, Client, asyncio.Event]]
        self._started = concurrent.futures.Future()
        # A daemon: the interpreter must not wait at its exit for a node that is slow to answer.
        self._thread = threading.Thread(target=self._run, args=(open_client,), name="node-rpc", daemon=True)
        self._thread.start()
        self._loop, self._client, self._leave = self._started.result()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, work: Callable[[Client], Coroutine[Any, Any, Result]]) -> concurrent.futures.Future[Result]:
        return asyncio.run_coroutine_threadsafe(work(self._client), self._loop)

    def stop(self) -> None:
        if self.alive:
            self._loop.call_soon_threadsafe(self._leave.set)
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self, open_client: Callable[[], AbstractAsyncContextManager[Client]]) -> None:
        try:
            asyncio.run(self._serve(open_client))
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self, open_client: Callable[[], AbstractAsyncContextManager[Client]]) -> None:
        leave = asyncio.Event()
        async with open_client() as client:
            self._started.set_result((asyncio.get_running_loop(), client, leave))
            await leave.wait()
            unfinished = asyncio.all_tasks() - {asyncio.current_task()}
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)


class PerProcess(Generic[Client]):
    """Runs coroutines with one client per process, whichever thread asks, before and after a fork."""

    def __init__(self, open_client: Callable[[], AbstractAsyncContextManager[Client]]) -> None:
        self._open_client = open_client
        self._lock = threading.Lock()
        self._worker: _Worker[Client] | None = None
        self._inherited: list[_Worker[Client]] = []
        self._closed = False
        _everyone.add(self)

    def run(self, work: Callable[[Client], Coroutine[Any, Any, Result]], timeout_s: float) -> Result:
        """The result of `work(client)`.

        Raises what it raises; `concurrent.futures.CancelledError` if the loop was closed meanwhile, and `TimeoutError`
        if nothing came within `timeout_s`. Whatever ends the wait also ends the work.
        """
        # Under the lock, so that what is submitted is always seen, and cancelled, by a `close` that comes later.
        with self._lock:
            ensure(not self._closed, "the node's client was closed")
            if self._worker is None or not self._worker.alive:
                self._worker = _Worker(self._open_client)
            future = self._worker.submit(work)
        try:
            return future.result(timeout_s)
        finally:
            # A job's time limit or Ctrl-C can end the wait at any moment.
            future.cancel()

    def close(self) -> None:
        """End the client, its loop and its thread; calls under way are cancelled. Closing twice does nothing more."""
        with self._lock:
            self._closed = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def _after_fork_in_child(self) -> None:
        # The lock may have been held by a thread that does not exist here.
        self._lock = threading.Lock()
        if self._worker is not None:
            # Kept, so that no finaliser ever closes the parent's loop.
            self._inherited.append(self._worker)
            self._worker = None


_everyone: weakref.WeakSet[PerProcess[Any]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for per_process in list(_everyone):
        per_process._after_fork_in_child()  # noqa: SLF001 - this module's own


os.register_at_fork(after_in_child=_after_fork_in_child)
