"""Examination: what an operator should know about the Redis behind the store."""

import time
from collections import Counter
from statistics import median
from typing import Any

from rmt_server.errors import StoreUnavailableError
from rmt_server.keys import EVERY_SESSION, PROBE
from rmt_server.store.connection import Observe, Room
from rmt_server.store.records import StoreInfo, StoreTiming

_ROUND_TRIPS = 50


class Examination(Room):
    """The part of the store that looks at Redis itself."""

    async def trouble(self) -> str:
        """Why Redis takes no changes now, in a sentence; empty when it does."""
        try:
            await self._redis.run("probe", (PROBE,))
        except StoreUnavailableError as error:
            return error.detail
        return ""

    async def info(self) -> StoreInfo:
        """What Redis says about itself; of a cluster, any one node."""
        info: dict[str, Any] = await self._redis.info()
        return StoreInfo(
            redis_version=str(info["redis_version"]),
            role=str(info["role"]),
            is_cluster_node=bool(info.get("cluster_enabled")),
            as_cluster=self._redis.is_cluster,
            used_memory_bytes=int(info["used_memory"]),
            max_memory_bytes=int(info["maxmemory"]),
            machine_memory_bytes=int(info.get("total_system_memory", 0)),
            eviction_policy=str(info["maxmemory_policy"]),
            append_only=bool(info["aof_enabled"]),
            append_fsync=await self._redis.setting("appendfsync"),
            writes_log=info.get("aof_last_write_status", "ok") == "ok",
            loading=bool(info["loading"]),
        )

    async def timing(self) -> StoreTiming:
        """How long calls of Redis take from here, and how far its clock is from this one's."""
        taken_s: list[float] = []
        for _ in range(_ROUND_TRIPS):
            started_s, before_s = time.monotonic(), time.time()
            seconds, microseconds = await self._redis.time()
            taken_s.append(time.monotonic() - started_s)
        ahead_s = seconds + microseconds / 1e6 - (before_s + taken_s[-1] / 2)
        return StoreTiming(median(taken_s), max(taken_s), ahead_s)

    async def checkpoints(self, limit: int) -> dict[str, int]:
        """How many sessions belong to each checkpoint, of ``limit`` sessions at most."""
        found = Counter[str]()
        async for key in self._redis.scan(EVERY_SESSION):
            model = await self._redis.command("HGET", key, "model")
            if model is not None:  # else it has just expired
                found[model.decode()] += 1
            if found.total() >= limit:
                break
        return dict(found)

    def observe_calls(self, observe: Observe) -> None:
        """Have someone told of every call of Redis: the script or command, and its seconds, waiting included."""
        self._redis.observe = observe
