"""init: pin the chain and the wallet that this ledger serves, once and for ever, and watch the wallet's scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from withdrawals.core.model import Identity, OwnScript
from withdrawals.core.types import Network
from withdrawals.errors import NotAllowed, WrongChain
from withdrawals.ports import ChainSource, Clock, Ledger, LedgerTx

BRANCHES: Final = (0, 1)
"""Receive and change."""

Derive = Callable[[int, int, int, int], Sequence[OwnScript]]
"""Own scripts by (wallet, branch, start index, count)."""


def init(
    ledger: Ledger,
    chain: ChainSource,
    clock: Clock,
    derive: Derive,
    *,
    network: Network,
    fingerprint: str,
    wallets: int,
    birthday_height: int | None,
    lookahead: int,
    who: str,
) -> Identity:
    """Record the identity. The same identity again changes nothing; another raises NotAllowed; a wrong node, WrongChain.

    `birthday_height`: the first block to follow; None: the node's present tip, for a wallet that never received a coin.
    """
    node, genesis = chain.fetch_tip(), chain.fetch_hash(0)
    if node.chain != network or genesis is None:
        raise WrongChain(f"network: the node is on {node.chain}, the configuration says {network}")
    birthday = node.block.height if birthday_height is None else birthday_height
    wanted = Identity(network, genesis, fingerprint, birthday)
    with ledger.begin() as tx:
        known = tx.load_identity()
        if known is not None:
            return _confirm(known, wanted, asked_birthday=birthday_height)
        tx.insert_identity(wanted)
        now = clock.now()
        data: dict[str, object] = {"network": network, "genesis": genesis, "birthday_height": birthday}
        tx.append_event("ledger.initialised", at=now, who=who, data=data)
        tx.beat("init", at=now)
        for wallet in range(wallets):
            for branch in BRANCHES:
                tx.insert_own_scripts(derive(wallet, branch, 0, lookahead))
    return wanted


def _confirm(known: Identity, wanted: Identity, *, asked_birthday: int | None) -> Identity:
    same = (known.network, known.genesis, known.wallet_fingerprint)
    if same != (wanted.network, wanted.genesis, wanted.wallet_fingerprint):
        raise NotAllowed("init: this ledger serves another chain or wallet, and does so for ever")
    if asked_birthday is not None and asked_birthday != known.birthday_height:
        raise NotAllowed(f"init: the birthday is {known.birthday_height} and cannot be changed")
    return known


def top_up_scripts(tx: LedgerTx, derive: Derive, *, wallets: int, lookahead: int) -> int:
    """Keep `lookahead` own scripts of every branch watched beyond the last one handed out; how many were added."""
    added = 0
    for wallet in range(wallets):
        for branch in BRANCHES:
            left = tx.count_unallocated(wallet, branch)
            if left * 2 < lookahead:
                known = sum(1 for s in tx.load_own_scripts().values() if (s.wallet, s.branch) == (wallet, branch))
                scripts = derive(wallet, branch, known, lookahead - left)
                tx.insert_own_scripts(scripts)
                added += len(scripts)
    return added
