"""Workroom: the thread that owns the device, the errands beside it, and the bell that wakes the loop."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TypeVar

__all__ = ["OnEngine", "Workroom"]

T = TypeVar("T")


class OnEngine(Protocol):
    """Runs something on the thread that owns the device."""

    async def __call__(self, call: Callable[[], T]) -> T:
        """What the call gives."""
        ...


class Workroom:
    """Where the scheduler's loop works. Everything but `ring` belongs to one event loop.

    Args:
        yields: Whether the engine's thread, and those that it starts, take only what others leave of the processors, so
            that a door or a Redis that has something to do need not wait for the end of their turn.
    """

    def __init__(self, *, yields: bool = False) -> None:
        initializer = _yield_to_others if yields else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine", initializer=initializer)
        self._bell = asyncio.Event()
        self._endless: list[asyncio.Task[None]] = []
        self._errands: set[asyncio.Task[None]] = set()

    def ring(self) -> None:
        """Wake the loop: there may be work."""
        self._bell.set()

    def hush(self) -> None:
        """From now on the bell tells what is new."""
        self._bell.clear()

    async def rest(self, timeout_s: float) -> None:
        """Sleep until the bell rings, or the time is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._bell.wait(), timeout_s)

    async def on_engine(self, call: Callable[[], T]) -> T:
        """Run something on the thread that owns the device."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def beside(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run something beside the engine; the loop wakes when it is done."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self.ring())
        return task

    def keep_doing(self, *endless: Coroutine[Any, Any, None]) -> None:
        """Do these beside the loop until it ends."""
        self._endless = [self.beside(one) for one in endless]

    def send_out(self, errand: Coroutine[Any, Any, None]) -> None:
        """Do something beside the loop that the loop does not wait for."""
        self._errands.add(self.beside(errand))

    def see_errands(self) -> None:
        """Whatever broke one of them breaks the loop."""
        for task in (*self._endless, *self._errands):
            if task.done():
                task.result()
        self._errands = {task for task in self._errands if not task.done()}

    async def finish_errands(self) -> None:
        """Wait for those that have an end."""
        await asyncio.gather(*self._errands)

    def close(self) -> None:
        """Cancel what goes on; the thread ends by itself."""
        for task in (*self._endless, *self._errands):
            task.cancel()
        self._thread.shutdown(wait=False)


def _yield_to_others() -> None:
    """Let this thread run when no other wants to, where it can choose that: on Linux, outside of some sandboxes.

    A lower priority alone does not do: its turn of 3 ms would still be finished before whoever wakes up.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
