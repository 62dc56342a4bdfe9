"""The store: everything that survives a process."""

from typing import Any

from rmt_server.errors import StoreUnavailableError
from rmt_server.keys import PROBE
from rmt_server.store.connection import Observe
from rmt_server.store.documents import Documents
from rmt_server.store.events import Events
from rmt_server.store.leases import Leases
from rmt_server.store.records import StoreInfo
from rmt_server.store.replicas import Replicas
from rmt_server.store.sessions import Sessions
from rmt_server.store.snapshots import Snapshots
from rmt_server.store.text import Text


class Store(Sessions, Documents, Text, Leases, Snapshots, Events, Replicas):
    """Sessions, their documents and text, leases and snapshots, in one Redis.

    Every call may raise ``StoreUnavailableError``; then the change was made wholly or not at all, and the
    caller cannot know which: creating again is harmless, an append tells by its offset, a commit by its
    revision.
    """

    async def trouble(self) -> str:
        """Why Redis takes no changes now, in a sentence; empty when it does."""
        try:
            await self._redis.run("probe", (PROBE,))
        except StoreUnavailableError as error:
            return error.detail
        return ""

    async def info(self) -> StoreInfo:
        """What is to be known about the Redis behind."""
        info: dict[str, Any] = await self._redis.info()
        return StoreInfo(
            redis_version=str(info["redis_version"]),
            used_memory_bytes=int(info["used_memory"]),
            max_memory_bytes=int(info["maxmemory"]),
            eviction_policy=str(info["maxmemory_policy"]),
            append_only=bool(info["aof_enabled"]),
            loading=bool(info["loading"]),
        )

    def observe_calls(self, observe: Observe) -> None:
        """Have someone told of every call of Redis: the script or command, and its seconds, waiting included."""
        self._redis.observe = observe

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.close()
