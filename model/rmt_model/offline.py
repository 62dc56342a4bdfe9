"""Reads a whole document with one engine, in this process: what the server does, without the server."""

import time
from collections.abc import Callable, Sequence, Sized
from typing import BinaryIO, TextIO

from rmt_model.lane_engine import LaneEngine, SegmentSource
from rmt_model.state import ReaderState

__all__ = ["ProgressLine", "read_document"]

_CHUNK_BYTES = 1 << 14


def read_document(
    engine: LaneEngine, stream: BinaryIO, focus: Sequence[str] = (), *, report: Callable[[SegmentSource[Sized]], object]
) -> ReaderState:
    """Read a text to its end.

    Args:
        engine: The engine; it needs a free slot for each focus, one at least.
        stream: The text, UTF-8.
        focus: Questions known beforehand, each with a lane of its own.
        report: Called after every segment.

    Raises:
        QuestionError: A focus is empty or too long.
        InvalidUtf8Error: The text is not UTF-8.
    """
    state = engine.fresh_state(focus)
    reader = engine.source(state)
    prefixes = engine.prefixes(state)
    slots = engine.open(state.memory)
    try:
        while data := stream.read(_CHUNK_BYTES):
            reader.feed(data)
            _read_waiting(engine, reader, slots, prefixes, report)
        reader.finish_document()
        _read_waiting(engine, reader, slots, prefixes, report)
        return reader.state(engine.memory(slots))
    finally:
        engine.close(slots)


def _read_waiting(
    engine: LaneEngine,
    reader: SegmentSource[Sized],
    slots: Sequence[int],
    prefixes: Sequence[Sequence[int]],
    report: Callable[[SegmentSource[Sized]], object],
) -> None:
    while reader.waiting:
        engine.read(engine.segment_rows(slots, prefixes, reader.take()))
        report(reader)


class ProgressLine:
    """Says how far reading has come: on a terminal all the time, elsewhere once, at the end."""

    def __init__(self, out: TextIO, total_bytes: int = 0) -> None:
        self._out = out
        self._clear = "\r\033[K" if out.isatty() else ""
        self._total_bytes = total_bytes
        self._began = self._shown_at = time.monotonic()

    def show(self, reader: SegmentSource[Sized]) -> None:
        """To be called after every segment; shows no more than five lines a second."""
        now = time.monotonic()
        if not self._clear or now - self._shown_at < 0.2:
            return
        self._shown_at = now
        share = f"{min(1.0, reader.bytes_read / self._total_bytes):4.0%}, " if self._total_bytes else ""
        rate = self._tokens_per_s(reader.tokens_read)
        self._out.write(f"{self._clear}{share}{reader.tokens_read:,} tokens, {rate:,.0f} a second")
        self._out.flush()

    def finish(self, state: ReaderState) -> None:
        """Says what has been read."""
        rate = self._tokens_per_s(state.tokens_read)
        self._out.write(
            f"{self._clear}read {state.bytes_read:,} bytes: {state.segments_read:,} segments, "
            f"{state.tokens_read:,} tokens, {rate:,.0f} a second; memory of {state.memory.nbytes:,} bytes\n"
        )

    def _tokens_per_s(self, tokens: int) -> float:
        return tokens / max(1e-9, time.monotonic() - self._began)
