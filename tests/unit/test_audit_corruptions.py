"""One ledger with everything in it, changed by hand in one place: the audit finds each of these.

Somebody at the SQL prompt has taken the guards away. Every row of the table does one thing to a copy of a healthy
ledger that has seen a bump, a reorg, two re-issues with their certificates and a stranger's spend explained.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ledgers import url_of
from tests.unit.bench import COIN_SATS, FINAL, WHO, WHY, Bench
from tests.unit.fakes import customer_script, stranger
from tests.unit.test_docs import OPERATIONS, rows
from withdrawals.core.addresses import address_of
from withdrawals.core.model import BatchState, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, Network
from withdrawals.ledger import open_ledger
from withdrawals.steps.audit import AuditReport, audit
from withdrawals.steps.operate import resume
from withdrawals.steps.reconcile import Words, reconcile
from withdrawals.steps.reissue import reissue
from withdrawals.steps.settle import settle_with
from withdrawals.steps.sign import Signing


@dataclass(frozen=True)
class Rich:
    """A bench that has seen much, and the names by which the table speaks of its rows."""

    bench: Bench
    names: Mapping[str, object]


def _reissued(bench: Bench, batch_id: BatchId) -> BatchId:
    outcome = reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)
    assert outcome.batch_id is not None, outcome.waiting
    assert bench.sign(outcome.batch_id).outcome is Signing.SIGNED
    bench.broadcast(outcome.batch_id)
    return outcome.batch_id


def _bumped(bench: Bench) -> BatchId:
    batch_id = bench.sent()
    bench.bump(batch_id)
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    bench.broadcast(batch_id)
    return batch_id


def _live(bench: Bench) -> dict[str, object]:
    """What the docstring of this file promises, in that order; the names of what came of it."""
    names: dict[str, object] = {}
    bench.fund(COIN_SATS, COIN_SATS)
    settled = bench.request()
    first = _bumped(bench)
    bench.mine(FINAL)
    names |= {"settled": settled.id, "settled_batch": first}

    bench.fund(COIN_SATS, depth=1)
    bench.request(COIN_SATS * 5 // 2)
    vanished = bench.sent()
    bench.reorg(1, forget=True)
    assert bench.batch_state(vanished) is BatchState.CONFLICTED
    bench.fund(2 * COIN_SATS)
    names |= {"reorged_batch": vanished, "child": _reissued(bench, vanished)}
    bench.mine(FINAL)

    (coin,) = bench.fund(9 * COIN_SATS)
    bench.request(8 * COIN_SATS)
    displaced = bench.sent()
    assert coin in bench.newest_plan(displaced).prevouts
    foreign = view_of(stranger([coin], [bench.change_back(9 * COIN_SATS - 3_000)]))
    bench.mine_exactly(foreign.raw)
    settle = settle_with(bench.policy, bench.clock)
    words = Words({}, {}, WHO, WHY)
    reconcile(foreign.txid, words, bench.ledger, settle, bench.policy, bench.clock, bench.dice)
    resume(bench.ledger, bench.world, who=WHO, why=WHY)
    names |= {"displaced_batch": displaced, "grandchild": _reissued(bench, displaced), "foreign": foreign.wtxid}
    bench.mine(FINAL)

    deposits = bench.fund(COIN_SATS, COIN_SATS)
    names |= {"waiting": bench.request(10**9).id, "cancelled": bench.cancel(bench.request(10**9)).id}
    flying = bench.request()
    names |= {"flying": flying.id, "flying_batch": _bumped(bench)}
    with bench.ledger.read() as view:
        free = [c for c in view.load_unspent_coins() if c.outpoint not in bench.reserved()]
        (paid,) = view.load_payments([settled.id])
        (spend,) = view.load_spends_by_txid(paid.txid)
        change = next(c.outpoint for c in free if c.outpoint.txid == paid.txid or c.own.branch == 1)
    deposit = next(d for d in deposits if d in {c.outpoint for c in free})
    other = customer_script(77)
    return names | {
        "payer": paid.txid,
        "payer_wtxid": spend.wtxid,
        "height": paid.block.height,
        "change_txid": change.txid,
        "change_vout": change.vout,
        "deposit_txid": deposit.txid,
        "deposit_vout": deposit.vout,
        "other_script": other,
        "other_address": address_of(other, Network.REGTEST),
        "zeros": "0" * 64,
        "ones": "1" * 64,
    }


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rich]:
    bench = Bench(tmp_path_factory.mktemp("rich"))
    names = _live(bench)
    bench.ledger.backup(bench.folder / "healthy.db")
    take_guards_away(bench.folder / "healthy.db")
    yield Rich(bench, names)
    bench.close()


def audited(rich: Rich, folder: Path, *statements: str) -> AuditReport:
    """The audit of a copy, after somebody ran these statements on it."""
    path = folder / "copy.db"
    shutil.copy(rich.bench.folder / "healthy.db", path)
    tamper(path, statements, rich.names)
    ledger = open_ledger(url_of(path))
    try:
        before = ledger.content_hash()
        report = audit(
            ledger,
            rich.bench.policy,
            chain=rich.bench.node,
            descriptors=rich.bench.parts.wallet.descriptors,
            derive=rich.bench.parts.wallet.own_scripts,
            read_journal=rich.bench.parts.read_journal,
        )
        assert ledger.content_hash() == before
    finally:
        ledger.close()
    return report


def take_guards_away(path: Path) -> None:
    """Every trigger, and the partial index that says that a coin is held once."""
    connection = sqlite3.connect(path)
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    drops = [f"DROP TRIGGER {name}" for (name,) in triggers]
    connection.executescript("; ".join(["BEGIN", *drops, "DROP INDEX uq_reservations_live", "COMMIT"]))
    connection.close()


def tamper(path: Path, statements: tuple[str, ...], names: Mapping[str, object]) -> None:
    """Checks and references are off, too."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            for short, words in _SHORT.items():
                statement = statement.replace(short, words)  # noqa: PLW2901 -- the same, spelled out
            assert connection.execute(statement, names).rowcount > 0, statement
    connection.close()


def test_the_healthy_ledger_has_no_findings(rich: Rich, tmp_path: Path) -> None:
    """With a live batch, two lineages of two generations, and everything else compared too."""
    report = audited(rich, tmp_path)
    assert report.findings == ()
    assert report.conditional == ()
    assert (report.withdrawals, report.batches, report.plans) == (6, 6, 8)
    assert report.node.startswith("compared ")
    assert report.journal == "compared with 8 line(s) of the keys' journal"
    bench = rich.bench
    with bench.ledger.read() as view:
        states = {w.id: w.state for w in view.list_withdrawals()}
        assert sorted(c.displacers for b in view.list_batches(set(BatchState)) for c in view.load_certificates(b))
    assert states[rich.names["flying"]] is WithdrawalState.BROADCAST  # type: ignore[index] # a name of a withdrawal
    assert sum(state is WithdrawalState.FINAL for state in states.values()) == 3


_RESERVE = "INSERT INTO reservations SELECT 1 + max(id), :deposit_txid, :deposit_vout, {}, 1, NULL FROM reservations"
_PAY = """
    INSERT INTO payments (withdrawal_id, height, block_hash, txid, vout, sats, by_plan)
    SELECT {}, height, block_hash, txid, vout + 1, sats, by_plan FROM payments WHERE withdrawal_id = :settled
"""
_CERTIFICATE = "UPDATE certificates SET evidence = replace(evidence, {}, {}) WHERE batch_id = {}"
_SHORT = {"<of payer>": "WHERE txid = :payer", "<flying>": "WHERE batch_id = :flying_batch"}
"""What many rows of the table end in."""

CORRUPTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    # what is cached
    "a batch is stored as less far than it is": (
        "batch_state",
        ("UPDATE batches SET state = 'signed' WHERE id = :flying_batch",),
    ),
    "a batch that was asked for is given up": (
        "batch_state",
        ("UPDATE batches SET state = 'abandoned' WHERE id = :flying_batch",),
    ),
    "an unpaid withdrawal is stored as final": (
        "withdrawal_state",
        ("UPDATE withdrawals SET state = 'final' WHERE id = :flying",),
    ),
    # the requests
    "a withdrawal is said never to have been asked for": (
        "asked",
        ("UPDATE withdrawals SET asked = 0 WHERE id = :flying",),
    ),
    "a withdrawal is said to have been asked for": ("asked", ("UPDATE withdrawals SET asked = 1 WHERE id = :waiting",)),
    "a withdrawal that a signer saw is cancelled": (
        "asked",
        ("UPDATE withdrawals SET state = 'cancelled', batch_id = NULL WHERE id = :flying",),
    ),
    "a paid withdrawal is cancelled": (
        "paid_although",
        ("UPDATE withdrawals SET state = 'cancelled', batch_id = NULL WHERE id = :settled",),
    ),
    "a withdrawal goes to somebody else's script": (
        "address",
        ("UPDATE withdrawals SET script = :other_script WHERE id = :waiting",),
    ),
    "a withdrawal goes to somebody else's address": (
        "address",
        ("UPDATE withdrawals SET address = :other_address WHERE id = :waiting",),
    ),
    "an address is no address": ("address", ("UPDATE withdrawals SET address = 'bcrt1q' WHERE id = :waiting",)),
    "a withdrawal is in a batch that does not have it": (
        "membership",
        ("UPDATE withdrawals SET state = 'batched', batch_id = :flying_batch WHERE id = :waiting",),
    ),
    # who was paid
    "a payment is gone": ("payment", ("DELETE FROM payments WHERE withdrawal_id = :settled",)),
    "a payment is invented": ("payment", (_PAY.format(":waiting"),)),
    "a payment is booked on another output": (
        "payment",
        ("UPDATE payments SET vout = vout + 1 WHERE withdrawal_id = :settled",),
    ),
    "a payment is booked for somebody else": (
        "payment",
        ("UPDATE payments SET withdrawal_id = :waiting WHERE withdrawal_id = :settled",),
    ),
    "a payment is of another amount": ("payment", ("UPDATE payments SET sats = sats - 1 <of payer>",)),
    "a payment is not by a plan": ("payment", ("UPDATE payments SET by_plan = 0 <of payer>",)),
    "a payment is by a transaction that spends nothing of ours": (
        "payment",
        ("UPDATE payments SET txid = :deposit_txid <of payer>",),
    ),
    "a withdrawal is paid twice": ("paid_twice", (_PAY.format(":settled"),)),
    "who paid is forgotten": ("payer_forgotten", ("DELETE FROM seen_payers WHERE withdrawal_id = :settled",)),
    # bytes and blocks
    "stored bytes go by another txid": (
        "transaction",
        ("UPDATE transactions SET txid = :ones WHERE wtxid = :payer_wtxid",),
    ),
    "stored bytes are cut short": (
        "transaction",
        ("UPDATE transactions SET raw = substr(raw, 1, 60) WHERE wtxid = :payer_wtxid",),
    ),
    "stored bytes are gone": ("spend", ("DELETE FROM transactions WHERE wtxid = :payer_wtxid",)),
    "a header does not follow the one below it": (
        "header",
        ("UPDATE headers SET prev = :ones WHERE height = :height",),
    ),
    "a block is gone": ("header", ("DELETE FROM headers WHERE height = :height",)),
    "the first block is another": ("header", ("UPDATE identity SET birthday_height = birthday_height + 1",)),
    "a spend stands in a block that is not followed": (
        "header",
        ("UPDATE spends SET block_hash = :ones <of payer>",),
    ),
    "a spend is gone": ("spend", ("DELETE FROM spends <of payer>",)),
    "a spend is of another input": ("spend", ("UPDATE spends SET vin = vin + 1 <of payer>",)),
    "a spend is of another coin": (
        "spend",
        ("UPDATE spends SET prev_txid = :deposit_txid, prev_vout = :deposit_vout <of payer>",),
    ),
    "a spend has another ntxid": ("spend", ("UPDATE spends SET ntxid = :ones <of payer>",)),
    "a coin holds more": ("coin", ("UPDATE coins SET sats = sats + 1 WHERE txid = :deposit_txid",)),
    "a coin is another key's": (
        "coin",
        ("UPDATE coins SET script = (SELECT max(script) FROM own_scripts) WHERE txid = :deposit_txid",),
    ),
    "a coin is an output that is not there": (
        "coin",
        ("UPDATE coins SET vout = 9 WHERE txid = :deposit_txid AND vout = :deposit_vout",),
    ),
    "our change is no coin": ("coin", ("DELETE FROM coins WHERE txid = :change_txid AND vout = :change_vout",)),
    "somebody else's script is watched as ours": (
        "own_script",
        ("UPDATE own_scripts SET script = :other_script WHERE key_index = 18 AND branch = 1",),
    ),
    "a script of ours is not watched": ("own_script", ("DELETE FROM own_scripts WHERE key_index = 18 AND branch = 0",)),
    "scripts are watched for a descriptor that there is not": (
        "own_script",
        ("UPDATE own_scripts SET wallet = 7 WHERE key_index = 18 AND branch = 0",),
    ),
    # against the node
    "a coin is gone with every trace of it": (
        "coin_unknown",
        (
            "DELETE FROM coins WHERE txid = :deposit_txid AND vout = :deposit_vout",
            "DELETE FROM transactions WHERE txid = :deposit_txid",
        ),
    ),
    "a spent coin is unspent again": ("coin_missing", ("DELETE FROM spends <of payer>",)),
    # plans and answers
    "a plan's fee is another": ("plan", ("UPDATE plans SET fee_sats = fee_sats + 1 <flying>",)),
    "a plan's feerate is another": ("plan", ("UPDATE plans SET feerate = feerate + 1 <flying>",)),
    "a plan's name is another": ("plan", ("UPDATE plans SET ntxid = :ones <flying> AND number = 2",)),
    "a plan's bytes are another plan's": (
        "plan",
        ("UPDATE plans SET unsigned = (SELECT unsigned FROM plans <flying> AND number = 1) <flying> AND number > 1",),
    ),
    "a plan's bytes are no transaction": (
        "plan",
        ("UPDATE plans SET unsigned = substr(unsigned, 1, 30) <flying> AND number = 2",),
    ),
    "a plan's input holds more than its coin": ("plan", ("UPDATE plan_inputs SET sats = sats + 1 <flying>",)),
    "a plan pays less": ("plan", ("UPDATE plan_outputs SET sats = sats - 1 <flying> AND withdrawal_id IS NOT NULL",)),
    "a plan's change goes to somebody else": (
        "plan",
        ("UPDATE plan_outputs SET script = :other_script <flying> AND withdrawal_id IS NULL",),
    ),
    "a plan pays somebody of another batch": (
        "plan",
        ("UPDATE plan_outputs SET withdrawal_id = :waiting <flying> AND withdrawal_id IS NOT NULL",),
    ),
    "an answer is gone": ("attempt", ("DELETE FROM attempts <flying> AND plan_number = 1",)),
    "an answer is said to be refused": ("attempt", ("UPDATE attempts SET refusal = 'no' <flying>",)),
    "a refusal is forgotten": ("attempt", ("UPDATE plans SET state = 'refused' <flying>",)),
    "an answer is of another size": ("attempt", ("UPDATE attempts SET vsize = vsize + 1 <flying>",)),
    "an answer is another plan's": ("attempt", ("UPDATE attempts SET plan_number = 3 - plan_number <flying>",)),
    "a plan that was asked is not": (
        "attempt",
        ("UPDATE plans SET state = 'planned', asked_at = NULL <flying> AND number = 2",),
    ),
    # exclusion and its certificates
    "a bump spends a coin of its own": (
        "exclusion",
        ("UPDATE plan_inputs SET txid = :deposit_txid, vout = :deposit_vout <flying> AND plan_number = 2",),
    ),
    "a re-issue spends a coin that proves nothing": (
        "exclusion",
        ("UPDATE plan_inputs SET txid = :deposit_txid, vout = :deposit_vout + vin WHERE batch_id = :grandchild",),
    ),
    "a certificate is gone": ("certificate", ("DELETE FROM certificates WHERE batch_id = :child",)),
    "a certificate speaks of no attempt": (
        "certificate",
        (_CERTIFICATE.format("'proofs'", "'prooves'", ":child"), _CERTIFICATE.format("'against'", "'a'", ":child")),
    ),
    "a certificate names an outpoint that is not spent": (
        "certificate",
        ("UPDATE certificates SET evidence = json_set(evidence, '$.proofs[0].outpoint', :zeros || ':0')",),
    ),
    "a certificate names an attempt that never was": (
        "certificate",
        ("UPDATE certificates SET evidence = json_set(evidence, '$.proofs[0].against', :ones)",),
    ),
    "a certificate names an ancestor that is none": (
        "certificate",
        ("UPDATE certificates SET evidence = json_set(evidence, '$.proofs[0].spent_by', 'its ancestor ' || :payer)",),
    ),
    "a certificate is about another plan": (
        "certificate",
        ("UPDATE certificates SET evidence = json_set(evidence, '$.ntxid', :ones)",),
    ),
    "a certificate rests on what has nothing to do with it": (
        "certificate",
        ("UPDATE certificate_displacers SET wtxid = :payer_wtxid WHERE batch_id = :grandchild",),
    ),
    "a displacer's bytes are gone": ("certificate", ("DELETE FROM transactions WHERE wtxid = :foreign",)),
    # reservations
    "a live batch's coins are given back": ("reservation", ("UPDATE reservations SET ended_at = 1 <flying>",)),
    "a final batch holds a coin": ("reservation", (_RESERVE.format(":settled_batch"),)),
    "a coin is held for two": (
        "reservation",
        (_RESERVE.format(":flying_batch"), _RESERVE.format(":child")),
    ),
    "a coin is held for another lineage": (
        "reservation",
        ("UPDATE reservations SET batch_id = :grandchild <flying>",),
    ),
    # the story
    "an event is gone": ("event_gap", ("DELETE FROM events WHERE seq = 7",)),
    "an explanation is gone": ("unexplained_spend", ("DELETE FROM explanations",)),
    "the ledger's journal head is another": ("journal", ("UPDATE journal_head SET head = :ones",)),
    "a plan in the journal is unknown": (
        "journal",
        ("UPDATE plans SET unsigned = CAST(unsigned || x'00' AS BLOB) WHERE batch_id = :settled_batch",),
    ),
}


@pytest.mark.covers("I3")
@pytest.mark.parametrize("what", CORRUPTIONS)
def test_a_ledger_changed_in_one_place_is_found_out(rich: Rich, tmp_path: Path, what: str) -> None:
    """By the code that operators look up."""
    code, statements = CORRUPTIONS[what]
    found = audited(rich, tmp_path, *statements).findings
    assert code in {f.code for f in found}, found


def test_every_finding_of_the_manual_can_be_provoked() -> None:
    """No code stands there that no ledger can have."""
    described = {code for row in rows(OPERATIONS, "## Monitoring") for code in re.findall(r"`(\w+)`", row[0])}
    assert described == {code for code, _ in CORRUPTIONS.values()}
