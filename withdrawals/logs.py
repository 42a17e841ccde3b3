"""Logging: one line per change of the world on standard error, a sentence with ids in it. Never a key or a seed."""

from __future__ import annotations

import logging
import sys
from typing import Final

FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
QUIET: Final = ("httpx", "httpcore", "alembic", "rq", "rq.worker", "asyncio")
"""Libraries whose chatter says nothing about money."""


def set_up_logs(level: str = "INFO") -> None:
    """Log to standard error from `level` up; libraries only from WARNING up."""
    logging.basicConfig(level=level, format=FORMAT, stream=sys.stderr, force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
