"""Bulk requests from a CSV or JSONL file: every line is checked, and every bad one is reported, before any is stored.

CSV has a header line; JSONL has one object a line. The fields are `request_id`, `address` and exactly one of `sats` (a
whole number) and `btc` (a decimal string such as "0.001"): the unit is named, never guessed.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from withdrawals.core.amounts import parse_btc, parse_sats
from withdrawals.core.types import Network, Sats
from withdrawals.errors import InvalidAmount, MalformedFile, TheirError
from withdrawals.steps.request import Request, parse_request

FIELDS: Final = frozenset({"request_id", "address", "sats", "btc"})
BYTES_MAX: Final = 64 * 1024 * 1024
ACCEPTED: Final = "a .csv file with a header line, or a .jsonl file, with request_id, address and sats or btc"


def read_bulk(path: Path, network: Network) -> list[tuple[int, Request]]:
    """(line number from 1, parsed request) of every line. Raises MalformedFile with every bad line."""
    text = _read(path)
    rows = _csv_rows(path, text) if path.suffix.lower() == ".csv" else _jsonl_rows(text)
    parsed: list[tuple[int, Request]] = []
    problems: list[tuple[int, str, str]] = []
    for line, row in rows:
        try:
            parsed.append((line, _request_of(row, network)))
        except TheirError as error:
            problems.append((line, error.code, str(error)))
    if problems:
        raise MalformedFile(str(path), tuple(problems))
    if not parsed:
        raise MalformedFile(str(path), ((1, "malformed_file", f"holds no request; accepted: {ACCEPTED}"),))
    return parsed


def _read(path: Path) -> str:
    if path.suffix.lower() not in {".csv", ".jsonl"}:
        raise MalformedFile(
            str(path), ((0, "malformed_file", f"the name ends in {path.suffix!r}; accepted: {ACCEPTED}"),)
        )
    try:
        if path.stat().st_size > BYTES_MAX:
            raise MalformedFile(str(path), ((0, "malformed_file", f"larger than {BYTES_MAX} bytes; split it"),))
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise MalformedFile(str(path), ((0, "malformed_file", f"cannot be read: {error.strerror}"),)) from error
    except UnicodeDecodeError as error:
        raise MalformedFile(str(path), ((0, "malformed_file", f"is not UTF-8: {error.reason}"),)) from error


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, object] | str]]:
    reader = csv.DictReader(text.splitlines(), strict=True, restkey="(too many fields)")
    missing = {"request_id", "address"} - set(reader.fieldnames or ())
    if missing or not {"sats", "btc"} & set(reader.fieldnames or ()):
        raise MalformedFile(str(path), ((1, "malformed_file", f"the header line must name: {ACCEPTED}"),))
    try:
        for row in reader:
            yield reader.line_num, {k: v for k, v in row.items() if v not in {None, ""}}
    except csv.Error as error:
        yield reader.line_num, f"is not CSV: {error}"


def _jsonl_rows(text: str) -> Iterator[tuple[int, Mapping[str, object] | str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=_no_float)
        except (ValueError, RecursionError) as error:
            yield number, f"is not JSON: {error}"
            continue
        yield number, row if isinstance(row, dict) else "is not a JSON object"


def _no_float(text: str) -> object:
    raise ValueError(f"{text} is a number with a fraction; write sats as a whole number, or btc as a string")


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


class MalformedLine(TheirError):
    """A line of a bulk file is no request at all."""

    code = "malformed_line"
