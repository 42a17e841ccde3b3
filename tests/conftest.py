"""Fixtures for what must be running: a node, a network of nodes, a Redis server.

A service that cannot be had skips its tests on a laptop and fails them when CI=true.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from regtest.bitcoind import Bitcoind
from regtest.network import Network
from regtest.provision import (
    ExternalRedis,
    NodeProgram,
    ProvisionError,
    RedisProgram,
    provide_bitcoind,
    provide_redis,
    provide_redis_program,
)
from regtest.valkey import Valkey

pytest_plugins = ["pytester", "tests.covers"]

# An example may take as long as a busy machine needs: speed is measured in `make bench`. In CI (`CI=true`) Hypothesis's
# own profile says so too, and draws the same examples every time.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if os.environ.get("CI") != "true":
    settings.load_profile("unhurried")

_failed = pytest.StashKey[bool]()


def missing(error: ProvisionError) -> NoReturn:
    """Skip for want of a service, or fail in CI, where every service must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember which tests failed, so that their nodes' data stay."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


def has_failed(request: pytest.FixtureRequest) -> bool:
    """Whether a test in the fixture's scope has failed so far."""
    scope = request.node
    return any(item.stash.get(_failed, False) for item in request.session.items if scope in item.listchain())


@pytest.fixture(scope="session")
def bitcoind_binary() -> NodeProgram:
    """The node under test."""
    try:
        return provide_bitcoind()
    except ProvisionError as error:
        missing(error)


@pytest.fixture(scope="session")
def redis_program() -> RedisProgram:
    """A Redis server program, for tests that start and kill their own."""
    try:
        return provide_redis_program()
    except ProvisionError as error:
        missing(error)


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey | ExternalRedis]:
    """The session's Redis server, by `.url`; do not stop it. Where REDIS_URL names one, that one."""
    try:
        found = provide_redis()
    except ProvisionError as error:
        missing(error)
    if isinstance(found, ExternalRedis):
        yield found
        return
    with Valkey(found) as server:
        yield server


@pytest.fixture
def redis_url(valkey: Valkey | ExternalRedis) -> str:
    """The session's Redis server, emptied if it is ours; an external one is left as it is."""
    if isinstance(valkey, Valkey):
        valkey.require_alive()
        client = valkey.client()
        client.flushall()
        client.close()
    return valkey.url


@pytest.fixture
def bell(redis_program: RedisProgram) -> Iterator[Valkey]:
    """A Redis of this test's own, to be flushed, killed, rolled back and written to by anybody."""
    with Valkey(redis_program) as server:
        yield server


@pytest.fixture
def make_node(request: pytest.FixtureRequest, bitcoind_binary: NodeProgram) -> Iterator[Callable[..., Bitcoind]]:
    """Start nodes with options of one's own: `make_node("-txindex", name="indexed")`; closed after the test."""
    started: list[Bitcoind] = []

    def make(*extra_args: str, name: str = "node0") -> Bitcoind:
        node = Bitcoind(bitcoind_binary, name=name, extra_args=extra_args)
        started.append(node)
        node.start()
        return node

    yield make
    for node in reversed(started):
        node.close(failed=has_failed(request))


@pytest.fixture
def node(make_node: Callable[..., Bitcoind]) -> Bitcoind:
    """A node with an empty chain and no wallet."""
    return make_node()


@pytest.fixture
def make_network(request: pytest.FixtureRequest, bitcoind_binary: NodeProgram) -> Iterator[Callable[..., Network]]:
    """Start networks: `make_network(nodes=3)`; closed after the test."""
    started: list[Network] = []

    def make(*extra_args: str, nodes: int = 1) -> Network:
        network = Network(bitcoind_binary, nodes=nodes, extra_args=extra_args)
        started.append(network)
        network.start()
        return network

    yield make
    for network in reversed(started):
        network.close(failed=has_failed(request))


@pytest.fixture
def network(make_network: Callable[..., Network]) -> Network:
    """One node with money to spend."""
    return make_network()


@pytest.fixture(scope="module")
def module_network(request: pytest.FixtureRequest, bitcoind_binary: NodeProgram) -> Iterator[Network]:
    """One node with money to spend, shared by the tests of a module, which must not count on its height."""
    network = Network(bitcoind_binary)
    try:
        network.start()
        yield network
    finally:
        network.close(failed=has_failed(request))
