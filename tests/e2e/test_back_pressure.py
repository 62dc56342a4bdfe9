"""A sender that is faster than the reader is held back, and the server's memory does not grow."""

import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import redis
from tests.serving import ProcessFactory, ServerProcess, text

from rmt_server.keys import SessionKeys
from rmt_server.redis_process.server import EmbeddedRedis

OFFERED_BYTES = 1 << 30
HELD_BACK_BYTES = 64 << 20
MOST_GROWTH_BYTES = 64 << 20


@contextmanager
def offering(process: ServerProcess, request: str, *headers: str) -> Iterator[socket.socket]:
    """A connection on which a request was begun whose body, of OFFERED_BYTES, is still to be sent."""
    host, port = process.http.base_url.host, process.http.base_url.port or 0
    lines = (f"{request} HTTP/1.1", f"Host: {host}", *headers, f"Content-Length: {OFFERED_BYTES}", "", "")
    with socket.create_connection((host, port)) as sender:
        sender.sendall("\r\n".join(lines).encode())
        yield sender


@pytest.mark.slow
def test_a_gigabyte_into_a_slow_reader_stays_with_its_sender(start_process: ProcessFactory) -> None:
    """1 GB is offered as one body. The tiny model reads some tens of kilobytes a second, so after a few seconds the
    session's unread text is at its limit; from then on the body must stay in the sender's socket.
    """
    process = start_process(max_unread_bytes=1 << 20).wait_until_ready()
    sid = process.session()
    process.read(text(2000))
    before = process.resident_bytes
    block = text(1 << 20, seed=3)
    with offering(process, f"POST /v1/sessions/{sid}/documents", "Content-Type: text/plain") as sender:
        sender.settimeout(0.5)
        sent, largest = 0, before
        until = time.monotonic() + 6
        while sent < OFFERED_BYTES and time.monotonic() < until:
            try:
                sent += sender.send(block)
            except TimeoutError:
                largest = max(largest, process.resident_bytes)
        largest = max(largest, process.resident_bytes)
        session = process.look(sid)

    assert session["segments"] > 0, "reading starts while the body still arrives"
    assert session["accepted_bytes"] - session["read_bytes"] <= 1 << 20
    assert sent < HELD_BACK_BYTES, "the sender was not held back"
    assert largest - before < MOST_GROWTH_BYTES


@pytest.mark.slow
def test_what_flows_through_stays_nowhere_and_the_rest_is_refused(
    start_process: ProcessFactory, own_redis: EmbeddedRedis
) -> None:
    """1 GB is offered to a server whose session nobody reads, for another reader has leased it and sleeps.

    The first 96 MB flow through the server into Redis, as fast as they can; the server's own memory must not grow with
    them. There the session is full: the sender is held back, and after two seconds without progress it gets its answer,
    in the middle of its body.
    """
    most = 96 << 20
    process = start_process(max_unread_bytes=most, back_pressure_wait_s=2.0, lease_s=60).wait_until_ready()
    process.read(text(2000))
    sid = process.session(keep_text=False)
    with redis.Redis.from_url(own_redis.url) as bare:
        sleeper = {"owner": "sleeper", "lease_until_ms": 1 << 50, "life": bare.info("server")["run_id"]}
        bare.hset(SessionKeys("public", sid).session, mapping=sleeper)
    document = process.open(sid)
    before = largest = process.resident_bytes
    block = text(1 << 20, seed=3)
    upload = ("Content-Type: application/partial-upload", "Upload-Offset: 0", "Upload-Complete: ?1")
    with offering(process, f"PATCH {document}", *upload) as sender:
        sender.settimeout(0.2)
        sent, answer, began = 0, b"", time.monotonic()
        while sent < OFFERED_BYTES and not answer:
            with suppress(TimeoutError):
                sent += sender.send(block)
            if select.select([sender], [], [], 0)[0]:
                answer = sender.recv(1 << 16)
            largest = max(largest, process.resident_bytes)
            assert time.monotonic() - began < 60, "no answer"

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in head.lower()
    assert json.loads(body)["type"] == "urn:rmt-server:problem:back-pressure"
    session = process.look(sid)
    assert most - (1 << 16) < session["accepted_bytes"] <= most
    assert session["accepted_bytes"] == int(process.http.head(document).headers["Upload-Offset"])
    assert sent < most + HELD_BACK_BYTES
    assert largest - before < MOST_GROWTH_BYTES
