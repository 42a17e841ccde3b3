"""A real queue in which somebody else writes: the worker runs none of it, survives all of it, and does our job after.

Whoever can write to Redis can name any importable function in a record, with callbacks, webhooks, retries and payloads
that were pickled. The records here are real ones, made by RQ's own client or written key by key.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import redis
from rq import Callback, Queue, Retry
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.webhook import Webhook

from regtest.valkey import Valkey
from tests.integration.real_worker import QUEUE, RealWorker
from tests.unit.front_desk import FrontDesk
from withdrawals.bell import CALLABLE_OF

PLAN = CALLABLE_OF["plan"]


class Secrets:
    """Something with a method, for a job that names an instance."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def plan(self) -> None:
        self.path.touch()


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A host that a webhook might tell something; its URL, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/told", asked
        server.shutdown()
        thread.join()


@pytest.fixture
def worker(desk: FrontDesk, bell: Valkey) -> Iterator[RealWorker]:
    started = RealWorker(desk, bell.url)
    yield started
    started.close()


def payload(*parts: object) -> bytes:
    return zlib.compress(json.dumps(parts).encode())


GOOD: Mapping[str, str | bytes] = {
    "data": payload(PLAN, None, [], {}),
    "origin": QUEUE,
    "status": "queued",
    "created_at": "2026-01-01T00:00:00Z",
}


def called_back(job: Job, *_more: object) -> None:
    """A function for a record to name: it leaves a mark where the record says."""
    Path(job.meta["mark"]).touch()


BACK = f"{__name__}.called_back"


def forge(client: redis.Redis, marks: Path, url: str) -> None:
    """Everything that a record can ask of RQ's own worker, each leaving a mark of its own."""

    def touch(name: str) -> str:
        return f"touch {marks / name}"

    queue = Queue(QUEUE, connection=client, serializer=JSONSerializer)
    queue.enqueue("os.system", touch("function"))
    queue.enqueue("os.system", command=touch("keyword"))
    queue.enqueue("subprocess.call", ["touch", str(marks / "list")])
    queue.enqueue("builtins.exec", f"open({str(marks / 'exec')!r}, 'w')")
    for name, job in (("success", "os.getcwd"), ("failure", "os.abc")):
        told = {"on_success" if name == "success" else "on_failure": Callback(BACK)}
        hooks = [Webhook(f"{url}/{name}", "finished" if name == "success" else "failed", method="POST", timeout=2)]
        queue.enqueue(job, meta={"mark": str(marks / name)}, webhooks=hooks, **told)


def forge_with_our_names(client: redis.Redis, marks: Path, url: str) -> None:
    """The same under the names of our own jobs, which do run, and in payloads that were pickled."""
    queue = Queue(QUEUE, connection=client, serializer=JSONSerializer)
    hooks = [Webhook(f"{url}/{status}", status, method="POST", timeout=2) for status in ("finished", "failed")]
    told = {"on_success": Callback(BACK), "on_failure": Callback(BACK), "webhooks": hooks}
    queue.enqueue(PLAN, meta={"mark": str(marks / "plan")}, **told)
    queue.enqueue(CALLABLE_OF["broadcast"], "b-1", meta={"mark": str(marks / "broadcast")}, **told)
    queue.enqueue("workers.jobs.use", "x", meta={"mark": str(marks / "use")}, **told)
    queue.enqueue("workers.jobs.sign_one", "x", "y")
    queue.enqueue(CALLABLE_OF["broadcast"], batch_id="b-1")
    queue.enqueue(CALLABLE_OF["broadcast"], "b-1", "b-2")
    queue.enqueue(CALLABLE_OF["broadcast"], ["b-1"])
    queue.enqueue(CALLABLE_OF["broadcast"], "b" * 65)
    pickles = Queue(QUEUE, connection=client, serializer=DefaultSerializer)
    pickles.enqueue("os.system", f"touch {marks / 'pickle'}")
    pickles.enqueue(Secrets(marks / "instance").plan)


def test_a_plain_worker_does_whatever_a_record_says(
    tmp_path: Path, bell: Valkey, listener: tuple[str, list[str]]
) -> None:
    """So the forgeries have teeth."""
    url, asked = listener
    client = redis.Redis.from_url(bell.url)
    forge(client, tmp_path, url)
    plain = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--url", bell.url, "--quiet"]
    serializer = ["--serializer", "rq.serializers.JSONSerializer", "--worker-class", "rq.SimpleWorker", QUEUE]
    subprocess.run([*plain, *serializer], check=True, timeout=60)
    client.close()
    assert {path.name for path in tmp_path.iterdir()} == {"function", "keyword", "list", "exec", "success", "failure"}
    assert asked == ["/told/success", "/told/failure"]


@pytest.mark.covers("I9")
def test_nothing_that_somebody_else_enqueued_is_run(
    worker: RealWorker, desk: FrontDesk, tmp_path: Path, listener: tuple[str, list[str]]
) -> None:
    """Functions of others, instances, keywords, two arguments, pickles, callbacks, webhooks: and then our own job."""
    url, asked = listener
    marks = tmp_path / "marks"
    marks.mkdir()
    before = desk.content_hash()
    forge(worker.client, marks, url)
    forge_with_our_names(worker.client, marks, url)
    worker.ring_and_wait()
    assert list(marks.iterdir()) == []
    assert asked == []
    assert desk.content_hash() == before


ODD: Sequence[Mapping[str, str | bytes]] = [
    {"data": b"garbage"},
    {"data": b""},
    {"data": payload()},
    {"data": payload(PLAN, None, [])},
    {"data": payload(None, None, [], {})},
    {"data": payload({"a": 1}, [1], "x", 5)},
    {"data": payload(PLAN, None, 5, {})},
    {"status": "dancing"},
    {"timeout": "soon"},
    {"result_ttl": "never"},
    {"created_at": "yesterday"},
    {"worker_name": b"\xff"},
    {"retry_intervals": "["},
    {"meta": b"\x80\x04N."},
]


@pytest.mark.covers("I9")
def test_records_that_cannot_be_read_are_passed_over(worker: RealWorker) -> None:
    """They cost neither the worker nor the job behind them."""
    for number, odd in enumerate(ODD):
        worker.write(f"odd-{number}", {**GOOD, **odd})
    worker.client.rpush(f"rq:queue:{QUEUE}", "never-written")
    worker.ring_and_wait()
    assert worker.log().count("serving the queue") == 1
    assert worker.log().count("there is a record in our queue that is no job") == 6


@pytest.mark.covers("I9")
def test_nobody_else_chooses_how_long_a_job_may_take_or_how_often_it_comes_back(
    worker: RealWorker, bell: Valkey
) -> None:
    queue = Queue(QUEUE, connection=worker.client, serializer=JSONSerializer)
    job = queue.enqueue("os.getcwd", job_timeout=1, retry=Retry(max=100), result_ttl=-1, failure_ttl=-1)
    worker.ring_and_wait()
    refused = worker.log().count("is not a job of ours")
    time.sleep(0.2)
    worker.ring_and_wait()
    assert worker.log().count("is not a job of ours") == refused > 0
    assert not Job.exists(job.id, connection=worker.client)
