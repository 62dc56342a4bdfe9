"""A relay, such as between a server and its Redis: it delays what passes, cuts it, and leads elsewhere."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Self


class Relay:
    """Listens on a port of its own and passes bytes on, in a thread; a context manager.

    Attributes:
        target: A port or a unix socket where new connections lead.
        delay_s: How long each piece of bytes is held up, there and back.
    """

    def __init__(self, target: int | str) -> None:
        self.target = target
        self.delay_s = 0.0
        self.port = 0
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection that there is."""
        self._loop.call_soon_threadsafe(self._cut)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._ended.wait()
        server.close()
        while self._writers:
            self._cut()
            await asyncio.sleep(0.01)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await self.open()
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there[1]}
        await asyncio.gather(self._pass_on(reader, there[1]), self._pass_on(there[0], writer))
        self._writers -= {writer, there[1]}

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the target."""
        if isinstance(self.target, str):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection("127.0.0.1", self.target)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 20):
                await asyncio.sleep(self.delay_s)
                writer.write(piece)
                await writer.drain()
        writer.close()
