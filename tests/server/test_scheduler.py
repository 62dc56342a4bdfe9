"""The scheduler: questions come first, nobody starves, who left is dropped, and what fails is told at once."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
import redis
from tests.conftest import StoreBench
from tests.server.obstacles import Throttle, in_background
from tests.serving import Api, Server, ServerFactory, text, wait_for

from rmt_model.engine import Engine
from rmt_server.metrics import Metrics
from rmt_server.reading.desk import LeasedDesk
from rmt_server.reading.lanes import Reading, stored
from rmt_server.reading.scheduler import Scheduler
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.settings import Settings
from rmt_server.store import Store

LONG = text(3_000_000)
"""More than anybody reads during a test."""


def under_way(api: Api, sid: str) -> None:
    wait_for(lambda: api.look(sid)["segments"] > 3, what="some segments to be read")


def more_than(api: Api, sid: str, tokens: int) -> bool:
    return bool(api.look(sid)["tokens"] > tokens)


def begin(api: Api, data: bytes = LONG, **body: Any) -> str:
    """A session with some of its text read; without `data`, with more than is read during a test."""
    sid = api.session(**body)
    api.send(sid, data)
    under_way(api, sid)
    return sid


# ---------------------------------------------------------------------------- order


def test_questions_are_answered_while_a_long_document_is_read(start_server: ServerFactory) -> None:
    server = start_server(max_unread_bytes=1 << 30)
    sid = begin(server)
    positions = []
    for _ in range(5):
        positions.append(server.ask(sid, "Where is Mary?", wait=False)["position"]["tokens"])
        time.sleep(0.1)
    assert server.look(sid)["status"] == "reading"
    assert positions == sorted(positions)
    assert positions[0] < positions[-1], "it goes on reading between the questions"


def test_a_question_waits_for_one_step_only(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    server = start_server(engine, max_unread_bytes=1 << 30)
    long, short = begin(server), server.read(text(500))
    throttle.seconds = 0.2
    steps = len(throttle.lanes_read)
    server.ask(short, "Who?", wait=False)
    assert len(throttle.lanes_read) - steps <= 2
    assert server.look(long)["status"] == "reading"


def test_waiting_is_for_what_was_accepted_by_then(start_server: ServerFactory) -> None:
    server = start_server()
    sid = server.session()
    server.send(sid, text(20_000))
    assert server.look(sid)["status"] == "reading"
    assert server.ask(sid, "Who?", wait=False)["position"]["bytes"] < 20_000
    assert server.ask(sid, "Who?")["position"]["bytes"] == 20_000


def test_a_short_document_does_not_starve_behind_long_ones(start_server: ServerFactory) -> None:
    """There is room for two sessions, and two long ones have it; they make room in turns, and lose nothing."""
    server = start_server(max_readings=2, max_unread_bytes=1 << 30)
    long = [begin(server), begin(server)]
    before = [server.look(sid)["tokens"] for sid in long]
    for seed in range(4):
        assert server.http.get(f"/v1/sessions/{server.read(text(2000, seed))}").json()["status"] == "idle"
    for sid, tokens in zip(long, before, strict=True):
        wait_for(partial(more_than, server, sid, tokens), what="the long one to go on")
        assert server.look(sid)["status"] == "reading"


def test_turns_do_not_change_the_memory(start_server: ServerFactory, server: Server) -> None:
    """Five sessions take turns in one place: every memory is the one of a session that was never put down."""
    crowded = start_server(max_readings=1, turn_s=0.02, commit_interval_s=0.01)
    texts = [text(12_000, seed) for seed in range(5)]
    sids = [crowded.session() for _ in texts]
    for sid, data in zip(sids, texts, strict=True):
        crowded.send(sid, data)
    revisions = []
    for sid, data in zip(sids, texts, strict=True):
        revisions.append(crowded.wait_until_read(sid)["revision"])
        assert crowded.state(sid) == server.state(server.read(data))
    assert max(revisions) > 1


def test_lanes_of_many_sessions_share_a_step(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    server = start_server(engine, max_batch_lanes=4, max_unread_bytes=1 << 30)
    throttle.open.clear()
    sids = [server.session(focus=["Who?"] * lanes) for lanes in (1, 3, 2, 2)]
    for sid in sids:
        server.send(sid, LONG[:100_000])
    throttle.open.set()
    for sid in sids:
        under_way(server, sid)
    wait_for(lambda: throttle.lanes_read.count(4) > 20, what="steps that are full")
    read = throttle.lanes_read[-20:]
    assert max(throttle.lanes_read) == 4
    assert sum(read) / len(read) > 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads cannot choose this elsewhere")
@pytest.mark.parametrize(("settings", "policy"), [({"engine_yields": True}, os.SCHED_IDLE), ({}, os.SCHED_OTHER)])
def test_reading_yields_to_everything_else_where_that_is_wanted(
    start_server: ServerFactory, engine: Engine, settings: dict[str, bool], policy: int
) -> None:
    found: list[int] = []
    read = engine.read

    def look(segments: Any) -> None:
        found.append(os.sched_getscheduler(threading.get_native_id()))
        read(segments)

    engine.read = look  # type: ignore[method-assign]
    start_server(engine, **settings).read(text(500))
    assert set(found) == {policy}
    assert os.sched_getscheduler(threading.get_native_id()) == os.SCHED_OTHER


# ---------------------------------------------------------------------------- callers who leave, and crowds


def test_a_caller_who_leaves_is_dropped(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    server = start_server(engine)
    sid = server.read(text(500))
    throttle.open.clear()
    with in_background(lambda: server.ask(sid, "Who?")):
        wait_for(lambda: server.metric("rmt_answer_seconds_count") == 0 and server.metric("rmt_waiting_questions") == 0)
        for _ in range(3):
            with httpx.Client(base_url=server.url, timeout=0.3) as impatient, pytest.raises(httpx.ReadTimeout):
                impatient.post(f"/v1/sessions/{sid}/answers", json={"question": "Where is Mary?"})
        throttle.open.set()
    server.ask(sid, "Who?")
    assert throttle.answered == 2, "nobody answered those who had left"


def test_a_caller_who_leaves_while_reading_goes_on_is_let_go(start_server: ServerFactory) -> None:
    server = start_server(max_unread_bytes=1 << 30)
    sid = begin(server)
    for path, body in (("answers", {"question": "Who?"}), ("snapshots", {})):
        with httpx.Client(base_url=server.url, timeout=0.3) as impatient, pytest.raises(httpx.ReadTimeout):
            impatient.post(f"/v1/sessions/{sid}/{path}", json=body)
    wait_for(lambda: 'status="499"' in server.http.get("/metrics").text, 5, "the waiting to end")
    assert server.http.get(f"/v1/sessions/{sid}/snapshots").json()["snapshots"] == []


def test_too_many_callers_are_told_to_come_back(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine, max_waiting_questions=2)
    sid = server.read(text(500))
    throttle.open.clear()

    async def crowd() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            ask = [client.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?"}) for _ in range(12)]
            asyncio.get_running_loop().call_later(1.5, throttle.open.set)
            return await asyncio.gather(*ask)

    answers = asyncio.run(crowd())
    refused = [answer for answer in answers if answer.status_code == 503]
    # two may wait; a few more had their turn before the engine was held back
    assert 1 <= len(answers) - len(refused) <= 5
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
    assert {answer.json()["type"] for answer in refused} == {"urn:rmt-server:problem:busy"}


def test_waiting_has_an_end(start_server: ServerFactory) -> None:
    server = start_server(read_wait_s=0.3, max_unread_bytes=1 << 30)
    sid = begin(server)
    answer = server.http.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert server.ask(sid, "Who?", wait=False)


def test_back_pressure_ends_with_503_and_what_came_stays(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine, max_unread_bytes=10_000, back_pressure_wait_s=0.3)
    throttle.open.clear()
    sid = server.session()
    document = server.open(sid)
    refused = server.append(document, text(400_000), 0)
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:rmt-server:problem:back-pressure")
    assert int(refused.headers["Retry-After"]) >= 1
    accepted = int(server.http.head(document).headers["Upload-Offset"])
    assert 0 < accepted < 200_000
    throttle.open.set()
    assert server.wait_until_read(sid)["read_bytes"] == accepted
    assert server.append(document, text(400_000)[accepted : accepted + 9000], accepted, complete=True).is_success


# ---------------------------------------------------------------------------- failures


def test_when_the_engine_fails_everybody_is_told(
    start_server: ServerFactory, engine: Engine, throttle: Throttle, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(engine, max_unread_bytes=1 << 30)
    long, short = begin(server), server.read(text(500))
    throttle.open.clear()
    throttle.error = RuntimeError("the device is on fire")
    caplog.set_level(logging.CRITICAL)

    def post(sid: str) -> Callable[[], httpx.Response]:
        def call() -> httpx.Response:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                return client.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?"})

        return call

    with in_background(post(short)) as asking, in_background(post(long)) as waiting:
        time.sleep(0.3)
        throttle.open.set()
    for answer in (*asking, *waiting, post(short)()):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "fire" not in answer.text
    ready = server.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert (server.http.get("/livez").status_code, server.http.get("/livez").json()["status"]) == (503, "failed")
    assert "the device is on fire" in caplog.text
    other = start_server()  # takes over when the lease is over
    tokens = other.look(long)["tokens"]
    wait_for(lambda: other.look(long)["tokens"] > tokens, 10, "another process to go on")


def test_when_asking_fails_the_caller_is_told(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    """The call whose answer breaks the engine is the one that must not be forgotten."""
    server = start_server(engine)
    sid = server.read(text(500))
    throttle.error = RuntimeError("the device is on fire")
    answer = server.http.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?"}, timeout=10)
    assert answer.status_code == 503
    assert server.http.get("/readyz").status_code == 503


def test_redis_goes_away_for_a_while(start_server: ServerFactory, own_redis: EmbeddedRedis, server: Server) -> None:
    """Without Redis nothing is ready; when it is back, everything goes on by itself and ends as it would have."""
    data = text(40_000, seed=4)
    away = start_server(max_unread_bytes=1 << 30)
    sid = begin(away, data)
    own_redis.stop()
    ready = away.http.get("/readyz")
    assert (ready.status_code, ready.json()["detail"]) == (503, "Redis does not answer, or takes no changes now.")
    for method, path, body in (
        ("GET", f"/v1/sessions/{sid}", None),
        ("POST", "/v1/sessions", {}),
        ("POST", f"/v1/sessions/{sid}/answers", {"question": "Who?"}),
    ):
        refused = away.http.request(method, path, json=body)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json()["type"] == "urn:rmt-server:problem:store-unavailable"
    assert away.http.get("/livez").status_code == 200
    own_redis.start()
    wait_for(lambda: away.http.get("/readyz").status_code == 200, 10, "the server to be ready again")
    away.wait_until_read(sid, 30)
    assert away.state(sid) == server.state(server.read(data))


@pytest.mark.faults
def test_redis_hangs_for_a_while(start_server: ServerFactory, own_redis: EmbeddedRedis, server: Server) -> None:
    data = text(30_000, seed=4)
    stuck = start_server(max_unread_bytes=1 << 30)
    sid = begin(stuck, data)
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        assert stuck.http.get(f"/v1/sessions/{sid}").status_code == 503
        assert stuck.http.get("/readyz").status_code == 503
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
    wait_for(lambda: stuck.http.get("/readyz").status_code == 200, 10, "the server to be ready again")
    stuck.wait_until_read(sid, 30)
    assert stuck.state(sid) == server.state(server.read(data))


# ---------------------------------------------------------------------------- several processes


def test_two_servers_share_the_work(start_server: ServerFactory, server: Server) -> None:
    """One session at a time in each: both read, each session is read by one, and all memories are right."""
    pair = [start_server(max_readings=1, turn_s=0.1) for _ in range(2)]
    texts = [text(8000, seed) for seed in range(6)]
    sids = [pair[n % 2].session() for n in range(6)]
    for n, sid in enumerate(sids):
        pair[n % 2].send(sid, texts[n])
    for n, sid in enumerate(sids):
        pair[(n + 1) % 2].wait_until_read(sid)
        assert pair[(n + 1) % 2].state(sid) == server.state(server.read(texts[n]))
    assert all(one.metric("rmt_lane_segments_total") > 10 for one in pair)


async def test_a_commit_waits_for_a_renewal_that_began_while_it_was_prepared(bench: StoreBench, engine: Engine) -> None:
    """Side by side, the renewal's older view of the session could replace that of the commit."""
    await bench.session(state=stored(engine.fresh_state()), model=engine.checkpoint.fingerprint)
    await bench.document(text(2000))
    leased = Scheduler(bench.store, engine, Settings(), Metrics())._leased
    desk = LeasedDesk(Reading(bench.store, engine, await bench.lease()))
    desk.reading.open()
    await desk.reading.refill()
    engine.read(desk.reading.next_segments()[0])
    desk.yielding = True  # then it is due, whatever goes on beside it
    async with desk.reading._fed:
        committing = asyncio.create_task(leased.commit_due([desk]))
        await asyncio.sleep(0.1)
        renewal = desk.commit = asyncio.create_task(desk.reading.renew())
    await committing
    assert desk.commit is renewal
    await renewal
    desk.commit = None
    await leased.commit_due([desk])
    assert desk.commit is not None
    await desk.commit
    assert desk.reading.lease.session.segments == 1


def test_a_server_that_stops_hands_everything_over(start_server: ServerFactory, server: Server) -> None:
    data = text(60_000, seed=6)
    first, second = start_server(lease_s=60), start_server(lease_s=60, max_readings=1)
    busy = second.session()
    second.send(busy, text(1000))
    second.wait_until_read(busy)
    sid = begin(first, data)
    first.__exit__()
    stopped_at = second.look(sid)
    second.wait_until_read(sid, 30)  # long before the lease would be over
    assert stopped_at["segments"] > 3
    assert second.state(sid) == server.state(server.read(data))


def test_a_session_that_goes_while_it_is_read_harms_nobody(start_server: ServerFactory) -> None:
    server = start_server(max_unread_bytes=1 << 30)
    gone, stays = begin(server), begin(server)
    assert server.http.delete(f"/v1/sessions/{gone}").status_code == 204
    tokens = server.look(stays)["tokens"]
    wait_for(lambda: server.look(stays)["tokens"] > tokens + 300)
    wait_for(lambda: server.metric("rmt_readings") == 1)
    assert server.scheduler.engine.free_slots == 63
    assert server.scheduler.failure is None


def test_the_search_for_forgotten_sessions_holds_nobody_up(
    start_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It walks over all sessions that there are, which may take long; here it never ends."""

    async def search(_: Store) -> int:
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(Store, "sweep", search)
    server = start_server()
    sid = server.read(text(3000))
    assert server.look(sid)["status"] == "idle"
    assert server.ask(sid, "Who?")["position"]["bytes"] == 3000


def test_a_session_of_another_checkpoint_is_left_alone(start_server: ServerFactory, own_redis: EmbeddedRedis) -> None:
    server = start_server()
    sid = server.session()
    with redis.Redis.from_url(own_redis.url) as bare:
        bare.hset(f"rmt:{{public:{sid}}}:session", "model", "another")
    server.send(sid, text(3000))
    assert server.look(server.read(text(3000)))["status"] == "idle"
    assert server.look(sid)["segments"] == 0


# ---------------------------------------------------------------------------- what counts as read


def test_a_session_is_read_when_its_last_segment_is_in_the_memory(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    """All its bytes have been taken in long before: that alone must not make it idle, nor its snapshot final."""
    server = start_server(engine)
    throttle.seconds = 0.05
    sid = server.session()
    server.send(sid, text(4000))
    wait_for(lambda: server.look(sid)["read_bytes"] == 4000)
    early = server.look(sid)
    assert early["status"] == "reading"
    done = server.wait_until_read(sid)
    assert done["segments"] > early["segments"]
    assert done["tokens"] == done["segments"] * 32


def test_what_a_dead_reader_had_taken_in_is_read_by_the_next(
    start_server: ServerFactory, engine: Engine, throttle: Throttle, server: Server
) -> None:
    """The reader dies when all bytes are committed, but not all segments are in the memory."""
    first = start_server(engine, lease_s=1.0, commit_interval_s=0.01)
    throttle.seconds = 0.05
    sid = first.session()
    first.send(sid, text(4000))
    wait_for(lambda: first.look(sid)["read_bytes"] == 4000)
    throttle.error = RuntimeError("killed")
    wait_for(lambda: first.scheduler.failure is not None)
    assert first.look(sid)["status"] == "reading"
    second = start_server()
    second.wait_until_read(sid, 15)
    assert second.state(sid) == server.state(server.read(text(4000)))
