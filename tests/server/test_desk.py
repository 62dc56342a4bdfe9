"""A desk: what is under way beside the engine, and how it is left."""

import asyncio
import gc
from typing import Any, cast

import pytest

from rmt_server.errors import FencedError
from rmt_server.reading.desk import LeasedDesk
from rmt_server.reading.lanes import Reading


async def fails_at_once() -> None:
    raise FencedError("lost")


async def fails_when_cancelled() -> None:
    """As a call of Redis whose refusal was on its way when it was cancelled."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise FencedError("lost") from None


@pytest.mark.parametrize("work", [fails_at_once, fails_when_cancelled])
async def test_what_was_abandoned_fails_without_a_word(work: Any) -> None:
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    desk = LeasedDesk(cast(Reading, None))
    desk.refill, desk.commit = (asyncio.get_running_loop().create_task(work()) for _ in range(2))
    await asyncio.sleep(0.01)
    desk.abandon()
    await asyncio.wait((desk.refill, desk.commit))
    desk.refill = desk.commit = None
    await asyncio.sleep(0)
    gc.collect()
    assert said == []
