"""Our processor's real worker processes: each runs its command, and is woken through Redis."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from regtest.nursery import ForkedChild, Nursery
from regtest.ours.premises import Premises
from regtest.process import Child, ChildFailed
from regtest.processor import Signing
from regtest.waiting import wait_for
from withdrawals.bootstrap import Parts
from withdrawals.core.model import Attempt, BatchState, PlanState
from withdrawals.core.types import Wtxid
from withdrawals.ports import LedgerView
from withdrawals.steps.broadcast import attempts_to_send
from workers.sweeper import RESENDABLE, rings_due

_ROUND_TIMEOUT_S: Final = 60.0
_QUEUE_WAITS_S: Final = 5
"""The sweeper has a planner look at the queue every second: what is there after so many looks stays there, on a busy
machine, too."""
_SERVES: Final = "serving the queue"
"""What a worker says when it takes jobs from now on. A follower and a sweeper never say so, and serve none."""
_SERVING_ROLES: Final = ("worker", "signer")
_OURS: Final = "withdrawals"
_OWN_SIGNER: Final = "regtest.ours.sign_worker"
_LOADED: Final = ("withdrawals.cli", _OWN_SIGNER)
_nurseries: Final[list[Nursery]] = []
_founding: Final = threading.Lock()
_FAR_AHEAD_S: Final = 1 << 40
"""A resend interval that never ends: `rings_due` then names only what was never done."""


class WorkerProcesses:
    """One process for each role: planning and sending, signing, following, sweeping."""

    uses_redis = True
    resend_interval_s = 1

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._commands: dict[str, Sequence[str]] = {}
        self._premises: Premises | None = None
        self._are_two = self._are_supervised = False
        self._awaited: list[tuple[Child, int]] = []
        """Who does not serve its queue yet, and how long its output was before."""
        self._all_serve_since = 0

    def start(self, premises: Premises) -> None:
        """Spawn them all; they find what waits for them."""
        self._premises = premises
        self._spawn(_commands(premises))

    def stop(self) -> None:
        """End them in order."""
        children, self._children, self._awaited, self._are_two = self._children, [], [], False
        for child in children:
            child.ask_to_end()
        for child in children:
            child.terminate()

    def kill(self) -> None:
        """SIGKILL to each of them."""
        children, self._children, self._awaited, self._are_two = self._children, [], [], False
        for child in children:
            child.kill9()

    def round_twice(self, parts: Parts) -> None:
        """A second process for each role from now on, if there is none yet; then a round."""
        if self._premises is not None and not self._are_two:
            self._spawn({f"second-{role}": command for role, command in _commands(self._premises).items()})
            self._are_two = True
        self.round(parts)

    def use_late_signer(self) -> None:
        """The signing process ends, and another takes its place."""
        if self._premises is None:
            raise RuntimeError("its workers were not started")
        [signer] = [child for child in self._children if child.name == "withdrawals-signer"]
        signer.terminate()
        self._children.remove(signer)
        self._awaited = [(child, before) for child, before in self._awaited if child is not signer]
        self._spawn({"signer": _own_signer(self._premises)})

    def supervise(self) -> None:
        """From now on a process that ends by itself is started again, as `withdrawals run` does it."""
        self._are_supervised = True

    def _spawn(self, commands: Mapping[str, Sequence[str]]) -> None:
        if self._premises is None:
            raise RuntimeError("its workers were not started")
        for role, command in commands.items():
            child = _child(f"withdrawals-{role}", self._premises.directory / f"{role}.txt")
            said_before = child.output_path.stat().st_size if child.output_path.exists() else 0
            child.spawn(command)
            if role.endswith(_SERVING_ROLES):
                self._awaited.append((child, said_before))
            self._children.append(child)
            self._commands[child.name] = command

    def round(self, parts: Parts) -> None:
        """Wait until they have nothing left to do. Raises `ChildFailed`, `WaitTimeout`."""
        with parts.ledger.read() as view:
            # Of all attempts: what is buried as far as the ledger knows may have come back in a reorg.
            batches = [view.load_batch(batch_id) for batch_id in view.list_batches(set(BatchState))]
            sent_before = {a.wtxid: a.sent_at for batch in batches if batch is not None for a in batch.attempts}
        began = parts.clock.now()
        wait_for(
            lambda: self._is_over(parts, sent_before, began), "the workers to finish their round", _ROUND_TIMEOUT_S
        )

    def _is_over(self, parts: Parts, sent_before: Mapping[Wtxid, int | None], began: int) -> bool:
        if not self._children:
            raise ChildFailed("withdrawals", "was killed", "")
        for child in self._children:
            if not self._are_supervised:
                child.require_alive()
            elif not child.alive:
                child.spawn(self._commands[child.name])
        if not self._all_serve(parts):
            return False
        node = parts.chain.fetch_tip().block
        with parts.ledger.read() as view:
            tip = view.load_tip()
            if tip is None or tip.hash != node.hash:
                return False
            stopped = bool(view.load_breaker()) or view.load_pause() is not None
            due = [job for job, _ in rings_due(view, parts.clock.now(), _FAR_AHEAD_S)]
            gate = view.load_gate()
            if gate is not None and gate.tip == node.hash and gate.judged_at > began:
                due = [job for job in due if job != "reissue"]  # it was looked at here, and waits
                if gate.judged_at > max(began, self._all_serve_since) + _QUEUE_WAITS_S:
                    due = [job for job in due if job != "plan"]  # so was the queue, more than once: no coins for it
            if self._has_signed_unheard(view):
                due = [job for job in due if job != "sign"]
            return all(job != "broadcast" and stopped for job in due) and all(
                a.sent_at not in {None, sent_before.get(a.wtxid)} for a in _waiting_attempts(view)
            )

    def _has_signed_unheard(self, view: LedgerView) -> bool:
        """Whether the signer is not heard, and whatever it was to be asked stands in its journal."""
        if self._premises is None or not self._premises.late_signer.exists():
            return False
        batches = [view.load_batch(batch_id) for batch_id in view.list_batches(set(BatchState))]
        plans = [plan for batch in batches if batch is not None for plan in batch.plans]
        asked = sum(plan.state is not PlanState.PLANNED for plan in plans)
        journalled = self._premises.journal.read_bytes().count(b"\n") if self._premises.journal.exists() else 0
        return asked == len(plans) <= journalled

    def _all_serve(self, parts: Parts) -> bool:
        """Whether jobs are taken: on a busy machine a process may take longer to start than its work takes."""
        if self._awaited:
            self._awaited = [(child, before) for child, before in self._awaited if not _serves(child, before)]
            self._all_serve_since = parts.clock.now()
        return not self._awaited


def _serves(child: Child, said_before: int) -> bool:
    return _SERVES.encode() in child.output_path.read_bytes()[said_before:]


def _waiting_attempts(view: LedgerView) -> Iterator[Attempt]:
    """The bytes that should be sent now and again: of every batch the newest that a block could take."""
    for batch_id in view.list_batches(RESENDABLE):
        batch = view.load_batch(batch_id)
        if batch is not None:
            outpoints = {o for p in batch.plans for o in p.prevouts}
            unspent = view.load_coins(outpoints).keys() - view.load_spends(outpoints).keys()
            yield from attempts_to_send(batch, unspent)[:1]


def _commands(premises: Premises) -> Mapping[str, Sequence[str]]:
    """The module and the words of each process; a signer that pads is no part of the product, and has its own."""
    ours, end = [_OURS, "--config", str(premises.config)], f"--end-with-parent={_parent_pid()}"
    signer = [*ours, "work", "--queue", "sign", end]
    if premises.signing is not Signing.SOUND:
        signer = _own_signer(premises)
    return {
        "worker": [*ours, "work", end],
        "signer": signer,
        "follower": [*ours, "follow", end],
        "sweeper": [*ours, "sweep", end],
    }


def _own_signer(premises: Premises) -> list[str]:
    """The harness's own signing process."""
    return [_OWN_SIGNER, str(premises.config), premises.signing]


class _Loading(Child):
    """A process that has to load its module first, where there are no pidfds and so no nursery."""

    def spawn(self, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
        """Start it: the command is the module and its words."""
        super().spawn([sys.executable, "-m", *command], environment=environment)


def _child(name: str, output_path: Path) -> Child:
    nursery = _nursery()
    return _Loading(name, output_path) if nursery is None else ForkedChild(name, output_path, nursery)


def _parent_pid() -> int:
    nursery = _nursery()
    return os.getpid() if nursery is None else nursery.pid


def _nursery() -> Nursery | None:
    """The one of this run; another if it has died."""
    if not hasattr(os, "pidfd_open"):
        return None
    with _founding:
        if not _nurseries or not _nurseries[-1].alive:
            _nurseries.append(Nursery(_LOADED))
        return _nurseries[-1]


@atexit.register
def _close_nurseries() -> None:
    for nursery in _nurseries:
        nursery.close()
