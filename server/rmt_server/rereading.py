"""Rereading: kept text once more, in temporary lanes that work for questions that came afterwards."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rmt_model.engine import Engine
from rmt_model.state import ReaderState
from rmt_server.reading import TextIntoLanes
from rmt_server.store import SessionRecord, Store

__all__ = ["RereadProgress", "Rereading"]


@dataclass(frozen=True, slots=True)
class RereadProgress:
    """How far kept text has been read once more."""

    read_bytes: int
    total_bytes: int
    tokens: int
    segments: int


class Rereading(TextIntoLanes):
    """Reads a session's kept text from where a state stands up to where the session stood.

    Documents end where they ended: as the session read them, so do these lanes. Of documents whose records are no
    longer kept the ends are unknown, and their text goes on as one.

    Attributes:
        done: Gets the lanes' state at the end; a caller who left has cancelled it.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        session: SessionRecord,
        state: ReaderState,
        *,
        done: "asyncio.Future[ReaderState]",
        report: Callable[[RereadProgress], object],
    ) -> None:
        super().__init__(engine, state)
        self.done = done
        self._store = store
        self._session = session
        self._report = report
        self._ends: list[int] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Tenant and session id."""
        return self._session.tenant, self._session.id

    def report(self) -> None:
        """Tell the caller how far it is."""
        reader, total_bytes = self._reader, self._session.read_bytes
        self._report(RereadProgress(reader.bytes_read, total_bytes, reader.tokens_read, reader.segments_read))

    async def refill(self) -> None:
        """Fetch and tokenise text until enough segments wait or all has been fetched.

        Raises:
            TextNotKeptError: It was dropped meanwhile.
        """
        stop = self._session.read_bytes
        if self._ends is None:
            self._ends = await self._store.document_ends(*self.key, self._reader.bytes_read, stop)
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
