"""Bounds on connections: how many, how large and how slow the head of a request may be, how slow its reader.

What is beyond a bound never reaches the app. It is answered here, before it is understood, and its connection ends.
"""

import json
import secrets
from asyncio import TimerHandle, Transport
from dataclasses import dataclass
from typing import ClassVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from rmt_server.errors import BadRequestError, BusyError, HeadTooLargeError, RequestTimeoutError, RmtServerError
from rmt_server.settings import Settings

__all__ = ["Bounds", "http_config"]

MAX_HEAD_FIELDS = 100
IDLE_S = 75
_LINGER_S = 1.0
_REQUEST_LINE_BYTES = 64  # what a head has beside its target and fields


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one connection, and all together, may take."""

    max_connections: int
    max_head_bytes: int
    head_timeout_s: float
    send_idle_s: float


def http_config(app: ASGIApp, settings: Settings, *, log_level: str | None = None) -> uvicorn.Config:
    """How uvicorn serves the app."""
    bounds = Bounds(settings.max_connections, settings.max_head_bytes, settings.head_timeout_s, settings.send_idle_s)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=type("BoundedConnection", (_BoundedConnection,), {"bounds": bounds}),
        ws="none",
        log_config=None,  # uvicorn's loggers go the same way as all others
        log_level=log_level,
        access_log=False,
        timeout_graceful_shutdown=int(settings.drain_s),
        timeout_keep_alive=IDLE_S,
        server_header=False,
        date_header=True,
    )


class _BoundedConnection(HttpToolsProtocol):
    """One connection."""

    bounds: ClassVar[Bounds]

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many already."""
        super().connection_made(transport)
        self._refused = self._in_head = False
        self._fields = self._head_bytes = self._aimless_bytes = 0
        self._head_timer: TimerHandle | None = None
        self._send_timer: TimerHandle | None = None
        limit = self.bounds.max_connections
        if len(self.connections) > 2 * limit:
            transport.abort()
        elif len(self.connections) > limit:
            self._refuse(BusyError(f"The limit of {limit} connections is reached.", retry_after_s=5.0))
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; nothing may go off afterwards."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        for timer in (self._head_timer, self._send_timer):
            if timer is not None:
                timer.cancel()

    # ------------------------------------------------------------------ heads

    def data_received(self, data: bytes) -> None:
        """Take what came, unless the connection is at its end, or only a head grows longer and longer."""
        if self._refused:
            return
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()
        self._aimless_bytes += len(data)
        super().data_received(data)
        if self._aimless_bytes > self.bounds.max_head_bytes + _REQUEST_LINE_BYTES and not self._refused:
            self._refuse(HeadTooLargeError(self.bounds.max_head_bytes, MAX_HEAD_FIELDS))

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        self._fields = self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Some of the request's target."""
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head. Those that may stand behind a body in chunks are dropped: nobody wants them."""
        self._fields += 1
        self._head_bytes += len(name) + len(value) + len(": \r\n")
        if self._in_head and not self._is_head_too_large:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there: serve the request."""
        self._in_head = False
        self._aimless_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self._is_head_too_large:
            self._refuse(HeadTooLargeError(self.bounds.max_head_bytes, MAX_HEAD_FIELDS))
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._aimless_bytes = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._aimless_bytes = 0
        if not self._refused:
            super().on_message_complete()

    @property
    def _is_head_too_large(self) -> bool:
        return self._head_bytes > self.bounds.max_head_bytes or self._fields > MAX_HEAD_FIELDS

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.bounds.head_timeout_s, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._in_head:
            self._refuse(RequestTimeoutError(f"The head took longer than {self.bounds.head_timeout_s:g} s."))
        else:
            self.transport.close()

    # ------------------------------------------------------------------ slow readers

    def pause_writing(self) -> None:
        """The other side reads more slowly than the answer is made; from now on it has to move."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """The other side has caught up."""
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def on_response_complete(self) -> None:
        """An answer is written; the rest of it has to be taken, however little it is."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch_reader()

    def _watch_reader(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
        unsent = self.transport.get_write_buffer_size()
        self._send_timer = self.loop.call_later(self.bounds.send_idle_s, self._require_progress, unsent)

    def _require_progress(self, unsent_bytes: int) -> None:
        now_unsent = self.transport.get_write_buffer_size()
        growing = not (self.flow.write_paused or self.cycle.response_complete)
        if now_unsent >= unsent_bytes and not growing:
            self.transport.abort()
        elif now_unsent:
            self._watch_reader()

    # ------------------------------------------------------------------ refusals

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(BadRequestError(msg))

    def _refuse(self, error: RmtServerError) -> None:
        """Answer an error and end, without a reset that could overtake the answer: what still comes is dropped.

        While an answer is under way there is no room for another: then the connection just ends.
        """
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        self.transport.write(_answer(error))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()
        self.loop.call_later(_LINGER_S, self.transport.abort)


def _answer(error: RmtServerError) -> bytes:
    """A whole response; of the request nothing is known, not even what it was about."""
    request_id = secrets.token_hex(8)
    body = json.dumps({**error.problem(), "instance": "", "request_id": request_id}).encode()
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        "X-Request-Id": request_id,
    }
    if isinstance(error, BusyError):
        headers["Retry-After"] = f"{error.retry_after_s:.0f}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[error.status] + lines.encode() + b"\r\n" + body
