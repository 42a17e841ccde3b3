"""A process that stops or dies at one call of one port: `python -m tests.functional.field_victims` and words.

    CONFIG CALL WHEN DEED send
    CONFIG CALL WHEN DEED enqueue REQUEST_ID ADDRESS SATS

`send` offers the bytes of every signed batch to the node, as a worker does; `enqueue` accepts one request, as an
exchange's backend does, and prints its state. CALL, WHEN and DEED are those of `tests.functional.interrupted`.
"""

from __future__ import annotations

import sys

from regtest.process import Child
from tests.functional.crash_ports import Meter, When
from tests.functional.interrupted import Interrupted
from tests.functional.world import World
from withdrawals.bootstrap import Parts
from withdrawals.config import load_config
from withdrawals.core.model import BatchState
from withdrawals.processor import Processor
from workers.jobs import broadcast_one


def main(config: str, call: str, when: str, deed: str, role: str, *request: str) -> None:
    """Play the role."""
    meter = Meter(deed=Interrupted(deed), when=When(when), name=call)
    parts = Parts(load_config(config), meter.wrap)
    if role == "enqueue":
        request_id, address, sats = request
        accepted = Processor(parts).enqueue(request_id, address, sats=int(sats))
        sys.stdout.write(f"{accepted.id} {accepted.state}\n")
    else:
        with parts.ledger.read() as view:
            signed = view.list_batches({BatchState.SIGNED})
        for batch_id in signed:
            broadcast_one(parts, batch_id)
    parts.close()


def spawn_victim(world: World, call: str, when: When, deed: str, *role: str) -> Child:
    """Start such a process on the files of a world."""
    program = [sys.executable, "-m", "tests.functional.field_victims", str(world.config_path)]
    return world.spawn_program([*program, call, when, deed, *role], name=f"victim-{role[0]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
