"""The chain as the ledger stores it: bytes against their ids, headers against each other, facts against bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from withdrawals.core.auditing import Finding, coin_flaws, header_flaws, spend_flaws
from withdrawals.core.model import BatchState, Coin, Header, OwnScript, Payment, Spend, TxView
from withdrawals.core.policy import Policy
from withdrawals.core.tx import MalformedTransaction, view_of
from withdrawals.core.types import OutPoint, ScriptPubKey, Txid, WithdrawalId, Wtxid
from withdrawals.lineage import attribute_standing
from withdrawals.ports import FactRows, LedgerView

_BLOCKS: Final = 500
"""Heights that are looked at together."""
_HIGHEST: Final = 2**31 - 1
"""Core stores heights as signed 32-bit numbers."""


@dataclass(frozen=True, slots=True)
class _Page:
    """Some blocks' rows, with the stored bytes that they are about."""

    rows: FactRows
    own_scripts: Mapping[ScriptPubKey, OwnScript]
    by_txid: Mapping[Txid, TxView]
    by_wtxid: Mapping[Wtxid, TxView]


def audit_transactions(view: LedgerView) -> Iterator[Finding]:
    """Every stored transaction hashes to the three ids that stand beside it."""
    after = ""
    while page := view.list_transactions(after):
        after = page[-1].wtxid
        for stored in page:
            try:
                tx = view_of(stored.raw)
            except MalformedTransaction as error:
                yield Finding("transaction", f"the bytes stored as {stored.wtxid} are no transaction: {error}")
                continue
            if (tx.wtxid, tx.txid, tx.ntxid) != (stored.wtxid, stored.txid, stored.ntxid):
                words = f"the bytes stored as {stored.wtxid} are {tx.wtxid} (txid {tx.txid}, ntxid {tx.ntxid})"
                yield Finding("transaction", words)


def audit_facts(view: LedgerView, policy: Policy) -> Iterator[Finding]:
    """Headers link from the first followed block to the tip; facts are in their blocks, and in the bytes."""
    identity, tip = view.load_identity(), view.load_tip()
    first = identity.birthday_height if identity is not None else 0
    last = tip.height if tip is not None else first - 1
    yield from _strays(view.list_facts(0, first - 1))
    yield from _strays(view.list_facts(last + 1, _HIGHEST))
    own_scripts = view.load_own_scripts()
    before: Header | None = None
    for low in range(first, last + 1, _BLOCKS):
        high = min(low + _BLOCKS - 1, last)
        rows = view.list_facts(low, high)
        yield from (Finding("header", flaw) for flaw in header_flaws(rows.headers, before, first))
        before = rows.headers[-1] if rows.headers else before
        if len(rows.headers) != high - low + 1:
            yield Finding("header", f"{len(rows.headers)} blocks are stored for the heights {low} to {high}")
        yield from _audit_page(view, policy, _page_of(view, rows, own_scripts))


def _strays(rows: FactRows) -> Iterator[Finding]:
    for fact in (*rows.headers, *rows.coins, *rows.spends, *rows.payments):
        yield Finding("header", f"a fact is stored of a block that is not followed: {fact}")


def _page_of(view: LedgerView, rows: FactRows, own_scripts: Mapping[ScriptPubKey, OwnScript]) -> _Page:
    txids = {c.outpoint.txid for c in rows.coins} | {s.txid for s in rows.spends} | {p.txid for p in rows.payments}
    transactions = view.load_transactions(txids)
    return _Page(rows, own_scripts, {tx.txid: tx for tx in transactions}, {tx.wtxid: tx for tx in transactions})


def _audit_page(view: LedgerView, policy: Policy, page: _Page) -> Iterator[Finding]:
    followed = {(h.height, h.hash) for h in page.rows.headers}
    facts: tuple[Coin | Spend | Payment, ...] = (*page.rows.coins, *page.rows.spends, *page.rows.payments)
    for fact in facts:
        if (fact.block.height, fact.block.hash) not in followed:
            yield Finding("header", f"a fact is stored of a block that is not followed: {fact}")
    for coin in page.rows.coins:
        yield from (Finding("coin", flaw) for flaw in coin_flaws(coin, page.by_txid.get(coin.outpoint.txid)))
    for spend in page.rows.spends:
        yield from (Finding("spend", flaw) for flaw in spend_flaws(spend, page.by_wtxid.get(spend.wtxid)))
    yield from _strangers_business(view, page)
    yield from _missing_rows(view, page)
    yield from _audit_payments(view, policy, page)


def _strangers_business(view: LedgerView, page: _Page) -> Iterator[Finding]:
    """Spends of what was never ours: stored only of what a stored ancestor of something asked for spends too."""
    prevouts = {s.prevout for s in page.rows.spends}
    foreign = prevouts - view.find_accountable(prevouts)
    for outpoint in sorted(foreign - _inputs_above(view)) if foreign else ():
        words = f"{outpoint} was never ours, and nothing that a signer was asked for descends from what spends it"
        yield Finding("spend", words)


def _inputs_above(view: LedgerView) -> set[OutPoint]:
    """What every stored ancestor of everything that a signer was ever asked for spends."""
    batches = (view.load_batch(b) for b in view.list_batches(set(BatchState)))
    frontier = {o for b in batches if b is not None for p in b.plans if p.asked for o in p.prevouts}
    found: set[OutPoint] = set()
    while frontier:
        makers = view.load_transactions({o.txid for o in frontier})
        frontier = {o for tx in makers for o in tx.prevouts} - found
        found |= frontier
    return found


def _missing_rows(view: LedgerView, page: _Page) -> Iterator[Finding]:
    """What a transaction does that stands in a followed block, and that no row says: our outputs, our inputs."""
    heights = _heights_of(page.rows)
    inputs = {o for txid in heights for o in _prevouts_of(page, txid)}
    coins, spends = view.load_coins(inputs), view.load_spends(inputs)
    made = {
        OutPoint(txid, vout): output
        for txid in heights
        for vout, output in enumerate(page.by_txid[txid].outputs if txid in page.by_txid else ())
        if output.script in page.own_scripts and output.sats > 0
    }
    for outpoint in sorted(made.keys() - {c.outpoint for c in page.rows.coins}):
        yield Finding("coin", f"{outpoint} pays {made[outpoint].sats} sats to a script of ours, and is no coin here")
    for txid in sorted(heights):
        for outpoint in _prevouts_of(page, txid):
            if outpoint in coins and (outpoint not in spends or spends[outpoint].txid != txid):
                yield Finding("spend", f"{outpoint} is spent by {txid} at height {heights[txid]}, and no row says so")


def _heights_of(rows: FactRows) -> dict[Txid, int]:
    """Every transaction that a fact says stands in these blocks."""
    heights = {c.outpoint.txid: c.block.height for c in rows.coins}
    heights.update((s.txid, s.block.height) for s in rows.spends)
    heights.update((p.txid, p.block.height) for p in rows.payments)
    return heights


def _prevouts_of(page: _Page, txid: Txid) -> tuple[OutPoint, ...]:
    return page.by_txid[txid].prevouts if txid in page.by_txid else ()


# ------------------------------------------------------------------------------------------------------------- payments

_Paid = tuple[int, WithdrawalId, int, bool]
"""Output, withdrawal, satoshis, by plan."""


def _audit_payments(view: LedgerView, policy: Policy, page: _Page) -> Iterator[Finding]:
    """Who is paid by which output of every spender of ours, attributed again from bytes and plans."""
    spenders = {s.wtxid: s for s in page.rows.spends}
    stored: dict[Txid, set[_Paid]] = {}
    for row in page.rows.payments:
        stored.setdefault(row.txid, set()).add((row.vout, row.withdrawal_id, row.sats, row.by_plan))
    for wtxid, spend in sorted(spenders.items()):
        tx = page.by_wtxid.get(wtxid)
        if tx is None:
            continue  # `spend` says so
        paid = attribute_standing(view, tx, policy, spend.block.height)
        expected = {(vout, w, int(tx.outputs[vout].sats), paid.by_plan) for vout, w in paid.payments}
        yield from _differences(tx, expected, stored.pop(tx.txid, set()))
        remembered = view.load_seen_payers([w for _, w in paid.payments])
        for vout, withdrawal_id in paid.payments:
            if all(seen.wtxid != wtxid for seen in remembered[withdrawal_id]):
                words = f"{tx.txid}:{vout} pays {withdrawal_id}, and is not remembered as a payer of it"
                yield Finding("payer_forgotten", words)
    for txid, rows in sorted(stored.items()):
        yield Finding(
            "payment", f"{txid} spends nothing of ours, and is stored as paying {sorted(w for _, w, *_ in rows)}"
        )


def _differences(tx: TxView, expected: set[_Paid], stored: set[_Paid]) -> Iterator[Finding]:
    for vout, withdrawal_id, sats, by_plan in sorted(expected - stored):
        how = "by a plan of ours" if by_plan else "by script and amount, or an operator's word"
        yield Finding("payment", f"{tx.txid}:{vout} pays {withdrawal_id} {sats} sats {how}, and no such row is stored")
    for vout, withdrawal_id, sats, _ in sorted(stored - expected):
        yield Finding("payment", f"{tx.txid}:{vout} is stored as paying {withdrawal_id} {sats} sats, which it does not")
