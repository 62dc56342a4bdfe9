"""Progress: what a caller who waits is told meanwhile."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from rmt_server.http.problems import error_document
from rmt_server.reading.rereading import RereadProgress
from rmt_server.service.citations import Citation
from rmt_server.service.listening import NOBODY, Listener
from rmt_server.store import SessionRecord
from rmt_server.wire.events import CitationsBody, DeltaBody, ProgressBody, RereadBody
from rmt_server.wire.requests import unless_disconnected
from rmt_server.wire.schemas import CitationBody
from rmt_server.wire.sse import PING, EventStream, accepts_events, events_content, sse_event

__all__ = ["PROGRESS", "News", "with_progress"]

PROGRESS = events_content("event")
"""How OpenAPI describes an answer that tells its progress."""

Body = TypeVar("Body", bound=BaseModel)


async def with_progress(
    request: Request,
    response: Response,
    work: Callable[[Listener], Coroutine[Any, Any, Body]],
    *,
    words: bool = False,
) -> Body | EventStream:
    """Do what a caller waits for; when the caller leaves, it is cancelled.

    Who asks for events is told `progress` and `reread` while it is waited for, and at the end the `result`: the body,
    status and headers that the plain call answers with; or the `error`. Until there is something to tell, or the first
    ping is due, nothing is sent: so what is refused at once is refused with its status, as in the plain call.

    Args:
        request: The request, of which the whole body has been read.
        response: Carries status and headers, as a route gets it.
        work: What is to be done; its listener hears of what happens meanwhile.
        words: Whether the caller asks for events in any case, and for the words of answers, too.
    """
    if not (words or accepts_events(request)):
        return await unless_disconnected(request, work(NOBODY))
    news = News(words=words)
    task = asyncio.ensure_future(work(news))
    await news.first(request, task)
    return EventStream(_events(request, response, task, news), task.cancel, response.headers)


class News(Listener):
    """What has been heard and not been told yet: of progress the latest, of words all, which an answer bounds."""

    def __init__(self, *, words: bool) -> None:
        self._hears_words = words
        self._session: ProgressBody | None = None
        self._told: ProgressBody | None = None
        self._reread: RereadBody | None = None
        self._words: dict[int, str] = {}
        self._citations: list[CitationsBody] = []
        self._changed = asyncio.Event()

    def session(self, record: SessionRecord) -> None:
        """How a session stands; what has not changed is no news."""
        body = ProgressBody.of(record)
        if body != self._told:
            self._session = self._told = body
            self._changed.set()

    def reread(self, progress: RereadProgress) -> None:
        """How far text has been read once more."""
        self._reread = RereadBody.of(progress)
        self._changed.set()

    def citations(self, question: int, found: Sequence[Citation]) -> None:
        """The sentences that an answer stands in."""
        if self._hears_words:
            self._citations.append(CitationsBody(question=question, citations=[CitationBody.of(one) for one in found]))
            self._changed.set()

    def words(self, question: int, text: str) -> None:
        """Further words of an answer."""
        if self._hears_words:
            self._words[question] = self._words.get(question, "") + text
            self._changed.set()

    def take(self) -> Iterator[tuple[str, BaseModel]]:
        """Names and bodies of events that have not been told yet."""
        self._changed.clear()
        if self._session is not None:
            yield "progress", self._session
        if self._reread is not None:
            yield "reread", self._reread
        for question, text in self._words.items():
            yield "delta", DeltaBody(question=question, text=text)
        for body in self._citations:
            yield "citations", body
        self._session, self._reread, self._words, self._citations = None, None, {}, []

    async def first(self, request: Request, task: "asyncio.Task[Any]") -> None:
        """Wait until there is something to tell, or it is time for a sign of life.

        What fails before that, or has no caller any more, is raised.
        """
        try:
            await unless_disconnected(request, self.wait_beside(task, request.app.state.settings.event_ping_s))
            if task.done():
                task.result()
        except BaseException:
            task.cancel()
            raise

    async def wait_beside(self, task: "asyncio.Task[Any]", timeout_s: float | None) -> None:
        """Wait until there is something to take, the task is done, or the time is over."""
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((task, changed), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()


async def _events(
    request: Request, response: Response, task: "asyncio.Task[Body]", news: News
) -> AsyncGenerator[bytes, None]:
    ping_s = request.app.state.settings.event_ping_s
    while True:
        done, told = task.done(), False
        for name, body in list(news.take()):
            yield sse_event(name, body)
            told = True
        if done:
            break
        await news.wait_beside(task, ping_s)
        if not told and not task.done():
            yield PING
    try:
        body = task.result()
    except Exception as error:
        yield sse_event("error", error_document(request, error))
        return
    status = response.status_code or request.scope["route"].status_code or 200
    result = {"status": status, "headers": dict(response.headers), "body": body.model_dump(mode="json")}
    yield sse_event("result", result)
