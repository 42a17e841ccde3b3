"""The oracle: told everything, trusts nothing, shares no line with the processor, and is asked after every event."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from tests.simulation.oracle.certificates import Certificates
from tests.simulation.oracle.claims import Claims
from tests.simulation.oracle.coins import Coins
from tests.simulation.oracle.exclusive import Payers
from tests.simulation.oracle.mirror import Mirror
from tests.simulation.oracle.rest import check_rest
from tests.simulation.oracle.told import Told
from tests.simulation.oracle.tree import Tree
from tests.simulation.oracle.wire import NoTransaction


class Oracle:
    """Tell it whatever happens, as it happens; `check` raises `Violation` as soon as something must not be so.

    `final_depth`: at how many blocks the ledger may say `final`. `never_followed_depth`: the reorg that the follower
    refuses, as deep as a person may bet on; it excuses nothing else. Txids and block hashes are in display order.
    """

    def __init__(self, *, final_depth: int, never_followed_depth: int) -> None:
        self.final_depth, self.never_followed_depth = final_depth, never_followed_depth
        self._told = Told()
        self._tree = Tree(self._told)
        self._mirror = Mirror()
        self._payers = Payers(self._told, self._tree, self._mirror, never_followed_depth)
        self._claims = Claims(self._told, self._tree, self._mirror, final_depth)
        self._coins = Coins(self._told, self._tree, self._mirror)
        self._certificates = Certificates(self._told, self._tree, self._mirror, never_followed_depth)
        self._checked = -1

    # ------------------------------------------------------------------------------------- what the outside world knows

    def own_script(self, script: bytes) -> None:
        """A script of the hot wallet: tell all of them, and before anything is paid to them."""
        self._told.own.add(script)
        self._tree.learn(script)

    def requested(self, request_id: str, script: bytes, sats: int) -> None:
        """Somebody is about to ask for this. Needed only where the ledger may have it before `accepted` is told."""
        self._request(request_id, script, sats, accepted=False)

    def accepted(self, request_id: str, script: bytes, sats: int) -> None:
        """The exchange was told that it is accepted, and relies on it."""
        self._request(request_id, script, sats, accepted=True)

    def refunded(self, request_id: str) -> None:
        """A cancellation or a rejection was acknowledged: the exchange gave the money back."""
        self._told.refund(request_id)
        self._tree.forget()

    def asked(
        self,
        batch_id: str,
        plan_number: int,
        unsigned: bytes,
        payments: Sequence[tuple[str, bytes, int]],
        *,
        elsewhere: bool = False,
    ) -> None:
        """A signer with our keys is about to sign this. `elsewhere`: for another processor than this ledger's."""
        self._told.ask((batch_id, plan_number), unsigned, payments, elsewhere=elsewhere)

    def answered(self, raw: bytes, *, late: bool = False, unfit: bool = False) -> None:
        """These signed bytes exist from now on, for ever. `late`: not, or not only, in the processor's hands.

        `unfit`: they are not as the keys wrote them, and are never to be sent.
        """
        if unfit:
            self._told.unfit.add(self._told.parse(raw).wtxid)
        self._told.answer(raw, late=late)

    def saw(self, raw: bytes) -> None:
        """A transaction that exists anywhere: in a mempool, on a wire, in a stranger's drawer."""
        try:
            tx = self._told.parse(raw)
        except NoTransaction:
            return
        self._told.know(tx)
        self._claims.seen(tx)

    def bound(self, request_id: str, txid: str, vout: int) -> None:
        """An operator said that this output of somebody else's transaction paid it."""
        self._told.bind(request_id, (txid, vout))
        self._tree.forget()

    def conditional(self, request_id: str, later_ntxid: str, earlier_ntxid: str) -> None:
        """A person answers for this pair, which nothing proves exclusive. The ledger's certificates say so as well."""
        self._told.excused.add((request_id, later_ntxid, earlier_ntxid))

    def block(self, block_hash: str, prev: str, height: int, raw: bytes) -> None:
        """A block of any branch, after its parent."""
        before = len(self._tree.blocks)
        self._tree.add(block_hash, prev, height, raw)
        self._told.news += len(self._tree.blocks) - before
        for tx in self._tree.blocks[block_hash].txs if len(self._tree.blocks) > before else ():
            self._claims.seen(tx)

    def amnesia(self, *, forgets: bool) -> None:
        """True: the ledger was replaced by an older one, and its claims are not believed until False."""
        self._claims.amnesia = self._coins.amnesia = self._certificates.amnesia = forgets
        for memory in (self._mirror, self._claims, self._coins, self._certificates):
            memory.forget()
        if forgets:
            self._payers.strangers.clear()
            self._told.known_at.clear()
        self._told.news += 1

    def journal_lost(self) -> None:
        """Ledger and journal were both replaced by older ones: what was asked for so far may be remembered by nobody.

        What such a plan spends goes to the fence, which excludes it as long as no reorg goes below that.
        """
        self._told.forgotten.update(self._told.plans)

    # ------------------------------------------------------------------------------------------------------- judgement

    def check(self, connection: sqlite3.Connection) -> None:
        """Everything that must hold at any moment. Raises Violation. Costs next to nothing if nothing happened."""
        told = self._told
        changed = self._mirror.look(connection)
        if not changed and told.news == self._checked:
            return
        told.tick += 1
        if changed:
            self._learn(connection)
        told.raise_found()
        rebuilt = self._tree.check()
        self._payers.check()
        self._claims.check_asked_first()
        if changed:
            self._claims.check_lost()
            self._coins.check_attempts()
            self._coins.check_reserved()
            self._certificates.check()
        if changed or rebuilt:
            self._claims.check_states()
        if self._mirror.moved:
            self._coins.check_coins(connection)
            self._mirror.moved = False
        self._checked = told.news

    def check_at_rest(self, connection: sqlite3.Connection, node_tip_hash: str) -> None:
        """Once faults have stopped and everything is drained. Raises Violation."""
        self.check(connection)
        check_rest(self._claims, connection, node_tip_hash)

    def _request(self, request_id: str, script: bytes, sats: int, *, accepted: bool) -> None:
        if (script, sats) not in self._told.owed:
            self._tree.learn(script)
        self._told.request(request_id, script, sats, accepted=accepted)

    def _learn(self, connection: sqlite3.Connection) -> None:
        """What the ledger knows now, before anything is judged."""
        self._claims.note()
        self._certificates.excuse()
        self._coins.load_inputs(connection)
        tip = self._mirror.tip
        for tx in self._mirror.new_bytes:
            self._told.know(tx)
            self._told.known_at.setdefault(tx.txid, self._told.tick)
            self._payers.meet(tx, None if tip is None else tip[1])
