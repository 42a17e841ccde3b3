"""A small payout service in the style of many: a table of payouts, a cron job, and Bitcoin Core's wallet.

It knows nothing of the kit and is here to be attacked. Nothing in it is careless by the standards of its kind: it asks
its wallet what became of the txid, and only a payout that failed is sent again. Do not pay anybody with it.
"""

from __future__ import annotations

import base64
import http.client
import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SATS = 100_000_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS payouts (
    id TEXT PRIMARY KEY, address TEXT NOT NULL, sats INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'new', txid TEXT, note TEXT NOT NULL DEFAULT ''
)
"""


class NodeError(Exception):
    """The node refused, or did not answer."""


class PayoutService:
    """Payouts from a wallet of a node."""

    def __init__(self, rpc_url: str, cookie_path: str, wallet: str, directory: str) -> None:
        self._url, self._cookie_path, self._wallet = urlsplit(rpc_url), Path(cookie_path), wallet
        self.database = Path(directory) / "payouts.sqlite"
        with self._db() as db:
            db.execute(SCHEMA)

    def create_wallet(self) -> None:
        """Once, at the beginning; the node loads it whenever it starts."""
        if self._wallet not in self._rpc("listwallets", wallet=False):
            load_on_startup = True
            self._rpc("createwallet", self._wallet, False, False, "", False, True, load_on_startup, wallet=False)  # noqa: FBT003 - the node's parameter order

    def deposit_address(self, kind: str) -> str:
        """Where the hot wallet is refilled."""
        return str(self._rpc("getnewaddress", "", kind))

    # --------------------------------------------------------------------------------------------------- what users do

    def create(self, payout_id: str, address: str, sats: int) -> None:
        """A new payout; one that is known already is left alone."""
        with self._db() as db:
            db.execute("INSERT OR IGNORE INTO payouts (id, address, sats) VALUES (?, ?, ?)", (payout_id, address, sats))

    def cancel(self, payout_id: str) -> bool:
        """The money goes back to the user's balance, unless it is on its way."""
        with self._db() as db:
            query = "UPDATE payouts SET status = 'cancelled' WHERE id = ? AND status IN ('new', 'failed')"
            return db.execute(query, (payout_id,)).rowcount == 1

    def status(self, payout_id: str) -> str:
        """`new`, `sent`, `done`, `failed` or `cancelled`."""
        return str(self._row(payout_id)[0])

    def note(self, payout_id: str) -> str:
        """The same, for the support desk."""
        status, _, note = self._row(payout_id)
        return f"{status}: {note}" if note else str(status)

    def retry(self, payout_id: str) -> bool:
        """The support desk's button: look again, and send again what has failed."""
        self._check(payout_id)
        if self.status(payout_id) != "failed":
            return False
        self._pay(payout_id)
        return True

    # ----------------------------------------------------------------------------------------------------- the cron job

    def run(self) -> None:
        """Every minute."""
        with self._db() as db:
            rows = db.execute("SELECT id, status FROM payouts ORDER BY rowid").fetchall()
        for payout_id, status in rows:
            if status == "new":
                self._pay(payout_id)
            else:
                self._check(payout_id)

    def _pay(self, payout_id: str) -> None:
        with self._db() as db:
            query = "SELECT address, sats FROM payouts WHERE id = ?"
            address, sats = db.execute(query, (payout_id,)).fetchone()
        try:
            unfunded = self._rpc("createrawtransaction", [], [{address: str(Decimal(sats) / SATS)}])
            unsigned = self._rpc("fundrawtransaction", unfunded)["hex"]
            signed = self._rpc("signrawtransactionwithwallet", unsigned)["hex"]
            txid = self._rpc("sendrawtransaction", signed)
        except NodeError as error:
            self._mark(payout_id, "failed", str(error))
        else:
            with self._db() as db:
                db.execute("UPDATE payouts SET txid = ? WHERE id = ?", (txid, payout_id))
            self._mark(payout_id, "sent", f"sent as {txid}")

    def _check(self, payout_id: str) -> None:
        status, txid, _ = self._row(payout_id)
        if status != "sent":
            return
        try:
            confirmations = int(self._rpc("gettransaction", txid)["confirmations"])
        except NodeError as error:
            self._mark(payout_id, "failed", str(error))
            return
        if confirmations:
            self._mark(payout_id, "done" if confirmations > 0 else "failed", f"{confirmations} confirmations")

    def _mark(self, payout_id: str, status: str, note: str) -> None:
        with self._db() as db:
            db.execute("UPDATE payouts SET status = ?, note = ? WHERE id = ?", (status, note, payout_id))

    # ------------------------------------------------------------------------------------------------ database and node

    def _row(self, payout_id: str) -> tuple[str, str | None, str]:
        with self._db() as db:
            row: tuple[str, str | None, str] | None = db.execute(
                "SELECT status, txid, note FROM payouts WHERE id = ?", (payout_id,)
            ).fetchone()
        if row is None:
            raise KeyError(payout_id)
        return row

    def _db(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(self.database, isolation_level=None))

    def _rpc(self, method: str, *params: object, wallet: bool = True) -> Any:  # noqa: ANN401 - whatever the node says
        login = base64.b64encode(self._cookie_path.read_bytes()).decode()
        connection = http.client.HTTPConnection(str(self._url.hostname), self._url.port, timeout=30)
        body = json.dumps({"method": method, "params": params, "id": 0})
        try:
            path = f"/wallet/{self._wallet}" if wallet else "/"
            connection.request("POST", path, body, {"Authorization": f"Basic {login}"})
            reply = json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NodeError(f"{method}: {error!r}") from error
        finally:
            connection.close()
        if reply["error"]:
            raise NodeError(f"{method}: {reply['error']['message']}")
        return reply["result"]
