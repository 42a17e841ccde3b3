"""One cell being played: its customers, what was signed for them, its mutants, and what was seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from bitcoin.core import CTransaction

from regtest.malleate.transaction import parse_transaction
from regtest.matrix.plan import Plan, Wanted
from regtest.record import Exhibit, Moment, Role
from regtest.replay.cells import Standing
from regtest.scenarios.stage import Customer

log = logging.getLogger("regtest.story")


@dataclass
class Play:
    """What there is of a cell while its ending is played."""

    wanted: Wanted
    customers: tuple[Customer, ...]
    originals: list[bytes] = field(default_factory=list)
    mutants: list[bytes] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """Why it failed, so far."""
    unplayed: tuple[Standing, str] | None = None
    """Why nothing can be proved by it, found out on the way."""
    refusal: str | None = None
    """Why a block with a mutant is refused, where that is what the cell is about."""

    @property
    def is_live(self) -> bool:
        """Whether there are originals and mutants to make blocks of."""
        return bool(self.mutants) and self.unplayed is None and self.wanted.plan is Plan.PLAY

    @property
    def exhibits(self) -> tuple[Exhibit, ...]:
        """The mutants, as a report shows them."""
        foreign = self.wanted.malleator.changes_ntxid
        role, what = (Role.FOREIGN, "rival") if foreign else (Role.TWIN, "twin")
        return tuple(Exhibit(role, raw, f"{self.wanted.class_id} {what}") for raw in self.mutants)

    def tell(self, label: str, words: str, height: int | None = None) -> None:
        """Write a moment down."""
        log.info("[%s] %s: %s.", self.wanted.id, label, words)
        self.moments.append(Moment(label, words, height))

    def give_up(self, standing: Standing, why: str) -> None:
        """It cannot be played, which nobody is to blame for."""
        if self.unplayed is None:
            self.unplayed = (standing, why)

    def break_off(self, why: str) -> None:
        """Its ending cannot be played or judged to the end. Of a cell given up before a signature that says nothing."""
        if self.unplayed is None or self.originals:
            self.reasons.append(why)

    def pays(self, raw: bytes) -> bool:
        """Whether the transaction has an output to one of the customers."""
        scripts = {bytes.fromhex(customer.script_hex) for customer in self.customers}
        return any(bytes(o.scriptPubKey) in scripts for o in parse_transaction(raw).vout)

    def pays_all_as(self, mutant: bytes, original: bytes) -> bool:
        """Whether the mutant pays these customers what the original pays them."""
        one, other = (self._paid_by(parse_transaction(raw)) for raw in (original, mutant))
        return one == other

    def _paid_by(self, tx: CTransaction) -> dict[bytes, list[int]]:
        scripts = {bytes.fromhex(customer.script_hex) for customer in self.customers}
        paid: dict[bytes, list[int]] = {}
        for output in tx.vout:
            if bytes(output.scriptPubKey) in scripts:
                paid.setdefault(bytes(output.scriptPubKey), []).append(int(output.nValue))
        return paid
