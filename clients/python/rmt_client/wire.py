"""One HTTP exchange without the network: a request, its response, and what the response means."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rmt_client.errors import ProblemError, ProtocolError, problem_class

T = TypeVar("T")

READ_TIMEOUT_S = 60.0
BUSY = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to send.

    A server that says nothing for the client's `Retry.silence_s` has fallen silent. A patient request waits for its
    answer for `read_timeout_s` instead, and for as long as it takes where that is None.

    A repeatable one may be sent again when it is unknown what came of it: it changes nothing, or the server knows it by
    its `Idempotency-Key`.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    json: object | None = None
    content: bytes | None = None
    read_timeout_s: float | None = READ_TIMEOUT_S
    patient: bool = False
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def retry_after_s(self) -> float | None:
        """How long the server asks to wait; None where it does not say it in seconds."""
        value = self.headers.get("retry-after", "").strip()
        return float(value) if value.isdecimal() else None

    def json(self) -> Any:
        """Reads the body as JSON; ProtocolError when it is none."""
        try:
            return json.loads(self.content)
        except ValueError as error:
            raise ProtocolError(f"The server answered {self.status} with a body that is not JSON.") from error

    def problem(self) -> ProblemError:
        """Makes the error that this refusal stands for, whoever on the way wrote it."""
        try:
            body = json.loads(self.content)
        except ValueError:
            body = {}
        return problem_class(self.status)(
            self.status,
            body if isinstance(body, dict) else {},
            request_id=self.headers.get("x-request-id", ""),
            retry_after_s=self.retry_after_s,
        )

    def expect(self, *statuses: int) -> Response:
        """Returns itself when the status is one of these, else raises."""
        if self.status in statuses:
            return self
        if self.status >= 400:
            raise self.problem()
        raise ProtocolError(f"The server answered {self.status} where {statuses} was expected.")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and how to read its answer."""

    request: Request
    parse: Callable[[Response], T]


def reads(model: Callable[[Any], T], *statuses: int) -> Callable[[Response], T]:
    """Builds a parser: one of `statuses`, then `model` over the JSON body."""

    def parse(response: Response) -> T:
        data = response.expect(*statuses).json()
        try:
            return model(data)
        except (KeyError, TypeError, ValueError) as error:
            message = f"The server answered {response.status} without what belongs in it ({error})."
            raise ProtocolError(message) from error

    return parse


def nothing(response: Response) -> None:
    """Parses the answer of a deletion."""
    response.expect(204)


def body(response: Response) -> bytes:
    """Parses a download."""
    return response.expect(200).content
