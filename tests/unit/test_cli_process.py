"""The command line as a real process: what a shell, a cron job or systemd sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest

from tests.unit.front_desk import FrontDesk, customer_address
from withdrawals.cli.main import cli

ADDRESS = customer_address()
WITHOUT_CHECKS = "error [bad_config]: python -O drops the checks of libraries that guard money"


def run(
    desk: FrontDesk, *words: str, python: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m withdrawals --config … WORDS` and wait for its end."""
    command = [sys.executable, *python, "-m", "withdrawals", "--config", str(desk.config_path), *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(environment or {})}
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ("list",)),
        (1, ("status",)),
        (2, ("pay",)),
        (3, ("show", "nobody")),
        (4, ("init",)),
        (3, ("work", "--queue", "sign")),
        (3, ("work", "--queue", "pay")),
    ],
    ids=str,
)
def test_the_exit_code_is_the_documented_one(desk: FrontDesk, code: int, words: tuple[str, ...]) -> None:
    done = run(desk, *words)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert (done.stderr == "") == (code < 2)


def test_an_accepted_request_is_in_the_ledger_once_the_process_has_ended(desk: FrontDesk) -> None:
    """Neither a node nor Redis is there."""
    done = run(desk, "enqueue", "new", ADDRESS, "--btc", "0.001", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(run(desk, "list", "--state", "queued", "--json").stdout)[-1] == json.loads(done.stdout)[0]


def test_a_reader_that_goes_away_early_is_no_mistake_of_ours(desk: FrontDesk) -> None:
    """As in `withdrawals events | head -1`."""
    command = f"'{sys.executable}' -m withdrawals --config '{desk.config_path}' events | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert "ledger.initialised" in done.stdout


@pytest.mark.parametrize(
    ("python", "environment", "words"),
    [
        (("-O",), {}, ("enqueue", "new", ADDRESS, "--sats", "50000")),
        (("-OO",), {}, ("list",)),
        ((), {"PYTHONOPTIMIZE": "1"}, ("run",)),
    ],
    ids=["-O", "-OO", "environment"],
)
def test_python_without_checks_is_refused(
    desk: FrontDesk, python: tuple[str, ...], environment: dict[str, str], words: tuple[str, ...]
) -> None:
    before = desk.content_hash()
    done = run(desk, *words, python=python, environment=environment)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(WITHOUT_CHECKS)
    assert desk.content_hash() == before


def test_every_command_is_refused_without_checks(desk: FrontDesk) -> None:
    """All in one process, because starting one takes half a second."""
    program = (
        "import sys\n"
        "from withdrawals.cli import main\n"
        f"for name in {sorted(cli.commands)!r}:\n"
        "    try:\n"
        "        main([name, 'path', '--network', 'regtest'] if name == 'keygen' else [name])\n"
        "    except SystemExit as left:\n"
        "        print(name, left.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=desk.directory,
    )
    assert done.stdout.splitlines() == [f"{name} 3" for name in sorted(cli.commands)], done.stderr


def test_the_api_is_refused_without_checks(desk: FrontDesk) -> None:
    program = f"import withdrawals; withdrawals.open({str(desk.config_path)!r})"
    done = subprocess.run(
        [sys.executable, "-O", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "ConfigError: python -O drops the checks" in done.stderr
