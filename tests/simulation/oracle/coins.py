"""Coins and sums: who holds what, and that no satoshi comes from nowhere or goes anywhere unsaid."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from tests.simulation.oracle.mirror import ASKED, Mirror, Plan, coins_of, rows_of
from tests.simulation.oracle.told import Told
from tests.simulation.oracle.tree import Tree
from tests.simulation.oracle.violation import Violation, demand
from tests.simulation.oracle.wire import NoTransaction, OutPoint


@dataclass(slots=True, eq=False)
class Coins:
    """The checks of coins. `amnesia`: the ledger was restored and has not recovered yet."""

    told: Told
    tree: Tree
    mirror: Mirror
    amnesia: bool = False
    _once_final: set[str] = field(default_factory=set)
    """Lineages that were final at some time: their coins were given back, and may serve others by now."""
    _inputs: dict[tuple[str, int], tuple[str, frozenset[OutPoint]]] = field(default_factory=dict)
    _replayed: set[tuple[str, int]] = field(default_factory=set)
    """Plans that came back from a journal: somebody else may hold their coins already."""
    _scripts: set[bytes] = field(default_factory=set)

    def forget(self) -> None:
        """Another database."""
        self._inputs, self._scripts = {}, set()

    def check_reserved(self) -> None:
        """coin-shared: a coin serves one lineage at a time, from when a plan spends it until the lineage is final.

        No outpoint is reserved for batches of two lineages. And every input of every plan that was asked is reserved
        for the lineage of its batch as long as nothing in that lineage was ever final; where a reorg took finality
        back, others may hold the coin by right. What a restored ledger learned from the journal is left out.
        """
        mirror = self.mirror
        holders: dict[OutPoint, str] = {}
        for outpoint, batch_id in mirror.reserved:
            lineage = mirror.batches[batch_id].lineage
            words = f"{outpoint[0]}:{outpoint[1]} is reserved for two lineages"
            demand(holders.setdefault(outpoint, lineage) == lineage, "coin-shared", words)
        self._once_final.update(b.lineage for b in mirror.batches.values() if b.state == "final")
        for key, plan in mirror.plans.items():
            if plan.state not in ASKED or key in self._replayed:
                continue
            lineage = mirror.batches[plan.batch_id].lineage
            if lineage in self._once_final:
                continue
            if self.amnesia:
                self._replayed.add(key)
                continue
            for outpoint in self._inputs[key][1]:
                if holders.get(outpoint) != lineage:
                    words = f"{outpoint[0]}:{outpoint[1]}, which {key[0]} plan {key[1]} spends, is held by"
                    raise Violation("coin-shared", f"{words} {holders.get(outpoint, 'nobody')}")

    def load_inputs(self, connection: sqlite3.Connection) -> None:
        """The inputs of plans that are new in the ledger; each plan's sums are checked on the way."""
        for plan in self.mirror.new_plans:
            key = (plan.batch_id, plan.number)
            if self._inputs.get(key, ("",))[0] != plan.ntxid:
                self._inputs[key] = (plan.ntxid, self._check_plan(connection, plan))
                self.mirror.inputs[key] = self._inputs[key][1]

    def _check_plan(self, connection: sqlite3.Connection, plan: Plan) -> frozenset[OutPoint]:
        """conserve, for one plan: inputs are outputs and fee, the fee is more than nothing, rows say what bytes say."""
        name = f"{plan.batch_id} plan {plan.number}"
        where, key = "WHERE batch_id = ? AND number = ?", (plan.batch_id, plan.number)
        unsigned = rows_of(connection, f"SELECT unsigned FROM plans {where}", *key)[0][0]  # noqa: S608 -- fixed words
        where = "WHERE batch_id = ? AND plan_number = ? ORDER BY"
        inputs = rows_of(connection, f"SELECT txid, vout, sats FROM plan_inputs {where} vin", *key)  # noqa: S608 -- as above
        outputs = rows_of(connection, f"SELECT script, sats FROM plan_outputs {where} vout", *key)  # noqa: S608 -- as above
        try:
            tx = self.told.parse(unsigned)
        except NoTransaction as error:
            raise Violation("conserve", f"{name}: its bytes are no transaction: {error}") from error
        demand(tx.ntxid == plan.ntxid, "conserve", f"{name}: its bytes have the ntxid {tx.ntxid}, not {plan.ntxid}")
        rows = tuple((txid, vout) for txid, vout, _ in inputs)
        demand(rows == tx.prevouts, "conserve", f"{name}: its bytes spend something else than its rows")
        demand(tuple(outputs) == tx.outputs, "conserve", f"{name}: its bytes pay something else than its rows")
        held = 0
        for txid, vout, sats in inputs:
            maker = self.told.txs.get(txid)
            real = sats if maker is None or vout >= len(maker.outputs) else maker.outputs[vout][1]
            demand(real == sats, "conserve", f"{name}: {txid}:{vout} holds {real} sats, not {sats}")
            held += real
        paid = sum(sats for _, sats in tx.outputs)
        demand(plan.fee_sats > 0, "conserve", f"{name}: a fee of {plan.fee_sats} sats")
        words = f"{name}: {held} sats in, {paid} sats out, and a fee of {plan.fee_sats}"
        demand(held == paid + plan.fee_sats, "conserve", words)
        return frozenset(tx.prevouts)

    def check_attempts(self) -> None:
        """conserve, for answers: an answer's fee is its plan's, and its bytes are stored.

        unfit-answer: what was re-encoded between the keys and us is never stored as fit to be sent.
        """
        for _, batch_id, number, wtxid, fee_sats, refusal in self.mirror.new_attempts:
            plan = self.mirror.plans[batch_id, number]
            words = f"the answer {wtxid} to {batch_id} plan {number}"
            demand(wtxid in self.mirror.stored_wtxids, "conserve", f"{words} has no bytes")
            demand(refusal or wtxid not in self.told.unfit, "unfit-answer", f"{words} is not as the keys wrote it")
            demand(fee_sats == plan.fee_sats, "conserve", f"{words} has a fee of {fee_sats}, the plan {plan.fee_sats}")

    def check_coins(self, connection: sqlite3.Connection) -> None:
        """conserve: the ledger's unspent coins are, one by one, those of the branch that ends at its tip.

        Coins made since the birthday, by outputs to scripts that the ledger watches: each with its script, satoshis and
        height, none missing, none that something on the branch has spent. So the sums agree too.
        """
        tip = self.mirror.tip
        block = None if tip is None else self.tree.blocks.get(tip[1])
        if block is None or self.amnesia:
            return
        self._scripts.update(row[0] for row in rows_of(connection, "SELECT script FROM own_scripts"))
        mine, birthday = coins_of(connection), self.mirror.birthday
        there = {
            outpoint: (*pay, height)
            for outpoint, (pay, height) in block.summary.coins.items()
            if height >= birthday and pay[0] in self._scripts
        }
        if mine != there:
            odd = min(mine.items() ^ there.items())
            whose = "the ledger" if odd in mine.items() else "the chain"
            raise Violation("conserve", f"only {whose} has, at block {block.height}, the unspent coin {odd}")
