"""junit.xml: one test case for every cell, as CI servers read it.

A suite is a processor; the class name is what kind of cell it is, then the processor. What was not played is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from regtest.replay.cells import Cell, Replay, Standing
from regtest.replay.words import ending_words, is_verdict_only, processors_of, speakable


def write_junit(path: Path, replay: Replay) -> None:
    """Write it, whole or not at all."""
    scratch = path.with_suffix(".new")
    scratch.write_text(junit_text(replay), encoding="utf-8")
    scratch.replace(path)


def junit_text(replay: Replay) -> str:
    """The document."""
    root = ET.Element("testsuites", {"name": "withdrawals-regtest", **_counts(replay.cells, replay.seconds)})
    for processor in processors_of(replay):
        cells = [cell for cell in replay.cells if cell.processor == processor]
        if cells:
            root.append(_suite(processor, cells, replay))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(processor: str, cells: Sequence[Cell], replay: Replay) -> ET.Element:
    counts = _counts(cells, sum(cell.seconds for cell in cells))
    suite = ET.Element("testsuite", {"name": speakable(processor), **counts})
    properties = ET.SubElement(suite, "properties")
    told = {"node": replay.node.subversion, "node_version": replay.node.version, "control": cells[0].is_control}
    for name, value in told.items():
        ET.SubElement(properties, "property", {"name": name, "value": speakable(str(value))})
    suite.extend(_case(cell) for cell in cells)
    return suite


def _case(cell: Cell) -> ET.Element:
    case = ET.Element(
        "testcase",
        {"classname": speakable(_class_name(cell)), "name": speakable(cell.id), "time": f"{cell.seconds:.3f}"},
    )
    if cell.standing is Standing.FAILED:
        message = cell.reasons[0] if cell.reasons else "no reason was given"
        failure = ET.SubElement(case, "failure", {"message": speakable(message), "type": speakable(cell.must)})
        failure.text = speakable("\n".join(_failure_lines(cell)))
    elif not cell.was_played:
        ET.SubElement(case, "skipped", {"message": speakable(": ".join((cell.standing, "; ".join(cell.reasons))))})
    return case


def _class_name(cell: Cell) -> str:
    """Kind and processor; a dot in a name would be a package to whoever reads it."""
    kind = "scenario" if cell.class_id is None else "class" if is_verdict_only(cell) else "matrix"
    return f"{kind}.{cell.processor.replace('.', '_')}"


def _failure_lines(cell: Cell) -> list[str]:
    return [
        cell.title,
        f"It must {cell.must}. It ended so: {ending_words(cell)}.",
        *(f"- {reason}" for reason in cell.reasons),
        "",
        *(f"{moment.height or '':>6}  {moment.label}: {moment.words}" for moment in cell.record.moments),
    ]


def _counts(cells: Sequence[Cell], seconds: float) -> dict[str, str]:
    failures = sum(cell.standing is Standing.FAILED for cell in cells)
    skipped = sum(not cell.was_played for cell in cells)
    counts = {"tests": len(cells), "failures": failures, "errors": 0, "skipped": skipped}
    return {**{name: str(count) for name, count in counts.items()}, "time": f"{seconds:.3f}"}
