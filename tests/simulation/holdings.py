"""What is ours in the simulation, as somebody knows who sees everything: scripts, coins, and signed bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.simulation.memory import the_ledger
from tests.simulation.node import SimNode, scripts_of
from tests.simulation.settings import SCRIPTS
from tests.simulation.transactions import tx_of
from withdrawals.core.model import WithdrawalState
from withdrawals.core.types import OutPoint, Sats, ScriptPubKey

if TYPE_CHECKING:
    from tests.simulation.world import World


class Holdings:
    """The hot wallet from outside."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.signed: dict[str, bytes] = {}
        """Whatever was ever signed, by wtxid, whoever received it."""

    def keep(self, raw: bytes) -> None:
        """Signed bytes exist from now on: anybody may send them, at any time."""
        self.signed.setdefault(tx_of(raw).wtxid, raw)

    def scripts(self) -> frozenset[ScriptPubKey]:
        """Scripts of the hot wallet, further than any history gets."""
        return scripts_of(self._world.config.descriptors, SCRIPTS)

    def fresh_script(self) -> ScriptPubKey | None:
        """A fresh one, to receive at; None where the ledger has none left until its sweeper derives more."""
        with the_ledger().begin() as tx:
            return tx.allocate_script(0, 0).script if tx.count_unallocated(0, 0) else None

    def coins(self, node: SimNode) -> list[OutPoint]:
        """What is ours and unspent on a node's chain."""
        ours = self.scripts()
        return [o for o, coin in node.chain.coins.items() if coin.output.script in ours]

    def payable_by_hand(self, node: SimNode) -> tuple[str, ScriptPubKey, Sats, list[OutPoint]] | None:
        """Somebody whom every plan that pays him would spend these coins for, all of them still there."""
        with self._world.look() as view:
            waiting = view.list_withdrawals({WithdrawalState.BATCHED, WithdrawalState.BROADCAST})
            found = []
            for withdrawal in waiting:
                plans = [p for p in view.load_plans_paying([withdrawal.id]) if p.asked]
                shared = set.intersection(*(set(p.prevouts) for p in plans)) if plans else set()
                coins = sorted(o for o in shared if o in node.chain.coins)
                if coins:
                    found.append((withdrawal.request_id, withdrawal.script, withdrawal.sats, coins))
        return self._world.deeds.choice(found) if found else None

    def fitting(self, node: SimNode, depth: int, raws: Sequence[bytes]) -> list[list[bytes]]:
        """Those of the transactions that a block can hold in place of a node's last `depth` blocks."""
        parent = node.chain.blocks[-depth - 1]
        chosen: dict[str, bytes] = {tx_of(raw).txid: raw for raw in raws}
        fit = self._world.network._still_valid(parent, [tx_of(raw) for raw in chosen.values()])
        for raw in fit:
            self.leak(raw)
        return [fit]

    def leak(self, raw: bytes) -> bytes:
        """Signed bytes get into a stranger's hands, whether or not their answer ever reached us."""
        if raw in self.signed.values():
            self._world.oracle.answered(raw, late=True)
        return raw
