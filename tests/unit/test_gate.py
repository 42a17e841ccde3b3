"""The world gate: open only if nothing speaks against acting, and every reason has a word of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from withdrawals.core.gate import GateFacts, judge_gate
from withdrawals.core.model import Header, Identity
from withdrawals.core.policy import Policy
from withdrawals.core.types import BlockHash, BlockRef, OutPoint, Txid

POLICY = Policy(tip_age_max_s=7_200, peers_min=1, stale_after_s=3_600)
NOW = 1_700_000_000
TIP, GENESIS = BlockHash("ab" * 32), BlockHash("00" * 32)
MAIN = Identity("main", GENESIS, "fingerprint", 0)
REGTEST = Identity("regtest", GENESIS, "fingerprint", 0)

OPEN = GateFacts(
    ledger_tip=Header(800_000, TIP, BlockHash("cd" * 32), NOW - 600),
    identity=MAIN,
    node_tip=BlockRef(800_000, TIP),
    node_headers_height=800_000,
    node_tip_time=NOW - 600,
    node_peers=8,
    node_chain="main",
    node_genesis=GENESIS,
    now=NOW,
    silence_s=60,
    not_restored=False,
)
ON_REGTEST = replace(OPEN, identity=REGTEST, node_chain="regtest", node_peers=0)


def codes(facts: GateFacts) -> list[str]:
    return [reason.split(":")[0] for reason in judge_gate(facts, POLICY)]


def coins(n: int) -> tuple[OutPoint, ...]:
    return tuple(OutPoint(Txid(f"{i:064x}"), 0) for i in range(n))


@pytest.mark.covers("I6")
@pytest.mark.parametrize("facts", [OPEN, ON_REGTEST], ids=["main", "regtest"])
def test_the_gate_is_open_when_nothing_speaks_against_it(facts: GateFacts) -> None:
    """On regtest a node needs no peers."""
    assert judge_gate(facts, POLICY) == ()


@pytest.mark.covers("I6")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"identity": None}, "not_initialised"),
        ({"node_chain": "test"}, "wrong_chain"),
        ({"node_genesis": BlockHash("11" * 32)}, "wrong_genesis"),
        ({"ledger_tip": None}, "no_tip"),
        ({"node_tip": BlockRef(800_000, BlockHash("ef" * 32))}, "tip_differs"),
        ({"node_tip": BlockRef(800_001, BlockHash("ef" * 32)), "node_headers_height": 800_001}, "tip_differs"),
        ({"node_headers_height": 800_001}, "blocks_behind_headers"),
        ({"node_tip_time": NOW - 7_201}, "tip_old"),
        ({"node_tip_time": NOW + 7_201}, "tip_in_future"),
        ({"node_peers": 0}, "no_peers"),
        ({"journal_gap": "two lines behind"}, "journal_differs"),
        ({"silence_s": None}, "stale_start"),
        ({"silence_s": 3_601}, "stale_start"),
        ({"unexplained_spends": coins(1)}, "unexplained_spend"),
        ({"unexplained_mempool": coins(1)}, "unexplained_mempool_spend"),
    ],
)
def test_one_thing_amiss_closes_the_gate_with_its_own_word(change: dict[str, Any], code: str) -> None:
    """Each fact alone is enough, and nothing else is blamed."""
    assert codes(replace(OPEN, **change)) == [code]


@pytest.mark.parametrize(
    "change",
    [
        {"node_tip_time": NOW - 7_200},
        {"node_tip_time": NOW + 7_200},
        {"silence_s": 3_600},
        {"silence_s": None, "not_restored": True},
        {"silence_s": 10**7, "not_restored": True},
        {"node_peers": 1},
    ],
)
def test_the_bounds_themselves_are_allowed(change: dict[str, Any]) -> None:
    """And an operator's word that no backup was restored ends a long silence."""
    assert judge_gate(replace(OPEN, **change), POLICY) == ()


@pytest.mark.parametrize(
    "change", [{"silence_s": None}, {"silence_s": 10**7}, {"node_peers": 0}, {"node_tip_time": NOW + 10**6}]
)
def test_regtest_is_spared_what_a_lone_test_node_cannot_have(change: dict[str, Any]) -> None:
    """Peers, a steady clock and a continuous life; nothing else."""
    assert judge_gate(replace(ON_REGTEST, **change), POLICY) == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"node_tip_time": NOW - 7_201}, "tip_old"),
        ({"unexplained_spends": coins(1)}, "unexplained_spend"),
        ({"journal_gap": "two lines behind"}, "journal_differs"),
        ({"node_chain": "main"}, "wrong_chain"),
    ],
)
def test_regtest_is_spared_nothing_that_guards_money(change: dict[str, Any], code: str) -> None:
    """A test network must close where the real one would."""
    assert codes(replace(ON_REGTEST, **change)) == [code]


def test_every_reason_is_told_not_only_the_first() -> None:
    """An operator mends all of them in one go."""
    worst = replace(
        OPEN, ledger_tip=None, node_peers=0, node_headers_height=1, silence_s=None, unexplained_mempool=coins(2)
    )
    assert codes(worst) == [
        "no_tip",
        "blocks_behind_headers",
        "no_peers",
        "stale_start",
        "unexplained_mempool_spend",
    ]


def test_a_reason_names_a_few_outpoints_and_counts_the_rest() -> None:
    """A thief with a thousand coins must not make a log line of a megabyte."""
    (reason,) = judge_gate(replace(OPEN, unexplained_spends=coins(1_000)), POLICY)
    assert str(coins(1)[0]) in reason
    assert "and 997 more" in reason
    assert len(reason) < 400
