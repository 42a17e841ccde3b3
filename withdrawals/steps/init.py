"""init: pin the chain and the wallet that this ledger serves, once and for ever, and watch the wallet's scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from withdrawals.core.model import Identity, OwnScript
from withdrawals.core.types import BlockHash, Network
from withdrawals.errors import NotAllowed, OutOfRange, WrongChain
from withdrawals.ports import ChainSource, Clock, Ledger, LedgerTx, NodeTip

BRANCHES: Final = (0, 1)
"""Receive and change."""
BIRTHDAY_DEPTH: Final = 20
"""How far below the node's tip the first followed block lies unless told otherwise.

The follower cannot go back past its first block: were that the tip, an ordinary reorg of one block would end it. Longer
reorgs than this are not ordinary, and a day later there is room for every one that is followed at all.
"""

Derive = Callable[[int, int, int, int], Sequence[OwnScript]]
"""Own scripts by (wallet, branch, start index, count)."""


@dataclass(frozen=True, slots=True)
class WatchedWallet:
    """The hot wallet's public side: its fingerprint, how many descriptors it has, and how to derive their scripts.

    `lookahead`: how many scripts of every branch are watched beyond the last one handed out.
    """

    fingerprint: str
    wallets: int
    derive: Derive
    lookahead: int


def init(
    ledger: Ledger,
    chain: ChainSource,
    clock: Clock,
    wallet: WatchedWallet,
    *,
    network: Network,
    birthday_height: int | None,
    who: str,
) -> Identity:
    """Record the identity. The same again changes nothing; another raises NotAllowed; a wrong node, WrongChain.

    `birthday_height`: the first block to follow; None: BIRTHDAY_DEPTH below the node's tip, for a wallet that never
    received a coin.
    """
    node, genesis = fetch_chain(chain, network)
    birthday = max(0, node.block.height - BIRTHDAY_DEPTH)
    if birthday_height is not None:
        birthday = birthday_height
        if birthday > node.block.height:
            raise OutOfRange("birthday_height", birthday, f"at most {node.block.height}, the height of the node's tip")
    wanted = Identity(network, genesis, wallet.fingerprint, birthday)
    with ledger.begin() as tx:
        known = tx.load_identity()
        if known is not None:
            return _confirm(known, wanted, asked_birthday=birthday_height)
        tx.insert_identity(wanted)
        now = clock.now()
        data: dict[str, object] = {"network": network, "genesis": genesis, "birthday_height": birthday}
        tx.append_event("ledger.initialised", at=now, who=who, data=data)
        tx.beat("init", at=now)
        top_up_scripts(tx, wallet)
    return wanted


def fetch_chain(chain: ChainSource, network: Network) -> tuple[NodeTip, BlockHash]:
    """The node's tip and its first block. Raises WrongChain unless the node is on this network."""
    node, genesis = chain.fetch_tip(), chain.fetch_hash(0)
    if node.chain != network or genesis is None:
        raise WrongChain(f"network: the node is on {node.chain}, the configuration says {network}")
    return node, genesis


def _confirm(known: Identity, wanted: Identity, *, asked_birthday: int | None) -> Identity:
    same = (known.network, known.genesis, known.wallet_fingerprint)
    if same != (wanted.network, wanted.genesis, wanted.wallet_fingerprint):
        raise NotAllowed("init: this ledger serves another chain or wallet, and does so for ever")
    if asked_birthday is not None and asked_birthday != known.birthday_height:
        raise NotAllowed(f"init: the birthday is {known.birthday_height} and cannot be changed")
    return known


def top_up_scripts(tx: LedgerTx, wallet: WatchedWallet) -> int:
    """Watch scripts ahead of the last one handed out, before they run out; how many were added."""
    added = 0
    for number, branch in product(range(wallet.wallets), BRANCHES):
        left = tx.count_unallocated(number, branch)
        if left * 2 < wallet.lookahead:
            watched = sum((s.wallet, s.branch) == (number, branch) for s in tx.load_own_scripts().values())
            scripts = wallet.derive(number, branch, watched, wallet.lookahead - left)
            tx.insert_own_scripts(scripts)
            added += len(scripts)
    return added
