"""What is kept of memories beside a session's own: lanes that reread its text, its timeline, and its movements."""

from collections.abc import Sequence
from contextlib import suppress

from rmt_server.errors import StoreUnavailableError
from rmt_server.keys import SessionKeys
from rmt_server.store.codec import fields_of, load_session
from rmt_server.store.limits import KEPT_LANES
from rmt_server.store.records import SessionRecord
from rmt_server.store.usage import Amount, Metered


class Memories(Metered):
    """The part of the store that keeps states which can be made anew from the text."""

    async def keep_lane(self, tenant: str, sid: str, name: str, state: bytes) -> None:
        """Keep the state of a lane by a name; the last ``KEPT_LANES`` stay. A Redis that is full keeps none.

        Raises:
            SessionNotFoundError: The session is gone.
        """
        with suppress(StoreUnavailableError):
            keys = SessionKeys(tenant, sid)
            _, more = await self._redis.run_on_session("keep_lane", keys, name, state, KEPT_LANES)
            await self._usage.change(tenant, Amount(kept_bytes=more))

    async def kept_lanes(self, tenant: str, sid: str, names: Sequence[str]) -> list[bytes | None]:
        """The states of the lanes of these names, None for those that are not kept."""
        return list(await self._redis.command("HMGET", SessionKeys(tenant, sid).lanes, *names))

    async def timeline(self, tenant: str, sid: str) -> list[tuple[int, bytes]]:
        """The states that are kept along a session's text, by number of segments read, in order."""
        flat = await self._redis.command("HGETALL", SessionKeys(tenant, sid).timeline)
        return sorted((int(segments), blob) for segments, blob in flat.items())

    async def movements(self, tenant: str, sid: str) -> tuple[SessionRecord, bytes]:
        """A session, and how far its memory moved along its text as of the same moment; empty where nothing is kept."""
        _, fields, movements = await self._redis.run_on_session("load_movements", SessionKeys(tenant, sid))
        return load_session(tenant, sid, fields_of(fields)), movements
