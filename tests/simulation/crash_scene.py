"""A stage for short stories: what is scripted happens, in calm weather, and whoever died is started and asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final
from unittest import mock

from tests.simulation import history
from tests.simulation.attendant import WHO, WHY
from tests.simulation.crash_world import CrashWorld, Met, backlog_seen, lock_file_seen, served_by_rq
from tests.simulation.derivations import derived_once
from tests.simulation.exchange import Entry, Stand
from tests.simulation.history import History
from tests.simulation.machine import EXPECTED
from tests.simulation.network import stranger_script, strangers_tx
from tests.simulation.oracle import Violation
from tests.simulation.recovery import recover_if_wanted
from tests.simulation.scheduler import Task
from tests.simulation.settings import POLICY, Settings
from tests.simulation.story import Kind, Story
from tests.simulation.transactions import tx_of
from tests.unit.signing_orders import WPKH
from withdrawals import rescan
from withdrawals.core.model import BatchState, TxOut, WithdrawalState
from withdrawals.core.types import BatchId, Sats, ScriptPubKey
from withdrawals.errors import TheirError
from withdrawals.processor import Processor

SHALLOW: Final = replace(POLICY, anchor_depth_min=2, final_depth=2, reorg_safety_depth=5)
"""Small depths: a story waits for them again and again."""
COINS: Final = (1_000_000, 900_000)
SETTINGS: Final = Settings(kind=WPKH, policy=SHALLOW, coins=COINS, nodes=1)
TWO_OF_EACH: Final = ("follower2", "worker2")
TRIES_MAX: Final = 4
CALM_STEPS_MAX: Final = 5_000
BLOCKS_MAX: Final = 40
"""The bound of liveness: within so many blocks after its last line a story is over."""
ROUNDS_EVERY: Final = 2
"""The operator looks after every second block."""
PAUSE_S: Final = 300
PAUSES_FROM: Final = 2
"""Most is over by this block."""
PATIENCE_BLOCKS: Final = 3
"""So many blocks things may take by themselves before the operator looks."""
FEE_SATS: Final = 2_000
_DEED: Final = (Kind.FAULT, "script")
WIDE: Final = 30
"""A recovered ledger watches fewer scripts than in earnest: each costs time, and nothing depends on their number."""


class Enough(BaseException):
    """The script is left where it is: the rest is for the world to find out."""


@dataclass(frozen=True)
class Cast:
    """What a story is played with."""

    settings: Settings = SETTINGS
    absent: tuple[str, ...] = TWO_OF_EACH
    """Processes that are not there."""
    rq: bool = False
    """Workers run their real entry point."""


class Scene(History):
    """One story's world. The words of a script are the methods below; each ends when there is nothing left to do."""

    def __init__(self, seed: int, cast: Cast, met: Met) -> None:
        self.seed, self.deeds_wanted, self.calm_blocks = seed, 0, 0
        self.story, self.cast = Story(), cast
        self.world: CrashWorld = CrashWorld(seed, cast.settings, story=self.story, met=met, absent=cast.absent)
        self.enough = self.judging = self._begun = False

    @contextmanager
    def open(self) -> Iterator[None]:
        """The world exists while this lasts."""
        world = self.world
        if self.cast.rq:
            world.config = replace(world.config, redis_url="redis://127.0.0.1:1")
        with ExitStack() as stack:
            stack.enter_context(world.disk.mounted())
            stack.enter_context(derived_once())
            stack.enter_context(lock_file_seen(world))
            stack.enter_context(backlog_seen())
            stack.enter_context(mock.patch.object(rescan, "WIDE", WIDE))
            stack.enter_context(mock.patch.object(history, "CALM_STEPS_MAX", CALM_STEPS_MAX))
            if self.cast.rq:
                stack.enter_context(served_by_rq(world))
            stack.callback(world.end)
            yield

    def play(self, begin: Callable[[Scene], None], script: Callable[[Scene], None]) -> None:
        """The beginning, the script, then calm. Raises Violation or Crashed."""
        begin(self)
        self._begun = True
        with suppress(Enough):
            script(self)
        self.enough = False
        self.finish()

    # ----------------------------------------------------------------------------------------------------- the script

    def rise(self) -> None:
        """The ledger is made, everybody starts, and the coins are deep enough."""
        self.world.begin()
        self.blocks(self.world.policy.anchor_depth_min + 1)

    def calm(self) -> None:
        """Everybody does what there is to do, and whoever died is back."""
        self._calm()
        self._leave_if_enough()

    def blocks(self, number: int) -> None:
        """So many blocks, and what follows from each."""
        for _ in range(number):
            self._block()
            self.calm()

    def request(self, number: int = 1) -> list[Entry]:
        """New customers, whose requests are repeated until they have an answer."""
        exchange = self.world.exchange
        entries = [exchange.new_entry() for _ in range(number)]
        self.repeat()
        return entries

    def repeat(self) -> None:
        """The backend asks for whatever it has no answer for."""
        for _ in range(TRIES_MAX):
            wanted = [e for e in self.world.exchange.book.values() if e.stand is Stand.WANTED]
            for entry in wanted:
                self.world.exchange.request(entry)
            self.calm()
            if not wanted:
                return

    def backend(self, entry: Entry, ask: Callable[[Entry], None]) -> None:
        """The backend asks for something else."""
        ask(entry)
        self.calm()

    def order(self, what: str, command: Callable[[Processor], object], *, alone: bool = False) -> None:
        """A command of the operator, who gives it again if its process died; a refusal is an answer, too."""
        done: list[bool] = []

        def noted(processor: Processor) -> None:
            with suppress(*EXPECTED, TheirError):
                command(processor)
            done.append(True)

        for _ in range(TRIES_MAX):
            task = self.world.run_command(what, noted)
            if alone:
                self._finish_task(task)
            else:
                self.calm()
            if done:
                return

    def _finish_task(self, task: Task) -> None:
        """Everybody else is stopped, or stands still."""
        while not task.ended:
            task.wakes_at = min(task.wakes_at, self.world.clock.at)
            self.world.run_one(task)
            self.world.check()
        self._leave_if_enough()

    def mend(self) -> None:
        """The operator's round: look, explain, resume."""
        self.order("mend", self.world.attendant.mend)

    def batch(self, *states: BatchState) -> BatchId | None:
        """The last batch, or the last in one of these states."""
        with self.world.look() as view:
            found = view.list_batches(set(states or BatchState))
        return found[-1] if found else None

    def bump(self, without: Entry | None = None, *, hold: bool = False) -> None:
        """Of the last batch that is out."""
        name = self.batch(BatchState.BROADCAST, BatchState.SIGNED)
        leave = [without.request_id] if without is not None else []
        if name is not None:
            self.order("bump", lambda p: p.bump(name, reason=WHY, without=leave, hold=hold, who=WHO))

    def own_script(self, index: int) -> ScriptPubKey:
        """A script of ours, whether or not the ledger knows of it."""
        parts = self.world.processes["follower"].parts
        if parts is None:
            raise RuntimeError("the follower does not run")
        return parts.wallet.own_scripts(0, 0, index, 1)[0].script

    def take_coins(self, *, back: bool, hand: Entry | None = None, relay: bool = False, free: bool = False) -> str:
        """Somebody with our keys spends what payments spend, or `free` coins: back to us, or away; or pays `hand`."""
        world = self.world
        node, coins = world.network.nodes[0], world.network.nodes[0].chain.coins
        spent = [o for raw in world.holdings.signed.values() for o in tx_of(raw).prevouts if o in coins]
        taken = sorted(world.holdings.coins(node) if free else set(spent))
        if not taken:
            return ""
        rest = sum(coins[o].output.sats for o in taken) - FEE_SATS
        paid = [TxOut(hand.script, Sats(hand.sats))] if hand is not None else []
        rest -= sum(o.sats for o in paid)
        script = world.holdings.fresh_script() if back else None
        raw = strangers_tx(taken, [*paid, TxOut(script or stranger_script("cold storage"), Sats(rest))])
        txid = tx_of(raw).txid
        world.foreign_truth[txid] = {0: hand.request_id} if hand is not None else {}
        if relay:
            world.network.sees(raw, node)
        else:
            world.clock.at += 600
            world.network.mine_exactly(node, raw)
        world.tell(*_DEED, f"{txid[:8]} takes {len(taken)} coins")
        self.calm()
        return txid

    def reorg(self, depth: int, *, old: bool = False) -> None:
        """Other blocks in place of the last ones."""
        world = self.world
        world.clock.at += 600
        world.network.reorg(world.network.nodes[0], depth, old=old)
        world.tell(*_DEED, f"reorg {depth} deep")
        self.calm()

    def wait(self, seconds: int) -> None:
        """Time passes, and whatever is due by then happens."""
        world = self.world
        until = world.clock.at + seconds
        while (moment := world.next_moment()) is not None and moment <= until:
            world.pass_time()
            self.calm()
        world.clock.at = max(world.clock.at, until)
        self.calm()

    def recover(self) -> None:
        """The operator recovers, as often as it takes."""
        for _ in range(TRIES_MAX):
            recover_if_wanted(self.world)
            self.calm()
            if not self.world.losses.recovery_wanted:
                return

    # ------------------------------------------------------------------------------------------------------- the rest

    def run_on(self) -> None:
        """From now on the script does not matter, if it has begun; of a beginning nothing is left out."""
        self.enough = self._begun

    def _leave_if_enough(self) -> None:
        if self.enough:
            raise Enough

    def finish(self) -> None:
        """Calm, blocks, and an operator, until everybody is final; then the verdict."""
        self._heal()
        for number in range(BLOCKS_MAX):
            self._calm()
            if self.world.losses.recovery_wanted:
                recover_if_wanted(self.world)
                self._calm()
            if self._is_done():
                break
            if number % ROUNDS_EVERY == 0 and (number > PATIENCE_BLOCKS or self._needs_hands()):
                self._attend()
                if self._is_done():
                    break
            # Whoever looks from time to time must not always do so at the very moment of a block.
            if number >= PAUSES_FROM:
                self.world.clock.at += PAUSE_S
                self._calm()
            self._block()
            self.calm_blocks += 1
        else:
            raise Violation("liveness", self._unpaid_words())
        self.judging = True
        self._judge()

    def _needs_hands(self) -> bool:
        world = self.world
        if world.losses.amnesia or any(e.stand is Stand.WANTED for e in world.exchange.book.values()):
            return True
        with world.look() as view:
            stuck = view.load_breaker() or view.load_pause() is not None or view.list_batches({BatchState.CONFLICTED})
            return bool(stuck) or bool(view.list_withdrawals({WithdrawalState.HELD}))
