"""Classes that no coin of an ordinary hot wallet can suffer: the node is shown a specimen, and its verdict compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from regtest.malleate.reasons import says
from regtest.matrix.plan import Wanted, can_be_mined_early
from regtest.network import Network
from regtest.replay.cells import Cell, Standing
from regtest.rpc import RpcError
from regtest.specimens import Specimen, make_specimens


def show_specimens(network: Network, cells: Sequence[Wanted], processor: str, *, is_control: bool) -> Iterator[Cell]:
    """One cell for each class: not ours, if the node says of its mutant what the class declares."""
    specimens = make_specimens([cell.class_id for cell in cells], network)
    for wanted in cells:
        said, wrong = _verdicts_on(network, specimens[wanted.class_id])
        yield Cell(
            id=wanted.id,
            processor=processor,
            is_control=is_control,
            title=wanted.title,
            standing=Standing.FAILED if wrong else Standing.NOT_OURS,
            reasons=tuple(wrong)
            or (f"it takes another coin than ordinary hot wallets have. Of one the node says: {said}",),
            class_id=wanted.class_id,
            customers=0,
            must="be refused, or not, as its class declares",
            covers=(wanted.class_id,),
        )


def _verdicts_on(network: Network, specimen: Specimen) -> tuple[str, list[str]]:
    """What the node says of the mutant, in words, and what of it is not as declared."""
    malleator, mutant = specimen.malleator, specimen.mutant()
    knots = network.node.program.is_knots
    relay = _relay_refusal(network, mutant)
    block = _block_refusal(network, mutant)
    declared = None if can_be_mined_early(malleator) else malleator.consensus
    wrong = [
        f"{where}: the node says {said!r}, and the class {due!r}"
        for where, said, due in (
            ("the original's relay", _relay_refusal(network, specimen.raw), malleator.original_policy_of(knots=knots)),
            ("relay", relay, malleator.policy_of(knots=knots)),
            ("in a block", block, declared),
        )
        if (said is None) != (due is None) or (said is not None and due is not None and not says(said, due))
    ]
    return f"relay: {relay or 'accepted'}; in a block: {block or 'accepted'}", wrong


def _relay_refusal(network: Network, raw: bytes) -> str | None:
    [verdict] = network.rpc.testmempoolaccept([raw.hex()], 0)
    return None if verdict["allowed"] else str(verdict["reject-reason"])


def _block_refusal(network: Network, raw: bytes) -> str | None:
    try:
        network.build_block([raw.hex()])
    except RpcError as error:
        return error.message.rpartition("failed: ")[2].partition(",")[0]
    return None
