"""I9: Redis is a bell, not a book. Jobs may be forged, lost, repeated and shuffled, and nothing but time is lost."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable

import pytest
import redis
from rq.serializers import JSONSerializer

from tests.unit.bench import COIN_SATS, FINAL, SATS, Bench
from withdrawals.bell import CALLABLE_OF
from withdrawals.core.model import BatchState, WithdrawalState
from withdrawals.core.types import BatchId
from withdrawals.steps.audit import audit
from workers import jobs
from workers.inline import Inline
from workers.queue import ALLOWED, BellJob, JobRefused
from workers.sweeper import rings_due, sweep

ran: list[str] = []
"""What a forged job managed to run."""


def boom(word: str = "boom") -> None:
    """Any importable function: whoever can write to Redis can name it."""
    ran.append(word)


def job_of(name: str, *args: object, **kwargs: object) -> BellJob:
    """A job as a worker finds it in Redis. Nothing is connected."""
    connection = redis.Redis(port=1)
    job = BellJob.create(name, list(args), dict(kwargs), connection=connection, serializer=JSONSerializer)
    assert isinstance(job, BellJob)
    return job


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@pytest.mark.covers("I9")
@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        (f"{__name__}.boom", ("x",), {}),
        ("os.system", ("exit 1",), {}),
        ("workers.jobs.plan_all", (), {}),
        ("workers.jobs.use", (), {}),
        (CALLABLE_OF["sign"], ("b-1", "b-2"), {}),
        (CALLABLE_OF["sign"], ("b" * 65,), {}),
        (CALLABLE_OF["sign"], (7,), {}),
        (CALLABLE_OF["sign"], (), {"batch_id": "b-1"}),
    ],
)
def test_a_job_that_we_never_ring_is_not_run(name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """JSON alone still lets any function be named, with any arguments."""
    with pytest.raises(JobRefused):
        job_of(name, *args, **kwargs).perform()
    assert ran == []


@pytest.mark.covers("I9")
def test_a_forged_record_has_no_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record may name functions to call afterwards, and hosts to tell; they are dropped when it is read."""
    name = f"{__name__}.boom"
    data = zlib.compress(json.dumps([CALLABLE_OF["plan"], None, [], {}]).encode())
    fields = {"success_callback_name": name, "failure_callback_name": name, "stopped_callback_name": name}
    raw = {b"created_at": b"2026-01-01T00:00:00.000000Z", b"data": data, b"origin": b"withdrawals", b"timeout": b"600"}
    job = BellJob("forged", connection=redis.Redis(port=1), serializer=JSONSerializer)
    job.restore({**raw, **{key.encode(): value.encode() for key, value in fields.items()}})
    assert job.func is ALLOWED[CALLABLE_OF["plan"]]
    assert [job.success_callback, job.failure_callback, job.stopped_callback] == [None, None, None]
    assert job.webhooks == []


def test_every_job_that_we_ring_is_on_the_list() -> None:
    """And the list holds nothing else."""
    assert {CALLABLE_OF[name]: getattr(jobs, name) for name in ("plan", "sign", "broadcast", "reissue")} == ALLOWED


def some_job(bench: Bench, rng: random.Random) -> Callable[[], None]:
    """Any job with any target that there is, or with one that never was."""
    with bench.ledger.read() as view:
        targets = [*view.list_batches(set(BatchState)), BatchId("b-nobody")]
    job = rng.choice([jobs.sign_one, jobs.broadcast_one])
    target = rng.choice(targets)
    return rng.choice([lambda: jobs.plan_all(bench.parts), lambda: job(bench.parts, target)])


@pytest.mark.covers("I9", "I5")
@pytest.mark.parametrize("seed", range(6))
def test_any_jobs_in_any_order_pay_everybody_once(bench: Bench, seed: int) -> None:
    """Repeated, too early, too late, for nobody; then the sweeper does what is left, without any bell."""
    rng = random.Random(seed)
    bench.fund(*[COIN_SATS] * 3)
    requests = [bench.request()]
    for _ in range(15):
        some_job(bench, rng)()
        if rng.random() < 0.3:
            requests.append(bench.request(SATS + len(requests)))
        if rng.random() < 0.3:
            bench.mine()
    inline = Inline(bench.parts)
    for _ in range(4 * FINAL):
        inline.tick()
        bench.node.mine()
    inline.tick()
    assert [bench.paid(w) for w in requests] == [[w.sats] for w in requests]
    assert {bench.state(w) for w in requests} == {WithdrawalState.FINAL}
    assert bench.causes() == set()
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("I9")
def test_the_ledger_says_what_is_due_without_any_bell(bench: Bench) -> None:
    """Every state that waits for a job is found by looking, as often as one looks."""
    bench.fund()

    def due() -> list[tuple[str, str]]:
        with bench.ledger.read() as view:
            return rings_due(view, bench.clock.now(), bench.policy.resend_interval_s)

    assert due() == []
    bench.request()
    assert due() == [("plan", "")]
    batch_id = bench.planned()
    assert due() == [("sign", batch_id)]
    bench.sign(batch_id)
    assert due() == [("broadcast", batch_id)]
    bench.broadcast(batch_id)
    bench.node.forgets()
    assert due() == [("broadcast", batch_id)]
    assert sweep(bench.parts) == 1
    bench.broadcast(batch_id)
    bench.mine()
    assert due() == []
