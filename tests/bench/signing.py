"""Signing and verifying, by kind of coin, against the bare operations of libsecp256k1."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from coincurve import PrivateKey, PublicKeyXOnly

from tests.bench.measure import Row, compare
from tests.unit.builders import WIDE
from tests.unit.signing_orders import NESTED, PKH, TR, WPKH, Spend, customer, make_order, open_signer
from withdrawals.core.lint import lint
from withdrawals.core.model import Plan, PlannedOutput, PlanState
from withdrawals.core.tx import ntxid_of, view_of, vsize_of
from withdrawals.core.types import Feerate, Sats
from withdrawals.errors import ensure
from withdrawals.ports import SigningOrder
from withdrawals.signing.hot import HotSigner
from withdrawals.signing.verify import verify_signatures

TITLE: Final = "Signing: orders of 20 inputs and 50 payments (processor time per input, digests included)"
INPUTS, PAYMENTS = 20, 50
_KINDS: Final = {"p2pkh": PKH, "p2sh-p2wpkh": NESTED, "p2wpkh": WPKH, "p2tr": TR}
_DIGEST: Final = bytes(range(32))
_US: Final = 1e6


def run(budget_s: float) -> list[Row]:
    """Every kind signed, verified and linted; then an order with its line in the journal, which is fsynced."""
    share, bare, rows = budget_s / (len(_KINDS) + 2), _bare(budget_s / (len(_KINDS) + 2)), []
    with tempfile.TemporaryDirectory() as folder, open_signer(Path(folder)) as signer:
        for number, (name, kind) in enumerate(_KINDS.items()):
            rows += _kind_rows(name, _order(signer, kind, number), signer, bare, share)
        rows.append(_journal_row(signer, Path(folder), share))
    return rows


def _bare(budget_s: float) -> dict[str, float]:
    """Microseconds of one bare operation, with key and digest at hand."""
    key = PrivateKey(b"\x07" * 32)
    public, der = key.public_key, key.sign(_DIGEST, hasher=None)
    x_only, schnorr = PublicKeyXOnly.from_secret(key.secret), key.sign_schnorr(_DIGEST, bytes(32))
    calls: dict[str, Callable[[], object]] = {
        "ECDSA sign": lambda: key.sign(_DIGEST, hasher=None),
        "ECDSA verify": lambda: public.verify(der, _DIGEST, hasher=None),
        "Schnorr sign": lambda: key.sign_schnorr(_DIGEST, bytes(32)),
        "Schnorr verify": lambda: x_only.verify(schnorr, _DIGEST),
    }
    return {name: timing.best_s * _US for name, timing in compare(calls, budget_s, repeat=100).items()}


def _order(signer: HotSigner, kind: int, number: int) -> SigningOrder:
    payments = [(customer(n), 10_000 + n) for n in range(1, PAYMENTS + 1)]
    return make_order(
        [Spend(wallet=kind, index=at % 10) for at in range(INPUTS)],
        payments,
        batch=f"b-{number}",
        head=signer.journal_head,
    )


def _kind_rows(name: str, order: SigningOrder, signer: HotSigner, bare: dict[str, float], budget_s: float) -> list[Row]:
    raw = signer.ask(order).raw  # journals the order; asking for it again signs it again, without another line
    plan = _plan_of(order, raw)
    ensure(not lint(raw, plan) and not verify_signatures(raw, order.inputs), "what we sign is fit to send")
    taken = compare(
        {
            "sign": lambda: signer.ask(order),
            "verify": lambda: verify_signatures(raw, order.inputs),
            "lint": lambda: lint(raw, plan),
        },
        budget_s,
    )
    each = {what: timing.best_s / INPUTS * _US for what, timing in taken.items()}
    scheme = "Schnorr" if name == "p2tr" else "ECDSA"
    return [
        Row(f"sign {name}", each["sign"], "us", f"bare {scheme} sign", bare[f"{scheme} sign"]),
        Row(f"verify {name}", each["verify"], "us", f"bare {scheme} verify", bare[f"{scheme} verify"]),
        Row(f"lint {name}", each["lint"], "us"),
    ]


def _plan_of(order: SigningOrder, raw: bytes) -> Plan:
    outputs = tuple(PlannedOutput(o.script, o.sats, None) for o in view_of(order.unsigned).outputs)
    fee_sats = Sats(sum(i.sats for i in order.inputs) - sum(o.sats for o in outputs))
    ntxid, vsize = ntxid_of(order.unsigned), vsize_of(raw)
    rate = Feerate(WIDE.feerate_min)
    return Plan(
        order.batch_id, 1, order.inputs, outputs, order.unsigned, ntxid, fee_sats, vsize, rate, PlanState.SIGNING
    )


def _journal_row(signer: HotSigner, folder: Path, budget_s: float) -> Row:
    """New orders, each with its line on disk before a key is used, against writing and syncing as many bytes."""
    asked = iter(range(10_000_000))
    line = bytes(2_000)

    def ask() -> None:
        signer.ask(make_order(batch=f"b-new-{next(asked)}", head=signer.journal_head))

    with (folder / "plain").open("ab", buffering=0) as plain:

        def write() -> None:
            plain.write(line)
            os.fsync(plain.fileno())

        taken = compare({"ask": ask, "write": write}, budget_s, repeat=5, clock=time.perf_counter)
    note = "a small order, by the clock: journalled, synced, signed"
    return Row(
        "orders journalled and signed", 1 / taken["ask"].best_s, "/s", "write + fsync", 1 / taken["write"].best_s, note
    )
