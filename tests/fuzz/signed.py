"""Signed transactions of every kind, their malleated forms, and what must hold when the checker is shown any bytes."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from regtest.malleate import MALLEATORS, CannotMalleate, Prevout
from regtest.malleate.reasons import SCHNORR
from tests.fuzz.corpus import Seed
from tests.fuzz.mutate import mutate
from tests.fuzz.oracles import Outcome, agree
from tests.fuzz.reference import read_transaction
from tests.unit.signing_orders import NESTED, PKH, TR, WPKH, Spend, customer, make_order, open_signer
from withdrawals.core.lint import Code, lint, sighash_all_everywhere
from withdrawals.core.model import Plan, PlannedOutput, PlanState
from withdrawals.core.tx import MalformedTransaction, ntxid_of, parts_of, view_of, vsize_of
from withdrawals.core.types import Feerate, Sats
from withdrawals.ports import SigningOrder
from withdrawals.signing.hot import HotSigner
from withdrawals.signing.verify import verify_signatures

_WALLETS: Final = {
    "p2pkh": [PKH],
    "nested": [NESTED],
    "p2wpkh": [WPKH],
    "p2tr": [TR],
    "three p2wpkh": [WPKH] * 3,
    "all kinds": [PKH, NESTED, WPKH, TR],
}


@dataclass(frozen=True)
class Signed:
    """A plan, the bytes that our signer made of it, and those bytes and their malleated forms to start from."""

    plan: Plan
    raw: bytes
    malleated: frozenset[bytes]
    seeds: tuple[Seed, ...]


@cache
def answers() -> dict[str, Signed]:
    """By name; the keys are fixed and signatures deterministic, so these are the same bytes every time."""
    with tempfile.TemporaryDirectory() as folder, open_signer(Path(folder)) as signer:
        return {name: _sign(signer, name, number) for number, name in enumerate(_WALLETS)}


def _sign(signer: HotSigner, name: str, number: int) -> Signed:
    spends = [Spend(wallet=kind, index=at) for at, kind in enumerate(_WALLETS[name])]
    payments = [(customer(n), 10_000 + n) for n in range(1, 4)]
    order = make_order(spends, payments, batch=f"b-{number}", head=signer.journal_head)
    raw = signer.ask(order).raw
    malleated = frozenset(_malleated(raw, order))
    made = [raw, *sorted(malleated)]
    seeds = tuple(Seed(name, one, read_transaction(one)[1], 2 if one == raw else 1) for one in made)
    return Signed(_plan_of(order, raw), raw, malleated, seeds)


def _plan_of(order: SigningOrder, raw: bytes) -> Plan:
    outputs = tuple(PlannedOutput(o.script, o.sats, None) for o in view_of(order.unsigned).outputs)
    fee = Sats(sum(i.sats for i in order.inputs) - sum(o.sats for o in outputs))
    return Plan(
        batch_id=order.batch_id,
        number=1,
        inputs=order.inputs,
        outputs=outputs,
        unsigned=order.unsigned,
        ntxid=ntxid_of(order.unsigned),
        fee_sats=fee,
        vsize=vsize_of(raw),
        feerate=Feerate(1_000),
        state=PlanState.SIGNING,
    )


def _malleated(raw: bytes, order: SigningOrder) -> Iterator[bytes]:
    """The other encodings that need no key, wherever the class applies to the transaction.

    Not those whose Schnorr signature is another one: the lint reads forms, and a forged signature of the right form is
    the verifier's to find.
    """
    prevouts = [Prevout(i.own.script, i.sats) for i in order.inputs]
    for malleator in MALLEATORS.values():
        if malleator.consensus == SCHNORR:
            continue
        try:
            yield malleator.malleate(raw, prevouts)
        except CannotMalleate:
            continue


def draw_answer(name: str, rng: random.Random) -> bytes:
    """A mutant of one of the answers."""
    signed = answers()[name]
    seed = rng.choices(signed.seeds, [s.weight for s in signed.seeds])[0]
    return mutate(seed, [s.raw for s in signed.seeds], rng)


def check_answer(name: str, raw: bytes) -> Outcome:
    """The lint never raises, and only the signer's own bytes pass it together with the verifier (I8)."""
    signed = answers()[name]
    plan = signed.plan
    findings, problems = lint(raw, plan), verify_signatures(raw, plan.inputs)
    agree(all(str(finding) for finding in findings), "a finding without words")
    try:
        parts = parts_of(raw)
    except MalformedTransaction:
        agree([f.code for f in findings] == [Code.MALFORMED] and problems, f"not called malformed: {findings}")
        return Outcome(accepted=False)
    agree(all(f.code is not Code.MALFORMED for f in findings), "malformed, and yet it was read")
    agree((not findings and not problems) == (raw == signed.raw), f"lint {findings}, verifier {problems}")
    if not findings:
        agree(ntxid_of(raw) == plan.ntxid, "the lint passed another transaction")
        agree(raw not in signed.malleated, "the lint passed what somebody else made of it")
    if [i.outpoint for i in parts.inputs] == [i.outpoint for i in plan.inputs]:
        sealed = sighash_all_everywhere(raw, [i.own.script for i in plan.inputs])
        agree(sealed or findings, "the lint passed a signature that fixes less than everything")
    agree(not sighash_all_everywhere(raw, [None] * len(parts.inputs)), "what nobody knows is called sealed")
    return Outcome(accepted=not findings)
