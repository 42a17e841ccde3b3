"""What happens right now, on the last line of a terminal: a person who waits wants to see that something moves."""

from __future__ import annotations

import logging
import sys
from typing import Final

from regtest.report.ink import Ink, Style
from regtest.report.story import short_ids

_CLEAR: Final = "\r\033[K"


class LiveLine(logging.Handler):
    """Shows the last sentence of the story, and nothing at all where there is no terminal."""

    def __init__(self, ink: Ink) -> None:
        super().__init__(logging.INFO)
        self._ink = ink

    def emit(self, record: logging.LogRecord) -> None:
        """Write the sentence over the one before."""
        if self._ink.colour:
            words = f"          … {short_ids(record.getMessage())}".replace("\n", " ")[: self._ink.width - 1]
            self._write(_CLEAR + self._ink.paint(words, Style.QUIET))

    def wipe(self) -> None:
        """Make room for a line that stays."""
        if self._ink.colour:
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
