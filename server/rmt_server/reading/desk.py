"""Desks: what this process reads, and what each reading has under way beside the engine."""

import asyncio
import time
from dataclasses import dataclass, field

from opentelemetry.trace import SpanContext

from rmt_server.reading.lanes import Reading, TextIntoLanes
from rmt_server.reading.rereading import Rereading

__all__ = ["Desk", "LeasedDesk", "RereadDesk"]


@dataclass(eq=False)
class Desk:
    """A place where text is read.

    Attributes:
        refill: Fetches text ahead, while it runs.
        step: The last step that read a segment of it, in a trace.
    """

    reading: TextIntoLanes
    refill: "asyncio.Task[None] | None" = None
    step: SpanContext | None = None

    @property
    def can_step(self) -> bool:
        """Whether the next step can read a segment of it."""
        return self.reading.waiting > 0

    @property
    def wants_refill(self) -> bool:
        """Whether text should be fetched."""
        return self.refill is None and self.reading.wants_text

    def take_result(self, name: str) -> tuple[bool, BaseException | None]:
        """Whether a task has just ended, and with which error."""
        task: asyncio.Task[None] | None = getattr(self, name)
        if task is None or not task.done():
            return False, None
        setattr(self, name, None)
        return True, task.exception()

    def abandon(self) -> None:
        """Cancel what is under way; how that ends is of no interest any more."""
        _cancel(self.refill)


@dataclass(eq=False)
class RereadDesk(Desk):
    """A rereading's place."""

    reading: Rereading

    @property
    def may_go(self) -> bool:
        """Whether all has been read."""
        return self.refill is None and self.reading.at_end


@dataclass(eq=False)
class LeasedDesk(Desk):
    """The place of a session that is leased.

    Attributes:
        commit: Stores progress or renews the lease, while it runs.
        committed_s: When progress was last committed, by the monotonic clock.
        yielding: Whether the place goes to another session as soon as what was read is committed.
    """

    reading: Reading
    commit: "asyncio.Task[None] | None" = None
    committed_s: float = field(default_factory=time.monotonic)
    yielding: bool = False

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return all(task is None or task.done() for task in (self.refill, self.commit))

    @property
    def can_step(self) -> bool:
        """Whether the next step can read a segment of it."""
        return self.reading.waiting > 0 and not self.yielding

    @property
    def at_rest(self) -> bool:
        """Whether nothing is read any more: the text is at its end, or the place goes to another session."""
        return self.yielding or (self.reading.exhausted and not self.reading.waiting)

    @property
    def wants_refill(self) -> bool:
        """Whether text should be fetched."""
        return self.refill is None and self.reading.wants_text and not self.yielding

    @property
    def may_go(self) -> bool:
        """Whether the session can be given back: nothing to read, nothing to store, nothing under way."""
        return self.idle and self.at_rest and not self.reading.has_news

    def abandon(self) -> None:
        """Cancel what is under way; how that ends is of no interest any more."""
        _cancel(self.refill)
        _cancel(self.commit)


def _cancel(task: "asyncio.Task[None] | None") -> None:
    if task is not None:
        task.cancel()
        task.add_done_callback(_see)


def _see(task: "asyncio.Task[None]") -> None:
    """Look at a task's error, so that asyncio does not report one that nobody has looked at."""
    if not task.cancelled():
        task.exception()
