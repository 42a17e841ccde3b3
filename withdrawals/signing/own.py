"""Which scripts are ours, by the signer's own derivation: it takes nobody's word for a change address."""

from __future__ import annotations

from typing import Final

from withdrawals.core.model import OwnScript
from withdrawals.core.types import ScriptPubKey
from withdrawals.signing.descriptors import BRANCHES, HARDENED, Wallet

GAP: Final = 2_000
"""How far past the highest index known to be used a script is searched for, on every branch."""
SEARCH_MAX: Final = 100_000
"""No search goes further (13 s a branch): beyond, an order must name the place of its change."""
_CHUNK: Final = 100
"""Scripts derived at a time: about 13 ms."""


class OwnScripts:
    """The wallet's scripts, derived when first asked for and kept."""

    def __init__(self, wallet: Wallet) -> None:
        self._wallet = wallet
        self._known: dict[ScriptPubKey, OwnScript] = {}
        self._next = {(w, b): 0 for w in range(len(wallet.descriptors)) for b in range(BRANCHES)}
        self._used = dict.fromkeys(self._next, 0)

    def confirm(self, claimed: OwnScript) -> bool:
        """Whether our key at this place really owns exactly this script; derives that one place only."""
        branch = (claimed.wallet, claimed.branch)
        if branch not in self._used or not 0 <= claimed.index < HARDENED:
            return False
        if self._known.get(claimed.script) != claimed:
            (derived,) = self._wallet.own_scripts(*branch, claimed.index, 1)
            if derived != claimed:
                return False
            self._known[derived.script] = derived
        self._used[branch] = max(self._used[branch], claimed.index)
        return True

    def find(self, script: ScriptPubKey, used_at_least: int = 0) -> OwnScript | None:
        """The place of a script, searched up to `GAP` past the highest index used on each branch; None if not there.

        `used_at_least`: an index that every branch may have reached already, for a signer that has just started.
        """
        while script not in self._known:
            behind = [b for b, at in self._next.items() if at <= self._horizon(b, used_at_least)]
            if not behind:
                return None
            for branch in behind:
                for own in self._wallet.own_scripts(*branch, self._next[branch], _CHUNK):
                    self._known[own.script] = own
                self._next[branch] += _CHUNK
        own = self._known[script]
        self._used[own.wallet, own.branch] = max(self._used[own.wallet, own.branch], own.index)
        return own

    def _horizon(self, branch: tuple[int, int], used_at_least: int) -> int:
        return min(max(self._used[branch], used_at_least) + GAP, SEARCH_MAX)
