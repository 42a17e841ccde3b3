"""Stories about books that forget: a backup from yesterday in the place of today's."""

from __future__ import annotations

from typing import Final

from regtest.rpc import btc_of
from regtest.scenarios.model import BATCH_VERDICT, GATE_ONLY, NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.stage import OWED, SIGNED, Stage
from regtest.scenarios.twins import COIN, OWED_SATS


def backup_is_restored(stage: Stage) -> None:
    """Accepted before the backup and paid in a block since; accepted since, and in the mempool; and the disk dies."""
    stage.fund(COIN)
    stage.fund(COIN)
    before = stage.owe(OWED_SATS)
    stage.party.back_up()
    stage.last_signed(before)
    stage.mine_what_waits()
    since = stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(stage.owed_sats)} BTC: one asked before the backup, one after it")
    stage.last_signed(since)
    stage.tell_txid(SIGNED, "in a block,", stage.last_signed(before))
    stage.tell_txid("and signed", "in the mempool,", stage.last_signed(since))
    stage.restore()
    stage.work()
    for customer in stage.customers:
        stage.ask(customer)
    stage.recover()
    stage.work()
    stage.mine_what_waits()
    stage.curtain()


BACKUP_RESTORED: Final = Scenario(
    name="backup-restored",
    title="Yesterday's backup is restored",
    covers=(),
    moral="A ledger forgets what was signed since its backup. The journal beside the keys does not.",
    play=backup_is_restored,
    losers=(NAIVE_TXID, RESEND_ON_ERROR, GATE_ONLY, BATCH_VERDICT),
    coins=("bech32",),
)
