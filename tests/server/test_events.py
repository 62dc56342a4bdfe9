"""Following a session: every event once and in order, over replicas, reconnections and trouble, to a told end."""

import asyncio
import itertools
from pathlib import Path

import pytest
from tests.relay import Relay
from tests.server.conftest import StartOn
from tests.server.event_reader import Event, EventReader, all_events, following
from tests.server.obstacles import Throttle
from tests.serving import Server, ServerFactory, text, wait_for

from rmt_model.engine import Engine
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.store import KEPT_EVENTS, Store


def numbers(event_id: str | None) -> tuple[int, ...]:
    assert event_id is not None
    return tuple(map(int, event_id.split("-")))


def check_order(events: list[Event]) -> None:
    """Ids and positions grow, and no revision is left out."""
    ids = [numbers(event.id) for event in events]
    assert ids == sorted(set(ids))
    for before, after in itertools.pairwise(events):
        assert after.data["revision"] - before.data["revision"] in (0, 1)
        for name in ("accepted_bytes", "read_bytes", "tokens", "segments"):
            assert after.data[name] >= before.data[name]


def until_idle(reader: EventReader) -> list[Event]:
    """All events up to the one that says that everything is in the memory."""
    events = [next(reader)]
    while events[-1].data["status"] != "idle":
        events.append(next(reader))
    return events


async def report(server: Server, sid: str, times: int, problem: dict[str, str]) -> None:
    """Make so many events."""
    store = Store.connect(server.redis_url)
    for _ in range(times):
        await store.report("public", sid, problem)
    await store.close()


def test_a_document_is_followed_to_its_end(server: Server) -> None:
    sid = server.session(auto_snapshots=1)
    with following(server.url, sid) as reader:
        first = next(reader)
        assert (first.kind, first.data["status"], first.data["left_out"]) == ("progress", "idle", False)
        document = server.send(sid, text(3000))
        events = until_idle(reader)
        snapshot = server.snapshot(sid, name="Ω")
        taken = reader.until("snapshot")[-1]
    (done,) = [event for event in events if event.kind == "done"]
    assert {event.kind for event in events} == {"progress", "snapshot", "done"}
    check_order([first, *events])
    session = server.look(sid)
    assert done.data["documents"] == [document["id"]]
    assert events[-1].data | {"documents": []} == {
        "left_out": False,
        "documents": [],
        "pending_documents": 0,
        **{
            name: session[name] for name in ("status", "accepted_bytes", "read_bytes", "tokens", "segments", "revision")
        },
    }
    position = {name: session[name] for name in ("tokens", "segments")} | {"bytes": 3000}
    assert taken.data["snapshot"] == {"id": snapshot, "name": "Ω", **position}


def test_two_replicas_in_turn_tell_one_story(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    """The document is begun by a process that stops and read on by another; a third one, which reads nothing, tells."""
    throttle.seconds = 0.02
    first, teller = start_server(engine), start_server(max_readings=1)
    sid = first.session()
    with following(teller.url, sid) as reader:
        events = [next(reader)]
        document = first.send(sid, text(30_000))
        while events[-1].data["segments"] < 3:
            events.append(next(reader))
        first.scheduler.stop()
        second = start_server()
        events += until_idle(reader)
    check_order(events)
    assert [event.data["documents"] for event in events if event.kind == "done"] == [[document["id"]]]
    assert events[-1].data["read_bytes"] == 30_000
    assert all_events(second.url, sid, str(events[0].id)) == events[1:]


def test_after_each_id_come_exactly_the_others(server: Server) -> None:
    sid = server.read(text(3000))
    events = all_events(server.url, sid)
    assert len(events) >= 3
    for known, event in enumerate(events):
        assert all_events(server.url, sid, str(event.id)) == events[known + 1 :]
    with following(server.url, sid, query=str(events[0].id)) as reader:
        assert until_idle(reader) == events[1:]


def test_who_comes_back_too_late_is_told_how_the_session_stands(start_server: ServerFactory) -> None:
    server = start_server()
    sid = server.session()
    (created,) = all_events(server.url, sid)
    asyncio.run(report(server, sid, KEPT_EVENTS, {}))
    session = server.look(sid)
    with following(server.url, sid, str(created.id)) as reader:
        present = next(reader)
        server.send(sid, text(100))
        (later, *_) = reader.until("done")
    assert (present.kind, present.data["left_out"]) == ("progress", True)
    assert present.data["revision"] == session["revision"]
    assert (later.data["left_out"], later.data["accepted_bytes"]) == (False, 100)


def test_a_deleted_session_ends_the_stream(server: Server) -> None:
    sid = server.session()
    with following(server.url, sid) as reader:
        last = next(reader).id
        assert server.http.delete(f"/v1/sessions/{sid}").status_code == 204
        (error,) = reader
    problem = {name: error.data[name] for name in ("type", "status", "instance")}
    path = f"/v1/sessions/{sid}/events"
    assert problem == {"type": "urn:rmt-server:problem:session-not-found", "status": 404, "instance": path}
    assert (error.kind, error.id, error.data["request_id"]) == ("error", last, reader.answer.headers["X-Request-Id"])


def test_an_expired_session_ends_the_stream(server: Server) -> None:
    sid = server.session(ttl_s=1)
    with following(server.url, sid) as reader:
        assert [event.kind for event in reader] == ["progress", "error"]


def test_a_text_that_is_not_utf8_is_told_and_the_stream_goes_on(server: Server) -> None:
    sid = server.session()
    with following(server.url, sid) as reader:
        next(reader)
        document = server.open(sid)
        assert server.append(document, b"good \xff", 0).status_code == 422
        *_, error = reader.until("error")
        assert (error.data["status"], error.data["byte-offset"]) == (422, 5)
        assert error.data["document-id"] == document.rpartition("/")[2]
        assert server.append(document, b"end", 5, complete=True).status_code == 204
        reader.until("done")
    assert all_events(server.url, sid, str(error.id))[-1].kind == "done"


def test_a_server_that_stops_ends_its_streams(start_server: ServerFactory) -> None:
    server, other = start_server(), start_server()
    sid = server.session()
    with following(server.url, sid) as reader:
        last = next(reader)
        server.scheduler.stop()
        assert list(reader) == []
    refused = server.http.get(f"/v1/sessions/{sid}/events")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    other.send(sid, text(100), wait=True)
    with following(other.url, sid, last.id) as reader:
        check_order([last, *reader.until("done")])


def test_a_silent_stream_sends_comments(start_server: ServerFactory) -> None:
    server = start_server(event_ping_s=0.05, poll_s=0.02)
    sid = server.session()
    with following(server.url, sid) as reader:
        next(reader)
        assert ": ping" in reader._lines
        server.send(sid, b"")
        reader.until("done")


def test_a_redis_that_is_away_for_a_while_is_waited_for(own_redis: EmbeddedRedis, start_on: StartOn) -> None:
    """Comments come meanwhile; then the stream goes on behind what it told last."""
    there = own_redis.url.removeprefix("unix://")
    with Relay(there) as relay:
        server, other = start_on(relay.redis_url, event_ping_s=0.05), start_on(own_redis.url)
        sid = server.session()
        with following(server.url, sid) as reader:
            events = [next(reader)]
            relay.target = str(Path(there).with_name("nowhere"))
            relay.cut()
            wait_for(lambda: server.http.get("/readyz").status_code == 503, what="the server to miss Redis")
            other.send(sid, text(3000), wait=True)
            assert ": ping" in reader._lines
            relay.target = there
            events += until_idle(reader)
        check_order(events)
        assert events[-1].data["read_bytes"] == 3000


def test_a_redis_that_stays_away_ends_the_stream(own_redis: EmbeddedRedis, start_on: StartOn) -> None:
    """Redis is waited for as long as a sender is; then the stream says why it ends."""
    with Relay(own_redis.url.removeprefix("unix://")) as relay:
        server = start_on(relay.redis_url, back_pressure_wait_s=0.5)
        with following(server.url, server.session()) as reader:
            known = next(reader)
            relay.target = "/nowhere"
            relay.cut()
            (error,) = reader
    assert (error.kind, error.id, error.data["status"]) == ("error", known.id, 503)
    assert error.data["type"] == "urn:rmt-server:problem:store-unavailable"


def test_streams_are_bounded_and_give_their_place_back(start_server: ServerFactory) -> None:
    server = start_server(max_event_streams=2)
    sid = server.session()
    path = f"/v1/sessions/{sid}/events"
    with following(server.url, sid) as one, following(server.url, sid) as two:
        next(one), next(two)
        assert "\nrmt_event_streams 2.0\n" in server.http.get("/metrics").text
        refused = server.http.get(path)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert refused.headers["Content-Type"] == "application/problem+json"
    streams = server.app.state.events
    wait_for(lambda: streams._open == 0, what="both places to be free")
    assert server.http.get("/v1/sessions/none/events").status_code == 404
    assert streams._open == 0
    with following(server.url, sid) as one, following(server.url, sid) as two:
        assert next(one) == next(two)


@pytest.mark.parametrize("known", ["x", "1", "1-", "-1", "1-x", "99999999999999999999-0", "1-1\u0661"])
def test_an_id_of_another_form_is_refused(server: Server, known: str) -> None:
    path = f"/v1/sessions/{server.session()}/events"
    assert server.http.get(path, params={"after": known}).status_code == 422
    if known.isascii():
        assert server.http.get(path, headers={"Last-Event-ID": known}).status_code == 422


def test_a_session_that_is_not_there_is_a_plain_404(server: Server) -> None:
    answer = server.http.get("/v1/sessions/ses_none/events", headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


def test_whoever_does_not_read_is_not_written_for(start_server: ServerFactory) -> None:
    """A socket that takes nothing holds its stream up: what happens waits in Redis, not in the process."""
    server = start_server(poll_s=0.01)
    lazy, eager = server.session(), server.session()
    asked: list[str] = []
    events = server.app.state.store.events

    async def counted(tenant: str, sid: str, after: str | None) -> object:
        asked.append(sid)
        return await events(tenant, sid, after)

    asyncio.run(report(server, lazy, 100, {"detail": "x" * 200_000}))
    server.app.state.store.events = counted
    with following(server.url, lazy, "0-0") as unread, following(server.url, eager) as reader:
        next(reader)
        for _ in range(20):
            server.send(eager, b"")
            reader.until("done")
        assert asked.count(eager) > 20
        assert asked.count(lazy) == 1
        assert [event.kind for event in itertools.islice(unread, 101)] == ["progress"] + ["error"] * 100
