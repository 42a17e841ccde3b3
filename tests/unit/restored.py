"""A bench whose ledger can be copied and put back: what an operator does who lost a disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tests.functional.crash_ports import Meter
from tests.unit.bench import SATS, WHO, Bench, FakeParts
from tests.unit.fakes import FakeNode
from withdrawals.core.model import JournalLine, Withdrawal
from withdrawals.processor import Processor
from withdrawals.restoring import RecoveryReport, recover_from_journal, recover_with_fence
from withdrawals.signing.journal import read_journal
from withdrawals.steps import request as request_step
from withdrawals.steps.recover import Recovered

WHY = "restored the backup of 09:00"


@dataclass
class Restored:
    """A bench, and its backup."""

    bench: Bench
    backup: Path

    @classmethod
    def of(cls, bench: Bench) -> Restored:
        """Back up now."""
        backup = bench.folder / f"backup{len(list(bench.folder.glob('backup*')))}.db"
        bench.ledger.backup(backup)
        return cls(bench, backup)

    def restore(self) -> None:
        """Put the backup where the ledger is, and start again."""
        self.stop()
        (self.bench.folder / "ledger.db").unlink()  # a file of its own: whoever was killed may have the old one open
        shutil.copy(self.backup, self.bench.folder / "ledger.db")
        self.start()

    def stop(self) -> None:
        """Every process ends: nobody holds ledger or journal."""
        self.bench.parts.close()
        for leftover in self.bench.folder.glob("ledger.db-*"):
            leftover.unlink()

    def start(self, *, signing: bool = True) -> None:
        """Start again on the files that there are, with or without a signing process."""
        self.bench.clock.sleep(60)  # the old follower's lease is over
        self.bench.open(self.bench.folder / "ledger.db", self.bench.policy)
        if not signing:
            self.bench.parts.signer.close()  # type: ignore[attr-defined] # the adapter has it, the port does not
            del self.bench.parts.__dict__["signer"]  # whoever needs the keys opens them again

    def recover(self, meter: Meter | None = None) -> Recovered:
        """The command without the fence."""
        return self._run(recover_from_journal, meter).recovered

    def fence(self, meter: Meter | None = None) -> RecoveryReport:
        """The command with the fence."""
        return self._run(recover_with_fence, meter)

    def _run(self, command: Callable[..., RecoveryReport], meter: Meter | None) -> RecoveryReport:
        """The command, with every process stopped; then they are started again. `meter` stands around every port."""
        self.bench.clock.sleep(60)
        self.bench.parts.close()
        self.start(signing=False)
        parts = self.bench.parts if meter is None else self.metered(meter)
        try:
            return command(parts, who=WHO, why=WHY)
        finally:
            parts.close()
            self.start()

    def metered(self, meter: Meter) -> FakeParts:
        """The bench's parts with a meter around ledger and node."""
        node = cast("FakeNode", meter.wrap("chain", self.bench.node))
        parts = FakeParts(self.bench.parts.config, meter.wrap, node=node, thrown=self.bench.dice)
        object.__setattr__(parts, "clock", self.bench.clock)
        return parts

    def resume(self) -> None:
        Processor(self.bench.parts).resume(reason="recovered", who=WHO)

    def repeat(self, withdrawal: Withdrawal) -> Withdrawal:
        """The exchange asks again with the same id and body."""
        bench = self.bench
        script, sats = withdrawal.script, withdrawal.sats
        request = request_step.Request(withdrawal.request_id, withdrawal.address, script, sats)
        return request_step.enqueue([request], bench.ledger, bench.policy, bench.clock, bench.dice)[0]

    def find(self, withdrawal: Withdrawal) -> Withdrawal | None:
        """What this ledger has under the same request id."""
        with self.bench.ledger.read() as view:
            return view.find_request(withdrawal.request_id)

    def known(self, withdrawal: Withdrawal) -> Withdrawal:
        found = self.find(withdrawal)
        assert found is not None
        return found

    @property
    def journal(self) -> tuple[JournalLine, ...]:
        return read_journal(self.bench.folder / "journal")


__all__ = ["SATS", "WHY", "Restored"]
