"""Processors behind adapters: what is asked arrives as it was meant, and what is wrong is named."""

from __future__ import annotations

import http.client
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regtest.adapters.errors import AdapterError, AdapterUnreachable, ProcessorFailed, WrongAnswer, WrongVersion
from regtest.adapters.line import Line, Patience
from regtest.adapters.node import NotOurNode, RunningNode
from regtest.adapters.protocol import MESSAGES, METHODS_OF, NEEDED, OFFERED, VERSION, opening_of
from regtest.adapters.remote import RemoteProcessor, class_for, remote_at, remote_by_command
from regtest.adapters.serve import Desk
from regtest.contenders import CONTROLS, UnknownProcessor, contender_named
from regtest.malleate import Prevout
from regtest.party import NotOffered, Party
from regtest.processor import (
    OFFERS,
    CannotPlay,
    ChecksItself,
    HoldsKeys,
    KeepsBackups,
    Processor,
    ShowsTransactions,
    Signing,
    SupportAnswer,
    TellsBeliefs,
)
from tests.unit.adapted import REFUSED_LABEL, Made, Rich, a_site, answering, plain, serving

SERVE = [sys.executable, "-m", "regtest.adapters.serve", "tests.unit.adapted:plain"]


@pytest.fixture(autouse=True)
def _kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failure leaves behind to be looked at is nobody's business outside these tests."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def script(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "adapter.py"
    path.write_text(text, encoding="utf-8")
    return [sys.executable, str(path)]


def post(address: str, message: str, body: bytes) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=5)
    try:
        connection.request("POST", f"/{message}", body)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


# ------------------------------------------------------------------------------------------------------------ the table


def test_every_method_of_a_processor_is_a_message() -> None:
    """Those that all have and those that may be offered, each with its parameters in the method's order."""
    needed = {name for name, _ in inspect.getmembers(Processor, inspect.isfunction) if not name.startswith("_")}
    assert set(NEEDED) == needed
    methods = {method: offer for offer, names in OFFERS.items() for method in names.split(", ")}
    missing = set(methods) - set(OFFERED)
    assert not missing, f"regtest.adapters.protocol.OFFERED has no {missing}: give them their fields"
    for name in (*needed, *methods):
        [_, *parameters] = inspect.signature(getattr(methods.get(name, Processor), name)).parameters
        assert list(MESSAGES[name].asks) == parameters, name


def test_what_is_asked_arrives_and_what_is_answered_returns(tmp_path: Path) -> None:
    """Of the messages that all have."""
    made = Made()
    with serving(made) as address:
        remote = remote_at(address)(a_site(tmp_path))
        assert remote.name == "plain"
        remote.start()
        assert remote.deposit_address("legacy") == "address-legacy"
        remote.enqueue("payout-1", "bcrt1q", 150_000)
        assert remote.cancel("payout-1") is True
        remote.tick()
        assert remote.status("payout-1") == "sent"
        assert remote.support_retry("payout-1") == SupportAnswer(paid_again=True, words="again")
        remote.stop()
        remote.close(failed=False)
    assert made.last is not None
    assert made.last.calls == [
        ("start",),
        ("deposit_address", "legacy"),
        ("enqueue", "payout-1", "bcrt1q", 150_000),
        ("cancel", "payout-1"),
        ("tick",),
        ("status", "payout-1"),
        ("support_retry", "payout-1"),
        ("stop",),
        ("close", False),
    ]


def test_a_remote_processor_has_the_offers_of_the_other_side_and_no_more(tmp_path: Path) -> None:
    """The kit asks isinstance; what is not offered is not offered here either."""
    made = Made(Rich)
    with serving(made) as address:
        remote = remote_at(address)(a_site(tmp_path))
        party = Party("remote", remote)
        assert {offer for offer in OFFERS if isinstance(remote, offer)} == {
            ShowsTransactions,
            HoldsKeys,
            TellsBeliefs,
            KeepsBackups,
            ChecksItself,
        }
        assert party.signed_transactions("payout-1") == [b"\x01\x02", b"\x03"]
        assert party.owner_keys([Prevout(b"\x51", 7)]) == [bytes(32)]
        assert party.is_it_confirmed("payout-1") == "1 confirmation"
        party.back_up()
        party.restore()
        assert party.recover() == "recovered"
        assert party.has_refused("bad")
        assert not party.has_refused("good")
        with pytest.raises(NotOffered, match="not offered: has_refused, here"):
            party.has_refused("unknowable")
        assert party.troubles(["a", "b"], paid=True) == ["a trouble"]
        with pytest.raises(NotOffered) as lacking:
            party.kill()
        assert lacking.value.what == "kill"
        remote.close()
    assert made.last is not None
    assert ("owner_keys", Prevout(b"\x51", 7)) in made.last.calls
    assert ("troubles", "a", "b", True) in made.last.calls


class Keyring(Rich):
    """One with a key for every coin that has an amount, named after it."""

    def owner_keys(self, prevouts: Sequence[Prevout]) -> list[bytes]:
        super().owner_keys(prevouts)
        return [bytes([prevout.sats]) for prevout in prevouts if prevout.sats]


def test_keys_that_were_fetched_are_not_asked_for_again(tmp_path: Path) -> None:
    """Of several coins each secret once; where one of them was not fetched, or had no key then, it is asked."""
    holder = Keyring(a_site(tmp_path))
    party = Party("holder", holder)
    one, other, keyless, unknown = (Prevout(bytes([n]), sats) for n, sats in enumerate((1, 1, 0, 2)))
    party.fetch_keys([one, other, keyless])
    holder.calls.clear()
    assert party.owner_keys([one, other]) == [b"\1"]
    assert holder.calls == []
    party.owner_keys([one, keyless])
    party.owner_keys([one, unknown])
    assert holder.calls == [("owner_keys", one, keyless), ("owner_keys", one, unknown)]


def test_the_site_arrives_whole(tmp_path: Path) -> None:
    """Node, coins, queue and signer."""
    made = Made()
    site = a_site(tmp_path, redis_url="redis://127.0.0.1:1/2")
    with serving(made) as address:
        remote_at(address)(site).close()
    assert made.last is not None
    there = made.last.site
    assert isinstance(there.node, RunningNode)
    assert (there.rpc_url, there.cookie_path) == (site.rpc_url, site.cookie_path)
    assert there.node.zmq_hashblock == site.node.zmq_hashblock
    assert (there.label, there.coins, there.redis_url, there.signing) == (
        site.label,
        site.coins,
        site.redis_url,
        Signing.SOUND,
    )
    with pytest.raises(NotOurNode):
        there.node.stop()


def test_one_adapter_serves_many_sites_at_once(tmp_path: Path) -> None:
    """One that runs already is told by the label which site a message is for."""
    made = Made()
    with serving(made) as address:
        make = remote_at(address)
        first, second = make(a_site(tmp_path, "first")), make(a_site(tmp_path, "second"))
        second.tick()
        first.close()
        assert second.status("payout-1") == "sent"
        second.close()
    assert made.last is not None
    assert made.last.calls == [("tick",), ("status", "payout-1"), ("close", False)]


@pytest.mark.parametrize(
    ("offered", "why"),
    [
        (["back_up"], "all of back_up, restore, recover, or none of them"),
        (["troubles", "is_it_confirmed"], "all of has_refused, troubles"),
        (["fly"], "'fly' is not acceptable"),
    ],
)
def test_half_an_offer_is_refused(offered: list[str], why: str) -> None:
    """A story that begins and cannot go on would prove nothing."""
    with pytest.raises(WrongAnswer, match=why) as wrong:
        class_for("adapter", offered)
    assert wrong.value.field == "offers"


def test_every_offer_can_be_had_over_the_line() -> None:
    """Offered alone, it is there alone."""
    for offer, methods in METHODS_OF.items():
        built = class_for("adapter", methods)
        assert issubclass(built, RemoteProcessor)
        instance = object.__new__(built)
        assert {other for other in OFFERS if isinstance(instance, other)} == {offer}


# ------------------------------------------------------------------------------------------------------ what goes wrong


def test_a_failure_on_the_other_side_is_told_in_its_words(tmp_path: Path) -> None:
    """With the message that it happened to."""
    with serving(plain) as address:
        remote = remote_at(address)(a_site(tmp_path))
        with pytest.raises(ProcessorFailed, match="enqueue: ValueError: sats: nobody wants nothing") as failure:
            remote.enqueue("payout-1", "bcrt1q", 0)
        assert (failure.value.message, failure.value.kind) == ("enqueue", "ValueError")
        remote.close()


def test_what_cannot_be_built_there_cannot_be_played_here(tmp_path: Path) -> None:
    """A cell not offered, and no failure; any other error is one."""
    with serving(plain) as address:
        with pytest.raises(CannotPlay, match="no coins of that kind"):
            remote_at(address)(a_site(tmp_path, REFUSED_LABEL))
        with pytest.raises(ProcessorFailed, match="open: RuntimeError: the key is bent"):
            remote_at(address)(a_site(tmp_path, signing=Signing.PADDED))


@pytest.mark.parametrize(
    ("message", "status", "text", "field", "accepted"),
    [
        ("status", 200, b'{"state": "sent"}', "status", "a string"),
        ("status", 200, b'{"status": 7}', "status", "a string"),
        ("status", 200, b"[]", "body", "status 200 with a JSON object"),
        ("status", 200, b"sent", "body", "status 200 with a JSON object"),
        ("status", 500, b"oops", "body", '{"error": {"type"'),
        ("status", 404, b"{}", "body", '{"error": {"type"'),
        ("cancel", 200, b'{"cancelled": 1}', "cancelled", "true or false"),
        ("cancel", 200, b'{"cancelled": "yes"}', "cancelled", "true or false"),
        ("support_retry", 200, b'{"paid_again": false}', "words", "a string"),
        ("signed_transactions", 200, b'{"transactions": "0102"}', "transactions", "raw transactions in hex"),
        ("signed_transactions", 200, b'{"transactions": ["0x"]}', "transactions", "raw transactions in hex"),
        ("signed_transactions", 200, b'{"transactions": [""]}', "transactions", "raw transactions in hex"),
        ("owner_keys", 200, b'{"secrets": ["00"]}', "secrets", "64 hex digits"),
        ("troubles", 200, b'{"troubles": [1]}', "troubles", "a list of strings"),
        ("offers", 200, b'{"version": 1, "offers": []}', "name", "a string"),
        ("offers", 200, b'{"version": true, "name": "x", "offers": []}', "version", "a whole number"),
    ],
)
def test_an_answer_that_the_protocol_does_not_have_is_named(
    tmp_path: Path, message: str, status: int, text: bytes, field: str, accepted: str
) -> None:
    """The message, the field, what stood there and what would do."""
    offers = ["signed_transactions", "owner_keys", "has_refused", "troubles"]
    offering = json.dumps({"version": VERSION, "name": "liar", "offers": offers}).encode()
    line = Line("liar", "site-1", Patience())
    answers = {"offers": (200, offering), message: (status, text)}
    with answering(answers) as line.address, pytest.raises(WrongAnswer) as wrong:
        line.fetch_offers() if message == "offers" else line.ask(message)
    assert (wrong.value.message, wrong.value.field) == (message, field)
    assert accepted in wrong.value.accepted


def test_another_version_is_refused(tmp_path: Path) -> None:
    """Before anything is played."""
    offering = json.dumps({"version": VERSION + 1, "name": "new", "offers": []}).encode()
    with (
        answering({"offers": (200, offering)}) as address,
        pytest.raises(WrongVersion, match="speaks version 2 of the protocol; accepted: 1"),
    ):
        remote_at(address)(a_site(tmp_path))


def test_nobody_at_the_address(tmp_path: Path) -> None:
    """It is named, with what it was asked first."""
    with answering({}) as address:
        pass
    with pytest.raises(AdapterUnreachable, match=f"{address}: open: no answer: .*refused"):
        remote_at(address)(a_site(tmp_path))


@pytest.mark.parametrize(
    ("text", "start_s", "why"),
    [
        ("echo my database is gone; exit 3", 60.0, r"ended by itself with status 3[\s\S]*my database is gone"),
        ("echo hello; exec sleep 60", 3.0, r"in vain for: a line with its address[\s\S]*hello"),
        ("echo http://127.0.0.1:1; exec sleep 60", 60.0, "open: no answer"),
    ],
    ids=["ends", "never says where", "does not listen"],
)
def test_a_command_that_is_no_adapter(tmp_path: Path, text: str, start_s: float, why: str) -> None:
    """What it printed is in the message, and it is not left running."""
    with pytest.raises(AdapterUnreachable, match=why):
        remote_by_command(["sh", "-c", text], Patience(start_s=start_s))(a_site(tmp_path))


def test_an_adapter_that_takes_too_long_leaves_what_it_did_unknown(tmp_path: Path) -> None:
    """It is told so, and ended."""
    text = "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\n"
    text += "print(f'http://127.0.0.1:{s.getsockname()[1]}', flush=True)\ntime.sleep(60)"
    with pytest.raises(AdapterUnreachable, match=r"no answer within 0\.5 s; whether it was done is not known"):
        remote_by_command(script(tmp_path, text), Patience(answer_s=0.5))(a_site(tmp_path))


@pytest.mark.parametrize("message", [name for name in NEEDED if name != "close"])
def test_what_every_processor_must_have_is_never_not_offered(tmp_path: Path, message: str) -> None:
    """Or nobody would have to do his work when the day is bad. It is a failure, and says so."""
    lacking = json.dumps({"error": {"type": "not_offered", "message": "not today"}}).encode()
    values: dict[str, object] = {"request_id": "payout-1", "address": "bcrt1q", "sats": 7, "kind": "legacy"}
    with answering({message: (404, lacking)}) as address:
        remote = remote_at(address)(a_site(tmp_path))
        asked = {name: values[name] for name in NEEDED[message].asks}
        with pytest.raises(ProcessorFailed, match="not_offered: not today: every processor must have this message"):
            getattr(remote, message)(**asked)
        remote.close()


def test_a_command_gets_its_site_by_its_environment_and_ends_when_closed(tmp_path: Path) -> None:
    """The same as /open tells; its directory is deleted, and its process gone."""
    text = (
        "import json, os, runpy, sys\n"
        "site = json.loads(os.environ['WITHDRAWALS_SITE'])\n"
        "open(site['directory'] + '/pid', 'w').write(str(os.getpid()))\n"
        f"json.dump(site, open({str(tmp_path / 'site.json')!r}, 'w'))\n"
        "sys.argv[1:] = ['tests.unit.adapted:plain']\n"
        "runpy.run_module('regtest.adapters.serve', run_name='__main__')\n"
    )
    site = a_site(tmp_path)
    make = remote_by_command([sys.executable, "-c", text])
    remote = make(site)
    told = json.loads((tmp_path / "site.json").read_text(encoding="utf-8"))
    directory = Path(told["directory"])
    assert told == opening_of(site, str(directory))
    pid = int((directory / "pid").read_text(encoding="utf-8"))
    os.kill(pid, 0)
    remote.tick()
    remote.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not directory.exists()


def test_an_adapter_that_died_is_told_with_what_it_said_last(tmp_path: Path) -> None:
    """Instead of a connection refused."""
    text = (
        "import http.server, os, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        self.rfile.read(int(self.headers['Content-Length']))\n"
        "        if self.path == '/tick':\n"
        "            print('segmentation fault, or worse', flush=True); os._exit(7)\n"
        "        self.say(b'{}')\n"
        "    def do_GET(self):\n"
        '        self.say(b\'{"version": 1, "name": "x", "offers": []}\')\n'
        "    def say(self, text):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(text)\n"
        "s = http.server.HTTPServer(('127.0.0.1', 0), H)\n"
        "print(f'http://127.0.0.1:{s.server_address[1]}/', flush=True)\n"
        "s.serve_forever()\n"
    )
    remote = remote_by_command(script(tmp_path, text))(a_site(tmp_path))
    with pytest.raises(AdapterUnreachable, match=r"tick: ended by itself with status 7[\s\S]*or worse"):
        remote.tick()
    with pytest.raises(AdapterError):
        remote.close()
    remote.close(failed=True)


# ---------------------------------------------------------------------------------------------------------- the server


@pytest.mark.parametrize(
    ("message", "body", "status", "kind", "words"),
    [
        ("fly", b"{}", 404, "unknown_message", "POST /fly"),
        ("tick", b"not json", 400, "bad_field", "a JSON object"),
        ("tick", b"{}", 400, "bad_field", "site: "),
        ("tick", b'{"site": "other"}', 409, "not_open", "/open comes first"),
        ("kill", b'{"site": "here"}', 404, "not_offered", "kill"),
        ("enqueue", b'{"site": "here", "request_id": "a", "address": "b", "sats": 1.5}', 400, "bad_field", "sats: 1.5"),
        ("enqueue", b'{"site": "here", "request_id": "a", "address": "b"}', 400, "bad_field", "sats: "),
        ("open", b'{"site": "new"}', 400, "bad_field", "version: "),
    ],
)
def test_the_server_names_what_is_wrong_with_a_message(
    tmp_path: Path, message: str, body: bytes, status: int, kind: str, words: str
) -> None:
    """For who writes a kit of his own."""
    with serving(plain) as address:
        remote = remote_at(address)(a_site(tmp_path, "here"))
        answered, said = post(address, message, body)
        assert (answered, said["error"]["type"]) == (status, kind)
        assert words in said["error"]["message"]
        remote.close()


def test_a_site_is_opened_once_and_in_a_version_that_is_known(tmp_path: Path) -> None:
    """Else two stories would share a wallet."""
    opening = opening_of(a_site(tmp_path), str(tmp_path))
    with serving(plain) as address:
        assert post(address, "open", json.dumps({**opening, "version": 2}).encode())[1]["error"]["type"] == "bad_field"
        assert post(address, "open", json.dumps(opening).encode()) == (200, {})
        assert post(address, "open", json.dumps(opening).encode())[1]["error"]["type"] == "already_open"


def test_what_the_kit_left_open_is_closed_when_the_server_ends(tmp_path: Path) -> None:
    """And its files stay, for something went wrong."""
    made = Made()
    desk = Desk(made)
    desk.answer("open", opening_of(a_site(tmp_path), str(tmp_path)))
    desk.close()
    assert made.last is not None
    assert made.last.calls == [("close", True)]


# ------------------------------------------------------------------------------------------------------ who is attacked


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("nobody", "accepted are withdrawals, naive-txid"),
        ("", "accepted are"),
        (":factory", "accepted are"),
        ("no_such_module:factory", "No module named 'no_such_module'"),
        ("tests.unit.adapted:missing", "has no attribute 'missing'"),
        ("tests.unit.adapted:REFUSED_LABEL", "REFUSED_LABEL cannot be called with a Site"),
        ("cmd: ", "there is no program ''"),
        ("cmd:no-such-program --fast", "there is no program 'no-such-program'"),
        ("cmd:python3 'adapter.py", "the command cannot be read: No closing quotation"),
        ("http://127.0.0.1", "accepted are addresses like"),
        ("http://127.0.0.1:notaport", "not an address"),
        ("https://127.0.0.1:9000", "accepted are addresses like"),
        ("http://example.com:9000", "accepted are addresses like"),
        ("http://127.0.0.1:9000/api", "accepted are addresses like"),
    ],
)
def test_who_cannot_be_attacked_is_refused_with_the_reason(words: str, why: str) -> None:
    """Before any node is started."""
    with pytest.raises(UnknownProcessor, match=why) as unknown:
        contender_named(words)
    assert repr(words) in str(unknown.value)


def test_a_contender_is_named_in_five_ways(tmp_path: Path) -> None:
    """Ours, a control, a factory, a command, an address."""
    assert contender_named("withdrawals").name == "withdrawals"
    assert contender_named("naive-txid") == replace(CONTROLS["naive-txid"], is_control=False), "it is under test"
    assert contender_named("tests.unit.adapted:plain").make(a_site(tmp_path)).name == "plain"
    command = contender_named(f"cmd:{' '.join(SERVE)}")
    remote = command.make(a_site(tmp_path))
    assert remote.name == "plain"
    remote.close()
    with serving(plain) as address:
        remote = contender_named(f"{address}/").make(a_site(tmp_path))
        assert remote.name == "plain"
        remote.close()


def test_a_factory_is_found_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever program the kit is started by."""
    (tmp_path / "a_factory_of_mine.py").write_text("from tests.unit.adapted import plain as make\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert contender_named("a_factory_of_mine:make").make(a_site(tmp_path)).name == "plain"
