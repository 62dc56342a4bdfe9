"""The desk and the archive: sessions are leased, read, and their progress committed.

``ready`` holds a hint for every session that may have something to read, with the moment from which to try
it: a leased one comes up again when its lease is over, should the reader have died. Whether a session has
something to read is only ever decided on the session itself. So that no wake-up is lost, a hint is removed
BEFORE the session is asked, and put back if it has more: an append in between is either seen by that question
or adds its hint after the removal.

A lease also ends with the life of Redis that gave it: what was written in the last moments of that life, and
was read since, may be lost, and come again from its sender with other bytes.
"""

import asyncio
import zlib
from dataclasses import replace
from typing import Any

import numpy as np

from rmt_server.errors import FencedError, SessionNotFoundError
from rmt_server.keys import READY, SessionKeys
from rmt_server.store.codec import fields_of, load_session
from rmt_server.store.connection import Argument, Connection
from rmt_server.store.documents import wake
from rmt_server.store.limits import COMPACT_BLOCKS
from rmt_server.store.records import Boundary, Due, Lease, SessionRecord, StoredState
from rmt_server.store.text import text_of, text_range
from rmt_server.store.usage import Metered, read_since

_RETRY_HELD_MS = 500
_MOST_WEIGHED = 1000


class Leases(Metered):
    """The part of the store that readers work with."""

    async def ready(self, limit: int) -> Due:
        """At most ``limit`` sessions that may be leased now."""
        _, members, hints = await self._redis.run("due", (READY,), limit)
        return Due(tuple((keys.tenant, keys.sid) for keys in map(SessionKeys.of_member, members)), hints)

    async def waiting_bytes(self) -> int:
        """Accepted text that is not in a stored memory yet, of the sessions that wait longest, 1000 at most."""
        members = await self._redis.command("ZRANGE", READY, 0, _MOST_WEIGHED - 1)

        async def unread(member: bytes) -> int:
            session = SessionKeys.of_member(member).session
            accepted, read = await self._redis.command("HMGET", session, "accepted_bytes", "read_bytes")
            return int(accepted or 0) - int(read or 0)

        return sum(await asyncio.gather(*map(unread, members)))

    async def lease(self, tenant: str, sid: str, owner: str, lease_ms: int) -> Lease | None:
        """The right to read a session for a while.

        None where another owner's lease is alive, nothing is to be read, or the session is gone.
        """
        keys = SessionKeys(tenant, sid)
        try:
            answer = await self._redis.run_on_session("lease", keys, owner, lease_ms)
        except SessionNotFoundError:
            answer = ["idle"]
        match answer:
            case ["idle"]:
                await self._leave(keys, "", 0)
                return None
            case ["held", until_ms, now_ms]:
                retry_ms = min(until_ms, now_ms + _RETRY_HELD_MS)
                await self._redis.run("hint", (READY,), keys.member, retry_ms, "XX")
                return None
        _, fields, blob, movements, fence, now_ms, resumed = answer
        await self._redis.run("hint", (READY,), keys.member, now_ms + lease_ms, "CH")
        session = load_session(tenant, sid, fields_of(fields))
        return Lease(session, session.state(blob), movements, owner, fence, lease_ms, bool(resumed))

    async def unread(self, lease: Lease, start: int, size: int) -> bytes:
        """Up to ``size`` bytes of the session's text from ``start`` on.

        Raises:
            FencedError: The lease is lost.
            ValueError: More than ``READ_BYTES`` at once.
        """
        answer = await self._run("read_text", lease, *text_range(start, start + size))
        return text_of(answer, lease.session.id, start)

    async def boundaries(self, lease: Lease) -> list[Boundary]:
        """The ends of complete documents that are not read yet, in their order."""
        flat = await self._redis.command("ZRANGE", _keys(lease).boundaries, 0, -1, "WITHSCORES")
        return [Boundary(int(end), name.decode()) for name, end in zip(flat[::2], flat[1::2], strict=True)]

    async def commit(
        self,
        lease: Lease,
        state: StoredState,
        finished: tuple[str, ...] = (),
        *,
        timeline_points: int = 0,
        movements: bytes = b"",
        moved: float | None = None,
    ) -> Lease:
        """Store a reader's progress and renew its lease; ``finished`` are documents whose end it passed.

        The session's timeline keeps at most ``timeline_points`` states, and this one when it is due. ``movements`` are
        those of its memory up to this state, in the place of those before; ``moved`` is the furthest of them.

        Raises:
            FencedError: The lease is lost: drop the state.
            ValueError: ``state`` stands before the last commit, beyond the text or before a finished end.
        """
        answer = await self._run(
            "commit",
            lease,
            lease.session.revision,
            lease.lease_ms,
            state.blob,
            state.read_bytes,
            state.tokens,
            state.segments,
            state.digest,
            state.waiting_segments,
            timeline_points,
            *_new_end(lease.movements, movements),
            "" if moved is None else moved,
            *finished,
        )
        if answer[0] == "position":
            raise ValueError(f"a commit at byte {state.read_bytes}, finishing {finished}: {lease.session}")
        before, now = lease.session, _session(lease, answer[1])
        tokens = (now.tokens - before.tokens) * max(1, len(now.focus))
        await self._usage.change(now.tenant, read_since(before, now, answer[2]), tokens)
        return replace(lease, session=now, state=state, movements=movements)

    async def renew(self, lease: Lease, lease_ms: int) -> Lease:
        """Hold a lease for ``lease_ms`` from now.

        Raises:
            FencedError: The lease is lost.
        """
        answer = await self._run("renew", lease, lease_ms)
        return replace(lease, session=_session(lease, answer[1]), lease_ms=lease_ms)

    async def release(self, lease: Lease) -> None:
        """Give a lease back. Harmless when it is lost."""
        await self._leave(_keys(lease), lease.owner, lease.fence)

    async def compact(self, lease: Lease) -> int:
        """Compress some of the kept text that is read already; how many blocks: 0 means all is done.

        Raises:
            FencedError: The lease is lost.
        """
        _, first, raw = await self._run("raw_blocks", lease, COMPACT_BLOCKS)
        if raw:
            packed = await asyncio.to_thread(lambda: [zlib.compress(block) for block in raw])
            await self._run("compact", lease, first, *packed)
        return len(raw)

    async def _leave(self, keys: SessionKeys, owner: str, fence: int) -> None:
        """Take the hint away, give the lease back, and put the hint back if something is to be read."""
        await self._redis.command("ZREM", READY, keys.member)
        await wake_if_pending(self._redis, keys, owner, fence)

    async def _run(self, script: str, lease: Lease, *arguments: Argument) -> list[Any]:
        """Run a script that wants a lease. A session that is gone is a lease that is lost."""
        try:
            return await self._redis.run_on_session(script, _keys(lease), lease.owner, lease.fence, *arguments)
        except SessionNotFoundError as error:
            raise FencedError(f"Session {lease.session.id} is gone.") from error


async def wake_if_pending(redis: Connection, keys: SessionKeys, owner: str = "", fence: int = 0) -> bool:
    """Give back a lease that is held, if one is named; tell the readers if the session has something to read."""
    try:
        _, pending, now_ms = await redis.run_on_session("release", keys, owner, fence)
    except SessionNotFoundError:
        return False
    if pending:
        await wake(redis, keys, now_ms)
    return bool(pending)


def _new_end(before: bytes, now: bytes) -> tuple[int, bytes]:
    """What makes one of the other: the byte from which on to write, and what. What has shrunk is written anew."""
    if len(now) < len(before):
        return 0, now
    differ = np.frombuffer(before, np.uint8) != np.frombuffer(now, np.uint8, len(before))
    start = int(differ.argmax()) if differ.any() else len(before)
    return start, now[start:]


def _keys(lease: Lease) -> SessionKeys:
    return SessionKeys(lease.session.tenant, lease.session.id)


def _session(lease: Lease, fields: list[bytes]) -> SessionRecord:
    return load_session(lease.session.tenant, lease.session.id, fields_of(fields))
