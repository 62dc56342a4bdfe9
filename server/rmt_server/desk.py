"""Desk: one reading, and what it has under way beside the engine."""

import asyncio
import time
from dataclasses import dataclass, field

from opentelemetry.trace import SpanContext

from rmt_server.reading import Reading

__all__ = ["Desk"]


@dataclass(eq=False)
class Desk:
    """A reading's place in this process.

    Attributes:
        refill: Fetches text ahead, while it runs.
        commit: Stores progress or renews the lease, while it runs.
        committed_s: When progress was last committed, by the monotonic clock.
        step: The last step that read a segment of it, in a trace.
        yielding: Whether the place goes to another session as soon as what was read is committed.
    """

    reading: Reading
    refill: "asyncio.Task[None] | None" = None
    commit: "asyncio.Task[None] | None" = None
    committed_s: float = field(default_factory=time.monotonic)
    yielding: bool = False
    step: SpanContext | None = None

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
    def may_go(self) -> bool:
        """Whether the session can be given back: nothing to read, nothing to store, nothing under way."""
        return self.idle and self.at_rest and not self.reading.has_news

    def take_result(self, name: str) -> tuple[bool, BaseException | None]:
        """Whether `refill` or `commit` has just ended, and with which error."""
        task: asyncio.Task[None] | None = getattr(self, name)
        if task is None or not task.done():
            return False, None
        setattr(self, name, None)
        return True, task.exception()

    def abandon(self) -> None:
        """Cancel what is under way; how that ends is of no interest any more."""
        for task in (self.refill, self.commit):
            if task is not None:
                task.cancel()
                task.add_done_callback(_see)


def _see(task: "asyncio.Task[None]") -> None:
    """Look at a task's error, so that asyncio does not report one that nobody has looked at."""
    if not task.cancelled():
        task.exception()
