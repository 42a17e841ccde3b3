"""The protocol between the kit and an adapter: every message, what it asks and what it answers, in one table.

A message is a POST to the path of its name. Its body is a JSON object with the fields below and `site`, the label of
the site that it is for; the answer is a JSON object with status 200, or with any other status
`{"error": {"type": ..., "message": ...}}`. `GET /offers` alone asks by its query, `?site=LABEL`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from regtest.malleate import Prevout
from regtest.processor import OFFERS, Signing, Site

VERSION: Final = 1
SITE_VARIABLE: Final = "WITHDRAWALS_SITE"
"""The environment variable in which a command that the kit starts finds its site, as /open has it."""
CANNOT_PLAY: Final = "cannot_play"
"""The type of the error by which /open says that this processor cannot be built on such a site."""
NOT_OFFERED: Final = "not_offered"
"""The type of the error by which a message that may be offered says that what it needs is not there, as no queue to
lose. From a message that every processor must have it is a failure like any other."""
_SECRET_BYTES: Final = 32


class Unacceptable(ValueError):
    """A field's value is not of its kind."""

    def __init__(self, name: str, value: object, accepted: str) -> None:
        self.name, self.value, self.accepted = name, value, accepted
        super().__init__(f"{name}: {value!r} is not acceptable; accepted: {accepted}")


@dataclass(frozen=True, slots=True)
class Kind:
    """What may stand in a field: `accepted` in words, and both ways between JSON and Python."""

    accepted: str
    read: Callable[[Any], Any]
    """From JSON. Raises `ValueError`, `TypeError` or `KeyError` if it is something else."""
    write: Callable[[Any], Any] = lambda value: value


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(value: object) -> object:
        # To Python true is a number.
        if type(value) is not kind:
            raise TypeError(value)
        return value

    return read


def _each(read: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def read_all(values: object) -> list[Any]:
        if not isinstance(values, list):
            raise TypeError(values)
        return [read(value) for value in values]

    return read_all


def _secret(value: str) -> bytes:
    secret = bytes.fromhex(value)
    if len(secret) != _SECRET_BYTES:
        raise ValueError(value)
    return secret


def _raw(value: str) -> bytes:
    raw = bytes.fromhex(value)
    if not raw:
        raise ValueError(value)
    return raw


def _hexes(values: Sequence[bytes]) -> list[str]:
    return [value.hex() for value in values]


def _prevout(value: Mapping[str, Any]) -> Prevout:
    return Prevout(bytes.fromhex(value["script"]), _exactly(int)(value["sats"]))


def _prevouts(values: Sequence[Prevout]) -> list[dict[str, object]]:
    return [{"script": value.script.hex(), "sats": value.sats} for value in values]


TEXT: Final = Kind("a string", _exactly(str))
SATS: Final = Kind("a whole number of satoshis", _exactly(int))
FLAG: Final = Kind("true or false", _exactly(bool))
TEXTS: Final = Kind("a list of strings", _each(_exactly(str)))
RAWS: Final = Kind("a list of raw transactions in hex", _each(_raw), _hexes)
SECRETS: Final = Kind("a list of private keys, 64 hex digits each", _each(_secret), _hexes)
PREVOUTS: Final = Kind('a list of {"script": hex, "sats": whole number}', _each(_prevout), _prevouts)
NUMBER: Final = Kind("a whole number", _exactly(int))
TEXT_OR_NULL: Final = Kind("a string or null", lambda value: None if value is None else TEXT.read(value))
SIGNING: Final = Kind(", ".join(Signing), Signing)


@dataclass(frozen=True, slots=True)
class Message:
    """One message: the fields that it asks with, in the order of the processor's method, and those of its answer."""

    asks: Mapping[str, Kind] = field(default_factory=dict)
    answers: Mapping[str, Kind] = field(default_factory=dict)


_ID: Final = {"request_id": TEXT}
_WORDS: Final = {"words": TEXT}

HANDSHAKE: Final[Mapping[str, Message]] = {
    "open": Message(
        {
            "version": NUMBER,
            "site": TEXT,
            "rpc_url": TEXT,
            "cookie_path": TEXT,
            "zmq_hashblock": TEXT,
            "coins": TEXTS,
            "redis_url": TEXT_OR_NULL,
            "signing": SIGNING,
            "directory": TEXT,
        }
    ),
    "offers": Message({}, {"version": NUMBER, "name": TEXT, "offers": TEXTS}),
}
"""Before anything else: /open, with the site, and `GET /offers`."""
NEEDED: Final[Mapping[str, Message]] = {
    "start": Message(),
    "stop": Message(),
    "close": Message({"failed": FLAG}),
    "deposit_address": Message({"kind": TEXT}, {"address": TEXT}),
    "enqueue": Message({**_ID, "address": TEXT, "sats": SATS}),
    "cancel": Message(_ID, {"cancelled": FLAG}),
    "tick": Message(),
    "status": Message(_ID, {"status": TEXT}),
    "support_retry": Message(_ID, {"paid_again": FLAG, **_WORDS}),
}
"""What every adapter must answer: none of these is ever *not offered*."""
OFFERED: Final[Mapping[str, Message]] = {
    "signed_transactions": Message(_ID, {"transactions": RAWS}),
    "is_it_confirmed": Message(_ID, _WORDS),
    "owner_keys": Message({"prevouts": PREVOUTS}, {"secrets": SECRETS}),
    "back_up": Message(),
    "restore": Message(),
    "recover": Message({}, _WORDS),
    "explain": Message({"txid": TEXT}, _WORDS),
    "bump": Message(_ID, {"bumped": FLAG}),
    "leave_out": Message(_ID, {"left_out": FLAG}),
    "delay_signer": Message(),
    "release_signer": Message(),
    "kill": Message(),
    "tick_twice": Message(),
    "roll_back_queue": Message(),
    "flush_queue": Message(),
    "has_refused": Message(_ID, {"refused": FLAG}),
    "troubles": Message({"request_ids": TEXTS, "paid": FLAG}, {"troubles": TEXTS}),
}
"""What an adapter answers if it says so in its offers."""
MESSAGES: Final[Mapping[str, Message]] = {**NEEDED, **OFFERED}
"""Everything that is passed on to a processor."""
METHODS_OF: Final[Mapping[type, tuple[str, ...]]] = {
    offer: tuple(methods.split(", ")) for offer, methods in OFFERS.items()
}
"""The methods of each offer: an adapter offers all of them or none."""


def read_fields(fields: Mapping[str, Kind], values: object) -> dict[str, Any]:
    """The fields of a message out of parsed JSON; what is there beside them is passed over. Raises `Unacceptable`."""
    if not isinstance(values, dict):
        raise Unacceptable("body", values, "a JSON object")
    read: dict[str, Any] = {}
    for name, kind in fields.items():
        if name not in values:
            raise Unacceptable(name, None, kind.accepted)
        try:
            read[name] = kind.read(values[name])
        except (ValueError, TypeError, KeyError) as error:
            raise Unacceptable(name, values[name], kind.accepted) from error
    return read


def opening_of(site: Site, directory: str) -> dict[str, object]:
    """What /open tells of a site. `directory` is private, and deleted after a story that passed."""
    return {
        "version": VERSION,
        "site": site.label,
        "rpc_url": site.rpc_url,
        "cookie_path": str(site.cookie_path),
        "zmq_hashblock": site.node.zmq_hashblock,
        "coins": list(site.coins),
        "redis_url": site.redis_url,
        "signing": site.signing.value,
        "directory": directory,
    }
