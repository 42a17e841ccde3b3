"""The exchange: asks for withdrawals, asks again, asks for the same twice, and takes back what it can."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from regtest.waiting import wait_for
from tests.functional.world import World
from tests.soak.judge import Owed
from withdrawals.core.addresses import address_of
from withdrawals.core.types import Network, ScriptPubKey
from withdrawals.errors import DuplicateRequest, LedgerBusy, NotAllowed

SATS_MIN: Final = 20_000
SATS_MAX: Final = 900_000
BURST_MAX: Final = 12
RECENT: Final = 6
"""Who asked last can most likely still be taken back."""
_SCRIPTS: Final = (
    # What stands before and after so many random bytes: a key's or a script's hash that is nobody's.
    (b"\x76\xa9\x14", 20, b"\x88\xac"),
    (b"\xa9\x14", 20, b"\x87"),
    (b"\x00\x14", 20, b""),
    (b"\x00\x20", 32, b""),
)


class Load:
    """Everything that was ever accepted, and what of it was cancelled; `violations`: answers that should not be."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.owed: dict[str, Owed] = {}
        self.cancelled: set[str] = set()
        self.violations: list[str] = []
        self.done: Counter[str] = Counter()

    def request(self, dice: random.Random) -> str:
        """A new customer, a new amount."""
        before, length, after = dice.choice(_SCRIPTS)
        script = before + dice.randbytes(length) + after
        address = address_of(ScriptPubKey(script), Network.REGTEST)
        return self._ask(Owed(self._new_id(), address, script.hex(), dice.randint(SATS_MIN, SATS_MAX)))

    def again(self, dice: random.Random) -> None:
        """One or more new requests of somebody who asked before, for the same amount: all of them are owed."""
        if self.owed:
            first = dice.choice(list(self.owed.values()))
            for _ in range(dice.randint(1, 3)):
                self._ask(Owed(self._new_id(), first.address, first.script_hex, first.sats))

    def burst(self, dice: random.Random) -> None:
        """Many at once."""
        for _ in range(dice.randint(2, BURST_MAX)):
            self.request(dice)

    def repeat(self, dice: random.Random) -> None:
        """An id that was accepted before: the same body changes nothing, another body is refused."""
        if not self.owed:
            return
        known = dice.choice(list(self.owed.values()))
        self._ask(known)
        try:
            self._enqueue(known, known.sats + 1)
        except DuplicateRequest:
            self.done["refused_another_body"] += 1
        else:
            self.violations.append(f"exchange: {known.request_id} was accepted with another amount")

    def cancel(self, dice: random.Random) -> None:
        """Take back one of the latest, or one that asks now: refused once a signer was asked, and then it is owed."""
        recent = [name for name in list(self.owed)[-RECENT:] if name not in self.cancelled]
        name = dice.choice(recent) if recent and dice.random() < 0.5 else self.request(dice)
        try:
            self._patiently(lambda: self._world.processor.cancel(name, reason="the customer changed his mind"))
        except NotAllowed:
            self.done["cancel_refused"] += 1
        else:
            self.cancelled.add(name)

    def _new_id(self) -> str:
        return f"soak-{len(self.owed) + 1}"

    def _ask(self, owed: Owed) -> str:
        self._enqueue(owed, owed.sats)
        self.owed[owed.request_id] = owed
        return owed.request_id

    def _enqueue(self, owed: Owed, sats: int) -> None:
        self._patiently(lambda: self._world.processor.enqueue(owed.request_id, owed.address, sats=sats))

    def _patiently(self, call: Callable[[], object]) -> None:
        """A process that is frozen in mid-transaction holds the ledger; nothing was written, so it is asked again."""

        def tried() -> bool:
            try:
                call()
            except LedgerBusy:
                self.done["ledger_busy"] += 1
                return False
            return True

        wait_for(tried, "the ledger to be free")
