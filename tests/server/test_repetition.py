"""The same request again while the first is still there: the document ends whole, whoever was faster."""

import socket
from collections.abc import Callable

import httpx
import pytest
from tests.server.obstacles import HeldBack, Throttle, in_background
from tests.serving import TEXT_PLAIN, Server, ServerFactory, text

from rmt_model.digest import StreamDigest
from rmt_model.engine import Engine

DATA = text(40_000)
HEADERS = TEXT_PLAIN | {"Idempotency-Key": "once"}


@pytest.fixture
def throttle(throttle: Throttle) -> Throttle:
    """Nothing is read until it is opened."""
    throttle.open.clear()
    return throttle


@pytest.fixture
def server(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> Server:
    return start_server(engine, max_unread_bytes=10_000, back_pressure_wait_s=20.0)


def sender(server: Server, sid: str) -> Callable[[], httpx.Response]:
    """A call that sends the whole document with its key, over a connection of its own."""

    def send() -> httpx.Response:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            return client.post(f"/v1/sessions/{sid}/documents", content=DATA, headers=HEADERS)

    return send


def assert_whole(server: Server, sid: str, answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["offset"], answer.json()["complete"]) == (202, len(DATA), True)
    digest = StreamDigest()
    digest.update(DATA)
    session = server.wait_until_read(sid)
    assert (session["documents"], session["digest"]) == (1, digest.hexdigest())


def test_the_newer_of_two_goes_on_and_the_older_is_told(server: Server, throttle: Throttle) -> None:
    sid, held = server.session(), HeldBack(server.app.state.store)
    send = sender(server, sid)
    with in_background(send) as first:
        held.wait_for(1)
        with in_background(send) as second:
            held.wait_for(2)
            throttle.open.set()
    assert first[0].status_code == 409
    assert first[0].json()["type"].endswith(":superseded")
    assert first[0].headers["Upload-Offset"] == str(first[0].json()["expected-offset"])
    assert first[0].headers["Connection"] == "close"
    assert_whole(server, sid, second[0])
    assert_whole(server, sid, send())


def test_the_first_sender_has_left_and_its_request_does_not_know(server: Server, throttle: Throttle) -> None:
    sid, held = server.session(), HeldBack(server.app.state.store)
    address = httpx.URL(server.url)
    lines = {"Host": "localhost", "Content-Length": str(len(DATA)), **HEADERS}
    with socket.create_connection((address.host, address.port or 80)) as line:
        head = [f"POST /v1/sessions/{sid}/documents HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items())]
        line.sendall("\r\n".join([*head, "", ""]).encode() + DATA)
        held.wait_for(1)
    send = sender(server, sid)
    with in_background(send) as second:
        held.wait_for(2)
        throttle.open.set()
    assert_whole(server, sid, second[0])
    assert_whole(server, sid, send())


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [(b"good \xff", {}, 422), (b"four", {"Upload-Length": "3"}, 400), (b"four", {"Upload-Length": "5"}, 400)],
)
def test_a_body_that_can_never_be_accepted_ends_its_document(
    server: Server, throttle: Throttle, body: bytes, headers: dict[str, str], status: int
) -> None:
    """It may come again, and would be refused again: the session does not wait for that."""
    throttle.open.set()
    sid = server.session()
    url = f"/v1/sessions/{sid}/documents"
    assert server.http.post(url, content=body, headers=HEADERS | headers).status_code == status
    assert server.send(sid, b"The next one.", wait=True)["read"]
