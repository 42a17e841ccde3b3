"""The table of classes for people: lines for a terminal, and a page of the documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from regtest.malleate.classes import MALLEATORS
from regtest.malleate.model import Actor, Malleator
from regtest.malleate.serialisation import MISSPELLINGS

_ACTORS: Final = {
    Actor.RELAY: "anyone",
    Actor.MINER: "anyone with a miner",
    Actor.COSIGNER: "a co-signer",
    Actor.OWNER: "the owner of the key",
    Actor.NOBODY: "nobody today",
}
_BEFORE: Final = """# Every class of malleation

Generated from the table in `regtest/malleate/classes.py` by `withdrawals-regtest classes --markdown`; a test compares
the two. What malleability is, and what follows from it, is told in [malleability](malleability.md); here is what the
harness can do to a transaction, class by class. Every one is made and shown to a node in the tests, its mempool first
and then a block with nothing but the mutant.

* *Who*: **R** anyone, for nodes relay the mutant · **M** anyone, but a miner must take it directly · **C** a co-signer
  · **O** the owner of the key · **nobody** consensus forbids it.
* *Changes*: **txid** includes the wtxid. **ntxid** is the id without any signature: where that changes, the mutant is
  no twin any more but pays or spends something else.
* *Relay* and *blocks*: how a node refuses the mutant, in Bitcoin Core's words without their prefix, and in those of
  Bitcoin Knots 29.4.3 where they differ; "yes" where it does not.
* Where a mempool holds the original, it says `txn-same-nonwitness-data-in-mempool` to every W, whatever it is worth,
  and `insufficient fee` to every T, but for those that pay more and replace it (T08c, T10, T22) and for scriptSigs that
  do more than push, which are refused as ever.
* *Coins*: those of an ordinary hot wallet, by Bitcoin Core's address types and signed ALL or DEFAULT, that it can be
  done to. Without any, the class takes another script or hash type.
"""


def describe_malleators() -> str:
    """The table for a terminal: one line per class."""
    lines = [("id", "actor", "changes", "relay policy", "consensus", "form")]
    for malleator in MALLEATORS.values():
        verdicts = (malleator.policy or "accepts", malleator.consensus or "accepts")
        lines.append((malleator.id, malleator.actor, _changes(malleator), *verdicts, malleator.form))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def catalogue_page() -> str:
    """The page `docs/malleation-classes.md`, in Markdown."""
    classes = list(MALLEATORS.values())
    parts = [
        _BEFORE,
        "## At a glance\n\n" + _table(("id", "what is done", "who", "changes", "relay", "blocks", "coins"), _row),
        "## Where it comes from\n\n" + _literature(),
        "## The txid changes\n\n" + "\n\n".join(_section(m) for m in classes if m.changes_txid) + "\n",
        "## Only the wtxid changes\n\n" + "\n\n".join(_section(m) for m in classes if not m.changes_txid) + "\n",
        "## Nobody reads it\n\n" + _misspellings(),
    ]
    return "\n".join(parts)


def _table(head: tuple[str, ...], row: Callable[[Malleator], tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *map(row, MALLEATORS.values())]
    return "\n".join(f"| {' | '.join(line)} |".replace("|---", "| ---") for line in lines) + "\n"


def _row(malleator: Malleator) -> tuple[str, ...]:
    return (
        f"`{malleator.id}`",
        malleator.form,
        malleator.actor,
        _changes(malleator),
        "yes" if malleator.is_relayable else "no",
        "yes" if malleator.is_minable else "no",
        _coins(malleator) or "-",
    )


def _literature() -> str:
    """Every source once, with its classes."""
    found: dict[str, list[Malleator]] = {}
    for malleator in MALLEATORS.values():
        found.setdefault(malleator.source.name, []).append(malleator)
    lines = ["| source | classes | refused by relay since | by blocks since |", "| --- | --- | --- | --- |"]
    for name, classes in found.items():
        ids, source = " ".join(f"`{m.id}`" for m in classes), classes[0].source
        lines.append(f"| {name} | {ids} | {source.relay} | {source.consensus} |")
    return "\n".join(lines) + "\n"


def _misspellings() -> str:
    """The other serialisations, which are no classes."""
    lines = [
        "Other serialisations of a whole transaction are refused while they are being read: -22, decode failed.",
        "",
        "| id | what is done | why it is refused |",
        "| --- | --- | --- |",
        *(f"| `{entry.id}` | {entry.deed} | {entry.how} |" for entry in MISSPELLINGS.values()),
    ]
    return "\n".join(lines) + "\n"


def _section(malleator: Malleator) -> str:
    source = malleator.source
    facts = [
        f"**{malleator.form}.** {malleator.how}",
        "",
        f"* Who: {_ACTORS[malleator.actor]}{', who adds a coin of his own' if malleator.needs_coin else ''}.",
        f"* Changes: {_changes(malleator)}{_what_else(malleator)}.",
        f"* Relay: {_relay(malleator)}. Blocks: {malleator.consensus or 'yes'}.",
        f"* From: {source.name}. Refused by relay since: {source.relay}; by blocks since: {source.consensus}.",
        f"* On regtest: {_mining(malleator)}.",
    ]
    if malleator.wallets:
        signer = f", if the signer {malleator.signer}" if malleator.signer else ""
        facts.append(f"* Coins: {_coins(malleator)}{signer}.")
    return f"### {malleator.id}\n\n" + "\n".join(facts)


def _mining(malleator: Malleator) -> str:
    words = str(malleator.mining)
    for command in ("sendrawtransaction", "prioritisetransaction", "generateblock", "-testactivationheight="):
        words = words.replace(command, f"`{command}`")
    return words


def _relay(malleator: Malleator) -> str:
    words = malleator.policy or "yes"
    if malleator.knots:
        words += f" (Knots: {malleator.knots})"
    if malleator.original_policy:
        words += f"; the original is refused: {malleator.original_policy}"
    elif malleator.original_knots:
        words += f"; Knots refuses the original too: {malleator.original_knots}"
    return words


def _changes(malleator: Malleator) -> str:
    changed = "txid" if malleator.changes_txid else "wtxid"
    return f"{changed}, ntxid" if malleator.changes_ntxid else changed


def _what_else(malleator: Malleator) -> str:
    said = [(malleator.changes_outputs, "outputs"), (malleator.changes_inputs, "inputs")]
    words = " and ".join(word for applies, word in said if applies)
    return f" ({words})" if words else ""


def _coins(malleator: Malleator) -> str:
    return " or ".join(" beside ".join(mix) for mix in malleator.wallets)
