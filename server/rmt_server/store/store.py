"""The store: everything that survives a process."""

from rmt_server.store.documents import Documents
from rmt_server.store.events import Events
from rmt_server.store.examination import Examination
from rmt_server.store.leases import Leases
from rmt_server.store.memories import Memories
from rmt_server.store.rates import Rates
from rmt_server.store.replicas import Replicas
from rmt_server.store.snapshots import Snapshots
from rmt_server.store.text import Text


class Store(Snapshots, Documents, Text, Leases, Memories, Events, Replicas, Examination):
    """Sessions, their documents and text, leases and snapshots, in one Redis.

    Every call may raise ``StoreUnavailableError``; then the change was made wholly or not at all, and the
    caller cannot know which: creating again is harmless, an append tells by its offset, a commit by its
    revision.
    """

    def rates(self, limit: str) -> Rates:
        """A limit for each tenant's calls, such as ``600/minute``."""
        return Rates(self._redis, limit)

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.close()
