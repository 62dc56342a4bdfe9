"""A stream by itself: how much it holds, and how it ends."""

from __future__ import annotations

import threading

import pytest

from rmt_client import SourceError, Stream
from rmt_client.flow import Piece


def test_a_stream_holds_no_more_than_it_may() -> None:
    stream = Stream(ahead_bytes=10, replay_bytes=5)
    assert stream.offer(b"0123456789")
    assert not stream.offer(b"more")
    assert stream.read(0, 100) == Piece(b"0123456789", False)
    assert stream.read(8, 1) == Piece(b"8", False)
    assert stream.offer(b"abcdefgh")
    assert stream.read(3, 2) == Piece(b"34", False)
    with pytest.raises(SourceError):
        stream.read(2, 1)


def test_a_stream_cannot_end_in_the_middle_of_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that took half a character for one that is still to come must not take the stream for ended."""
    stream, look = Stream(), Stream._end
    ending = threading.Thread(target=stream.end)

    def look_as_it_ends(stream: Stream) -> int:
        end = look(stream)
        if not ending.is_alive() and not stream._ended:
            ending.start()
            ending.join(0.1)
        return end

    monkeypatch.setattr(Stream, "_end", look_as_it_ends)
    stream.offer("a и".encode()[:-1])
    assert stream.read(0, 10) == Piece(b"a ", False, growing=True)
    ending.join()
    assert stream.read(2, 10) == Piece("и".encode()[:1], True)


def test_a_stream_that_is_finished_twice_is_finished() -> None:
    """Ctrl-C, and then SIGTERM."""
    stream = Stream()
    stream.offer("a и".encode()[:-1])
    stream.finish()
    stream.end()
    stream.finish()
    assert stream.read(0, 10) == Piece(b"a ", True)
