"""Scheduler: leases sessions, feeds the engine, answers questions before it reads on, and archives progress.

One asyncio task runs the loop; one thread owns the device. Everything that a reading has not committed can be dropped
at any moment: whoever leases the session next starts from the last commit.
"""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from rmt_model.answering import Answer, Question, answer
from rmt_model.engine import Engine, EngineFullError
from rmt_model.errors import RmtModelError
from rmt_model.state import ReaderState
from rmt_model.types import LaneSegment
from rmt_server.errors import BusyError, FencedError, RmtServerError, StoreUnavailableError
from rmt_server.metrics import Metrics
from rmt_server.reading import Reading
from rmt_server.settings import Settings
from rmt_server.store import Lease, Store

__all__ = ["Scheduler"]

T = TypeVar("T")
Key = tuple[str, str]
_log = logging.getLogger(__name__)
_STORE_PAUSE_S = 1.0
_RENEW_SHARE = 1 / 3
_SWEEP_S = 120.0


@dataclass(eq=False)
class _Asked:
    """A call that waits for its answers; a caller who left has cancelled `answers`."""

    state: ReaderState
    questions: Sequence[Question]
    answers: "asyncio.Future[list[Answer]]"


@dataclass(eq=False)
class _Desk:
    """What one reading has under way beside the engine."""

    reading: Reading
    refill: "asyncio.Task[None] | None" = None
    commit: "asyncio.Task[None] | None" = None
    committed_s: float = field(default_factory=time.monotonic)
    yielding: bool = False

    @property
    def idle(self) -> bool:
        return all(task is None or task.done() for task in (self.refill, self.commit))

    @property
    def can_step(self) -> bool:
        """Whether the next step can read a segment of it."""
        return self.reading.waiting > 0 and not self.yielding

    @property
    def at_rest(self) -> bool:
        """Whether nothing is read any more: the text is at its end, or the place goes to another session."""
        return self.yielding or (self.reading.exhausted and not self.reading.waiting)


class Scheduler:
    """Reads the sessions that have unread text and answers the questions that are asked, until it is stopped.

    Attributes:
        failure: What broke the loop, if anything did: the process cannot read or answer any more.
    """

    def __init__(self, store: Store, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self.engine = engine
        self.failure: BaseException | None = None
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._owner = secrets.token_hex(8)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._desks: dict[Key, _Desk] = {}
        self._turns: deque[Key] = deque()
        self._asked: deque[_Asked] = deque()
        self._watchers: dict[Key, set[asyncio.Event]] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._look_at_s = 0.0

    async def run(self) -> None:
        """The main loop; it returns after `stop`, with everything committed and every lease given back."""
        sweep = self._beside(self._sweep())
        try:
            while not self._stopping:
                self._wake.clear()
                if sweep.done():
                    sweep.result()  # it never ends by itself: this raises what broke it
                await self._lease_ready()
                await self._answer_asked()
                await self._read_step()
                await self._archive()
                await self._rest()
            await self._wind_down()
        except Exception as error:
            _log.critical("the scheduler failed; this process can no longer read or answer", exc_info=True)
            self.failure = error
            raise
        finally:
            sweep.cancel()
            self._fail_asked(BusyError("The server is stopping.", retry_after_s=1.0))
            self._thread.shutdown(wait=False)

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def stop(self) -> None:
        """Finish the step that is under way, commit, and give the leases back."""
        self._stopping = True
        self._wake.set()

    def wake(self) -> None:
        """Say that there may be work: the loop looks at once instead of at its next poll."""
        self._look_at_s = 0.0
        self._wake.set()

    async def ask(self, state: ReaderState, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions to a state; cancelling drops the call from the queue.

        Raises:
            BusyError: Too many calls are waiting, or the server is stopping.
            RmtModelError: The state or a question does not fit.
        """
        if self._stopping or self.failure is not None:
            raise BusyError("The server is stopping.", retry_after_s=1.0)
        if len(self._asked) >= self._settings.max_waiting_questions:
            raise BusyError(f"{len(self._asked)} calls wait for the engine.", retry_after_s=1.0)
        asked = _Asked(state, questions, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        self._metrics.waiting_questions.set(len(self._asked))
        self._wake.set()
        return await asked.answers

    async def watch(self, key: Key, timeout_s: float) -> None:
        """Wait until this process commits progress of a session, or for at most `timeout_s`."""
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

    # ------------------------------------------------------------------ the steps of the loop

    async def _sweep(self) -> None:
        """Look for forgotten sessions now and then, beside everything else: it walks over all that there are."""
        while True:
            pause_s = _SWEEP_S
            try:
                if await self._store.wake_forgotten():
                    self.wake()
            except StoreUnavailableError as error:
                _log.warning("cannot look for forgotten sessions: %s", error)
                pause_s = _STORE_PAUSE_S
            await asyncio.sleep(pause_s)

    async def _lease_ready(self) -> None:
        """Lease sessions that have something to read; where there is no room for one, another has to yield."""
        if time.monotonic() < self._look_at_s:
            return
        self._look_at_s = time.monotonic() + self._settings.poll_s
        try:
            for key in await self._store.ready(2 * self._settings.max_readings):
                if key in self._desks:
                    continue
                if len(self._desks) >= self._settings.max_readings:
                    self._make_room()
                    break
                lease = await self._store.lease(*key, self._owner, int(self._settings.lease_s * 1000))
                if lease is not None:
                    await self._admit(lease)
        except StoreUnavailableError as error:
            _log.warning("cannot look for work: %s", error)
            self._look_at_s = time.monotonic() + _STORE_PAUSE_S

    def _make_room(self) -> None:
        """Let the session that has been read for the longest time be put down, once it has had its turn."""
        desk = min(self._desks.values(), key=lambda desk: desk.reading.since_s)
        if time.monotonic() - desk.reading.since_s >= self._settings.turn_s:
            desk.yielding = True

    async def _admit(self, lease: Lease) -> None:
        """Begin to read a leased session; of one that cannot be read here the lease is left to end by itself."""
        session = lease.session
        if session.model != self.engine.checkpoint.fingerprint:
            _log.warning("session %s is left unread: it belongs to checkpoint %s", session.id, session.model)
            return
        try:
            reading = await self._on_engine(partial(Reading, self._store, self.engine, lease))
        except (EngineFullError, RmtModelError) as error:
            _log.warning("session %s is left unread: %s", session.id, error)
            return
        self._desks[reading.key] = _Desk(reading)
        self._turns.append(reading.key)
        self._metrics.readings.set(len(self._desks))

    async def _answer_asked(self) -> None:
        """Answer every call that waits now; those whose caller has left are dropped."""
        for _ in range(len(self._asked)):
            asked = self._asked.popleft()
            self._metrics.waiting_questions.set(len(self._asked))
            if asked.answers.cancelled():
                continue
            started = time.monotonic()
            try:
                answers = await self._on_engine(partial(answer, self.engine, asked.state, asked.questions))
            except (RmtModelError, EngineFullError) as error:
                if not asked.answers.cancelled():
                    full = isinstance(error, EngineFullError)
                    asked.answers.set_exception(BusyError(f"{error}.") if full else error)
                continue
            except BaseException:
                self._asked.appendleft(asked)  # it breaks the loop, which fails every call that waits
                raise
            self._metrics.answer_seconds.observe(time.monotonic() - started)
            self._metrics.answers.inc(len(asked.questions))
            if not asked.answers.cancelled():
                asked.answers.set_result(answers)

    async def _read_step(self) -> None:
        """Read the next segment of as many sessions as fit into a batch, each in its turn."""
        batch, tokens = self._choose()
        if not batch:
            return
        started = time.monotonic()
        await self._on_engine(partial(self.engine.read, batch))
        self._metrics.step_seconds.observe(time.monotonic() - started)
        self._metrics.step_lanes.observe(len(batch))
        self._metrics.lane_segments.inc(len(batch))
        self._metrics.tokens_read.inc(tokens)

    def _choose(self) -> tuple[list[LaneSegment], int]:
        """Lanes of the next step: sessions take turns, a session's lanes stay together, the first always fits."""
        batch: list[LaneSegment] = []
        tokens = 0
        for _ in range(len(self._turns)):
            key = self._turns[0]
            desk = self._desks[key]
            if desk.can_step and batch and len(batch) + len(desk.reading.slots) > self._settings.max_batch_lanes:
                break
            self._turns.rotate(-1)
            if desk.can_step:
                rows, length = desk.reading.next_segments()
                batch.extend(rows)
                tokens += length
        return batch, tokens

    async def _archive(self) -> None:
        """Fetch text ahead, commit what is due beside the next step, and let go of sessions that are read."""
        for desk in list(self._desks.values()):
            reading = desk.reading
            if not self._settle(desk):
                continue
            if desk.refill is None and reading.wants_text and not desk.yielding:
                desk.refill = self._beside(reading.refill())
            if desk.commit is None:
                await self._commit_if_due(desk)
            if desk.idle and desk.at_rest and not reading.has_news:
                await self._let_go(desk)

    def _settle(self, desk: _Desk) -> bool:
        """Take the results of what ran beside the engine; False when the reading had to be dropped."""
        for name in ("refill", "commit"):
            task = getattr(desk, name)
            if task is None or not task.done():
                continue
            setattr(desk, name, None)
            error = task.exception()
            if error is not None:
                self._drop(desk, error)
                return False
            if name == "commit":
                self._notify(desk.reading.key)
        return True

    async def _commit_if_due(self, desk: _Desk) -> None:
        reading, now = desk.reading, time.monotonic()
        if reading.has_news and (desk.at_rest or now - desk.committed_s >= self._settings.commit_interval_s):
            memory = await self._on_engine(partial(self.engine.memory, reading.slots))
            state, finished = await reading.progress(memory)
            desk.committed_s = now
            desk.commit = self._beside(self._timed_commit(reading.commit(state, finished)))
        elif now - reading.contact_s > self._settings.lease_s * _RENEW_SHARE:
            desk.commit = self._beside(reading.renew())

    async def _timed_commit(self, commit: Coroutine[Any, Any, None]) -> None:
        with self._metrics.commit_seconds.time():
            await commit

    async def _let_go(self, desk: _Desk) -> None:
        """Give a session back that has nothing left to read."""
        self._forget(desk)
        try:
            await self._store.release(desk.reading.lease)
        except StoreUnavailableError as error:
            _log.warning("session %s keeps its lease until it ends: %s", desk.reading.key[1], error)
        self._notify(desk.reading.key)

    async def _rest(self) -> None:
        """Sleep until something happens, unless there is something to do now."""
        if self._asked or any(desk.can_step for desk in self._desks.values()):
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), self._settings.poll_s)

    async def _wind_down(self) -> None:
        """Commit what has been read and give every lease back."""
        for desk in list(self._desks.values()):
            try:
                for task in (desk.refill, desk.commit):
                    if task is not None:
                        await task
                memory = await self._on_engine(partial(self.engine.memory, desk.reading.slots))
                if desk.reading.has_news:
                    await desk.reading.commit(*await desk.reading.progress(memory))
                await self._let_go(desk)
            except (RmtServerError, RmtModelError) as error:
                self._drop(desk, error)

    # ------------------------------------------------------------------ helpers

    def _drop(self, desk: _Desk, error: BaseException) -> None:
        """Stop reading a session; what was not committed is read again by whoever leases it next."""
        if not isinstance(error, RmtServerError | RmtModelError):
            raise error
        _log.warning("session %s is dropped: %s", desk.reading.key[1], error)
        if isinstance(error, FencedError):
            self._metrics.lost_leases.inc()
        for task in (desk.refill, desk.commit):
            if task is not None and not task.cancel() and not task.cancelled():
                task.exception()  # seen now, so that asyncio does not report one that nobody has looked at
        self._forget(desk)

    def _forget(self, desk: _Desk) -> None:
        key = desk.reading.key
        del self._desks[key]
        self._turns.remove(key)
        self.engine.close(desk.reading.slots)
        self._metrics.readings.set(len(self._desks))

    def _notify(self, key: Key) -> None:
        for event in self._watchers.get(key, ()):
            event.set()

    def _fail_asked(self, error: Exception) -> None:
        while self._asked:
            asked = self._asked.popleft()
            if not asked.answers.done():
                asked.answers.set_exception(error)

    def _beside(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something beside the engine; the loop wakes when it is done."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self._wake.set())
        return task

    async def _on_engine(self, call: Callable[[], T]) -> T:
        """Run something on the thread that owns the device."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
