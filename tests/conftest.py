"""What tests of several rooms share: a real Redis, and a store on it.

``redis_url`` is one empty Redis for a test. ``each_redis_url`` runs the test on every redis-server there is:
on the PATH, in wheels, and those named in ``RMT_TEST_REDIS_SERVERS`` (paths, separated by colons).
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from rmt_server.keys import READY, SessionKeys
from rmt_server.redis_process.server import EmbeddedRedis, redis_server_candidates, redis_server_version
from rmt_server.store import DocumentRecord, Lease, SessionRecord, Store, StoredState


def found_redis_servers() -> dict[str, Path | None]:
    """Every redis-server for the tests, by its version; without one, tests fail and say why."""
    named = [Path(path) for path in os.environ.get("RMT_TEST_REDIS_SERVERS", "").split(":") if path]
    binaries = [*redis_server_candidates(), *named]
    found = {".".join(map(str, redis_server_version(binary))): binary for binary in binaries}
    return found or {"none": None}


# A shell starts what runs in its background with SIGINT ignored, and processes that the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Node and npm come with the development packages.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

pytest_plugins = ["tests.tiny_models", "tests.serving"]
JAVASCRIPT = Path(__file__).parents[1] / "clients" / "javascript"
REDIS_SERVERS = found_redis_servers()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """What npm installs for the JavaScript client and its tests."""
    folder = os.open(JAVASCRIPT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # `make test` runs two folders of tests at a time
        if not (JAVASCRIPT / "node_modules" / ".package-lock.json").exists():
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=JAVASCRIPT, check=True)
    finally:
        os.close(folder)
    return JAVASCRIPT / "node_modules"


def emptied(server: EmbeddedRedis) -> str:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return server.url


@pytest.fixture(scope="session", params=REDIS_SERVERS.values(), ids=REDIS_SERVERS)
def each_redis_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("each-redis"), binary=request.param) as server:
        yield server


@pytest.fixture
def each_redis_url(each_redis_server: EmbeddedRedis) -> str:
    return emptied(each_redis_server)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    return emptied(redis_server)


def stored_state(read_bytes: int = 0, blob: bytes = b"\x00\xff state \r\n") -> StoredState:
    return StoredState(blob, read_bytes, tokens=read_bytes // 4, segments=read_bytes // 256, digest="d1")


@dataclass
class StoreBench:
    """A store with one session ``s`` of tenant ``t``, short calls for it, and a view of the bare keys."""

    store: Store
    bare: "redis.Redis"
    keys: SessionKeys

    async def session(self, sid: str = "s", state: StoredState | None = None, **more: Any) -> SessionRecord:
        options = {"model": "m", "ttl_s": 60.0, "state": state or stored_state(), **more}
        return await self.store.create_session("t", sid, **options)

    async def append(
        self,
        data: bytes,
        offset: int,
        did: str = "d",
        *,
        complete: bool = False,
        max_unread_bytes: int = 1 << 30,
        **more: Any,
    ) -> DocumentRecord:
        options = {"complete": complete, "max_unread_bytes": max_unread_bytes, **more}
        return await self.store.append("t", "s", did, offset=offset, data=data, **options)

    async def document(self, data: bytes, did: str = "d") -> DocumentRecord:
        """A whole document."""
        await self.store.create_document("t", "s", did)
        return await self.append(data, 0, did, complete=True)

    async def lease(self, owner: str = "a", lease_ms: int = 10_000) -> Lease:
        lease = await self.store.lease("t", "s", owner, lease_ms)
        assert lease is not None
        return lease

    async def read(self, lease: Lease, read_bytes: int, *finished: str, timeline_points: int = 0) -> Lease:
        """Commit a state that stands at ``read_bytes``."""
        return await self.store.commit(lease, stored_state(read_bytes), finished, timeline_points=timeline_points)

    def names(self) -> set[str]:
        return {key.decode() for key in self.bare.keys("*")}

    def dump(self) -> dict[bytes, bytes]:
        return {key: self.bare.dump(key) for key in self.bare.keys("*")}

    def is_ready(self) -> bool:
        return self.bare.zscore(READY, self.keys.member) is not None

    @asynccontextmanager
    async def refusal(self, error: type[Exception], match: str | None = None) -> AsyncIterator[Any]:
        """What happens inside raises the error, and changes no key."""
        before = self.dump()
        with pytest.raises(error, match=match) as caught:
            yield caught
        assert self.dump() == before


@pytest.fixture
async def bench(each_redis_url: str) -> AsyncIterator[StoreBench]:
    store = Store.connect(each_redis_url)
    with redis.Redis.from_url(each_redis_url) as bare:
        yield StoreBench(store, bare, SessionKeys("t", "s"))
    await store.close()
