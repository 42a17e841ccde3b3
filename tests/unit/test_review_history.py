"""A plan and a signature cost the same after years: they ask the ledger for what they need, not for all it ever had."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NoReturn

import pytest

from tests.unit.bench import COIN_SATS, FINAL, Bench
from withdrawals.core.model import BatchState, OwnScript
from withdrawals.core.types import BatchId, OutPoint, ScriptPubKey, Txid
from withdrawals.ledger.store import SqlView
from withdrawals.steps.sign import Signing


def test_planning_signing_bumping_and_settling_read_no_whole_history(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reservations and own scripts only grow; a write transaction that reads them all shuts everybody else out."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    whole = SqlView.load_reservations

    def of_some(view: Any, outpoints: Collection[OutPoint] | None = None) -> Mapping[OutPoint, BatchId]:  # noqa: ANN401
        assert outpoints is not None
        return whole(view, outpoints)

    def never(_view: object) -> NoReturn:
        pytest.fail("every script that was ever ours was read")

    with monkeypatch.context() as patch:
        patch.setattr(SqlView, "load_reservations", of_some)
        patch.setattr(SqlView, "load_own_scripts", never)
        batch_id = bench.sent()
        bench.bump(batch_id)
        assert bench.sign(batch_id).outcome is Signing.SIGNED
    with monkeypatch.context() as patch:
        patch.setattr(SqlView, "load_reservations", of_some)
        bench.broadcast(batch_id)
        bench.mine(FINAL)
    assert bench.batch_state(batch_id) is BatchState.FINAL


def test_reservations_are_found_by_outpoint(bench: Bench) -> None:
    """Another output of the same transaction is another coin."""
    first, second, third = bench.fund(*[COIN_SATS] * 3)
    withdrawal = bench.request()
    batch_id = bench.planned()
    (taken,) = bench.newest_plan(batch_id).prevouts
    assert len({first.txid, second.txid, third.txid}) == 1
    stranger = OutPoint(Txid("ab" * 32), 0)
    with bench.ledger.read() as view:
        assert view.load_reservations([first, second, third, stranger]) == {taken: batch_id}
        assert view.load_reservations({first, second, third, stranger} - {taken}) == {}
        assert view.load_reservations([]) == {}
        assert view.list_reserved(batch_id) == (taken,)
    bench.cancel(withdrawal)
    with bench.ledger.read() as view:
        assert view.list_reserved(batch_id) == ()


def test_change_to_a_script_that_is_not_ours_is_still_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan's own change is looked up, and a script that the ledger does not know is no change of ours."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    change = {o.script for o in bench.newest_plan(batch_id).outputs if o.withdrawal_id is None}
    assert change
    real = SqlView.find_own_script

    def forgetful(view: Any, script: ScriptPubKey) -> OwnScript | None:  # noqa: ANN401
        return None if script in change else real(view, script)

    monkeypatch.setattr(SqlView, "find_own_script", forgetful)
    outcome = bench.sign(batch_id)
    assert outcome.outcome is Signing.WITHDRAWN
    assert "is no script of ours" in outcome.why
