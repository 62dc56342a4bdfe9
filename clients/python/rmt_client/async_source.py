"""Sources that only an event loop can read, brought into a `Stream`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, closing

from rmt_client.source import Readable, Source, open_source
from rmt_client.stream import POLL_S, Stream

AsyncSource = Source | AsyncIterable[bytes]


@asynccontextmanager
async def open_async_source(source: AsyncSource) -> AsyncIterator[Readable]:
    """Makes any source readable, while a task feeds it if it is asynchronous."""
    if not isinstance(source, AsyncIterable):
        with closing(open_source(source)) as opened:
            yield opened
        return
    stream = Stream()
    feeding = asyncio.create_task(_feed(stream, source))
    try:
        yield stream
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])


async def _feed(stream: Stream, pieces: AsyncIterable[bytes]) -> None:
    try:
        async for piece in pieces:
            while not stream.offer(piece):  # noqa: ASYNC110 (a stream's reader may be a thread)
                await asyncio.sleep(POLL_S)
    except Exception as error:  # it belongs to whoever reads the stream
        stream.end(error)
    else:
        stream.end()
