"""Replicas share the sessions that there are to read, as they come and go."""

from collections.abc import Callable

import pytest
from tests.server.obstacles import Throttle
from tests.serving import Server, ServerFactory, text, wait_for

from rmt_model.engine import Engine

SESSIONS = 6


@pytest.fixture
def start_slow(start_server: ServerFactory, make_engine: Callable[..., Engine]) -> Callable[[], Server]:
    """Starts a server that takes its time over each step, and reads one session in it: then memories are equal."""

    def start() -> Server:
        engine = make_engine()
        Throttle(engine).seconds = 0.02
        return start_server(engine, turn_s=60, max_batch_lanes=1)

    return start


def readings(*servers: Server) -> list[float]:
    return [server.metric("rmt_readings") for server in servers]


def test_as_replicas_come_and_go_each_has_its_share(start_slow: Callable[[], Server], server: Server) -> None:
    data = [text(20_000, seed) for seed in range(SESSIONS)]
    first = start_slow()
    sids = [first.session() for _ in data]
    for sid, one in zip(sids, data, strict=True):
        first.send(sid, one)
    wait_for(lambda: readings(first) == [6], what="the first to read all")
    second = start_slow()
    wait_for(lambda: readings(first, second) == [3, 3], what="two to share")
    third = start_slow()
    wait_for(lambda: readings(first, second, third) == [2, 2, 2], what="three to share")
    second.__exit__()
    wait_for(lambda: readings(first, third) == [3, 3], what="the rest to take over")
    for sid, one in zip(sids, data, strict=True):
        first.wait_until_read(sid)
        assert first.state(sid) == server.state(server.read(one))
    assert first.metric("rmt_lost_leases_total") == third.metric("rmt_lost_leases_total") == 0


def test_one_session_is_read_whoever_is_there(start_slow: Callable[[], Server], server: Server) -> None:
    data = text(5000)
    servers = [start_slow() for _ in range(3)]
    sid = servers[0].read(data)
    assert servers[1].state(sid) == server.state(server.read(data))
