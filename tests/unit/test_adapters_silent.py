"""Adapters that hang, and adapters that a command leaves behind: neither keeps the kit waiting, or stays."""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path

import pytest

from regtest.adapters.errors import AdapterUnreachable
from regtest.adapters.line import Patience
from regtest.adapters.remote import RemoteProcessor, remote_at, remote_by_command
from regtest.party import Party
from regtest.waiting import wait_for
from tests.unit.adapted import Made, a_site, serving


@pytest.fixture(autouse=True)
def _kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failure leaves behind to be looked at is nobody's business outside these tests."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


HANGS = """
import http.server, time
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        print(self.path, flush=True)
        if self.path == '/tick':
            time.sleep(60)
        self.say(b'{}')
    def do_GET(self):
        self.say(b'{"version": 1, "name": "x", "offers": ["signed_transactions"]}')
    def say(self, text):
        self.send_response(200); self.end_headers(); self.wfile.write(text)
    def log_message(self, *_):
        pass
s = http.server.HTTPServer(('127.0.0.1', 0), H)
print(f'http://127.0.0.1:{s.server_address[1]}/', flush=True)
s.serve_forever()
"""
"""An adapter that answers until it is told to work."""


def test_an_adapter_that_hangs_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked after that fails at once, in the same words; it is not asked to end, but ended."""
    monkeypatch.setattr("regtest.adapters.line.Child.terminate_all", refuses_to_wait)
    remote = remote_by_command([sys.executable, "-c", HANGS], Patience(answer_s=3.0))(a_site(tmp_path))
    words = r"tick had no answer within 3 s; whether it was done is not known"
    with pytest.raises(AdapterUnreachable, match=f"tick: {words}"):
        remote.tick()
    party = Party("remote", remote)
    with pytest.raises(AdapterUnreachable, match=f"signed_transactions: {words}") as again:
        party.signed_transactions("payout-1")
    with pytest.raises(AdapterUnreachable, match=f"close: {words}"):
        remote.close()
    assert again.value.output.split()[1:] == ["/open", "/tick"], "nothing else arrived"


def refuses_to_wait(_child: object, _timeout_s: float) -> None:
    raise AssertionError("it was waited for once more")


def test_a_site_that_hangs_does_not_silence_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an adapter that runs already: the line is that of a site."""
    with serving(Made()) as address:
        first, second = (remote_at(address)(a_site(tmp_path, label)) for label in ("first", "second"))
        assert isinstance(first, RemoteProcessor)
        monkeypatch.setattr(first._line, "_dead", "tick had no answer")
        with pytest.raises(AdapterUnreachable, match="status: tick had no answer"):
            first.status("payout-1")
        assert second.status("payout-1") == "sent"
        second.close()


def test_what_a_command_has_started_itself_ends_with_it(tmp_path: Path) -> None:
    """As with `npx adapter`: the adapter is a child of what the kit has started."""
    pid_path = tmp_path / "pid"
    adapter = shlex.join([sys.executable, "-c", HANGS])
    command = ["sh", "-c", f"{adapter} & echo $! > {shlex.quote(str(pid_path))}; wait"]
    remote = remote_by_command(command)(a_site(tmp_path))
    pid = int(pid_path.read_text(encoding="utf-8"))
    assert is_running(pid)
    remote.close()
    wait_for(lambda: not is_running(pid), "the adapter to end")


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that nobody waits for has ended as well."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
