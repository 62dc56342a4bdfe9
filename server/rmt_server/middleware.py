"""Middleware: request ids, metrics, who is calling, and the limit of bodies that are read into memory."""

import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rmt_server.auth import KeyRing
from rmt_server.errors import TooLargeError, UnauthorizedError
from rmt_server.metrics import Metrics
from rmt_server.problems import problem_answer, unexpected
from rmt_server.requests import declared_bytes

__all__ = ["Authentication", "BodyLimit", "RequestContext"]

_NO_ANSWER = 499
_REQUEST_ID = re.compile(r"[\w.\-]{1,64}", re.ASCII)
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_STREAMED = re.compile(r"/v1/(sessions/[^/]+/)?documents(/[^/]+)?|/v1/snapshots")


class RequestContext:
    """Gives every request an id, echoes it as `X-Request-Id`, and counts and times the request.

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
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        status = _NO_ANSWER
        started = time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception as error:
            if status != _NO_ANSWER:
                raise
            await unexpected(Request(scope), error)(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self.metrics.requests.labels(method, route, status).inc()
            self.metrics.request_seconds.labels(route).observe(time.monotonic() - started)


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
        scope.setdefault("state", {})["caller"] = caller
        await self.app(scope, receive, send)


class BodyLimit:
    """Cuts off bodies above a limit, except where a route streams its body under a limit of its own."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self.app = app
        self.limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or _STREAMED.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        declared, received = declared_bytes(Request(scope)), 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive() if declared <= self.limit_bytes else {}
            received += len(message.get("body", b""))
            if max(declared, received) > self.limit_bytes:
                raise TooLargeError(self.limit_bytes)
            return message

        await self.app(scope, receive_limited, send)
