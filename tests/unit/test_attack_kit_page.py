"""docs/attack-kit.md, compared with what it describes: messages, offers, options."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from regtest import pytest_plugin
from regtest.adapters.protocol import HANDSHAKE, MESSAGES, OFFERED, SITE_VARIABLE, VERSION, Message, read_fields
from regtest.processor import OFFERS, Signing

PAGE = (Path(__file__).resolve().parents[2] / "docs/attack-kit.md").read_text(encoding="utf-8")
_ROW = re.compile(
    r"^\| (?P<offered>\*offered:\* )?`(?P<verb>GET|POST) /(?P<name>\w+)\S*` \| `(?P<asks>.+)` \| `(?P<answers>.+)` \|$"
)

ROWS = [match for line in PAGE.splitlines() if (match := _ROW.match(line))]
KNOWN: dict[str, Message] = {**HANDSHAKE, **MESSAGES}


def example(text: str) -> object:
    """An example, with its ellipses filled in."""
    return json.loads(text.replace("5f…", "5f" * 32).replace("…", ""))


def test_every_message_is_on_the_page_and_no_other() -> None:
    """In the order of the table, the needed ones first; those that may be offered are marked."""
    assert [row["name"] for row in ROWS] == list(KNOWN)
    assert {row["name"] for row in ROWS if row["offered"]} == set(OFFERED)
    assert {row["name"] for row in ROWS if row["verb"] == "GET"} == {"offers"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_every_example_is_a_message(row: re.Match[str]) -> None:
    """With all its fields, and none that it does not have."""
    message = KNOWN[row["name"]]
    for text, fields in ((row["asks"], message.asks), (row["answers"], message.answers)):
        said = example(text)
        assert isinstance(said, dict)
        assert list(said) == list(fields)
        read_fields(fields, said)


def test_the_page_knows_version_variable_and_signers() -> None:
    """As the kit has them."""
    assert f'"version": {VERSION}' in PAGE
    assert f"`{SITE_VARIABLE}`" in PAGE
    for signing in Signing:
        assert f"`{signing}`" in PAGE


def test_every_offer_is_explained() -> None:
    """In the table of offers, by all its methods."""
    table = PAGE.partition("\n## Offers")[2].partition("\n## ")[0]
    rows = [line.partition("|")[2].partition("|")[0] for line in table.splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert explained == {method for methods in OFFERS.values() for method in methods.split(", ")}


def test_every_option_of_the_plugin_is_on_the_page(pytestconfig: pytest.Config) -> None:
    """And no other."""
    parser = pytest.Parser(_ispytest=True)
    pytest_plugin.pytest_addoption(parser)
    [group] = [group for group in parser._groups if group.name == "withdrawals"]
    options = {name for option in group.options for name in option.names()}
    assert set(re.findall(r"^\| `(--withdrawal-\w+)", PAGE, re.MULTILINE)) == options
    assert f"-m {pytest_plugin.MARKER}" in PAGE
