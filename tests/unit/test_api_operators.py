"""What operators and the support desk rely on: holds and releases, looking things up by any name, and retry."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledgers import url_of
from tests.unit.bench import FINAL, POLICY, SATS, Bench
from tests.unit.front_desk import FrontDesk, customer_address
from tests.unit.signing_orders import PKH
from withdrawals.bootstrap import Parts
from withdrawals.config import load_config
from withdrawals.core.model import WithdrawalState
from withdrawals.core.policy import Limits
from withdrawals.core.tx import view_of
from withdrawals.core.types import COIN, BatchId, RequestId, Sats
from withdrawals.errors import AddressIsOurs, ConfigError, NotAllowed, UnknownId, WrongChain
from withdrawals.ledger import open_ledger
from withdrawals.processor import Processor
from withdrawals.steps.reissue import reissue

ADDRESS = customer_address()
WHY = "it looked odd"


@pytest.fixture
def processor(desk: FrontDesk) -> Iterator[Processor]:
    with desk.open() as opened:
        yield opened


# ------------------------------------------------------------------------------------------------------------- by hand


def test_what_is_done_by_hand_is_kept_with_reason_and_login_name(processor: Processor) -> None:
    processor.hold("queued", reason=f"  {WHY} ")
    event = processor.show("queued").events[-1]
    assert (event.kind, event.who, event.why) == ("withdrawal.held", getpass.getuser(), WHY)
    assert processor.show("queued").withdrawal.hold_reason == WHY


def test_held_released_and_held_again(processor: Processor) -> None:
    assert processor.hold("queued", reason=WHY).state == "held"
    released = processor.release("queued", reason="all is well")
    assert (released.state, released.released, released.hold_reason) == ("queued", True, None)
    assert processor.release("queued", reason="once more").state == "queued"
    assert processor.hold("queued", reason="no, wait").state == "held"
    assert [e.kind for e in processor.show("queued").events] == [
        "withdrawal.queued",
        "withdrawal.held",
        "withdrawal.queued",
        "withdrawal.held",
    ]


def test_release_of_a_planned_request_does_not_touch_its_batch(processor: Processor, desk: FrontDesk) -> None:
    before = desk.content_hash()
    with pytest.raises(NotAllowed):
        processor.release("batched", reason=WHY)
    assert desk.content_hash() == before


def test_hold_and_reject_take_a_request_out_of_a_plan_that_nobody_was_shown(processor: Processor) -> None:
    assert processor.hold("batched", reason=WHY).state == "held"
    assert processor.reject("batched", reason="fraud").state == "rejected"
    assert processor.show("batched").refundable
    assert processor.audit().findings == ()


def test_pause_and_resume_are_told_with_their_reasons(processor: Processor) -> None:
    processor.pause(reason="moving house", who="carol")
    assert processor.status().pause == "moving house"
    processor.pause(reason="still moving", who="dave")
    assert processor.status().pause == "still moving"
    assert processor.resume(reason="moved in", who="carol") == ()
    assert processor.status().pause is None
    told = [(e.kind, e.who, e.why) for e in processor.events(limit=10_000) if e.kind.startswith("operator.")]
    assert told == [
        ("operator.paused", "carol", "moving house"),
        ("operator.paused", "dave", "still moving"),
        ("operator.resumed", "carol", "moved in"),
    ]


def test_resume_closes_the_causes_that_are_mended(processor: Processor) -> None:
    with processor._parts.ledger.begin() as tx:
        tx.open_breaker("lint_refused", "b-1 plan 1: padded", at=1)
    (closed,) = processor.resume(reason="the signer was mended", who="erin")
    assert (closed.cause, processor.status().breaker) == ("lint_refused", ())
    event = next(e for e in processor.events(limit=10_000) if e.kind == "breaker.closed")
    assert (event.who, event.why, event.data["cause"]) == ("erin", "the signer was mended", "lint_refused")


def test_resume_refuses_while_nobody_can_be_asked_whether_a_strange_spend_is_still_there(processor: Processor) -> None:
    with processor._parts.ledger.begin() as tx:
        tx.open_breaker("unexplained_mempool_spend", "somebody spends", at=1)
    with pytest.raises(NotAllowed, match="the node cannot be asked"):
        processor.resume(reason="it will be fine")
    assert len(processor.status().breaker) == 1


# ---------------------------------------------------------------------------------------------------------- by any name


def names_of(processor: Processor, name: str) -> list[str]:
    return [story.withdrawal.request_id for story in processor.why(name)]


def test_a_withdrawal_is_found_by_every_name_that_it_has(processor: Processor) -> None:
    story = processor.show("final")
    (attempt,), (coin,), (payment,) = story.attempts, story.coins, story.payments
    names = [
        "final",
        " final ",
        story.withdrawal.id,
        story.withdrawal.batch_id or "",
        story.withdrawal.address,
        story.withdrawal.address.upper(),
        str(coin.outpoint),
        f"{payment.txid}:{payment.vout}",
        attempt.txid,
        attempt.txid.upper(),
        attempt.wtxid,
        attempt.ntxid,
    ]
    assert {name: names_of(processor, name) for name in names} == {name: ["final"] for name in names}


def test_what_is_signed_and_not_in_a_block_is_found_by_its_output(processor: Processor) -> None:
    (attempt,) = processor.show("broadcast").attempts
    paying = [names_of_or_none(processor, f"{attempt.txid}:{vout}") for vout in (0, 1, 2)]
    assert sorted(paying) == [[], [], ["broadcast"]]


def names_of_or_none(processor: Processor, name: str) -> list[str]:
    try:
        return names_of(processor, name)
    except UnknownId:
        return []


def test_the_output_that_became_our_next_coin_is_the_next_batchs(processor: Processor) -> None:
    """The change of the first payment paid for the second: the outpoint belongs to both stories."""
    (coin,) = processor.show("confirmed").coins
    assert names_of(processor, str(coin.outpoint)) == ["confirmed"]
    assert coin.outpoint.txid == processor.show("final").attempts[0].txid


@pytest.mark.parametrize("state", [*WithdrawalState, "asked"])
def test_retry_never_pays(processor: Processor, desk: FrontDesk, state: str) -> None:
    before = desk.content_hash()
    with pytest.raises(NotAllowed) as refused:
        processor.retry(state)
    words = str(refused.value)
    if state in {"confirmed", "final"}:
        (payment,) = processor.show(state).payments
        assert f"already paid: output {payment.txid}:{payment.vout} pays {SATS} sats" in words
    else:
        assert processor.show(state).next_step in words
    assert desk.content_hash() == before


# ------------------------------------------------------------------------------------------- on a node, although a fake


def test_why_after_a_twin_was_mined_tells_who_was_paid_by_whom(make_bench: Callable[..., Bench]) -> None:
    """By every name: ours, the twin's txid and wtxid, and the txid that never was in a block."""
    bench = make_bench(kind=PKH)
    bench.fund()
    bench.request(request_id="r")
    bench.sent()
    processor = Processor(bench.parts)
    (ours,) = processor.show("r").attempts
    twin = view_of(bench.malleate(ours.raw, "T01"))
    bench.mine_exactly(twin.raw)
    assert ours.txid != twin.txid
    for name in ("r", ours.txid, ours.wtxid, ours.ntxid, twin.txid, twin.wtxid):
        (story,) = processor.why(name)
        assert (story.withdrawal.state, story.payments[0].txid, story.depth) == ("confirmed", twin.txid, 1)
        assert story.verdicts == (f"{twin.txid} (wtxid {twin.wtxid}) at depth 1: twin",)
        assert story.next_step == f"Final in {FINAL - 1} more block(s)."
    with pytest.raises(NotAllowed, match=f"already paid: output {twin.txid}:"):
        processor.retry("r")


def test_a_limit_holds_and_a_release_lets_go(make_bench: Callable[..., Bench]) -> None:
    limits = replace(Limits(), withdrawal_max_sats=Sats(SATS), day_max_sats=Sats(3 * SATS))
    bench = make_bench(policy=replace(POLICY, limits=limits))
    bench.fund(20 * SATS, 20 * SATS, 20 * SATS)
    processor = Processor(bench.parts)
    large = bench.request(SATS + 1, request_id="large")
    assert (large.state, bench.plan().batch_id) == ("held", None)
    processor.release("large", reason="known customer")
    bench.sent()
    assert processor.show("large").withdrawal.state == "broadcast"
    for name in ("one", "two"):
        bench.request(request_id=name)
    bench.sent()
    held = list(processor.list_withdrawals(["held"]))
    assert [w.request_id for w in held] == ["two"]
    assert (held[0].hold_reason or "").startswith("day_max_sats: ")
    processor.release("two", reason="the day was checked")
    bench.sent()
    assert {w.request_id: w.state for w in processor.list_withdrawals()} == dict.fromkeys(
        [RequestId("large"), RequestId("one"), RequestId("two")], WithdrawalState.BROADCAST
    )


def test_a_batch_that_is_given_up_by_cancel_pays_the_others_next_time(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.fund()
    processor = Processor(bench.parts)
    for name in ("one", "two", "three"):
        bench.request(request_id=name)
    bench.planned()
    processor.cancel("two", reason=WHY)
    bench.sent()
    assert [w.state for w in processor.list_withdrawals()] == ["broadcast", "cancelled", "broadcast"]
    assert processor.audit().findings == ()


def test_why_tells_the_attempts_of_every_generation(make_bench: Callable[..., Bench]) -> None:
    """A deposit that a payment spent vanished in a reorg; the payment was planned again without it."""
    bench = make_bench()
    bench.fund(2 * SATS)
    bench.fund(2 * SATS, depth=1)
    bench.request(3 * SATS, request_id="r")
    first = bench.sent()
    processor = Processor(bench.parts)
    (lost,) = processor.show("r").attempts
    bench.reorg(1, forget=True)
    bench.fund(4 * SATS)
    assert "is planned again with coins that exclude every earlier try" in processor.show("r").next_step
    reissue(first, bench.ledger, bench.node, bench.world, bench.dice)
    second = processor.show("r").withdrawal.batch_id
    assert second not in {None, first}
    bench.sign(BatchId(str(second)))
    bench.broadcast(BatchId(str(second)))
    bench.mine(FINAL)
    (story,) = processor.why("r")
    assert [a.batch_id for a in story.attempts] == [first, second]
    assert (story.withdrawal.state, story.payments[0].txid) == ("final", story.attempts[1].txid)
    assert [v.rpartition(": ")[2] for v in story.verdicts] == ["exact"]
    for name in ("r", lost.txid, lost.wtxid, story.attempts[1].txid, first, str(second)):
        assert [s.withdrawal.request_id for s in processor.why(name)] == ["r"]
    gone = {str(c.outpoint) for c in story.coins if c.fate.startswith("not on this chain")}
    assert len(gone) == 1
    assert [s.withdrawal.request_id for s in processor.why(gone.pop())] == ["r"]


# ---------------------------------------------------------------------------------------------------- another identity


def test_a_ledger_of_another_wallet_is_refused(desk: FrontDesk, tmp_path: Path) -> None:
    said = desk.says_bare("keygen", str(tmp_path / "other.txt"), "--network", "regtest", "--json")
    desk.configure({"descriptors": said.json["descriptors"]})
    before = desk.content_hash()
    with desk.open() as processor, pytest.raises(WrongChain, match="another wallet"):
        processor.enqueue("new", ADDRESS, sats=50_000)
    assert desk.content_hash() == before


def test_a_ledger_of_another_network_is_refused(desk: FrontDesk) -> None:
    desk.configure({"network": "signet"})
    before = desk.content_hash()
    with desk.open() as processor, pytest.raises(WrongChain, match="this ledger serves regtest"):
        processor.events()
    assert desk.content_hash() == before


def test_the_key_file_of_another_wallet_is_refused(desk: FrontDesk) -> None:
    other = desk.directory / "other.txt"
    desk.says_bare("keygen", str(other), "--network", "regtest")
    desk.configure({"key_file": "other.txt"})
    with desk.open() as processor, pytest.raises(WrongChain, match="its keys are not those"):
        _ = processor._parts.signer


def test_a_signer_without_key_file_or_journal_is_refused(desk: FrontDesk) -> None:
    config = replace(load_config(desk.config_path), journal=None)
    with Processor(Parts(config)) as processor, pytest.raises(ConfigError, match="needs both"):
        _ = processor._parts.signer


# -------------------------------------------------------------------------------------------------------------- backup


def test_a_backup_holds_the_same_ledger_and_not_the_journal(processor: Processor, desk: FrontDesk) -> None:
    target = processor.backup(desk.directory / "copy.db")
    copy = open_ledger(url_of(target))
    assert copy.content_hash() == desk.content_hash()
    copy.close()
    with pytest.raises(NotAllowed, match="overwrites nothing"):
        processor.backup(target)


def test_fresh_addresses_are_never_handed_out_twice(processor: Processor) -> None:
    """Not even beyond those that were watched from the start."""
    given = [processor.address() for _ in range(45)]
    assert len(set(given)) == 45
    for address in given:
        with pytest.raises(AddressIsOurs):
            processor.enqueue(f"to-{address}", address, sats=COIN)
