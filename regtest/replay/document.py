"""report.json: the run's counts and every cell, for another team's CI."""

from __future__ import annotations

import json
from pathlib import Path

from regtest.replay.cells import Replay, rows_of


def document_text(replay: Replay) -> str:
    """The document."""
    document = {
        "node": {"version": replay.node.version, "subversion": replay.node.subversion},
        "summary": replay.summary,
        **({"broken": list(replay.broken)} if replay.broken else {}),
        "results": rows_of(replay.cells),
    }
    # Half of a surrogate pair, which an answer may hold, is no UTF-8; escaped it is JSON.
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_document(path: Path, replay: Replay) -> None:
    """Write it, whole or not at all."""
    scratch = path.with_suffix(".new")
    scratch.write_text(document_text(replay), encoding="utf-8")
    scratch.replace(path)
