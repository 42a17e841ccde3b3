"""The bell where nobody hears it: no exception, no second ring, no waiting."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from withdrawals.bell import CALLABLE_OF, QUEUE_OF, RedisBell
from withdrawals.runtime import NoBell

JOBS = sorted(QUEUE_OF)


@pytest.fixture
def mute_server() -> Iterator[tuple[str, list[bytes]]]:
    """A server that accepts, reads and never answers; its URL, and what it was told."""
    told: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    client, _ = server.accept()
                except TimeoutError:
                    continue
                with client:
                    client.settimeout(0.1)
                    while not over.is_set():
                        try:
                            words = client.recv(65_536)
                        except TimeoutError:
                            continue
                        if not words:
                            break
                        told.append(words)

        thread = threading.Thread(target=listen)
        thread.start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0", told
        over.set()
        thread.join()


def test_every_job_has_a_queue_and_a_name() -> None:
    assert set(QUEUE_OF) == set(CALLABLE_OF)
    assert {job for job, queue in QUEUE_OF.items() if queue == "sign"} == {"sign"}


@pytest.mark.parametrize("job", JOBS)
def test_where_no_server_is_nobody_hears_it(job: str, caplog: pytest.LogCaptureFixture) -> None:
    bell = RedisBell("redis://127.0.0.1:1/0")
    with caplog.at_level(logging.WARNING):
        assert bell.ring(job, "b-1") is False
    assert [r.getMessage().startswith(f"nobody heard the bell for {job} b-1") for r in caplog.records] == [True]
    assert bell.backlog(job) == 0
    bell.close()


def test_a_server_that_does_not_answer_costs_seconds_and_is_told_once(mute_server: tuple[str, list[bytes]]) -> None:
    """The client's own retries would turn one lost reply into two jobs."""
    url, told = mute_server
    bell = RedisBell(url)
    began = time.monotonic()
    assert bell.ring("plan") is False
    assert time.monotonic() - began < 10
    bell.close()
    assert len(told) <= 1


def test_without_a_redis_nobody_is_rung() -> None:
    bell = NoBell()
    assert [bell.ring(job) for job in JOBS] == [False] * len(JOBS)
    assert [bell.backlog(job) for job in JOBS] == [0] * len(JOBS)
