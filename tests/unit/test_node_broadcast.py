"""What a node says to `sendrawtransaction` is a hint, and every hint is read the same way whatever node gives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.node_server import (
    FakeNode,
    Json,
    Refusal,
    Reply,
    client_of,
    outpoint,
    reply,
    spend_of,
    write_cookie,
)
from withdrawals.core import tx
from withdrawals.core.types import COIN, Feerate
from withdrawals.errors import InvariantBroken, NodeUnavailable, WithdrawalsError
from withdrawals.node.broadcast import ANSWERS, NodeBroadcaster, outcome_of
from withdrawals.ports import Broadcaster, Sent

PRESENT, CONFLICT, RETRY = Sent.PRESENT, Sent.CONFLICT, Sent.RETRY_SAME_BYTES
NEVER, AMBIGUOUS = Sent.NEVER_SENT, Sent.AMBIGUOUS

TXID = "5f" * 32
SAID = [
    # code, what nodes say, what it is
    (-27, "Transaction outputs already in utxo set", PRESENT),
    (-27, "Transaction already in block chain", PRESENT),
    (-26, "txn-already-in-mempool", PRESENT),
    (-26, "txn-already-known", PRESENT),
    (-26, "txn-same-nonwitness-data-in-mempool", PRESENT),
    (-25, "bad-txns-inputs-missingorspent", CONFLICT),
    (-25, "Missing inputs", CONFLICT),
    (-25, "Inputs missing or spent", CONFLICT),
    (-26, "missing-inputs", CONFLICT),
    (-26, f"insufficient fee, rejecting replacement {TXID}; new feerate 0.00001 BTC/kvB <= old feerate", CONFLICT),
    (-26, f"insufficient fee, rejecting replacement {TXID}, less fees than conflicting txs; 0.00001 < 0.5", CONFLICT),
    (-26, f"insufficient fee, rejecting replacement {TXID}, not enough additional fees to relay; 0 < 0.1", CONFLICT),
    (-26, "txn-mempool-conflict", CONFLICT),
    (-26, f"too many potential replacements, rejecting replacement {TXID}; too many conflicting clusters", CONFLICT),
    (-26, f"too many potential replacements, rejecting replacement {TXID}; too many potential (101 > 100)", CONFLICT),
    (-26, "replacement-failed, insufficient feerate: does not improve feerate diagram", CONFLICT),
    (-26, f"replacement-adds-unconfirmed, replacement {TXID} adds unconfirmed input, idx 0", CONFLICT),
    (-26, f"bad-txns-spends-conflicting-tx, {TXID} spends conflicting transaction {TXID}", CONFLICT),
    (-26, "bip125-replacement-disallowed", CONFLICT),
    (-25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)", NEVER),
    (-25, "max-fee-exceeded", NEVER),
    (-26, "absurdly-high-fee, 1 > 0.1", NEVER),
    (-25, "Unspendable output exceeds maximum configured by user (maxburnamount)", NEVER),
    (-25, "max-burn-exceeded", NEVER),
    (-26, "non-final", RETRY),
    (-26, "non-BIP68-final", RETRY),
    (-26, "bad-txns-premature-spend-of-coinbase, tried to spend coinbase at depth 5", RETRY),
    (-26, "min relay fee not met, 0 < 110", RETRY),
    (-26, "mempool min fee not met, 100 < 1000", RETRY),
    (-26, "mempool full", RETRY),
    (-26, "too-long-mempool-chain, too many unconfirmed ancestors [limit: 25]", RETRY),
    (-26, "too-long-mempool-chain, too many descendants for tx 00 [limit: 25]", RETRY),
    (-26, "too-large-cluster", RETRY),
    (-28, "Loading block index…", RETRY),
    # The scripts of our bytes: the words in parentheses are the same, those before them are not.
    (-26, "mempool-script-verify-flag-failed (Non-canonical DER signature), input 0 of ab", AMBIGUOUS),
    (-26, "non-mandatory-script-verify-flag (Non-canonical DER signature)", AMBIGUOUS),
    (-26, "mandatory-script-verify-flag-failed (Non-canonical DER signature), input 0", AMBIGUOUS),
    (-26, "mempool-script-verify-flag-failed (Witness program hash mismatch)", AMBIGUOUS),
    (-26, "mempool-script-verify-flag-failed (Locktime requirement not satisfied), non-final", AMBIGUOUS),
    # Our bytes break a rule of relay, or nobody knows.
    (-26, "dust", AMBIGUOUS),
    (-26, "scriptpubkey", AMBIGUOUS),
    (-26, "tx-size", AMBIGUOUS),
    (-26, "bad-witness-nonstandard", AMBIGUOUS),
    (-26, "bad-witness-taproot-annex", AMBIGUOUS),
    (-26, "bad-txns-in-belowout, value in (0.1) < value out (0.2)", AMBIGUOUS),
    (-25, "", AMBIGUOUS),
    (-26, "something new in version 40", AMBIGUOUS),
    (-22, "TX decode failed. Make sure the tx has at least one input.", AMBIGUOUS),
    (-8, "Fee rates larger than or equal to 1BTC/kvB are not accepted", AMBIGUOUS),
    (-8, "insufficient fee", AMBIGUOUS),
    (-1, "txn-already-known", AMBIGUOUS),
    (-7, "Out of memory", AMBIGUOUS),
    (-32601, "Method not found", AMBIGUOUS),
    (-32603, "Internal error", AMBIGUOUS),
]


@pytest.mark.parametrize(("code", "message", "outcome"), SAID)
def test_every_known_answer_is_read_by_its_words(code: int, message: str, outcome: Sent) -> None:
    assert outcome_of(code, message) is outcome


@pytest.mark.parametrize(("code", "message", "outcome"), [said for said in SAID if said[0] in {-25, -26}])
def test_prefixes_of_a_version_change_nothing(code: int, message: str, outcome: Sent) -> None:
    """Nor does the code, -25 or -26, which versions have swapped."""
    assert outcome_of(-51 - code, message) is outcome
    if message:
        assert outcome_of(code, f"mempool-rejected ({message})") is outcome


def test_every_row_of_the_table_can_decide() -> None:
    """No row is hidden by one above it, and each is written the way it is compared."""
    for words, outcome in ANSWERS:
        assert words == words.lower()
        assert outcome_of(-26, words) is outcome
        assert next(row for row, _ in ANSWERS if row in words) == words


@given(st.integers(), st.text())
def test_what_nobody_knows_is_ambiguous(code: int, message: str) -> None:
    """The default is never that it is safe to do something else."""
    known = code in {-27, -28} or any(words in message.lower() for words, _ in ANSWERS)
    assert known or outcome_of(code, message) is AMBIGUOUS


# -------------------------------------------------------------------------------------------------------------- sending

RAW = spend_of(outpoint(1))
TWIN = spend_of(outpoint(1), witness=b"\x02")
CAP = Feerate(500_000)


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        node.methods["sendrawtransaction"] = lambda raw, _cap: tx.txid_of(bytes.fromhex(raw))
        node.methods["getmempoolentry"] = lambda _txid: {"wtxid": tx.wtxid_of(RAW)}
        yield node


@pytest.fixture
def broadcaster(node: FakeNode, tmp_path: Path) -> Iterator[NodeBroadcaster]:
    with client_of(node, write_cookie(tmp_path)) as rpc:
        yield NodeBroadcaster(rpc)


def refusal(code: int, message: str) -> Json:
    def refuse(*_: Json) -> Json:
        raise Refusal(code, message)

    return refuse


def test_what_was_accepted_is_compared_with_what_is_held(node: FakeNode, broadcaster: NodeBroadcaster) -> None:
    port: Broadcaster = broadcaster
    sent = port.send(RAW, feerate_max=CAP)
    assert (sent.outcome, sent.reason, sent.held_wtxid) == (PRESENT, "accepted", tx.wtxid_of(RAW))
    assert node.asked("getmempoolentry") == [[tx.txid_of(RAW)]]


@pytest.mark.parametrize("answer", [None, (-26, "txn-same-nonwitness-data-in-mempool")])
def test_another_witness_under_our_txid_is_reported(
    node: FakeNode, broadcaster: NodeBroadcaster, answer: tuple[int, str] | None
) -> None:
    """The node says yes to ours without looking at it."""
    if answer is not None:
        node.methods["sendrawtransaction"] = refusal(*answer)
    node.methods["getmempoolentry"] = lambda _txid: {"wtxid": tx.wtxid_of(TWIN)}
    sent = broadcaster.send(RAW, feerate_max=CAP)
    assert (sent.outcome, sent.held_wtxid) == (PRESENT, tx.wtxid_of(TWIN))
    assert "another witness" in sent.reason


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (refusal(-5, "Transaction not in mempool"), "does not show it"),
        (refusal(-1, "help"), "help"),
        (lambda _txid: {"wtxid": "?"}, "makes no sense"),
    ],
    ids=["gone", "refused", "garbled"],
)
def test_presence_stands_where_the_second_question_fails(
    node: FakeNode, broadcaster: NodeBroadcaster, entry: Json, why: str
) -> None:
    node.methods["getmempoolentry"] = entry
    sent = broadcaster.send(RAW, feerate_max=CAP)
    assert (sent.outcome, sent.held_wtxid) == (PRESENT, None)
    assert why in sent.reason


def test_what_is_in_a_block_already_is_present(node: FakeNode, broadcaster: NodeBroadcaster) -> None:
    node.methods["sendrawtransaction"] = refusal(-27, "Transaction outputs already in utxo set")
    node.methods["getmempoolentry"] = refusal(-5, "Transaction not in mempool")
    sent = broadcaster.send(RAW, feerate_max=CAP)
    assert (sent.outcome, sent.held_wtxid) == (PRESENT, None)
    assert "already in utxo set" in sent.reason


@pytest.mark.parametrize(("code", "message", "outcome"), [said for said in SAID if said[2] is not PRESENT])
def test_no_answer_of_the_node_raises(
    node: FakeNode, broadcaster: NodeBroadcaster, code: int, message: str, outcome: Sent
) -> None:
    """And the node is asked nothing more: a transaction that it does not hold has no witness there."""
    node.methods["sendrawtransaction"] = refusal(code, message)
    sent = broadcaster.send(RAW, feerate_max=CAP)
    assert (sent.outcome, sent.held_wtxid) == (outcome, None)
    assert message in sent.reason
    assert node.asked("getmempoolentry") == []


@pytest.mark.covers("P10")
@pytest.mark.parametrize(
    "behaviour",
    [
        lambda _: None,
        lambda _: Reply(b"<html></html>", 503),
        lambda request: reply({"result": tx.txid_of(RAW), "id": request["id"] + 1}),
        lambda request: reply({"result": "00" * 32, "id": request["id"]}),
        lambda request: reply({"result": None, "id": request["id"]}),
    ],
    ids=["reply lost", "HTML", "another id", "another txid", "no txid"],
)
def test_an_answer_that_cannot_be_read_is_ambiguous(
    node: FakeNode, broadcaster: NodeBroadcaster, behaviour: Json
) -> None:
    """It may be in every mempool; it is sent again by whoever decides so, not here."""
    node.behave = behaviour
    assert broadcaster.send(RAW, feerate_max=CAP).outcome is AMBIGUOUS
    assert len(node.seen) == 1


def test_a_node_that_was_not_reached_was_sent_nothing(node: FakeNode, tmp_path: Path) -> None:
    with client_of(node, tmp_path / "no-cookie") as rpc:
        sent = NodeBroadcaster(rpc).send(RAW, feerate_max=CAP)
    assert (sent.outcome, sent.held_wtxid) == (RETRY, None)
    assert "cookie" in sent.reason
    assert node.seen == []


@pytest.mark.covers("I10")
@pytest.mark.parametrize(
    ("cap", "sent_as"), [(1, "0.00000001"), (500_000, "0.00500000"), (COIN - 1, "0.99999999"), (12_345, "0.00012345")]
)
def test_the_cap_is_sent_exactly_and_nothing_may_be_burnt(
    node: FakeNode, broadcaster: NodeBroadcaster, cap: int, sent_as: str
) -> None:
    """The node burns nothing by default, so `maxburnamount` is left out."""
    broadcaster.send(RAW, feerate_max=Feerate(cap))
    assert node.asked("sendrawtransaction") == [[RAW.hex(), sent_as]]


@pytest.mark.parametrize("cap", [0, -1, COIN])
def test_a_cap_that_the_node_would_read_as_none_is_our_mistake(
    node: FakeNode, broadcaster: NodeBroadcaster, cap: int
) -> None:
    with pytest.raises(InvariantBroken):
        broadcaster.send(RAW, feerate_max=Feerate(cap))
    assert node.seen == []


def test_bytes_that_are_no_transaction_are_not_sent(node: FakeNode, broadcaster: NodeBroadcaster) -> None:
    with pytest.raises(WithdrawalsError) as caught:
        broadcaster.send(RAW[:-1], feerate_max=CAP)
    assert not isinstance(caught.value, NodeUnavailable)
    assert node.seen == []
