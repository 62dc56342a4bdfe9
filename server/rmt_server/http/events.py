"""Events: streams that follow a session, whichever process reads it."""

import time
from collections.abc import AsyncGenerator, Sequence

from starlette.requests import Request

from rmt_server.errors import BusyError, RmtServerError, StoreUnavailableError
from rmt_server.http.problems import error_document, problem_document
from rmt_server.metrics import Metrics
from rmt_server.reading.scheduler import Scheduler
from rmt_server.settings import Settings
from rmt_server.store import EventRecord, Store
from rmt_server.wire.events import event_body
from rmt_server.wire.sse import PING, EventStream, sse_event

__all__ = ["EventStreams"]


class EventStreams:
    """The streams that are open in this process. Each asks the store now and then; none holds a connection to it."""

    def __init__(self, store: Store, scheduler: Scheduler, settings: Settings, metrics: Metrics) -> None:
        self._store = store
        self._scheduler = scheduler
        self._settings = settings
        self._open = 0
        metrics.event_streams.set_function(lambda: self._open)

    async def follow(self, request: Request, tenant: str, sid: str, after: str | None) -> EventStream:
        """A stream of what happens in a session after an event; without one, from how it stands now.

        Raises:
            SessionNotFoundError: There is no such session.
            BusyError: Too many streams are open, or the server is stopping.
        """
        if self._scheduler.stopping:
            raise BusyError("The server is stopping.")
        if self._open >= self._settings.max_event_streams:
            raise BusyError(f"{self._open} event streams are open.", retry_after_s=5.0)
        self._open += 1
        try:
            first = await self._store.events(tenant, sid, after)
        except BaseException:
            self._close()
            raise
        return EventStream(self._events(request, (tenant, sid), after, first), self._close)

    def _close(self) -> None:
        self._open -= 1

    async def _events(
        self, request: Request, key: tuple[str, str], after: str | None, events: Sequence[EventRecord]
    ) -> AsyncGenerator[bytes, None]:
        moved_s = told_s = time.monotonic()
        failing_since_s = None
        while True:
            for event in events:
                yield _rendered(request, event)
                after = event.id
                moved_s = told_s = time.monotonic()
            if self._scheduler.stopping:
                return  # whoever wants to know more goes to another process, and says what came last
            if not events:
                await self._scheduler.watch(key, moved_s)
            if time.monotonic() - told_s >= self._settings.event_ping_s:
                yield PING
                told_s = time.monotonic()
            try:
                events, failing_since_s = await self._store.events(*key, after), None
            except RmtServerError as error:
                events, failing_since_s = (), failing_since_s or time.monotonic()
                if not isinstance(error, StoreUnavailableError) or self._is_over(failing_since_s):
                    yield sse_event("error", error_document(request, error), after)
                    return

    def _is_over(self, failing_since_s: float) -> bool:
        """Whether the store has been away for longer than anybody waits for it."""
        return time.monotonic() - failing_since_s >= self._settings.back_pressure_wait_s


def _rendered(request: Request, event: EventRecord) -> bytes:
    data = problem_document(request, event.problem) if event.kind == "error" else event_body(event)
    return sse_event(event.kind, data, event.id)
