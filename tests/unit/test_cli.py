"""The command line: what it promises about help, JSON, exit codes, reasons and odd ids, and what people read."""

from __future__ import annotations

import stat

import click
import pytest

from tests.unit.front_desk import NOBODY, FrontDesk, customer_address
from withdrawals.cli.main import cli
from withdrawals.config import CONFIG_ENV
from withdrawals.core.model import WithdrawalState
from withdrawals.core.types import WithdrawalId
from withdrawals.errors import InvariantBroken
from withdrawals.processor import Processor
from withdrawals.runtime import SystemClock

COMMANDS = sorted(cli.commands)
PROCESSES = {"work", "follow", "sweep", "run"}
"""These print nothing but their log."""
BY_HAND = {
    "approve-reissue",
    "cancel",
    "hold",
    "release",
    "reject",
    "pause",
    "resume",
    "bump",
    "reconcile",
    "recover",
    "accept-reorg",
}
ADDRESS = customer_address()

# ------------------------------------------------------------------------------------------------------- the interface


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself_without_a_configuration(desk: FrontDesk, name: str, flag: str) -> None:
    said = desk.says_bare(name, flag)
    assert said.code == 0
    assert said.out.startswith(f"Usage: withdrawals {name}")
    assert str(cli.commands[name].help).split(".", maxsplit=1)[0] in " ".join(said.out.split())


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - PROCESSES))
def test_every_command_that_answers_answers_in_json(name: str) -> None:
    assert {o for p in cli.commands[name].params for o in p.opts} >= {"--json"}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_changes_state_by_hand_takes_a_reason_and_nothing_else_does(name: str) -> None:
    assert ("--reason" in {o for p in cli.commands[name].params for o in p.opts}) == (name in BY_HAND)


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_without_a_reason_it_is_refused(desk: FrontDesk, name: str) -> None:
    before = desk.content_hash()
    said = desk.says(
        name, *(["queued"] if name not in {"pause", "resume", "recover", "accept-reorg"} else []), "--json"
    )
    elsewhere = {
        "approve-reissue": "not_allowed",
        "bump": "not_allowed",
        "reconcile": "malformed_id",
    }  # what is wrong with `queued` is said first
    assert (said.code, said.json["error"]["code"]) == (3, elsewhere.get(name, "missing_reason"))
    assert desk.content_hash() == before


def test_the_exit_codes_are_in_the_help(desk: FrontDesk) -> None:
    said = desk.says_bare("--help")
    words = " ".join(said.out.split())
    assert "0 done; 1 ops should look (status, audit); 2 wrong command line; 3 wrong input" in words
    assert "4 the world is not as it must be; 5 our own mistake" in words


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("pay",),
        ("show",),
        ("show", "queued", "extra"),
        ("events", "--after", "yesterday"),
        ("events", "--since", "1"),
        ("list", "--limit", "1.5"),
        ("bump", "broadcast", "--feerate", "fast", "--reason", "why not"),
        ("enqueue",),
        ("enqueue", "new", "--sats", "50000"),
        ("enqueue", "--file", "many.csv", "--sats", "50000"),
        ("enqueue", "new", "--file", "many.csv"),
        ("enqueue", "new", ADDRESS, "--file", "many.csv"),
        ("keygen", "keys2.txt"),
        ("keygen", "keys2.txt", "--network", "mainnet"),
        ("keygen", "keys2.txt", "--network", "regtest", "--kind", "p2wsh"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_2_and_changes_nothing(desk: FrontDesk, words: tuple[str, ...]) -> None:
    before, files = desk.content_hash(), sorted(desk.directory.iterdir())
    said = desk.says(*words)
    assert said.code == 2
    assert said.err.startswith("Usage: withdrawals")
    assert (desk.content_hash(), sorted(desk.directory.iterdir())) == (before, files)


def test_a_mistake_of_ours_ends_with_5(desk: FrontDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: Processor) -> None:
        raise InvariantBroken("two and two are five")

    monkeypatch.setattr(Processor, "coins", broken)
    said = desk.says("coins", "--json")
    assert (said.code, said.json["error"]["code"]) == (5, "invariant_broken")


def test_what_nobody_expected_ends_with_5_not_with_the_code_of_status(
    desk: FrontDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Processor) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Processor, "coins", broken)
    said = desk.says("coins")
    assert (said.code, said.out) == (5, "")
    assert "ZeroDivisionError" in said.err


def test_the_configuration_is_named_by_an_option_or_by_the_environment(
    desk: FrontDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CONFIG_ENV, raising=False)
    said = desk.says_bare("list")
    assert (said.code, "bad_config" in said.err, CONFIG_ENV in said.err) == (3, True, True)
    monkeypatch.setenv(CONFIG_ENV, str(desk.config_path))
    assert desk.says_bare("list").code == 0
    assert desk.says_bare("--config", str(desk.directory / "other.toml"), "list").code == 3


# --------------------------------------------------------------------------------------------------- answers, as JSON


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("list", "--state", "queued", "--state", "held"),
        ("coins",),
        ("events",),
        ("show", "final"),
        ("why", "broadcast"),
        ("audit",),
        ("address",),
        ("hold", "queued", "--reason", "suspicious"),
        ("release", "held", "--reason", "checked"),
        ("reject", "held", "--reason", "fraud"),
        ("cancel", "queued", "--reason", "customer asked"),
        ("pause", "--reason", "maintenance"),
        ("resume", "--reason", "all mended"),
        ("enqueue", "new", ADDRESS, "--btc", "0.001"),
    ],
    ids=" ".join,
)
def test_an_answer_is_one_json_document_and_nothing_else(desk: FrontDesk, words: tuple[str, ...]) -> None:
    said = desk.says(*words, "--json")
    assert (said.code, said.err) == (0, "")
    assert said.json is not None


def test_a_withdrawal_in_json_has_its_amount_as_a_whole_number(desk: FrontDesk) -> None:
    (stored,) = desk.says("enqueue", "new", ADDRESS, "--btc", "0.00123456", "--json").json
    assert (stored["request_id"], stored["address"], stored["sats"], stored["state"]) == (
        "new",
        ADDRESS,
        123456,
        "queued",
    )
    assert stored["script"] == f"0014{'01' * 20}"


def test_retry_in_json_carries_the_evidence(desk: FrontDesk) -> None:
    said = desk.says("retry", "final", "--json")
    payment = said.json["evidence"]["payments"][0]
    assert said.code == 3
    assert f"{payment['txid']}:{payment['vout']}" in said.json["error"]["message"]
    assert said.json["evidence"]["withdrawal"]["request_id"] == "final"


# -------------------------------------------------------------------------------------------------- answers, for people


def test_status_says_what_is_wrong_and_ends_with_1(desk: FrontDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    # It tells ages in days, and a day could turn between the two looks.
    monkeypatch.setattr(SystemClock, "now", lambda _clock: 1_800_000_000)
    said = desk.says("status")
    assert said.code == 1
    looks = [line for line in said.out.splitlines() if line.startswith("LOOK: ")]
    assert any(f"no answer from {NOBODY}" in look for look in looks)
    assert any("queue: the oldest held request" in look and "withdrawals release" in look for look in looks)
    assert "0.00500000 BTC are accepted and not yet in a block" in said.out
    assert desk.says("status", "--json").json["attention"] == [look.removeprefix("LOOK: ") for look in looks]


def test_status_names_the_pause_and_its_reason(desk: FrontDesk) -> None:
    desk.says("pause", "--reason", "moving house")
    said = desk.says("status")
    assert "PAUSED: moving house" in said.out
    assert "LOOK: paused: by an operator: moving house" in said.out
    assert "Waits: paused by an operator (moving house)" in desk.says("why", "queued").out


def test_status_names_every_open_cause_of_the_breaker(desk: FrontDesk) -> None:
    with desk.open() as processor, processor._parts.ledger.begin() as tx:
        tx.open_breaker("deep_reorg", "the chain forks 200 blocks below", at=1)
        tx.open_breaker("lint_refused", "b-1 plan 1: padded", at=2)
    said = desk.says("status")
    assert "OPEN: deep_reorg, lint_refused" in said.out
    assert "LOOK: breaker: deep_reorg: the chain forks 200 blocks below" in said.out
    assert "the breaker is open (deep_reorg, lint_refused)" in desk.says("show", "queued").out


def test_audit_ends_with_1_when_something_does_not_hold(desk: FrontDesk) -> None:
    assert desk.says("audit").out.endswith("all is well\n")
    with desk.open() as processor:
        paid = processor.show("final").withdrawal.id
        with processor._parts.ledger.begin() as tx:
            tx.set_withdrawal_states({WithdrawalId(paid): WithdrawalState.BROADCAST})
    said = desk.says("audit")
    assert said.code == 1
    assert "FINDING [withdrawal_state]: final is stored as broadcast; facts: final" in said.out
    assert desk.says("audit", "--json").code == 1


@pytest.mark.parametrize("state", list(WithdrawalState))
def test_why_says_what_comes_next_and_whether_the_balance_may_be_given_back(
    desk: FrontDesk, state: WithdrawalState
) -> None:
    said = desk.says("why", state.value)
    assert said.out.startswith(f"{state} is {state.upper()}: 0.00100000 BTC to bcrt1q")
    refundable = state in {WithdrawalState.CANCELLED, WithdrawalState.REJECTED}
    assert ("give balance back   yes" in said.out) == refundable
    assert ("give balance back   NO" in said.out) == (not refundable)
    assert "\n  next  " in said.out


def test_why_shows_who_spent_the_coin_and_what_that_is_to_us(desk: FrontDesk) -> None:
    said = desk.says("why", "final")
    assert "exact: our own bytes" in said.out
    assert "paid by output" in said.out
    assert ", depth 4" in said.out


def test_why_tells_that_an_asked_withdrawal_cannot_be_cancelled_any_more(desk: FrontDesk) -> None:
    assert "The signer was asked and has not answered yet" in desk.says("why", "asked").out
    assert "Planned; it is signed and sent within seconds." in desk.says("why", "batched").out


def test_a_list_shows_why_something_is_held(desk: FrontDesk) -> None:
    lines = desk.says("list", "--state", "held").out.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("a test wants it")
    assert desk.says("list", "--after-seq", "9").out == "none\n"


def test_a_list_goes_on_where_the_last_one_ended(desk: FrontDesk) -> None:
    whole = desk.says("list", "--json").json
    first = desk.says("list", "--limit", "4", "--json").json
    rest = desk.says("list", "--after-seq", str(first[-1]["seq"]), "--json").json
    assert first + rest == whole


def test_coins_are_summed_up(desk: FrontDesk) -> None:
    lines = desk.says("coins").out.splitlines()
    assert lines[-1] == "6 coin(s), 0.05799436 BTC; of these 3, 0.03000000 BTC, are reserved"


def test_events_say_who_did_it_and_why(desk: FrontDesk) -> None:
    assert "held by tester: a test wants it" in desk.says("events").out


# ----------------------------------------------------------------------------------------------------------- odd ids


@pytest.mark.parametrize(
    "name",
    [
        "-x",
        "--help",
        "--json",
        "../../etc/passwd",
        "';DROP/**/TABLE/**/withdrawals;--",
        '"quoted"',
        "%s%n{0}{}",
        "<b>bold</b>",
        "a,b;c|d",
        "\\u0000",
        "x" * 128,
        "ab" * 32,
        f"{'ab' * 32}:0",
        "w-0123456789abcdef01234567",
        "b-0123456789abcdef01234567",
        ADDRESS,
        "0",
        "None",
    ],
)
def test_an_odd_id_goes_in_and_comes_out_as_it_is(desk: FrontDesk, name: str) -> None:
    (stored,) = desk.says("enqueue", "--sats", "50000", "--json", "--", name, ADDRESS).json
    assert stored["request_id"] == name
    assert desk.says("show", "--json", "--", name).json["withdrawal"] == stored
    assert name in [s["withdrawal"]["request_id"] for s in desk.says("why", "--json", "--", name).json]
    assert desk.says("cancel", "--reason", "just trying", "--json", "--", name).json["state"] == "cancelled"
    events = [e for e in desk.says("events", "--json").json if e["request_id"] == name]
    assert [e["kind"] for e in events] == ["withdrawal.queued", "withdrawal.cancelled"]


def test_an_id_that_is_a_txid_of_ours_is_found_beside_its_transaction(desk: FrontDesk) -> None:
    """Whoever asks by that name learns of both."""
    txid = desk.says("show", "final", "--json").json["payments"][0]["txid"]
    assert desk.says("enqueue", txid, ADDRESS, "--sats", "50000").code == 0
    found = [s["withdrawal"]["request_id"] for s in desk.says("why", txid, "--json").json]
    assert found == ["final", txid]
    assert desk.says("show", txid, "--json").json["withdrawal"]["request_id"] == txid


# ------------------------------------------------------------------------------------------------------------- keygen


def test_keygen_makes_a_file_that_only_its_owner_reads_and_prints_public_descriptors(desk: FrontDesk) -> None:
    path = desk.directory / "fresh.txt"
    said = desk.says_bare("keygen", str(path), "--network", "regtest", "--kind", "p2wpkh", "--kind", "p2tr", "--json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [d.split("(")[0] for d in said.json["descriptors"]] == ["wpkh", "tr"]
    # The beginning of a private key, whole: three letters of it stand in one public key of a thousand by chance.
    assert "tprv8" not in said.out + said.err
    assert path.read_text().count("(tprv8") == 2


@pytest.mark.parametrize(
    ("where", "network", "more"),
    [
        ("keys.txt", "regtest", ()),
        ("nowhere/keys.txt", "regtest", ()),
        ("withdrawals.toml/keys.txt", "regtest", ()),
        ("main.txt", "main", ()),
        ("main.txt", "main", ("--mainnet-hot-keys", "yes")),
        ("twice.txt", "regtest", ("--kind", "p2tr", "--kind", "p2tr")),
    ],
)
def test_keygen_overwrites_nothing_and_refuses_mainnet(
    desk: FrontDesk, where: str, network: str, more: tuple[str, ...]
) -> None:
    before = {p: p.read_bytes() for p in desk.directory.iterdir()}
    said = desk.says_bare("keygen", str(desk.directory / where), "--network", network, *more, "--json")
    assert (said.code, said.json["error"]["code"]) == (3, "bad_config")
    assert {p: p.read_bytes() for p in desk.directory.iterdir()} == before


# ---------------------------------------------------------------------------------------------------------- the rest


def test_every_command_line_option_has_words(desk: FrontDesk) -> None:
    """Except the hidden one that the supervisor passes on."""
    options = [(n, p) for n, c in cli.commands.items() for p in c.params if isinstance(p, click.Option)]
    assert [f"{n} {p.name}" for n, p in options if not p.help] == []


def test_a_story_in_json_has_bytes_as_hex_and_outpoints_as_people_write_them(desk: FrontDesk) -> None:
    story = desk.says("why", "broadcast", "--json").json[0]
    assert bytes.fromhex(story["attempts"][0]["raw"])
    assert story["coins"][0]["outpoint"].endswith(":1")
    assert story["batch_state"] == "broadcast"
