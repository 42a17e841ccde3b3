"""How a terminal is written to: in colour and with drawn lines where a person sits at it, in plain text elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self, TextIO

_WIDTH_MAX: Final = 118
_WIDTH_MIN: Final = 80
_PLAIN_WIDTH: Final = 112


class Style(Enum):
    """What a piece of text means; its value is the terminal's code for it."""

    PLAIN = ""
    TITLE = "1"
    QUIET = "2"
    GOOD = "32"
    BAD = "1;31"
    ODD = "33"


@dataclass(frozen=True, slots=True)
class Ink:
    """Whether text is coloured, and how wide a line may be."""

    colour: bool
    width: int

    @classmethod
    def of(cls, stream: TextIO | None = None) -> Self:
        """What this stream takes. NO_COLOR (no-color.org) and TERM=dumb ask for plain text."""
        stream = stream or sys.stdout
        colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        width = shutil.get_terminal_size().columns if stream.isatty() else _PLAIN_WIDTH
        return cls(colour, max(_WIDTH_MIN, min(width, _WIDTH_MAX)))

    def paint(self, text: str, style: Style) -> str:
        """The text in its style, if there are styles here."""
        if not self.colour or style is Style.PLAIN or not text:
            return text
        return f"\033[{style.value}m{text}\033[0m"

    def line(self, width: int) -> str:
        """A horizontal line."""
        return self.paint(("─" if self.colour else "-") * width, Style.QUIET)
