"""The kept record of the first seed that caught each variant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.simulation.variants.model import Catch

CAUGHT: Final = Path(__file__).with_name("caught.json")


def load_caught() -> dict[str, Catch]:
    """By the variant's name."""
    if not CAUGHT.exists():
        return {}
    rows = json.loads(CAUGHT.read_text(encoding="utf-8"))
    return {row["variant"]: Catch(**row) for row in rows}


def save_caught(catches: Mapping[str, Catch]) -> None:
    """All of them."""
    rows = [asdict(catches[name]) for name in sorted(catches)]
    CAUGHT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
