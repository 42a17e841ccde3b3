"""What an adversarial review found: ways to be stuck, to spin, or to give back what was paid."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bench import COIN_SATS, POLICY, Bench
from withdrawals.config import parse_config
from withdrawals.core.model import WithdrawalState
from withdrawals.errors import BreakerOpen, ConfigError, SignerUnavailable
from withdrawals.signing import journal
from withdrawals.steps.sign import Signing
from withdrawals.steps.watch import Watched
from workers import loops
from workers.follower import Follower
from workers.sweeper import rings_due


class JobTimeout(Exception):
    """What a queue raises into a job that takes too long."""


# ----------------------------------------------------------------------------------------------------------- the money


@pytest.mark.parametrize("mined", [True, False], ids=["in a block", "in the mempool"])
def test_a_restored_ledger_refunds_nobody_while_a_payment_is_unexplained(bench: Bench, mined: bool) -> None:  # noqa: FBT001
    """What it forgot looks like a stranger's spend; the customer whom it pays is not given the balance back as well."""
    bench.fund()
    withdrawal = bench.request()
    backup = bench.folder / "backup.db"
    bench.ledger.backup(backup)
    bench.sent()
    bench.open(backup, bench.policy)
    if mined:
        bench.mine()
    bench.world.judge()
    with pytest.raises(BreakerOpen, match="may have forgotten payments"):
        bench.cancel(withdrawal)
    assert bench.state(withdrawal) is WithdrawalState.QUEUED
    bench.node.mine()
    assert bench.paid(withdrawal) == [withdrawal.sats]


# ------------------------------------------------------------------------------------------------------ stuck for good


def _no_space(_fd: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _timed_out(_fd: int) -> None:
    raise JobTimeout


@pytest.mark.parametrize("trouble", [_no_space, _timed_out], ids=["full disk", "job timeout"])
def test_signing_goes_on_after_a_journal_line_that_could_not_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[int], None]
) -> None:
    """The same process, with nobody's help, once the disk has room again; the other batch's line comes after it."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    first = bench.planned()
    bench.request()
    second = bench.planned()
    with monkeypatch.context() as patch:
        patch.setattr(journal, "make_durable", trouble)
        with suppress(JobTimeout):
            assert bench.sign(first).outcome is Signing.WAITING
    assert bench.sign(second).outcome is Signing.SIGNED
    assert bench.sign(first).outcome is Signing.SIGNED
    assert bench.causes() == set()
    assert len(journal.read_journal(bench.folder / "journal")) == 2


def test_a_closed_signer_stays_closed_after_a_line_that_could_not_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an append that did not finish is a reason to open the journal again, not somebody's `close`."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    with monkeypatch.context() as patch:
        patch.setattr(journal, "make_durable", _no_space)
        bench.sign(batch_id)
    bench.parts.signer.close()  # type: ignore[attr-defined] # the hot signer behind the port
    assert bench.sign(batch_id).outcome is Signing.WAITING
    with journal.Journal(bench.folder / "journal"), pytest.raises(SignerUnavailable):
        journal.Journal(bench.folder / "journal")


@pytest.mark.parametrize("cap", [0, 100_000_000, 10**12])
def test_a_feerate_cap_that_no_node_takes_is_refused_at_the_start(tmp_path: Path, cap: int) -> None:
    """Else payments would be signed under it, and not one of them could ever be sent."""
    raw: dict[str, object] = {
        "network": "regtest",
        "ledger": "ledger.db",
        "node": {"url": "http://127.0.0.1:1"},
        "descriptors": ["wpkh(...)"],
    }
    with pytest.raises(ConfigError, match=r"policy\.limits\.feerate_max"):
        parse_config({**raw, "policy": {"limits": {"feerate_max": cap}}}, base=tmp_path)
    config = parse_config({**raw, "policy": {"limits": {"feerate_max": 99_999_999}}}, base=tmp_path)
    assert config.policy.limits.feerate_max == 99_999_999


# ------------------------------------------------------------------------------------------------------------ spinning


@pytest.mark.parametrize(
    ("followed", "undone", "waits"), [(0, 0, True), (1, 0, False), (0, 1, False)], ids=["nothing", "a block", "a reorg"]
)
def test_a_follower_that_gets_nowhere_waits(
    monkeypatch: pytest.MonkeyPatch,
    bench: Bench,
    followed: int,
    undone: int,
    waits: bool,  # noqa: FBT001
) -> None:
    """A node behind us (it re-indexes), or on a chain that we do not follow, is not asked as fast as it can answer."""
    stop = loops.Stop()
    waited: list[float] = []

    def one_round(_follower: object) -> Watched:
        stop.ask()
        return Watched(followed, undone, at_tip=False, tip=None)

    monkeypatch.setattr(Follower, "round", one_round)
    monkeypatch.setattr(loops._Wake, "wait", lambda _wake, _stop, seconds: waited.append(seconds))
    loops.follow(bench.parts, stop)
    assert waited == ([loops.POLL_S] if waits else [])


def test_a_bumped_batch_is_sent_again_at_the_interval_and_not_at_every_sweep(make_bench: Callable[..., Bench]) -> None:
    """The replaced bytes are not offered any more, so the time of their last send never moves."""
    bench = make_bench(policy=replace(POLICY, resend_interval_s=60))
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    batch_id = bench.sent()
    bench.clock.sleep(61)
    bench.bump(batch_id)
    assert bench.sign(batch_id).outcome is Signing.SIGNED

    def due() -> bool:
        with bench.ledger.read() as view:
            return ("broadcast", batch_id) in rings_due(view, bench.clock.now(), 60)

    assert due()
    bench.broadcast(batch_id)
    assert not due()
    bench.clock.sleep(59)
    assert not due()
    bench.clock.sleep(1)
    assert due()
