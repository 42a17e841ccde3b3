"""Bulk files: all or nothing, every bad line told at once, nothing guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.bench import SATS
from tests.unit.front_desk import FrontDesk, customer_address
from withdrawals import bulk
from withdrawals.core.model import WithdrawalState
from withdrawals.core.types import MAX_MONEY, Network
from withdrawals.errors import MalformedFile
from withdrawals.processor import Processor

A, B, MAIN = customer_address(1), customer_address(2), customer_address(1, network=Network.MAINNET)
HEADER = "request_id,address,sats"


@pytest.fixture
def processor(desk: FrontDesk) -> Iterator[Processor]:
    with desk.open() as opened:
        yield opened


def problems_of(processor: Processor, desk: FrontDesk, name: str, text: str | bytes) -> list[tuple[int, str]]:
    """(line, code) of everything wrong with a file of this name and text; nothing may have been stored."""
    path = desk.directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = desk.content_hash()
    with pytest.raises(MalformedFile) as refused:
        processor.enqueue_file(path)
    assert desk.content_hash() == before
    return [(line, code) for line, code, _ in refused.value.problems]


def accepted(processor: Processor, desk: FrontDesk, name: str, text: str | bytes) -> list[tuple[str, str, int]]:
    """(request id, address, sats) of what a file of this name and text came to."""
    path = desk.directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(w.request_id, w.address, w.sats) for w in processor.enqueue_file(path)]


def line_of(request_id: str, address: str, **amount: object) -> str:
    """A line of a JSONL file."""
    return json.dumps({"request_id": request_id, "address": address, **amount}, ensure_ascii=False)


GOOD = [("one", A, 50_000), ("two", B, 100_000)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.csv", f"{HEADER}\none,{A},50000\ntwo,{B},100000\n"),
        ("f.CSV", f"{HEADER}\r\none,{A},50000\r\ntwo,{B},100000"),
        ("f.csv", f"\ufeff{HEADER}\none,{A},50000\n\ntwo,{B},100000\n"),
        ("f.csv", f'"address","btc","request_id"\n"{A}","0.0005","one"\n"{B}","0.001","two"\n'),
        ("f.csv", f"request_id,address,sats,btc\none,{A},50000,\ntwo,{B},,0.001\n"),
        ("f.jsonl", f"{line_of('one', A, sats=50_000)}\n{line_of('two', B, btc='0.001')}"),
        ("f.jsonl", f"\n{line_of('one', A, sats='50000')}\r\n\n  {line_of('two', B, sats=100_000)}\n"),
    ],
)
def test_good_files_are_read_whatever_their_form(processor: Processor, desk: FrontDesk, name: str, text: str) -> None:
    assert accepted(processor, desk, name, text) == GOOD
    assert [w.request_id for w in processor.list_withdrawals([WithdrawalState.QUEUED])] == ["queued", "one", "two"]


def test_the_same_file_again_gives_the_same_answers(processor: Processor, desk: FrontDesk) -> None:
    path = desk.directory / "f.csv"
    path.write_text(f"{HEADER}\none,{A},50000\ntwo,{B},100000\n")
    first = processor.enqueue_file(path)
    before = desk.content_hash()
    assert processor.enqueue_file(path) == first
    assert desk.content_hash() == before


def test_a_repeated_line_is_the_same_request(processor: Processor, desk: FrontDesk) -> None:
    """However its address is written."""
    text = f"{HEADER}\none,{A},50000\none,{A.upper()},50000\n"
    path = desk.directory / "f.csv"
    path.write_text(text)
    first, again = processor.enqueue_file(path)
    assert first == again


def test_every_bad_line_is_told_at_once_whatever_is_wrong_with_it(processor: Processor, desk: FrontDesk) -> None:
    """What parses badly, what the ledger knows otherwise, and what another line says otherwise."""
    ours, mine = desk.day.our_address, processor.show("queued").withdrawal.address
    lines = [
        HEADER,
        f"good,{A},50000",
        f"main,{MAIN},50000",
        f"dust,{A},1",
        f"good,{A},50001",
        f"queued,{A},{SATS}",
        f"queued,{mine},{SATS}",
        f"ours,{ours},50000",
        f"two words,{A},50000",
        f"much,{A},{MAX_MONEY + 1}",
        f"none,{A},",
        f",{A},50000",
        "nowhere,,50000",
        f"short,{A}",
        f"long,{A},50000,and more",
        f"fraction,{A},1000.5",
    ]
    assert problems_of(processor, desk, "f.csv", "\n".join(lines)) == [
        (3, "address_wrong_network"),
        (4, "dust"),
        (5, "duplicate_request"),
        (6, "duplicate_request"),
        (8, "address_is_ours"),
        (9, "malformed_id"),
        (10, "invalid_amount"),
        (11, "invalid_amount"),
        (12, "malformed_line"),
        (13, "malformed_line"),
        (14, "malformed_line"),
        (15, "malformed_line"),
        (16, "invalid_amount"),
    ]


def test_both_lines_that_disagree_are_named(processor: Processor, desk: FrontDesk) -> None:
    path = desk.directory / "f.csv"
    path.write_text(f"{HEADER}\none,{A},50000\ntwo,{A},50000\none,{B},50000\n")
    with pytest.raises(MalformedFile) as refused:
        processor.enqueue_file(path)
    ((line, code, words),) = refused.value.problems
    assert (line, code) == (4, "duplicate_request")
    assert words == "request_id: 'one' has another body in line 2"


@pytest.mark.parametrize(
    "line",
    [
        "one",
        "[]",
        "null",
        "{",
        '{"request_id":"one"}',
        f'{{"address":"{A}","sats":50000}}',
        f'{{"request_id":1,"address":"{A}","sats":50000}}',
        f'{{"request_id":"one","address":["{A}"],"sats":50000}}',
        f'{{"request_id":"one","address":"{A}","sats":50000,"memo":"thanks"}}',
        f'{{"request_id":"one","address":"{A}","sats":50000,"sats":1}}',
        f'{{"request_id":"one","request_id":"two","address":"{A}","sats":50000}}',
        f'{{"request_id":"one","address":"{A}","sats":50000.0}}',
        f'{{"request_id":"one","address":"{A}","btc":0.0005}}',
        f'{{"request_id":"one","address":"{A}","sats":5e4}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_request_is_a_malformed_line(processor: Processor, desk: FrontDesk, line: str) -> None:
    good = line_of("good", A, sats=50_000)
    assert problems_of(processor, desk, "f.jsonl", f"{good}\n{line}\n{good}\n") == [(2, "malformed_line")]


@pytest.mark.parametrize(
    "amount",
    [
        {},
        {"sats": 50_000, "btc": "0.0005"},
        {"sats": None},
        {"sats": True},
        {"sats": -1},
        {"sats": []},
        {"sats": "0x10"},
        {"btc": 1},
        {"btc": "1e-3"},
        {"sats": 10**30},
    ],
    ids=str,
)
def test_an_amount_without_one_clear_unit_is_refused(processor: Processor, desk: FrontDesk, amount: object) -> None:
    assert isinstance(amount, dict)
    assert problems_of(processor, desk, "f.jsonl", line_of("one", A, **amount)) == [(1, "invalid_amount")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.csv", ""),
        ("f.csv", "\n\n"),
        ("f.csv", f"{HEADER}\n"),
        ("f.csv", f"one,{A},50000\n"),
        ("f.csv", f"request_id,address\none,{A}\n"),
        ("f.csv", f"request_id,address,sats,sats\none,{A},50000,1\n"),
        ("f.csv", f"request_id,address,sats,memo\none,{A},50000,thanks\n"),
        ("f.csv", f"Request_ID,Address,Sats\none,{A},50000\n"),
        ("f.csv", f"{HEADER}\none;{A};50000\n".replace(",", ";")),
        ("f.csv", f"{HEADER}\none,{A},50000\n".encode("utf-16")),
        ("f.jsonl", b"\xff\xfe"),
        ("f.jsonl", "  \n"),
        ("f.json", f'[{{"request_id":"one","address":"{A}","sats":50000}}]'),
        ("f", f"{HEADER}\none,{A},50000\n"),
    ],
)
def test_a_file_that_is_none_is_refused_as_a_whole(
    processor: Processor, desk: FrontDesk, name: str, text: str | bytes
) -> None:
    assert problems_of(processor, desk, name, text) == [(0, "malformed_file")]


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(
    processor: Processor, desk: FrontDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{HEADER}\none,{A},50000\n"
    monkeypatch.setattr(bulk, "BYTES_MAX", len(text) - 1)
    assert problems_of(processor, desk, "f.csv", text) == [(0, "malformed_file")]
    monkeypatch.setattr(bulk, "BYTES_MAX", len(text))
    assert accepted(processor, desk, "f.csv", text) == [("one", A, 50_000)]


def test_where_the_quotes_break_what_was_read_before_is_told_too(processor: Processor, desk: FrontDesk) -> None:
    text = f'{HEADER}\none,{MAIN},50000\n"two"x,{A},50000\nthree,{A},0\n'
    assert problems_of(processor, desk, "f.csv", text) == [(2, "address_wrong_network"), (3, "malformed_line")]


def test_line_numbers_are_those_of_an_editor(processor: Processor, desk: FrontDesk) -> None:
    """Blank lines count, and characters that only Python takes for line ends do not."""
    good, odd = line_of("good", A, sats=50_000), line_of("a\u2028b\x0c", A, sats=50_000)
    assert problems_of(processor, desk, "f.jsonl", f"\n{good}\n\n{odd}\n{good}") == [(4, "malformed_id")]


def test_a_thousand_bad_lines_are_all_there_and_twenty_are_in_the_message(desk: FrontDesk) -> None:
    path = desk.directory / "f.csv"
    path.write_text(HEADER + f"\nbad,{MAIN},50000" * 1_000)
    said = desk.says("enqueue", "--file", str(path), "--json")
    assert said.code == 3
    assert [p["line"] for p in said.json["error"]["problems"]] == list(range(2, 1_002))
    assert said.json["error"]["message"].endswith("; and 980 more")
    assert said.err.count("\n") == 1_001


def test_the_command_line_stores_all_of_a_file_or_nothing(desk: FrontDesk) -> None:
    path = desk.directory / "f.csv"
    path.write_text(HEADER + "".join(f"\nbulk-{n},{A},{50_000 + n}" for n in range(300)))
    said = desk.says("enqueue", "--file", str(path), "--json")
    assert (said.code, len(said.json)) == (0, 300)
    assert len(desk.says("list", "--state", "queued", "--limit", "1000", "--json").json) == 301
    before = desk.content_hash()
    path.write_text(HEADER + "".join(f"\nmore-{n},{A},{50_000 + n}" for n in range(300)) + f"\nlast,{A},1")
    assert desk.says("enqueue", "--file", str(path)).code == 3
    assert desk.content_hash() == before


def test_a_file_may_be_read_from_a_path_object(processor: Processor, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(f"{HEADER}\none,{A},50000\n")
    assert processor.enqueue_file(path)[0].request_id == "one"


def test_long_work_shows_how_far_it_has_come_where_somebody_watches(
    desk: FrontDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar on a terminal's standard error; nothing in a log, and never on standard output."""
    path = desk.directory / "f.csv"
    path.write_text(HEADER + "".join(f"\nbulk-{n},{A},{50_000 + n}" for n in range(200)))
    quiet = desk.says("enqueue", "--file", str(path), "--json")
    assert quiet.err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    watched = desk.says("enqueue", "--file", str(path), "--json")
    assert watched.json == quiet.json
    assert [word for word in ("checking", "storing", "100%") if word in watched.err] == ["checking", "storing", "100%"]
