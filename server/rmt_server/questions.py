"""QuestionQueue: calls that wait for the engine, the first asked first."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from opentelemetry.trace import Span

from rmt_model.answering import Answer, Question, answer
from rmt_model.engine import Engine, EngineFullError
from rmt_model.errors import RmtModelError
from rmt_model.state import ReaderState
from rmt_server.errors import BusyError
from rmt_server.metrics import Metrics
from rmt_server.traces import current_span

__all__ = ["QuestionQueue"]

OnEngine = Callable[[Callable[[], list[Answer]]], Awaitable[list[Answer]]]


@dataclass(eq=False)
class _Asked:
    """A call that waits for its answers; a caller who left has cancelled `answers`.

    Attributes:
        begun: Whether it has had its turn: then it is answered, however long that takes.
    """

    state: ReaderState
    questions: Sequence[Question]
    answers: "asyncio.Future[list[Answer]]"
    span: Span
    begun: bool = False

    def give_up(self, error: Exception) -> None:
        """Its turn has not come in time."""
        if not self.begun and not self.answers.done():
            self.answers.set_exception(error)


class QuestionQueue:
    """Holds at most `limit` questions; `answer_all` is called between two steps of reading."""

    def __init__(self, engine: Engine, metrics: Metrics, limit: int, wait_s: float) -> None:
        self._engine = engine
        self._metrics = metrics
        self._limit = limit
        self._wait_s = wait_s
        self._waiting: deque[_Asked] = deque()

    def __len__(self) -> int:
        return sum(len(asked.questions) for asked in self._waiting)

    def put(self, state: ReaderState, questions: Sequence[Question]) -> "asyncio.Future[list[Answer]]":
        """Queue a call; its answers come by the future, and cancelling that drops the call.

        Where no other waits there is room for any call. One whose turn does not come within `wait_s` is refused.

        Raises:
            BusyError: Too many questions are waiting.
        """
        if self._waiting and len(self) + len(questions) > self._limit:
            raise BusyError(f"{len(self)} questions wait for the engine.", retry_after_s=1.0)
        loop = asyncio.get_running_loop()
        asked = _Asked(state, questions, loop.create_future(), current_span())
        late = BusyError(f"The engine did not come to the question within {self._wait_s:g} s.", retry_after_s=5.0)
        timer = loop.call_later(self._wait_s, asked.give_up, late)
        asked.answers.add_done_callback(lambda _: timer.cancel())
        self._waiting.append(asked)
        self._count()
        return asked.answers

    async def answer_all(self, on_engine: OnEngine) -> None:
        """Answer every call that waits now; those whose caller has left are dropped."""
        for _ in range(len(self._waiting)):
            asked = self._waiting.popleft()
            self._count()
            if asked.answers.done():
                continue
            asked.begun = True
            started = time.monotonic()
            asked.span.add_event("on the engine")
            try:
                answers = await on_engine(partial(answer, self._engine, asked.state, asked.questions))
            except (RmtModelError, EngineFullError) as error:
                self._refuse(asked, BusyError(f"{error}.") if isinstance(error, EngineFullError) else error)
                continue
            except BaseException:
                self._waiting.appendleft(asked)  # it breaks the loop, which fails every call that waits
                raise
            self._metrics.answer_seconds.observe(time.monotonic() - started)
            self._metrics.answers.inc(len(asked.questions))
            self._metrics.answer_tokens.inc(sum(each.generation.completion_tokens for each in answers))
            if not asked.answers.done():
                asked.answers.set_result(answers)

    def fail_all(self, error: Exception) -> None:
        """Tell every call that waits that there will be no answer."""
        while self._waiting:
            self._refuse(self._waiting.popleft(), error)
        self._count()

    def _refuse(self, asked: _Asked, error: Exception) -> None:
        if not asked.answers.done():
            asked.answers.set_exception(error)

    def _count(self) -> None:
        self._metrics.waiting_questions.set(len(self))
