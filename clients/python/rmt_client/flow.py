"""Operations of several steps, without the network: generators that yield actions.

Each action is answered with what came of it. Both clients carry out the same flows; only how they
send, sleep and read differs. A failed request is thrown into the flow as a `TransportError`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

from rmt_client.wire import Call, Request, Response

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pause:
    """Sleep for this long; the flow receives None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Read:
    """Take up to `size` bytes of the source from `offset` on; the flow receives a Piece."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the source that are there now.

    Attributes:
        last: No bytes will follow these.
        growing: Asked again a little later, the source may have more from the same offset on.
    """

    data: bytes
    last: bool
    growing: bool = False


Action = Request | Pause | Read
Outcome = Response | Piece | None
Flow = Generator[Action, Outcome, T]


def send(request: Request) -> Flow[Response]:
    """Sends one request."""
    outcome = yield request
    assert isinstance(outcome, Response)  # noqa: S101 (the driver's promise)
    return outcome


def read(offset: int, size: int) -> Flow[Piece]:
    """Reads the source."""
    outcome = yield Read(offset, size)
    assert isinstance(outcome, Piece)  # noqa: S101 (the driver's promise)
    return outcome


def pause(seconds: float) -> Flow[None]:
    """Sleeps."""
    yield Pause(seconds)


def once(call: Call[T]) -> Flow[T]:
    """Makes a call a single time."""
    return call.parse((yield from send(call.request)))
