"""Scheduler: leases sessions, feeds the engine, answers questions before it reads on, and archives progress.

One asyncio task runs the loop; one thread owns the device. Redis is spoken to beside the engine, never between two
steps. Everything that a reading has not committed can be dropped at any moment: whoever leases the session next starts
from the last commit.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from rmt_model.answering import Answer, Question
from rmt_model.engine import Engine, EngineFullError
from rmt_model.errors import RmtModelError
from rmt_model.state import ReaderState
from rmt_model.types import LaneSegment
from rmt_server.desk import Desk
from rmt_server.errors import BusyError, FencedError, RmtServerError, StoreUnavailableError
from rmt_server.logs import about_session
from rmt_server.metrics import Metrics
from rmt_server.questions import QuestionQueue
from rmt_server.reading import Reading
from rmt_server.replica import Replica
from rmt_server.settings import Settings
from rmt_server.store import Lease, Store, StoredState
from rmt_server.traces import Attributes, span

__all__ = ["Scheduler"]

T = TypeVar("T")
Key = tuple[str, str]
_log = logging.getLogger(__name__)
_LONGEST_LOOK_S = 1.0
_STORE_PAUSE_S = 1.0


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
        self._replica = Replica(store, settings)
        self._questions = QuestionQueue(engine, metrics, settings.max_waiting_questions, settings.answer_wait_s)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._desks: dict[Key, Desk] = {}
        self._turns: deque[Key] = deque()
        self._endless: list[asyncio.Task[None]] = []
        self._errands: set[asyncio.Task[None]] = set()
        self._watchers: dict[Key, set[asyncio.Event]] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._looking: asyncio.Task[list[Lease]] | None = None
        self._look_at_s = 0.0
        metrics.unread_bytes.set_function(
            lambda: sum(desk.reading.lease.session.unread_bytes for desk in self._desks.values())
        )

    async def run(self) -> None:
        """The main loop; it returns after `stop`, with everything committed and every lease given back."""
        endless = (self._replica.stay(), self._replica.sweep(self.wake), self._renew())
        self._endless = [self._beside(errand) for errand in endless]
        try:
            while not self._stopping:
                self._wake.clear()
                self._see_errands()
                await self._take_leases()
                await self._questions.answer_all(self._on_engine)
                await self._read_step()
                await self._archive()
                await self._rest()
            await self._wind_down()
        except Exception as error:
            _log.critical("the scheduler failed; this process can no longer read or answer", exc_info=True)
            self.failure = error
            raise
        finally:
            for task in (*self._endless, *self._errands):
                task.cancel()
            self._questions.fail_all(BusyError("The server is stopping.", retry_after_s=1.0))
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
        with span("answer", {"rmt.questions": len(questions)}):
            answers = self._questions.put(state, questions)
            self._wake.set()
            return await answers

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

    # ------------------------------------------------------------------ the steps of the loop

    async def _take_leases(self) -> None:
        """Begin to read what was leased, and look for more beside the engine."""
        if self._looking is not None and self._looking.done():
            leases, self._looking = self._looking.result(), None
            for lease in leases:
                await self._admit(lease)
        if self._looking is None and time.monotonic() >= self._look_at_s:
            self._look_at_s = time.monotonic() + self._settings.poll_s
            self._looking = self._beside(self._lease_ready())

    async def _lease_ready(self) -> list[Lease]:
        """Lease sessions that have something to read; where there is no room for one, another has to yield."""
        leases: list[Lease] = []
        try:
            due = await self._store.ready(2 * self._settings.max_readings)
            self._metrics.ready_sessions.set(due.hints)
            share = self._replica.share(due.hints)
            self._yield_surplus(share)
            for key in due.sessions:
                if key in self._desks:
                    continue
                if len(self._desks) + len(leases) >= share:
                    self._make_room()
                    break
                lease = await self._store.lease(*key, self._replica.owner, int(self._settings.lease_s * 1000))
                if lease is not None:
                    leases.append(lease)
        except StoreUnavailableError as error:
            _log.warning("cannot look for work: %s", error)
            self._look_at_s = time.monotonic() + _STORE_PAUSE_S
        return leases

    def _yield_surplus(self, share: int) -> None:
        """Leave what is beyond this process's share to replicas that have less, such as one that has just come."""
        staying = [desk for desk in self._desks.values() if not desk.yielding]
        staying.sort(key=lambda desk: desk.reading.since_s)
        for desk in staying[: max(0, len(staying) - share)]:
            desk.yielding = True

    def _make_room(self) -> None:
        """Let the session that has been read for the longest time be put down, once it has had its turn."""
        longest = min(self._desks.values(), key=lambda desk: desk.reading.since_s, default=None)
        if longest is not None and time.monotonic() - longest.reading.since_s >= self._settings.turn_s:
            longest.yielding = True

    async def _admit(self, lease: Lease) -> None:
        """Begin to read a leased session; of one that cannot be read here the lease is left to end by itself."""
        session, key = lease.session, (lease.session.tenant, lease.session.id)
        if session.model != self.engine.checkpoint.fingerprint:
            _log.warning("left unread: it belongs to checkpoint %s", session.model, extra=about_session(key))
            return
        try:
            reading = await self._on_engine(partial(Reading, self._store, self.engine, lease))
        except (EngineFullError, RmtModelError) as error:
            _log.warning("left unread: %s", error, extra=about_session(key))
            return
        self._desks[reading.key] = Desk(reading)
        self._turns.append(reading.key)
        self._metrics.resumes.inc(lease.resumed)
        self._metrics.readings.set(len(self._desks))

    async def _read_step(self) -> None:
        """Read the next segment of as many sessions as fit into a batch, each in its turn."""
        batch, tokens, desks = self._choose()
        if not batch:
            return
        sessions = [desk.reading.key[1] for desk in desks]
        started = time.monotonic()
        counts: Attributes = {"rmt.lanes": len(batch), "rmt.tokens": tokens, "rmt.session_ids": sessions}
        with span("step", counts) as step:
            await self._on_engine(partial(self.engine.read, batch))
        for desk in desks:
            desk.step = step.get_span_context()
        self._metrics.step_seconds.observe(time.monotonic() - started)
        self._metrics.step_lanes.observe(len(batch))
        self._metrics.lane_segments.inc(len(batch))
        self._metrics.tokens_read.inc(tokens)

    def _choose(self) -> tuple[list[LaneSegment], int, list[Desk]]:
        """Lanes of the next step, their tokens, and whose they are.

        Sessions take turns, a session's lanes stay together, and the first always fits.
        """
        batch: list[LaneSegment] = []
        tokens = 0
        desks: list[Desk] = []
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
                desks.append(desk)
        return batch, tokens, desks

    async def _archive(self) -> None:
        """Fetch text ahead, commit what is due beside the next step, and let go of sessions that are read."""
        for desk in list(self._desks.values()):
            if not self._settle(desk):
                continue
            if desk.refill is None and desk.reading.wants_text and not desk.yielding:
                desk.refill = self._beside(desk.reading.refill())
            if desk.commit is None:
                await self._commit_if_due(desk)
            if desk.may_go:
                self._forget(desk)
                self._send_out(self._let_go(desk.reading.lease))

    def _settle(self, desk: Desk) -> bool:
        """Take the results of what ran beside the engine; False when the reading had to be dropped."""
        for name in ("refill", "commit"):
            ended, error = desk.take_result(name)
            if error is not None:
                self._drop(desk, error)
                return False
            if ended and name == "commit":
                self._notify(desk.reading.key)
        return True

    async def _commit_if_due(self, desk: Desk) -> None:
        reading, now = desk.reading, time.monotonic()
        if reading.has_news and (desk.at_rest or now - desk.committed_s >= self._settings.commit_interval_s):
            memory = await self._on_engine(partial(self.engine.memory, reading.slots))
            state, finished = await reading.progress(memory)
            if desk.commit is None:  # else a renewal began meanwhile: the commit is due again when that has ended
                desk.committed_s = now
                desk.commit = self._beside(self._commit(desk, state, finished))

    async def _commit(self, desk: Desk, state: StoredState, finished: tuple[str, ...]) -> None:
        """Store progress; in a trace it follows the session's last step."""
        tenant, session_id = desk.reading.key
        facts: Attributes = {"rmt.tenant": tenant, "rmt.session_id": session_id, "rmt.read_bytes": state.read_bytes}
        with self._metrics.commit_seconds.time(), span("commit", facts, after=(desk.step,)):
            await desk.reading.commit(state, finished)
        self._metrics.state_bytes.observe(len(state.blob))

    async def _rest(self) -> None:
        """Sleep until something happens, unless there is something to do now."""
        if len(self._questions) or any(desk.can_step for desk in self._desks.values()):
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), self._settings.poll_s)

    async def _wind_down(self) -> None:
        """Commit what has been read and give every lease back."""
        if self._looking is not None:
            for lease in await self._looking:
                await self._let_go(lease)
        for desk in list(self._desks.values()):
            try:
                for task in (desk.refill, desk.commit):
                    if task is not None:
                        await task
                memory = await self._on_engine(partial(self.engine.memory, desk.reading.slots))
                if desk.reading.has_news:
                    await self._commit(desk, *await desk.reading.progress(memory))
            except (RmtServerError, RmtModelError) as error:
                self._drop(desk, error)
            else:
                self._forget(desk)  # before its lease is given back: nobody renews it any more
                await self._let_go(desk.reading.lease)
        await asyncio.gather(*self._errands)
        await self._replica.leave()

    # ------------------------------------------------------------------ beside the loop

    async def _renew(self) -> None:
        """Renew every lease that no commit has renewed, however long a step takes."""
        while True:
            for desk in self._desks.values():
                if desk.commit is None and time.monotonic() - desk.reading.contact_s > self._replica.beat_s:
                    desk.commit = self._beside(desk.reading.renew())
            await asyncio.sleep(self._replica.beat_s / 2)

    async def _let_go(self, lease: Lease) -> None:
        """Give a session back that has nothing left to read, or whose place goes to another."""
        try:
            await self._store.release(lease)
        except StoreUnavailableError as error:
            key = lease.session.tenant, lease.session.id
            _log.warning("keeps its lease until it ends: %s", error, extra=about_session(key))

    def _send_out(self, errand: Coroutine[Any, Any, None]) -> None:
        """Do something beside the loop that the loop does not wait for."""
        self._errands.add(self._beside(errand))

    def _see_errands(self) -> None:
        """Whatever broke one of them breaks the loop."""
        for task in (*self._endless, *self._errands):
            if task.done():
                task.result()
        self._errands = {task for task in self._errands if not task.done()}

    # ------------------------------------------------------------------ helpers

    def _drop(self, desk: Desk, error: BaseException) -> None:
        """Stop reading a session; what was not committed is read again by whoever leases it next."""
        if not isinstance(error, RmtServerError | RmtModelError):
            raise error
        _log.warning("dropped: %s", error, extra=about_session(desk.reading.key))
        if isinstance(error, FencedError):
            self._metrics.lost_leases.inc()
        desk.abandon()
        self._forget(desk)

    def _forget(self, desk: Desk) -> None:
        key = desk.reading.key
        del self._desks[key]
        self._turns.remove(key)
        self.engine.close(desk.reading.slots)
        self._metrics.readings.set(len(self._desks))

    def _notify(self, key: Key) -> None:
        for event in self._watchers.get(key, ()):
            event.set()

    def _beside(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run something beside the engine; the loop wakes when it is done."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self._wake.set())
        return task

    async def _on_engine(self, call: Callable[[], T]) -> T:
        """Run something on the thread that owns the device."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
