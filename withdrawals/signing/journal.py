"""The journal that lives with the keys (I12): append-only, hash-chained, fsynced, held by one process.

It is the memory that no restored, forked or copied ledger can rewind. A plan's line is durable *before* the key is used
for it, so whatever was ever signed is in here. On opening, every line is proved; what does not prove is refused, except
a last line that was still being written when we died.
"""

from __future__ import annotations

import os
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Self

from withdrawals.core.model import JOURNAL_START, JournalLine
from withdrawals.core.types import BatchId
from withdrawals.errors import ConfigError, JournalDamaged, SignerUnavailable, StaleLedger, ensure
from withdrawals.signing.files import (
    DISK_TROUBLES,
    create_private,
    lock_exclusively,
    make_durable,
    make_name_durable,
    open_private,
    write_at,
)
from withdrawals.signing.lines import Entry, Read, is_torn, parse_line, read_lines


class Standing(Enum):
    """What the journal knows of an order."""

    NEW = auto()
    """Nothing: append a line, then sign."""
    KNOWN = auto()
    """Exactly this order: sign again, without a new line."""


class Journal:
    """The open journal of one key file. One process at a time, and not across a fork."""

    def __init__(self, path: Path) -> None:
        """Open and prove.

        Raises `SignerUnavailable` (locked, or the disk fails), `JournalDamaged`, `ConfigError` (not a private file).

        A missing file stays missing until the first line: a ledger that remembers lines must not find a fresh journal.
        """
        self.path = path
        self.head = JOURNAL_START
        self._pid = os.getpid()
        self.unfinished = False
        """An append began and did not end: only opening anew tells what is really in the file."""
        self._refusal: SignerUnavailable | JournalDamaged | None = None
        self._previous: str | None = None
        self._last_identity: bytes | None = None
        self._size = 0
        self._offsets: list[int] = []
        self._seq_of_head: dict[str, int] = {JOURNAL_START: 0}
        self._identities: dict[tuple[BatchId, int], bytes] = {}
        self._fd: int | None = None
        self._lock_fd: int | None = _take_lock(path)
        try:
            self._open()
        except OSError as error:
            self.close()
            raise SignerUnavailable(f"{path} could not be read or made durable: {error}; open it anew") from error
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._offsets)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of file and lock. What was appended is durable already."""
        self._refusal = SignerUnavailable("the journal is closed")
        for fd in (self._fd, self._lock_fd):
            if fd is not None:
                os.close(fd)
        self._fd = self._lock_fd = None

    def standing(self, ledger_head: str, entry: Entry) -> Standing:
        """Whether an order is new or known to a journal that a ledger with this head agrees with.

        Raises `StaleLedger` if it does not agree, `InvariantBroken` if batch and plan number were used for another
        order, and `SignerUnavailable` or `JournalDamaged` if the journal is not to be trusted any more.
        """
        self._ensure_untouched()
        known = self._identities.get((entry.batch_id, entry.plan_number))
        if ledger_head == self.head:
            if known is None:
                return Standing.NEW
            ensure(
                known == entry.identity,
                f"plan {entry.plan_number} of {entry.batch_id} is in the journal with another transaction or payments",
            )
            # The ledger took over our head but lost our answer: the same bytes again, and nothing new to remember.
            return Standing.KNOWN
        if ledger_head == self._previous and self._last_identity == entry.identity:
            # We, or the ledger, died between this line and the saving of its answer.
            return Standing.KNOWN
        raise StaleLedger(ledger_head, self.head, self.lines_after(ledger_head))

    def compare(self, ledger_head: str) -> None:
        """Raise `StaleLedger` unless a ledger with this head knows every line; else as `standing` does."""
        self._ensure_untouched()
        if ledger_head != self.head:
            raise StaleLedger(ledger_head, self.head, self.lines_after(ledger_head))

    def append(self, entry: Entry) -> JournalLine:
        """Add a line; it is on the disk when this returns. Raises `SignerUnavailable` if it may not be.

        After any failure in here the file may or may not hold the line, and a later fsync could succeed without having
        written it (the kernel drops the error with the first report). So this journal then refuses until it is opened
        anew, which reads what is really there and writes the last line again before relying on it.
        """
        self._ensure_untouched()
        ensure((entry.batch_id, entry.plan_number) not in self._identities, "the order is in the journal already")
        seq, previous = len(self) + 1, self.head
        read = parse_line(entry.line_bytes(seq, previous), seq, previous, self._size)
        # Set before, cleared after: an exception at any point in between, a job's timeout too, leaves it set.
        self._refusal = SignerUnavailable("an append did not finish; open the journal anew")
        self.unfinished = True
        try:
            self._write(read.raw + b"\n")
        except OSError as error:
            self._refusal = SignerUnavailable(f"{self.path} could not be made durable: {error}; open it anew")
            raise self._refusal from error
        self._remember(read)
        self._refusal = None
        self.unfinished = False
        return read.line

    def lines_after(self, head: str) -> tuple[JournalLine, ...] | None:
        """The lines after this head, oldest first, read from the file; None if the journal never had that head."""
        seq = self._seq_of_head.get(head)
        if seq is None:
            return None
        if self._fd is None or seq == len(self):
            return ()
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(self._offsets[seq])
            tail = file.read(self._size - self._offsets[seq])
        lines: list[JournalLine] = []
        previous = head
        for number, raw in enumerate(tail.split(b"\n")[:-1], start=seq + 1):
            try:
                lines.append(parse_line(raw, number, previous).line)
            except ValueError as error:
                raise JournalDamaged(f"{self.path}, line {number}: {error}") from error
            previous = lines[-1].head
        return tuple(lines)

    def _open(self) -> None:
        try:
            self._fd = open_private(self.path, os.O_RDWR)
        except FileNotFoundError:
            return
        lock_exclusively(self._fd, self.path)
        last: Read | None = None
        with os.fdopen(os.dup(self._fd), "rb") as file:
            for last in read_lines(file, self.path):
                self._remember(last)
            file.seek(self._size)
            tail = file.read()
        if tail:
            last = self._mend(self._fd, tail, last)
        if last is not None:
            # Whoever wrote this line may have died before its fsync, or been told that it failed. Reading it back only
            # proves that it is in the page cache. Writing it over itself makes the next fsync mean something.
            write_at(self._fd, last.raw + b"\n", last.offset)
            make_durable(self._fd)

    def _mend(self, fd: int, tail: bytes, last: Read | None) -> Read | None:
        """Deal with bytes after the last newline; returns the line that is then the last. Raises `JournalDamaged`.

        The key is used only after the fsync of line *and* newline has returned, and bytes that were fsynced do not
        disappear. So for a beginning without its newline the key was never used: cutting it off forgets nothing that
        was signed. A whole line that lacks nothing but its newline is kept all the same, as if the key had been used:
        that errs on the safe side. Anything else is no trace of a crash of ours.
        """
        try:
            whole = parse_line(tail, len(self) + 1, self.head, self._size)
        except ValueError as error:
            if not is_torn(tail):
                raise JournalDamaged(f"{self.path}, line {len(self) + 1}: {error}") from error
            os.ftruncate(fd, self._size)
            make_durable(fd)
            return last
        self._remember(whole)
        return whole

    def _write(self, data: bytes) -> None:
        created = self._fd is None
        if self._fd is None:
            try:
                self._fd = create_private(self.path)
            except FileExistsError as error:
                raise JournalDamaged(f"{self.path} appeared while we were running without it") from error
            lock_exclusively(self._fd, self.path)
        write_at(self._fd, data, self._size)
        make_durable(self._fd)
        if created:
            make_name_durable(self.path)

    def _remember(self, read: Read) -> None:
        line = read.line
        key = (line.batch_id, line.plan_number)
        if key in self._identities:
            raise JournalDamaged(f"{self.path}, line {line.seq}: plan {line.plan_number} of {line.batch_id} again")
        self._identities[key] = self._last_identity = read.identity
        self._offsets.append(read.offset)
        self._size = read.offset + len(read.raw) + 1
        self._previous, self.head = line.previous, line.head
        self._seq_of_head[line.head] = line.seq

    def _ensure_untouched(self) -> None:
        """Refuse if the file is not, byte count and inode, what we left: deleted, replaced, or written by another."""
        if self._refusal is not None:
            raise type(self._refusal)(str(self._refusal))
        if os.getpid() != self._pid:
            raise SignerUnavailable("the journal was opened by another process than this one (a fork)")
        try:
            named = self.path.lstat()
        except FileNotFoundError:
            named = None
        ours = None if self._fd is None else os.fstat(self._fd)
        if named is None or ours is None:
            changed = None if named is ours else "vanished" if named is None else "appeared"
        elif (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino):
            changed = "was replaced"
        else:
            changed = None if named.st_size == self._size else "was written to"
        if changed is not None:
            self._refusal = JournalDamaged(f"{self.path} {changed} by somebody else while we were running")
            raise self._refusal


def read_journal(path: Path) -> tuple[JournalLine, ...]:
    """Every line, proved, without lock or change: for looking, while a signer may be running. Raises as `Journal` does.

    No file: no lines. A line that is just being written is left out.
    """
    try:
        fd = open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return ()
    with os.fdopen(fd, "rb") as file:
        return tuple(read.line for read in read_lines(file, path))


def _take_lock(journal: Path) -> int:
    """A lock file beside the journal, which may not exist yet. It is never removed: removing it would free nothing."""
    path = journal.with_name(journal.name + ".lock")
    try:
        try:
            fd = create_private(path)
        except FileExistsError:
            fd = open_private(path, os.O_RDWR)
    except OSError as error:
        if error.errno in DISK_TROUBLES:
            raise SignerUnavailable(f"{path} cannot be made: {error.strerror}") from error
        raise ConfigError(f"{path} cannot be made: {error.strerror}") from error
    try:
        lock_exclusively(fd, path)
    except SignerUnavailable:
        os.close(fd)
        raise
    return fd
