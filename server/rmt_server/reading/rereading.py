"""Rereading: kept text once more, in temporary lanes that work for questions that came afterwards."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rmt_model.lane_engine import LaneEngine
from rmt_model.state import ReaderState
from rmt_server.reading.lanes import TextIntoLanes
from rmt_server.store import SessionRecord, Store

__all__ = ["Errand", "RereadProgress", "Rereading"]


@dataclass(frozen=True, slots=True)
class RereadProgress:
    """How far kept text has been read once more."""

    read_bytes: int
    total_bytes: int
    tokens: int
    segments: int


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be read once more.

    Attributes:
        session: Whose text; as far as it had been read.
        state: Where to begin, and with which lanes.
        until_segments: Stop when so many segments are read; None: at the end of the text.
        keep: How many states are kept on the way, evenly spaced, besides the last.
        report: Is told how far it is.
    """

    session: SessionRecord
    state: ReaderState
    report: Callable[[RereadProgress], object]
    until_segments: int | None = None
    keep: int = 0


class Rereading(TextIntoLanes):
    """Reads a session's kept text from where a state stands up to where the session stood.

    Documents end where they ended: as the session read them, so do these lanes. Of documents whose records are no
    longer kept the ends are unknown, and their text goes on as one.

    Attributes:
        done: Gets the states that were kept, the last one last; a caller who left has cancelled it.
    """

    def __init__(
        self, store: Store, engine: LaneEngine, errand: Errand, done: "asyncio.Future[list[ReaderState]]"
    ) -> None:
        super().__init__(engine, errand.state)
        self.done = done
        self._store = store
        self._errand = errand
        self._ends: list[int] | None = None
        self._kept: list[ReaderState] = []
        self._spacing = 1
        self._noted_segments = self._reader.segments_read

    @property
    def key(self) -> tuple[str, str]:
        """Tenant and session id."""
        return self._errand.session.tenant, self._errand.session.id

    @property
    def waiting(self) -> int:
        """Segments that are ready to be read, and are to be."""
        until = self._errand.until_segments
        ready = self._reader.waiting
        return ready if until is None else min(ready, until - self._reader.segments_read)

    @property
    def at_end(self) -> bool:
        """Whether all has been read that is to be."""
        return self._reader.segments_read == self._errand.until_segments or (self.exhausted and not self.waiting)

    @property
    def tokens(self) -> int:
        """How many it has read, of all lanes together."""
        return (self._reader.tokens_read - self._errand.state.tokens_read) * self._errand.state.lanes

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody will get the states: the caller has left, or it has failed."""
        return self.done.cancelled() or (self.done.done() and self.done.exception() is not None)

    @property
    def wants_note(self) -> bool:
        """Whether the state as it is now should be kept."""
        return self._errand.keep > 0 and self._reader.segments_read >= self._noted_segments + self._spacing

    async def note(self, memory: NDArray[np.float32]) -> None:
        """Keep the state as it is now, with the lanes' memory; when there are too many, every second one goes."""
        self._kept.append(await self.state(memory))
        self._noted_segments = self._reader.segments_read
        if len(self._kept) > self._errand.keep:
            self._kept = self._kept[1::2]
            self._spacing *= 2

    async def finish(self, memory: NDArray[np.float32]) -> None:
        """Hand out the states, the one with the lanes' memory as it is now last."""
        last = await self.state(memory)
        if self._kept and self._kept[-1].segments_read == last.segments_read:
            self._kept.pop()
        self.report()
        if not self.done.done():
            self.done.set_result([*self._kept, last])

    def report(self) -> None:
        """Tell the caller how far it is."""
        reader, total_bytes = self._reader, self._errand.session.read_bytes
        self._errand.report(RereadProgress(reader.bytes_read, total_bytes, reader.tokens_read, reader.segments_read))

    async def refill(self) -> None:
        """Fetch and tokenise text until enough segments wait or all has been fetched.

        Raises:
            TextNotKeptError: It was dropped meanwhile.
        """
        stop = self._errand.session.read_bytes
        if self._ends is None:
            start = self._reader.bytes_read + (not self._reader.within_document and self._reader.bytes_read > 0)
            self._ends = await self._store.document_ends(*self.key, start, stop)
        while self.wants_text:
            start = self._reader.bytes_read
            end = self._ends[0] if self._ends else stop
            piece = await self._store.read_text(*self.key, start, min(end, start + self._piece_bytes))
            async with self._fed:
                await asyncio.to_thread(self._reader.feed, piece)
                if self._ends and self._reader.bytes_read == end:
                    self._reader.finish_document()
                    del self._ends[0]
                elif self._reader.bytes_read == stop:
                    self.exhausted = True
