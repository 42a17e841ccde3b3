from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.signing_orders import (
    FEE_MAX_SATS,
    FEE_SATS,
    NESTED,
    PKH,
    TR,
    WPKH,
    Spend,
    customer,
    make_order,
    open_signer,
    own,
    wallet,
    write_key_file,
)
from withdrawals.core.model import JOURNAL_START, TxOut
from withdrawals.core.tx import ntxid_of, parse_pushes, parts_of, script_of, unsigned_tx
from withdrawals.core.types import Network, OutPoint, Sats, ScriptKind, ScriptPubKey, Txid
from withdrawals.errors import InvariantBroken, OrderRefused, SignerUnavailable, StaleLedger
from withdrawals.ports import ApprovedPayment, Signer, SigningOrder
from withdrawals.signing import own as own_module
from withdrawals.signing.hot import HotSigner
from withdrawals.signing.journal import read_journal
from withdrawals.signing.verify import verify_signatures

SHORT_GAP = 200
EVERY_KIND = (Spend(PKH), Spend(NESTED, 1, 4), Spend(WPKH, 0, 9), Spend(TR, 1, 2))


@pytest.fixture(autouse=True)
def _short_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that finds nothing costs 2 seconds with the real gap."""
    monkeypatch.setattr(own_module, "GAP", SHORT_GAP)


def refused(folder: Path, order: SigningOrder) -> OrderRefused:
    """The refusal of an order, which must leave no line in the journal."""
    with open_signer(folder) as signer, pytest.raises(OrderRefused) as caught:
        signer.ask(order)
    assert read_journal(folder / "journal") == ()
    return caught.value


def signed(order: SigningOrder, signer_type: type[HotSigner] = HotSigner) -> bytes:
    """The bytes that a fresh signer with an empty journal gives for an order."""
    with tempfile.TemporaryDirectory() as folder, open_signer(Path(folder), signer_type) as signer:
        return signer.ask(order).raw


@pytest.mark.covers("I8")
def test_every_kind_is_signed_over_everything(tmp_path: Path) -> None:
    """All four kinds in one transaction: same ntxid as the plan, and every signature verifies."""
    order = make_order(EVERY_KIND)
    with open_signer(tmp_path) as signer:
        port: Signer = signer
        answer = port.ask(order)
    assert verify_signatures(answer.raw, order.inputs) == ()
    assert ntxid_of(answer.raw) == ntxid_of(order.unsigned)
    (line,) = read_journal(tmp_path / "journal")
    assert answer.journal_head == line.head
    assert line.unsigned == order.unsigned


def test_the_same_order_gives_the_same_bytes() -> None:
    """RFC 6979 and a fixed auxiliary input: two signers that know nothing of each other agree on every byte."""
    order = make_order(EVERY_KIND * 5, [(customer(at), 1_000 + at) for at in range(9)])
    assert signed(order) == signed(order)


def test_signatures_have_their_planned_size() -> None:
    """Low R and low S: no ECDSA signature is above 71 bytes with its type, and a Schnorr signature has 64."""
    order = make_order([Spend(kind, at % 2, at) for at in range(40) for kind in (PKH, NESTED, WPKH, TR)])
    for planned, part in zip(order.inputs, parts_of(signed(order)).inputs, strict=True):
        if planned.own.kind is ScriptKind.P2TR:
            assert [len(item) for item in part.witness] == [64]
            assert part.script_sig == b""
            continue
        pushes = parse_pushes(part.script_sig)
        assert pushes is not None
        signature, pubkey = part.witness or [p.data for p in pushes]
        assert 9 <= len(signature) <= 71
        assert signature[3] <= 32
        assert signature[-1] == 1
        assert len(pubkey) == 33
        assert bool(part.script_sig) == (planned.own.kind in {ScriptKind.P2PKH, ScriptKind.P2SH})


@pytest.mark.covers("I12")
def test_asking_again_needs_no_new_line(tmp_path: Path) -> None:
    """With the head before it (we died) and with the head after it (the ledger lost the answer)."""
    first, second = make_order(), make_order(batch="b-2")
    with open_signer(tmp_path) as signer:
        answer = signer.ask(first)
        assert signer.ask(first) == answer
        assert signer.ask(replace(first, journal_head=answer.journal_head)) == answer
        later = signer.ask(replace(second, journal_head=answer.journal_head))
        again = signer.ask(replace(first, journal_head=later.journal_head))
        assert (again.raw, again.journal_head) == (answer.raw, later.journal_head)
    assert [line.batch_id for line in read_journal(tmp_path / "journal")] == ["b-1", "b-2"]


@pytest.mark.covers("I12")
def test_a_restored_ledger_cannot_sign(tmp_path: Path) -> None:
    """A ledger from before the last lines is told what it forgot, and nothing is signed or journalled for it."""
    with open_signer(tmp_path) as signer:
        first = signer.ask(make_order())
        second = signer.ask(make_order(batch="b-2", head=first.journal_head))
        for forgetful, lines in [(JOURNAL_START, 2), (first.journal_head, 1)]:
            with pytest.raises(StaleLedger) as caught:
                signer.ask(make_order(batch="b-3", head=forgetful))
            assert caught.value.lines == signer.lines_after(forgetful)
            assert len(caught.value.lines or ()) == lines
        with pytest.raises(StaleLedger) as caught:
            signer.ask(make_order(batch="b-3", head="ab" * 32))
        assert caught.value.lines is None
        assert signer.journal_head == second.journal_head


@pytest.mark.covers("I12")
def test_a_lost_journal_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    """The ledger remembers a head: no file is made, and nothing is signed."""
    with open_signer(tmp_path) as signer:
        head = signer.ask(make_order()).journal_head
    (tmp_path / "journal").unlink()
    with open_signer(tmp_path) as signer:
        with pytest.raises(StaleLedger) as caught:
            signer.ask(make_order(batch="b-2", head=head))
        assert caught.value.lines is None
    assert not (tmp_path / "journal").exists()


def test_a_plan_number_is_signed_for_one_transaction_only(tmp_path: Path) -> None:
    """Other bytes or payments under the same batch and number never meet the key."""
    with open_signer(tmp_path) as signer:
        head = signer.ask(make_order()).journal_head
        for other in (make_order(head=head, locktime=7), make_order(payments=[(customer(2), 300_000)], head=head)):
            with pytest.raises(InvariantBroken):
                signer.ask(other)
        signer.ask(make_order(number=2, locktime=7, head=head))


def test_a_failed_append_signs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is not touched unless the line is durable."""
    from withdrawals.signing import journal, keyfile  # noqa: PLC0415  (patched here only)

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with open_signer(tmp_path) as signer:
        monkeypatch.setattr(journal, "make_durable", fail)
        monkeypatch.setattr(keyfile.HotKeys, "secret_of", lambda *_: pytest.fail("the key was used"))
        for _ in range(2):
            with pytest.raises(SignerUnavailable):
                signer.ask(make_order())


def test_two_signers_do_not_share_a_journal(tmp_path: Path) -> None:
    """The second is turned away until the first is closed, and a closed one signs nothing."""
    with open_signer(tmp_path) as signer, pytest.raises(SignerUnavailable):
        open_signer(tmp_path)
    with pytest.raises(SignerUnavailable):
        signer.ask(make_order())
    open_signer(tmp_path).close()


def pays(script: ScriptPubKey, sats: int) -> TxOut:
    return TxOut(script, Sats(sats))


CHANGE = own(WPKH, 1, 3).script
REST = 1_000_000 - FEE_SATS - 300_000


@pytest.mark.covers("I8")
@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        ([pays(customer(1), 299_999), pays(CHANGE, REST + 1)], "approved, 0 made"),
        ([pays(customer(2), 300_000), pays(CHANGE, REST)], "approved, 0 made"),
        ([pays(CHANGE, REST)], "approved, 0 made"),
        ([pays(customer(1), 300_000), pays(customer(1), 300_000), pays(CHANGE, REST - 300_000)], "approved, 2 made"),
        ([pays(customer(1), 300_000), pays(customer(9), REST)], "neither approved nor ours"),
        ([pays(customer(1), 300_000), pays(customer(1), REST)], "neither approved nor ours"),
        ([pays(customer(1), 300_000), pays(ScriptPubKey(b"\x6a\x01x"), 0), pays(CHANGE, REST)], "neither"),
        ([pays(customer(1), 300_000), pays(script_of(ScriptKind.P2WSH, bytes(32)), REST)], "neither"),
        ([pays(customer(1), 300_000), pays(own(WPKH, 1, SHORT_GAP + 101).script, REST)], "neither approved nor ours"),
        ([pays(customer(1), 300_000), pays(CHANGE, REST + FEE_SATS + 1)], "more than the inputs"),
        ([pays(customer(1), 300_000), pays(CHANGE, REST + FEE_SATS - FEE_MAX_SATS - 1)], "above the signer's cap"),
        ([pays(customer(1), 300_000)], "above the signer's cap"),
    ],
)
def test_tampered_outputs_are_refused(tmp_path: Path, outputs: list[TxOut], why: str) -> None:
    """Whatever pays less, more, twice, somebody else or the miners never reaches journal or key."""
    error = refused(tmp_path, make_order(outputs=outputs))
    assert why in str(error)
    assert error.code == "order_refused"


def test_a_fee_at_the_cap_and_a_fee_of_nothing_are_signed(tmp_path: Path) -> None:
    """The cap is the most that is allowed, and zero the least."""
    for number, fee in enumerate((FEE_MAX_SATS, 0)):
        outputs = [pays(customer(1), 300_000), pays(CHANGE, 700_000 - fee)]
        assert signed(make_order(outputs=outputs, number=number + 1))


def retold(order: SigningOrder, at: int = 0, **changes: object) -> SigningOrder:
    """The order with one planned input told otherwise; the transaction stays."""
    inputs = list(order.inputs)
    inputs[at] = replace(inputs[at], **changes)  # type: ignore[arg-type]
    return replace(order, inputs=tuple(inputs))


ORDER = make_order(EVERY_KIND)


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (replace(ORDER, unsigned=ORDER.unsigned[:-1]), "no transaction"),
        (replace(ORDER, unsigned=signed(ORDER)), "signatures already"),
        (replace(ORDER, inputs=ORDER.inputs[::-1]), "planned outpoints"),
        (replace(ORDER, inputs=ORDER.inputs[:3]), "planned outpoints"),
        (retold(ORDER, outpoint=OutPoint(Txid("ab" * 32), 0)), "planned outpoints"),
        (retold(ORDER, sequence=0xFFFF_FFFE), "planned outpoints"),
        (retold(ORDER, own=replace(ORDER.inputs[0].own, index=1)), "what our key at its place owns"),
        (retold(ORDER, own=replace(ORDER.inputs[0].own, wallet=4)), "what our key at its place owns"),
        (retold(ORDER, own=replace(ORDER.inputs[0].own, index=2**31)), "what our key at its place owns"),
        (retold(ORDER, 1, own=replace(ORDER.inputs[1].own, nested=False)), "what our key at its place owns"),
        (retold(ORDER, 2, own=replace(ORDER.inputs[2].own, script=customer(1))), "what our key at its place owns"),
        (retold(ORDER, sats=Sats(0)), "no amount"),
        (replace(ORDER, payments=ORDER.payments * 2), "request id is paid twice"),
        (replace(ORDER, payments=()), "neither approved nor ours"),
        (replace(ORDER, payments=(replace(ORDER.payments[0], sats=Sats(0)),)), "of 0 sats was approved"),
        (replace(ORDER, change=(replace(own(WPKH, 1, 3), index=4),)), "what our key at its place owns"),
        (replace(ORDER, change=(own(WPKH, 1, 20_000_000),)), "what our key at its place owns"),
    ],
)
def test_an_order_that_contradicts_itself_is_refused(tmp_path: Path, order: SigningOrder, why: str) -> None:
    """The signer believes only what the transaction and its own keys say."""
    assert why in str(refused(tmp_path, order))


def test_an_outpoint_spent_twice_is_refused(tmp_path: Path) -> None:
    """No node would take it; nothing is journalled for it."""
    order = make_order()
    twice = order.inputs * 2
    outputs = [pays(customer(1), 300_000), pays(CHANGE, 2_000_000 - 300_000 - FEE_SATS)]
    unsigned = unsigned_tx([(i.outpoint, i.sequence) for i in twice], outputs)
    assert "spent twice" in str(refused(tmp_path, replace(order, inputs=twice, unsigned=unsigned)))


def test_payments_have_a_cap_of_their_own(tmp_path: Path) -> None:
    """Set for the signer alone: a ledger that was talked into more is refused."""
    keys = write_key_file(tmp_path / "keys")

    def capped(pay_max_sats: int) -> HotSigner:
        where = (keys, tmp_path / "journal", Network.REGTEST)
        return HotSigner(*where, fee_max_sats=FEE_MAX_SATS, pay_max_sats=Sats(pay_max_sats))

    with capped(300_000) as signer:
        head = signer.ask(make_order()).journal_head
        with pytest.raises(OrderRefused, match="above the signer's cap"):
            signer.ask(make_order(payments=[(customer(1), 300_001)], batch="b-2", head=head))
    # What was signed under a higher cap is signed for ever: the same bytes must be had again.
    with capped(1) as signer:
        assert signer.ask(make_order(head=head)).raw == signed(make_order())


def test_change_may_go_to_any_branch_of_ours(tmp_path: Path) -> None:
    """Found by search up to the gap; named in the order, as far as a rescan would look."""
    places = [own(w, b, at) for w in range(4) for b in (0, 1) for at in (0, 150)]
    head = JOURNAL_START
    with open_signer(tmp_path) as signer:
        for number, place in enumerate(places, start=1):
            head = signer.ask(make_order(number=number, change=place, head=head)).journal_head
        far = own(TR, 1, 1_000_000)
        order = make_order(batch="b-far", change=far, head=head)
        with pytest.raises(OrderRefused):
            signer.ask(replace(order, change=()))
        signer.ask(replace(order, change=(far,)))


def test_a_sweep_to_ourselves_needs_no_payment(tmp_path: Path) -> None:
    """What a fence is: every coin to our own script, no customer."""
    with open_signer(tmp_path) as signer:
        order = make_order(EVERY_KIND, payments=())
        assert verify_signatures(signer.ask(order).raw, order.inputs) == ()


def test_equal_payments_need_an_output_each(tmp_path: Path) -> None:
    """Two customers, one script, one amount: two outputs, not one and not three."""
    equal = [(customer(1), 50_000)] * 2
    assert signed(make_order(payments=equal))
    outputs = [pays(customer(1), 50_000), pays(CHANGE, 1_000_000 - 50_000 - FEE_SATS)]
    assert "2 payment(s)" in str(refused(tmp_path, make_order(payments=equal, outputs=outputs)))


class Padded(HotSigner):
    """A signer that pads R with a zero byte, as an exchange's did in 2014."""

    def _encode_ecdsa(self, der: bytes) -> bytes:
        r_size = der[3]
        return bytes([0x30, der[1] + 1, 0x02, r_size + 1, 0]) + der[4:]


@pytest.mark.covers("I8", "T03R")
def test_a_signer_that_pads_is_found_out() -> None:
    """The encoding is the only thing a subclass changes, and verification names every padded input."""
    order = make_order((Spend(PKH), Spend(NESTED), Spend(WPKH), Spend(TR)))
    problems = verify_signatures(signed(order, Padded), order.inputs)
    assert [problem.split(":")[0] for problem in problems] == ["input 0", "input 1", "input 2"]
    assert all("strict DER" in problem for problem in problems)


def test_nothing_that_a_signer_shows_is_a_key(tmp_path: Path) -> None:
    """Reprs and errors are made for logs."""
    with open_signer(tmp_path) as signer:
        assert "prv" not in repr(signer)
        assert "prv" not in repr(vars(signer))
        assert signer.wallet == wallet()


spends = st.builds(
    Spend, st.integers(0, 3), st.integers(0, 1), st.integers(0, 3), st.integers(100_000, 21 * 10**14 // 12)
)


@settings(max_examples=15, deadline=None)
@given(
    spends=st.lists(spends, min_size=1, max_size=6),
    amounts=st.lists(st.integers(1, 15_000), max_size=6),
    locktime=st.integers(0, 2**32 - 1),
)
def test_any_mixture_of_inputs_verifies(spends: list[Spend], amounts: list[int], locktime: int) -> None:
    """Whatever the kinds, places, amounts, payments and lock time: signed, verified, and the same bytes again."""
    order = make_order(spends, [(customer(at), sats) for at, sats in enumerate(amounts)], locktime=locktime)
    with tempfile.TemporaryDirectory() as folder, open_signer(Path(folder)) as signer:
        answer = signer.ask(order)
        assert signer.ask(order) == answer
    assert verify_signatures(answer.raw, order.inputs) == ()
    assert ntxid_of(answer.raw) == ntxid_of(order.unsigned)


def test_the_ledger_names_payments_by_request(tmp_path: Path) -> None:
    """The journal keeps who was paid: enough to rebuild what a ledger lost."""
    order = make_order(payments=[(customer(5), 1_234), (customer(6), 4_321)])
    with open_signer(tmp_path) as signer:
        signer.ask(order)
    (line,) = read_journal(tmp_path / "journal")
    told = tuple(
        ApprovedPayment(r, ScriptPubKey(bytes.fromhex(script)), Sats(sats)) for r, script, sats in line.payments
    )
    assert told == order.payments
