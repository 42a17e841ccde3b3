"""What is ours in the simulation, as somebody knows who sees everything: scripts, coins, and signed bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.simulation.memory import the_ledger
from tests.simulation.node import SimNode, scripts_of
from tests.simulation.settings import SCRIPTS
from tests.simulation.transactions import tx_of
from withdrawals.core.model import JOURNAL_START, OwnScript, PlannedInput, TxOut, WithdrawalState
from withdrawals.core.tx import unsigned_tx
from withdrawals.core.types import BatchId, OutPoint, Sats, ScriptPubKey, Txid
from withdrawals.ports import SigningOrder
from withdrawals.signing.hot import HotSigner

if TYPE_CHECKING:
    from tests.simulation.world import World


class Holdings:
    """The hot wallet from outside."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.signed: dict[str, bytes] = {}
        """Whatever was ever signed, by wtxid, whoever received it."""
        self._by_hand: tuple[HotSigner, dict[ScriptPubKey, OwnScript]] | None = None

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

    def sign_by_hand(self, coins: Sequence[OutPoint], outputs: Sequence[TxOut], node: SimNode) -> bytes:
        """What an operator makes past the processor: the same keys, ordinary signatures, and no journal."""
        if self._by_hand is None:
            world = self._world
            keys, limit = world.folder / "keys", world.policy.limits.fee_batch_max_sats
            signer = HotSigner(keys, world.folder / "by-hand", world.config.network, fee_max_sats=limit)
            places = [o for branch in (0, 1) for o in signer.wallet.own_scripts(0, branch, 0, SCRIPTS)]
            self._by_hand = signer, {own.script: own for own in places}
        signer, own = self._by_hand
        found = [node.chain.coins[o].output for o in coins]
        inputs = tuple(PlannedInput(o, out.sats, own[out.script]) for o, out in zip(coins, found, strict=True))
        unsigned = unsigned_tx([(i.outpoint, i.sequence) for i in inputs], outputs)
        return signer._sign(SigningOrder(BatchId("b-by-hand"), 1, unsigned, inputs, (), JOURNAL_START))

    def let_go(self) -> None:
        """At the end of the history."""
        if self._by_hand is not None:
            self._by_hand[0].close()

    def outputs_of(self, txid: str) -> list[bool]:
        """Of each output of a transaction that exists, whether it is ours."""
        known, ours = self._world.network._by_txid.get(Txid(txid)), self.scripts()
        return [] if known is None else [output.script in ours for output in known.outputs]

    def leak(self, raw: bytes) -> bytes:
        """Signed bytes get into a stranger's hands, whether or not their answer ever reached us."""
        if raw in self.signed.values():
            self._world.oracle.answered(raw, late=True)
        return raw
