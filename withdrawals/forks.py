"""Where the node's chain parts from ours: one height after another, looked at until they meet or a limit is reached."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from withdrawals.core.chain import Deeper, Look, Progress, Reorged, Same, TooDeep, compare
from withdrawals.core.model import Header
from withdrawals.core.policy import Policy
from withdrawals.core.types import BlockHash
from withdrawals.errors import TipMoved, known
from withdrawals.ports import ChainSource, Ledger, LedgerView, NodeTip

ACCEPTED: Final = "operator.accepted_reorg"
"""The event by which an operator lets the follower leave exactly one tip for exactly one branch."""


def find_fork(
    ledger: Ledger, chain: ChainSource, tip: Header, node: NodeTip, policy: Policy
) -> Same | Progress | Reorged | TooDeep:
    """How our chain stands to the node's. The node is never asked inside a transaction.

    Raises TipMoved where another follower moved our tip meanwhile: headers of two chains are never compared as one.
    """
    with ledger.read() as view:
        first = known(view.load_identity(), "only an initialised ledger follows a chain").birthday_height
    looks: list[Look] = []
    outcome: Same | Progress | Deeper | Reorged | TooDeep = Deeper(tip.height)
    while isinstance(outcome, Deeper):
        with ledger.read() as view:
            now_at = view.load_tip()
            if now_at is None or now_at.hash != tip.hash:
                raise TipMoved(f"our tip moved from {tip.hash} while it was compared with the node's; compare again")
            ours = known(view.load_header(outcome.height), f"no stored header at height {outcome.height} below our tip")
        theirs = chain.fetch_hash(ours.height) if ours.height <= node.block.height else None
        looks.append(Look(ours, theirs))
        outcome = compare(looks, node.block.height, policy, first_height=first)
    return outcome


def find_deep_fork(
    ledger: Ledger, chain: ChainSource, tip: Header, node: NodeTip, policy: Policy
) -> tuple[Reorged, BlockHash] | None:
    """The fork however deep it lies, and the node's first block after it; None: below all that this ledger follows."""
    boundless = replace(policy, reorg_safety_depth=tip.height + 2)
    outcome = find_fork(ledger, chain, tip, node, boundless)
    branch = chain.fetch_hash(outcome.fork.height + 1) if isinstance(outcome, Reorged) else None
    return (outcome, branch) if isinstance(outcome, Reorged) and branch is not None else None


def accepted_branch(view: LedgerView, tip: Header) -> object:
    """The first block of the branch for which an operator said that this very tip may be left; None: he did not."""
    said = view.find_last_event(ACCEPTED)
    return said.data.get("branch") if said is not None and said.data.get("tip") == tip.hash else None
