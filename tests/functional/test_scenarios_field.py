"""What payout systems lost money by, and what was found by thinking, played to our processor and to the controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from regtest.contenders import CONTROLS, WITHDRAWALS
from regtest.network import Network
from regtest.processor import Contender
from regtest.provision import NodeProgram, RedisProgram
from regtest.scenarios import Scenario, moments, requests, signers
from regtest.scenarios.casting import casting
from regtest.scenarios.field import FIELD_FAILURES
from regtest.scenarios.kit import KIT
from regtest.scenarios.model import Outcome
from regtest.scenarios.perform import Performance, perform
from regtest.services import NODE_ARGS
from regtest.valkey import Valkey

WITH_PROCESSES: Final = (moments.CRASH_AFTER_SEND, requests.QUEUE_ROLLED_BACK, signers.LATE_SIGNATURE)
"""Stories about workers and what wakes them: played with real ones as well, or only."""


@pytest.fixture(scope="module")
def stage_network(bitcoind_binary: NodeProgram) -> Iterator[Network]:
    with Network(bitcoind_binary, extra_args=NODE_ARGS) as network:
        yield network


def played(network: Network, scenario: Scenario, who: Contender, redis_url: str | None = None) -> Performance:
    with casting(scenario, who, network, redis_url) as cast:
        return perform(scenario, network, cast.party, cast.proxy)


def cases(scenarios: Sequence[Scenario]) -> list[object]:
    return [pytest.param(s, marks=[pytest.mark.covers(*s.covers)], id=s.name) for s in scenarios]


def assert_passed(performance: Performance) -> None:
    assert performance.not_offered is None
    assert performance.troubles == ()
    assert performance.shortcomings == ()
    assert performance.result.outcome is Outcome.PAID_ONCE
    assert performance.result.paid_sats == performance.result.owed_sats


def test_all_of_them_are_in_the_kit() -> None:
    """Under their own names, which nobody else uses."""
    assert [KIT[scenario.name] for scenario in FIELD_FAILURES] == list(FIELD_FAILURES)
    assert all(scenario.covers for scenario in FIELD_FAILURES)


@pytest.mark.parametrize("scenario", cases([s for s in FIELD_FAILURES if s is not requests.QUEUE_ROLLED_BACK]))
def test_ours_pays_once_and_its_books_agree(stage_network: Network, scenario: Scenario) -> None:
    """And it does at every decisive point what a sound processor does."""
    performance = played(stage_network, scenario, WITHDRAWALS)
    assert_passed(performance)
    if scenario.name == "two-displacers":
        assert len(performance.result.signed_txids) > 1, "there was no second try that could have been a second payment"
    if scenario.name == "lost-attempt":
        assert performance.result.verdict == "exact", "what was signed before the books were lost is still its own"


@pytest.mark.parametrize("scenario", cases(WITH_PROCESSES))
def test_ours_with_real_processes_does_the_same(
    stage_network: Network, redis_program: RedisProgram, scenario: Scenario
) -> None:
    """Killed by SIGKILL, woken by a queue that can be lost, two of every worker."""
    with Valkey(redis_program) as server:
        assert_passed(played(stage_network, scenario, WITHDRAWALS, server.url))


@pytest.mark.parametrize("scenario", [s for s in FIELD_FAILURES if s.losers][::3], ids=lambda s: s.name)
def test_one_control_loses_where_it_must(stage_network: Network, scenario: Scenario) -> None:
    """Otherwise it would be no attack. One story in three here; `make replay` plays all to every control."""
    performance = played(stage_network, scenario, CONTROLS[scenario.losers[0]])
    assert performance.troubles == ()
    assert performance.not_offered is None
    assert performance.result.outcome is Outcome.PAID_TWICE
