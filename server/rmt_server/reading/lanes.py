"""Lanes: text on its way into them; and one leased session while this process reads it."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rmt_model.errors import StateError
from rmt_model.lane_engine import LaneEngine
from rmt_model.movements import Movements
from rmt_model.state import ReaderState
from rmt_model.types import LaneSegment
from rmt_server.errors import FencedError, QuotaExceededError, StoreUnavailableError
from rmt_server.logs import about_session
from rmt_server.store import Lease, Store, StoredState

__all__ = ["LOOKAHEAD_SEGMENTS", "PIECE_BYTES", "Progress", "Reading", "TextIntoLanes", "stored"]

_log = logging.getLogger(__name__)
PIECE_BYTES = 16 * 1024
"""The most text that is fetched at once."""
LOOKAHEAD_SEGMENTS = 4
_TOKEN_BYTES = 4  # of a long token: what is fetched ahead is all read for a question that comes meanwhile


def stored(state: ReaderState, waiting_segments: int = 0) -> StoredState:
    """A reader state as the store keeps it."""
    return StoredState(
        state.to_bytes(), state.bytes_read, state.tokens_read, state.segments_read, state.digest, waiting_segments
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """What a commit stores.

    Attributes:
        state: The reader's state.
        finished: Documents that ended in it.
        movements: How far the memory moved up to it.
        moved: The furthest of these; None before the first segment.
    """

    state: StoredState
    finished: tuple[str, ...]
    movements: bytes
    moved: float | None


class TextIntoLanes(ABC):
    """Fetches text ahead of the engine and hands out its segments, one for each lane.

    `refill` runs beside the engine; all other methods are called between two steps.

    Attributes:
        slots: Where the engine keeps the lanes' memory once it is open; whoever is done with this closes them.
        step_tokens: What a step of it takes: a segment in each lane, with its focus and its memory around it.
        exhausted: Whether there is no more text to fetch.
    """

    def __init__(self, engine: LaneEngine, state: ReaderState, end_byte: int | None = None) -> None:
        segment_tokens = engine.served.config.segment_tokens
        self.exhausted = False
        self._piece_bytes = min(PIECE_BYTES, LOOKAHEAD_SEGMENTS * segment_tokens * _TOKEN_BYTES)
        self._reader = engine.source(state, end_byte)
        self._prefixes = engine.prefixes(state)
        self.step_tokens = sum(map(len, self._prefixes)) + state.lanes * engine.step_positions
        self._fed = asyncio.Lock()
        self._engine = engine
        self._memory: NDArray[np.float32] | None = state.memory
        self.slots: Sequence[int] = ()

    def open(self) -> None:
        """Put the lanes' memory into the engine, on whose thread this is called.

        Raises:
            EngineFullError: There are not enough free slots.
            StateError: The memory is not one of this model.
        """
        assert self._memory is not None  # noqa: S101 - it is opened once
        self.slots = self._engine.open(self._memory)
        self._memory = None

    @property
    @abstractmethod
    def key(self) -> tuple[str, str]:
        """Tenant and session id."""

    @abstractmethod
    async def refill(self) -> None:
        """Fetch and tokenise text until enough segments wait or there is no more."""

    @property
    def waiting(self) -> int:
        """Segments that are ready to be read."""
        return self._reader.waiting

    @property
    def wants_text(self) -> bool:
        """Whether `refill` has something to do."""
        return not self.exhausted and self._reader.waiting < LOOKAHEAD_SEGMENTS

    def next_segments(self) -> tuple[Sequence[LaneSegment], int]:
        """The next segment for each lane of the session, and its length in document tokens."""
        segment = self._reader.take()
        return self._engine.segment_rows(self.slots, self._prefixes, segment), len(segment)

    async def state(self, memory: NDArray[np.float32]) -> ReaderState:
        """The state after the last segment that was handed out, with the lanes' memory as it is now."""
        async with self._fed:
            return self._reader.state(memory)


class Reading(TextIntoLanes):
    """A leased session: its unread text, and what of the progress is to be committed."""

    def __init__(self, store: Store, engine: LaneEngine, lease: Lease) -> None:
        state = ReaderState.from_bytes(lease.state.blob)
        moved = _kept_movements(lease.movements, state)
        super().__init__(engine, state, moved.end_byte if moved else None)
        self.lease = lease
        self.since_s = self.contact_s = time.monotonic()
        self._store = store
        self._finished: deque[str] = deque()
        self._ends = asyncio.Lock()
        self._ended: str | None = None
        self._kept_ends: deque[tuple[str, StoredState]] = deque(maxlen=lease.session.auto_snapshots)
        self._movements = moved or Movements(
            *state.memory.shape[:2], first_segment=state.segments_read, first_byte=self._reader.end_byte
        )
        self._unheard_ends: list[int] = []

    @property
    def key(self) -> tuple[str, str]:
        """Tenant and session id."""
        return self.lease.session.tenant, self.lease.session.id

    @property
    def wants_text(self) -> bool:
        """Whether `refill` has something to do: not while a document's end is to be kept."""
        return super().wants_text and not self.wants_end_kept

    @property
    def wants_end_kept(self) -> bool:
        """Whether the text stands at the end of a document, of which a snapshot is to be kept."""
        return self._ended is not None

    async def keep_end(self, memory: NDArray[np.float32]) -> None:
        """Keep the state as it is now for a snapshot, with the lanes' memory; the last so many stay."""
        assert self._ended is not None  # noqa: S101 - it is asked for
        async with self._fed:
            self._kept_ends.append((self._ended, self._stored(memory)))
        self._ended = None

    @property
    def has_news(self) -> bool:
        """Whether a commit would store anything new."""
        session = self.lease.session
        moved = (self._reader.bytes_read, self._reader.segments_read) != (
            session.read_bytes,
            session.segments,
        )
        return moved or bool(self._finished)

    async def refill(self) -> None:
        """Fetch and tokenise text until enough segments wait or there is no more.

        The text is fetched before the ends of documents: whatever lies behind the end of a document was accepted after
        that end was known, so no end inside the piece can be missed.
        """
        while self.wants_text:
            start = self._reader.bytes_read
            piece = await self._store.unread(self.lease, start, self._piece_bytes)
            async with self._ends:  # no commit meanwhile: it takes ends away, there and here
                ends = await self._store.boundaries(self.lease)
                end = next((one for one in ends if one.document_id not in self._finished), None)
            if end is not None:
                piece = piece[: end.end_byte - start]
            async with self._fed:
                await asyncio.to_thread(self._reader.feed, piece)
                if end is not None and end.end_byte == self._reader.bytes_read:
                    self._reader.finish_document()
                    self._finished.append(end.document_id)
                    if self._kept_ends.maxlen:
                        self._ended = end.document_id
                elif not piece:
                    self.exhausted = True

    def next_segments(self) -> tuple[Sequence[LaneSegment], int]:
        """The next segment for each lane of the session, and its length in document tokens."""
        segments = super().next_segments()
        self._unheard_ends.append(self._reader.end_byte)
        return segments

    @property
    def unheard_segments(self) -> int:
        """At how many of the last segments it is not known yet how far the memory moved."""
        return len(self._unheard_ends)

    def hear_moved(self, moved: Sequence[NDArray[np.float32]]) -> None:
        """Take in how far the memory moved at these segments: [segments, M] for each lane."""
        for end_byte, *lanes in zip(self._unheard_ends, *moved, strict=True):
            self._movements.add(end_byte, np.stack(lanes))
        self._unheard_ends.clear()

    @property
    def is_fed(self) -> bool:
        """Whether text is turned into tokens just now: until then there is no state."""
        return self._fed.locked()

    async def progress(self, memory: NDArray[np.float32]) -> Progress:
        """What is to be committed, with the lanes' memory as it is now.

        One whose end is still to be kept is left for the next commit.
        """
        async with self._fed:
            finished = tuple(one for one in self._finished if one != self._ended)
            state = self._stored(memory)
            moved = self._movements.moved
            furthest = float(moved.max()) if moved.size else None
            return Progress(state, finished, self._movements.to_bytes(state.digest), furthest)

    def _stored(self, memory: NDArray[np.float32]) -> StoredState:
        return stored(self._reader.state(memory), self._reader.waiting)

    async def commit(self, progress: Progress, timeline_points: int) -> float:
        """Store what `progress` gave, and compress some of the text that is read and kept.

        The session's timeline keeps at most so many states.

        Returns:
            How long the store took for the commit itself, in seconds.

        Raises:
            FencedError: Another reader has taken over; nothing here may be used again.
        """
        async with self._ends:
            await self._store_ends(progress.finished)
            started_s = time.monotonic()
            try:
                self.lease = await self._store.commit(
                    self.lease,
                    progress.state,
                    progress.finished,
                    timeline_points=timeline_points,
                    movements=progress.movements,
                    moved=progress.moved,
                )
            except ValueError as error:  # a Redis that lost its last second holds less than was read here
                raise FencedError(str(error)) from error
            for _ in progress.finished:
                self._finished.popleft()
            self.contact_s = time.monotonic()
        if self.lease.session.keep_text:
            await self._store.compact(self.lease)
        return self.contact_s - started_s

    async def _store_ends(self, finished: Sequence[str]) -> None:
        """Keep snapshots of the ends that are about to be committed: before that, so that a crash loses none."""
        due = [self._kept_ends.popleft() for _ in range(len(self._kept_ends)) if self._kept_ends[0][0] in finished]
        for document_id, state in due:
            try:
                await self._store.keep_end(self.lease.session, document_id, state)
            except (QuotaExceededError, StoreUnavailableError) as error:  # a Redis that is full still takes the commit
                _log.info("no snapshot of the end of a document: %s", error, extra=about_session(self.key))

    async def renew(self) -> None:
        """Keep the lease while nothing is ready to be committed.

        Raises:
            FencedError: Another reader has taken over.
        """
        self.lease = await self._store.renew(self.lease, self.lease.lease_ms)
        self.contact_s = time.monotonic()


def _kept_movements(kept: bytes, state: ReaderState) -> Movements | None:
    """Those that were committed with a state; None where they are not of it, or damaged: no reason not to read."""
    with suppress(StateError):
        movements = Movements.from_bytes(kept, state.digest)
        if (movements.segments_read, *movements.moved.shape[1:]) == (state.segments_read, *state.memory.shape[:2]):
            return movements
    return None
