"""Trouble with the disk or the server becomes one typed error, at whatever statement, commit or connection it shows."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import ExceptionContext

from withdrawals.errors import LedgerUnavailable

WhyUnavailable = Callable[[BaseException], str | None]
"""From the driver's error to words for people, or None where it is no such trouble."""


def name_troubles(engine: Engine, why_unavailable: WhyUnavailable) -> None:
    """Let this engine raise `LedgerUnavailable` instead of the driver's own error."""

    @event.listens_for(engine, "handle_error")
    def _named(context: ExceptionContext) -> LedgerUnavailable | None:
        words = why_unavailable(context.original_exception)
        return None if words is None else LedgerUnavailable(words)
