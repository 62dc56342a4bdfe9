"""Tracing: a session's memory along its text: what it held when, and where an answer came from."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmt_model.answering import Answer, Question, bare
from rmt_model.errors import StateError
from rmt_model.movements import Movements
from rmt_model.state import ReaderState
from rmt_model.tracing import Trace, lane_alone, memory_only, trace
from rmt_server.errors import UnprocessableError
from rmt_server.reading.rereading import Errand
from rmt_server.reading.scheduler import Scheduler
from rmt_server.service.asking import Asking, require_text
from rmt_server.service.listening import NOBODY, Listener
from rmt_server.service.together import together
from rmt_server.settings import Settings
from rmt_server.store import READ_BYTES, SessionRecord, Store, StoredState

__all__ = ["TimelinePoint", "Trace", "Tracing"]


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """A memory that is kept along a text.

    Attributes:
        segment: How many segments it had read.
        bytes: Where the text ends that is in it.
        tokens: How many tokens that is.
        moved: For each lane, by how much it differs from the point before: the distance over the length of that one.
        vectors: For each lane and each of its memory vectors the same.
        answer: What it answers, where something was asked.
    """

    segment: int
    bytes: int
    tokens: int
    moved: Sequence[float]
    vectors: Sequence[Sequence[float]]
    answer: Answer | None


class Tracing:
    """Looks along a session's timeline."""

    def __init__(self, store: Store, scheduler: Scheduler, asking: Asking, settings: Settings) -> None:
        self._store = store
        self._scheduler = scheduler
        self._asking = asking
        self._settings = settings
        self._engine = scheduler.engine

    async def timeline(
        self, tenant: str, sid: str, question: str | None = None, lane: int | None = None
    ) -> list[TimelinePoint]:
        """The memories that are kept along a session's text, and what each answers to a question.

        Raises:
            UnprocessableError: The question cannot be asked, or the lane does not exist.
        """
        session = await self._store.get_session(tenant, sid)
        if question is not None:
            self._asking.check_questions([question])
        _require_lane(session, lane or 0)
        states = await self._states(session)
        answers: Sequence[Answer | None] = [None] * len(states)
        if question is not None:
            await self._store.require_tokens(tenant)
            answers = await self._ask(session, [memory_only(state) for state in states], Question(question, lane))
        ends = await self._document_ends(session)
        return await asyncio.to_thread(self._points, session, states, answers, ends)

    async def movements(self, tenant: str, sid: str, lane: int) -> Movements | None:
        """How far a session's memory moved at each segment, as far as it is committed; None where nothing is.

        Raises:
            UnprocessableError: The lane does not exist.
        """
        session, kept = await self._store.movements(tenant, sid)
        _require_lane(session, lane)
        try:
            return Movements.from_bytes(kept, session.digest)
        except StateError:  # nothing yet, or none of this text: the reader begins anew
            return None

    async def trace(
        self, tenant: str, sid: str, question: str, answer: str | None = None, listener: Listener = NOBODY
    ) -> Trace:
        """Find the part of a session's text that an answer came from; for the rest see `trace_in`.

        Raises:
            TextNotKeptError: Not all of the text is kept.
            UnprocessableError: The question cannot be asked.
        """
        self._asking.check_questions([question])
        await self.require_text(tenant, sid)
        await self._store.require_tokens(tenant)
        await self._asking.wait_until_read(tenant, sid, listener)
        session, stored = await self._store.session_state(tenant, sid)
        return await self.trace_in(session, stored, question, answer, listener)

    async def require_text(self, tenant: str, sid: str) -> None:
        """Raise TextNotKeptError where nothing could be traced."""
        require_text(await self._store.get_session(tenant, sid))

    async def trace_in(
        self, session: SessionRecord, stored: StoredState, question: str, answer: str | None, listener: Listener
    ) -> Trace:
        """Find the part of a session's text, as it stood, that an answer came from.

        Without an answer, the one is traced that the session gives. Where the memory is not sure of it, the text is
        read once more for the question, with memories kept along it.

        Raises:
            TextNotKeptError: Not all of the text is kept.
        """
        require_text(session)
        state = ReaderState.from_bytes(stored.blob)
        self._asking.require_own(state.fingerprint)
        asked = Question(question)
        (now,) = await self._ask(session, [state], asked)
        if self._is_trusted(now, answer):
            points = await self._lane_points(session, state, now.lane)
        else:
            points = await self._reread_points(session, question, listener)
        ends = await self._document_ends(session)
        return await trace(self._engine, _Prober(self, session, listener), points, asked, answer, document_ends=ends)

    def _is_trusted(self, now: Answer, answer: str | None) -> bool:
        """Whether the session's own lane knows what is to be traced."""
        if answer is not None and bare(answer) != bare(now.generation.text):
            return now.way == "focus"
        return self._engine.served.calibration.is_trusted(now.confidence, now.way)

    async def _lane_points(self, session: SessionRecord, state: ReaderState, lane: int) -> list[ReaderState]:
        """One lane's states along the text: with nothing read, those of the timeline, and now."""
        kept = [one for one in await self._states(session) if one.segments_read < state.segments_read]
        fresh = self._engine.fresh_state(session.focus)
        return [lane_alone(one, lane) for one in (fresh, *kept, state)]

    async def _reread_points(self, session: SessionRecord, question: str, listener: Listener) -> list[ReaderState]:
        fresh = self._engine.fresh_state([question])
        kept = max(1, self._settings.timeline_points)
        states = await self._scheduler.reread(Errand(session, fresh, listener.reread, keep=kept))
        await self._store.spend(session.tenant, states[-1].tokens_read)
        await self._asking.keep_lane(session, question, states[-1])
        return [fresh, *states]

    async def _states(self, session: SessionRecord) -> list[ReaderState]:
        """The states of the timeline; one that another checkpoint left is none."""
        kept = await self._store.timeline(session.tenant, session.id)
        states = await asyncio.to_thread(lambda: [ReaderState.from_bytes(blob) for _, blob in kept])
        return [state for state in states if state.fingerprint == self._engine.served.fingerprint]

    async def _ask(self, session: SessionRecord, states: Sequence[ReaderState], question: Question) -> list[Answer]:
        """What each state answers; all are asked at the same time."""
        asked = (self._scheduler.ask(state, [question]) for state in states)
        answers = [answer for (answer,) in await together(asked, self._scheduler.most_calls)]
        await self._asking.spend(session.tenant, answers)
        return answers

    async def _document_ends(self, session: SessionRecord) -> list[int]:
        return await self._store.document_ends(session.tenant, session.id, 0, session.read_bytes)

    def _points(
        self,
        session: SessionRecord,
        states: Sequence[ReaderState],
        answers: Sequence[Answer | None],
        document_ends: Sequence[int],
    ) -> list[TimelinePoint]:
        before = self._engine.fresh_state(session.focus).memory
        points = []
        for state, answer in zip(states, answers, strict=True):
            distance, length = (np.linalg.norm(one, axis=2) for one in (state.memory - before, before))
            vectors = _rounded(distance, length)
            moved = _rounded(np.linalg.norm(distance, axis=1), np.linalg.norm(length, axis=1))
            end = self._engine.text_end(state, document_ends)
            points.append(TimelinePoint(state.segments_read, end, state.tokens_read, moved, vectors, answer))
            before = state.memory
        return points


def _require_lane(session: SessionRecord, lane: int) -> None:
    lanes = max(1, len(session.focus))
    if lane >= lanes:
        raise UnprocessableError(f"Lane {lane} does not exist: the session has {lanes}.")


def _rounded(distance: NDArray[np.float32], length: NDArray[np.float32]) -> Any:
    """How far something moved, over its length before."""
    return np.round((distance / np.maximum(length, 1e-9)).astype(float), 4).tolist()


class _Prober:
    """What a search through one session's text needs."""

    def __init__(self, tracing: Tracing, session: SessionRecord, listener: Listener) -> None:
        self._tracing = tracing
        self._session = session
        self._listener = listener

    async def ask(self, states: Sequence[ReaderState], question: Question) -> list[Answer]:
        """The answers of some states, of one lane each."""
        return await self._tracing._ask(self._session, states, question)

    async def read_on(self, state: ReaderState, segments: int, keep: int) -> list[ReaderState]:
        """Read on until that many segments are read; up to `keep` states on the way, the last one last."""
        errand = Errand(self._session, state, self._listener.reread, until_segments=segments, keep=keep)
        states = await self._tracing._scheduler.reread(errand)
        tokens = states[-1].tokens_read - state.tokens_read
        await self._tracing._store.spend(self._session.tenant, tokens)
        return states

    async def text(self, start: int, stop: int) -> bytes:
        """Bytes of the text."""
        store, session = self._tracing._store, self._session
        pieces = [
            await store.read_text(session.tenant, session.id, at, min(stop, at + READ_BYTES))
            for at in range(start, stop, READ_BYTES)
        ]
        return b"".join(pieces)
