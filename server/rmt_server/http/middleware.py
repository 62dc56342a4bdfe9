"""Middleware: request ids, metrics, a line in the log, who is calling, and the limit of bodies held in memory."""

import asyncio
import logging
import re
import secrets
import time

from opentelemetry.trace import Span, StatusCode, format_trace_id
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rmt_server.auth import KeyRing
from rmt_server.errors import BusyError, SlowBodyError, TooLargeError, UnauthorizedError
from rmt_server.http.browsers import add_security_headers
from rmt_server.http.problems import problem_answer, unexpected
from rmt_server.logs import about, note
from rmt_server.metrics import Metrics
from rmt_server.store import Rates
from rmt_server.traces import request_span
from rmt_server.wire.requests import declared_bytes

__all__ = ["Authentication", "BodyLimit", "RateLimit", "RequestContext"]

_access = logging.getLogger("rmt_server.access")
_NO_ANSWER = 499
_FIRST_SERVER_ERROR = 500
_NO_ROUTE = "unknown"
_PROBES = frozenset({"/livez", "/readyz", "/metrics"})
_REQUEST_ID = re.compile(r"[\w.\-]{1,64}", re.ASCII)
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_STREAMED = re.compile(r"/v1/(sessions/[^/]+/)?documents(/[^/]+)?|/v1/snapshots")


class RequestContext:
    """Gives every request an id, echoes it as `X-Request-Id`, counts and times the request, and logs a line about it.

    It stands around everything else, so it also answers when something fails that nobody expected to.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        with about(request_id=exchange.request_id), request_span(exchange.method, Headers(scope=scope)) as span:
            _note_trace(span)
            try:
                await self.app(scope, exchange.receive, exchange.send)
            except Exception as error:
                if exchange.status != _NO_ANSWER:
                    raise
                await unexpected(Request(scope), error)(scope, receive, exchange.send)
            finally:
                exchange.describe(span)
                self._account(exchange)

    def _account(self, exchange: "_Exchange") -> None:
        method, route, status = exchange.method, exchange.route, exchange.status
        duration_s = time.monotonic() - exchange.started_s
        self.metrics.requests.labels(method, route, status).inc()
        self.metrics.request_seconds.labels(route).observe(duration_s)
        _access.log(
            logging.DEBUG if route in _PROBES else logging.INFO,
            "%s %s %d in %.3f s",
            *(method, route, status, duration_s),
            extra={
                "method": method,
                "route": route,
                "status": status,
                "duration_s": round(duration_s, 6),
                "received_bytes": exchange.received_bytes,
            },
        )


def _note_trace(span: Span) -> None:
    """Let the lines about a request name its trace."""
    if span.is_recording():
        note(trace_id=format_trace_id(span.get_span_context().trace_id))


class _Exchange:
    """One request and its answer, watched as they pass by."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = self.request_id
        self.method = scope["method"] if scope["method"] in _METHODS else "other"
        self.status = _NO_ANSWER
        self.received_bytes = 0
        self.started_s = time.monotonic()
        self._scope, self._receive, self._send = scope, receive, send

    @property
    def route(self) -> str:
        """The path as the routes write it, without anything of the caller's choice; known once one was found."""
        return getattr(self._scope.get("route"), "path", _NO_ROUTE)

    def describe(self, span: Span) -> None:
        """Tell a span what is known of the request now."""
        if self.route != _NO_ROUTE:
            span.update_name(f"{self.method} {self.route}")
            span.set_attribute("http.route", self.route)
        span.set_attribute("http.response.status_code", self.status)
        span.set_attribute("rmt.request_id", self.request_id)
        session_id = self._scope.get("path_params", {}).get("sid")
        if session_id is not None:
            span.set_attribute("rmt.session_id", session_id)
        if self.status >= _FIRST_SERVER_ERROR:
            span.set_status(StatusCode.ERROR)

    async def receive(self) -> Message:
        """What comes in, counted."""
        message = await self._receive()
        self.received_bytes += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """What goes out, with the request's id and what browsers should know."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            add_security_headers(headers, self._scope["path"])
        await self._send(message)


class Authentication:
    """Finds out who is calling, as `request.state.caller`, and answers 401 to others before a body byte is read.

    Where a path is open to everybody, the caller is None without a known key.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, open_paths: frozenset[str]) -> None:
        self.app = app
        self.keys = keys
        self.open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            caller = self.keys.caller(Headers(scope=scope).getlist("authorization"))
        except UnauthorizedError as error:
            if scope["path"] not in self.open_paths:
                await problem_answer(Request(scope), error)(scope, receive, send)
                return
            caller = None
        note(tenant=caller.tenant if caller else None)
        scope.setdefault("state", {})["caller"] = caller
        await self.app(scope, receive, send)


class RateLimit:
    """Counts each tenant's calls, and refuses those that are too many; not those that watch over the server."""

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self.app = app
        self.rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        caller = scope.get("state", {}).get("caller")
        if scope["type"] == "http" and caller is not None and scope["path"] not in _PROBES:
            try:
                await self.rates.require(caller.tenant)
            except BusyError as error:
                await problem_answer(Request(scope), error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class BodyLimit:
    """Cuts off bodies that are too large or stall, except where a route streams its body under limits of its own."""

    def __init__(self, app: ASGIApp, limit_bytes: int, idle_s: float) -> None:
        self.app = app
        self.limit_bytes = limit_bytes
        self.idle_s = idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or _STREAMED.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        declared, received, more = declared_bytes(Request(scope)) or 0, 0, True

        async def receive_limited() -> Message:
            nonlocal received, more
            try:
                async with asyncio.timeout(self.idle_s if more else None):
                    message = await receive() if declared <= self.limit_bytes else {}
            except TimeoutError:
                raise SlowBodyError(self.idle_s) from None
            received, more = received + len(message.get("body", b"")), message.get("more_body", False)
            if max(declared, received) > self.limit_bytes:
                raise TooLargeError(self.limit_bytes)
            return message

        await self.app(scope, receive_limited, send)
