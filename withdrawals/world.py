"""The world gate, asked of the real world: the ledger's facts joined with the node's, judged by `core/gate.py` (I6).

`World.judge` fetches outside any transaction and stores its verdict for one tip; `check_gate` compares that verdict
with the ledger's tip inside the transaction that stores a plan or marks one `signing`. Between the two a block may
come: then they differ, and nothing is planned or signed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from withdrawals.core.gate import GateFacts, judge_gate
from withdrawals.core.model import TxView
from withdrawals.core.policy import Policy
from withdrawals.core.tx import MalformedTransaction, view_of
from withdrawals.core.types import BlockHash, Network, OutPoint
from withdrawals.errors import BreakerOpen, GateClosed, NodeRejected, NodeUnavailable, known
from withdrawals.lineage import note_payers
from withdrawals.ports import ChainSource, Clock, GateRow, Ledger, LedgerTx, LedgerView

GATE_AGE_MAX_S: Final = 60
"""A verdict older than this is no verdict: the node was asked too long ago."""
NO_TIP: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class World:
    """What it takes to judge the gate."""

    ledger: Ledger
    chain: ChainSource
    policy: Policy
    clock: Clock

    def judge(self) -> GateRow:
        """Fetch, judge and store. An unreachable node closes the gate; it is no error here."""
        try:
            row = self._judge_now()
        except (NodeUnavailable, NodeRejected) as error:
            with self.ledger.read() as view:
                tip = view.load_tip()
            row = GateRow(tip.hash if tip else _no_tip(), self.clock.now(), (f"node_unavailable: {error}",))
        with self.ledger.begin() as tx:
            tx.save_gate(row)
        return row

    def meet_mempool(self) -> dict[OutPoint, TxView]:
        """What the node's mempool spends of our coins now; its bytes are kept. Raises NodeUnavailable, NodeRejected."""
        with self.ledger.read() as view:
            coins = [c.outpoint for c in view.load_unspent_coins()]
        spenders = self._fetch_spenders(coins)
        self._meet_mempool(spenders)
        return spenders

    def _fetch_spenders(self, coins: Collection[OutPoint]) -> dict[OutPoint, TxView]:
        """What the node's mempool spends of these. Bytes that are no transaction are no answer."""
        try:
            return {o: view_of(raw) for o, raw in self.chain.fetch_mempool_spenders(coins).items()}
        except MalformedTransaction as error:
            raise NodeUnavailable(f"the node sent bytes that are no transaction: {error}") from error

    def _judge_now(self) -> GateRow:
        with self.ledger.read() as view:
            coins = [c.outpoint for c in view.load_unspent_coins()]
        node, genesis = self.chain.fetch_tip(), known(self.chain.fetch_hash(0), "a node without a first block")
        strangers = self._meet_mempool(self._fetch_spenders(coins))
        with self.ledger.read() as view:
            facts = GateFacts(
                ledger_tip=view.load_tip(),
                identity=view.load_identity(),
                node_tip=node.block,
                node_headers_height=node.headers_height,
                node_tip_time=node.time_s,
                node_peers=node.peers,
                node_chain=node.chain,
                node_genesis=genesis,
                now=self.clock.now(),
                silence_s=0,  # `note_start` turned a long silence into an open breaker, which outlives this process
                not_restored=True,
                unexplained_spends=tuple(s.prevout for s in view.load_unexplained_spends()),
                unexplained_mempool=strangers,
            )
        return GateRow(node.block.hash, facts.now, judge_gate(facts, self.policy))

    def _meet_mempool(self, spenders: Mapping[OutPoint, TxView]) -> tuple[OutPoint, ...]:
        """Keep the bytes of everything that spends our coins in the mempool; those no plan of ours explains."""
        with self.ledger.read() as view:
            asked = {p.ntxid for p in view.load_plans_spending(spenders.keys())}
            unknown = [
                tx for tx in spenders.values() if not any(tx.wtxid == k.wtxid for k in view.find_transaction(tx.wtxid))
            ]
            asked |= {tx.ntxid for tx in view.load_explained()}
        strangers = tuple(sorted(o for o, spender in spenders.items() if spender.ntxid not in asked))
        if unknown or strangers:
            self._keep_sightings(unknown, {o: spenders[o] for o in strangers})
        return strangers

    def _keep_sightings(self, unknown: Sequence[TxView], strangers: Mapping[OutPoint, TxView]) -> None:
        """The bytes stay for ever; a stranger opens the breaker."""
        now = self.clock.now()
        with self.ledger.begin() as tx:
            for spender in unknown:
                tx.save_transaction(spender, at=now, how="mempool")
            for spender in {s.wtxid: s for s in (*unknown, *strangers.values())}.values():
                note_payers(tx, spender, self.policy)
            for outpoint, spender in strangers.items():
                words = f"{outpoint} is being spent in the mempool by {spender.txid}, which is no plan of ours"
                tx.open_breaker("unexplained_mempool_spend", words, at=now)


def _no_tip() -> BlockHash:
    return BlockHash(NO_TIP)


def check_gate(tx: LedgerView, now: int) -> None:
    """Raise BreakerOpen or GateClosed unless planning and signing are allowed for exactly the ledger's present tip."""
    causes = tx.load_breaker()
    if causes:
        raise BreakerOpen(f"the breaker is open: {'; '.join(f'{c.cause}: {c.detail}' for c in causes)}")
    pause = tx.load_pause()
    if pause is not None:
        raise GateClosed(f"paused by an operator: {pause}")
    gate, tip = tx.load_gate(), tx.load_tip()
    if gate is None or tip is None or now - gate.judged_at > GATE_AGE_MAX_S:
        raise GateClosed("the world was not looked at just now")
    if gate.reasons:
        raise GateClosed("; ".join(gate.reasons))
    if gate.tip != tip.hash:
        raise GateClosed(f"the tip moved from {gate.tip} to {tip.hash} since the world was looked at")


def note_start(tx: LedgerTx, name: str, policy: Policy, now: int) -> None:
    """A process starts: outside regtest, a long silence before it opens the breaker.

    A backup may have been restored meanwhile; an operator closes it by saying that none was. Checked in the transaction
    that ends the silence.
    """
    identity = tx.load_identity()
    last = max((beat.at for beat in tx.load_heartbeats()), default=None)
    watched = identity is not None and identity.network != Network.REGTEST
    if watched and (last is None or now - last > policy.stale_after_s):
        silence = "never had a heartbeat" if last is None else f"was silent for {now - last} s"
        words = f"the ledger {silence}; resume only if no backup was restored in the meantime"
        tx.open_breaker("stale_start", words, at=now)
    tx.beat(name, at=now)
