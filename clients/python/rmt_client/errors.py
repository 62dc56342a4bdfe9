"""Everything that can go wrong, as one tree.

    RmtError
    ├── UsageError                what the caller passed cannot work (a URL, a key)
    ├── SourceError               the document's source ended, shrank, or cannot be read again
    ├── TransportError            no answer
    │   ├── UnreachableError      could not connect: nothing was sent
    │   └── ConnectionLostError   connected, then cut or silent: unknown what arrived
    ├── GaveUpError               tried again for as long as was allowed
    ├── ProtocolError             an answer that no rmt-server gives
    └── ProblemError              the server said no, and why (RFC 9457)
        ├── BadRequestError       400
        ├── UnauthorizedError     401, 403
        ├── NotFoundError         404
        ├── ConflictError         409
        ├── StaleError            412
        ├── TooLargeError         413
        ├── InvalidError          422
        ├── RateLimitedError      429
        └── ServerError           5xx
            └── UnavailableError  502, 503, 504

`str(error)` is one sentence that says what happened; `error.hint` is one that says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class RmtError(Exception):
    """The root: catch this one to catch all of them."""

    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = self.default_hint if hint is None else hint


class UsageError(RmtError):
    """What the caller passed cannot work, whatever the server says."""


class SourceError(RmtError):
    """The document's source ended early, shrank, or cannot go back to bytes that are needed again."""


class TransportError(RmtError):
    """No answer came."""


class UnreachableError(TransportError):
    """There was no connection, so nothing was sent."""

    default_hint = "Start it with `make serve` or `rmt-server serve`, or name another with --url (RMT_URL)."


class ConnectionLostError(TransportError):
    """The connection was cut or fell silent: what was sent may or may not have arrived."""

    default_hint = "Look whether the server still runs (`rmt status`), then try again."


class GaveUpError(RmtError):
    """Trying again did not help for as long as was allowed; `__cause__` is the last failure."""


class ProtocolError(RmtError):
    """The answer is not one that an rmt-server gives."""

    default_hint = "Check that --url (RMT_URL) names an rmt-server, and one of this client's version."


class ProblemError(RmtError):
    """The server refused, with a problem document.

    Attributes:
        status: The HTTP status.
        type: The problem's type, a URI reference.
        title: The kind of problem, in words.
        detail: This occurrence, in words.
        request_id: What to look for in the server's log.
        fields: Every other member of the problem, such as `offset` or `expected-offset`.
        retry_after_s: How long the server asks to wait, if it does.
    """

    def __init__(
        self,
        status: int,
        problem: Mapping[str, Any],
        *,
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        self.status = status
        self.type = str(problem.get("type", "about:blank"))
        self.title = str(problem.get("title") or f"HTTP {status}")
        self.detail = str(problem.get("detail") or "")
        self.request_id = str(problem.get("request_id") or request_id)
        self.fields = {name: value for name, value in problem.items() if name not in _STANDARD}
        self.retry_after_s = retry_after_s
        super().__init__(self.detail or self.title)


class BadRequestError(ProblemError):
    """400: the request contradicts itself or what is there."""


class UnauthorizedError(ProblemError):
    """401 or 403: no key, or one that does not allow this."""

    default_hint = "Pass a key that allows this with --api-key (RMT_API_KEY)."


class NotFoundError(ProblemError):
    """404: there is no such thing, or it has expired, or it is another tenant's."""

    default_hint = "`rmt sessions` and `rmt snapshots` list what there is."


class ConflictError(ProblemError):
    """409: it does not fit what is there, such as another offset or another checkpoint."""


class StaleError(ProblemError):
    """412: the session has changed since the revision that was named."""

    default_hint = "Get the session again and repeat the change with its new revision."


class TooLargeError(ProblemError):
    """413: more bytes than the server takes."""

    default_hint = "Split the document, or ask the operator for a higher limit."


class InvalidError(ProblemError):
    """422: understood, but not valid; `offset` is set where bytes are not UTF-8."""

    @property
    def offset(self) -> int | None:
        """Where in the document the bytes stop being UTF-8."""
        offset = self.fields.get("byte-offset")
        return offset if isinstance(offset, int) else None


class RateLimitedError(ProblemError):
    """429: too many requests; wait `retry_after_s`."""

    default_hint = "Wait a little and try again."


class ServerError(ProblemError):
    """5xx: the server failed."""

    default_hint = "The server's log says more under this request id."


class UnavailableError(ServerError):
    """502, 503, 504: not now; the same request may succeed later."""

    default_hint = "Wait a little and try again; `rmt status` tells whether the server is ready."


_STANDARD = frozenset({"type", "title", "status", "detail", "instance", "request_id"})
_BY_STATUS: Mapping[int, type[ProblemError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: UnauthorizedError,
    404: NotFoundError,
    409: ConflictError,
    412: StaleError,
    413: TooLargeError,
    422: InvalidError,
    429: RateLimitedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def problem_class(status: int) -> type[ProblemError]:
    """Names the error class of an HTTP status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else ProblemError)
