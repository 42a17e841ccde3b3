"""Amounts are integers with a named unit; whatever leaves doubt is refused."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from withdrawals.core.amounts import format_btc, format_feerate, parse_btc, parse_sats
from withdrawals.core.types import MAX_MONEY, Feerate
from withdrawals.errors import InvalidAmount

amounts = st.integers(1, MAX_MONEY)


@pytest.mark.parametrize(
    ("text", "sats"),
    [
        ("0.001", 100_000),
        ("0.00000001", 1),
        ("1", 100_000_000),
        ("1.5", 150_000_000),
        ("0.10000000", 10_000_000),
        ("20999999.99999999", MAX_MONEY - 1),
        ("21000000", MAX_MONEY),
        ("21000000.00000000", MAX_MONEY),
    ],
)
@pytest.mark.covers("I10")
def test_bitcoin_text_is_read_to_the_satoshi(text: str, sats: int) -> None:
    """No rounding, no float in between."""
    assert parse_btc(text) == sats
    assert type(parse_btc(text)) is int


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0",
        "0.0",
        "0.00000000",
        "-1",
        "+1",
        "-0.1",
        "1e-3",
        "1E2",
        "1_000",
        "1,5",
        "1,000.00",
        " 1",
        "1 ",
        "1\n",
        "\t1",
        ".5",
        "1.",
        ".",
        "01",
        "00.1",
        "0.000000001",
        "0.100000000",
        "21000000.00000001",
        "21000001",
        "99999999999",
        "9" * 5000,
        "0x10",
        "nan",
        "NaN",
        "inf",
        "Infinity",
        "\u0661",
        "1.\u0660",
        "\uff10.1",
        "1 BTC",
        "\u20bf1",
        1,
        0.001,
        1.0,
        True,
        None,
        Decimal("0.001"),
        b"1",
        ["1"],
    ],
    ids=lambda v: repr(v)[:24],
)
def test_bitcoin_that_is_not_plainly_an_amount_is_refused(value: object) -> None:
    """The error says what would be accepted, and never floods the log."""
    with pytest.raises(InvalidAmount, match="at most 8 decimals") as caught:
        parse_btc(value, field="btc")
    assert caught.value.field == "btc"
    assert caught.value.code == "invalid_amount"
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("value", "sats"), [("1", 1), (1, 1), ("100000", 100_000), (MAX_MONEY, MAX_MONEY), (str(MAX_MONEY), MAX_MONEY)]
)
@pytest.mark.covers("I10")
def test_satoshis_are_read_from_integers_and_digits(value: object, sats: int) -> None:
    """Both spellings of a whole number."""
    assert parse_sats(value) == sats
    assert type(parse_sats(value)) is int


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        MAX_MONEY + 1,
        10**5000,
        -(10**5000),
        True,
        False,
        1.0,
        0.5,
        1e8,
        float("nan"),
        float("inf"),
        None,
        Decimal(1),
        b"1",
        {},
        "",
        "0",
        "-1",
        "+1",
        "1.0",
        "1.",
        "1e8",
        "1_000",
        "1,000",
        "01",
        "00",
        " 1",
        "1 ",
        "1\n",
        "\u0661",
        "\u00b2",
        "0x10",
        str(MAX_MONEY + 1),
        "9" * 5000,
    ],
    ids=lambda v: "huge" if type(v) is int and abs(v) > 2**64 else repr(v)[:24],
)
def test_satoshis_that_are_not_plainly_an_amount_are_refused(value: object) -> None:
    """A whole float is still a float, and `True` is not one satoshi."""
    with pytest.raises(InvalidAmount, match="whole number of satoshis from 1 to 2100000000000000") as caught:
        parse_sats(value)
    assert len(str(caught.value)) < 250


def test_a_float_that_came_through_json_is_refused() -> None:
    """`0.1` as a JSON number is a float by the time we see it; as text it is exact."""
    body = json.loads('{"number": 0.1, "text": "0.1"}')
    with pytest.raises(InvalidAmount):
        parse_btc(body["number"])
    assert parse_btc(body["text"]) == 10_000_000


@given(amounts)
def test_formatting_and_parsing_are_inverse(sats: int) -> None:
    """Every amount there can be, in both units, is spelled with all eight decimals and reads back."""
    text = format_btc(sats)
    assert parse_btc(text) == parse_sats(sats) == parse_sats(str(sats)) == sats
    assert Decimal(text) * 100_000_000 == sats
    assert len(text.partition(".")[2]) == 8


@given(st.text(max_size=30))
def test_any_text_is_an_exact_amount_or_refused(text: str) -> None:
    """Where the parser accepts, decimal arithmetic agrees."""
    try:
        sats = parse_btc(text)
    except InvalidAmount:
        return
    assert Decimal(text) * 100_000_000 == sats


@pytest.mark.parametrize(
    ("sats", "text"),
    [(100_000, "0.00100000"), (0, "0.00000000"), (-100_000, "-0.00100000"), (MAX_MONEY, "21000000.00000000")],
)
def test_bitcoin_is_shown_with_eight_decimals(sats: int, text: str) -> None:
    """A difference may be negative, a balance zero."""
    assert format_btc(sats) == text


@pytest.mark.parametrize(
    ("feerate", "text"), [(1234, "1.234 sat/vB"), (1000, "1.000 sat/vB"), (100, "0.100 sat/vB"), (0, "0.000 sat/vB")]
)
def test_a_feerate_is_stored_per_kvb_and_shown_per_vb(feerate: int, text: str) -> None:
    """Three decimals lose nothing."""
    assert format_feerate(Feerate(feerate)) == text
