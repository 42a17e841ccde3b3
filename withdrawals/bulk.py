"""Bulk requests from a CSV or JSONL file: every line is checked, and every bad one is reported, before any is stored.

CSV has a header line; JSONL has one object a line. The fields are `request_id`, `address` and exactly one of `sats` (a
whole number) and `btc` (a decimal string such as "0.001"): the unit is named, never guessed.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from withdrawals.core.amounts import parse_btc, parse_sats
from withdrawals.core.types import Network, Sats
from withdrawals.errors import InvalidAmount, MalformedFile, MalformedLine, TheirError
from withdrawals.steps.request import Request, parse_request

Problem: TypeAlias = tuple[int, str, str]
"""Line number from 1 (0: the whole file), error code, message."""
FIELDS: Final = frozenset({"request_id", "address", "sats", "btc"})
BYTES_MAX: Final = 64 * 1024 * 1024
ACCEPTED: Final = "a .csv file with a header line, or a .jsonl file, with request_id, address and sats or btc"


@dataclass(frozen=True, slots=True)
class Bulk:
    """What a file holds: the requests that parse, and every line that does not, each with its number from 1."""

    path: str
    parsed: tuple[tuple[int, Request], ...]
    problems: tuple[Problem, ...]


def read_bulk(path: Path, network: Network) -> Bulk:
    """Read and parse every line; bad lines are in the answer. Raises MalformedFile where there are no lines to read."""
    text = _read(path)
    rows = _csv_rows(path, text) if path.suffix.lower() == ".csv" else _jsonl_rows(text)
    parsed: list[tuple[int, Request]] = []
    problems: list[Problem] = []
    for line, row in rows:
        try:
            parsed.append((line, _request_of(row, network)))
        except TheirError as error:
            problems.append((line, error.code, str(error)))
    if not parsed and not problems:
        raise _no_bulk_file(path, f"holds no request; accepted: {ACCEPTED}")
    return Bulk(str(path), tuple(parsed), tuple(problems))


def _read(path: Path) -> str:
    if path.suffix.lower() not in {".csv", ".jsonl"}:
        raise _no_bulk_file(path, f"the name ends in {path.suffix!r}; accepted: {ACCEPTED}")
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES_MAX + 1)
        if len(raw) > BYTES_MAX:
            raise _no_bulk_file(path, f"larger than {BYTES_MAX} bytes; split it")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise _no_bulk_file(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _no_bulk_file(path, f"is not UTF-8: {error.reason}") from error


def _no_bulk_file(path: Path, why: str) -> MalformedFile:
    return MalformedFile(str(path), ((0, MalformedFile.code, why),))


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, object] | str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        header = next(reader, [])
        _check_header(path, header)
        for row in reader:
            if len(row) == len(header):
                yield reader.line_num, {name: cell for name, cell in zip(header, row, strict=True) if cell}
            elif row:
                yield reader.line_num, f"has {len(row)} fields, the header line {len(header)}"
    except csv.Error as error:
        # From here on no line can be told from the next.
        yield reader.line_num, f"is not CSV, and nothing after it was read: {error}"


def _check_header(path: Path, header: Sequence[str]) -> None:
    complete = {"request_id", "address"} <= set(header) and {"sats", "btc"} & set(header)
    if not complete or len(set(header)) != len(header) or set(header) - FIELDS:
        raise _no_bulk_file(path, f"the header line is {','.join(header)!r}; accepted: {ACCEPTED}, each once")


def _jsonl_rows(text: str) -> Iterator[tuple[int, Mapping[str, object] | str]]:
    # Only a line feed ends a line: JSON may hold other characters that Python takes for line ends.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=_no_float, object_pairs_hook=_no_repeats)
        except (ValueError, RecursionError) as error:
            yield number, f"is not JSON: {error}"
            continue
        yield number, row if isinstance(row, dict) else "is not a JSON object"


def _no_float(text: str) -> object:
    raise ValueError(f"{text} is a number with a fraction; write sats as a whole number, or btc as a string")


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _request_of(row: Mapping[str, object] | str, network: Network) -> Request:
    if isinstance(row, str):
        raise MalformedLine(row)
    unknown = sorted(str(k) for k in row.keys() - FIELDS)
    if unknown:
        raise MalformedLine(f"does not know {', '.join(unknown)}; accepted: {', '.join(sorted(FIELDS))}")
    texts = {}
    for name in ("request_id", "address"):
        value = row.get(name)
        if not isinstance(value, str):
            raise MalformedLine(f"{name}: {value!r} is not acceptable; accepted: a string")
        texts[name] = value
    return parse_request(texts["request_id"], texts["address"], _sats_of(row), network)


def _sats_of(row: Mapping[str, object]) -> Sats:
    if ("sats" in row) == ("btc" in row):
        raise InvalidAmount("amount", {k: row[k] for k in ("sats", "btc") if k in row}, "exactly one of sats and btc")
    return parse_sats(row["sats"], "sats") if "sats" in row else parse_btc(row["btc"], "btc")
