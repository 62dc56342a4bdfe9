"""RereadDesks: kept text that is read once more for callers who wait, a few of them at a time."""

import asyncio
from collections import deque
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rmt_model.errors import RmtModelError
from rmt_model.lane_engine import EngineFullError, LaneEngine
from rmt_model.state import ReaderState
from rmt_server.errors import BusyError, RmtServerError
from rmt_server.metrics import Metrics
from rmt_server.reading.desk import RereadDesk
from rmt_server.reading.rereading import Errand, Rereading
from rmt_server.reading.turns import Turns
from rmt_server.reading.workroom import Workroom
from rmt_server.settings import Settings
from rmt_server.store import Store

__all__ = ["RereadDesks"]


class RereadDesks:
    """Their lanes share steps with all others. A caller who leaves ends a rereading before the next step."""

    def __init__(
        self,
        store: Store,
        engine: LaneEngine,
        settings: Settings,
        metrics: Metrics,
        *,
        workroom: Workroom,
        turns: Turns,
    ) -> None:
        self._store = store
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._workroom = workroom
        self._turns = turns
        self._waiting: deque[tuple[Errand, asyncio.Future[list[ReaderState]]]] = deque()
        self._desks: list[RereadDesk] = []

    def put(self, errand: Errand) -> "asyncio.Future[list[ReaderState]]":
        """Read text once more; the states come by the future, the last one last, and cancelling it ends that.

        Raises:
            BusyError: Too many wait.
        """
        self._waiting = deque((errand, done) for errand, done in self._waiting if not done.done())
        if len(self._waiting) >= self._settings.max_waiting_rereads:
            raise BusyError(f"{len(self._waiting)} calls wait for text to be read once more.", retry_after_s=5.0)
        done: asyncio.Future[list[ReaderState]] = asyncio.get_running_loop().create_future()
        done.add_done_callback(lambda _: self._workroom.ring())
        self._waiting.append((errand, done))
        self._workroom.ring()
        return done

    async def archive(self) -> None:
        """Begin what waits where there is room, fetch text ahead, and hand out what has been read to its end."""
        await self._admit()
        for desk in list(self._desks):
            if desk.reading.done.done():
                self._forget(desk)
                continue
            ended, error = desk.take_result("refill")
            if error is not None:
                self._fail(desk, error)
                continue
            if ended:
                desk.reading.report()
            if desk.reading.wants_note:
                await desk.reading.note(await self._memory(desk))
            if desk.wants_refill:
                desk.refill = self._workroom.beside(desk.reading.refill())
            if desk.may_go:
                await self._hand_out(desk)

    def fail_all(self, error: Exception) -> None:
        """Tell every caller that there will be nothing."""
        for done in (*(done for _, done in self._waiting), *(desk.reading.done for desk in self._desks)):
            if not done.done():
                done.set_exception(error)
        self._waiting.clear()
        for desk in list(self._desks):
            self._forget(desk)

    async def _admit(self) -> None:
        while self._waiting and len(self._desks) < self._settings.max_rereads:
            errand, done = self._waiting.popleft()
            if done.done():
                continue
            try:
                reading = Rereading(self._store, self._engine, errand, done)
                await self._workroom.on_engine(reading.open)
            except (RmtModelError, EngineFullError) as error:
                if not done.done():
                    done.set_exception(BusyError(f"{error}.") if isinstance(error, EngineFullError) else error)
                continue
            except BaseException:
                self._waiting.appendleft((errand, done))  # it is told by who ends all of them
                raise
            desk = RereadDesk(reading)
            self._desks.append(desk)
            self._turns.add(desk)
            self._metrics.rereads.set(len(self._desks))

    async def _hand_out(self, desk: RereadDesk) -> None:
        await desk.reading.finish(await self._memory(desk))
        self._forget(desk)

    async def _memory(self, desk: RereadDesk) -> NDArray[np.float32]:
        return await self._workroom.on_engine(partial(self._engine.memory, desk.reading.slots))

    def _fail(self, desk: RereadDesk, error: BaseException) -> None:
        if not isinstance(error, RmtServerError | RmtModelError):
            raise error
        if not desk.reading.done.done():
            desk.reading.done.set_exception(error)
        self._forget(desk)

    def _forget(self, desk: RereadDesk) -> None:
        """Its place is free; what was read in vain is counted here, what somebody gets by who asked for it."""
        desk.abandon()
        if desk.reading.is_abandoned:
            self._workroom.send_out(self._store.spend(desk.reading.key[0], desk.reading.tokens))
        self._desks.remove(desk)
        self._turns.remove(desk)
        self._engine.close(desk.reading.slots)
        self._metrics.rereads.set(len(self._desks))
