"""What the world outside the processor knows, as the harness told it: requests, plans, refunds, and all bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.simulation.oracle.violation import Violation
from tests.simulation.oracle.wire import NoTransaction, OutPoint, Pay, Tx, parse_tx


@dataclass(slots=True, eq=False)
class Request:
    """What somebody asked the exchange for. Once `accepted` the exchange relies on it; `refunded`: owed no more."""

    id: str
    script: bytes
    sats: int
    accepted: bool = False
    refunded: bool = False


@dataclass(slots=True, eq=False)
class Asked:
    """A plan that a signer with our keys was asked to sign, at `tick`. `pays`: output number to request."""

    tx: Tx
    pays: dict[int, str]
    tick: int
    names: set[tuple[str, int]] = field(default_factory=set)
    """Batch and number; a restored ledger may file the same plan under another name."""


@dataclass(slots=True, eq=False)
class Told:
    """All that was told. `news` moves with each word; `tick` counts checks, and what is told belongs to the next."""

    tick: int = 0
    news: int = 0
    requests: dict[str, Request] = field(default_factory=dict)
    owed: dict[Pay, list[Request]] = field(default_factory=dict)
    own: set[bytes] = field(default_factory=set)
    plans: dict[str, Asked] = field(default_factory=dict)
    """By ntxid."""
    plans_of: dict[str, list[Asked]] = field(default_factory=dict)
    """By request, in the order of asking."""
    txs: dict[str, Tx] = field(default_factory=dict)
    """By txid: every transaction that exists anywhere."""
    bound: dict[OutPoint, str] = field(default_factory=dict)
    bound_at: dict[OutPoint, int] = field(default_factory=dict)
    known_at: dict[str, int] = field(default_factory=dict)
    """Since when the processor has had the bytes of a transaction, by txid."""
    late: set[str] = field(default_factory=set)
    """The ntxids that a signer answered to somebody else than the processor, or after it had stopped waiting."""
    forgotten: set[str] = field(default_factory=set)
    """The ntxids of plans that both memories, ledger and journal, may have lost."""
    unfit: set[str] = field(default_factory=set)
    """The wtxids of answers that are not what the keys made: somebody re-encoded them on the way."""
    excused: set[tuple[str, str, str]] = field(default_factory=set)
    """(request, later, earlier): pairs of ntxids that a person answers for."""
    marked: dict[str, int] = field(default_factory=dict)
    """When the processor first wrote down that it asks for a plan, by ntxid."""
    unmarked: set[str] = field(default_factory=set)
    """The ntxids of plans that nobody has looked for in the ledger yet."""
    elsewhere: set[str] = field(default_factory=set)
    """Requests that some other processor with our keys asked a signer to pay."""
    fresh: list[Asked] = field(default_factory=list)
    """Plans that nobody has compared with the earlier ones yet."""
    found: list[Violation] = field(default_factory=list)
    """What was wrong with what was told; raised by the next check."""
    _parsed: dict[bytes, Tx] = field(default_factory=dict)

    def parse(self, raw: bytes) -> Tx:
        """The transaction of these bytes, taken apart once."""
        tx = self._parsed.get(raw)
        if tx is None:
            tx = self._parsed[raw] = parse_tx(raw)
        return tx

    def know(self, tx: Tx) -> Tx:
        """From now on it exists."""
        self.txs.setdefault(tx.txid, tx)
        return tx

    def request(self, request_id: str, script: bytes, sats: int, *, accepted: bool) -> None:
        """Somebody asks, or was told that he is accepted."""
        known = self.requests.get(request_id)
        if known is None:
            known = self.requests[request_id] = Request(request_id, script, sats)
            self.owed.setdefault((script, sats), []).append(known)
        elif (known.script, known.sats) != (script, sats):
            self._wrong("nothing-lost", f"{request_id} was accepted with two bodies")
        known.accepted = known.accepted or accepted
        self.news += 1

    def refund(self, request_id: str) -> None:
        """The exchange gave the money back: nothing that may ever pay it may exist."""
        self.news += 1
        self.requests[request_id].refunded = True
        if self.plans_of.get(request_id):
            self._wrong("refunded-paid", f"{request_id} is refunded, and a signer was asked to pay it before")

    def ask(
        self, name: tuple[str, int], unsigned: bytes, payments: Sequence[tuple[str, bytes, int]], *, elsewhere: bool
    ) -> None:
        """A signer is about to sign these bytes, for this processor or `elsewhere`."""
        self.news += 1
        try:
            tx = self.parse(unsigned)
        except NoTransaction as error:
            self._wrong("conserve", f"plan {name} is no transaction: {error}")
            return
        pays = self._match(name, tx, payments)
        if elsewhere:
            self.late.add(tx.ntxid)
            self.elsewhere.update(pays.values())
        else:
            self.unmarked.add(tx.ntxid)
        before = self.plans.get(tx.ntxid)
        if before is not None:
            before.names.add(name)
            if sorted(before.pays.values()) != sorted(pays.values()):
                self._wrong("asked-first", f"{tx.ntxid} is asked for again as {name}, and pays others than before")
            return
        asked = self.plans[tx.ntxid] = Asked(tx, pays, self.marked.get(tx.ntxid, self.tick + 1), {name})
        self.fresh.append(asked)
        for request_id in pays.values():
            self.plans_of.setdefault(request_id, []).append(asked)
            if request_id in self.requests and self.requests[request_id].refunded:
                self._wrong("refunded-paid", f"plan {name} pays {request_id}, which was refunded")

    def answer(self, raw: bytes, *, late: bool) -> None:
        """Signed bytes exist from now on, for ever."""
        self.news += 1
        try:
            tx = self.know(self.parse(raw))
        except NoTransaction:
            return  # nothing that a block could hold
        if late:
            self.late.add(tx.ntxid)
        if tx.ntxid not in self.plans:
            self._wrong("asked-first", f"a signer made {tx.txid}, and nobody was asked for such a plan")

    def bind(self, request_id: str, outpoint: OutPoint) -> None:
        """An operator said that this output paid that request."""
        self.news += 1
        self.bound[outpoint] = request_id
        self.bound_at[outpoint] = self.tick + 1

    def _match(self, name: tuple[str, int], tx: Tx, payments: Sequence[tuple[str, bytes, int]]) -> dict[int, str]:
        """Which output pays whom; of outputs that look alike, any. Every other output has to be ours."""
        free: dict[Pay, list[int]] = {}
        for vout in reversed(range(len(tx.outputs))):
            free.setdefault(tx.outputs[vout], []).append(vout)
        pays: dict[int, str] = {}
        for request_id, script, sats in payments:
            owed = self.requests.get(request_id)
            if owed is None or (owed.script, owed.sats) != (script, sats):
                self._wrong("conserve", f"plan {name} pays {sats} sats for {request_id}, which is not owed that")
            if not free.get((script, sats)):
                self._wrong("conserve", f"plan {name} has no output for {request_id}")
                continue
            pays[free[script, sats].pop()] = request_id
        for vout, (script, sats) in enumerate(tx.outputs):
            if vout not in pays and script not in self.own:
                self._wrong("conserve", f"plan {name} gives {sats} sats to a stranger by output {vout}")
        return pays

    def _wrong(self, invariant: str, words: str) -> None:
        self.found.append(Violation(invariant, words))

    def raise_found(self) -> None:
        """Raise what was first wrong with what was told; it stays wrong."""
        if self.found:
            raise self.found[0]

    def newest_tick(self, request_id: str) -> int:
        """When a signer was last asked to pay this request; -1: never."""
        return max((p.tick for p in self.plans_of.get(request_id, ())), default=-1)
