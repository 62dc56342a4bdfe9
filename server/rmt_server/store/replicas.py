"""Replicas: processes on one Redis, which share its sessions and the search for what was forgotten."""

from rmt_server.keys import EVERY_INDEX, EVERY_SESSION, REPLICAS, SWEEP, SessionKeys, key_of_entry
from rmt_server.store.codec import whole_ms
from rmt_server.store.index import Index
from rmt_server.store.leases import wake_if_pending
from rmt_server.store.usage import Metered


class Replicas(Metered):
    """The part of the store that a process works with beside its sessions."""

    async def stay(self, owner: str, ttl_s: float) -> int:
        """Count as a replica for ``ttl_s`` from now; returns how many there are."""
        answer = await self._redis.run("stay", (REPLICAS,), owner, whole_ms(ttl_s))
        return int(answer[1])

    async def leave(self, owner: str) -> None:
        """Count as a replica no longer."""
        await self._redis.run("stay", (REPLICAS,), owner, 0)

    async def is_my_sweep(self, owner: str, interval_s: float) -> bool:
        """Whether this process is to sweep: one of all does in an interval."""
        mine = await self._redis.command("SET", SWEEP, owner, "NX", "PX", whole_ms(interval_s))
        return mine is not None

    async def sweep(self) -> int:
        """Give every session that has something to read its hint again, and drop index entries that name nothing.

        A process that dies between a change and its hint, or a Redis that loses its last second, may leave a session
        without one; a session that expires leaves its entry in the index. So this is due at start and every few
        minutes; it walks over all sessions and snapshots, and recounts what tenants use.

        Returns:
            How many sessions have something to read.
        """
        woken = 0
        async for key in self._redis.scan(EVERY_SESSION):
            woken += await wake_if_pending(self._redis, SessionKeys.of_key(key))
        for pattern in EVERY_INDEX:
            async for key in self._redis.scan(pattern):
                await Index(self._redis, key.decode()).prune(key_of_entry(key))
        await self._usage.recount_all()
        return woken
