"""Every scenario, with the control and with us: a story on a real node, and the chain says how it ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from regtest.contenders import CONTROLS, WITHDRAWALS
from regtest.faults import DropRequest
from regtest.malleate import ids_of
from regtest.network import Network
from regtest.oracle import confirmed_spender
from regtest.ours import OurProcessor
from regtest.processor import Contender
from regtest.provision import NodeProgram
from regtest.report.judge import problems_of
from regtest.rpc import RpcError
from regtest.scenarios import SCENARIOS, Outcome, Scenario
from regtest.scenarios.casting import casting
from regtest.scenarios.model import NAIVE, NAIVE_TXID
from regtest.scenarios.perform import Performance, perform
from regtest.scenarios.stage import Stage
from regtest.scenarios.twins import COIN, OWED_SATS
from regtest.services import NODE_ARGS
from withdrawals.core.types import OutPoint

PROGRAM = Path(sys.executable).with_name("withdrawals-regtest")


@pytest.fixture(scope="module")
def stage_network(bitcoind_binary: NodeProgram) -> Iterator[Network]:
    """A node that answers for every transaction it ever had in its chain."""
    with Network(bitcoind_binary, extra_args=NODE_ARGS) as network:
        yield network


def played(network: Network, scenario: Scenario, who: Contender = WITHDRAWALS) -> Performance:
    with casting(scenario, who, network) as cast:
        return perform(scenario, network, cast.party, cast.proxy)


def ours_of(scenario: Scenario) -> object:
    marks = [pytest.mark.covers(*scenario.covers)] if scenario.covers else []
    return pytest.param(scenario, marks=marks, id=scenario.name)


@pytest.mark.parametrize("scenario", [ours_of(scenario) for scenario in SCENARIOS.values()])
def test_our_processor_pays_once_or_says_that_it_refuses(stage_network: Network, scenario: Scenario) -> None:
    """And its books agree with the chain in the end: what is paid and buried is final, and the audit finds nothing."""
    performance = played(stage_network, scenario)
    assert performance.troubles == ()
    assert performance.shortcomings == ()
    assert performance.result.outcome is scenario.outcome
    expected_sats = 0 if scenario.outcome is Outcome.REFUSED else performance.result.owed_sats
    assert performance.result.paid_sats == expected_sats
    if scenario.name == "old-generation":
        assert len(performance.result.signed_txids) > 1, "there was no second try that could have been a second payment"


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS.values() if s.takes_part(NAIVE_TXID)], ids=lambda s: s.name)
def test_the_control_loses_where_it_must_and_nowhere_else(stage_network: Network, scenario: Scenario) -> None:
    """Otherwise an attack does not work, or the control is a straw man."""
    performance = played(stage_network, scenario, CONTROLS[NAIVE_TXID])
    assert performance.troubles == ()
    assert performance.result.outcome is scenario.expected[NAIVE]


@pytest.mark.covers("F1", "F2", "P1", "T02b")
def test_where_the_node_denies_the_txid_the_coin_tells_who_paid(stage_network: Network) -> None:
    """Asked for what was signed the node knows nothing; the coin was spent by a twin, whose outputs are the payment."""
    scenario = SCENARIOS["mtgox"]
    with casting(scenario, WITHDRAWALS, stage_network) as cast:
        performance = perform(scenario, stage_network, cast.party, cast.proxy)
        [signed] = cast.party.signed_transactions("payout-001")
        story = ours(cast.party.processor).api.show("payout-001")
    txid = ids_of(signed).txid
    for method in ("getrawtransaction", "getmempoolentry"):
        with pytest.raises(RpcError) as unknown:
            stage_network.rpc.call(method, txid)
        assert unknown.value.code == -5
    [coin] = story.coins
    spender = confirmed_spender(stage_network.rpc, coin.outpoint.txid, coin.outpoint.vout)
    [payment] = performance.result.payments
    assert spender is not None
    assert spender.txid == payment.txid == story.payments[0].txid != txid
    assert performance.result.verdict == "twin"
    [verdict] = story.verdicts
    assert verdict.endswith(": twin")
    assert stage_network.rpc.gettxout(txid, payment.vout) is None


@pytest.mark.covers("F5")
def test_what_vanished_from_every_mempool_is_sent_again(stage_network: Network) -> None:
    """Neither twin is anywhere after the reorg; the next round sends the stored bytes, and they are what is mined."""
    performance = played(stage_network, SCENARIOS["neither-twin"])
    told = {moment.label: moment.words for moment in performance.record.moments}
    assert told["the block is lost"] == "neither is in any mempool"
    assert told["a moment later"] == "sent the very same bytes again"
    assert told["attacker tries again"] == "too late: bad-txns-inputs-missingorspent"
    assert performance.result.confirmed_txid == performance.result.signed_txids[0]


@pytest.mark.covers("F18", "T09")
def test_a_twin_that_was_seated_first_is_no_conflict(stage_network: Network) -> None:
    """Our own broadcast is refused for want of a fee, because the twin that pays the customer sits there already."""
    scenario = replace(SCENARIOS["owner-signs-twice"], proxied=True)
    with casting(scenario, WITHDRAWALS, stage_network) as cast:
        assert cast.proxy is not None
        cast.proxy.on("sendrawtransaction", DropRequest(), times=1)
        stage = Stage(stage_network, cast.party, scenario.coins, cast.proxy)
        raw = stage.begin(OWED_SATS, COIN)
        assert ids_of(raw).txid not in stage_network.rpc.getrawmempool()
        twin = stage.attacker.twin_of(raw, "T09")
        stage_network.rpc.sendrawtransaction(twin.hex(), 0)
        stage.work()
        processor = ours(cast.party.processor)
        [refused] = [event for event in processor.api.events() if event.kind == "attempt.conflict"]
        assert "insufficient fee" in refused.why
        assert processor.api.status().breaker == ()
        assert ids_of(raw).txid not in stage_network.rpc.getrawmempool()
        stage.mine_what_waits()
        assert not stage.complain()
        stage.curtain()
        assert processor.status("payout-001") == "final"
    [payment] = stage.payments_of(stage.customer)
    assert (payment.txid, payment.sats) == (ids_of(twin).txid, OWED_SATS)


@pytest.mark.covers("T03a")
def test_what_the_lint_refused_keeps_its_coins(stage_network: Network) -> None:
    """The padded bytes count as signed: nobody sends them, nothing new is signed, and their coin stays reserved."""
    scenario = SCENARIOS["padded-refused"]
    with casting(scenario, WITHDRAWALS, stage_network) as cast:
        perform(scenario, stage_network, cast.party)
        processor = ours(cast.party.processor)
        [refusal] = processor.refusals("payout-001")
        assert "padded" in refusal or "der" in refusal.lower()
        [cause] = processor.api.status().breaker
        assert cause.cause == "lint_refused"
        batch = processor.api.show("payout-001").withdrawal.batch_id
        reserved = {coin.outpoint: owner for coin, owner in processor.api.coins() if owner is not None}
        assert set(reserved.values()) == {batch}
        processor.enqueue("payout-002", str(stage_network.miner.getnewaddress()), OWED_SATS)
        processor.tick()
        assert processor.signed_transactions("payout-002") == []
        assert {o for o, owner in reserved.items() if owner == batch} == spent_by(processor, "payout-001")


def test_the_command_line_plays_stories_with_real_processes(tmp_path: Path) -> None:
    """What another team's CI calls: the exit code says who won, and the JSON is exactly what was promised."""
    command = [str(PROGRAM), "replay", "mtgox", "lost-*", "--json", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == {"node", "summary", "results"}
    assert set(report["node"]) == {"version", "subversion"}
    assert report["summary"]["failed"] == report["summary"]["controls_survived"] == 0
    rows = {(r["scenario"], r["processor"]): (r["outcome"], r["paid_sats"]) for r in report["results"]}
    for scenario in ("mtgox", "lost-reply"):
        assert rows[scenario, "withdrawals"] == ("paid_once", OWED_SATS)
        assert rows[scenario, "naive-txid"] == ("paid_twice", 2 * OWED_SATS)
        assert {who for name, who in rows if name == scenario} == {"withdrawals", *CONTROLS}
    assert "\033" not in done.stdout + done.stderr
    assert "Paid exactly once, whatever it was called" in done.stderr
    assert "attacker re-encodes it: mined as" in (tmp_path / "replay.log").read_text(encoding="utf-8")


def test_a_story_that_breaks_off_fails_the_run(stage_network: Network) -> None:
    """Whatever the chain holds by then: a story without its end proves nothing."""

    def stumble(stage: Stage) -> None:
        stage.begin(OWED_SATS, COIN)
        raise RuntimeError("the stage light fell down")

    scenario = replace(SCENARIOS["high-s"], play=stumble)
    performance = played(stage_network, scenario)
    assert performance.troubles == ("the story breaks off: RuntimeError: the stage light fell down",)
    assert performance.result.outcome is Outcome.UNPAID
    assert problems_of([scenario], [performance.result])
    stage_network.mine()


def ours(processor: object) -> OurProcessor:
    assert isinstance(processor, OurProcessor)
    return processor


def spent_by(processor: OurProcessor, request_id: str) -> set[OutPoint]:
    return {coin.outpoint for coin in processor.api.show(request_id).coins}
