"""What a run is made of: how large its world is, which rules the processor keeps, and what is checked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeAlias

from tests.model.transactions import GENESIS, Out

Removal: TypeAlias = Callable[[], AbstractContextManager[object]]
"""Makes a context in which one rule of the real core is gone."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How often each thing may happen. Everything that may happen is tried at every place where it may."""

    customers: tuple[str, ...] = ("w1", "w2")
    coins: int = 3
    """Buried coins of ours."""
    plans: int = 4
    """How many transactions a signer is shown."""
    foreign: int = 1
    """How many somebody else with our keys signs."""
    foreign_pays: tuple[tuple[str, ...], ...] = (("us",),)
    """What those may pay: us, somebody else, or a customer as well."""
    foreign_inputs: int = 1
    twins: int = 1
    reorgs: int = 1
    reorg_depth: int = 9
    """Blocks that a reorg may take away at most; what lies deeper stays."""
    crashes: int = 0
    restores: int = 0
    cancels: int = 0
    empty_blocks: int = 0
    inputs: int = 1
    """How many coins a first plan may spend."""
    legacy: tuple[Out, ...] = ((GENESIS, 0),)
    """Coins whose spender anybody can re-encode."""
    legacy_change: bool = False
    bumps: bool = True
    split: bool = False
    """A replacement may leave somebody out."""
    changeless: bool = False
    """Plans without change are tried too."""
    deposit: bool = False
    """A shallow deposit that its sender can take back."""
    lag: bool = False
    """The follower sees the chain late."""
    alike: bool = False
    """All customers are owed the same sum at the same address."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How the model's shell uses the core. The defaults are what the product does; a run may leave one out."""

    judged_by: str = "lineage"
    """Whose plans decide who is paid: all ever asked (`lineage`), or those of the present batch alone (`batch`)."""
    seen_payers: bool = True
    """Transactions that were ever seen to pay somebody must be excluded too."""
    asked_is_marked: bool = True
    """`signing` is durable before the signer sees the plan."""
    resend: str = "all"
    """Whose stored bytes are sent again: those of `all` generations, or only the `live` one's."""
    ancestors: bool = False
    """What they descend from is sent again before them, whoever made it, where no block holds it. The product does so;
    where a run does not ask for it, nobody but miners who still remember can bring it back."""
    anchor: bool = False
    """First plans spend a coin that the product calls an anchor. Where it is not asked for, more is tried."""
    generations: bool = True
    """The plans of earlier generations must be excluded too, and not only those of the present batch."""
    journal: bool = False
    """A restored ledger gets back every plan ever asked."""
    journal_first: bool = True
    """The journal has a plan before its signer sees it, and not only once the answer is there."""
    hold: bool = False
    """A restored ledger pays nobody whose id the exchange has not repeated."""
    fence: bool = False
    """A ledger restored without a journal first spends every coin, and builds on that alone."""
    depth: int = 0
    """An attempt displaced this deep need not be excluded (an operator's word); 0: it must."""
    hints_only: bool = False
    """A re-issue follows two hints to the letter: an input of every earlier attempt, or an output of a displacer."""
    lapse: bool = False
    """Reservations hang from the coin's block, and go with it."""
    final_depth: int = 1
    """Coins come back when the winner is this deep. 1 is the earliest they can, and more than policy would ever allow:
    every reorg then goes below it."""
    final_is_terminal: bool = False
    """A batch that was final once is never looked at again."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What is checked in every state, besides that no chain pays anybody twice, or pays whom it refunded."""

    never_two: bool = False
    """No two transactions that exist and pay one customer can share a chain, whatever the reorg."""
    verdict: bool = False
    """Who is judged paid is paid, and the other way round."""
    live: bool = False
    """Whoever is owed can still be paid, by permitted moves and honest mining."""
    chosen_only: bool = False
    """The same, but the moves are only those that the real planner itself would choose."""


@dataclass(frozen=True, slots=True)
class Run:
    """One search: its name, its world, its rules, what was taken out of the core, and how it must end."""

    name: str
    fact: str
    bounds: Bounds
    rules: Rules = Rules()
    checks: Checks = Checks()
    without: tuple[Removal, ...] = ()
    fails: str = ""
    """Empty: it must hold. Else words that the violation found must contain."""
    together: bool = False
    """Made by the reduced search, in which the follower may always lag: see together.py."""

    def small(self, **bounds: object) -> Run:
        """The same in another world."""
        return replace(self, bounds=replace(self.bounds, **bounds))  # type: ignore[arg-type]
