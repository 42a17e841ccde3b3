"""One history: a seed, a world, deeds and faults until there were enough, then calm weather, and a verdict.

After every event the oracle looks. Once the faults have stopped, everybody who is owed must be final within so many
blocks, by what processes do by themselves and an operator does who follows our own words.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tests.simulation import deeds_of_chain, deeds_of_losses, deeds_of_machines, deeds_of_people, deeds_of_rivals
from tests.simulation.deeds import choose
from tests.simulation.deeds_of_plots import PLOTS
from tests.simulation.derivations import derived_once
from tests.simulation.exchange import Stand
from tests.simulation.focus import LONGER, steps_per_deed, weights_of
from tests.simulation.memory import the_database
from tests.simulation.oracle import Violation
from tests.simulation.recovery import recover_if_wanted
from tests.simulation.settings import START, Settings, settings_of
from tests.simulation.story import Kind, Story
from tests.simulation.world import Crashed, World
from withdrawals.core.model import WithdrawalState
from withdrawals.processor import Processor

DEEDS: Final = (
    *deeds_of_chain.DEEDS,
    *deeds_of_machines.DEEDS,
    *deeds_of_people.DEEDS,
    *deeds_of_losses.DEEDS,
    *deeds_of_rivals.DEEDS,
)
"""Of every history; those with a special focus have its plots, too."""
WITHDRAWALS_MIN: Final = 5
DEEDS_MIN: Final = 60
CALM_BLOCKS_SLOW: Final = 24
BLOCKS_AT_ONCE: Final = 6
CALM_STEPS_MAX: Final = 60_000
"""More calls than this in one round of calm are a livelock."""


@dataclass
class Outcome:
    """What one history came to."""

    seed: int
    events: int
    deeds: int
    faults: int
    withdrawals: int
    seconds: int
    """Of simulated time."""
    digest: str
    violation: str = ""
    story: str = ""
    fault_kinds: frozenset[str] = frozenset()
    calm_blocks: int = 0

    def as_json(self) -> str:
        """One line."""
        return json.dumps(
            {"seed": self.seed, "events": self.events, "digest": self.digest, "violation": self.violation}
        )


def run_history(
    seed: int, deeds: int | None = None, settings: Settings | None = None, *, keep_story: bool = False
) -> Outcome:
    """Live through one. A violation is part of the outcome, and then its story is, too."""
    settings = settings or settings_of(seed)
    history = History(seed, deeds or int(DEEDS_MIN * LONGER.get(settings.focus, 1)), settings)
    outcome = history.run()
    return replace(outcome, story=history.story.shown()) if keep_story or outcome.violation else outcome


class History:
    """One seed's life."""

    def __init__(self, seed: int, deeds: int, settings: Settings) -> None:
        self.seed, self.deeds_wanted = seed, deeds
        self.story = Story()
        self.world = World(seed, settings, story=self.story)
        self.calm_blocks = 0

    def run(self) -> Outcome:
        """Everything."""
        violation = ""
        world = self.world
        with world.disk.mounted(), derived_once():
            try:
                self._begin()
                self._live()
                self._rest()
            except Violation as found:
                violation = f"{found}"
            except Crashed as crashed:
                violation = f"crashed: {crashed}"
            finally:
                world.end()
        return Outcome(
            seed=self.seed,
            events=self.story.events,
            deeds=self.story.deeds,
            faults=self.story.counts[Kind.FAULT],
            withdrawals=len(world.exchange.book),
            seconds=world.clock.at - START,
            digest=self.story.digest,
            violation=violation,
            story="",
            fault_kinds=frozenset(self.story.faults),
            calm_blocks=self.calm_blocks,
        )

    # -------------------------------------------------------------------------------------------------------- phases

    def _begin(self) -> None:
        world = self.world
        world.begin()
        for _ in range(world.settings.blocks_before):
            world.clock.at += 600
            world.network.mine(world.network.nodes[0])
        for _ in range(world.policy.anchor_depth_min + 2):
            self._block()
            self._calm()
        for _ in range(WITHDRAWALS_MIN):
            deed = deeds_of_people.request
            words = deed.do(world)
            world.tell(deed.kind, deed.name, words or "")

    def _live(self) -> None:
        """Deeds and steps in turn, until there were enough deeds."""
        world, rng = self.world, self.world.turns
        while self.story.deeds < self.deeds_wanted:
            task = None if rng.random() < 1 / steps_per_deed(world.settings.focus) else world.scheduler.choose()
            if task is not None:
                world.run_one(task)
            elif rng.random() < 0.5 and world.pass_time():  # nobody is ready: wait, or do
                continue
            else:
                self._deed()
            world.check()
            if world.losses.recovery_wanted and rng.random() < 0.02:  # a while passes before he comes
                recover_if_wanted(world)

    def _deed(self) -> None:
        world = self.world
        focus = world.settings.focus
        deeds = (*DEEDS, *PLOTS.get(focus, ()))
        deed = choose(world.deeds, deeds, weights_of(focus, deeds))
        words = deed.do(world)
        if words is not None:
            world.clock.at += world.deeds.randrange(20)
            world.tell(deed.kind, deed.name, words)
            world.restart_due()

    # ---------------------------------------------------------------------------------------------------------- calm

    def _rest(self) -> None:
        """Faults stop. Everybody is paid within the bound, and the books agree."""
        world = self.world
        world.tell(Kind.DEED, "calm")
        self._heal()
        while True:
            self._calm()
            recover_if_wanted(world)
            self._attend()
            if self._is_done():
                break
            if self.calm_blocks >= world.settings.calm_blocks_max:
                raise Violation("liveness", self._unpaid_words())
            # Where only depth is waited for, nobody has to look at every block.
            for _ in range(1 if self.calm_blocks < CALM_BLOCKS_SLOW else BLOCKS_AT_ONCE):
                self._block()
                self.calm_blocks += 1
        self._judge()

    def _heal(self) -> None:
        world = self.world
        world.weather.clear()
        world.down.clear()
        world.network.join()
        world.unrelayable_stays()
        for process in world.processes.values():
            process.calls_left, process.offset_s, process.node = None, 0, 0
            if not process.alive and not world.losses.recovery_wanted:
                world.restart_later(process)

    def _calm(self) -> None:
        """Everybody does what he has to do, until all of them wait for time to pass."""
        world = self.world
        for _ in range(CALM_STEPS_MAX):
            world.restart_due()
            task = world.scheduler.choose()
            if task is None:
                if not self._somebody_is_down():
                    return
                world.pass_time()
                continue
            world.run_one(task)
            world.check()
        raise Violation("liveness", f"after {CALM_STEPS_MAX} calls the processes still find something to do")

    def _somebody_is_down(self) -> bool:
        """Whoever a supervisor starts again; what an operator stopped waits for him."""
        stopped = self.world.losses.recovery_wanted
        return not stopped and any(not p.alive for p in self.world.processes.values())

    def _attend(self) -> None:
        """The operator and the backend make their rounds."""
        world = self.world
        entries = world.exchange
        if not world.losses.amnesia:
            for entry in entries.book.values():
                if entry.stand is Stand.WANTED:
                    entries.request(entry)
            self._alone("learn", entries.learn)
        self._alone("mend", world.attendant.mend)
        self._alone("refill", world.refill)
        self._calm()

    def _alone(self, what: str, command: Callable[[Processor], object]) -> None:
        """A command, while everybody else stands still."""
        world = self.world
        task = world.run_command(what, command)
        world.tell(Kind.DEED, what)
        while not task.ended:
            task.wakes_at = min(task.wakes_at, world.clock.at)
            world.run_one(task)
            world.check()

    def _block(self) -> None:
        world = self.world
        world.clock.at += 600
        block = world.network.mine(world.network.nodes[0])
        world.tell(Kind.DEED, "mine", f"{block.height} {block.hash[:8]} with {len(block.txs) - 1}")
        world.check()

    def _is_done(self) -> bool:
        world = self.world
        if (
            world.losses.amnesia
            or world.losses.recovery_wanted
            or any(e.stand is Stand.WANTED for e in world.exchange.owed())
        ):
            return False
        with world.look() as view:
            unpaid = view.list_withdrawals(set(WithdrawalState) - {WithdrawalState.FINAL}, limit=1_000)
            if view.load_breaker() or view.load_pause() is not None:
                return False
            tip = view.load_tip()
        if tip is None or tip.hash != world.network.nodes[0].tip.hash:
            return False
        refunded = {e.request_id for e in world.exchange.book.values() if e.stand is Stand.REFUNDED}
        return all(w.request_id in refunded for w in unpaid)

    def _unpaid_words(self) -> str:
        world = self.world
        with world.look() as view:
            unpaid = view.list_withdrawals(set(WithdrawalState) - {WithdrawalState.FINAL}, limit=1_000)
            causes = [f"{c.cause}: {c.detail}" for c in view.load_breaker()]
        states = {w.request_id: str(w.state) for w in unpaid}
        return (
            f"after {self.calm_blocks} calm blocks: {states}, breaker {causes}, amnesia {world.losses.amnesia}, "
            f"recovery wanted {world.losses.recovery_wanted}"
        )

    def _judge(self) -> None:
        world = self.world
        world.oracle.check_at_rest(the_database().raw, world.network.nodes[0].tip.hash)
        self._alone("audit", world.audit)
