"""Reading the node's JSON: every value is checked where it comes in, and a number with a point is a Decimal.

What is missing or of another shape is no fact. It raises `NodeUnavailable`, exactly as if nobody had answered, because
a value made up in its place might be believed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn, TypeAlias

from withdrawals.core.types import COIN, MAX_MONEY, parse_hash
from withdrawals.errors import InvalidId, InvariantBroken, NodeRejected, NodeUnavailable, ensure

Json: TypeAlias = "bool | int | Decimal | str | list[Json] | dict[str, Json] | None"
"""What a parsed answer is made of. There is no float in it."""


def parse_json(text: bytes) -> Json:
    """JSON text to values, numbers with a point or an exponent as Decimal, exactly as written. Raises ValueError."""
    try:
        parsed: Json = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return parsed


def json_bytes(value: object) -> bytes:
    """Values to JSON text. A Decimal becomes a string, which Core's AmountFromValue reads exactly.

    Raises `InvariantBroken` for anything else, above all for a float.
    """
    return json.dumps(_sendable(value), separators=(",", ":")).encode()


def nonsense(method: str, why: str) -> NodeUnavailable:
    """The error for an answer that cannot be read."""
    return NodeUnavailable(f"{method}: the node's answer makes no sense: {why}")


def accepted(answer: Json | NodeRejected) -> Json:
    """The value of one answer of a batch. Raises the node's refusal, if that is what it is."""
    if isinstance(answer, NodeRejected):
        raise answer
    return answer


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of one method, read field by field."""

    method: str
    value: Json

    def has(self, key: str) -> bool:
        """Whether the answer is an object with this field."""
        return isinstance(self.value, dict) and key in self.value

    def text(self, key: str | None = None) -> str:
        """A string: the answer itself, or a field of it."""
        value = self._field(key)
        return value if isinstance(value, str) else self._wrong(key, value, "a string")

    def hash(self, key: str | None = None) -> str:
        """64 hex digits in lower case: the answer itself, or a field of it."""
        text = self.text(key)
        try:
            return parse_hash(text)
        except InvalidId:
            return self._wrong(key, text, "64 hexadecimal digits")

    def data(self, key: str | None = None) -> bytes:
        """Bytes written in hex: the answer itself, or a field of it."""
        text = self.text(key)
        try:
            return bytes.fromhex(text)
        except ValueError:
            return self._wrong(key, text, "hexadecimal digits")

    def whole(self, key: str) -> int:
        """A field that is a whole number, not below zero."""
        value = self._field(key)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        return self._wrong(key, value, "a whole number")

    def flag(self, key: str) -> bool:
        """A field that is true or false."""
        value = self._field(key)
        return value if isinstance(value, bool) else self._wrong(key, value, "true or false")

    def btc_in_sats(self, key: str) -> Decimal:
        """A field in BTC (or BTC/kvB) as satoshis (or sat/kvB), exact; not below zero, not more than all the money."""
        value = self._field(key)
        if isinstance(value, Decimal | int) and not isinstance(value, bool):
            sats = Decimal(value) * COIN
            if 0 <= sats <= MAX_MONEY:
                return sats
        return self._wrong(key, value, "an amount in BTC")

    def part(self, key: str) -> Answer:
        """A field as an answer of its own."""
        return Answer(self.method, self._field(key))

    def items(self) -> list[Answer]:
        """The answer as a list."""
        if isinstance(self.value, list):
            return [Answer(self.method, item) for item in self.value]
        return self._wrong(None, self.value, "a list")

    def _field(self, key: str | None) -> Json:
        if key is None:
            return self.value
        if isinstance(self.value, dict) and key in self.value:
            return self.value[key]
        raise nonsense(self.method, f"it has no field {key!r}")

    def _wrong(self, key: str | None, value: Json, wanted: str) -> NoReturn:
        where = "it" if key is None else f"its {key!r}"
        raise nonsense(self.method, f"{where} is {str(value)[:80]!r}, not {wanted}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _sendable(value: object) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Decimal):
        ensure(value.is_finite(), f"{value} is no amount")
        return format(value, "f")
    if isinstance(value, list | tuple):
        return [_sendable(item) for item in value]
    if isinstance(value, dict):
        ensure(all(isinstance(key, str) for key in value), "the keys of a JSON object are strings")
        return {key: _sendable(item) for key, item in value.items()}
    raise InvariantBroken(f"a {type(value).__name__} is never sent to the node")
