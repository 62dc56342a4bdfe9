"""LeasedDesks: the sessions that this process reads: leased, read ahead, committed, renewed and let go."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from rmt_model.errors import RmtModelError
from rmt_model.lane_engine import KEPT_MOVEMENTS, EngineFullError, LaneEngine
from rmt_server.errors import FencedError, RmtServerError, StoreUnavailableError
from rmt_server.logs import about_session
from rmt_server.metrics import Metrics
from rmt_server.reading.desk import LeasedDesk
from rmt_server.reading.lanes import Progress, Reading
from rmt_server.reading.replica import Replica
from rmt_server.reading.turns import Turns
from rmt_server.reading.workroom import Workroom
from rmt_server.settings import Settings
from rmt_server.store import Lease, Store
from rmt_server.traces import Attributes, span

__all__ = ["LeasedDesks"]

Key = tuple[str, str]
_log = logging.getLogger(__name__)
_STORE_PAUSE_S = 1.0
_LEAST_PAUSE_S = 0.005
"""However many say that there is work, looking for it takes no more than a part of the loop's time."""


class LeasedDesks:
    """The readings of this process.

    Everything that one has not committed can be dropped at any moment: whoever leases the session next starts from the
    last commit.

    Args:
        store: Where sessions are.
        engine: What reads them.
        settings: How many, and how long each.
        metrics: Counts them.
        workroom: Where this works.
        turns: Gets a turn for each.
        notify: Is told which session has a new commit.
    """

    def __init__(
        self,
        store: Store,
        engine: LaneEngine,
        settings: Settings,
        metrics: Metrics,
        *,
        workroom: Workroom,
        turns: Turns,
        notify: Callable[[Key], None],
    ) -> None:
        self._store = store
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._workroom = workroom
        self._turns = turns
        self._notify = notify
        self._replica = Replica(store, settings)
        self._desks: dict[Key, LeasedDesk] = {}
        self._coming: dict[Key, asyncio.Task[Reading | None]] = {}
        self._look_now = asyncio.Event()
        self._looking = asyncio.Lock()
        self._ending = False
        metrics.unread_bytes.set_function(
            lambda: sum(desk.reading.lease.session.unread_bytes for desk in self._desks.values())
        )

    def begin(self) -> None:
        """Say that this process is there, look for what was forgotten, and keep leases, beside the loop."""
        replica = self._replica
        self._workroom.keep_doing(replica.stay(), replica.sweep(self.look_at_once), self._renew(), self._look())

    def look_at_once(self) -> None:
        """There may be work: do not wait for the next poll, or for the end of a step."""
        self._look_now.set()

    async def take(self) -> None:
        """Begin to read what was leased meanwhile and has its first text."""
        for key, task in list(self._coming.items()):
            if task.done():
                reading = task.result()
                if reading is not None:
                    await self._admit(reading)
                del self._coming[key]  # at the end: until then it takes a place here, and nobody leases it again

    async def _look(self) -> None:
        """Look for work beside the loop, so that no session waits for a step before its first text is fetched."""
        while not self._ending:
            self._look_now.clear()
            async with self._looking:
                pause_s = await self._lease_ready()
            await asyncio.sleep(_LEAST_PAUSE_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), pause_s)

    async def _lease_ready(self) -> float:
        """Lease sessions that have something to read; where there is no room for one, another has to yield.

        Returns:
            How long to wait before the next look, in seconds.
        """
        try:
            due = await self._store.ready(2 * self._settings.max_readings)
            self._metrics.ready_sessions.set(due.hints)
            share = self._replica.share(due.hints)
            self._yield_surplus(share)
            for key in due.sessions:
                if self._ending:
                    break
                if key in self._desks or key in self._coming:
                    continue
                if not self._has_room(share):
                    self._make_room()
                    break
                lease = await self._store.lease(*key, self._replica.owner, int(self._settings.lease_s * 1000))
                if lease is not None:
                    self._coming[key] = self._workroom.beside(self._prepare(lease))
        except StoreUnavailableError as error:
            _log.warning("cannot look for work: %s", error)
            return _STORE_PAUSE_S
        return self._settings.poll_s

    async def _prepare(self, lease: Lease) -> Reading | None:
        """Fetch the first text of a leased session; of one that cannot be read here the lease ends by itself."""
        session, key = lease.session, (lease.session.tenant, lease.session.id)
        if session.model != self._engine.served.fingerprint:
            _log.warning("left unread: it belongs to checkpoint %s", session.model, extra=about_session(key))
            return None
        try:
            reading = Reading(self._store, self._engine, lease)
            await reading.refill()
        except (RmtModelError, RmtServerError) as error:
            self._see_dropped(key, error)
            return None
        return reading

    def _has_room(self, share: int) -> bool:
        """Whether one more fits into this process, and into its share; of that who has been read takes nothing."""
        at_work = sum(not desk.at_rest for desk in self._desks.values())
        taken = len(self._desks) + len(self._coming)
        return taken < self._settings.max_readings and at_work + len(self._coming) < share

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

    async def _admit(self, reading: Reading) -> None:
        """Begin to read a session whose first text is there."""
        try:
            await self._workroom.on_engine(reading.open)
        except (EngineFullError, RmtModelError) as error:
            _log.warning("left unread: %s", error, extra=about_session(reading.key))
            return
        desk = self._desks[reading.key] = LeasedDesk(reading)
        self._turns.add(desk)
        self._metrics.resumes.inc(reading.lease.resumed)
        self._metrics.readings.set(len(self._desks))

    async def archive(self) -> None:
        """Commit what is due beside the next step, fetch text ahead, and let go of sessions that are read."""
        desks = [desk for desk in list(self._desks.values()) if self._settle(desk)]
        if full := [desk for desk in desks if desk.reading.unheard_segments == KEPT_MOVEMENTS]:
            await self._memories(full)
        for desk in desks:
            if desk.reading.wants_end_kept:
                await desk.reading.keep_end(*await self._memories([desk]))
        await self.commit_due(desks)
        for desk in desks:
            if desk.wants_refill:
                desk.refill = self._workroom.beside(desk.reading.refill())
            if desk.may_go:
                self._forget(desk)
                self._workroom.send_out(self._let_go(desk.reading.lease))

    async def _memories(self, desks: Sequence[LeasedDesk]) -> list[NDArray[np.float32]]:
        """The memory of each, which learns how far that moved: one visit to the engine."""
        slots = [slot for desk in desks for slot in desk.reading.slots]
        memory, moved = await self._workroom.on_engine(lambda: (self._engine.memory(slots), self._engine.moved(slots)))
        memories = np.split(memory, np.cumsum([len(desk.reading.slots) for desk in desks])[:-1])
        lanes = iter(moved)
        for desk in desks:
            desk.reading.hear_moved([next(lanes) for _ in desk.reading.slots])
        return memories

    def _settle(self, desk: LeasedDesk) -> bool:
        """Take the results of what ran beside the engine; False when the reading had to be dropped."""
        for name in ("refill", "commit"):
            _, error = desk.take_result(name)
            if error is not None:
                self._drop(desk, error)
                return False
        return True

    async def commit_due(self, desks: Sequence[LeasedDesk]) -> None:
        """Begin to commit the progress of those that have any and whose time has come: one download for all."""
        now = time.monotonic()
        due = [desk for desk in desks if self._is_due(desk, now)]
        if not due:
            return
        for desk, memory in zip(due, await self._memories(due), strict=True):
            progress = await desk.reading.progress(memory)
            if desk.commit is None:  # else a renewal began meanwhile: the commit is due again when that has ended
                desk.committed_s = now
                desk.commit = self._workroom.beside(self._commit(desk, progress))

    def _is_due(self, desk: LeasedDesk, now: float) -> bool:
        """Whether to commit now; where text is just turned into tokens, after the next step: none waits for that."""
        if desk.commit is not None or not desk.reading.has_news:
            return False
        its_time = now - desk.committed_s >= self._settings.commit_interval_s
        return desk.at_rest or (its_time and not desk.reading.is_fed)

    async def _commit(self, desk: LeasedDesk, progress: Progress) -> None:
        """Store progress; in a trace it follows the session's last step."""
        tenant, session_id = desk.reading.key
        state = progress.state
        facts: Attributes = {"rmt.tenant": tenant, "rmt.session_id": session_id, "rmt.read_bytes": state.read_bytes}
        with span("commit", facts, after=(desk.step,)):
            points = min(self._settings.timeline_points, self._settings.max_timeline_bytes // len(state.blob))
            store_s = await desk.reading.commit(progress, points)
        self._notify(desk.reading.key)
        self._metrics.commit_seconds.observe(store_s)
        self._metrics.state_bytes.observe(len(state.blob))

    async def wind_down(self) -> None:
        """Commit what has been read and give every lease back."""
        await self._end_looking()
        for desk in list(self._desks.values()):
            try:
                for task in (desk.refill, desk.commit):
                    if task is not None:
                        await task
                if desk.reading.wants_end_kept:
                    await desk.reading.keep_end(*await self._memories([desk]))
                if desk.reading.has_news:
                    await self._commit(desk, await desk.reading.progress(*await self._memories([desk])))
            except (RmtServerError, RmtModelError) as error:
                self._drop(desk, error)
            else:
                self._forget(desk)  # before its lease is given back: nobody renews it any more
                await self._let_go(desk.reading.lease)
        await self._workroom.finish_errands()
        await self._replica.leave()

    async def _end_looking(self) -> None:
        """Look for nothing any more, and give back what was leased and not begun."""
        self._ending = True
        async with self._looking:  # the last look has ended
            self._look_now.set()
        for task in self._coming.values():
            reading = await task
            if reading is not None:
                await self._let_go(reading.lease)
        self._coming.clear()

    async def _renew(self) -> None:
        """Renew every lease that no commit has renewed, however long a step takes."""
        while True:
            for desk in self._desks.values():
                if desk.commit is None and time.monotonic() - desk.reading.contact_s > self._replica.beat_s:
                    desk.commit = self._workroom.beside(desk.reading.renew())
            await asyncio.sleep(self._replica.beat_s / 2)

    async def _let_go(self, lease: Lease) -> None:
        """Give a session back that has nothing left to read, or whose place goes to another."""
        try:
            await self._store.release(lease)
        except StoreUnavailableError as error:
            key = lease.session.tenant, lease.session.id
            _log.warning("keeps its lease until it ends: %s", error, extra=about_session(key))

    def _drop(self, desk: LeasedDesk, error: BaseException) -> None:
        """Stop reading a session; what was not committed is read again by whoever leases it next."""
        if not isinstance(error, RmtServerError | RmtModelError):
            raise error
        self._see_dropped(desk.reading.key, error)
        desk.abandon()
        self._forget(desk)

    def _see_dropped(self, key: Key, error: Exception) -> None:
        _log.warning("dropped: %s", error, extra=about_session(key))
        if isinstance(error, FencedError):
            self._metrics.lost_leases.inc()

    def _forget(self, desk: LeasedDesk) -> None:
        del self._desks[desk.reading.key]
        self._turns.remove(desk)
        self._engine.close(desk.reading.slots)
        self._metrics.readings.set(len(self._desks))
