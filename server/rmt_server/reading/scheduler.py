"""Scheduler: answers questions before it reads on, feeds the engine, and archives progress.

One asyncio task runs the loop; one thread owns the device. Redis is spoken to beside the engine, never between two
steps.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial

from rmt_model.answering import Answer, Question
from rmt_model.lane_engine import LaneEngine
from rmt_model.span_engine import Window, WindowReading
from rmt_model.state import ReaderState
from rmt_server.errors import BusyError
from rmt_server.metrics import Metrics
from rmt_server.reading.leased_desks import LeasedDesks
from rmt_server.reading.questions import Listener, QuestionQueue, unheard_words
from rmt_server.reading.reread_desks import RereadDesks
from rmt_server.reading.rereading import Errand
from rmt_server.reading.turns import Turns
from rmt_server.reading.workroom import Workroom
from rmt_server.settings import Settings
from rmt_server.store import Store
from rmt_server.traces import Attributes, span

__all__ = ["Scheduler"]

Key = tuple[str, str]
_log = logging.getLogger(__name__)
_LONGEST_LOOK_S = 1.0
_BATCH_TOKENS = {"cpu": 2048, "cuda": 65_536}
"""A CPU gains nothing from larger steps, and questions wait for the end of one; a GPU is filled by no less."""
_MOST_CALLS = 32
_READING_WAITS_S = 2.0
"""Reading gets a step after so long, however long the answers are that are under way."""


class Scheduler:
    """Reads the sessions that have unread text and answers the questions that are asked, until it is stopped.

    Attributes:
        failure: What broke the loop, if anything did: the process cannot read or answer any more.
    """

    def __init__(self, store: Store, engine: LaneEngine, settings: Settings, metrics: Metrics) -> None:
        self.engine = engine
        self.failure: BaseException | None = None
        self._settings = settings
        self._most_tokens = settings.max_batch_tokens or _BATCH_TOKENS[engine.device.type]
        self._metrics = metrics
        on_cpu = engine.device.type == "cpu"  # elsewhere the thread only keeps the device busy, and is to hurry
        self._workroom = Workroom(yields=settings.engine_yields and on_cpu)
        self._turns = Turns()
        self._questions = QuestionQueue(engine, metrics, settings.max_waiting_questions, settings.answer_wait_s)
        self._rereads = RereadDesks(store, engine, settings, metrics, workroom=self._workroom, turns=self._turns)
        self._leased = LeasedDesks(
            store, engine, settings, metrics, workroom=self._workroom, turns=self._turns, notify=self._notify
        )
        self._watchers: dict[Key, set[asyncio.Event]] = {}
        self._stopping = False
        self._read_s = 0.0

    async def run(self) -> None:
        """The main loop; it returns after `stop`, with everything committed and every lease given back."""
        self._leased.begin()
        try:
            while not self._stopping:
                self._workroom.hush()
                self._workroom.see_errands()
                await self._leased.take()
                if await self._questions.step(self._workroom.on_engine) or self._reading_waits_long:
                    await self._read_step()
                await self._leased.archive()
                await self._rereads.archive()
                await self._rest()
            await self._questions.finish(self._workroom.on_engine)
            self._rereads.fail_all(_stopping())
            await self._leased.wind_down()
        except Exception as error:
            _log.critical("the scheduler failed; this process can no longer read or answer", exc_info=True)
            self.failure = error
            raise
        finally:
            self._rereads.fail_all(_stopping())
            self._questions.fail_all(_stopping())
            self._workroom.close()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def stop(self) -> None:
        """Finish the step that is under way, commit, and give the leases back."""
        self._stopping = True
        self._workroom.ring()

    def wake(self) -> None:
        """Say that there may be work: the loop looks at once instead of at its next poll."""
        self._leased.look_at_once()

    @property
    def most_calls(self) -> int:
        """How many calls of `ask` one request may have under way, so that others have room to wait, too."""
        return max(1, min(_MOST_CALLS, self._settings.max_waiting_questions // 4))

    async def ask(
        self, state: ReaderState, questions: Sequence[Question], listen: Listener = unheard_words
    ) -> list[Answer]:
        """Answer questions to a state; cancelling ends the call within a step.

        Args:
            state: What is asked.
            questions: The questions.
            listen: Hears the words of the answers as they are decoded.

        Raises:
            BusyError: Too many calls are waiting, or the server is stopping.
            RmtModelError: The state or a question does not fit.
        """
        self._require_running()
        with span("answer", {"rmt.questions": len(questions)}):
            answers = self._questions.put(state, questions, listen)
            self._workroom.ring()
            return await answers

    async def read_windows(self, question: str, windows: Sequence[Window]) -> Sequence[WindowReading]:
        """The best places of some stretches of a text for a question, each read by itself; cancelling drops the call.

        Raises:
            BusyError: Too many calls are waiting, or the server is stopping.
            RmtModelError: The question does not fit.
        """
        self._require_running()
        with span("read windows", {"rmt.windows": len(windows)}):
            found = self._questions.put_windows(question, windows)
            self._workroom.ring()
            return await found

    async def reread(self, errand: Errand) -> list[ReaderState]:
        """Read kept text once more, beside all else; the states that are kept, the last one last. Cancelling ends it.

        Raises:
            BusyError: Too many calls are waiting, or the server is stopping.
            TextNotKeptError: The text was dropped.
            RmtModelError: The state does not fit.
        """
        self._require_running()
        facts: Attributes = {"rmt.session_id": errand.session.id, "rmt.lanes": errand.state.lanes}
        with span("reread", facts):
            return await self._rereads.put(errand)

    async def watch(self, key: Key, since_s: float) -> None:
        """Wait until this process commits progress of a session, or another process may have done so.

        Who has waited for long, since `since_s` by the monotonic clock, is not told at once what others do, but a
        quarter later at most: a thousand who wait must not keep Redis and this process busy with their looking.
        """
        waited_s = time.monotonic() - since_s
        timeout_s = min(max(waited_s / 4, self._settings.poll_s), _LONGEST_LOOK_S)
        event = asyncio.Event()
        self._watchers.setdefault(key, set()).add(event)
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            watchers = self._watchers[key]
            watchers.discard(event)
            if not watchers:
                del self._watchers[key]

    async def _read_step(self) -> None:
        """Read the next segment of as many texts as fit into a batch, each in its turn."""
        batch, tokens, desks = self._turns.choose(self._most_tokens, self._settings.max_batch_lanes)
        self._read_s = started_s = time.monotonic()
        if not batch:
            return
        sessions = [desk.reading.key[1] for desk in desks]
        counts: Attributes = {"rmt.lanes": len(batch), "rmt.tokens": tokens, "rmt.session_ids": sessions}
        with span("step", counts) as step:
            await self._workroom.on_engine(partial(self.engine.read, batch))
        self._read_s = time.monotonic()
        for desk in desks:
            desk.step = step.get_span_context()
        self._metrics.step_seconds.observe(self._read_s - started_s)
        self._metrics.step_lanes.observe(len(batch))
        self._metrics.lane_segments.inc(len(batch))
        self._metrics.tokens_read.inc(tokens)

    async def _rest(self) -> None:
        """Sleep until something happens, unless there is something to do now."""
        if self._questions.busy or self._turns.any_can_step:
            await asyncio.sleep(0)
            return
        await self._workroom.rest(self._settings.poll_s)

    @property
    def _reading_waits_long(self) -> bool:
        return time.monotonic() - self._read_s >= _READING_WAITS_S

    def _require_running(self) -> None:
        if self._stopping or self.failure is not None:
            raise _stopping()

    def _notify(self, key: Key) -> None:
        for event in self._watchers.get(key, ()):
            event.set()


def _stopping() -> BusyError:
    return BusyError("The server is stopping.", retry_after_s=1.0)
