"""Together: in order, so many at a time, and none is left behind."""

import asyncio

import pytest

from rmt_server.service.together import together


async def test_results_come_in_order_and_so_many_run_at_a_time() -> None:
    running = most = 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (10 - number))
        running -= 1
        return number

    assert await together((work(number) for number in range(10)), 3) == list(range(10))
    assert most == 3
    assert await together([], 3) == []


@pytest.mark.parametrize("cancelled", [False, True])
async def test_when_one_fails_or_the_caller_leaves_the_others_end(cancelled: bool) -> None:
    ended: list[int] = []
    begun: list[int] = []

    async def work(number: int) -> None:
        begun.append(number)
        try:
            await asyncio.sleep(0 if number == 1 and not cancelled else 60)
            raise ValueError("this one failed")
        finally:
            ended.append(number)

    all_of_them = asyncio.ensure_future(together((work(number) for number in range(5)), 2))
    if cancelled:
        await asyncio.sleep(0.01)
        all_of_them.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else ValueError):
        await asyncio.wait_for(all_of_them, 5)
    assert sorted(ended) == begun
    assert 2 <= len(begun) < 5
