"""Progress: what a caller who waits is told meanwhile."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from rmt_server.event_bodies import ProgressBody
from rmt_server.problems import error_document
from rmt_server.requests import unless_disconnected
from rmt_server.service import Report, unheard
from rmt_server.sse import PING, EventStream, accepts_events, events_content, sse_event
from rmt_server.store import SessionRecord

__all__ = ["PROGRESS", "with_progress"]

PROGRESS = events_content("event")
"""How OpenAPI describes an answer that tells its progress."""

Body = TypeVar("Body", bound=BaseModel)


async def with_progress(
    request: Request, response: Response, work: Callable[[Report], Coroutine[Any, Any, Body]]
) -> Body | EventStream:
    """Do what a caller waits for; when the caller leaves, it is cancelled.

    Who asks for events is told `progress` while it is waited for, and at the end the `result`: the body, status and
    headers that the plain call answers with; or the `error`. Until there is something to wait for nothing is sent, so
    what is refused at once is refused with its status, as in the plain call.

    Args:
        request: The request, of which the whole body has been read.
        response: Carries status and headers, as a route gets it.
        work: What is to be done; it reports the session each time that it has looked at it while it waits.
    """
    if not accepts_events(request):
        return await unless_disconnected(request, work(unheard))
    latest = _Latest()
    task = asyncio.ensure_future(work(latest.put))
    try:
        await unless_disconnected(request, latest.wait_beside(task, None))
        if task.done():
            task.result()
    except BaseException:
        task.cancel()
        raise
    return EventStream(_events(request, response, task, latest), task.cancel, response.headers)


class _Latest:
    """The last progress that was reported, until it is taken."""

    def __init__(self) -> None:
        self._body: ProgressBody | None = None
        self._changed = asyncio.Event()

    def put(self, session: SessionRecord) -> None:
        body = ProgressBody.of(session)
        if body != self._body:
            self._body = body
            self._changed.set()

    def take(self) -> ProgressBody | None:
        """What has not been taken yet."""
        if not self._changed.is_set():
            return None
        self._changed.clear()
        return self._body

    async def wait_beside(self, task: "asyncio.Task[Any]", timeout_s: float | None) -> None:
        """Wait until there is something to take, the task is done, or the time is over."""
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((task, changed), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()


async def _events(
    request: Request, response: Response, task: "asyncio.Task[Body]", latest: _Latest
) -> AsyncGenerator[bytes, None]:
    ping_s = request.app.state.settings.event_ping_s
    while True:
        progress = latest.take()
        if progress is not None:
            yield sse_event("progress", progress)
        if task.done():
            break
        await latest.wait_beside(task, ping_s)
        if progress is None and not task.done():
            yield PING
    try:
        body = task.result()
    except Exception as error:
        yield sse_event("error", error_document(request, error))
        return
    status = response.status_code or request.scope["route"].status_code or 200
    result = {"status": status, "headers": dict(response.headers), "body": body.model_dump(mode="json")}
    yield sse_event("result", result)
