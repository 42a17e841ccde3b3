"""All tables of one ending on one chain: what is done to one cell is done to all, in the same block or reorg."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from regtest.malleate import ids_of
from regtest.malleate.reasons import says
from regtest.matrix.plan import Plan
from regtest.matrix.play import Play
from regtest.matrix.table import Table
from regtest.network import Network
from regtest.rpc import RpcError
from regtest.scenarios.stage import ANCHOR_DEPTH, FINAL_DEPTH

FORGETFUL: Final = ("-persistmempool=0", "-walletbroadcast=0")
"""A node that is started with these has nothing in its mempool, and leaves nothing for the next time; nor does a wallet
put anything back."""
_QUIET_ROUNDS: Final = 3
"""After all is buried: how many rounds and blocks come before the last complaint."""


@dataclass
class Field:
    """The network and the tables on it."""

    network: Network
    tables: Sequence[Table]

    def __post_init__(self) -> None:
        self.start_height = self.network.height
        self._args_found: list[str] | None = None

    @property
    def plays(self) -> list[Play]:
        """Every cell of every table."""
        return [play for table in self.tables for play in table.plays]

    @property
    def live(self) -> list[Play]:
        """Those with something to make blocks of."""
        return [play for play in self.plays if play.is_live]

    # ------------------------------------------------------------------------------------------------ the beginning

    def open(self) -> None:
        """Bring every processor up, and give all of them their coins at once."""
        self._args_found = list(self.network.node.extra_args)
        for table in self.tables:
            table.bring_up()
        together: list[tuple[str, int]] = []
        for wanted in (coins for table in self.tables for coins in table.coins_wanted()):
            if len(wanted) == 1:
                together += wanted
            else:
                # A mix from a transaction of its own: who takes the oldest coins first takes both.
                self.network.fund_many(wanted, confirmations=0)
        if together:
            self.network.fund_many(together, confirmations=0)
        self.network.mine(ANCHOR_DEPTH)
        self.work()

    def sign(self) -> None:
        """Every customer is paid, every original is sent, and every mutant is made."""
        for table in self.tables:
            table.sign_all()

    def show_to_miner(self) -> None:
        """Ask the node of every mutant whether a block may hold it; no block of many is to fail for one."""
        for play in self.plays:
            if not play.mutants or play.unplayed is not None:
                continue
            refusal = self.refusal_of(play.mutants)
            if play.wanted.plan is Plan.TRY_IN_VAIN:
                self._expect_refusal(play, refusal)
            elif refusal is not None:
                play.reasons.append(f"no block holds the mutant: {refusal}")
                play.mutants = []

    def _expect_refusal(self, play: Play, refusal: str | None) -> None:
        declared = play.wanted.malleator.consensus or ""
        play.refusal = refusal
        play.tell("a miner tries", refusal or "AND MINES IT", self.network.height)
        if refusal is None:
            play.reasons.append("a block holds the mutant, and none may")
        elif not says(refusal, declared):
            play.reasons.append(f"a block with the mutant is refused as {refusal!r}, and not as {declared!r}")

    def refusal_of(self, raws: Sequence[bytes]) -> str | None:
        """Why the next block cannot hold these, in the node's words; None if it can."""
        try:
            self.network.build_block([raw.hex() for raw in raws])
        except RpcError as error:
            # The node says that TestBlockValidity failed, then a colon, the reason, a comma, and where it arose.
            return error.message.rpartition("failed: ")[2].partition(",")[0]
        return None

    def put_back(self) -> None:
        """Where an ending broke off: the next one finds the node's options and the split as this one has found them."""
        if self._args_found is not None and self.network.node.extra_args != self._args_found:
            self.network.node.restart(self._args_found)
        if len(self.network.nodes) > 1:
            self.network.split([0], [1])

    # --------------------------------------------------------------------------------------------------- the middle

    def mine_mutants(self) -> None:
        """One block with every mutant and nothing else."""
        self.network.mine_exactly(self.block_of(mutants_of))
        self.tell("a miner takes the mutant", mutants_of)

    def mine_originals(self) -> None:
        """One block with every original and nothing else."""
        self.network.mine_exactly(self.block_of(originals_of))
        self.tell("the original is mined", originals_of)

    def block_of(self, which: Callable[[Play], Sequence[bytes]]) -> list[str]:
        """The transactions of all live cells, in hex."""
        return [raw.hex() for play in self.live for raw in which(play)]

    def work(self) -> None:
        """A round of work at every table."""
        for table in self.tables:
            table.work()

    def complain(self) -> None:
        """A round of work, and then everybody complains: right after whatever has just happened."""
        self.work()
        height = self.network.height
        for table in self.tables:
            table.ask_and_complain(height)

    def explain(self) -> None:
        """Operators answer for what was no twin, once it stands in the chain; then work goes on."""
        height = self.network.height
        for table in self.tables:
            table.explain(height)
        self.work()

    def bury(self) -> None:
        """Everything that waits is mined and made final; after some quiet rounds everybody complains once more.

        Whoever takes a round for every step of his only then pays once more, or says that he would.
        """
        self.network.mine(FINAL_DEPTH)
        for _ in range(_QUIET_ROUNDS):
            self.work()
            self.network.mine()
        self.complain()
        rpc = self.network.rpc
        waiting = [bytes.fromhex(rpc.getrawtransaction(txid)) for txid in rpc.getrawmempool()]
        for play in self.plays:
            # No block comes any more that would show it.
            if any(play.pays(raw) for raw in waiting):
                play.reasons.append("a customer is paid once more when all is buried")

    def tell(self, label: str, which: Callable[[Play], Sequence[bytes]], words: str = "") -> None:
        """Write a moment down for every live cell, with the txids that it is about."""
        height = self.network.height
        for play in self.live:
            play.tell(label, " ".join([*filter(None, [words]), *(ids_of(raw).txid for raw in which(play))]), height)

    def mempool(self, node: int = 0) -> set[str]:
        """The wtxids in a node's mempool."""
        verbose = self.network.nodes[node].rpc.getrawmempool(True)  # noqa: FBT003 - the node's parameter
        return {str(entry["wtxid"]) for entry in verbose.values()}


def mutants_of(play: Play) -> list[bytes]:
    """A cell's mutants."""
    return play.mutants


def originals_of(play: Play) -> list[bytes]:
    """A cell's originals."""
    return play.originals
