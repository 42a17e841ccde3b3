"""What a processor sends in its very last round is in no block that is counted, and counts all the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from regtest.matrix.field import Field
from regtest.matrix.play import Play
from regtest.processor import SupportAnswer
from regtest.scenarios import stage as stages
from regtest.scenarios.stage import Customer, Stage
from tests.unit.replays import script_of, transaction

SCRIPT = script_of(1)
CUSTOMER = Customer("payout-001", "bcrt1q", SCRIPT, 5)
COIN = f"{'11' * 32}:0"


class Node:
    """A network with something in its mempool."""

    def __init__(self, *mempool: bytes) -> None:
        self.rpc, self.nodes, self.height, self._mempool = self, (), 100, mempool

    def mine(self, _blocks: int = 1) -> None:
        """Nothing of it is mined: it came afterwards."""

    def getrawmempool(self) -> list[str]:
        return [str(number) for number, _ in enumerate(self._mempool)]

    def getrawtransaction(self, txid: str, verbose: int = 0) -> Any:  # noqa: ANN401 - as a node answers
        raw = self._mempool[int(txid)]
        outputs = [{"scriptPubKey": {"hex": script}} for script in (SCRIPT, script_of(2)) if script in raw.hex()]
        return {"vout": outputs} if verbose else raw.hex()


@pytest.mark.parametrize(("pays", "late"), [(SCRIPT, True), (script_of(2), False)])
def test_a_payment_in_the_last_round_is_seen(monkeypatch: pytest.MonkeyPatch, pays: str, late: bool) -> None:  # noqa: FBT001
    """In a scenario it is a shortcoming, in the matrix a reason; what pays others is nobody's business."""
    network: Any = Node(transaction([COIN], [(pays, 5)]))
    processor = SimpleNamespace(tick=lambda: None, support_retry=lambda _: SupportAnswer(paid_again=False, words="no"))
    party: Any = SimpleNamespace(
        shows_transactions=True, name="mine", processor=processor, signed_transactions=lambda _: []
    )
    monkeypatch.setattr(stages, "payments_to", lambda *_: [])
    stage = Stage(network, party, ("legacy",))
    stage.customers.append(CUSTOMER)
    stage.curtain()
    assert stage.shortcomings == (["not so: nobody is paid once more when all is buried"] if late else [])

    wanted: Any = SimpleNamespace(id="a cell")
    play = Play(wanted, (CUSTOMER,))
    table: Any = SimpleNamespace(plays=[play], work=lambda: None, ask_and_complain=lambda _height: None)
    Field(network, [table]).bury()
    assert play.reasons == (["a customer is paid once more when all is buried"] if late else [])
