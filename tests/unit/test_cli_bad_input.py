"""Bad input to every command and every call of the API: a typed error with a stable code, and nothing has changed.

One table drives both. A row is a call of the API; its command line follows from it, word by word. After each, the
ledger's content hash is what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import getmembers, isfunction

import pytest

from tests.unit.front_desk import FrontDesk, customer_address
from withdrawals.cli.main import cli
from withdrawals.core.types import MAX_MONEY, Network, ScriptKind
from withdrawals.errors import ConfigError, TheirError, WithdrawalsError, WorldError
from withdrawals.processor import Processor

ADDRESS = customer_address()
LEGACY = customer_address(kind=ScriptKind.P2PKH)
MAIN = customer_address(network=Network.MAINNET)
TAPROOT = customer_address(kind=ScriptKind.P2TR)
WHY = "a good reason"
GHOST = "nobody-asked-for-this"
OURS = "(an address of the hot wallet)"

# BIP173's and BIP350's checksums on each other's witness versions, for regtest.
V0_AS_BECH32M = "bcrt1qqyqszqgpqyqszqgpqyqszqgpqyqszqgpe6d8qf"
V1_AS_BECH32 = "bcrt1pqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqstl4x0w"
PAY_TO_ANCHOR = "bcrt1pfeesnyr2tx"


@dataclass(frozen=True)
class Row:
    """`method(*args, **options)` of the API fails with `code`; `words` where the command line differs from it.

    `words` None: the command line is `command args --option value`. Empty: it cannot be said there at all.
    """

    why: str
    code: str
    method: str
    args: tuple[object, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    words: tuple[str, ...] | None = None

    def command(self, desk: FrontDesk) -> list[str]:
        """The same as words of a command line."""
        if self.words is not None:
            return [str(_filled(w, desk)) for w in self.words]
        name = {"list_withdrawals": "list"}.get(self.method, self.method)
        options = [w for key, value in self.options.items() for w in (f"--{key.replace('_', '-')}", str(value))]
        return [name, *options, "--", *(str(_filled(a, desk)) for a in self.args)]

    def call(self, desk: FrontDesk) -> object:
        """The same on the API."""
        with desk.open() as processor:
            method: Callable[..., object] = getattr(processor, self.method)
            return method(*(_filled(a, desk) for a in self.args), **self.options)


def _filled(value: object, desk: FrontDesk) -> object:
    """Values that only the desk knows."""
    if value == OURS:
        return desk.day.our_address
    if isinstance(value, str) and value.startswith("@"):
        return str(desk.directory / value[1:])
    return value


def enqueue(why: str, code: str, address: object = ADDRESS, *, id: object = "new", **amount: object) -> Row:  # noqa: A002
    """A request with something wrong in it."""
    return Row(why, code, "enqueue", (id, address), amount or {"sats": 50_000})


def api_only(row: Row) -> Row:
    """A row with a value that no command line can carry."""
    return Row(row.why, row.code, row.method, row.args, row.options, ())


def by_hand(why: str, code: str, method: str, id: object, **options: object) -> Row:  # noqa: A002
    return Row(why, code, method, (id,), options or {"reason": WHY})


ADDRESSES = [
    enqueue("another network's address", "address_wrong_network", MAIN),
    enqueue("another network's base58", "address_wrong_network", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"),
    enqueue("a wrong bech32 checksum", "address_checksum", ADDRESS[:-1] + ("q" if ADDRESS[-1] != "q" else "p")),
    enqueue("a wrong base58 checksum", "address_checksum", LEGACY[:-1] + ("2" if LEGACY[-1] != "2" else "3")),
    enqueue("bech32m for witness version 0", "address_bech32_mixup", V0_AS_BECH32M),
    enqueue("bech32 for witness version 1", "address_bech32_mixup", V1_AS_BECH32),
    enqueue("mixed case", "address_mixed_case", ADDRESS[:10] + ADDRESS[10:].upper()),
    enqueue("pay-to-anchor, which anybody can spend", "address_unknown_program", PAY_TO_ANCHOR),
    enqueue("no address at all", "malformed_address", "my wallet"),
    enqueue("nothing as address", "malformed_address", ""),
    enqueue("a space behind the address", "malformed_address", f"{ADDRESS} "),
    enqueue("an address of the hot wallet", "address_is_ours", OURS),
    api_only(enqueue("bytes as address", "malformed_address", ADDRESS.encode())),
    api_only(enqueue("None as address", "malformed_address", None)),
]

AMOUNTS = [
    enqueue("negative satoshis", "invalid_amount", sats=-1),
    enqueue("zero satoshis", "invalid_amount", sats=0),
    enqueue("a fraction of a satoshi", "invalid_amount", sats="1000.5"),
    enqueue("an exponent", "invalid_amount", sats="1e6"),
    enqueue("thousands separators", "invalid_amount", sats="50_000"),
    enqueue("more than there will ever be, in satoshis", "invalid_amount", sats=MAX_MONEY + 1),
    enqueue("more than there will ever be, in BTC", "invalid_amount", btc="21000000.00000001"),
    enqueue("negative BTC", "invalid_amount", btc="-0.001"),
    enqueue("zero BTC", "invalid_amount", btc="0.00000000"),
    enqueue("nine decimals", "invalid_amount", btc="0.001000001"),
    enqueue("a comma", "invalid_amount", btc="0,001"),
    enqueue("not a number", "invalid_amount", btc="NaN"),
    enqueue("infinity", "invalid_amount", btc="inf"),
    enqueue("both units", "invalid_amount", sats=50_000, btc="0.0005"),
    Row("no amount", "invalid_amount", "enqueue", ("new", ADDRESS)),
    enqueue("one satoshi less than a P2WPKH output may hold", "dust", sats=293),
    enqueue("one satoshi less than a P2TR output may hold", "dust", TAPROOT, sats=329),
    enqueue("one satoshi less than a P2PKH output may hold", "dust", LEGACY, sats=545),
    api_only(enqueue("a float", "invalid_amount", sats=50_000.0)),
    api_only(enqueue("True", "invalid_amount", sats=True)),
    api_only(enqueue("BTC as a float", "invalid_amount", btc=0.001)),
    api_only(enqueue("BTC as an int", "invalid_amount", btc=1)),
]

IDS = [
    enqueue("an empty id", "malformed_id", id=""),
    enqueue("a space in the id", "malformed_id", id="two words"),
    enqueue("a line end behind the id", "malformed_id", id="payout-1\n"),
    enqueue("a letter that is not ASCII", "malformed_id", id="zażółć"),
    enqueue("129 characters", "malformed_id", id="x" * 129),
    enqueue("200 characters", "malformed_id", id="x" * 200),
    api_only(enqueue("a number as id", "malformed_id", id=7)),
    api_only(enqueue("a byte that no command line carries", "malformed_id", id="a\0b")),
    enqueue("an id with another amount", "duplicate_request", id="queued", sats=50_000),
    enqueue("an id with another address", "duplicate_request", id="queued", sats=100_000),
    enqueue("a paid id with another body", "duplicate_request", id="final"),
    enqueue("a cancelled id with another body", "duplicate_request", id="cancelled"),
]

STATES = [
    *(
        by_hand(f"{method} of an unknown id", "unknown_id", method, GHOST)
        for method in ("cancel", "hold", "release", "reject", "bump")
    ),
    *(
        by_hand(f"{method} of a malformed id", "malformed_id", method, "two words")
        for method in ("cancel", "hold", "bump")
    ),
    *(
        by_hand(f"{method} without a reason", "missing_reason", method, "queued", reason=reason)
        for method, reason in (("cancel", ""), ("hold", "  "), ("release", "ok"), ("reject", "x" * 1001))
    ),
    by_hand("bump without a reason", "missing_reason", "bump", "broadcast", reason=""),
    *(
        Row(why, code, "approve_reissue", (name,), {"reason": reason}, ("approve-reissue", name, "--reason", reason))
        for why, code, name, reason in (
            ("approve-reissue of an unknown id", "unknown_id", GHOST, WHY),
            ("approve-reissue of a malformed id", "malformed_id", "two words", WHY),
            ("approve-reissue without a reason", "missing_reason", "broadcast", ""),
            ("approve-reissue of what is in no batch", "not_allowed", "queued", WHY),
        )
    ),
    Row("recover without a reason", "missing_reason", "recover", (), {"reason": ""}),
    Row("accept-reorg without a reason", "missing_reason", "accept_reorg", (), {"reason": ""}, ("accept-reorg",)),
    Row("accept-reorg of none", "not_allowed", "accept_reorg", (), {"reason": WHY}, ("accept-reorg", "--reason", WHY)),
    Row("pause without a reason", "missing_reason", "pause", (), {"reason": ""}),
    Row("resume without a reason", "missing_reason", "resume", (), {"reason": " . "}),
    api_only(by_hand("None as reason", "missing_reason", "hold", "queued", reason=None)),
    api_only(by_hand("a nameless operator", "malformed_id", "hold", "queued", reason=WHY, who="")),
    *(
        by_hand(f"cancel of what is {state}", "not_allowed", "cancel", state)
        for state in ("asked", "broadcast", "confirmed", "final", "rejected")
    ),
    *(
        by_hand(f"reject of what is {state}", "not_allowed", "reject", state)
        for state in ("asked", "broadcast", "confirmed", "final", "cancelled")
    ),
    *(
        by_hand(f"hold of what is {state}", "not_allowed", "hold", state)
        for state in ("asked", "broadcast", "confirmed", "final", "cancelled", "rejected")
    ),
    *(
        by_hand(f"release of what is {state}, not held", "not_allowed", "release", state)
        for state in ("queued", "batched", "asked", "broadcast", "confirmed", "final", "cancelled", "rejected")
    ),
    by_hand("bump of what is in no batch", "not_allowed", "bump", "queued"),
    *(Row(f"retry of what is {s}", "not_allowed", "retry", (s,)) for s in ("queued", "asked", "broadcast", "final")),
]

LOOKS = [
    *(Row(f"{method} of an unknown id", "unknown_id", method, (GHOST,)) for method in ("show", "why", "retry")),
    Row("show of a malformed id", "malformed_id", "show", ("two words",)),
    Row("why of nothing", "unknown_id", "why", ("",)),
    Row("why of an output that nobody made", "unknown_id", "why", (f"{'ab' * 32}:0",)),
    Row("why of an output number beyond all", "unknown_id", "why", (f"{'ab' * 32}:{'9' * 5000}",)),
    Row("why of a whole file", "unknown_id", "why", ("x" * 50_000,)),
    api_only(Row("why of a number", "unknown_id", "why", (7,))),
    api_only(Row("show of None", "malformed_id", "show", (None,))),
    Row("events from before the first", "out_of_range", "events", (), {"after": -1}),
    Row("events from beyond counting", "out_of_range", "events", (), {"after": 2**64}),
    Row("no events at all", "out_of_range", "events", (), {"limit": 0}),
    Row("all events at once", "out_of_range", "events", (), {"limit": 10_001}),
    api_only(Row("events after text", "out_of_range", "events", ("1",))),
    Row("list from before the first", "out_of_range", "list_withdrawals", (), {"after_seq": -1}),
    Row("list without limit", "out_of_range", "list_withdrawals", (), {"limit": -1}),
    Row(
        "list of a state that is none",
        "unknown_id",
        "list_withdrawals",
        (["paid"],),
        words=("list", "--state", "queued", "--state", "paid"),
    ),
    Row("an address of a descriptor that is not configured", "out_of_range", "address", (), {"wallet": 1}),
    Row("an address of no descriptor", "out_of_range", "address", (), {"wallet": -1}),
    by_hand("a feerate of zero", "out_of_range", "bump", "broadcast", reason=WHY, feerate=0),
    by_hand("a feerate above the cap", "out_of_range", "bump", "broadcast", reason=WHY, feerate=500_001),
    api_only(by_hand("a fractional feerate", "out_of_range", "bump", "broadcast", reason=WHY, feerate=2.5)),
    Row("a birthday before the first block", "out_of_range", "init", (), {"birthday_height": -1}),
    Row("a backup over a file that exists", "not_allowed", "backup", ("@ledger.db",)),
    Row("a backup into no directory", "not_allowed", "backup", ("@nowhere/copy.db",)),
    Row("a backup to nothing", "malformed_id", "backup", ("",)),
    api_only(Row("a backup to None", "malformed_id", "backup", (None,))),
]

FILES = [
    Row(why, code, "enqueue_file", args, words=("enqueue", "--file", *(str(a) for a in args)))
    for why, code, args in (
        ("a file that is not there", "malformed_file", ("@nothing.csv",)),
        ("a file of another kind", "malformed_file", ("@withdrawals.toml",)),
        ("a directory", "malformed_file", ("@folder.csv",)),
        ("a file without a line", "malformed_file", ("@empty.jsonl",)),
        ("a file without a header", "malformed_file", ("@headless.csv",)),
        ("a file that is not text", "malformed_file", ("@binary.csv",)),
        ("a file with one bad line among good ones", "malformed_file", ("@one_bad.csv",)),
        ("no path", "malformed_id", ("",)),
    )
]

WORLD = [
    Row("init with a node that does not answer", "node_unavailable", "init"),
    Row(
        "approve-reissue with a node that does not answer",
        "node_unavailable",
        "approve_reissue",
        ("broadcast",),
        {"reason": WHY},
        ("approve-reissue", "broadcast", "--reason", WHY),
    ),
    Row("a survey with a node that does not answer", "node_unavailable", "survey", words=("reconcile",)),
    by_hand("bump with a node that does not answer", "gate_closed", "bump", "broadcast", reason=WHY, feerate=9_000),
]
"""What is wrong is not the input: the exit code says so."""

TXID = "ab" * 32
FOREIGN = [
    by_hand("reconcile of a transaction that nobody saw", "unknown_id", "reconcile", TXID),
    by_hand("reconcile of no txid", "malformed_id", "reconcile", "sweep"),
    by_hand("reconcile without a reason", "missing_reason", "reconcile", TXID, reason=""),
    Row(
        "a binding to no id",
        "malformed_id",
        "reconcile",
        (TXID,),
        {"reason": WHY, "pays": {0: "two words"}},
        ("reconcile", TXID, "--pays", "0=two words", "--reason", WHY),
    ),
    Row(
        "a ruling on an output before the first",
        "out_of_range",
        "reconcile",
        (TXID,),
        {"reason": WHY, "other": [-1]},
        ("reconcile", TXID, "--other", "-1", "--reason", WHY),
    ),
    api_only(by_hand("a binding to a text", "out_of_range", "reconcile", TXID, reason=WHY, pays={"0": "queued"})),
]

TABLE = [*FOREIGN, *ADDRESSES, *AMOUNTS, *IDS, *STATES, *LOOKS, *FILES, *WORLD]


@pytest.fixture
def stocked_desk(desk: FrontDesk) -> FrontDesk:
    """A desk with the files that the table names."""
    here = desk.directory
    (here / "folder.csv").mkdir()
    (here / "empty.jsonl").write_text("\n\n")
    (here / "headless.csv").write_text(f"new,{ADDRESS},50000\n")
    (here / "binary.csv").write_bytes(b"request_id,address,sats\n\xff\xfe\xfd")
    (here / "one_bad.csv").write_text(f"request_id,address,sats\ngood,{ADDRESS},50000\nbad,{MAIN},50000\n")
    return desk


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.method}: {row.why}")
def test_the_api_refuses_it_with_its_code_and_changes_nothing(stocked_desk: FrontDesk, row: Row) -> None:
    before = stocked_desk.content_hash()
    with pytest.raises(WithdrawalsError) as refused:
        row.call(stocked_desk)
    assert refused.value.code == row.code, refused.value
    assert isinstance(refused.value, WorldError if row in WORLD else TheirError)
    assert stocked_desk.content_hash() == before


@pytest.mark.parametrize("row", [r for r in TABLE if r.words != ()], ids=lambda row: f"{row.method}: {row.why}")
def test_the_command_line_refuses_it_with_its_code_and_changes_nothing(stocked_desk: FrontDesk, row: Row) -> None:
    before = stocked_desk.content_hash()
    command, *rest = row.command(stocked_desk)
    said = stocked_desk.says(command, "--json", *rest)
    assert said.code == (4 if row in WORLD else 3), said.err
    assert said.json["error"]["code"] == row.code
    assert said.err.startswith(f"error [{row.code}]: ")
    assert stocked_desk.content_hash() == before


ASKS_NOTHING = {"status", "coins", "audit"}
"""Commands without a word of input."""
ELSEWHERE = {"keygen", "work", "follow", "sweep", "run"}
"""Commands that are no call of the API; `test_cli.py` has theirs."""


def test_every_command_and_every_call_has_rows() -> None:
    commands = {
        row.words[0] if row.words else {"list_withdrawals": "list"}.get(row.method, row.method) for row in TABLE
    }
    assert set(cli.commands) == (commands - {"enqueue_file"}) | ASKS_NOTHING | ELSEWHERE
    calls = {name for name, _ in getmembers(Processor, isfunction) if not name.startswith("_")}
    assert calls == {row.method for row in TABLE} | ASKS_NOTHING | {"close"}


@pytest.mark.parametrize(
    ("method", "args", "options"),
    [
        ("enqueue", ("new", ADDRESS), {"sats": 50_000}),
        ("enqueue_file", ("@one_bad.csv",), {}),
        ("events", (), {}),
        ("status", (), {}),
        ("list_withdrawals", (), {}),
        ("coins", (), {}),
        ("address", (), {}),
        ("audit", (), {}),
        ("survey", (), {}),
        ("reconcile", (TXID,), {"reason": WHY}),
        ("backup", ("@copy.db",), {}),
        *((method, ("queued",), {}) for method in ("show", "why", "retry")),
        *((method, ("queued",), {"reason": WHY}) for method in ("cancel", "hold", "release", "reject", "bump")),
        *((method, (), {"reason": WHY}) for method in ("pause", "resume", "accept_reorg")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_before_init_nothing_works_and_nothing_is_made(
    stocked_desk: FrontDesk, method: str, args: tuple[str, ...], options: Mapping[str, object]
) -> None:
    stocked_desk.ledger_path.unlink()
    with pytest.raises(ConfigError, match="run init first"):
        Row("no ledger", "bad_config", method, args, options).call(stocked_desk)
    assert not list(stocked_desk.directory.glob("*.db*"))
