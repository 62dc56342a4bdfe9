"""Replicas on one Redis: who is there, who sweeps, and what goes on when Redis is full."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import StoreBench, stored_state

from rmt_server.errors import StoreUnavailableError


@contextmanager
def full(bench: StoreBench) -> Iterator[None]:
    bench.bare.config_set("maxmemory", 1)
    try:
        yield
    finally:
        bench.bare.config_set("maxmemory", 0)


async def test_replicas_count_while_they_say_that_they_are_there(bench: StoreBench) -> None:
    assert await bench.store.stay("a", 60) == 1
    assert await bench.store.stay("b", 60) == 2
    assert await bench.store.stay("a", 60) == 2
    await bench.store.leave("a")
    assert await bench.store.stay("b", 0.05) == 1
    await asyncio.sleep(0.1)
    assert bench.names() == set()
    assert await bench.store.stay("c", 60) == 1


async def test_the_last_of_them_leaves_no_key(bench: StoreBench) -> None:
    await bench.store.stay("a", 60)
    await bench.store.stay("b", 0.05)
    await bench.store.leave("a")
    await bench.store.leave("b")
    assert bench.names() == set()


async def test_one_replica_sweeps_in_an_interval(bench: StoreBench) -> None:
    assert [await bench.store.is_my_sweep(owner, 0.05) for owner in "aba"] == [True, False, False]
    await asyncio.sleep(0.1)
    assert await bench.store.is_my_sweep("b", 0.05)


async def test_of_what_expired_the_sweep_leaves_no_key(bench: StoreBench) -> None:
    for number in range(250):
        await bench.session(f"s{number}", ttl_s=1 if number else 60)
    await bench.store.create_snapshot("t", "p", session_id="s0", model="m", state=stored_state(), ttl_s=0.05)
    await bench.store.create_snapshot("t", "q", session_id="s0", model="m", state=stored_state(), ttl_s=60)
    await asyncio.sleep(1.1)
    await bench.store.sweep()
    assert [one.id for one in (await bench.store.list_sessions("t")).items] == ["s0"]
    assert bench.bare.zcard("rmt:{t}:sessions") == bench.bare.zcard("rmt:{t}:snapshots") == 1
    assert bench.bare.zcard("rmt:{t:s0}:snapshots") == 1
    await bench.store.update_session("t", "s0", ttl_s=0.05)
    await bench.store.delete_snapshot("t", "q")
    await asyncio.sleep(0.1)
    await bench.store.sweep()
    assert bench.names() == set()


async def test_a_full_redis_still_lets_readers_finish(bench: StoreBench) -> None:
    text = os.urandom(200_000)
    await bench.session()
    await bench.document(text)
    with full(bench):
        assert "full" in await bench.store.trouble()
        lease = await bench.lease()
        assert await bench.store.unread(lease, 0, 1000) == text[:1000]
        lease = await bench.store.renew(lease, 10_000)
        lease = await bench.read(lease, 150_000)
        lease = await bench.read(lease, 200_000, "d")
        assert await bench.store.compact(lease) == 3
        await bench.store.release(lease)
        async with bench.refusal(StoreUnavailableError, match="maxmemory"):
            await bench.store.create_document("t", "s", "e")
        assert (await bench.store.get_session("t", "s")).is_read
        await bench.store.delete_session("t", "s")
    assert not await bench.store.trouble()
    assert bench.names() == set()


async def test_text_that_is_not_kept_makes_room_in_a_full_redis(bench: StoreBench) -> None:
    await bench.session(keep_text=False)
    await bench.document(os.urandom(200_000))
    with full(bench):
        before = bench.bare.memory_usage(bench.keys.all()[2])
        await bench.read(await bench.lease(), 200_000, "d")
        assert before > 190_000
        assert not bench.bare.exists(bench.keys.all()[2])


async def test_a_redis_that_misses_its_replicas_takes_no_changes(bench: StoreBench) -> None:
    bench.bare.config_set("min-replicas-to-write", 1)
    try:
        assert "replicas" in await bench.store.trouble()
    finally:
        bench.bare.config_set("min-replicas-to-write", 0)
    assert not await bench.store.trouble()


async def test_a_replica_of_redis_takes_no_changes(bench: StoreBench) -> None:
    bench.bare.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        assert "replica" in await bench.store.trouble()
    finally:
        bench.bare.execute_command("REPLICAOF", "NO", "ONE")
    assert not await bench.store.trouble()
