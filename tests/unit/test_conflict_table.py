"""The counterexamples of docs/malleability.md as histories that are played: what each permits, refuses, pays and keeps.

Every row is a history in the notation of that page. It says what the rule of the row must bring about, fails when that
rule is taken away, and ends with everybody paid, or held with a named reason and a command that helps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.guards import removals
from tests.guards.model import Removal
from tests.guards.removals import answer, nothing, swap, together
from tests.unit import broken_rules
from tests.unit.bench import Bench
from tests.unit.broken_rules import BrokenRule
from tests.unit.conflict_script import Script
from tests.unit.signing_orders import PKH, WPKH
from withdrawals import lineage
from withdrawals.core.blockscan import scan_block
from withdrawals.errors import WithdrawalsError
from withdrawals.ledger.read_chain import ChainReads
from withdrawals.processor import Processor
from withdrawals.steps.audit import audit

PAID = ("", "")


@dataclass(frozen=True)
class Row:
    """A counterexample: its history, the rule that answers it, that rule's removal, and how it ends.

    `ends`: PAID, or what `reconcile` lists for whoever is unpaid: the reason, and the command that helps.
    """

    ce: str
    fact: str
    history: str
    rule: str
    without: Removal
    ends: tuple[str, str] = PAID
    kind: int = WPKH

    @property
    def id(self) -> str:
        return f"{self.ce}: {self.fact}"


def broken(rule: BrokenRule) -> Removal:
    """A rule of `tests/unit/broken_rules.py` as a context."""
    return together(*[swap(f"withdrawals.core.exclusion.{name}", f) for name, f in rule.functions.items()])


_Anything = Any


def _only_newest(view: _Anything, spender: _Anything) -> tuple[_Anything, ...]:
    """Plans of the last generation of each lineage: what a ledger without lineages looks at."""
    batches = {p.batch_id: view.load_batch(p.batch_id) for p in _real_touched(view, spender)}
    newest = {view.list_lineage(b.lineage)[-1] for b in batches.values()}
    return tuple(p for p in _real_touched(view, spender) if p.batch_id in newest)


def _only_standing(view: _Anything, txids: _Anything) -> tuple[_Anything, ...]:
    """Bytes that went with their block."""
    return tuple(tx for tx in _real_transactions(view, txids) if view.load_spends_by_txid(tx.txid))


def _blind_within_a_block(raw: bytes, **watched: _Anything) -> _Anything:
    """The walker looks for what it was told to look for when it began."""
    scan, known = _real_scan(raw, **watched), watched["watched_outpoints"]
    touches = [replace(t, spent_vins=tuple(v for v in t.spent_vins if t.tx.prevouts[v] in known)) for t in scan.touches]
    return replace(scan, touches=tuple(t for t in touches if t.spent_vins or t.paid_vouts))


_real_touched, _real_transactions, _real_scan = lineage.load_plans_touched, ChainReads.load_transactions, scan_block

ROWS = (
    Row(
        "CE2",
        "the displacer of the last attempt says nothing of the first",
        """
        coin a
        ask w1 9
        sign T1{a}->w1,us
        coin b
        foreign F{a}->us,nobody
        block F
        explain F
        reissue T2{F:us,b}->w1,us of T1
        foreign G{b}->us
        reorg 1 G
        explain G
        is T2 conflicted
        refused T3{G:us}->w1 not_exclusive
        permitted T3{a}->w1
        empty 1
        reissue T3{a}->w1,us of T2
        bury
        """,
        "exclusion is proved against every attempt, pair by pair",
        broken(broken_rules.NO_PAIRWISE),
    ),
    Row(
        "CE6",
        "what was displaced today may be mined tomorrow",
        """
        coin a
        ask w1
        sign T1{a}->w1,us
        foreign F{a}->us
        block F
        explain F
        is T1 conflicted
        unpaid w1
        owed w1
        reissue T2{F:us}->w1,us of T1
        owed w1
        reorg 1 T1
        paid w1 by T1
        empty 2
        """,
        "what a signer ever saw is never given back",
        removals.cancel_at_any_time,
    ),
    Row(
        "CE7",
        "one output pays one of two equal requests",
        """
        coin a
        ask w1
        sign T1{a}->w1,us
        coin b
        ask w2 1 w1
        sign T2{b}->w2,us
        foreign F{a,b}->w1,us
        block F
        paid w1 by F
        unpaid w2
        is T2 conflicted
        explain F
        reissue T3{F:us}->w2,us of T2
        bury
        """,
        "an output is counted once, in request order",
        removals.outputs_count_twice,
    ),
    Row(
        "CE8",
        "two children of one parent are no conflict, whatever witness it was mined with",
        """
        coin a
        foreign P{a}->us,us
        block P
        explain P
        empty 2
        ask w1
        sign T1{P:us}->w1,us
        twin P' of P W01
        reorg 3 P'
        refused T2{P:us2}->w1 not_exclusive
        empty 2
        resend T1
        bury
        """,
        "ancestors are compared by txid, not by wtxid",
        broken(broken_rules.WTXIDS),
    ),
    Row(
        "CE8",
        "a parent and its twin are a conflict, and their children with them",
        """
        coin a
        ask w0
        sign P{a}->w0,us
        coin b
        block P
        ask w1 15
        sign T1{P:us,b}->w1,us
        twin P' of P T01
        reorg 1 P'
        paid w0 by P'
        is T1 conflicted
        permitted T2{P':us}->w1
        empty 1
        reissue T2{P':us,b}->w1,us of T1
        bury
        """,
        "ancestors are compared by txid, not by ntxid",
        broken(broken_rules.NTXIDS),
        kind=PKH,
    ),
    Row(
        "CE11",
        "final is a depth, and the chain may go below it",
        """
        coin a
        ask w1
        sign T1{a}->w1,us
        block T1
        empty 3
        is w1 final
        reorg 4
        is w1 broadcast
        unpaid w1
        breaker reorg_below_final
        owed w1
        resume
        resend T1
        bury
        """,
        "states are computed again where facts are deleted",
        removals.undoing_settles_nothing,
    ),
    Row(
        "CE14",
        "the displacer is gone with its block, and the first coin is back",
        """
        coin a
        ask w1
        sign T1{a}->w1,us
        foreign F{a}->us
        block F
        explain F
        reissue T2{F:us}->w1,us of T1
        reorg 1
        is T2 conflicted
        none F:us
        permitted T3{a}->w1
        empty 1
        reissue T3{a}->w1,us of T2
        bury
        """,
        "what an attempt descends from counts, as far as its bytes are known",
        swap("withdrawals.core.exclusion.ancestors_of", answer({})),
    ),
    Row(
        "CE16",
        "an older generation pays after all",
        """
        coin a
        ask w1
        sign T1{a}->w1,us
        foreign F{a}->us
        block F
        explain F
        reissue T2{F:us}->w1,us of T1
        is T2 broadcast
        reorg 1 T1
        paid w1 by T1
        is T1 confirmed
        is T2 confirmed
        breaker
        empty 2
        """,
        "whoever is paid is judged by every plan of his lineage",
        together(
            swap("withdrawals.lineage.load_plans_touched", _only_newest),
            swap("withdrawals.core.verdict.ancestors_of", answer({})),
        ),
    ),
    Row(
        "CE17",
        "a block takes its facts along, and no bytes",
        """
        coin a
        ask w1
        sign T1{a}->w1,us
        foreign F{a}->us
        block F
        explain F
        reissue T2{F:us}->w1,us of T1
        reorg 1
        none F:us
        permitted T3{a}->w1
        empty 1
        reissue T3{a}->w1,us of T2
        bury
        """,
        "the bytes of what was ever seen are kept for ever",
        swap("withdrawals.ledger.read_chain.ChainReads.load_transactions", _only_standing),
    ),
    Row(
        "CE17",
        "a block takes its facts along, and no reservation",
        """
        coin a
        ask w1
        sign T1{a}->w1,us
        rewind 3
        none a
        kept a for T1
        is T1 conflicted
        waits T1 an input vanished with the last block
        empty 1
        waits T1 not_exclusive
        """,
        "a reservation hangs from no fact",
        removals.reorg_frees_coins,
        ends=("not_exclusive", "withdrawals why"),
    ),
    Row(
        "CE18",
        "the coins that a proof rests on serve nobody else",
        """
        coin a
        ask w1
        sign T1{a}->w1,us
        coin b
        foreign F{a}->us
        block F
        kept F:us for T1
        explain F
        ask w2 2
        sign T5{b}->w2,us
        reissue T2{F:us}->w1,us of T1
        reorg 1 T5
        kept a for T1
        kept F:us for T1
        ask w3 2
        unplanned deep enough
        empty 1
        reissue T3{a}->w1,us of T2
        bury
        sign T6{T5:us}->w3,us
        bury
        """,
        "every coin on which an unpaid withdrawal's exclusion can rest is kept for it",
        swap("withdrawals.steps.settle._keep_coins", nothing),
    ),
    Row(
        "CE20",
        "a bump cannot do without a coin that is gone",
        """
        coin a 1.005
        ask w1 1
        sign T1{a}->w1
        coin b
        bump T2{a,b}->w1,us of T1
        foreign G{b}->us
        block G
        explain G
        unbumped T2 conflicted
        waits T2 same_again
        resend T1
        block T1
        paid w1 by T1
        empty 2
        """,
        "a lost input is a conflict, and no low fee",
        together(removals.bump_ignores_lost_inputs, swap("withdrawals.core.settlement._lost_inputs", answer(((), ())))),
    ),
    Row(
        "CE21",
        "the loser's coin serves others once the winner is buried",
        """
        coin a 1.005
        ask w1 1
        sign T1{a}->w1
        coin b
        bump T2{a,b}->w1,us of T1
        block T1
        kept b for T1
        empty 2
        is T1 final
        free b
        ask w2
        sign T3{b}->w2,us
        bury
        """,
        "a final batch gives back what nothing spent",
        swap("withdrawals.steps.settle.returnable", answer(frozenset())),
    ),
    Row(
        "CE22",
        "a coin that comes and goes in one block is no coin",
        """
        coin a
        passing d S
        none d
        breaker unexplained_spend
        explain S
        ask w1 9
        sign T1{a}->w1,us
        bury
        """,
        "the walker watches what it has just seen",
        swap("withdrawals.steps.watch.scan_block", _blind_within_a_block),
    ),
    Row(
        "CE23",
        "fresh change of a batch with two attempts is built on by nobody",
        """
        coin a 1.005
        ask w1 1
        sign T1{a}->w1
        coin b
        bump T2{a,b}->w1,us of T1
        block T2
        ask w2
        unplanned not deep enough
        reorg 1 T1
        paid w1 by T1
        none T2:us
        empty 2
        free b
        sign T3{b}->w2,us
        bury
        """,
        "a first plan spends an anchor",
        swap("withdrawals.core.coin_selection.is_anchor", answer(True)),  # noqa: FBT003 -- what everything then is
    ),
)


def play(make_bench: Callable[..., Bench], row: Row) -> Script:
    script = Script(make_bench(kind=row.kind))
    script.play(line.strip() for line in row.history.strip().splitlines())
    return script


@pytest.mark.parametrize("row", [pytest.param(r, id=r.id, marks=pytest.mark.covers(r.ce)) for r in ROWS])
def test_a_conflict_ends_as_its_row_says(make_bench: Callable[..., Bench], row: Row) -> None:
    """Everybody is paid exactly once, or held with a reason and a command; and the audit agrees."""
    script = play(make_bench, row)
    assert audit(script.bench.ledger, script.bench.policy).findings == ()
    if row.ends == PAID:
        script.assert_everybody_is_paid()
    else:
        reason, command = row.ends
        waiting = Processor(script.bench.parts).survey().waiting
        assert any(reason in held.what and held.command.startswith(command) for held in waiting), waiting


@pytest.mark.parametrize("row", [pytest.param(r, id=r.id) for r in ROWS])
def test_without_its_rule_a_conflict_does_not_end_so(make_bench: Callable[..., Bench], row: Row) -> None:
    """A row that passes without the rule that it is about proves nothing about it."""
    with row.without(), pytest.raises((AssertionError, WithdrawalsError, pytest.fail.Exception)):
        play(make_bench, row).assert_everybody_is_paid()
