"""QuestionQueue: calls that wait for the engine, and those that are being answered, a token of each at every step."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from opentelemetry.trace import Span

from rmt_model.answering import Answer, Inquiry, Pointed, Question, inquire, read_windows
from rmt_model.decoding import Decoding, Row
from rmt_model.engine import Engine
from rmt_model.errors import RmtModelError
from rmt_model.lane_engine import EngineFullError, LaneEngine
from rmt_model.span_engine import Window, WindowReading
from rmt_model.state import ReaderState
from rmt_model.types import Prompt
from rmt_server.errors import BusyError
from rmt_server.metrics import Metrics
from rmt_server.reading.workroom import OnEngine
from rmt_server.traces import current_span

__all__ = ["Listener", "QuestionQueue", "unheard_words"]

Listener = Callable[[int, str], object]
"""Is told further words of the answer to a question, by the question's number."""


def unheard_words(question: int, words: str) -> None:
    """Nobody listens."""


@dataclass(eq=False)
class _Call:
    """Questions to one state, from when they are asked until they are answered.

    Attributes:
        answers: A caller who left has cancelled it.
        listen: Hears the words of an answer that comes from one lane as they are decoded, else when it is chosen.
        inquiry: Its prompts, once it has had its turn: then it is answered, however long that takes.
        rows: The answers to its prompts as far as they have been begun, in the prompts' order.
        told: What was told of each question's answer.
    """

    state: ReaderState
    questions: Sequence[Question]
    answers: "asyncio.Future[list[Answer]]"
    span: Span
    listen: Listener
    inquiry: Inquiry | Pointed | None = None
    begun_s: float = 0.0
    rows: list[Row] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def prompts_left(self) -> list[Prompt]:
        """Prompts that are in no batch yet."""
        assert self.inquiry is not None  # noqa: S101 - only calls that had their turn are asked
        return self.inquiry.prompts[len(self.rows) :]

    @property
    def decoded(self) -> bool:
        """Whether every prompt has its answer."""
        return not self.prompts_left and all(row.finished for row in self.rows)

    def give_up(self, error: Exception) -> None:
        """Its turn has not come in time."""
        if self.inquiry is None:
            self.refuse(error)

    def refuse(self, error: Exception) -> None:
        """There is no answer."""
        if not self.answers.done():
            self.answers.set_exception(error)


@dataclass(eq=False)
class _Lookup:
    """Stretches of a text that wait to be read for a question.

    Attributes:
        found: Gets the best places of each; a caller who left has cancelled it.
    """

    question: str
    windows: Sequence[Window]
    found: "asyncio.Future[Sequence[WindowReading]]"

    def refuse(self, error: Exception) -> None:
        """Tell the caller that there is no answer."""
        if not self.found.done():
            self.found.set_exception(error)


@dataclass(eq=False)
class _Batch:
    """Rows that are decoded together."""

    decoding: Decoding
    calls: Sequence[_Call]


class QuestionQueue:
    """Holds at most `limit` questions; `step` is called between two steps of reading."""

    def __init__(self, engine: LaneEngine, metrics: Metrics, limit: int, wait_s: float) -> None:
        self._engine = engine
        self._decoder = engine if isinstance(engine, Engine) else None
        self._metrics = metrics
        self._limit = limit
        self._wait_s = wait_s
        self._waiting: deque[_Call] = deque()
        self._begun: deque[_Call] = deque()
        self._batches: list[_Batch] = []
        self._lookups: deque[_Lookup] = deque()

    def __len__(self) -> int:
        lookups = sum(not one.found.done() for one in self._lookups)
        return lookups + sum(len(call.questions) for call in self._waiting if not call.answers.done())

    @property
    def busy(self) -> bool:
        """Whether there is anything to answer."""
        return bool(self._waiting or self._begun or self._lookups)

    def put(
        self, state: ReaderState, questions: Sequence[Question], listen: Listener = unheard_words
    ) -> "asyncio.Future[list[Answer]]":
        """Queue a call; its answers come by the future, and cancelling that drops the call within a step.

        Where no other waits there is room for any call. One whose turn does not come within `wait_s` is refused.

        Raises:
            BusyError: Too many questions are waiting.
        """
        self._waiting = deque(call for call in self._waiting if not call.answers.done())
        if self._waiting and len(self) + len(questions) > self._limit:
            raise BusyError(f"{len(self)} questions wait for the engine.", retry_after_s=1.0)
        loop = asyncio.get_running_loop()
        call = _Call(state, questions, loop.create_future(), current_span(), listen)
        late = BusyError(f"The engine did not come to the question within {self._wait_s:g} s.", retry_after_s=5.0)
        timer = loop.call_later(self._wait_s, call.give_up, late)
        call.answers.add_done_callback(lambda _: timer.cancel())
        self._waiting.append(call)
        self._count()
        return call.answers

    def put_windows(self, question: str, windows: Sequence[Window]) -> "asyncio.Future[Sequence[WindowReading]]":
        """Queue stretches of a text to be read for a question; what is found comes by the future, as with `put`.

        Raises:
            BusyError: Too many questions are waiting.
        """
        self._lookups = deque(one for one in self._lookups if not one.found.done())
        if self._lookups and len(self) >= self._limit:
            raise BusyError(f"{len(self)} questions wait for the engine.", retry_after_s=1.0)
        loop = asyncio.get_running_loop()
        lookup = _Lookup(question, windows, loop.create_future())
        late = BusyError(f"The engine did not come to the question within {self._wait_s:g} s.", retry_after_s=5.0)
        timer = loop.call_later(self._wait_s, lookup.refuse, late)
        lookup.found.add_done_callback(lambda _: timer.cancel())
        self._lookups.append(lookup)
        self._count()
        return lookup.found

    async def step(self, on_engine: OnEngine) -> bool:
        """Begin what waits, as far as there is room, and decode a token more of every answer.

        Returns:
            Whether it is the turn of others: an answer has ended, or there is none under way.
        """
        self._drop_unwanted()
        looked_up = await self._look_up(on_engine)
        await self._prepare(on_engine)
        await self._begin_batch(on_engine)
        for batch in self._batches:
            await on_engine(partial(self._advance, batch.decoding))
        return self._settle() or looked_up or not self._batches

    async def finish(self, on_engine: OnEngine) -> None:
        """Answer every call that has had its turn; those that wait stay where they are."""
        while self._begun:
            self._drop_unwanted()
            await self._begin_batch(on_engine)
            for batch in self._batches:
                await on_engine(partial(self._advance, batch.decoding))
            self._settle()

    def fail_all(self, error: Exception) -> None:
        """Tell every call that there will be no answer."""
        for call in (*self._waiting, *self._begun):
            call.refuse(error)
        for lookup in self._lookups:
            lookup.refuse(error)
        self._lookups.clear()
        self._waiting.clear()
        self._begun.clear()
        self._count()

    def _advance(self, decoding: Decoding) -> None:
        assert self._decoder is not None  # noqa: S101 - it began to decode
        self._decoder.advance(decoding)

    @property
    def _room(self) -> int:
        """How many more rows may be decoded."""
        if self._decoder is None:
            return 1  # nothing is decoded: a call has its answers as soon as it has had its turn
        taken = sum(not row.finished for batch in self._batches for row in batch.decoding.rows)
        return self._decoder.max_answer_lanes - taken

    async def _look_up(self, on_engine: OnEngine) -> bool:
        """Read the stretches of the call that has waited longest; whether there was one."""
        while self._lookups:
            lookup = self._lookups[0]  # it stays listed until it has its answer: what breaks the loop fails it, too
            if not lookup.found.done():
                await self._read(lookup, on_engine)
                self._lookups.popleft()
                self._count()
                return True
            self._lookups.popleft()
        return False

    async def _read(self, lookup: _Lookup, on_engine: OnEngine) -> None:
        started_s = time.monotonic()
        try:
            found = await on_engine(partial(read_windows, self._engine, lookup.question, lookup.windows))
        except RmtModelError as error:
            lookup.refuse(error)
            return
        self._metrics.answer_seconds.observe(time.monotonic() - started_s)
        self._metrics.answers.inc()
        if not lookup.found.done():
            lookup.found.set_result(found)

    def _drop_unwanted(self) -> None:
        """End the rows of callers who have left."""
        for call in self._begun:
            if call.answers.done():
                for row in call.rows:
                    row.drop()
        self._begun = deque(call for call in self._begun if not call.answers.done())
        self._batches = [batch for batch in self._batches if not batch.decoding.finished]

    async def _prepare(self, on_engine: OnEngine) -> None:
        """Give calls their turn until there are prompts enough for the room that there is."""
        room = self._room - sum(len(call.prompts_left) for call in self._begun)
        while self._waiting and room > 0:
            call = self._waiting.popleft()
            self._count()
            if call.answers.done():
                continue
            call.begun_s = time.monotonic()
            call.told = [""] * len(call.questions)
            call.span.add_event("on the engine")
            self._begun.append(call)  # what breaks the loop fails every call that is listed
            try:
                call.inquiry = await on_engine(partial(inquire, self._engine, call.state, call.questions))
            except (RmtModelError, EngineFullError) as error:
                call.refuse(BusyError(f"{error}.") if isinstance(error, EngineFullError) else error)
                self._begun.remove(call)
                continue
            room -= len(call.inquiry.prompts)

    async def _begin_batch(self, on_engine: OnEngine) -> None:
        """Read the prompts that come next, those of all calls in one batch, and choose their first tokens."""
        room = self._room
        rows = [(call, prompt) for call in self._begun for prompt in call.prompts_left][: max(0, room)]
        beside = [batch.decoding for batch in self._batches]
        count = self._decoder.answers_at_once([prompt for _, prompt in rows], beside) if self._decoder else 0
        if not count or self._decoder is None:
            return
        calls = [call for call, _ in rows[:count]]
        memory, slots = _joined(calls)
        prompts = [replace(prompt, slot=slots[call] + prompt.slot) for call, prompt in rows[:count]]
        decoding = await on_engine(partial(self._decoder.decode, memory, prompts))
        for call, row in zip(calls, decoding.rows, strict=True):
            call.rows.append(row)
        self._batches.append(_Batch(decoding, list(dict.fromkeys(calls))))

    def _settle(self) -> bool:
        """Tell callers what is new; whether any has got its answers."""
        for batch in self._batches:
            for call in batch.calls:
                if not call.answers.done():
                    self._tell(call)
        ended = [call for call in self._begun if call.decoded]
        for call in ended:
            self._answer(call)
        self._batches = [batch for batch in self._batches if not batch.decoding.finished]
        return bool(ended)

    def _tell(self, call: _Call) -> None:
        """Tell further words of answers that come from one lane, as long as they are likely enough to be right."""
        assert call.inquiry is not None  # noqa: S101 - it is in a batch
        calibration, start = self._engine.served.calibration, 0
        for number, candidates in enumerate(call.inquiry.candidates):
            alone, row = len(candidates) == 1, call.rows[start] if start < len(call.rows) else None
            start += len(candidates)
            if not alone or row is None:
                continue
            if calibration.confidence(row.probability, candidates[0].way) >= calibration.least:
                self._say(call, number, row.text)

    def _say(self, call: _Call, number: int, text: str) -> None:
        if len(text) > len(call.told[number]):
            call.listen(number, text[len(call.told[number]) :])
            call.told[number] = text

    def _answer(self, call: _Call) -> None:
        assert call.inquiry is not None  # noqa: S101 - it is decoded
        self._begun.remove(call)
        if call.answers.done():
            return
        answers = call.inquiry.answers(self._engine, [row.generation() for row in call.rows])
        for number, one in enumerate(answers):
            if one.known:
                self._say(call, number, one.generation.text)
        self._metrics.answer_seconds.observe(time.monotonic() - call.begun_s)
        self._metrics.answers.inc(len(call.questions))
        self._metrics.answer_tokens.inc(sum(each.generation.completion_tokens for each in answers))
        call.answers.set_result(answers)

    def _count(self) -> None:
        self._metrics.waiting_questions.set(len(self))


def _joined(
    calls: Sequence[_Call],
) -> tuple["np.ndarray[tuple[int, int, int], np.dtype[np.float32]]", dict[_Call, int]]:
    """The memories of some calls, one after another, and where each call's begin."""
    memories, slots, start = [], {}, 0
    for call in dict.fromkeys(calls):
        assert isinstance(call.inquiry, Inquiry)  # noqa: S101 - what is decoded
        slots[call] = start
        memories.append(call.inquiry.memory)
        start += len(call.inquiry.memory)
    return np.concatenate(memories), slots
