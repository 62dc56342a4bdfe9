"""Rates: how often a tenant may call, counted in Redis for all servers together.

The window slides: what was called in the last whole window counts by how much of it is still within reach. It is timed
by Redis alone.
"""

import time
from typing import Any, cast

from limits import RateLimitItem, parse
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from rmt_server.errors import RateLimitedError
from rmt_server.keys import RATES, check_tenant
from rmt_server.store.connection import Connection, translated


class Rates:
    """One limit for each tenant."""

    def __init__(self, redis: Connection, limit: str) -> None:
        """Rates on a line to Redis.

        Args:
            redis: The line.
            limit: Such as ``600/minute``.
        """
        self._limit: RateLimitItem = parse(limit)
        self._limiter = SlidingWindowCounterRateLimiter(_Storage(redis))

    async def require(self, tenant: str) -> None:
        """Count a call.

        Raises:
            RateLimitedError: It is one too many. It does not count.
            StoreUnavailableError: Redis does not answer.
        """
        check_tenant(tenant)
        with translated():
            if await self._limiter.hit(self._limit, tenant):
                return
            window = await self._limiter.get_window_stats(self._limit, tenant)
        wait_s = max(1.0, window.reset_time - time.time())
        raise RateLimitedError(f"The limit is {self._limit}.", wait_s, {"limit": str(self._limit)})


class _Storage(RedisStorage):
    """The package's storage on the connections that are there already, whatever kind of Redis they lead to."""

    STORAGE_SCHEME: Any = None

    def __init__(self, redis: Connection) -> None:
        self._client: Any = redis.client
        super().__init__("redis://", implementation="redispy", key_prefix=RATES)

    def configure_bridge(self) -> None:
        """Use the client instead of making one."""
        bridge = cast(RedispyBridge, self.bridge)
        bridge.storage = self._client
        bridge.connection_getter = lambda readonly: self._client  # noqa: ARG005
