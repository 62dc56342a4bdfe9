import asyncio
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from rmt_server.errors import FencedError, RateLimitedError, StoreUnavailableError
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.store import Quotas, Store, StoredState
from rmt_server.store import connection as connection_module
from rmt_server.store.connection import Connection

STATE = StoredState(b"\xff\x00", 0, 0, 0, "")
SCRIPTS = {path.stem for path in Path(connection_module.__file__).parent.glob("*.lua")} - {"clock", "prelude"}


class ListeningConnection(Connection):
    """A line that notes which scripts ran on which keys."""

    def __init__(self, url: str) -> None:
        super().__init__(url, max_connections=8, timeout_s=5)
        self.heard: list[tuple[str, tuple[str, ...]]] = []

    async def run(self, script: str, keys: tuple[str, ...], *arguments: Any) -> list[Any]:
        self.heard.append((script, keys))
        return await super().run(script, keys, *arguments)


async def one_life(store: Store) -> None:
    """Call everything once."""
    await store.create_session("t", "s", model="m", state=STATE, ttl_s=60)
    await store.update_session("t", "s", metadata={"a": "b"})
    await store.create_document("t", "s", "d")
    text = os.urandom(200_000)
    await store.append("t", "s", "d", offset=0, data=text, complete=False, max_unread_bytes=1 << 20)
    assert (await store.take_over("t", "s", "d")) == await store.get_document("t", "s", "d")
    await store.cancel_document("t", "s", "d")
    assert (await store.ready(10)).sessions == (("t", "s"),)
    lease = await store.lease("t", "s", "me", 10_000)
    assert lease is not None
    assert await store.unread(lease, 10, 100_000) == text[10:100_010]
    (boundary,) = await store.boundaries(lease)
    read = StoredState(b"\xfe", boundary.end_byte, 50, 2, "d")
    lease = await store.commit(lease, read, (boundary.document_id,))
    lease = await store.renew(lease, 10_000)
    assert await store.compact(lease) == 3
    await store.release(lease)
    assert (await store.ready(10)).sessions == ()
    assert await store.read_text("t", "s", 0, 300_000) == text
    (place,) = await store.document_places("t", "s")
    assert await store.char_at("t", "s", place, 150_000) == sum(byte & 0xC0 != 0x80 for byte in text[:150_000])
    assert (await store.session_state("t", "s"))[1] == read
    await store.create_snapshot("t", "p", session_id="s", model="m", state=read, ttl_s=60)
    assert len((await store.list_snapshots("t", "s")).items) == 1
    assert len((await store.list_sessions("t")).items) == 1
    await store.restore("t", "s", await store.snapshot_state("t", "p"))
    with pytest.raises(FencedError):
        await store.commit(lease, read)
    await store.keep_lane("t", "s", "lane", b"state")
    assert await store.kept_lanes("t", "s", ["lane", "other"]) == [b"state", None]
    assert await store.timeline("t", "s") == []
    assert (await store.movements("t", "s"))[1] == b""
    await store.report("t", "s", {})
    assert await store.events("t", "s", None)
    assert await store.sweep() == 0
    assert await store.stay("me", 10) == 1
    await store.leave("me")
    assert not await store.trouble()
    assert (await store.info()).append_only
    await store.delete_snapshot("t", "p")
    await store.delete_session("t", "s")


async def test_every_script_stays_in_one_slot(bench, each_redis_url: str) -> None:
    line = ListeningConnection(each_redis_url)
    await one_life(Store(line, Quotas(sessions=9, tokens_day=1000)))
    await line.close()
    assert {script for script, _ in line.heard} == SCRIPTS
    for script, keys in line.heard:
        assert len({key_slot(key.encode()) for key in keys}) == 1, script
    assert {name.split(":")[2] for name in bench.names()} == {"usage", "tokens"}  # these expire


async def test_a_redis_that_forgot_the_scripts_gets_them_again(bench) -> None:
    await one_life(bench.store)
    bench.bare.script_flush()
    await one_life(bench.store)


async def test_cancelled_calls_do_not_mix_up_answers(bench) -> None:
    async def states(number: int) -> None:
        state = StoredState(b"%d" % number, 0, 0, 0, "")
        await bench.session(f"s{number}", state=state)
        for _ in range(20):
            assert (await bench.store.session_state("t", f"s{number}"))[1] == state

    tasks = [asyncio.create_task(states(number)) for number in range(40)]
    for number, task in enumerate(tasks):
        await asyncio.sleep(0.001)
        if number % 2:
            task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(result is None for result in results[::2])
    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)


async def test_more_callers_than_connections_wait_their_turn(each_redis_url: str) -> None:
    store = Store.connect(each_redis_url, max_connections=2)
    await store.create_session("t", "s", model="m", state=STATE, ttl_s=60)
    assert len(await asyncio.gather(*(store.get_session("t", "s") for _ in range(200)))) == 200
    await store.close()


async def test_nobody_there(tmp_path: Path) -> None:
    store = Store.connect(f"unix://{tmp_path}/none.sock")
    for call in (store.get_session("t", "s"), store.ready(1), store.sweep(), store.info()):
        with pytest.raises(StoreUnavailableError):
            await call
    assert await store.trouble()
    await store.close()


async def test_redis_killed_and_started_again(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        store = Store.connect(server.url)
        await store.create_session("t", "s", model="m", state=STATE, ttl_s=60)
        await store.create_document("t", "s", "d")
        text = os.urandom(100_000)
        await store.append("t", "s", "d", offset=0, data=text, complete=False, max_unread_bytes=1 << 20)
        lease = await store.lease("t", "s", "a", 10_000)
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(StoreUnavailableError):
            await store.get_session("t", "s")
        server.stop()
        server.start()
        assert lease is not None
        done = StoredState(b"\xfe", 50_000, 1, 1, "")
        with pytest.raises(FencedError):
            await store.commit(lease, done)
        lease = await store.lease("t", "s", "b", 10_000)
        assert lease is not None
        assert await store.unread(lease, 0, 100_000) == text
        await store.commit(lease, done)
        await store.close()


async def test_a_hung_redis_times_out(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        store = Store.connect(server.url, timeout_s=0.2)
        await store.create_session("t", "s", model="m", state=STATE, ttl_s=60)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailableError):
                await store.get_session("t", "s")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert await store.get_session("t", "s")
        await store.close()


async def test_a_full_redis_is_busy(bench) -> None:
    await bench.session()
    await bench.store.create_document("t", "s", "d")
    bench.bare.config_set("maxmemory", 1)
    try:
        async with bench.refusal(StoreUnavailableError):
            await bench.append(b"x", 0)
    finally:
        bench.bare.config_set("maxmemory", 0)
    await bench.append(b"x", 0)


@pytest.fixture
def cluster_url(each_redis_server: EmbeddedRedis, tmp_path: Path) -> Iterator[str]:
    """A Redis Cluster of one node: it refuses scripts and commands on keys of several slots."""
    port = free_cluster_port()
    options = f"--port {port} --bind 127.0.0.1 --cluster-enabled yes --appendonly yes"
    process = subprocess.Popen(
        [each_redis_server._binary, *options.split(), "--dir", tmp_path], stdout=subprocess.DEVNULL
    )
    try:
        form_cluster(port)
        yield f"redis+cluster://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def free_cluster_port() -> int:
    """A free port whose bus port, 10,000 above, is free too."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as client, socket.socket() as bus, suppress(OSError):
            client.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + 10_000))
            return port


def form_cluster(port: int) -> None:
    """Give all slots to the one node, once it answers, and wait until it says that it is a cluster."""
    assigned = False
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as node:
        for _ in range(500):
            with suppress(redis.ConnectionError):
                if not assigned:
                    node.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
                    assigned = True
                if b"cluster_state:ok" in node.execute_command("CLUSTER", "INFO"):
                    return
            time.sleep(0.02)
    raise AssertionError("no cluster")


async def test_on_a_redis_cluster(cluster_url: str) -> None:
    store = Store.connect(cluster_url, quotas=Quotas(sessions=9, tokens_day=1000))
    await one_life(store)
    rates = store.rates("1/minute")
    await rates.require("t")
    with pytest.raises(RateLimitedError):
        await rates.require("t")
    await store.close()
