"""What stands in the way of a server under test, and calls beside it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.serving import wait_for

from rmt_model.engine import Engine
from rmt_server.errors import BackPressureError
from rmt_server.store import Store


class Throttle:
    """Stands before an engine's steps: slows them down, stops them, or makes them fail."""

    def __init__(self, engine: Engine) -> None:
        self.seconds = self.seconds_a_token = 0.0
        self.error: Exception | None = None
        self.open = threading.Event()
        self.open.set()
        self.lanes_read: list[int] = []
        self.answered = 0
        self.arrived = 0
        self.tokens_decoded = 0
        self._read, self._decode, self._advance = engine.read, engine.decode, engine.advance
        engine.read, engine.decode = self.read, self.decode  # type: ignore[method-assign]
        engine.advance = self.advance  # type: ignore[method-assign]

    def read(self, segments: Any) -> None:
        self._pass()
        self.lanes_read.append(len(segments))
        self._read(segments)

    def decode(self, memory: Any, prompts: Any) -> Any:
        self._pass()
        self.answered += len(prompts)
        return self._decode(memory, prompts)

    def advance(self, decoding: Any) -> None:
        time.sleep(self.seconds_a_token)
        self.tokens_decoded += sum(not row.finished for row in decoding.rows)
        self._advance(decoding)

    def _pass(self) -> None:
        self.arrived += 1
        time.sleep(self.seconds)
        assert self.open.wait(30)
        if self.error is not None:
            raise self.error


class HeldBack:
    """Stands before a store's appends, and knows the requests that wait there for the reader."""

    def __init__(self, store: Store) -> None:
        self.requests: set[Any] = set()
        self._append = store.append
        store.append = self.append  # type: ignore[method-assign]

    async def append(self, *place: str, **piece: Any) -> Any:
        try:
            return await self._append(*place, **piece)
        except BackPressureError:
            self.requests.add(asyncio.current_task())
            raise

    def wait_for(self, requests: int) -> None:
        wait_for(lambda: len(self.requests) == requests, what=f"{requests} requests to be held back")


@contextmanager
def in_background(call: Callable[[], Any]) -> Iterator[list[Any]]:
    """Calls beside what happens inside, and has ended after it; the list gets what was returned."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    try:
        yield found
    finally:
        thread.join(30)
        assert not thread.is_alive()
