"""Addresses and amounts: what people and other programs write, damaged, and read a second time by other libraries."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal, DecimalException
from typing import Any, Final

from bitcoin.base58 import Base58Error, CBase58Data
from embit import bech32

from tests.fuzz.oracles import Outcome, agree
from withdrawals.core.addresses import address_of, parse_address
from withdrawals.core.amounts import format_btc, parse_btc, parse_sats
from withdrawals.core.tx import script_of
from withdrawals.core.types import COIN, MAX_MONEY, Network, ScriptKind
from withdrawals.errors import InvalidAddress, InvalidAmount

_HRPS: Final = {Network.MAINNET: "bc", Network.REGTEST: "bcrt"}
_BASE58: Final = {Network.MAINNET: (0, 5)}
_DIGITS_MAX: Final = 1_000
_ODD: Final = " \t\n_-+.,1lIO0bB\u0131\u212a\u0661\uff11\x00\u200b\U0001d7d9"
"""Separators, look-alikes, and characters that Python calls digits or letters."""


def _spoil(text: str, rng: random.Random) -> str:
    """Up to two small typing errors."""
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(7):
            case 0:
                text = text[:at] + rng.choice(_ODD) + text[at:]
            case 1:
                text = text[:at] + rng.choice(_ODD) + text[at + 1 :]
            case 2:
                text = text[:at] + text[at + 1 :]
            case 3:
                text = text[:at] + text[at : at + 1].swapcase() + text[at + 1 :]
            case 4:
                text = text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :]
            case 5:
                text = rng.choice((text.upper(), text + text, text[:at], text * 4))
            case _:
                text = text[:at] + rng.choice("qpzry9x8gf2tvdw0s3jn54khce6mua7l123456789ABC") + text[at + 1 :]
    return text


# ------------------------------------------------------------------------------------------------------------ addresses


def draw_address(rng: random.Random) -> str:
    """JSON of a network and an address: right, of another network, of no known kind, wrongly encoded, or damaged."""
    network = rng.choice(list(Network))
    if rng.random() < 0.5:
        kind = rng.choice(list(ScriptKind))
        wide = kind in {ScriptKind.P2WSH, ScriptKind.P2TR}
        text = address_of(script_of(kind, rng.randbytes(32 if wide else 20)), network)
    else:
        text = rng.choice((_base58, _segwit, _segwit))(rng)
    return json.dumps([network, _spoil(text, rng)])


def _base58(rng: random.Random) -> str:
    version = rng.choice((0, 5, 111, 196, 128, 239, rng.randrange(256)))
    size = rng.choice((20, 20, 20, 20, 0, 19, 21, 32, 33))
    return str(CBase58Data.from_bytes(rng.choice((bytes(size), rng.randbytes(size))), version))


def _segwit(rng: random.Random) -> str:
    """Every version, program length and checksum, right and wrong, with a checksum that holds."""
    version = rng.choice((0, 0, 0, 1, 1, 1, 2, 16, 17, 31))
    size = rng.choice((20, 32, 32, 2, 1, 40, 41, 33))
    encoding = rng.choice((bech32.Encoding.BECH32, bech32.Encoding.BECH32M))
    groups = [version, *bech32.convertbits(rng.randbytes(size), 8, 5)]
    if rng.random() < 0.1:
        groups.append(rng.randrange(32))
    return str(bech32.bech32_encode(encoding, rng.choice(("bc", "tb", "bcrt", "bcrt", "lnbc", "b")), groups))


def check_address(payload: str) -> Outcome:
    """Against python-bitcoinlib's base58 and embit's bech32m; an address that is taken reads back from its script."""
    name, text = json.loads(payload)
    network = Network(name)
    expected, liberty = _second_script(text, network)
    try:
        script = parse_address(text, network)
    except InvalidAddress as refusal:
        agree(refusal.code and str(refusal), "a refusal without words")
        agree(expected is None or liberty, f"{text!r} is refused: {refusal}")
        return Outcome(accepted=False, liberties=frozenset({liberty} if liberty else ()))
    agree(script == expected and not liberty, f"{text!r} is {script.hex()}, {expected!r} {liberty}")
    again = address_of(script, network)
    agree(again == (text if text == again else text.lower()), f"{text!r} reads back as {again}")
    return Outcome(accepted=True)


def _second_script(text: str, network: Network) -> tuple[bytes | None, str]:
    """What other libraries read in it (None: nothing), and why we refuse it all the same."""
    hrp = _HRPS.get(network, "tb")
    version, program = bech32.decode(hrp, text)
    if version is not None:
        script = bytes([version + 0x50 if version else 0, len(program), *program])
        known = version == 0 or (version == 1 and len(program) == 32)
        return script, "" if known else "unknown_witness_program"
    try:
        data = CBase58Data(text)
    except (Base58Error, IndexError):  # IndexError: python-bitcoinlib's answer to fewer bytes than a checksum has
        return None, ""
    p2pkh, p2sh = _BASE58.get(network, (111, 196))
    if len(data) != 20 or data.nVersion not in (p2pkh, p2sh):
        return None, ""
    return (b"\x76\xa9\x14" + data + b"\x88\xac" if data.nVersion == p2pkh else b"\xa9\x14" + data + b"\x87"), ""


# -------------------------------------------------------------------------------------------------------------- amounts


def draw_amount(rng: random.Random) -> str:
    """JSON of an amount: text mostly, and the other things that JSON can hold."""
    sats = rng.choice((rng.randrange(10 ** rng.randrange(1, 18)), MAX_MONEY, MAX_MONEY + 1, 0, 1, COIN))
    whole, rest = divmod(sats, COIN)
    value: Any = rng.choice(
        (
            _spoil(str(sats), rng),
            _spoil(f"{whole}.{rest:08d}".rstrip(rng.choice("0x")), rng),
            _spoil(f"{whole}.{rest:08d}{rng.choice(('', '0', '1'))}", rng),
            _spoil(rng.choice((f"{sats}e{rng.randrange(9)}", f"+{sats}", f"{sats:_}", f"{sats:,}", f"0{sats}")), rng),
            rng.choice(("", "nan", "Infinity", "-0", "1e-8", "٣", "0x10", "1.", ".5", "21000000.00000001", "9" * 900)),
            rng.choice((sats, -sats, sats * 10**30, 10**900)),
            rng.choice((float(sats), sats / COIN, float("inf"), float("nan"), True, False, None, [sats], {"sats": 1})),
        )
    )
    return json.dumps(value)


def check_amount(payload: str) -> Outcome:
    """Satoshis and bitcoin against Decimal; what is taken has exactly one way to be written, and reads back."""
    value = json.loads(payload)
    sats, btc = _answer(parse_sats, value), _answer(parse_btc, value)
    if isinstance(value, str):
        agree(sats == _second_sats(value), f"parse_sats({value!r}) is {sats}")
        agree(btc == _second_btc(value), f"parse_btc({value!r}) is {btc}")
    else:
        whole = type(value) is int and 0 < value <= MAX_MONEY
        agree(sats == (value if whole else None), f"parse_sats({value!r}) is {sats}")
        agree(btc is None, f"parse_btc({value!r}) is {btc}")
    if btc is not None:
        agree(parse_btc(format_btc(btc)) == btc, f"{btc} does not read back")
    return Outcome(accepted=sats is not None or btc is not None)


def _answer(parse: Callable[[object], int], value: object) -> int | None:
    try:
        answer = parse(value)
    except InvalidAmount as refusal:
        agree(len(str(refusal)) < 400, "an error that repeats what it was given, however long")
        return None
    agree(type(answer) is int and 0 < answer <= MAX_MONEY, f"{answer!r} is no amount")
    return answer


def _decimal(text: str) -> Decimal | None:
    try:
        found = Decimal(text)
    except DecimalException:
        return None
    # Far beyond any amount, Decimal's own arithmetic gives up.
    return found if found.is_finite() and abs(found.adjusted()) < _DIGITS_MAX else None


def _second_sats(text: str) -> int | None:
    """Decimal's reading of a whole number, if the text is what Python writes for it: no sign, no zeros, no spaces."""
    number = _decimal(text)
    if number is None or not 0 < number <= MAX_MONEY or number != int(number) or str(int(number)) != text:
        return None
    return int(number)


def _second_btc(text: str) -> int | None:
    """Decimal's reading in satoshis, if the whole part is what Python writes and one to eight decimals follow."""
    number = _decimal(text)
    if number is None or not 0 < number * COIN <= MAX_MONEY or number * COIN != int(number * COIN):
        return None
    whole, point, decimals = text.partition(".")
    plain = str(int(number)) == whole and decimals.isascii() and decimals.isdigit() and len(decimals) <= 8
    return int(number * COIN) if plain or (str(int(number)) == whole and not point) else None
