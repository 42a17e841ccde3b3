"""The signing process of a scenario whose signer pads or is late: `python -m regtest.ours.sign_worker CONFIG SIGNING`.

It is `withdrawals work --queue sign` in all but its parts.
"""

from __future__ import annotations

import sys
from pathlib import Path

from regtest.ours.late_signer import FLAG, late
from regtest.ours.padding import parts_for, without_lint
from regtest.processor import Signing
from withdrawals.config import load_config
from withdrawals.logs import set_up_logs
from workers.loops import end_with_parent
from workers.queue import work


def main(config: str, signing: str) -> None:
    """Serve the queue `sign` until told to stop."""
    set_up_logs()
    end_with_parent()
    how = Signing(signing)
    parts = parts_for(load_config(Path(config)), how, late(Path(config).with_name(FLAG)))
    try:
        with without_lint(how):
            work(parts, "sign")
    finally:
        parts.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
