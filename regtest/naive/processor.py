"""The naive desk as a processor of the harness: in this process, or with an RQ worker of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import redis
import rq
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq.job import Job, JobStatus
from rq.results import Result
from rq.serializers import JSONSerializer

from regtest.bitcoind import Bitcoind
from regtest.malleate import Prevout, fetch_wallet_keys
from regtest.naive.book import State
from regtest.naive.desk import OF_2014, Desk, DeskSettings, Habits
from regtest.process import Child, discard_directory, private_directory
from regtest.processor import Signing, Site, SupportAnswer
from regtest.proxy import RpcProxy
from regtest.rpc import Json, RpcError
from regtest.waiting import wait_for

_JOB_TIMEOUT_S = 60


def naive_txid(site: Site) -> NaiveProcessor:
    """The control of 2014, on this site."""
    habits = Habits(change_kind=site.coins[0], signs_padded=site.signing is not Signing.SOUND)
    return NaiveProcessor(
        site.node,
        wallet=site.label,
        through=site.proxy,
        redis_url=site.redis_url,
        queue_name=site.label,
        habits=habits,
    )


class JobFailed(Exception):
    """A job of the desk ended in an error; the message is its traceback."""


class NaiveProcessor:
    """The control on a node, with a wallet of its own there.

    `through` puts a proxy between it and the node. With `redis_url` its work is done by a worker process that takes
    jobs from the queue `queue_name`; without, by the caller's own thread.
    """

    name = "naive"

    def __init__(
        self,
        node: Bitcoind,
        *,
        wallet: str = "naive",
        through: RpcProxy | None = None,
        redis_url: str | None = None,
        queue_name: str = "naive",
        habits: Habits = OF_2014,
    ) -> None:
        self.node = node
        self.directory = private_directory("naive")
        port = through.port if through is not None else node.rpc_port
        book_path = str(self.directory / "book.sqlite")
        self.settings = DeskSettings(port, str(node.cookie_path), wallet, book_path, habits)
        self.desk = Desk(self.settings)
        self._redis_url, self._queue_name = redis_url, queue_name
        self._worker = Child("naive-worker", self.directory / "worker.txt")

    def start(self) -> None:
        """Load or make the wallet, and start the worker if there is to be one."""
        self.node.wallet(self.settings.wallet)
        if self._redis_url is not None:
            # No process of its own for each job: nothing here needs one, and forking takes longer than a payment.
            classes = ("--serializer", "rq.serializers.JSONSerializer", "--worker-class", "rq.SimpleWorker")
            command = [sys.executable, "-m", "rq.cli", "worker", "--url", self._redis_url, *classes]
            self._worker.spawn([*command, self._queue_name])

    def stop(self) -> None:
        """End the worker in order; the book stays."""
        self._worker.terminate()

    def close(self, *, failed: bool = False) -> None:
        """Stop for good and delete the book, unless it is to be kept."""
        try:
            self.stop()
        finally:
            discard_directory(self.directory, failed=failed)

    def back_up(self) -> None:
        """Copy the book."""
        shutil.copy(self.desk.book.path, self._backup)

    def restore(self) -> None:
        """Put the copy in the book's place."""
        self.stop()
        shutil.copy(self._backup, self.desk.book.path)
        self.start()

    @property
    def _backup(self) -> Path:
        return self.directory / "backup.sqlite"

    def deposit_address(self, kind: str) -> str:
        """A new address of its wallet."""
        return str(self.node.wallet(self.settings.wallet).getnewaddress("", kind))

    def enqueue(self, request_id: str, address: str, sats: int) -> None:
        """Write the withdrawal down; with a worker, a job to send it is on its way at once."""
        self.desk.book.add(request_id, address, sats)
        if self._redis_url is not None:
            self._ring("send_withdrawal", request_id)

    def tick(self) -> None:
        """One round of work, done when this returns."""
        if self._redis_url is None:
            self.desk.work()
        else:
            self._ring_and_wait("work")

    def status(self, request_id: str) -> str:
        """`pending`, `sent`, `confirmed`, `failed` or `cancelled`."""
        return self.desk.book.payment(request_id).state

    def support_retry(self, request_id: str) -> SupportAnswer:
        """Look the txid up; pay again if it is nowhere to be seen."""
        if self._redis_url is None:
            return self.desk.support_retry(request_id)
        answer = self._ring_and_wait("support_retry", request_id)
        return SupportAnswer(answer["paid_again"], answer["words"])

    def signed_transactions(self, request_id: str) -> list[bytes]:
        """All that was signed for it, oldest first."""
        return [send.raw for send in self.desk.book.sends(request_id)]

    def cancel(self, request_id: str) -> bool:
        """Give it up, and the money back: what was not sent, or has failed, as far as the desk knows."""
        if self.desk.book.payment(request_id).state not in {State.PENDING, State.FAILED}:
            return False
        self.desk.book.mark(request_id, State.CANCELLED, "cancelled, and the money given back")
        return True

    def is_it_confirmed(self, request_id: str) -> str:
        """What the node says of the last txid that was sent; with a transaction index the answer is fair."""
        sends = self.desk.book.sends(request_id)
        if not sends:
            return str(self.desk.book.payment(request_id).reason)
        try:
            found = self.desk.wallet.getrawtransaction(sends[-1].txid, True)  # noqa: FBT003 - the node's parameter
        except RpcError as error:
            return f"{error.code} {error.message.partition('.')[0]}"
        count = found.get("confirmations", 0)
        return f"{count} confirmation{'' if count == 1 else 's'}"

    def owner_keys(self, prevouts: Sequence[Prevout]) -> list[bytes]:
        """Out of its wallet on the node."""
        return fetch_wallet_keys(self.node.wallet(self.settings.wallet), prevouts)

    def recover(self) -> str:
        """Nothing: it does not know that it forgot anything."""
        return "nobody: it works as ever"

    def what_it_believes(self, request_id: str) -> str:
        """Its state, the reason, and how often it paid."""
        payment, sends = self.desk.book.payment(request_id), self.desk.book.sends(request_id)
        return f"{payment.state} after {len(sends)} {'payment' if len(sends) == 1 else 'payments'}: {payment.reason}"

    # ------------------------------------------------------------------------------------------------------------- jobs

    def _ring(self, job: str, *args: str) -> str:
        with closing(self._connect()) as connection:
            queue = rq.Queue(self._queue_name, connection=connection, serializer=JSONSerializer)
            arguments = (self.settings.for_job(), *args)
            return queue.enqueue_call(f"regtest.naive.jobs.{job}", arguments, timeout=_JOB_TIMEOUT_S).id

    def _ring_and_wait(self, job: str, *args: str) -> Json:
        """The job's result. Raises `JobFailed`, `ChildFailed`, `WaitTimeout`."""
        job_id = self._ring(job, *args)
        with closing(self._connect()) as connection:
            wait_for(lambda: self._is_over(job_id, connection), f"the naive worker's job {job}", _JOB_TIMEOUT_S)
            done = Job.fetch(job_id, connection, JSONSerializer)
            result = done.latest_result()
        if result is None or result.type is not Result.Type.SUCCESSFUL:
            raise JobFailed(f"{job}: {result.exc_string if result else 'no result'}")
        return result.return_value

    def _is_over(self, job_id: str, connection: redis.Redis) -> bool:
        self._worker.require_alive()
        status = Job.fetch(job_id, connection, JSONSerializer).get_status()
        return status in {JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED}

    def _connect(self) -> redis.Redis:
        if self._redis_url is None:
            raise JobFailed("this desk has no queue")
        # A retry after a lost reply would enqueue the job twice.
        return redis.Redis.from_url(self._redis_url, retry=Retry(NoBackoff(), 0))
