"""The audit against what others know: the node's UTXO set, and the keys' journal. What cannot be compared is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ledgers import fresh_path
from tests.unit.bench import COIN_SATS, FINAL, Bench
from withdrawals.ports import SignedAnswer, UnspentScan
from withdrawals.processor import Processor
from withdrawals.steps.audit import AuditReport, audit


def look(bench: Bench) -> AuditReport:
    return Processor(bench.parts).audit()


def codes(report: AuditReport) -> list[str]:
    return sorted(f.code for f in report.findings)


def script_at(bench: Bench, index: int) -> bytes:
    (own,) = bench.parts.wallet.own_scripts(0, 0, index, 1)
    return own.script


# ------------------------------------------------------------------------------------------------------------- the node


def test_the_ledger_s_coins_are_the_node_s(bench: Bench) -> None:
    """Deposits, change of what is confirmed, and not what is only in the mempool."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    bench.sent()
    bench.mine(FINAL)
    bench.request()
    bench.sent()
    report = look(bench)
    assert report.findings == ()
    assert report.node == f"compared 2 unspent coin(s) with the node's at block {bench.node.height}"


@pytest.mark.covers("CE5")
def test_a_coin_at_a_script_far_beyond_those_watched_is_found(bench: Bench) -> None:
    """A restored ledger that watches too few scripts does not know its own change."""
    bench.node.deposit((script_at(bench, 300), 70_000))  # type: ignore[arg-type] # a script
    bench.mine()
    report = look(bench)
    assert codes(report) == ["coin_unknown"]
    assert report.findings[0].message.endswith("its script was not watched")


def test_a_coin_from_before_the_ledger_s_first_block_is_named_as_such(bench: Bench) -> None:
    """Nobody is paid from it, and somebody should know."""
    bench.fund()
    bench.node.mine(40)
    bench.open(fresh_path(bench.folder, "late.db"), bench.policy)
    bench.init()
    bench.follow()
    report = look(bench)
    assert codes(report) == ["coin_unknown"]
    assert "it is from before this ledger's first block" in report.findings[0].message


def test_while_the_follower_lags_nothing_is_compared(bench: Bench) -> None:
    """What the node has and we have not seen yet is no finding."""
    bench.fund()
    bench.node.mine()
    report = look(bench)
    assert report.findings == ()
    assert "is not followed (yet): coins not compared" in report.node


def test_blocks_that_came_while_the_node_was_scanning_are_taken_back(bench: Bench) -> None:
    """The two are compared at the block of the scan, although the ledger has gone on."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    bench.sent()
    fetch = bench.node.fetch_unspent

    def slow(*args: object, **options: object) -> UnspentScan:
        scan = fetch(*args, **options)  # type: ignore[arg-type] # as given
        bench.mine(2)
        return scan

    bench.node.fetch_unspent = slow  # type: ignore[method-assign] # this scan takes two blocks
    report = look(bench)
    assert report.findings == ()
    assert report.node == f"compared 2 unspent coin(s) with the node's at block {bench.node.height - 2}"


def _busy(bench: Bench) -> None:
    bench.node.scanning = True


def _down(bench: Bench) -> None:
    bench.node.down = "no route to host"


@pytest.mark.parametrize(("trouble", "word"), [(_busy, "in progress"), (_down, "no route")], ids=["busy", "down"])
def test_a_node_that_cannot_be_asked_is_no_finding(bench: Bench, trouble: Callable[[Bench], None], word: str) -> None:
    """And the report does not pretend that it was asked."""
    bench.fund()
    trouble(bench)
    report = look(bench)
    assert report.findings == ()
    assert word in report.node
    assert report.node.endswith("coins not compared")


def test_offline_asks_no_node(bench: Bench) -> None:
    """For the host that has none."""
    bench.node.down = "it would raise"
    report = Processor(bench.parts).audit(offline=True)
    assert (report.findings, report.node) == ((), "the node was not asked: coins not compared")


# ---------------------------------------------------------------------------------------------------------- the journal


@pytest.mark.covers("I12")
def test_a_plan_that_only_the_journal_knows_is_found(bench: Bench) -> None:
    """A restored ledger that nobody has tried to sign with yet."""
    bench.fund()
    backup = bench.folder / "backup.db"
    bench.ledger.backup(backup)
    bench.request()
    bench.sent()
    assert look(bench).journal == "compared with 1 line(s) of the keys' journal"
    bench.open(backup, bench.policy)
    assert codes(look(bench)) == ["journal"]


@pytest.mark.covers("I12")
def test_an_answer_that_no_line_was_written_for_is_found(bench: Bench) -> None:
    """Another signer has our keys; or the journal was replaced by an older copy."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    bench.sent()
    path = bench.folder / "journal"
    older = path.read_bytes()
    bench.request()
    bench.sent()
    path.write_bytes(older)
    assert codes(look(bench)) == ["journal", "journal"]


def test_a_damaged_journal_is_a_finding(bench: Bench) -> None:
    """And the rest of the audit is done all the same."""
    bench.fund()
    bench.request()
    bench.sent()
    path = bench.folder / "journal"
    path.write_bytes(path.read_bytes().replace(b'"plan_number":1', b'"plan_number":2'))
    report = look(bench)
    assert codes(report) == ["journal"]
    assert report.journal == "the keys' journal is damaged: not compared"


def test_a_signer_at_work_is_no_finding(bench: Bench) -> None:
    """Between the journal's line and the stored answer, both are as they should be."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    seen: list[AuditReport] = []

    def watched(answer: SignedAnswer) -> SignedAnswer:
        seen.append(look(bench))
        return answer

    bench.spy(after=watched)
    bench.sign(batch_id)
    assert [report.findings for report in seen] == [()]
    assert look(bench).findings == ()


def test_without_the_journal_only_the_ledger_s_own_head_is_looked_at(bench: Bench) -> None:
    """Answers came back, so some line was taken over."""
    bench.fund()
    bench.request()
    bench.sent()
    report = audit(bench.ledger, bench.policy)
    assert (report.findings, report.journal) == ((), "the keys' journal is not on this host: not compared")
    with bench.ledger.begin() as tx:
        tx.save_journal_head("0" * 64)
    assert codes(audit(bench.ledger, bench.policy)) == ["journal"]
