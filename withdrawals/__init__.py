"""A Bitcoin withdrawal processor that transaction malleability cannot make pay twice.

import withdrawals
with withdrawals.open("withdrawals.toml") as processor:
    processor.enqueue("payout-2026-0001", "bcrt1q…", sats=150_000)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from withdrawals.config import Config
    from withdrawals.processor import Processor

__all__ = ["open"]


def open(config: Config | str | Path | None = None) -> Processor:  # noqa: A001 -- reads as it is meant: withdrawals.open
    """From a configuration, a path to one, or the file that $WITHDRAWALS_CONFIG names. Raises ConfigError."""
    from withdrawals.processor import open_processor  # noqa: PLC0415 -- importing a core module must not import adapters

    return open_processor(config)
