"""What a malleator is: who can do it, what it changes, what a node answers, and how to get it mined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from regtest.malleate.inputs import InputKind, KeyMissing, Prevout, SignedInput, Unfit
from regtest.malleate.literature import Source
from regtest.malleate.pushes import InputRewrite
from regtest.malleate.reasons import NO_HIGHER_FEE, NOT_PUSH_ONLY, SAME_TXID
from regtest.malleate.signing import Keys
from regtest.malleate.transaction import parse_transaction, unlockings_of, with_unlockings
from regtest.malleate.whole import SOME_COIN, Case, OwnCoin, Rebuild


class Actor(StrEnum):
    """Who is able to make the mutant and have it confirmed."""

    RELAY = "R"
    """Anyone who sees the transaction: nodes relay the mutant like any other."""
    MINER = "M"
    """Anyone, but a miner must take it directly, because relay policy refuses it."""
    COSIGNER = "C"
    """One of the holders of a multisig's keys."""
    OWNER = "O"
    """Whoever holds the key: a second copy of our own signer included."""
    NOBODY = "nobody"
    """Consensus forbids it today."""


class Mining(StrEnum):
    """How a mutant gets into a block on regtest, and what its node must be started with."""

    SEND = (
        "sendrawtransaction; if the original is in that mempool: prioritisetransaction first, or, where both have one"
        " txid, another node"
    )
    BLOCK = "generateblock, which bypasses relay policy"
    BELOW_DERSIG = "generateblock below height N, on a node started with -testactivationheight=dersig@N"
    BELOW_SEGWIT = "generateblock below height N, on a node started with -testactivationheight=segwit@N"
    NEVER = "no block can hold it"


class CannotMalleate(Exception):
    """This malleator finds nothing to change in this transaction; `.why` says what is missing.

    `.lacks_key` is whether somebody who holds the right key could. `.lacks_coin` is whether it spends no output of the
    kind that the class is about, so that nothing is known of what could be done if it did.
    """

    def __init__(self, class_id: str, why: str, *, lacks_key: bool = False, lacks_coin: bool = False) -> None:
        self.class_id, self.why, self.lacks_key, self.lacks_coin = class_id, why, lacks_key, lacks_coin
        super().__init__(f"{class_id}: {why}")


Wallets = tuple[tuple[str, ...], ...]
"""Alternatives of coins, in Bitcoin Core's address types. Each alternative is what one transaction must spend together:
(("legacy",), ("bech32",)) is either of two kinds, (("legacy", "bech32"),) is both beside each other."""


@dataclass(frozen=True, slots=True)
class Malleator:
    """One class of malleation: an entry of the table in `regtest.malleate.classes`.

    `consensus` and `policy` are the reasons that a node gives when it refuses the mutant in a block, or in its mempool,
    alone or in parentheses; None where it does not refuse. Prefixes of these reasons vary with versions, the text in
    them does not. `policy` is in Bitcoin Core's words, `knots` in those of Bitcoin Knots 29.4.3 where they differ.
    """

    id: str
    """T: the txid changes. W: only the wtxid does."""
    actor: Actor
    kind: InputKind
    deed: str
    source: Source
    how: str
    """What is done and why it works, for people."""
    rewrite: InputRewrite | None = None
    """Makes another unlocking for one input; it is tried on every input of this kind."""
    rebuild: Rebuild | None = None
    """Makes another transaction, for the classes that change more than what an input brings."""
    policy: str | None = None
    knots: str | None = None
    consensus: str | None = None
    below: Mining | None = None
    """How it is mined where its rule is not active yet, for rules that regtest can put off."""
    beside: InputKind | None = None
    """The transaction must also spend an output of this kind: what makes it a mixed one."""
    changes_outputs: bool = False
    changes_inputs: bool = False
    """Whether it spends other outpoints besides, or with other sequences."""
    needs_coin: bool = False
    """Whether the actor must add a coin of his own."""
    pays_more: bool = False
    """Whether it pays a higher fee than its original, so that mempools replace the one by the other."""
    wallets: Wallets = ()
    """The coins of a hot wallet, signed ALL or DEFAULT, that it can be done to; none if it takes other coins."""
    signer: str | None = None
    """What the signer must be like, where Bitcoin Core's is not."""
    original_policy: str | None = None
    """Why policy refuses what the mutant is made of, where it does; in Bitcoin Core's words and Knots's."""
    original_knots: str | None = None

    @property
    def form(self) -> str:
        """Kind and deed in one line."""
        return f"{self.kind}: {self.deed}"

    @property
    def changes_txid(self) -> bool:
        """Whether the mutant goes by another txid: what the catalogue's letters stand for."""
        return self.id.startswith("T")

    @property
    def changes_wtxid(self) -> bool:
        """Every mutant is other bytes."""
        return True

    @property
    def changes_ntxid(self) -> bool:
        """Whether the mutant is no longer a twin: other outputs, outpoints or sequences (sighash tricks, bumps)."""
        return self.changes_outputs or self.changes_inputs

    @property
    def is_relayable(self) -> bool:
        """Whether nodes relay the mutant today."""
        return self.policy is None

    @property
    def is_minable(self) -> bool:
        """Whether a block may hold the mutant today."""
        return self.consensus is None

    @property
    def mining(self) -> Mining:
        """How to get it mined on regtest."""
        if self.is_minable:
            return Mining.SEND if self.is_relayable else Mining.BLOCK
        return self.below or Mining.NEVER

    @property
    def needs_key(self) -> bool:
        """Whether only a holder of a key can do it."""
        return self.actor in {Actor.OWNER, Actor.COSIGNER}

    @property
    def beside_original(self) -> str | None:
        """How a mempool that holds the original begins its refusal of the mutant; None if it takes the mutant instead.

        The fee is looked at before the scripts are run, so this does not tell whether the mutant is in order.
        """
        if not self.changes_txid:
            return SAME_TXID
        if self.policy == NOT_PUSH_ONLY:
            return NOT_PUSH_ONLY
        return None if self.pays_more else NO_HIGHER_FEE

    def policy_of(self, *, knots: bool) -> str | None:
        """Why this flavour of node does not relay the mutant."""
        return self.knots if knots and self.knots else self.policy

    def original_policy_of(self, *, knots: bool) -> str | None:
        """Why this flavour of node does not relay the original."""
        return self.original_knots if knots and self.original_knots else self.original_policy

    def applies_to(self, raw: bytes, prevouts: Sequence[Prevout]) -> bool:
        """Whether this can be done to the transaction, by someone who has the keys and coins it takes."""
        try:
            self.malleate(raw, prevouts, (), SOME_COIN if self.needs_coin else None)
        except CannotMalleate as refused:
            return refused.lacks_key
        return True

    def malleate(self, raw: bytes, prevouts: Sequence[Prevout], keys: Keys = (), own: OwnCoin | None = None) -> bytes:
        """The mutant's bytes: every input that it can be done to is rewritten. Raises `CannotMalleate`.

        `keys` are secrets of 32 bytes of the actor's own, for owners and co-signers; `own` is a coin of his, for the
        classes that add one, and where he wants to be paid.
        """
        return self._mutant_of(self._case(raw, prevouts, tuple(keys), own))

    def _mutant_of(self, case: Case) -> bytes:
        if self.rebuild is not None:
            try:
                return self.rebuild(case)
            except Unfit as unfit:
                raise CannotMalleate(self.id, str(unfit), lacks_key=isinstance(unfit, KeyMissing)) from unfit
        if self.rewrite is None:
            raise TypeError(f"{self.id} neither rewrites an input nor rebuilds a transaction")
        unlockings = case.unlockings
        reasons: list[str] = []
        lacks_key = False
        for target in case.targets:
            try:
                unlockings[target.index] = self.rewrite(target, case.keys)
            except Unfit as unfit:
                reasons.append(f"input {target.index}: {unfit}")
                lacks_key = lacks_key or isinstance(unfit, KeyMissing)
        if len(reasons) == len(case.targets):
            raise CannotMalleate(self.id, "; ".join(reasons), lacks_key=lacks_key)
        if unlockings == case.unlockings:
            raise CannotMalleate(self.id, "it has that form already")
        return with_unlockings(case.tx, unlockings)

    def _case(self, raw: bytes, prevouts: Sequence[Prevout], keys: Keys, own: OwnCoin | None) -> Case:
        tx = parse_transaction(raw)
        if len(prevouts) != len(tx.vin):
            raise CannotMalleate(self.id, f"{len(prevouts)} prevouts were given for {len(tx.vin)} inputs")
        if self.beside and all(prevout.kind is not self.beside for prevout in prevouts):
            raise CannotMalleate(self.id, f"the transaction spends no {self.beside} output", lacks_coin=True)
        inputs = tuple(SignedInput(tx, n, tuple(prevouts), u) for n, u in enumerate(unlockings_of(tx)))
        targets = tuple(i for i in inputs if i.kind is self.kind)
        if not targets:
            raise CannotMalleate(self.id, f"the transaction spends no {self.kind} output", lacks_coin=True)
        return Case(inputs, targets, keys, own)
