"""What only the asynchronous client can do: read asynchronous sources, and many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rmt_client import AsyncClient

from .conftest import API_KEY


async def pieces(count: int, size: int = 1000) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([97 + number % 26]) * size
        await asyncio.sleep(0)


async def test_an_asynchronous_iterable(server_url: str) -> None:
    async with AsyncClient(server_url, API_KEY) as rmt:
        session = await rmt.create_session()
        document = await rmt.read(session.id, pieces(50))
        assert document.offset == 50_000


async def test_its_failure_is_the_readers(server_url: str) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise LookupError("no more")

    async with AsyncClient(server_url, API_KEY) as rmt:
        session = await rmt.create_session()
        with pytest.raises(LookupError, match="no more"):
            await rmt.read(session.id, failing())
        assert (await rmt.get_session(session.id)).accepted_bytes == 1


async def test_many_at_a_time_more_than_there_are_threads(server_url: str) -> None:
    async with AsyncClient(server_url, API_KEY) as rmt:
        sessions = [await rmt.create_session() for _ in range(40)]
        documents = await asyncio.gather(*(rmt.read(s.id, pieces(3, 10 + n)) for n, s in enumerate(sessions)))
        assert [d.offset for d in documents] == [3 * (10 + n) for n in range(40)]


async def test_a_cancelled_read_stops_its_source(server_url: str) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"a"
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async with AsyncClient(server_url, API_KEY) as rmt:
        session = await rmt.create_session()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await rmt.read(session.id, endless())
        await asyncio.wait_for(closed.wait(), 1)
        assert (await rmt.status()).ready
