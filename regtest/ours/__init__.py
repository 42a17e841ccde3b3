"""Our processor as the harness knows one: the same protocol as the naive control, on the same node.

It works in one of two ways. `InlineWorkers` does every round in the caller's thread, so that a test decides what comes
first; `WorkerProcesses` are the real ones, woken through Redis, each started by its command. What a scenario sees is
the same: it enqueues, lets a round pass, and looks at the chain.
"""

from __future__ import annotations

from regtest.ours.premises import Premises
from regtest.ours.processes import WorkerProcesses
from regtest.ours.processor import OurProcessor
from regtest.ours.workers import InlineWorkers, Workers

__all__ = ["InlineWorkers", "OurProcessor", "Premises", "WorkerProcesses", "Workers"]
