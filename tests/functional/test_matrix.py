"""The matrix on real nodes: a slice of it against ours, and that it can fail against others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from regtest.contenders import CONTROLS, WITHDRAWALS, our_processor
from regtest.matrix import Plan, planned_cells, play_matrix
from regtest.matrix.field import FORGETFUL, Field
from regtest.network import Network
from regtest.processor import CannotPlay, Contender, Processor, Signing, Site, SupportAnswer
from regtest.provision import NodeProgram
from regtest.record import Role
from regtest.replay.cells import Cell, Ending, Standing
from regtest.scenarios import Outcome
from regtest.scenarios.model import CORE_WALLET, NAIVE_TXID
from tests.functional.one_thing import OneThingAtATime

PLANNED = {cell.id: cell for cell in planned_cells(part=True)}
PLAYED = [cell.id for cell in PLANNED.values() if cell.plan is Plan.PLAY]
STANDINGS = {
    Plan.PLAY: Standing.PASSED,
    Plan.TRY_IN_VAIN: Standing.IMPOSSIBLE,
    Plan.CANNOT_BE: Standing.IMPOSSIBLE,
    Plan.SHOW: Standing.NOT_OURS,
}
MUTANT_STAYS = {Ending.MUTANT_WINS, Ending.ORIGINAL_THEN_MUTANT, Ending.TWO_NODES, Ending.MUTANT_FIRST}

FOR_THE_CONTROL = [ending for ending in Ending if ending is not Ending.ORIGINAL_THEN_MUTANT]
"""What the control is asked about below."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def ours(bitcoind_binary: NodeProgram) -> Mapping[str, Cell]:
    """The slice, played to our processor."""
    return {cell.id: cell for cell in play_matrix(WITHDRAWALS, bitcoind_binary, part=True)}


@pytest.mark.covers("F1", "F2", "F5", "F6", "F9", "F18", "T02b", "T03R", "T09", "T11", "W04", "W13")
@pytest.mark.parametrize("cell_id", PLANNED)
def test_our_processor_passes_what_can_be_played(ours: Mapping[str, Cell], cell_id: str) -> None:
    """And every other cell says why nothing is proved by it."""
    cell = ours[cell_id]
    assert (cell.standing, cell.reasons if cell.was_played else ()) == (STANDINGS[PLANNED[cell_id].plan], ())
    assert cell.was_played or cell.reasons


def test_no_cell_is_left_out_and_none_is_made_up(ours: Mapping[str, Cell]) -> None:
    """What was planned is what came."""
    assert set(ours) == set(PLANNED)


@pytest.mark.parametrize("cell_id", PLAYED)
def test_the_chain_holds_the_one_that_the_ending_is_named_for(ours: Mapping[str, Cell], cell_id: str) -> None:
    """The attack took place: a twin paid where it must have won, and the original where that must have."""
    cell = ours[cell_id]
    assert cell.result is not None
    assert cell.result.outcome is Outcome.PAID_ONCE
    never_relayed = cell.ending is Ending.NEITHER_IN_MEMPOOL and cell.class_id == "T03R"
    twin = "twin" if PLANNED[cell_id].malleator.changes_txid else "witness_twin"
    assert cell.result.verdict == (twin if cell.ending in MUTANT_STAYS or never_relayed else "exact")
    paying = {payment.txid for payment in cell.result.payments}
    assert len(paying) == 1
    assert len(cell.result.payments) == cell.customers


@pytest.mark.parametrize("cell_id", PLAYED)
def test_a_played_cell_can_be_drawn(ours: Mapping[str, Cell], cell_id: str) -> None:
    """Both transactions, the blocks that held one of them, both branches of a reorg, and what was said meanwhile."""
    record = ours[cell_id].record
    roles = [exhibit.role for exhibit in record.exhibits]
    assert roles == [Role.ATTEMPT, Role.TWIN]
    held = {wtxid for block in record.blocks for wtxid in block.wtxids}
    assert held <= {exhibit.wtxid for exhibit in record.exhibits}
    forked = {Ending.MUTANT_THEN_ORIGINAL, Ending.ORIGINAL_THEN_MUTANT, Ending.NEITHER_IN_MEMPOOL}
    assert any(not block.active for block in record.blocks) == (ours[cell_id].ending in forked)
    assert any(block.active and block.wtxids for block in record.blocks)
    complaints = [moment for moment in record.moments if moment.label == "support clicks retry"]
    assert len(complaints) >= 2
    assert all(moment.words.startswith("refused: ") for moment in complaints)
    assert len(record.customers) == ours[cell_id].customers


def test_no_block_holds_what_consensus_forbids(ours: Mapping[str, Cell]) -> None:
    """The node says so itself, of the mutant of a real payment."""
    [reason] = ours["T20/mutant-wins/bech32/one"].reasons
    assert "(Witness requires empty scriptSig)" in reason


def assert_ends(cell: Cell, outcome: Outcome) -> None:
    """Whoever pays once passes, even one that must lose elsewhere."""
    assert cell.result is not None
    assert cell.result.outcome is outcome
    assert cell.standing is (Standing.PASSED if outcome is Outcome.PAID_ONCE else Standing.FAILED)


@pytest.fixture(scope="module")
def naive(bitcoind_binary: NodeProgram) -> Mapping[str, Cell]:
    """The control that goes by txids, with one class that changes them and one that does not."""
    cells = play_matrix(CONTROLS[NAIVE_TXID], bitcoind_binary, classes=["T02b", "T09", "W01"], endings=FOR_THE_CONTROL)
    return {cell.id: cell for cell in cells}


@pytest.mark.parametrize(
    ("cell_id", "outcome"),
    [
        ("T02b/mutant-wins/legacy/one", Outcome.PAID_TWICE),
        ("T09/mutant-wins/legacy/one", Outcome.PAID_TWICE),
        ("T02b/original-wins/legacy/one", Outcome.PAID_ONCE),
        ("T02b/mutant-then-original/legacy/one", Outcome.PAID_TWICE),
        ("T02b/neither-in-mempool/legacy/one", Outcome.PAID_TWICE),
        ("T09/two-nodes/legacy/one", Outcome.PAID_TWICE),
        ("T09/mutant-first/legacy/one", Outcome.PAID_TWICE),
        ("W01/mutant-wins/bech32/one", Outcome.PAID_ONCE),
        ("W01/mutant-then-original/bech32/one", Outcome.PAID_ONCE),
    ],
)
def test_the_control_loses_where_a_txid_tells_nothing(
    naive: Mapping[str, Cell], cell_id: str, outcome: Outcome
) -> None:
    """And nowhere else: the matrix can fail, and does not fail an honest processor that nobody attacks."""
    assert_ends(naive[cell_id], outcome)
    assert naive[cell_id].is_control


def test_who_pays_one_by_one_is_not_asked_to_pay_many_at_once(naive: Mapping[str, Cell]) -> None:
    """Such a cell proves nothing of him, and says so."""
    cell = naive["T02b/mutant-wins/legacy/many"]
    assert (cell.standing, cell.reasons) == (
        Standing.NOT_OFFERED,
        ("it pays every customer by a transaction of his own",),
    )
    assert cell.result is None


@pytest.fixture(scope="module")
def by_wallet(bitcoind_binary: NodeProgram) -> Mapping[str, Cell]:
    """The control that leaves it to its node's wallet to sign, to send, and to send again."""
    endings = [Ending.MUTANT_WINS, Ending.NEITHER_IN_MEMPOOL]
    cells = play_matrix(CONTROLS[CORE_WALLET], bitcoind_binary, classes=["T02b", "W01"], endings=endings)
    return {cell.id: cell for cell in cells}


@pytest.mark.parametrize(
    ("cell_id", "outcome"),
    [
        ("T02b/mutant-wins/legacy/one", Outcome.PAID_TWICE),
        ("W01/mutant-wins/bech32/one", Outcome.PAID_ONCE),
    ],
)
def test_who_lets_his_nodes_wallet_send_can_be_played(
    by_wallet: Mapping[str, Cell], cell_id: str, outcome: Outcome
) -> None:
    """The nodes of the matrix let their wallets send. This one pays twice some rounds after all is buried."""
    assert_ends(by_wallet[cell_id], outcome)


def test_a_wallet_that_sends_again_when_it_is_loaded_has_sent_again(by_wallet: Mapping[str, Cell]) -> None:
    """Whatever else its processor does where its node has forgotten everything."""
    cell = by_wallet["T02b/neither-in-mempool/legacy/one"]
    again = [moment.words for moment in cell.record.moments if moment.label == "a moment later"]
    assert again == ["the very same bytes are sent again"]
    assert not any("sent again" in reason or "signs nothing" in reason for reason in cell.reasons)


class Bare:
    """Our processor, with nothing of what a processor may offer beyond the least."""

    name = "bare"

    def __init__(self, inner: Processor) -> None:
        self._inner = inner

    def start(self) -> None:
        self._inner.start()

    def stop(self) -> None:
        self._inner.stop()

    def close(self, *, failed: bool = False) -> None:
        self._inner.close(failed=failed)

    def deposit_address(self, kind: str) -> str:
        return self._inner.deposit_address(kind)

    def enqueue(self, request_id: str, address: str, sats: int) -> None:
        self._inner.enqueue(request_id, address, sats)

    def cancel(self, request_id: str) -> bool:
        return self._inner.cancel(request_id)

    def tick(self) -> None:
        self._inner.tick()

    def status(self, request_id: str) -> str:
        return self._inner.status(request_id)

    def support_retry(self, request_id: str) -> SupportAnswer:
        return self._inner.support_retry(request_id)


class Breaking(Bare):
    """One that breaks as soon as it has work to do."""

    def tick(self) -> None:
        raise RuntimeError("out of order")


def bare(site: Site) -> Processor:
    if site.signing is not Signing.SOUND:
        raise CannotPlay("it has one signer")
    if site.coins == ("bech32m",):
        return Breaking(our_processor(site))
    return Bare(our_processor(site))


@pytest.fixture(scope="module")
def bares(bitcoind_binary: NodeProgram) -> Mapping[str, Cell]:
    """One that shows nothing, cannot pad, and breaks over taproot coins."""
    classes, endings = ["T02b", "T03R", "T09", "W13"], [Ending.MUTANT_WINS]
    cells = play_matrix(Contender("bare", bare), bitcoind_binary, classes=classes, endings=endings)
    return {cell.id: cell for cell in cells}


def test_of_one_that_shows_nothing_the_chain_is_enough(bares: Mapping[str, Cell]) -> None:
    """What it signed is what was seen in the mempool."""
    cell = bares["T02b/mutant-wins/legacy/many"]
    assert (cell.standing, cell.reasons) == (Standing.PASSED, ())
    assert [exhibit.role for exhibit in cell.record.exhibits] == [Role.ATTEMPT, Role.TWIN]


@pytest.mark.parametrize(
    ("cell_id", "reason"),
    [
        ("T09/mutant-wins/legacy/one", "the processor does not offer owner_keys"),
        ("T03R/mutant-wins/legacy/one", "it has one signer"),
    ],
)
def test_what_is_not_offered_is_never_green(bares: Mapping[str, Cell], cell_id: str, reason: str) -> None:
    """Neither the keys, nor a signer that pads."""
    assert (bares[cell_id].standing, bares[cell_id].reasons) == (Standing.NOT_OFFERED, (reason,))


def test_a_processor_that_breaks_fails_its_own_cells(bares: Mapping[str, Cell]) -> None:
    """And no others."""
    cell = bares["W13/mutant-wins/bech32m/one"]
    assert cell.standing is Standing.FAILED
    assert "the story breaks off: RuntimeError: out of order" in cell.reasons


def test_the_keys_of_a_busy_processor_are_had_before(bitcoind_binary: NodeProgram) -> None:
    """Its mutant is made while it sends the original, and its node waits for that."""
    who = Contender("busy", OneThingAtATime)
    cells = list(play_matrix(who, bitcoind_binary, classes=["T09"], endings=[Ending.MUTANT_FIRST]))
    assert cells
    for cell in cells:
        assert (cell.standing, cell.reasons) == (Standing.PASSED, ())
        assert Role.TWIN in {exhibit.role for exhibit in cell.record.exhibits}


def test_an_ending_that_breaks_off_leaves_the_node_as_it_was(
    bitcoind_binary: NodeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the one in which its wallets say nothing; two nodes then disagree, as ever."""
    monkeypatch.setattr(Field, "mempool", breaks_once(Field.mempool))
    networks: list[Network] = []
    endings = [Ending.NEITHER_IN_MEMPOOL, Ending.TWO_NODES]
    args: list[list[str]] = []
    for cell in play_matrix(WITHDRAWALS, bitcoind_binary, classes=["W13"], endings=endings, meet=networks.append):
        args.append(networks[0].node.extra_args)
        expected = Standing.FAILED if cell.ending is Ending.NEITHER_IN_MEMPOOL else Standing.PASSED
        assert cell.standing is expected, cell.reasons
    assert args
    assert not any(word in words for word in FORGETFUL for words in args)


def breaks_once(method: Callable[..., set[str]]) -> Callable[..., set[str]]:
    calls: list[object] = []

    def instead(*given: object) -> set[str]:
        calls.append(given)
        if len(calls) == 1:
            raise RuntimeError("nobody there")
        return method(*given)

    return instead


def test_who_sends_again_before_anybody_looks_has_not_failed(
    bitcoind_binary: NodeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is started anew has forgotten it; a processor that works on its own may see that before we do."""
    look = Field.mempool

    def after_a_round(field: Field, node: int = 0) -> set[str]:
        field.work()
        return look(field, node)

    monkeypatch.setattr(Field, "mempool", after_a_round)
    cells = list(
        play_matrix(WITHDRAWALS, bitcoind_binary, classes=["T02b", "W04"], endings=[Ending.NEITHER_IN_MEMPOOL])
    )
    assert len(cells) >= 2
    for cell in cells:
        told = [moment.words for moment in cell.record.moments if moment.label == "the block is lost"]
        assert (cell.standing, cell.reasons, told) == (Standing.PASSED, (), ["the original was sent again at once"])
