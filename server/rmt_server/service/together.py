"""Together: several pieces of one call's work at the same time."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

__all__ = ["together"]

T = TypeVar("T")


async def together(works: Iterable[Coroutine[Any, Any, T]], most: int) -> list[T]:
    """What each gives, in order, with at most so many under way; where one fails the others are cancelled."""
    turns = asyncio.Semaphore(most)

    async def in_turn(work: Coroutine[Any, Any, T]) -> T:
        async with turns:
            return await work

    all_works = list(works)
    tasks = [asyncio.ensure_future(in_turn(work)) for work in all_works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    finally:
        for work in all_works:  # one whose turn never came
            work.close()
