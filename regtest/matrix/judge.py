"""What came of the cells: the chain is asked once for all of them, and then every processor about its books."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from regtest.malleate import TransactionIds, ids_of
from regtest.matrix.field import Field
from regtest.matrix.plan import Plan
from regtest.matrix.play import Play
from regtest.matrix.table import Table
from regtest.oracle import ChainPayment, payments_by_script
from regtest.record import BlockSeen, Exhibit, Record, Role, blocks_with
from regtest.replay.cells import Cell, Ending, Standing
from regtest.report.results import Result, outcome_of, verdict_of
from regtest.scenarios.model import Outcome
from regtest.scenarios.stage import ON_CHAIN

MORALS: Final[Mapping[Ending, str]] = {
    Ending.MUTANT_WINS: "The coin and the outputs say what happened; no txid does.",
    Ending.ORIGINAL_WINS: "An attack that comes too late changes nothing, for nobody.",
    Ending.MUTANT_THEN_ORIGINAL: "Either of the two pays. Which one the chain holds today is the chain's business.",
    Ending.ORIGINAL_THEN_MUTANT: "What is confirmed is not yet final, whoever was paid by it.",
    Ending.NEITHER_IN_MEMPOOL: "Absence is not evidence. What is not there is sent again, the same bytes.",
    Ending.TWO_NODES: "What one node's mempool says is that node's opinion.",
    Ending.MUTANT_FIRST: "A broadcast that is refused does not say that nobody was paid.",
}
FIELD_ROWS: Final[Mapping[Ending, tuple[str, ...]]] = {
    Ending.MUTANT_WINS: ("F1", "F2"),
    Ending.ORIGINAL_WINS: (),
    Ending.MUTANT_THEN_ORIGINAL: ("F6",),
    Ending.ORIGINAL_THEN_MUTANT: ("F6",),
    Ending.NEITHER_IN_MEMPOOL: ("F5",),
    Ending.TWO_NODES: ("F9",),
    Ending.MUTANT_FIRST: ("F18",),
}
"""What an ending is an instance of, besides its class, in docs/malleability.md."""


class Judge:
    """Everything about one ending that is asked of the chain, once."""

    def __init__(self, field: Field, *, is_control: bool) -> None:
        self._network, self._is_control = field.network, is_control
        self._field = field
        self._paid = payments_by_script(field.network.rpc, field.start_height)
        signed = {play.wanted.id: table.all_signed(play) for table in field.tables for play in table.plays}
        self._signed: Mapping[str, list[bytes]] = signed
        self._exhibits = {play.wanted.id: self._exhibits_of(play) for play in field.plays}
        every = [exhibit for found in self._exhibits.values() for exhibit in found]
        self._blocks = blocks_with(field.network.rpc, every, field.start_height)
        self._raws: dict[str, dict[str, bytes]] = {}

    def cells(self, seconds: float) -> Iterator[Cell]:
        """All of them; `seconds` is what each of them took."""
        for table in self._field.tables:
            results = {play.wanted.id: self._result_of(table, play) for play in table.plays}
            paid = [p for p in table.plays if results[p.wanted.id].outcome is Outcome.PAID_ONCE]
            rest = [p for p in table.plays if p not in paid]
            # Audits take long: all at once, and one by one only if there is something to blame on somebody.
            is_well = not any(table.troubles(some, paid=some is paid) for some in (paid, rest) if some)
            for play in table.plays:
                result = results[play.wanted.id]
                troubles = [] if is_well else table.troubles([play], paid=result.outcome is Outcome.PAID_ONCE)
                yield replace(self._cell_of(table, play, result, troubles), seconds=seconds)

    def _cell_of(self, table: Table, play: Play, result: Result, troubles: Sequence[str]) -> Cell:
        standing, reasons = standing_of(play, result, [*troubles, *filter(None, [table.trouble])])
        shown = result if standing in {Standing.PASSED, Standing.FAILED} else None
        return Cell(
            id=play.wanted.id,
            processor=table.contender.name,
            is_control=self._is_control,
            title=play.wanted.title,
            standing=standing,
            reasons=tuple(reasons),
            result=shown,
            record=self._record_of(play, result),
            class_id=play.wanted.class_id,
            ending=play.wanted.ending,
            coins=play.wanted.coins,
            customers=len(play.customers),
            covers=result.covers if shown else (play.wanted.class_id,),
            moral=MORALS[play.wanted.ending] if play.wanted.ending else "",
        )

    def _result_of(self, table: Table, play: Play) -> Result:
        payments = {c.request_id: tuple(self._paid.get(c.script_hex, ())) for c in play.customers}
        owed_and_paid = [(c.sats, [p.sats for p in payments[c.request_id]]) for c in play.customers]
        everything = sorted((p for found in payments.values() for p in found), key=lambda p: (p.height, p.txid, p.vout))
        signed = [ids_of(raw) for raw in self._signed[play.wanted.id]]
        refused = not everything and table.has_refused(play)
        ending = play.wanted.ending
        return Result(
            scenario=play.wanted.id,
            title=play.wanted.title,
            covers=(play.wanted.class_id, *(FIELD_ROWS[ending] if ending else ())),
            processor=table.contender.name,
            owed_sats=sum(c.sats for c in play.customers),
            payments=tuple(everything),
            outcome=outcome_of(owed_and_paid, refused=refused),
            signed_txids=tuple(ids.txid for ids in signed),
            verdict=verdict_of(self._paying(everything), signed),
        )

    def _paying(self, payments: Sequence[ChainPayment]) -> list[TransactionIds]:
        """The ids of the transactions that paid, from the bytes in their blocks."""
        found = dict.fromkeys((p.txid, p.block) for p in payments)
        return [ids_of(self._block(block)[txid]) for txid, block in found]

    def _block(self, block_hash: str) -> dict[str, bytes]:
        if block_hash not in self._raws:
            block = self._network.rpc.getblock(block_hash, 2)
            self._raws[block_hash] = {str(tx["txid"]): bytes.fromhex(tx["hex"]) for tx in block["tx"]}
        return self._raws[block_hash]

    def _exhibits_of(self, play: Play) -> tuple[Exhibit, ...]:
        attempts = [Exhibit(Role.ATTEMPT, raw, f"attempt {n}") for n, raw in enumerate(self._signed[play.wanted.id], 1)]
        mine = {exhibit.wtxid for exhibit in attempts}
        return (*attempts, *(exhibit for exhibit in play.exhibits if exhibit.wtxid not in mine))

    def _record_of(self, play: Play, result: Result) -> Record:
        words = {Outcome.PAID_ONCE: "paid once", Outcome.PAID_TWICE: "PAID TWICE"}.get(result.outcome, "not paid")
        play.tell(ON_CHAIN, f"{result.paid_sats} of {result.owed_sats} sats: {words}", self._network.height)
        exhibits = self._exhibits[play.wanted.id]
        wanted = {exhibit.wtxid for exhibit in exhibits}
        here = [replace(b, wtxids=tuple(w for w in b.wtxids if w in wanted)) for b in self._blocks]
        customers = tuple((c.request_id, c.script_hex, c.sats) for c in play.customers)
        return Record(tuple(play.moments), exhibits, _worth_showing(here), customers)


def _worth_showing(blocks: Sequence[BlockSeen]) -> tuple[BlockSeen, ...]:
    """Those that hold something, and the branches that lost."""
    return tuple(block for block in blocks if block.wtxids or not block.active)


def standing_of(play: Play, result: Result, troubles: Sequence[str]) -> tuple[Standing, list[str]]:
    """What a cell proves, and why: passed is only what was attacked and paid once, without any trouble.

    What a cell lacks is no excuse for what is known of it by then.
    """
    if play.unplayed is not None:
        standing, why = play.unplayed
        against = [*play.reasons, *_unpaid_of(play, result)]
        return (Standing.FAILED, [*against, *troubles, why]) if against else (standing, [why])
    reasons = [*play.reasons, *troubles]
    if result.outcome is not Outcome.PAID_ONCE:
        reasons.append(_words_of(result))
    if play.wanted.plan is Plan.TRY_IN_VAIN and play.refusal is not None and not reasons:
        return Standing.IMPOSSIBLE, [f"no block can hold the mutant: the node says {play.refusal!r}"]
    if not play.is_live and not reasons:
        reasons.append("nothing was attacked")
    return (Standing.FAILED if reasons else Standing.PASSED), reasons


def _unpaid_of(play: Play, result: Result) -> list[str]:
    """What speaks against a processor whom nobody could attack, or not to the end.

    Twice is twice. And what it signed pays once by the time that everything is buried, or it is worth nothing; but for
    what no node relays, for nobody may have mined that.
    """
    if result.outcome is Outcome.PAID_TWICE:
        return [_words_of(result)]
    was_signed = bool(play.originals or result.signed_txids)
    is_owed = was_signed and play.wanted.malleator.original_policy is None and result.outcome is not Outcome.PAID_ONCE
    return [f"{_words_of(result)}, although it had signed"] if is_owed else []


def _words_of(result: Result) -> str:
    return f"ended as {result.outcome}: {result.paid_sats} of {result.owed_sats} sats are on chain"
