"""Ports for servers: nobody is given one that a neighbour's server had a moment ago."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from regtest import ports
from regtest.ports import LANE, Lane, NoFreePort, free_ports


@pytest.fixture
def lane() -> Iterator[Lane]:
    """A lane of the test's own."""
    lane = Lane()
    yield lane
    lane.close()


def tell_ports(count: int, end: Connection) -> None:
    """What another process is given; it lives until it is told to go."""
    end.send([free_ports(1)[0] for _ in range(count)])
    end.recv()


def test_a_port_comes_again_only_after_all_others(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of ours that is down for a moment keeps its port, although nobody has it bound."""
    monkeypatch.setattr(ports, "_bindable", lambda _port: True)
    given = [port for _ in range(LANE // 3 - 1) for port in lane.take(3)]
    assert given == list(lane.ports[: len(given)])
    assert lane.take(3) == [*lane.ports[-2:], lane.ports[0]]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_is_given_other_ports(method: str) -> None:
    """A child, too, that has our memory; as many as it asks for, and although ours are bound by nobody."""
    ours = {free_ports(1)[0] for _ in range(LANE)}
    near, far = multiprocessing.Pipe()
    child = multiprocessing.get_context(method).Process(target=tell_ports, args=(LANE, far))  # type: ignore[attr-defined]
    child.start()
    try:
        assert near.poll(90.0)
        theirs = set(near.recv())
        near.send("go")
    finally:
        child.join()
        near.close()
        far.close()
    assert len(theirs) > LANE // 2
    assert not ours & theirs


def test_what_somebody_listens_on_is_passed_over(lane: Lane) -> None:
    """Other programs know nothing of us. If they have too much, that is told."""
    [theirs] = lane.take(1)
    assert theirs in (given := [lane.take(1)[0] for _ in lane.ports])
    with socket.socket() as other:
        other.bind(("127.0.0.1", theirs))
        assert theirs not in [lane.take(1)[0] for _ in given]
        with pytest.raises(NoFreePort, match=rf"only \d+ of {LANE - 1} ports from {lane.ports[0]} to"):
            lane.take(LANE - 1)


def test_where_every_lane_has_an_owner_that_is_told(lane: Lane) -> None:
    """Until one of them is left."""
    only = range(lane.ports[0] - 1, lane.ports[-1] + 1)
    with pytest.raises(NoFreePort, match="none of 1 ranges of ports is without an owner"):
        Lane(only)


def test_a_lane_that_is_left_is_anybodys() -> None:
    """Also where its owner was killed: the system closes what it kept."""
    first = Lane()
    first.close()
    second = Lane(range(first.ports[0] - 1, first.ports[-1] + 1))
    second.close()
    assert second.ports == first.ports
