"""Connections have bounds: what is beyond one is answered without the app, and ends."""

import json
import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from tests.serving import Server, ServerFactory, wait_for

from rmt_server.http import protocol
from rmt_server.http.protocol import MAX_HEAD_FIELDS
from rmt_server.redis_process.server import EmbeddedRedis

HEAD_BYTES = 2000
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
IN_CHUNKS = (
    b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)


@pytest.fixture(scope="module")
def small(service_redis: EmbeddedRedis, make_engine: Any) -> Iterator[Server]:
    """A server with a small bound for heads."""
    with Server(service_redis.url, make_engine(), {"max_head_bytes": HEAD_BYTES}) as server:
        yield server


@pytest.fixture(scope="module")
def hasty(service_redis: EmbeddedRedis, make_engine: Any) -> Iterator[Server]:
    """A server with little patience."""
    with Server(service_redis.url, make_engine(), {"head_timeout_s": 2.0, "send_idle_s": 1.0}) as server:
        yield server


@contextmanager
def line_to(server: Server, **options: int) -> Iterator[socket.socket]:
    """A bare connection."""
    with socket.socket() as line:
        line.settimeout(20)
        for name, value in options.items():
            line.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        address = httpx.URL(server.url)
        line.connect((address.host, address.port))
        yield line


def until_closed(line: socket.socket) -> bytes:
    """All that comes before the other side closes."""
    received = b""
    while piece := line.recv(65_536):
        received += piece
    return received


def one_answer(line: socket.socket) -> bytes:
    """A whole answer, and nothing behind it: head and body may come one after the other."""
    with line.makefile("rb", buffering=0) as stream:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = stream.read(1)
            assert byte, head
            head += byte
        size = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
        assert size is not None, head
        body = b""
        while len(body) < int(size[1]):
            piece = stream.read(int(size[1]) - len(body))
            assert piece, head + body
            body += piece
    return head + body


def send_without_end(line: socket.socket) -> None:
    """Go on until the other side has enough."""
    while True:
        line.sendall(b"x" * 10_000)


def problem(answer: bytes, status: int, slug: str) -> dict[str, Any]:
    """The problem that a whole answer is."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\nContent-Type: application/problem+json\r\n" in head
    assert b"\r\nConnection: close\r\n" in head
    found = json.loads(body)
    assert found["type"].endswith(":" + slug)
    assert f"X-Request-Id: {found['request_id']}".encode() in head
    return dict(found)


def head_of(size: int, target: bytes = b"/livez") -> bytes:
    """A head of which target and fields have this size."""
    fixed = len(target) + len(b"Host: localhost\r\n") + len(b"X-Fill: \r\n")
    return b"GET %s HTTP/1.1\r\nHost: localhost\r\nX-Fill: %s\r\n\r\n" % (target, b"x" * (size - fixed))


# ---------------------------------------------------------------------------- heads


@pytest.mark.parametrize("target", [b"/livez", b"/livez?" + b"q" * 1000], ids=["in a field", "in the target"])
def test_a_head_at_its_limit_is_served_and_one_byte_more_is_not(small: Server, target: bytes) -> None:
    with line_to(small) as line:
        line.sendall(head_of(HEAD_BYTES, target))
        assert one_answer(line).startswith(b"HTTP/1.1 200")
        line.sendall(head_of(HEAD_BYTES + 1, target))
        assert problem(until_closed(line), 431, "head-too-large")["limit-bytes"] == HEAD_BYTES


def test_as_many_fields_as_allowed_are_served_and_one_more_is_not(small: Server) -> None:
    with line_to(small) as line:
        line.sendall(GET + b"A: b\r\n" * (MAX_HEAD_FIELDS - 1) + b"\r\n")
        assert one_answer(line).startswith(b"HTTP/1.1 200")
        line.sendall(GET + b"A: b\r\n" * MAX_HEAD_FIELDS + b"\r\n")
        problem(until_closed(line), 431, "head-too-large")


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /",
        GET + b"X-Long: ",
        IN_CHUNKS + b"2\r\n{}\r\n0\r\nX-Trailer: ",
        IN_CHUNKS + b"2;",
    ],
    ids=["a target", "a field", "a trailer", "a chunk's extension"],
)
def test_nothing_grows_without_end(small: Server, begun: bytes) -> None:
    with line_to(small) as line:
        line.sendall(begun)
        while not select.select([line], [], [], 0.01)[0]:
            line.sendall(b"x" * HEAD_BYTES)
        problem(until_closed(line), 431, "head-too-large")
        with pytest.raises(ConnectionError):
            send_without_end(line)
    assert small.http.get("/livez").status_code == 200


def test_fields_behind_a_body_are_dropped(small: Server) -> None:
    with line_to(small) as line:
        line.sendall(IN_CHUNKS + b"2\r\n{}\r\n0\r\nX-Request-Id: behind\r\n\r\n")
        answer = until_closed(line)
    assert answer.startswith(b"HTTP/1.1 201")
    assert b"behind" not in answer


def test_a_head_that_comes_too_slowly_is_given_up(hasty: Server) -> None:
    with line_to(hasty) as line:
        line.sendall(GET)
        problem(until_closed(line), 408, "request-timeout")
    with line_to(hasty) as line:
        line.sendall(GET + b"\r\n")
        assert one_answer(line).startswith(b"HTTP/1.1 200")
        line.sendall(GET)  # the next request of the same connection
        problem(until_closed(line), 408, "request-timeout")


def test_a_connection_that_says_nothing_is_closed(hasty: Server) -> None:
    with line_to(hasty) as line:
        assert until_closed(line) == b""
    with line_to(hasty) as line:
        line.sendall(b"\r\n")  # allowed in front of a request
        assert until_closed(line) == b""


def test_an_idle_connection_outlives_the_time_of_a_head(hasty: Server) -> None:
    with line_to(hasty) as line, line_to(hasty) as other:
        line.sendall(GET + b"\r\n")
        assert one_answer(line).startswith(b"HTTP/1.1 200")
        assert until_closed(other) == b""  # the time of a head has passed
        line.sendall(GET + b"\r\n")
        assert one_answer(line).startswith(b"HTTP/1.1 200")


def test_a_connection_that_is_idle_for_too_long_is_closed(
    start_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert protocol.IDLE_S == 75
    monkeypatch.setattr(protocol, "IDLE_S", 1)
    with line_to(start_server()) as line:
        line.sendall(GET + b"\r\n")
        assert until_closed(line).startswith(b"HTTP/1.1 200")


def test_what_is_no_http_is_a_problem(small: Server) -> None:
    with line_to(small) as line:
        line.sendall(b"hello\r\n\r\n")
        problem(until_closed(line), 400, "bad-request")


def test_a_body_that_stops_being_http_ends_its_request(small: Server) -> None:
    before = small.http.get("/v1/sessions").json()
    with line_to(small) as line:
        line.sendall(b"POST /v1/documents HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        line.sendall(b"4\r\nMary\r\nnonsense\r\n")
        problem(until_closed(line), 400, "bad-request")
    wait_for(lambda: small.http.get("/v1/sessions").json() == before, what="the session of the document to go")


# ---------------------------------------------------------------------------- connections


def test_as_many_connections_as_allowed_are_served_and_one_more_is_not(start_server: ServerFactory) -> None:
    server = start_server(max_connections=3)
    with ExitStack() as stack:
        lines = [stack.enter_context(line_to(server)) for _ in range(3)]
        for line in lines:
            line.sendall(GET + b"\r\n")
            assert one_answer(line).startswith(b"HTTP/1.1 200")
        with line_to(server) as beyond:
            answer = until_closed(beyond)
            problem(answer, 503, "busy")
            assert b"\r\nRetry-After: 5\r\n" in answer
        lines[0].sendall(GET + b"\r\n")  # those that were there before do not notice
        assert one_answer(lines[0]).startswith(b"HTTP/1.1 200")
    wait_for(lambda: _is_alive(server), what="room for another connection")


def _is_alive(server: Server) -> bool:
    try:
        with httpx.Client(base_url=server.url) as client:
            return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


# ---------------------------------------------------------------------------- slow readers


LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def narrow(hasty: Server) -> Server:
    """The server, with small buffers between it and whoever connects."""
    hasty._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return hasty


def connections(server: Server) -> int:
    """How many the server has open."""
    return len(server._uvicorn.server_state.connections)


@pytest.mark.parametrize("requests", [1, 10], ids=["of an answer", "of several answers"])
def test_a_reader_that_takes_nothing_is_cut_off(narrow: Server, requests: int) -> None:
    before = connections(narrow)
    with line_to(narrow, SO_RCVBUF=4096) as line:
        line.sendall(LARGE * requests)
        wait_for(lambda: connections(narrow) == before + 1, what="the connection")
        wait_for(lambda: connections(narrow) == before, what="the server to hang up")


def test_a_reader_that_is_slow_but_moves_gets_everything(narrow: Server) -> None:
    size = 3 * len(narrow.http.get("/openapi.json").content)
    with line_to(narrow, SO_RCVBUF=4096) as line:
        line.sendall(LARGE * 3)
        received, pause = 0, threading.Event()
        while received < size:
            piece = line.recv(1024)
            assert piece, f"cut off after {received} bytes"
            received += len(piece)
            pause.wait(0.02)
