import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from itertools import permutations
from typing import Any

import pytest

from rmt_server.errors import FencedError, SessionNotFoundError
from rmt_server.store import Store, StoredState
from rmt_server.store.connection import Connection


@pytest.fixture
async def unread(bench):
    """A session whose document ``d`` of ten bytes waits to be read."""
    await bench.session()
    await bench.document(b"0123456789")
    return bench


async def test_only_what_waits_is_ready(bench) -> None:
    for sid in ("s", "other"):
        await bench.session(sid)
    await bench.store.create_document("t", "s", "d")
    assert (await bench.store.ready(10)).sessions == ()
    await bench.append(b"x", 0)
    assert (await bench.store.ready(10)).sessions == (("t", "s"),)


async def test_the_longest_waiting_is_first(bench) -> None:
    for sid in ("c", "a", "b"):
        await bench.session(sid)
        await bench.store.create_document("t", sid, "d")
        await bench.store.append("t", sid, "d", offset=0, data=b"x", complete=False, max_unread_bytes=9)
        await asyncio.sleep(0.002)
    assert (await bench.store.ready(2)).sessions == (
        ("t", "c"),
        ("t", "a"),
    )
    lease = await bench.store.lease("t", "c", "me", 1000)
    assert (await bench.store.ready(9)).sessions == (
        ("t", "a"),
        ("t", "b"),
    )
    await asyncio.sleep(0.002)
    await bench.store.release(lease)
    assert (await bench.store.ready(9)).sessions == (
        ("t", "a"),
        ("t", "b"),
        ("t", "c"),
    )


async def test_what_waits_is_weighed(unread) -> None:
    assert await unread.store.waiting_bytes() == 10
    await unread.session("other")
    await unread.store.create_document("t", "other", "d")
    await unread.store.append("t", "other", "d", offset=0, data=b"xyz", complete=False, max_unread_bytes=9)
    assert await unread.store.waiting_bytes() == 13
    await unread.read(await unread.lease(), 4)
    assert await unread.store.waiting_bytes() == 9
    await unread.store.delete_session("t", "s")
    assert await unread.store.waiting_bytes() == 3


async def test_a_lease_carries_all_that_a_reader_needs(unread) -> None:
    lease = await unread.lease("me", 1234)
    assert (lease.session, lease.state) == await unread.store.session_state("t", "s")
    assert (lease.owner, lease.fence, lease.lease_ms) == ("me", 1, 1234)


async def test_a_session_that_is_read_does_not_expire_under_its_reader(unread) -> None:
    """Progress puts its end off; a lease alone does not: a session that nobody can read would stay for good."""
    before = await unread.store.get_session("t", "s")
    await asyncio.sleep(0.01)
    lease = await unread.lease()
    assert lease.session.expires_at == before.expires_at
    assert (await unread.read(lease, 1)).session.expires_at > before.expires_at


async def test_no_lease_where_nothing_is_to_do(bench) -> None:
    assert await bench.store.lease("t", "s", "a", 1000) is None
    await bench.session()
    assert await bench.store.lease("t", "s", "a", 1000) is None
    await bench.store.create_document("t", "s", "d")
    assert await bench.store.lease("t", "s", "a", 1000) is None
    await bench.append(b"", 0, complete=True)
    lease = await bench.lease()
    await bench.read(lease, 0, "d")
    await bench.store.release(lease)
    assert await bench.store.lease("t", "s", "a", 1000) is None
    assert not bench.is_ready()


async def test_one_reader_at_a_time(unread) -> None:
    lease = await unread.lease("a")
    assert await unread.store.lease("t", "s", "b", 10_000) is None
    assert (await unread.store.ready(9)).sessions == ()
    await unread.store.release(lease)
    assert (await unread.lease("b")).fence == lease.fence + 1


async def test_a_dead_readers_session_is_taken_over(unread) -> None:
    old = await unread.lease("a", 100)
    assert (await unread.store.ready(9)).sessions == ()
    await asyncio.sleep(0.12)
    assert (await unread.store.ready(9)).sessions == (("t", "s"),)
    new = await unread.lease("b")
    assert new.fence > old.fence
    for call in (
        unread.read(old, 5),
        unread.store.renew(old, 1000),
        unread.store.unread(old, 0, 10),
        unread.store.compact(old),
    ):
        async with unread.refusal(FencedError):
            await call
    await unread.store.release(old)
    assert unread.is_ready()
    assert await unread.store.lease("t", "s", "a", 1000) is None
    assert (await unread.read(new, 10, "d")).session.read_bytes == 10


async def test_the_same_owner_after_a_restart_is_another_reader(unread) -> None:
    old, new = await unread.lease("a"), await unread.lease("a")
    async with unread.refusal(FencedError):
        await unread.read(old, 5)
    await unread.read(new, 5)


async def test_a_late_reader_that_nobody_replaced_goes_on(unread) -> None:
    lease = await unread.lease("a", 20)
    await asyncio.sleep(0.04)
    lease = await unread.read(lease, 5)
    assert await unread.store.unread(lease, 5, 99) == b"56789"


async def test_renewing_keeps_others_out(unread) -> None:
    lease = await unread.lease("a", 50)
    lease = await unread.store.renew(lease, 10_000)
    await asyncio.sleep(0.07)
    assert lease.lease_ms == 10_000
    assert await unread.store.lease("t", "s", "b", 1000) is None
    assert (await unread.store.ready(9)).sessions == ()
    lease = await unread.store.renew(lease, 50)
    lease = await unread.read(lease, 5)
    assert await unread.store.lease("t", "s", "b", 1000) is None


async def test_a_commit_moves_everything_together(unread) -> None:
    lease = await unread.lease()
    state = StoredState(b"\xff" * 1000, 10, tokens=7, segments=3, digest="beef")
    done = await unread.store.commit(lease, state, ("d",))
    assert (done.state, done.fence, done.session.revision) == (state, lease.fence, 1)
    assert (done.session, done.state) == await unread.store.session_state("t", "s")
    assert (done.session.state_bytes, done.session.digest, done.session.unread_bytes) == (1000, "beef", 0)
    assert await unread.store.boundaries(done) == []
    assert (await unread.store.get_document("t", "s", "d")).read


async def test_a_commit_counts_once(unread) -> None:
    lease = await unread.lease()
    await unread.read(lease, 5)
    async with unread.refusal(FencedError):
        await unread.read(lease, 5)


async def test_a_commit_sees_what_arrived_meanwhile(unread) -> None:
    lease = await unread.lease()
    await unread.document(b"more", "e")
    lease = await unread.read(lease, 10, "d")
    assert lease.session.unread_bytes == 4
    assert [each.document_id for each in await unread.store.boundaries(lease)] == ["e"]


async def test_impossible_commits(unread) -> None:
    lease = await unread.read(await unread.lease(), 5)
    for position, finished in ((4, ()), (11, ()), (9, ("d",)), (10, ("unknown",))):
        async with unread.refusal(ValueError):
            await unread.read(lease, position, *finished)
    await unread.read(lease, 10, "d")


@pytest.mark.parametrize("end", ["release", "restore", "delete"])
async def test_the_end_of_a_lease(unread, end) -> None:
    lease = await unread.read(await unread.lease(), 10, "d")
    if end == "release":
        await unread.store.release(lease)
    elif end == "restore":
        await unread.store.restore("t", "s", lease.state)
    else:
        await unread.store.delete_session("t", "s")
    for call in (
        unread.read(lease, 10),
        unread.store.renew(lease, 1000),
        unread.store.unread(lease, 0, 10),
        unread.store.compact(lease),
    ):
        async with unread.refusal(FencedError):
            await call
    await unread.store.release(lease)


async def test_an_edit_does_not_disturb_the_reader(unread) -> None:
    lease = await unread.lease()
    await unread.store.update_session("t", "s", metadata={"a": "1"})
    assert (await unread.read(lease, 5)).session.etag == "1-1"


async def test_hints_of_sessions_that_are_gone_go_too(unread) -> None:
    unread.bare.delete(unread.keys.session)
    assert (await unread.store.ready(9)).sessions == (("t", "s"),)
    assert await unread.store.lease("t", "s", "a", 1000) is None
    assert not unread.is_ready()


async def test_forgotten_sessions_are_woken(unread) -> None:
    await unread.session("idle")
    unread.bare.delete("rmt:ready")
    assert await unread.store.sweep() == 1
    assert (await unread.store.ready(9)).sessions == (("t", "s"),)


async def test_the_state_stays_small_whatever_is_read(bench) -> None:
    await bench.session()
    await bench.store.create_document("t", "s", "d")
    sizes = set()
    for number in range(20):
        await bench.append(b"x" * 100_000, number * 100_000)
        lease = await bench.read(await bench.lease(), (number + 1) * 100_000)
        sizes.add((lease.session.state_bytes, bench.bare.strlen("rmt:{t:s}:state")))
    assert len(sizes) == 1


class SteppedConnection(Connection):
    """A line that carries one command per permit, so that a test chooses the order of commands."""

    def __init__(self, url: str) -> None:
        super().__init__(url, max_connections=4, timeout_s=5)
        self.permits = asyncio.Semaphore(0)
        self.done = asyncio.Event()

    async def run(self, *arguments: Any) -> list[Any]:
        return await self._step(super().run(*arguments))

    async def command(self, *arguments: Any) -> Any:
        return await self._step(super().command(*arguments))

    async def _step(self, call: Coroutine[Any, Any, Any]) -> Any:
        await self.permits.acquire()
        try:
            return await call
        finally:
            self.done.set()


async def interleave(lines: list[SteppedConnection], calls: list[Any], order: tuple[int, ...]) -> None:
    """Run the calls, each on its line, their commands in the given order."""
    tasks = [asyncio.create_task(call) for call in calls]
    for index in order:
        if tasks[index].done():
            continue
        line = lines[index]
        line.done.clear()
        line.permits.release()
        finished = asyncio.create_task(line.done.wait())
        await asyncio.wait([tasks[index], finished], return_when=asyncio.FIRST_COMPLETED)
        finished.cancel()
        await asyncio.sleep(0)
    for task, line in zip(tasks, lines, strict=True):
        while not task.done():
            line.permits.release()
            await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)


def orders(*steps: int) -> Iterator[tuple[int, ...]]:
    """Every order in which that many steps of several calls can happen."""
    multiset = [index for index, count in enumerate(steps) for _ in range(count)]
    return iter(sorted(set(permutations(multiset))))


Calls = Callable[[list[Store], Any], list[Any]]


def append_and_release(stores: list[Store], lease: Any) -> list[Any]:
    more = stores[0].append("t", "s", "e", offset=0, data=b"!", complete=False, max_unread_bytes=99)
    return [more, stores[1].release(lease)]


def append_and_vain_lease(stores: list[Store], lease: Any) -> list[Any]:
    more = stores[0].append("t", "s", "e", offset=0, data=b"!", complete=False, max_unread_bytes=99)
    return [more, stores[1].lease("t", "s", "b", 1)]


def all_three(stores: list[Store], lease: Any) -> list[Any]:
    return [*append_and_release(stores, lease), stores[2].lease("t", "s", "b", 1)]


@pytest.mark.parametrize(
    ("calls", "released", "steps"),
    [
        (append_and_release, False, (2, 3)),
        (append_and_vain_lease, True, (2, 4)),
        (all_three, False, (2, 3, 2)),
    ],
)
async def test_no_order_of_commands_loses_a_wake_up(
    bench, each_redis_url: str, calls: Calls, released: bool, steps: tuple[int, ...]
) -> None:
    every = list(orders(*steps))
    for order in random.Random(0).sample(every, min(len(every), 60)):
        bench.bare.flushall()
        await bench.session()
        await bench.document(b"0123456789")
        lease = await bench.read(await bench.lease(), 10, "d")
        if released:
            await bench.store.release(lease)
        await bench.store.create_document("t", "s", "e")
        lines = [SteppedConnection(each_redis_url) for _ in steps]
        await interleave(lines, calls([Store(line) for line in lines], lease), order)
        session = await bench.store.get_session("t", "s")
        assert session.unread_bytes == 1
        assert bench.is_ready(), order
        for line in lines:
            await line.close()


async def test_a_session_whose_state_is_gone_is_no_session(bench) -> None:
    """Half a script, done by a Redis with a torn log, must not stop every reader."""
    await bench.session()
    await bench.document(b"some text")
    bench.bare.delete(bench.keys.all()[1])
    assert await bench.store.lease("t", "s", "a", 10_000) is None
    assert not bench.is_ready()
    with pytest.raises(SessionNotFoundError):
        await bench.append(b"more", 9, "e")
    assert (await bench.session()).accepted_bytes == 0
    await bench.document(b"other")
    assert await bench.store.unread(await bench.lease(), 0, 100) == b"other"


async def test_a_timeline_lets_go_of_empty_states_too(bench) -> None:
    await bench.session()
    await bench.document(b"x" * 4096)
    lease = await bench.lease()
    for read in range(256, 4096, 256):
        lease = await bench.store.commit(lease, StoredState(b"", read, read // 4, read // 256, "d1"), timeline_points=3)
    assert lease.session.read_bytes == 3840
    assert 1 < len(await bench.store.timeline("t", "s")) <= 3
