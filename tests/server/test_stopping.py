"""Stopping: whoever waits is told so at once, what was accepted stays, and nothing new begins."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from tests.server.obstacles import HeldBack, Throttle, in_background
from tests.server.test_scheduler import begin
from tests.serving import TEXT_PLAIN, Server, ServerFactory, text, wait_for

from rmt_model.engine import Engine


class Door(threading.Event):
    """An event that knows when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        if super().wait(0):
            return True
        self.reached.set()
        return super().wait(timeout)


class Gate(Throttle):
    """A throttle that knows when the engine's thread stands before it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.engine = engine
        self.open = self.door = Door()
        self.open.set()

    def wait_until_reached(self) -> None:
        assert self.door.reached.wait(30)


@pytest.fixture
def gate(make_engine: Callable[..., Engine]) -> Iterator[Gate]:
    gate = Gate(make_engine())
    yield gate
    gate.open.set()


def refusal(answer: httpx.Response, slug: str = "busy") -> None:
    """The answer says that this server stops, and when to ask again."""
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), answer.text
    assert answer.json()["type"] == f"urn:rmt-server:problem:{slug}"


def post(server: Server, path: str, **request: Any) -> Callable[[], httpx.Response]:
    """A call over a connection of its own."""

    def call() -> httpx.Response:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            return client.post(path, **request)

    return call


def test_whoever_waits_is_told(start_server: ServerFactory, gate: Gate) -> None:
    server = start_server(gate.engine, max_unread_bytes=1 << 30)
    short, long = server.read(text(500)), begin(server)
    gate.open.clear()
    gate.wait_until_reached()
    calls = [
        (long, "answers", {"question": "Who?"}),
        (long, "snapshots", {}),
        (short, "answers", {"question": "Who?"}),
    ]
    waiting, snapping, asking = [post(server, f"/v1/sessions/{sid}/{path}", json=body) for sid, path, body in calls]
    watchers = server.scheduler._watchers
    with in_background(waiting) as one, in_background(snapping) as two, in_background(asking) as three:
        wait_for(lambda: server.metric("rmt_waiting_questions") == 1, what="a question to be asked")
        wait_for(lambda: len(watchers.get(("public", long), ())) == 2, what="two to wait for the long one")
        server.scheduler.stop()
        gate.open.set()
    for answer in (*one, *two, *three):
        refusal(answer)
    stopped_at = server.look(long)
    assert stopped_at["segments"] > 3
    assert start_server().wait_until_read(short)["status"] == "idle"


def test_a_server_that_stops_is_alive_but_not_ready(start_server: ServerFactory) -> None:
    server = start_server()
    sid = server.read(text(500))
    server.scheduler.stop()
    ready = server.http.get("/readyz")
    assert (ready.status_code, ready.headers["Retry-After"]) == (503, "1")
    assert ready.json() == {"status": "not ready", "detail": "stopping"}
    assert server.http.get("/livez").status_code == 200
    refusal(server.http.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?"}))
    refusal(server.http.post(f"/v1/sessions/{sid}/documents", content=text(500), headers=TEXT_PLAIN))
    assert server.look(sid)["read_bytes"] == 500


def halves(server: Server, accepted: Callable[[], int]) -> Iterator[bytes]:
    """A body; the server is told to stop when it has accepted the first half."""
    yield text(3000)
    wait_for(lambda: accepted() == 3000, what="the first half to be accepted")
    server.scheduler.stop()
    yield text(3000, seed=1)


def test_of_a_body_that_still_arrives_the_rest_is_refused(start_server: ServerFactory) -> None:
    server = start_server()
    sid = server.session()
    document = server.open(sid)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        body = halves(server, lambda: server.look(sid)["accepted_bytes"])
        headers = {"Content-Type": "application/partial-upload", "Upload-Offset": "0", "Upload-Complete": "?1"}
        refusal(client.patch(document, content=body, headers=headers))
    where = server.http.head(document).headers
    assert (where["Upload-Offset"], where["Upload-Complete"]) == ("3000", "?0")
    other = start_server()
    assert other.append(document, text(3000, seed=1), 3000, complete=True).status_code == 204
    assert other.wait_until_read(sid)["read_bytes"] == 6000


def test_of_one_call_nothing_stays(start_server: ServerFactory) -> None:
    server = start_server()

    def accepted() -> int:
        sessions = server.http.get("/v1/sessions").json()["sessions"]
        return int(sessions[0]["accepted_bytes"]) if sessions else 0

    refusal(post(server, "/v1/documents", content=halves(server, accepted), headers=TEXT_PLAIN)())
    assert server.http.get("/v1/sessions").json()["sessions"] == []


def test_a_body_that_is_held_back_is_refused_at_once(start_server: ServerFactory, gate: Gate) -> None:
    server = start_server(gate.engine, max_unread_bytes=10_000, back_pressure_wait_s=1000.0)
    sid, held = server.session(), HeldBack(server.app.state.store)
    document = server.open(sid)
    gate.open.clear()
    server.send(server.session(), text(5000))
    gate.wait_until_reached()  # from here on nothing is read, of any session
    with in_background(lambda: server.append(document, text(60_000), 0)) as answers:
        held.wait_for(1)
        server.scheduler.stop()
    refusal(answers[0], "back-pressure")
    gate.open.set()
    assert server.http.head(document).headers["Upload-Offset"] == "10000"
