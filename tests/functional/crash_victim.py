"""A process that runs the whole way of one withdrawal and is killed on it. Started as `python -m`, fed lines of JSON.

Importing everything takes a second, dying takes none. So this program imports once and forks for every order: each
victim is a process of its own, with its own connections, its own locks and its own death.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TextIO

from regtest.rpc import Rpc
from tests.functional.crash_ports import Meter, When
from tests.functional.world import AheadParts
from withdrawals.config import load_config
from withdrawals.errors import NotAllowed
from withdrawals.processor import Processor
from workers.inline import Inline
from workers.sweeper import sweep

FINAL_DEPTH: Final = 2
"""Every block is five calls, all alike: two of them show the way into a block, and deeper."""
BUMP: Final = "operator.bump"
BUMPED: Final = "operator.bumped"
"""Told among the calls, so that one sees where the way of a bump begins and ends."""
CONFLICT: Final = "block.conflict"
REISSUED: Final = "reissue.sent"
"""The same for the way from the block that leaves somebody unpaid to the re-issue that was sent for him."""
_EXIT_OK: Final = 0
_EXIT_ERROR: Final = 70


@dataclass(frozen=True, slots=True)
class Order:
    """One victim's life: what it pays, and the call at which it dies (`number` None: it lives)."""

    config: str
    request_id: str
    address: str
    sats: int
    mine_to: str
    node_port: int
    node_cookie: str
    ahead_s: int
    """How far its clock is ahead of this host's: a process that starts when the dead one's lease is over."""
    number: int | None = None
    when: str = When.BEFORE
    bump: bool = False
    """Whether an operator raises the fee while it waits in the mempool."""
    left_out: str = ""
    """A second request (id, address and satoshis) of the same batch, which the operator leaves out of that bump."""
    left_out_address: str = ""
    left_out_sats: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """How it ended: `signal` 0 for a process that came to its end; `calls` are the names of all calls it began."""

    signal: int
    status: int
    calls: tuple[str, ...]


def live(order: Order, meter: Meter) -> None:
    """Enqueue, plan, sign, broadcast, see it in a block, see it final; what the workers do, in one process."""
    parts = AheadParts(load_config(order.config), meter.wrap, order.ahead_s)
    node = Rpc(order.node_port, Path(order.node_cookie))
    inline = Inline(parts)
    Processor(parts).enqueue(order.request_id, order.address, sats=order.sats)
    if order.left_out:
        Processor(parts).enqueue(order.left_out, order.left_out_address, sats=order.left_out_sats)
    sweep(parts)
    inline.tick()
    if order.bump:
        with meter.around(BUMP), suppress(NotAllowed):  # not allowed: the one that died did it, and it is in a block
            without = [order.left_out] if order.left_out else []
            Processor(parts).bump(order.request_id, reason="it waits for too long", without=without, who="operator")
        inline.tick()
        meter.calls.append(BUMPED)
    if order.left_out:
        node.generatetoaddress(1, order.mine_to)
        meter.calls.append(CONFLICT)
        inline.tick()
        meter.calls.append(REISSUED)
    for _ in range(FINAL_DEPTH):
        node.generatetoaddress(1, order.mine_to)
        inline.tick()
    parts.close()


def run(order: Order) -> Report:
    """Fork, let it live, and see how it ended."""
    told, telling = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        os._exit(_live_and_tell(order, telling))
    os.close(telling)
    with os.fdopen(told, encoding="utf-8") as lines:
        calls = tuple(line.strip() for line in lines)
    _, status = os.waitpid(child, 0)
    return Report(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, os.waitstatus_to_exitcode(status), calls)


def _live_and_tell(order: Order, telling: int) -> int:
    """In the child: every call is told before it is made, so that the pipe knows where it died."""
    meter = Meter(number=order.number, when=When(order.when), calls=_Told(telling))
    try:
        live(order, meter)
    except Exception as error:  # noqa: BLE001 -- the only way out of a forked child is its exit status
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        return _EXIT_ERROR
    return _EXIT_OK


class _Told(list[str]):
    """A list that writes down what is appended to it, unbuffered."""

    def __init__(self, telling: int) -> None:
        super().__init__()
        self._telling = telling

    def append(self, call: str) -> None:
        super().append(call)
        os.write(self._telling, f"{call}\n".encode())


def main(orders: TextIO, reports: TextIO) -> None:
    """One report per order, a line each."""
    for line in orders:
        report = run(Order(**json.loads(line)))
        reports.write(json.dumps(asdict(report)) + "\n")
        reports.flush()


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
