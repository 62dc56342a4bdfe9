"""How long, and how often, to try again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from rmt_client.errors import GaveUpError, ProblemError, RmtError, TransportError, UnreachableError
from rmt_client.flow import Flow, once, pause, send
from rmt_client.wire import BUSY, READ_TIMEOUT_S, Call, Request, Response

T = TypeVar("T")
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Retry:
    """The policy: jittered exponential back-off, until nothing but failures came for `give_up_s`.

    A request is a failure, too, when the server says nothing for `silence_s`. Calls that neither read a document nor
    ask are given up after `short_s`, if that is less. Where the server asks to wait for longer, its refusal is raised.
    """

    give_up_s: float = 300.0
    first_pause_s: float = 0.2
    longest_pause_s: float = 10.0
    silence_s: float = READ_TIMEOUT_S
    short_s: float = 30.0


@dataclass(slots=True)
class Patience:
    """What one operation has left of it.

    `deadline_s` bounds the whole operation; `retry.give_up_s` bounds one series of failures.
    A server that cannot be reached at all at the very first try is reported at once.
    """

    retry: Retry
    deadline_s: float | None = None
    clock: Clock = time.monotonic
    jitter: Callable[[], float] = random.random
    _began_s: float = field(init=False)
    _failing_since_s: float | None = field(init=False, default=None)
    _tries: int = field(init=False, default=0)
    _met: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._began_s = self.clock()

    @property
    def left_s(self) -> float | None:
        """Time until the deadline; None without one."""
        return None if self.deadline_s is None else max(0.0, self._began_s + self.deadline_s - self.clock())

    def met(self) -> None:
        """Notes that there is a server."""
        self._met = True

    def moved(self) -> None:
        """Notes that the operation got somewhere, which ends the series of failures."""
        self._failing_since_s, self._tries = None, 0

    def after(self, error: RmtError) -> Flow[None]:
        """Waits before the next try, or raises when there shall be none."""
        if isinstance(error, UnreachableError) and not self._met:
            raise error
        if self._failing_since_s is None:
            self._failing_since_s = self.clock()
        patience_s = self._failing_since_s + self.retry.give_up_s - self.clock()
        if patience_s <= 0:
            raise GaveUpError(
                f"Gave up after {self.retry.give_up_s:g} seconds of trying again: {error}", error.hint
            ) from error
        asked_s = error.retry_after_s if isinstance(error, ProblemError) else None
        if asked_s is not None and asked_s > self.retry.give_up_s:  # it knows that trying again would not help
            raise error
        yield from self.rest(min(max(self._backoff_s(), asked_s or 0.0), patience_s), error)

    def rest(self, seconds: float, error: RmtError | None = None) -> Flow[None]:
        """Sleeps, but never past the deadline; raises at it."""
        left_s = self.left_s
        if left_s is not None and left_s <= 0:
            raise GaveUpError(
                f"It was not done within {self.deadline_s:g} seconds.",
                "The server goes on reading what it has accepted: ask again later, or allow more time.",
            ) from error
        yield from pause(seconds if left_s is None else min(seconds, left_s))

    def persist(self, request: Request) -> Flow[Response]:
        """Repeats a request that is safe to repeat until it is answered with something final."""
        while True:
            try:
                response = yield from self.send(request)
            except TransportError as error:
                yield from self.after(error)
                continue
            if response.status not in BUSY:
                return response
            yield from self.after(response.problem())

    def send(self, request: Request) -> Flow[Response]:
        """Sends once, and remembers that there is a server."""
        response = yield from send(request)
        self.met()
        return response

    def _backoff_s(self) -> float:
        pause_s = min(self.retry.longest_pause_s, self.retry.first_pause_s * 2.0 ** min(self._tries, 32))
        self._tries += 1
        return pause_s * (0.5 + self.jitter() / 2)


def persistently(call: Call[T], retry: Retry) -> Flow[T]:
    """Makes a call: again after a failure, where that is safe, or else once."""
    if not call.request.repeatable:
        return (yield from once(call))
    patience = Patience(replace(retry, give_up_s=min(retry.give_up_s, retry.short_s)))
    return call.parse((yield from patience.persist(call.request)))
