"""The pages say what the code does: links, commands, configuration, causes, codes and ids are compared with it."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from regtest.cli import cli as kit
from regtest.malleate import MALLEATORS, catalogue_page
from regtest.scenarios import SCENARIOS, Outcome, Scenario
from regtest.scenarios.kit import KIT
from regtest.scenarios.model import NAIVE
from regtest.scenarios.page import scenarios_page
from withdrawals import errors
from withdrawals.cli.main import cli
from withdrawals.config import parse_config
from withdrawals.core.customer import CUSTOMER
from withdrawals.core.policy import Limits, Policy
from withdrawals.errors import ConfigError, WithdrawalsError

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PRODUCT = sorted([*ROOT.glob("withdrawals/**/*.py"), *ROOT.glob("workers/**/*.py")])
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
SYSTEM_DIRECTORIES = {"etc", "opt", "usr", "var"}
"""Where an example may put things: every machine has these, and nobody lives there."""

_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def trees(paths: list[Path]) -> Iterator[ast.Module]:
    for path in paths:
        yield ast.parse(path.read_text(encoding="utf-8"), str(path))


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """Every call of a function or method of this name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if name == (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)):
                yield node


def first_words(tree: ast.AST) -> Iterator[str]:
    """Every string with an argument or without, up to its first placeholder."""
    for node in ast.walk(tree):
        part = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of every table row under a heading, without the table's own header."""
    section = re.split(r"^#+ ", text.split(f"\n{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


# --------------------------------------------------------------------------------------------------------------- links


def anchors_of(page: Path) -> set[str]:
    """The anchors that a page's headings get: lower case, spaces as hyphens, punctuation dropped."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """A file or directory of this checkout, and where an anchor is named, a heading of it."""
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{link} leads nowhere"
        assert path.is_relative_to(ROOT), f"{link} leaves the checkout"
        assert not anchor or anchor in anchors_of(path), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_page_names_a_place_on_somebody_s_machine(page: Path) -> None:
    """Examples use directories of the system; a path below anything else is where somebody works."""
    for code in _CODE.findall(page.read_text(encoding="utf-8")):
        for first in re.findall(r"(?:^|[\s\"'`(=])/([\w.-]+)/", code):
            assert first in SYSTEM_DIRECTORIES, f"/{first}/ in {code!r}"


# ------------------------------------------------------------------------------------------------------------ commands


def command_lines(text: str, program: str) -> Iterator[list[str]]:
    """Every use of a program in a page's code, as words, without comments and placeholders."""
    for code in _CODE.findall(text):
        lines = code.strip("`").splitlines()
        for line in lines:
            match = re.search(rf"(?:^|[\s/]){program} (?P<rest>\S.*)$", " " + line.strip("` "))
            if match and not line.lstrip().startswith(("#", "|")):
                yield shlex.split(match["rest"].replace("…", "x"), comments=True)


def check_command(group: click.Group, words: list[str]) -> str:
    """The command's name. Fails unless the group has it, and the command each of the options used."""
    words = list(words)
    with click.Context(group) as context:
        while words and words[0].startswith("-"):
            assert words.pop(0) in {o for p in group.params for o in p.opts} | {"--help", "--version"}
            if words and words[0].endswith((".toml", "FILE")):
                words.pop(0)
        name = words.pop(0) if words else "--help"
        command = group.get_command(context, name)
    assert command is not None, f"there is no command {name}"
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert used <= known, f"{name} does not know {', '.join(sorted(used - known))}"
    return name


@pytest.mark.parametrize(
    ("program", "group"), [("withdrawals", cli), ("withdrawals-regtest", kit)], ids=["ours", "kit"]
)
@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_of_a_page_exists(page: Path, program: str, group: click.Group) -> None:
    """With the options that the page gives it; COMMAND stands for any."""
    for words in command_lines(page.read_text(encoding="utf-8"), program):
        if "COMMAND" not in words:
            check_command(group, words)


def test_every_command_is_in_the_readme() -> None:
    """Each public command stands in the table of who uses what."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = " ".join(cell for row in rows(text, "## The command line") for cell in row)
    for name in cli.commands:
        assert re.search(rf"`{name}[` ]", table), name


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["fly"], "no command fly"),
        (["bump", "ID", "--fast"], "does not know --fast"),
        (["--config", "withdrawals.toml", "status", "--loud"], "does not know --loud"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(words: list[str], why: str) -> None:
    """The check itself, shown to fail."""
    with pytest.raises(AssertionError, match=why):
        check_command(cli, words)


# ------------------------------------------------------------------------------------------------------- configuration

_MINIMAL: dict[str, object] = {
    "network": "regtest",
    "ledger": "ledger.db",
    "descriptors": ["wpkh(…)"],
    "node": {"url": "http://127.0.0.1:18443"},
}


def accepted_keys(path: tuple[str, ...]) -> set[str]:
    """The keys that the configuration's reader accepts in a table: it lists them when it is given another."""
    raw = {**_MINIMAL, "node": {"url": "http://127.0.0.1:18443"}}
    table: dict[str, object] = raw
    for name in path:
        table = table.setdefault(name, {})  # type: ignore[assignment] # a TOML table is a dict of what it holds
    table["no_such_key"] = 1
    with pytest.raises(ConfigError, match="does not know no_such_key") as refusal:
        parse_config(raw, base=ROOT)
    keys = str(refusal.value).partition("accepted: ")[2].split(", ")
    return {".".join((*path, key)) for key in keys}


def documented_keys() -> dict[str, str]:
    """Key to default, as the page has them."""
    return {row[0].strip("`"): row[1].strip("`") for row in rows(OPERATIONS, "## Configuration")}


def test_the_configuration_s_table_has_every_key_and_no_other() -> None:
    """Keys as the reader of the file knows them."""
    tables: list[tuple[str, ...]] = [(), ("node",), ("policy",), ("policy", "limits")]
    accepted = set().union(*map(accepted_keys, tables)) - {"node", "policy", "policy.limits"}
    assert set(documented_keys()) == accepted


def test_every_default_is_what_the_table_says() -> None:
    """Read with nothing but what is required."""
    config = parse_config(_MINIMAL, base=ROOT)
    defaults = {f"policy.{f.name}": getattr(config.policy, f.name) for f in fields(Policy) if f.name != "limits"}
    defaults |= {f"policy.limits.{f.name}": getattr(config.policy.limits, f.name) for f in fields(Limits)}
    for name in ("key_file", "journal", "mainnet_hot_keys", "redis_url", "sweep_interval_s", "lookahead"):
        defaults[name] = getattr(config, name)
    for name in ("cookie_file", "user", "password", "timeout_s", "zmq_hashblock"):
        defaults[f"node.{name}"] = getattr(config.node, name)
    spelled = {
        key: "none" if value is None else '""' if value == "" else str(value).lower() for key, value in defaults.items()
    }
    required = {"network", "ledger", "descriptors", "node.url"}
    assert documented_keys() == spelled | dict.fromkeys(required, "required")


# ----------------------------------------------------------------------------------------------- what operators may see


def breaker_causes() -> set[str]:
    """Every cause that the product opens the breaker for: a literal, or the code of the error that was caught."""
    causes: set[str] = set()
    for tree in trees(PRODUCT):
        caught = {
            id(call): handler.type
            for handler in ast.walk(tree)
            if isinstance(handler, ast.ExceptHandler)
            for call in calls(handler, "open_breaker")
        }
        for call in calls(tree, "open_breaker"):
            cause = call.args[0]
            if isinstance(cause, ast.Constant):
                causes.add(str(cause.value))
                continue
            names = caught[id(call)]
            causes |= {getattr(errors, name.id).code for name in ast.walk(names or cause) if isinstance(name, ast.Name)}
    return causes


def test_the_causes_are_found_in_the_code() -> None:
    """The search sees literals and codes of errors."""
    assert {"unexplained_spend", "stale_ledger", "order_refused", "journal_damaged"} <= breaker_causes()


def test_every_breaker_cause_is_described_and_no_other() -> None:
    """Each has a heading of its own under "Breaker causes"."""
    section = OPERATIONS.split("\n## Breaker causes\n", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"^### `(\w+)`$", section, re.MULTILINE)) == breaker_causes()


def test_no_cause_asks_for_more_than_three_commands() -> None:
    """At three in the morning nobody follows a list of ten."""
    section = OPERATIONS.split("\n## Breaker causes\n", 1)[1].split("\n## ", 1)[0]
    for cause in section.split("\n### ")[1:]:
        commands = [line for block in _FENCED.findall(cause) for line in block.splitlines() if line.strip()]
        assert len(commands) <= 3, cause.splitlines()[0]


def gate_codes() -> set[str]:
    """Every `code: sentence` that closes the gate."""
    gate, world = trees([ROOT / "withdrawals/core/gate.py", ROOT / "withdrawals/world.py"])
    reasons = [node.value for node in ast.walk(gate) if isinstance(node, ast.Yield) and node.value is not None]
    spoken = [words for node in [*reasons, *calls(world, "GateRow")] for words in first_words(node)]
    return {match[1] for words in spoken if (match := re.match(r"([a-z]+(?:_[a-z]+)*): ", words))}


def test_every_gate_reason_is_described_and_no_other() -> None:
    """One row each under "Gate reasons"."""
    assert {"tip_differs", "node_unavailable"} <= gate_codes()
    assert {row[0].strip("`") for row in rows(OPERATIONS, "## Gate reasons")} == gate_codes()


def test_every_line_of_status_that_asks_for_a_look_is_described() -> None:
    """By the word it begins with."""
    (tree,) = trees([ROOT / "withdrawals/status.py"])
    spoken = [words for node in ast.walk(tree) if isinstance(node, ast.Yield) for words in first_words(node)]
    begins = {match[0] for words in spoken if (match := re.match(r"[a-z ]+:", words))}
    heading = "## `status`: the lines that begin with `LOOK:`"
    assert begins == {row[0].strip("`") for row in rows(OPERATIONS, heading)}
    assert begins


def test_every_finding_of_the_audit_is_described() -> None:
    """By its code, under "Monitoring"."""
    parts = sorted(ROOT.glob("withdrawals/steps/audit/*.py"))
    made = [call.args[0] for tree in trees(parts) for call in calls(tree, "Finding")]
    codes = {code.value for code in made if isinstance(code, ast.Constant)}
    assert made
    assert all(isinstance(code, ast.Constant) for code in made)
    described = {code for row in rows(OPERATIONS, "## Monitoring") for code in re.findall(r"`(\w+)`", row[0])}
    assert described == codes


def concrete_codes(family: type[WithdrawalsError]) -> set[str]:
    """The codes of the product's errors of a family, without the family's own name for all of them."""
    children = [child for child in family.__subclasses__() if child.__module__.partition(".")[0] == "withdrawals"]
    below = {code for child in children for code in concrete_codes(child)}
    return (below | {family.code}) - {"error", "bad_input", "bad_field", "world"}


def test_every_error_code_stands_beside_its_exit_code() -> None:
    """Whoever raises it: errors of the product's own modules count too."""
    described = {row[0]: set(re.findall(r"`(\w+)`", row[1])) for row in rows(OPERATIONS, "## Exit codes")}
    assert described["3"] == concrete_codes(errors.TheirError)
    assert described["4"] == concrete_codes(errors.WorldError)
    assert described["5"] == concrete_codes(WithdrawalsError) - described["3"] - described["4"]


def test_the_readme_s_table_of_states_is_the_code_s() -> None:
    """State, words for the customer, and whether the balance may be given back."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = [row for row in rows(text, "## Ten lines") if row[0].startswith("`")]
    told = {row[0].strip("`"): (row[1], row[2].strip("*").startswith("yes")) for row in table}
    assert told == {state.value: (answer.words, answer.refundable) for state, answer in CUSTOMER.items()}


# ------------------------------------------------------------------------------------------------------- the catalogue


def defined_ids() -> set[str]:
    """Ids of classes, failures and counterexamples, and of invariants, as first cells of the pages' tables."""
    ids: set[str] = set()
    for name, known in (("malleability.md", r"`((?:T|W|F|P|CE|S)\d+\w*)`"), ("architecture.md", r"^(I\d+)$")):
        for line in (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("|"):
                ids |= set(re.findall(known, line.split("|")[1].strip()))
    return ids


def used_ids() -> set[str]:
    """Ids that tests are marked with, and that the kit's scenarios carry."""
    ids: set[str] = set()
    for tree in trees([*ROOT.glob("tests/**/*.py"), *ROOT.glob("regtest/**/*.py")]):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            marks = node.args if isinstance(node.func, ast.Attribute) and node.func.attr == "covers" else []
            told = [k.value for k in node.keywords if k.arg == "covers" and isinstance(k.value, ast.Tuple)]
            for value in [*marks, *(element for values in told for element in values.elts)]:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    ids.add(value.value)
    return ids


def test_every_id_in_use_is_defined() -> None:
    """A reader who meets T11 or CE9 finds out here what it is."""
    assert used_ids()
    assert used_ids() - defined_ids() == set()


@pytest.mark.parametrize(
    ("prefix", "count"), [("F", 20), ("P", 19), ("CE", 23), ("I", 13)], ids=["failures", "field", "histories", "rules"]
)
def test_the_numbered_lists_are_complete(prefix: str, count: int) -> None:
    """No number is left out."""
    assert {f"{prefix}{n}" for n in range(1, count + 1)} <= defined_ids()


def test_every_class_that_can_be_carried_out_is_defined() -> None:
    """And every T and W class that is defined can be carried out, but for collisions of coinbases."""
    assert set(MALLEATORS) <= defined_ids()


def test_the_page_of_classes_is_the_table_s() -> None:
    """`withdrawals-regtest classes --markdown > docs/malleation-classes.md` makes it."""
    page = (ROOT / "docs/malleation-classes.md").read_text(encoding="utf-8")
    assert page == catalogue_page()


def test_the_page_of_scenarios_is_the_kit_s() -> None:
    """`withdrawals-regtest list --markdown > docs/scenarios.md` makes it."""
    assert (ROOT / "docs/scenarios.md").read_text(encoding="utf-8") == scenarios_page(KIT)


def test_every_scenario_is_listed_with_what_it_covers() -> None:
    """And with what must become of the control."""
    text = (ROOT / "docs/malleability.md").read_text(encoding="utf-8").split("\nThe scenarios play them", 1)[1]
    table = [line for line in text.split("\n\n")[1].splitlines() if line.startswith("| `")]
    told = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table]
    assert told == [(f"`{s.name}`", " ".join(s.covers) or "-", _naive_must(s)) for s in SCENARIOS.values()]


def _naive_must(scenario: Scenario) -> str:
    words = {None: "not applicable", Outcome.PAID_TWICE: "must lose", Outcome.PAID_ONCE: "must pay once"}
    return words[scenario.expected.get(NAIVE)]


def test_every_decision_is_in_the_list_of_decisions() -> None:
    """And says what lost and what would change our mind."""
    listed = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    decisions = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    assert decisions
    for decision in decisions:
        text = decision.read_text(encoding="utf-8")
        assert f"({decision.name})" in listed
        for part in ("**Context.**", "**Options**", "**Choice.**", "**Costs.**", "**What would change our mind.**"):
            assert part in text, f"{decision.name}: {part}"
