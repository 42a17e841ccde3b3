"""The endings: what becomes of originals and mutants, for all cells at once, and when their customers complain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from regtest.malleate import ids_of
from regtest.matrix.field import FORGETFUL, Field, mutants_of, originals_of
from regtest.matrix.play import Play
from regtest.replay.cells import Ending

_DEPTH: Final = 3
"""How many blocks a reorg takes away: fewer than make a payment final."""


def mutant_wins(field: Field) -> None:
    """The mutant is mined and stays."""
    field.sign()
    field.show_to_miner()
    field.mine_mutants()
    field.complain()
    field.explain()
    field.bury()


def original_wins(field: Field) -> None:
    """The original is mined; whoever shows a mutant to a miner then comes too late."""
    field.sign()
    field.show_to_miner()
    field.mine_originals()
    field.complain()
    for play in field.live:
        refusal = field.refusal_of(play.mutants)
        play.tell("a miner tries the mutant", refusal or "AND MINES IT", field.network.height)
        if refusal is None:
            play.reasons.append("a block may hold both the original and the mutant: they are no rivals")
    field.bury()


def mutant_then_original(field: Field) -> None:
    """The mutant is mined and buried a little, then a longer branch has the original."""
    field.sign()
    field.show_to_miner()
    field.mine_mutants()
    field.network.mine_empty(_DEPTH - 1)
    field.complain()
    field.explain()
    field.network.reorg(_DEPTH, transactions=[field.block_of(originals_of)])
    field.tell("a reorg", originals_of, f"{_DEPTH} blocks go, and a longer branch has")
    field.complain()
    field.bury()


def original_then_mutant(field: Field) -> None:
    """The original is mined and buried a little, then a longer branch has the mutant."""
    field.sign()
    field.show_to_miner()
    field.mine_originals()
    field.network.mine_empty(_DEPTH - 1)
    field.complain()
    field.network.reorg(_DEPTH, transactions=[field.block_of(mutants_of)])
    field.tell("a reorg", mutants_of, f"{_DEPTH} blocks go, and a longer branch has")
    field.complain()
    field.explain()
    field.bury()


def neither_in_mempool(field: Field) -> None:
    """The mutant's block is lost, and the node has forgotten all that waited; then the attacker tries again."""
    network = field.network
    field.sign()
    field.show_to_miner()
    field.mine_mutants()
    field.complain()
    network.reorg(1, transactions=[])
    # Mutants that nodes relay have come back to its mempool. A node that is started anew may know nothing of them.
    own = list(network.node.extra_args)
    network.node.restart([*own, *FORGETFUL])
    here = field.mempool()
    for play in field.live:
        # A processor that works on its own may have sent its own again before anybody could look.
        sent = here & {ids_of(raw).wtxid for raw in play.originals}
        words = "the original was sent again at once" if sent else "neither is in any mempool"
        play.tell("the block is lost", words, network.height)
        if here & {ids_of(raw).wtxid for raw in play.mutants}:
            play.reasons.append("the mutant is in the mempool of a node that was started anew")
    field.work()
    if not all(_is_back(play, field.mempool()) for play in field.live):
        # Many a processor leaves it to its node's wallet to send again, which it does as soon as it is loaded.
        network.node.restart(own)
        field.work()
    _expect_resent(field)
    field.complain()
    network.mine()
    if network.node.extra_args != own:
        network.node.restart(own)
    field.work()
    _try_again(field)
    field.complain()
    field.explain()
    field.bury()


def _is_back(play: Play, mempool: set[str]) -> bool:
    """Whether a node has it again. A wallet that sends again may take the mutant first, if nodes relay that."""
    if play.wanted.malleator.original_policy is not None:
        return True
    pairs = zip(play.originals, play.mutants, strict=True)
    return all({ids_of(original).wtxid, ids_of(mutant).wtxid} & mempool for original, mutant in pairs)


def _expect_resent(field: Field) -> None:
    """What is nowhere is sent again, the same bytes; but for those that no node relays."""
    here = field.mempool()
    for play in field.live:
        same = all(ids_of(raw).wtxid in here for raw in play.originals)
        words = "the very same bytes are sent again" if same else "nothing is sent"
        if not same and any(ids_of(raw).wtxid in here for raw in play.mutants):
            words = "the mutant is sent again"
        play.tell("a moment later", words)
        if not _is_back(play, here):
            play.reasons.append("neither is in any mempool, and the same bytes are not sent again")


def _try_again(field: Field) -> None:
    """A miner takes the mutants that can still be mined."""
    minable: list[str] = []
    for play in field.live:
        refusal = field.refusal_of(play.mutants)
        play.tell("the attacker tries again", refusal or "and it is mined", field.network.height)
        if refusal is None:
            minable += [raw.hex() for raw in play.mutants]
    if minable:
        field.network.mine_exactly(minable)


def two_nodes(field: Field) -> None:
    """Our node holds the original and another one the mutant, neither takes the other's, and the other one mines."""
    network = field.network
    network.join()
    network.split([0], [1])
    field.sign()
    for raw_hex in field.block_of(mutants_of):
        network.nodes[1].rpc.sendrawtransaction(raw_hex, 0)
    network.join()
    here, there = field.mempool(), field.mempool(1)
    for play in field.live:
        if any(ids_of(raw).wtxid not in there or ids_of(raw).wtxid in here for raw in play.mutants):
            play.reasons.append("the mutant is not in the other node's mempool alone")
    field.tell("two nodes disagree", mutants_of, "another node has")
    field.complain()
    network.mine(on=1)
    field.tell("the other node mines", mutants_of)
    network.split([0], [1])
    field.complain()
    field.explain()
    field.bury()


def mutant_first(field: Field) -> None:
    """Somebody sees the original on its way to the node, and his mutant is there before it."""
    field.sign()
    here = field.mempool()
    for play in field.live:
        if any(ids_of(raw).wtxid not in here for raw in play.mutants):
            play.reasons.append("the mutant is not in the mempool, and should have been the first there")
    field.tell("the mutant was first", mutants_of, "the mempool has")
    field.complain()
    field.network.mine()
    field.tell("it is mined", mutants_of)
    field.complain()
    field.explain()
    field.bury()


PLAYS: Final[Mapping[Ending, Callable[[Field], None]]] = MappingProxyType(
    {
        Ending.MUTANT_WINS: mutant_wins,
        Ending.ORIGINAL_WINS: original_wins,
        Ending.MUTANT_THEN_ORIGINAL: mutant_then_original,
        Ending.ORIGINAL_THEN_MUTANT: original_then_mutant,
        Ending.NEITHER_IN_MEMPOOL: neither_in_mempool,
        Ending.TWO_NODES: two_nodes,
        Ending.MUTANT_FIRST: mutant_first,
    }
)
"""How each ending is played."""
