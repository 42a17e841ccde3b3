from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.signing_orders import make_order, open_signer
from withdrawals.core.model import JOURNAL_START
from withdrawals.core.types import BatchId, RequestId
from withdrawals.errors import ConfigError, InvariantBroken, JournalDamaged, SignerUnavailable, StaleLedger
from withdrawals.signing import files, journal
from withdrawals.signing.journal import Journal, Standing, read_journal
from withdrawals.signing.lines import Entry, entry_of

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[2]


def entry(number: int, payments: int = 2) -> Entry:
    paid = tuple((RequestId(f'r"\\{number}-{at}'), f"0014{at:040x}", 1_000 + at) for at in range(payments))
    return Entry(BatchId(f"b-{number:024x}"), 1, paid, bytes([number]) * 90)


def filled(path: Path, lines: int) -> list[str]:
    """A journal of so many lines; the heads from JOURNAL_START on."""
    heads = [JOURNAL_START]
    with Journal(path) as opened:
        for number in range(1, lines + 1):
            opened.append(entry(number))
            heads.append(opened.head)
    return heads


class JobTimeout(Exception):
    """What a worker raises into a job that takes too long."""


def time_out(fd: int, data: bytes, offset: int) -> None:
    raise JobTimeout


def noting(done: list[str], step: str) -> Callable[..., None]:
    """The journal's own function of this name, which also notes that it was called."""
    real: Callable[..., None] = getattr(files, step)

    def noted(*arguments: Any) -> None:  # noqa: ANN401  (passed on as they are)
        real(*arguments)
        done.append(step)

    return noted


def reopened_head(path: Path) -> str:
    with Journal(path) as opened:
        return opened.head


def test_a_line_holds_the_order_and_the_chain(tmp_path: Path) -> None:
    """Sequence, previous head, batch, payments and transaction come back; a head is the SHA-256 of the exact line."""
    path = tmp_path / "journal"
    heads = filled(path, 3)
    lines = read_journal(path)
    assert [line.seq for line in lines] == [1, 2, 3]
    assert [line.previous for line in lines] == heads[:3]
    assert [line.head for line in lines] == heads[1:]
    assert [hashlib.sha256(raw).hexdigest() for raw in path.read_bytes().splitlines()] == heads[1:]
    second = entry(2)
    assert (lines[1].batch_id, lines[1].plan_number) == (second.batch_id, second.plan_number)
    assert (lines[1].payments, lines[1].unsigned) == (second.payments, second.unsigned)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_is_on_the_disk_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is fsynced for every line, its directory once, when the file is new; and in that order."""
    path = tmp_path / "journal"
    done: list[str] = []
    for step in ("write_at", "make_durable", "make_name_durable"):
        monkeypatch.setattr(journal, step, noting(done, step))
    with Journal(path) as opened:
        opened.append(entry(1))
        opened.append(entry(2))
    assert done == ["write_at", "make_durable", "make_name_durable", "write_at", "make_durable"]


def test_lines_after_a_head(tmp_path: Path) -> None:
    """What a ledger lacks, oldest first; nothing if it lacks nothing; None for a head that never was."""
    heads = filled(tmp_path / "journal", 4)
    with Journal(tmp_path / "journal") as opened:
        for behind, head in enumerate(reversed(heads)):
            lines = opened.lines_after(head)
            assert lines is not None
            assert [line.seq for line in lines] == list(range(4 - behind + 1, 5))
        assert opened.lines_after("ab" * 32) is None


def test_a_missing_journal_is_not_created_by_looking(tmp_path: Path) -> None:
    """Opening leaves it missing; a ledger that remembers a head is told that the journal never had it."""
    path = tmp_path / "journal"
    with Journal(path) as opened:
        assert opened.head == JOURNAL_START
        with pytest.raises(StaleLedger) as caught:
            opened.standing("ab" * 32, entry(1))
        assert caught.value.lines is None
        assert not path.exists()
        assert opened.standing(JOURNAL_START, entry(1)) is Standing.NEW
        assert not path.exists()
    assert read_journal(path) == ()


def test_heads_decide_who_may_sign(tmp_path: Path) -> None:
    """Every relation between the ledger's head and the journal's, as the signer's contract words it."""
    heads = filled(tmp_path / "journal", 3)
    with Journal(tmp_path / "journal") as opened:
        assert opened.standing(heads[3], entry(4)) is Standing.NEW
        assert opened.standing(heads[3], entry(1)) is Standing.KNOWN  # the answer was lost, the head was not
        assert opened.standing(heads[2], entry(3)) is Standing.KNOWN  # we died between line and answer
        for stale, order, missing in [
            (heads[2], entry(4), 1),
            (heads[2], entry(2), 1),
            (heads[1], entry(3), 2),
            (heads[0], entry(1), 3),
        ]:
            with pytest.raises(StaleLedger) as caught:
                opened.standing(stale, order)
            assert caught.value.lines is not None
            assert len(caught.value.lines) == missing
        with pytest.raises(StaleLedger) as caught:
            opened.standing("ab" * 32, entry(3))
        assert caught.value.lines is None


@pytest.mark.parametrize("changed", ["payments", "unsigned"])
def test_a_plan_number_names_one_order_for_ever(tmp_path: Path, changed: str) -> None:
    """The same batch and number with other content is refused, also as the last line, and never appended."""
    filled(tmp_path / "journal", 1)
    one = entry(1)
    other = Entry(
        one.batch_id,
        one.plan_number,
        one.payments[::-1] if changed == "payments" else one.payments,
        b"other" if changed == "unsigned" else one.unsigned,
    )
    with Journal(tmp_path / "journal") as opened:
        with pytest.raises(InvariantBroken):
            opened.standing(opened.head, other)
        with pytest.raises(StaleLedger):
            opened.standing(JOURNAL_START, other)
        with pytest.raises(InvariantBroken):
            opened.append(other)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """One changed bit anywhere, the last line and the newlines included, and the journal refuses to open."""
    path = tmp_path / "journal"
    with Journal(path) as opened:
        for number in (1, 2):
            opened.append(entry(number, payments=1))
    good = path.read_bytes()
    for at in range(len(good)):
        for bit in (0x01, 0x80):
            path.write_bytes(good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :])
            with pytest.raises(JournalDamaged):
                reopened_head(path)
    path.write_bytes(good)
    assert len(read_journal(path)) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [*lines, lines[2]],
        lambda lines: [*lines, b"\n"],
        lambda lines: [*lines, b"{}\n"],
        lambda lines: [*lines, b"{}"],
        lambda lines: [*lines, lines[1][:-1]],
        lambda lines: [lines[0], lines[1][:40], lines[2]],
    ],
    ids=["head cut", "swapped", "one lost", "repeated", "empty line", "foreign", "foreign tail", "old tail", "cut"],
)
def test_damaged_chains_are_refused(tmp_path: Path, damage: object) -> None:
    """Anything but whole lines in their order and the beginning of a next one is damage."""
    path = tmp_path / "journal"
    filled(path, 3)
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(JournalDamaged):
        Journal(path)
    assert path.read_bytes() == before


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    """Wherever the writing of a line was cut short, the journal opens at the head before, and goes on from there."""
    path = tmp_path / "journal"
    heads = filled(path, 3)
    whole = path.read_bytes()
    begin = whole[:-1].rindex(b"\n") + 1
    for end in {begin, begin + 1, len(whole) - 2, *range(begin, len(whole) - 1, 11)}:
        path.write_bytes(whole[:end])
        assert reopened_head(path) == heads[2]
        assert path.read_bytes() == whole[:begin]
    with Journal(path) as opened:
        opened.append(entry(3))
    assert path.read_bytes() == whole


def test_a_line_that_lacks_only_its_newline_counts_as_written(tmp_path: Path) -> None:
    """It might have been used, if the newline was lost by other means than a crash: kept, which is the safe side."""
    path = tmp_path / "journal"
    heads = filled(path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert reopened_head(path) == heads[2]
    assert path.read_bytes() == whole


def test_a_rolled_back_journal_does_not_know_the_ledgers_head(tmp_path: Path) -> None:
    """Whole lines cut off the end leave a valid chain; the ledger's head tells."""
    path = tmp_path / "journal"
    heads = filled(path, 3)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    with Journal(path) as opened, pytest.raises(StaleLedger) as caught:
        opened.standing(heads[3], entry(4))
    assert (caught.value.journal_head, caught.value.lines) == (heads[2], None)


def test_a_copied_journal_is_stale_once_the_other_moved_on(tmp_path: Path) -> None:
    """Two hosts with a copy each: the ledger can agree with one of them only."""
    filled(tmp_path / "journal", 2)
    shutil.copy(tmp_path / "journal", tmp_path / "copy")
    with Journal(tmp_path / "journal") as first, Journal(tmp_path / "copy") as second:
        first.append(entry(3))
        with pytest.raises(StaleLedger) as caught:
            second.standing(first.head, entry(4))
        assert caught.value.lines is None
        second.append(entry(5))
        with pytest.raises(StaleLedger):
            first.standing(second.head, entry(6))


def test_an_fsync_that_failed_stops_the_signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later fsync could lie, so nothing more is journalled until the file is opened anew and written again."""
    path = tmp_path / "journal"
    heads = filled(path, 1)

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with Journal(path) as opened:
        monkeypatch.setattr(journal, "make_durable", fail)
        with pytest.raises(SignerUnavailable, match="durable"):
            opened.append(entry(2))
        monkeypatch.undo()
        with pytest.raises(SignerUnavailable):
            opened.append(entry(2))
        with pytest.raises(SignerUnavailable):
            opened.standing(heads[1], entry(2))
    rewritten: list[bytes] = []

    def remember(fd: int, data: bytes, offset: int) -> None:
        rewritten.append(data)
        files.write_at(fd, data, offset)

    monkeypatch.setattr(journal, "write_at", remember)
    with Journal(path) as opened:
        assert opened.standing(heads[1], entry(2)) is Standing.KNOWN
    assert rewritten == [path.read_bytes().splitlines(keepends=True)[-1]]


def test_any_exception_in_the_middle_of_an_append_stops_the_signer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job's timeout can land at any bytecode; what is in the file is then unknown."""
    with Journal(tmp_path / "journal") as opened:
        monkeypatch.setattr(journal, "write_at", time_out)
        with pytest.raises(JobTimeout):
            opened.append(entry(1))
        monkeypatch.undo()
        with pytest.raises(SignerUnavailable):
            opened.append(entry(1))


@pytest.mark.parametrize("meddle", ["delete", "replace", "append", "truncate", "appear"])
def test_a_journal_that_somebody_touched_is_refused(tmp_path: Path, meddle: str) -> None:
    """Deleted, replaced, written to or created while we run: refuse from then on."""
    path = tmp_path / "journal"
    if meddle != "appear":
        filled(path, 2)
    with Journal(path) as opened:
        whole = path.read_bytes() if path.exists() else b""
        if meddle == "delete":
            path.unlink()
        elif meddle == "replace":
            path.rename(tmp_path / "old")
            path.write_bytes(whole)
        else:
            path.write_bytes({"append": whole + b"x", "truncate": whole[:-1], "appear": b""}[meddle])
        for _ in range(2):
            with pytest.raises(JournalDamaged):
                opened.standing(opened.head, entry(3))
            with pytest.raises(JournalDamaged):
                opened.append(entry(3))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A second process is turned away while the first holds the journal, and let in afterwards."""
    path = tmp_path / "journal"
    probe = (
        "import sys; from pathlib import Path\n"
        "from withdrawals.errors import SignerUnavailable\n"
        "from withdrawals.signing.journal import Journal\n"
        "try:\n    Journal(Path(sys.argv[1]))\n"
        "except SignerUnavailable:\n    sys.exit(3)\n"
    )
    command = [sys.executable, "-c", probe, str(path)]
    with Journal(path) as opened:
        assert subprocess.run(command, check=False, cwd=REPOSITORY).returncode == 3
        opened.append(entry(1))
        (tmp_path / "journal.lock").unlink()  # tidied away: the lock on the journal itself still holds
        assert subprocess.run(command, check=False, cwd=REPOSITORY).returncode == 3
        with pytest.raises(SignerUnavailable):
            Journal(path)
    assert subprocess.run(command, check=False, cwd=REPOSITORY).returncode == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_may_not_use_its_parents_journal(tmp_path: Path) -> None:
    """A fork shares the lock, so the lock cannot tell parent and child apart; the process id does."""
    with Journal(tmp_path / "journal") as opened:
        child = os.fork()
        if child == 0:
            try:
                opened.append(entry(1))
            except SignerUnavailable:
                os._exit(3)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


@pytest.mark.parametrize("shape", ["mode", "link", "directory", "pipe"])
def test_the_journal_must_be_a_private_file(tmp_path: Path, shape: str) -> None:
    """Nobody else may read or write it, and it is no link to anywhere."""
    path = tmp_path / "journal"
    if shape == "mode":
        filled(path, 1)
        path.chmod(0o640)
    elif shape == "link":
        filled(tmp_path / "real", 1)
        path.symlink_to(tmp_path / "real")
    elif shape == "directory":
        path.mkdir(mode=0o700)
    else:
        os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError):
        Journal(path)


CRASH = """
import os, signal, sys
from pathlib import Path
from tests.unit.signing_orders import make_order, open_signer
from withdrawals.signing import files, hot, journal

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def write_half(fd, data, offset):
    files.write_at(fd, data[: len(data) // 2], offset)
    die()

where = sys.argv[2]
if where == "mid-write":
    journal.write_at = write_half
elif where == "before-fsync":
    journal.make_durable = die
elif where == "before-sign":
    hot.HotSigner._sign = die
else:
    hot.SignedAnswer = die
open_signer(Path(sys.argv[1])).ask(make_order())
"""


@pytest.mark.covers("I2", "I12")
@pytest.mark.parametrize(
    ("where", "lines"), [("mid-write", 0), ("before-fsync", 1), ("before-sign", 1), ("before-answer", 1)]
)
def test_a_signer_killed_at_any_boundary_is_asked_again(tmp_path: Path, where: str, lines: int) -> None:
    """After kill -9 the same order gives the same bytes and one line; another order is refused if a line is there."""
    crashed = tmp_path / "crashed"
    quiet = tmp_path / "quiet"
    crashed.mkdir()
    quiet.mkdir()
    killed = subprocess.run([sys.executable, "-c", CRASH, str(crashed), where], check=False, cwd=REPOSITORY)
    assert killed.returncode == -9
    with open_signer(quiet) as signer:
        expected = signer.ask(make_order())
    with open_signer(crashed) as signer:
        assert len(read_journal(crashed / "journal")) == lines
        if lines:
            with pytest.raises(StaleLedger) as caught:
                signer.ask(make_order(batch="b-2"))
            assert caught.value.lines == read_journal(crashed / "journal")
        assert signer.ask(make_order()) == expected
    (line,) = read_journal(crashed / "journal")
    assert entry_of(make_order()) == Entry(line.batch_id, line.plan_number, line.payments, line.unsigned)
