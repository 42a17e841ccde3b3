"""The transactions of a model world: a number for each, what it spends and pays, and the product's values of it.

A transaction is interned: the same inputs, outputs, plan number and encoding give the same number, so that states are
small and equal ones are found. An outpoint is (transaction, index). Outputs are names: a customer's, `us`, or `ext`
for somebody else. There are no amounts here: every coin suffices, and its sats in the product's values are nominal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from tests.unit.builders import own, script
from withdrawals.core.model import (
    Coin,
    OwnScript,
    Plan,
    PlannedInput,
    PlannedOutput,
    PlanState,
    TxOut,
    TxView,
    Withdrawal,
    WithdrawalState,
)
from withdrawals.core.types import (
    BatchId,
    BlockHash,
    BlockRef,
    Feerate,
    Ntxid,
    OutPoint,
    RequestId,
    Sats,
    ScriptKind,
    Txid,
    WithdrawalId,
    Wtxid,
)

Out: TypeAlias = tuple[int, int]
"""An outpoint: the number of a transaction, and which of its outputs."""

GENESIS: Final = 0
"""The transaction whose outputs are buried for ever: our coins, and a depositor's."""
FRESH: Final[Out] = (GENESIS, 4)
"""A buried coin that a refill can always bring."""
DEPOSITORS: Final[Out] = (GENESIS, 8)
"""A coin that is not ours: its owner sends it to us, and may take that back."""
_COIN_NAMES: Final = "abcdz???X"

BASE_HEIGHT: Final = 1_000
"""The height below the model's first block."""
COIN_SATS: Final = Sats(10_000_000)
PAYMENT_SATS: Final = 10_000
_RATE: Final = Feerate(2_000)


@dataclass(frozen=True, slots=True)
class Tx:
    """`kind`: ours, foreign, or fence. `number` tells plans apart that only differ in their fee."""

    kind: str
    inputs: tuple[Out, ...]
    outputs: tuple[str, ...]
    number: int
    twin: bool


OURS, FOREIGN, FENCE = "ours", "foreign", "fence"


class Pool:
    """Every transaction that a run has thought of, by number."""

    def __init__(self, customers: tuple[str, ...], *, legacy: Iterable[Out], legacy_change: bool, alike: bool) -> None:
        self.customers = customers
        self.txs: list[Tx] = []
        self.pays: list[frozenset[str]] = []
        self.first: list[int] = []
        """The first encoding of each: itself, unless it is a twin."""
        self._legacy, self._legacy_change = frozenset(legacy), legacy_change
        self._numbers: dict[Tx, int] = {}
        self._ancestry: dict[int, frozenset[int]] = {}
        self._conflicts: dict[tuple[int, int], bool] = {}
        self._plans: dict[int, Plan] = {}
        self._views: dict[int, TxView] = {}
        self.withdrawals = {WithdrawalId(w): _withdrawal(w, n, alike=alike) for n, w in enumerate(customers)}
        self.make("genesis", (), ("us",) * 9)

    def make(
        self, kind: str, inputs: Iterable[Out], outputs: tuple[str, ...], number: int = 0, *, twin: bool = False
    ) -> int:
        """The number of this transaction, a new one if nobody thought of it before."""
        tx = Tx(kind, tuple(sorted(inputs)), outputs, number, twin)
        t = self._numbers.get(tx)
        if t is None:
            first = self.make(kind, inputs, outputs, number) if twin else len(self.txs)
            t = self._numbers[tx] = len(self.txs)
            self.txs.append(tx)
            self.pays.append(frozenset(outputs) & frozenset(self.customers))
            self.first.append(first)
        return t

    def twin_of(self, t: int) -> int:
        """The same inputs and outputs under another txid."""
        tx = self.txs[t]
        return self.make(tx.kind, tx.inputs, tx.outputs, tx.number, twin=True)

    def is_malleable(self, t: int) -> bool:
        """Whether somebody else can make its twin: one of ours, with an input whose signature is not in the witness."""
        tx = self.txs[t]
        return tx.kind == OURS and not tx.twin and any(map(self._is_legacy, tx.inputs))

    def _is_legacy(self, o: Out) -> bool:
        return o in self._legacy or (self._legacy_change and o[0] != GENESIS)

    # ------------------------------------------------------------------- the model's own, plain idea of what conflicts

    def ancestry(self, t: int) -> frozenset[int]:
        """It and everything it descends from, but for the genesis."""
        found = self._ancestry.get(t)
        if found is None:
            parents = {p for p, _ in self.txs[t].inputs if p != GENESIS}
            found = self._ancestry[t] = frozenset({t}).union(*map(self.ancestry, parents))
        return found

    def ancestry_of(self, coins: Iterable[Out]) -> list[int]:
        """Every transaction that these outpoints descend from."""
        return sorted(frozenset[int]().union(*(self.ancestry(p) for p, _ in coins if p != GENESIS)))

    def conflict(self, t: int, u: int) -> bool:
        """Whether no chain holds both: their ancestries spend an outpoint by two different transactions."""
        pair = (t, u) if t < u else (u, t)
        known = self._conflicts.get(pair)
        if known is None:
            spender: dict[Out, int] = {}
            known = self._conflicts[pair] = any(
                spender.setdefault(o, x) != x for x in self.ancestry(t) | self.ancestry(u) for o in self.txs[x].inputs
            )
        return known

    def displaces(self, t: int, u: int) -> bool:
        """Whether `t` takes an outpoint of `u`'s ancestry without being part of it."""
        if self.first[t] == self.first[u] or t in self.ancestry(u):
            return False
        return any(o in self.txs[x].inputs for x in self.ancestry(u) for o in self.txs[t].inputs)

    # ----------------------------------------------------------------------------------------- the product's values

    @staticmethod
    def outpoint(o: Out) -> OutPoint:
        """What the product calls it."""
        return OutPoint(Txid(f"{o[0]:064x}"), o[1])

    @staticmethod
    def out_of(outpoint: OutPoint) -> Out:
        """The way back."""
        return int(outpoint.txid, 16), outpoint.vout

    def own(self, o: Out) -> OwnScript:
        """The script of ours that an output goes to: each output its own, but twins have the same."""
        return own(1_000 * self.first[o[0]] + o[1], ScriptKind.P2PKH if self._is_legacy(o) else ScriptKind.P2WPKH)

    def coin(self, o: Out, height: int) -> Coin:
        """An unspent output of ours in the block at this height."""
        return Coin(self.outpoint(o), COIN_SATS, self.own(o), BlockRef(height, BlockHash(f"{height:064x}")), False)  # noqa: FBT003 -- a field

    def view(self, t: int) -> TxView:
        """A transaction as the follower sees it. Twins share the ntxid."""
        found = self._views.get(t)
        if found is None:
            tx, txid = self.txs[t], f"{t:064x}"
            outputs = tuple(self._output(t, v) for v in range(len(tx.outputs)))
            prevouts = tuple(map(self.outpoint, tx.inputs))
            found = TxView(Txid(txid), Wtxid(txid), Ntxid(f"{self.first[t]:064x}"), prevouts, outputs, raw=b"")
            self._views[t] = found
        return found

    def plan(self, t: int) -> Plan:
        """One of ours as the plan that was shown to a signer."""
        found = self._plans.get(t)
        if found is None:
            tx, view = self.txs[t], self.view(t)
            found = self._plans[t] = Plan(
                batch_id=BatchId("b-model"),
                number=tx.number + 1,
                inputs=tuple(PlannedInput(self.outpoint(o), COIN_SATS, self.own(o)) for o in tx.inputs),
                outputs=tuple(
                    PlannedOutput(o.script, o.sats, WithdrawalId(name) if name in self.customers else None)
                    for o, name in zip(view.outputs, tx.outputs, strict=True)
                ),
                unsigned=b"",
                ntxid=view.ntxid,
                fee_sats=Sats(400 * (tx.number + 1)),
                vsize=200,
                feerate=Feerate(_RATE * (tx.number + 1)),
                state=PlanState.SIGNED,
            )
        return found

    def _output(self, t: int, vout: int) -> TxOut:
        name = self.txs[t].outputs[vout]
        if name in self.customers:
            owed = self.withdrawals[WithdrawalId(name)]
            return TxOut(owed.script, owed.sats)
        if name == "us":
            return TxOut(self.own((t, vout)).script, COIN_SATS)
        return TxOut(script(10**9 + t), COIN_SATS)

    # -------------------------------------------------------------------------------------------------- for people

    def show(self, t: int) -> str:
        """One line of a trace."""
        tx = self.txs[t]
        spends = ",".join(_COIN_NAMES[v] if p == GENESIS else f"#{p}:{v}" for p, v in tx.inputs)
        twin = f" twin of #{self.first[t]}" if tx.twin else ""
        number = f", plan {tx.number + 1}" if tx.number else ""
        return f"#{t} {tx.kind}{twin} {{{spends}}} -> {','.join(tx.outputs)}{number}"


def _withdrawal(name: str, n: int, *, alike: bool) -> Withdrawal:
    """What is owed to a customer. `alike`: everybody is owed the same sum at the same address."""
    return Withdrawal(
        id=WithdrawalId(name),
        seq=n,
        request_id=RequestId(name),
        address=name,
        script=script(1 if alike else n + 1),
        sats=Sats(PAYMENT_SATS if alike else PAYMENT_SATS + n),
        state=WithdrawalState.QUEUED,
        batch_id=None,
        hold_reason=None,
        asked=False,
        released=False,
        created_at=0,
    )
