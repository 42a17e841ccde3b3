"""Real processes on a disk that fills up or fails under them, and is mended: they say so, and nobody is paid twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from regtest.network import Network
from regtest.waiting import wait_for
from tests.functional.disk_faults import Disk, Fault
from tests.functional.running import Running, wait_all_final, wait_all_sent
from tests.functional.world import COIN_SATS, World
from withdrawals.processor import Processor

SATS = 1_000_000
LEDGER = r"/ledger\.db(-wal|-shm)?$"
JOURNAL = r"/journal\.jsonl$"
POLICY = {"batch_payments_max": 2, "resend_interval_s": 1}
EXIT_THEIRS, EXIT_WORLD = 3, 4


@dataclass
class OnDisk:
    """A world whose programs can be run on a disk of ours."""

    world: World
    disk: Disk
    shim: Callable[[list[str]], list[str]]

    def command(self, *words: str, config: Path | None = None) -> list[str]:
        path = str(config or self.world.config_path)
        return self.shim([sys.executable, "-m", "withdrawals", "--config", path, *words])

    def run(self, *words: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command of the command line, to its end. None of them ever shows a traceback."""
        ended = subprocess.run(
            self.command(*words, config=config), capture_output=True, text=True, check=False, timeout=90
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    def code(self, *words: str, config: Path | None = None) -> tuple[int, str, str]:
        """Exit code, the error's code and its words."""
        ended = self.run(*words, "--json", config=config)
        error = json.loads(ended.stdout)["error"]
        return ended.returncode, error["code"], error["message"]


@pytest.fixture
def on_disk(
    module_network: Network, make_world: Callable[..., World], redis_url: str, disk_faults: None
) -> Iterator[OnDisk]:
    """A funded processor; its disk is good at first."""
    world = make_world(module_network, redis_url=redis_url, policy=POLICY)
    world.fund_hot_wallet(*[COIN_SATS] * 8)
    disk = Disk()
    with disk.listening() as shim:
        yield OnDisk(world, disk, shim)
        world.close()  # whoever waits for our answers must not outlive us


@pytest.mark.covers("P3", "I2", "I12")
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("fault", "files", "words"),
    [
        pytest.param(Fault.FULL, LEDGER, "make room on its disk", id="the ledger's disk is full"),
        pytest.param(Fault.BAD_SYNCS, LEDGER, "SQLITE_IOERR_FSYNC", id="the ledger's syncs fail"),
        pytest.param(Fault.FULL, JOURNAL, "No space left on device", id="the journal's disk is full"),
        pytest.param(Fault.BAD_SYNCS, JOURNAL, "Input/output error", id="the journal's syncs fail"),
    ],
)
def test_running_processes_say_what_is_wrong_with_the_disk_and_go_on_when_it_is_mended(
    on_disk: OnDisk, fault: Fault, files: str, words: str
) -> None:
    """With payments under way. While it lasts nothing is sent that is not stored; after it all is paid, once."""
    world, disk = on_disk.world, on_disk.disk
    running = Running(world, on_disk.command("run"))
    running.wait_up()
    world.request_many(4, sats=SATS)
    wait_for(lambda: world.events("batch.signed"), "something to be signed")
    rule = disk.fail(fault, files)
    world.request_many(4, sats=SATS)  # the exchange's own host has room
    log = running.supervisor.output_path
    wait_for(lambda: rule.refused >= 3 and words in log.read_text(encoding="utf-8"), "the disk to fail and be named")
    assert world.mempool_txids() <= stored_txids(world)
    disk.mend()
    wait_all_sent(world, timeout_s=60)
    wait_all_final(world, timeout_s=60)
    world.assert_final_and_paid_once()
    assert world.breaker() == []
    assert "Traceback" not in log.read_text(encoding="utf-8")


@pytest.mark.covers("P3", "I2", "I12")
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("fault", "files", "words"),
    [
        pytest.param(Fault.BAD_WRITES, LEDGER, "error [ledger_unavailable]", id="the ledger's disk"),
        pytest.param(Fault.BAD_SYNCS, JOURNAL, "cannot sign yet", id="the journal's disk"),
    ],
)
def test_processes_that_start_on_a_bad_disk_say_so_and_come_up_when_it_is_mended(
    on_disk: OnDisk, fault: Fault, files: str, words: str
) -> None:
    """Without the ledger a process ends, and is started again ever more slowly; without the journal it waits."""
    world, disk = on_disk.world, on_disk.disk
    earlier = Running(world, on_disk.command("run"))
    earlier.wait_up()
    world.request(sats=SATS)
    wait_all_sent(world, timeout_s=60)
    earlier.supervisor.terminate()
    rule = disk.fail(fault, files)
    running = Running(world, on_disk.command("run"))
    log = running.supervisor.output_path
    wait_for(lambda: rule.refused > 0 and words in log.read_text(encoding="utf-8"), "the trouble to be named", 60)
    world.request(sats=SATS)
    disk.mend()
    wait_all_sent(world, timeout_s=60)
    wait_all_final(world, timeout_s=60)
    world.assert_final_and_paid_once()
    assert world.breaker() == []
    assert "Traceback" not in log.read_text(encoding="utf-8")


def stored_txids(world: World) -> set[str]:
    """Of everything that was ever signed, by the ledger."""
    return {attempt.txid for name in world.customers for attempt in world.processor.show(name).attempts}


@pytest.mark.covers("P3", "I5")
@pytest.mark.parametrize("fault", Fault)
def test_a_request_that_could_not_be_stored_is_refused_in_words_and_asked_again_later(
    on_disk: OnDisk, fault: Fault
) -> None:
    """The command line ends with 4 and names the ledger; the same id is then accepted once."""
    world, disk = on_disk.world, on_disk.disk
    address = world.customer_address()
    rule = disk.fail(fault, LEDGER)
    status, code, message = on_disk.code("enqueue", "r1", address, "--sats", str(SATS))
    assert (status, code) == (EXIT_WORLD, "ledger_unavailable")
    assert str(world.ledger_path) in message
    assert "ask again with the same ids" in message
    assert rule.refused > 0
    with world.parts.ledger.read() as view:
        assert view.list_withdrawals() == ()
    disk.mend()
    assert on_disk.run("enqueue", "r1", address, "--sats", str(SATS)).returncode == 0
    assert [w.request_id for w in world.processor.list_withdrawals()] == ["r1"]
    with pytest.MonkeyPatch.context() as same:  # the API says the same as the command line
        same.delenv("WITHDRAWALS_CONFIG", raising=False)
        assert Processor(world.parts).enqueue("r1", address, sats=SATS).seq == 1


@pytest.mark.parametrize(
    ("fault", "first"),
    [(Fault.FULL, 1), (Fault.FULL, 2), (Fault.BAD_WRITES, 3), (Fault.BAD_SYNCS, 1), (Fault.BAD_SYNCS, 2)],
)
def test_a_backup_onto_a_full_disk_leaves_nothing(on_disk: OnDisk, fault: Fault, first: int) -> None:
    """Neither under its name nor under another; the ledger is as it was, and there is a backup once there is room."""
    folder = on_disk.world.directory / "backups"
    folder.mkdir()
    before = on_disk.world.parts.ledger.content_hash()
    rule = on_disk.disk.fail(fault, "/backups", first=first)
    status, code, message = on_disk.code("backup", str(folder / "one.db"))
    assert (status, code, rule.refused > 0) == (EXIT_WORLD, "backup_failed", True)
    assert "nothing of it is left" in message
    assert list(folder.iterdir()) == []
    assert on_disk.world.parts.ledger.content_hash() == before
    on_disk.disk.mend()
    assert on_disk.run("backup", str(folder / "one.db")).returncode == 0
    assert [path.name for path in folder.iterdir()] == ["one.db"]


@pytest.mark.parametrize("fault", Fault)
def test_init_on_a_full_disk_can_be_done_again(on_disk: OnDisk, fault: Fault) -> None:
    """It says so, and what it left is no ledger."""
    world = on_disk.world
    config = world.directory / "another.toml"
    text = world.config_path.read_text(encoding="utf-8")
    config.write_text(text.replace('"ledger.db"', '"fresh/ledger.db"'), encoding="utf-8")
    (world.directory / "fresh").mkdir()
    rule = on_disk.disk.fail(fault, "/fresh/")
    assert on_disk.code("init", config=config)[:2] == (EXIT_WORLD, "ledger_unavailable")
    assert rule.refused > 0
    assert on_disk.code("status", config=config)[0] in {EXIT_THEIRS, EXIT_WORLD}
    on_disk.disk.mend()
    assert on_disk.run("init", config=config).returncode == 0
    assert on_disk.run("list", config=config).returncode == 0


@pytest.mark.parametrize("fault", Fault)
def test_a_key_file_is_whole_or_not_there(on_disk: OnDisk, fault: Fault) -> None:
    """Half a seed is none, and whoever saw an address of it would send coins to nobody."""
    folder = on_disk.world.directory / "keys"
    folder.mkdir()
    on_disk.disk.fail(fault, "/keys")
    status, code, message = on_disk.code("keygen", str(folder / "keys.txt"), "--network", "regtest")
    assert (status, code) == (EXIT_THEIRS, "bad_config")
    assert "nothing of it is left" in message
    assert list(folder.iterdir()) == []
    on_disk.disk.mend()
    assert on_disk.run("keygen", str(folder / "keys.txt"), "--network", "regtest").returncode == 0
