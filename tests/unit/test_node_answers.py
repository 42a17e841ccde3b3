"""The node's words become values of ours exactly, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from withdrawals.core.types import COIN, MAX_MONEY
from withdrawals.errors import NodeRejected, NodeUnavailable
from withdrawals.node.answers import Answer, Json, accepted, json_bytes, parse_json

sats = st.integers(min_value=0, max_value=MAX_MONEY)


def as_core_writes(amount_sats: int) -> str:
    """Core's ValueFromAmount: always eight digits after the point."""
    return f"{amount_sats // COIN}.{amount_sats % COIN:08d}"


@pytest.mark.covers("I10")
@given(sats)
def test_every_amount_is_read_to_the_satoshi(amount_sats: int) -> None:
    answer = Answer("m", parse_json(f'{{"fee":{as_core_writes(amount_sats)}}}'.encode()))
    assert answer.btc_in_sats("fee") == amount_sats


@pytest.mark.covers("I10")
@given(sats)
def test_every_amount_is_written_to_the_satoshi(amount_sats: int) -> None:
    assert json_bytes([Decimal(amount_sats).scaleb(-8)]) == f'["{as_core_writes(amount_sats)}"]'.encode()


anything: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(anything)
def test_everything_but_amounts_goes_out_as_it_is(value: Json) -> None:
    assert json.loads(json_bytes(value)) == value


Read = Callable[[Answer], object]
NO_FIELD: list[Json] = [{}, {"n": None}, [], "n", None]
SHAPES: list[tuple[Read, list[Json]]] = [
    (lambda answer: answer.whole("n"), [*NO_FIELD, {"n": "1"}, {"n": True}, {"n": -1}, {"n": Decimal("1.0")}]),
    (lambda answer: answer.btc_in_sats("n"), [*NO_FIELD, {"n": "1"}, {"n": True}, {"n": Decimal("-0.1")}]),
    (lambda answer: answer.btc_in_sats("n"), [{"n": Decimal("21000000.00000001")}, {"n": 21_000_001}]),
    (lambda answer: answer.text("n"), [*NO_FIELD, {"n": 1}]),
    (lambda answer: answer.text(), [None, 1, {}, []]),
    (lambda answer: answer.flag("n"), [*NO_FIELD, {"n": 0}, {"n": "true"}]),
    (lambda answer: answer.hash(), ["", "00", "g" * 64, "0" * 65, None, 7]),
    (lambda answer: answer.data(), ["0", "zz", None, 7]),
    (lambda answer: answer.items(), [None, {}, "[]", 7]),
]


@pytest.mark.parametrize(("read", "value"), [(read, value) for read, values in SHAPES for value in values])
def test_what_has_another_shape_is_no_fact(read: Read, value: Json) -> None:
    with pytest.raises(NodeUnavailable, match="getthing: the node's answer makes no sense"):
        read(Answer("getthing", value))


def test_hashes_are_read_in_lower_case() -> None:
    assert Answer("m", {"h": "AB" * 32}).hash("h") == "ab" * 32


def test_a_refusal_among_answers_is_raised_where_an_answer_is_needed() -> None:
    assert accepted(None) is None
    with pytest.raises(NodeRejected):
        accepted(NodeRejected("m", -5, "no"))
