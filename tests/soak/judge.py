"""What must be true once everything has come to rest: the chain first, then what the processor says of itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from regtest.oracle import payments_by_script
from tests.functional.world import World


@dataclass(frozen=True, slots=True)
class Owed:
    """What one accepted request asked for. Several may ask for the same."""

    request_id: str
    address: str
    script_hex: str
    sats: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """`paid_twice`: outputs to a customer that the chain holds and nobody owes; `lost`: owed ones that it lacks."""

    paid_twice: int
    lost: int
    violations: tuple[str, ...]
    """In words; empty: each was paid exactly once, the cancelled never, and the books agree."""


def judge(world: World, owed: Mapping[str, Owed], cancelled: Collection[str]) -> Judgement:
    """What whole blocks say that was paid, and what the processor says of itself."""
    on_chain = payments_by_script(world.rpc, world.birthday)
    amounts = {script: [payment.sats for payment in payments] for script, payments in on_chain.items()}
    differences = list(differences_of(owed.values(), cancelled, amounts))
    violations = (
        *(words for difference in differences for words in difference.words()),
        *_wrong_states(world, owed, cancelled),
        *(f"audit: {finding}" for finding in world.processor.audit().findings),
        *(f"status: {words}" for words in world.processor.status().attention),
    )
    return Judgement(
        sum(d.surplus.total() for d in differences), sum(d.missing.total() for d in differences), violations
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the amounts that the chain paid to a script, each as often as it did, are not those that are owed to it."""

    script: str
    request_ids: tuple[str, ...]
    missing: Counter[int]
    surplus: Counter[int]

    def words(self) -> Iterator[str]:
        """For people: one sentence for what is missing, one for what is too much."""
        names = ", ".join(self.request_ids)
        if self.missing:
            yield f"chain: {_words(self.missing)} never paid to {self.script} ({names})"
        if self.surplus:
            yield f"chain: {_words(self.surplus)} paid though not owed to {self.script} ({names})"


def differences_of(
    owed: Iterable[Owed], cancelled: Collection[str], amounts: Mapping[str, Iterable[int]]
) -> Iterator[Difference]:
    """Nothing where each is paid exactly once, and the cancelled never."""
    due: dict[str, Counter[int]] = defaultdict(Counter)
    who: dict[str, list[str]] = defaultdict(list)
    for one in owed:
        who[one.script_hex].append(one.request_id)
        due[one.script_hex].update([] if one.request_id in cancelled else [one.sats])
    for script, names in who.items():
        paid = Counter(amounts.get(script, ()))
        if paid != due[script]:
            yield Difference(script, tuple(names), due[script] - paid, paid - due[script])


def _words(amounts: Counter[int]) -> str:
    return " + ".join(f"{count} x {sats} sats" for sats, count in sorted(amounts.items()))


def states_of(world: World) -> dict[str, str]:
    """The state of every request that the ledger knows."""
    states: dict[str, str] = {}
    after = 0
    while page := world.processor.list_withdrawals(after_seq=after):
        states |= {str(w.request_id): str(w.state) for w in page}
        after = page[-1].seq
    return states


def _wrong_states(world: World, owed: Mapping[str, Owed], cancelled: Collection[str]) -> Iterator[str]:
    states = states_of(world)
    for request_id in sorted(owed.keys() | states.keys()):
        due = "cancelled" if request_id in cancelled else "final" if request_id in owed else "unknown"
        if states.get(request_id, "unknown") != due:
            yield f"ledger: {request_id} is {states.get(request_id, 'unknown')}, not {due}"
