"""What the audit proves again is history: as it was when a signer was asked, however deep it lies by now."""

from __future__ import annotations

import json

import pytest

from tests.unit.bench import FINAL, SAFETY, WHO, WHY, Bench
from tests.unit.conflict_script import Script
from tests.unit.fakes import stranger
from tests.unit.front_desk import FrontDesk
from withdrawals.core.model import TxOut
from withdrawals.ledger.read_chain import ChainReads
from withdrawals.steps.audit import AuditReport, audit
from withdrawals.steps.reissue import approve_reissue


def look(bench: Bench) -> AuditReport:
    return audit(bench.ledger, bench.policy)


REISSUED = """
    coin a
    ask w1
    sign T1{a}->w1,us
    foreign F{a}->us
    block F
    explain F
    reissue T2{F:us}->w1,us of T1
    block T2
"""
TWICE_REMOVED = """
    coin a
    ask w1
    sign T1{a}->w1,us
    coin b
    foreign F{a}->us
    block F
    explain F
    foreign G{F:us}->us
    block G
    explain G
    reissue T2{G:us}->w1,us of T1
    block T2
"""


@pytest.mark.covers("I1")
@pytest.mark.parametrize("history", [REISSUED, TWICE_REMOVED], ids=["a child of the displacer", "a grandchild"])
def test_a_proof_holds_however_deep_it_is_buried(bench: Bench, history: str) -> None:
    """No reorg reaches the displacer any more, so nobody needs its ancestry; what it proved then it proves now."""
    script = Script(bench)
    script.play(line.strip() for line in history.strip().splitlines())
    assert look(bench).findings == ()
    bench.mine(2 * SAFETY)
    assert look(bench).findings == ()
    script.assert_everybody_is_paid()


def test_a_stranger_who_came_after_the_plan_is_no_fault_of_the_plan(bench: Bench) -> None:
    """He pays our customer with a signature that fixes nothing. Nobody can exclude what is yet to come."""
    (coin,) = bench.fund()
    withdrawal = bench.request()
    bench.sent()
    bench.mine_exactly(stranger([coin], [TxOut(withdrawal.script, withdrawal.sats)]))
    assert [f.code for f in look(bench).findings] == ["unexplained_spend"]


@pytest.mark.covers("I1")
def test_a_stranger_who_was_there_before_is_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that was asked although nothing excludes him, which only a broken rule lets happen."""
    script = Script(bench)
    script.play(["coin a", "ask w1", "sign T1{a}->w1,us"])
    owed, batch_id = script.owed["w1"], script.batch_id("T1")
    foreign = stranger([script.outpoint("a"), bench.node.purse()], [TxOut(owed.script, owed.sats)])
    bench.mine_exactly(foreign)
    bench.reorg(1, forget=True)
    with bench.ledger.begin() as tx:
        for cause in tx.load_breaker():
            tx.close_breaker(cause.id, at=bench.clock.now(), who=WHO, why=WHY)
    assert look(bench).findings == ()
    with monkeypatch.context() as broken:
        broken.setattr(ChainReads, "load_seen_payers", lambda _self, ids: dict.fromkeys(ids, ()))
        bench.bump(batch_id)
        bench.sign(batch_id)
    assert [f.code for f in look(bench).findings] == ["exclusion"]


@pytest.mark.covers("CE10")
def test_what_rests_on_depth_is_listed_and_is_no_finding(bench: Bench) -> None:
    """With who approved it, for as long as there is a ledger."""
    script = Script(bench)
    script.play(
        [
            "coin a",
            "ask w1",
            "sign T1{a}->w1,us",
            "foreign F{a}->nobody",
            "block F",
            "explain F",
            "coin b",
            f"empty {SAFETY}",
            "waits T1 not_exclusive",
        ]
    )
    made = approve_reissue(script.batch_id("T1"), bench.ledger, bench.node, bench.world, bench.dice, who=WHO, why=WHY)
    assert made.batch_id is not None
    bench.sign(made.batch_id)
    bench.broadcast(made.batch_id)
    bench.mine(FINAL)
    report = look(bench)
    assert report.findings == ()
    (line,) = report.conditional
    assert made.batch_id in line
    assert script.owed["w1"].request_id in line
    assert line.endswith(f"approved by {WHO}")


def test_the_command_says_what_was_compared_and_lists_what_rests_on_depth(desk: FrontDesk) -> None:
    """In words and in JSON; a node that does not answer is no reason to fail."""
    said = desk.says("audit")
    assert said.code == 0
    assert "node: the node could not be asked" in said.out
    assert "journal: the keys' journal is not on this host: not compared" in said.out
    offline = desk.says("audit", "--offline", "--json")
    assert offline.code == 0
    report = json.loads(offline.out)
    assert report["node"] == "the node was not asked: coins not compared"
    assert report["conditional"] == report["findings"] == []


def test_the_command_prints_conditional_re_issues(desk: FrontDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each, before the verdict."""
    monkeypatch.setattr(
        "withdrawals.steps.audit.conditional_lines", lambda _view, batch_id: iter([f"{batch_id} rests"])
    )
    said = desk.says("audit", "--offline")
    assert said.out.count("CONDITIONAL: b-") >= 1
    assert said.code == 0
