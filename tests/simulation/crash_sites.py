"""Every place in our code that calls a port, found by reading the code: what the stories must have been to.

Port methods are read from `withdrawals.ports` itself, and the journal's file calls from the disk that stands under it;
nothing here names a place. What only looks need not be died at: a death in a module none of whose calls changes
anything leaves nothing behind. Those places are listed all the same.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.simulation import disk
from tests.simulation.crash_world import ROOT, Site
from withdrawals.ports import Bell, Broadcaster, ChainSource, FeeSource, Ledger, Signer

PACKAGES: Final = ("withdrawals", "workers")
IN_RQS_PLACE: Final = "queue.pop"
"""What the simulation does where RQ takes the next job: no call of our code's."""
BEHIND_A_PORT: Final = ("withdrawals/ledger/", "withdrawals/node/", "withdrawals/ports/")
"""Adapters: what is called, not who calls. The journal is one as well, and its files are what it calls."""
CHANGING: Final = frozenset({"ledger.begin", "broadcaster.send", "signer.ask", "bell.ring", "file"})
NOT_CALLS: Final = frozenset({"close"})
"""Letting go of a port."""
OTHERWISE: Final = {
    "ledger.backup": "copies with SQLite's own backup into a file that nobody reads until it is complete",
    "ledger.content_hash": "reads",
}
"""Calls of the ledger's port that are no transaction of ours, so that no process can be in the middle of one."""


def _methods(port: type) -> frozenset[str]:
    return frozenset(name for name in vars(port) if not name.startswith("_")) - NOT_CALLS


PORTS: Final = {
    "ledger": _methods(Ledger),
    "chain": _methods(ChainSource),
    "broadcaster": _methods(Broadcaster),
    "fees": _methods(FeeSource),
    "signer": _methods(Signer),
    "bell": _methods(Bell),
}
FILES: Final = frozenset(disk._CALLS)
"""What the journal asks of the operating system."""


@dataclass(frozen=True, order=True)
class Place:
    """A call in the code, from its first line to its last. `function`: its qualified name."""

    path: str
    function: str
    first: int
    last: int
    call: str

    def __str__(self) -> str:
        return f"{self.path}:{self.first} {self.function}: {self.call}"

    def is_reached_by(self, site: Site) -> bool:
        """Whether running code was seen here."""
        return (
            site.path == self.path
            and self.first <= site.line <= self.last
            and _as_written(site.call) in {self.call, "file" if self.call == "file" else ""}
        )


def _as_written(call: str) -> str:
    """What the code says where the simulation says this: a commit is the end of a begin."""
    if call.startswith("ledger.commit"):
        return "ledger.begin"
    return "file" if call.startswith("file.") else call


@dataclass(frozen=True)
class Uncovered:
    """Places that no story reached: those that `failing` must be reached, and those that only read."""

    failing: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()


def all_places(root: Path = ROOT) -> list[Place]:
    """Every call of a port in our code, but for the adapters behind them."""
    found: list[Place] = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = str(path.relative_to(root))
            if not name.startswith(BEHIND_A_PORT):
                found += places_in(name, path.read_text(encoding="utf-8"))
    return found


def places_in(path: str, text: str) -> list[Place]:
    """The same of one file."""
    return list(_walk(ast.parse(text), path, ()))


def _walk(node: ast.AST, path: str, names: tuple[str, ...]) -> Iterator[Place]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names = (*names, node.name)
    if isinstance(node, ast.Call) and (call := _call_of(node, path)) is not None:
        yield Place(path, ".".join(names), node.lineno, node.end_lineno or node.lineno, call)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, path, names)


def _call_of(node: ast.Call, path: str) -> str | None:
    """`port.method` or `file`; None: no call of a port."""
    function = node.func
    if isinstance(function, ast.Name):
        return "file" if function.id in FILES and path == JOURNAL else None
    if not isinstance(function, ast.Attribute):
        return None
    receiver = function.value
    port = (
        receiver.attr if isinstance(receiver, ast.Attribute) else receiver.id if isinstance(receiver, ast.Name) else ""
    )
    port = port.lstrip("_")
    if function.attr in PORTS.get(port, ()):
        call = f"{port}.{function.attr}"
        return None if call in OTHERWISE else call
    # Under another name than its port's, a method that no other port has still says whose it is.
    owners = [p for p, methods in PORTS.items() if function.attr in methods and function.attr.startswith("fetch_")]
    return f"{owners[0]}.{function.attr}" if owners else None


JOURNAL: Final = "withdrawals/signing/journal.py"


def uncovered_sites(seen: Iterable[Site], places: Collection[Place] | None = None) -> Uncovered:
    """What was not reached. A place that was reached and not found in the code fails, too: then the search is blind."""
    sites = [site for site in seen if site.call != IN_RQS_PLACE]
    known = list(all_places() if places is None else places)
    writing = {place.path for place in known if place.call in CHANGING}
    missing = [p for p in known if not any(p.is_reached_by(site) for site in sites)]
    blind = sorted({site for site in sites if not any(p.is_reached_by(site) for p in known)})
    return Uncovered(
        failing=(
            *(str(p) for p in missing if p.path in writing),
            *(f"{site} is reached, and the search of the code does not find it" for site in blind),
        ),
        reading=tuple(str(p) for p in missing if p.path not in writing),
    )
