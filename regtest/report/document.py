"""report.json: the rows, for another team's CI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from regtest.report.results import Result
from regtest.rpc import Rpc


@dataclass(frozen=True, slots=True)
class NodeVersion:
    """What the node under test calls itself: Core's number (290000 is 29.0), and its user agent."""

    version: int
    subversion: str

    @classmethod
    def of(cls, rpc: Rpc) -> Self:
        """Ask it."""
        info = rpc.getnetworkinfo()
        return cls(int(info["version"]), str(info["subversion"]))


def report_text(node: NodeVersion, results: Sequence[Result]) -> str:
    """The document."""
    document = {
        "node": {"version": node.version, "subversion": node.subversion},
        "results": [result.for_json() for result in results],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write_report(path: Path, node: NodeVersion, results: Sequence[Result]) -> None:
    """Write it, whole or not at all."""
    scratch = path.with_suffix(".new")
    scratch.write_text(report_text(node, results), encoding="utf-8")
    scratch.replace(path)
