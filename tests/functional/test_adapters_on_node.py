"""The kit's stories, told to a processor behind an adapter: the chain must say the same as without one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from regtest import examples
from regtest.adapters.line import ADDRESS_LINE
from regtest.contenders import CONTROLS, contender_named
from regtest.network import Network
from regtest.process import Child
from regtest.processor import CannotPlay, Contender
from regtest.provision import NodeProgram
from regtest.replay.cells import Cell, Standing, cell_of
from regtest.scenarios import SCENARIOS, Outcome
from regtest.scenarios.casting import casting
from regtest.scenarios.model import NAIVE_TXID
from regtest.scenarios.perform import perform
from regtest.services import NODE_ARGS
from regtest.waiting import wait_for

SERVE = f"{sys.executable} -m regtest.adapters.serve"
OURS_BEHIND_A_COMMAND = contender_named(f"cmd:{SERVE} regtest.contenders:our_processor")
THIRD_PARTY = contender_named(f"cmd:{sys.executable} -m regtest.examples.third_party")


@pytest.fixture(scope="module")
def stage_network(bitcoind_binary: NodeProgram) -> Iterator[Network]:
    """A node that answers for every transaction it ever had in its chain."""
    with Network(bitcoind_binary, extra_args=NODE_ARGS) as network:
        yield network


def played(network: Network, name: str, who: Contender, *, is_control: bool = False) -> Cell:
    scenario = SCENARIOS[name]
    with casting(scenario, who, network) as cast:
        return cell_of(scenario, perform(scenario, network, cast.party, cast.proxy), is_control=is_control)


@pytest.mark.parametrize("name", ["mtgox", "lost-reply", "padded-refused", "owner-signs-twice", "backup-restored"])
def test_our_processor_passes_behind_an_adapter(stage_network: Network, name: str) -> None:
    """With a proxy, a signer that pads, an owner's keys, a backup: all of it reaches the other process."""
    cell = played(stage_network, name, OURS_BEHIND_A_COMMAND)
    assert cell.reasons == ()
    assert cell.standing is Standing.PASSED
    assert cell.result is not None
    assert cell.result.outcome is SCENARIOS[name].outcome


def test_a_control_loses_behind_an_adapter_what_it_loses_without(stage_network: Network) -> None:
    """So it is not the adapter that holds."""
    control = CONTROLS[NAIVE_TXID]
    behind = Contender(control.name, contender_named(f"cmd:{SERVE} {NAIVE_TXID}").make, is_control=True)
    cell = played(stage_network, "mtgox", behind, is_control=True)
    assert (cell.standing, cell.reasons) == (Standing.PASSED, ())
    assert cell.result is not None
    assert cell.result.outcome is Outcome.PAID_TWICE


def test_one_adapter_that_runs_already_plays_several_stories(stage_network: Network, tmp_path: Path) -> None:
    """By its address; it is neither started nor ended."""
    output = tmp_path / "adapter.txt"
    child = Child("adapter", output)
    child.spawn([*SERVE.split(), "withdrawals"])
    try:
        wait_for(lambda: ADDRESS_LINE.search(output.read_bytes()), "the adapter's address")
        found = ADDRESS_LINE.search(output.read_bytes())
        assert found is not None
        who = contender_named(found[1].decode())
        assert [played(stage_network, name, who).standing for name in ("mtgox", "witness-only")] == [
            Standing.PASSED,
            Standing.PASSED,
        ]
        assert child.alive
    finally:
        child.terminate()


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("mtgox", Outcome.PAID_TWICE),
        ("lost-reply", Outcome.PAID_TWICE),
        ("backup-restored", Outcome.PAID_TWICE),
        ("neither-twin", Outcome.PAID_TWICE),
        ("witness-only", Outcome.PAID_ONCE),
    ],
)
def test_the_payout_service_of_the_example_is_honest_and_loses(
    stage_network: Network, name: str, outcome: Outcome
) -> None:
    """As docs/attack-kit.md shows it: a usual design, spoken to in fifty lines, pays once until somebody interferes."""
    cell = played(stage_network, name, THIRD_PARTY)
    assert cell.result is not None
    assert cell.result.outcome is outcome
    assert cell.standing is (Standing.PASSED if outcome is Outcome.PAID_ONCE else Standing.FAILED)


def test_what_the_example_does_not_offer_is_not_passed(stage_network: Network) -> None:
    """A story about its keys says nothing of it; nor is it a failure."""
    cell = played(stage_network, "owner-signs-twice", THIRD_PARTY)
    assert cell.standing is Standing.NOT_OFFERED
    assert cell.reasons == ("the processor does not offer owner_keys",)


@pytest.mark.skipif(shutil.which("node") is None, reason="waits for node: the example's adapter is JavaScript")
def test_the_protocol_is_nobody_s_language(stage_network: Network) -> None:
    """The adapter in JavaScript asks its wallet what became of the txid, too."""
    who = contender_named(f"cmd:node {Path(examples.__file__).with_name('adapter.mjs')}")
    cell = played(stage_network, "mtgox", who)
    assert cell.result is not None
    assert cell.result.outcome is Outcome.PAID_TWICE
    with pytest.raises(CannotPlay, match="its signer cannot pad"):
        played(stage_network, "padded-refused", who)
