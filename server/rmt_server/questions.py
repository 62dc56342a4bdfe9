"""QuestionQueue: calls that wait for the engine, the first asked first."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rmt_model.answering import Answer, Question, answer
from rmt_model.engine import Engine, EngineFullError
from rmt_model.errors import RmtModelError
from rmt_model.state import ReaderState
from rmt_server.errors import BusyError
from rmt_server.metrics import Metrics

__all__ = ["QuestionQueue"]

OnEngine = Callable[[Callable[[], list[Answer]]], Awaitable[list[Answer]]]


@dataclass(frozen=True, eq=False)
class _Asked:
    """A call that waits for its answers; a caller who left has cancelled `answers`."""

    state: ReaderState
    questions: Sequence[Question]
    answers: "asyncio.Future[list[Answer]]"


class QuestionQueue:
    """Holds at most `limit` calls; `answer_all` is called between two steps of reading."""

    def __init__(self, engine: Engine, metrics: Metrics, limit: int) -> None:
        self._engine = engine
        self._metrics = metrics
        self._limit = limit
        self._waiting: deque[_Asked] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, state: ReaderState, questions: Sequence[Question]) -> "asyncio.Future[list[Answer]]":
        """Queue a call; its answers come by the future, and cancelling that drops the call.

        Raises:
            BusyError: Too many calls are waiting.
        """
        if len(self._waiting) >= self._limit:
            raise BusyError(f"{len(self._waiting)} calls wait for the engine.", retry_after_s=1.0)
        asked = _Asked(state, questions, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._count()
        return asked.answers

    async def answer_all(self, on_engine: OnEngine) -> None:
        """Answer every call that waits now; those whose caller has left are dropped."""
        for _ in range(len(self._waiting)):
            asked = self._waiting.popleft()
            self._count()
            if asked.answers.cancelled():
                continue
            started = time.monotonic()
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
        self._metrics.waiting_questions.set(len(self._waiting))
