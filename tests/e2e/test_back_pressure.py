"""A sender that is faster than the reader is held back, and the server's memory does not grow."""

import socket
import time

import pytest
from tests.serving import ProcessFactory, text

OFFERED_BYTES = 1 << 30
HELD_BACK_BYTES = 64 << 20
MOST_GROWTH_BYTES = 64 << 20


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
    host, port = process.http.base_url.host, process.http.base_url.port or 0
    with socket.create_connection((host, port)) as sender:
        sender.sendall(
            f"POST /v1/sessions/{sid}/documents HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {OFFERED_BYTES}\r\n\r\n".encode()
        )
        sender.settimeout(0.5)
        sent, largest = 0, before
        until = time.monotonic() + 15
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
