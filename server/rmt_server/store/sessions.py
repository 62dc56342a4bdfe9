"""Sessions: made, looked up, listed, changed, restored, deleted."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from rmt_server.errors import (
    KeyReusedError,
    PreconditionFailedError,
    SessionNotFoundError,
    StillReadingError,
    UploadOpenError,
)
from rmt_server.keys import READY, SessionKeys, tenant_sessions
from rmt_server.store.codec import dump_metadata, dump_state, fields_of, load_session, whole_ms
from rmt_server.store.documents import wake
from rmt_server.store.index import Index, entry
from rmt_server.store.records import Page, SessionRecord, StoredState
from rmt_server.store.usage import Amount, Metered, held


class Sessions(Metered):
    """The part of the store that knows sessions."""

    async def create_session(
        self,
        tenant: str,
        sid: str,
        *,
        model: str,
        state: StoredState,
        ttl_s: float,
        focus: tuple[str, ...] = (),
        keep_text: bool = True,
        auto_snapshots: int = 0,
        metadata: Mapping[str, str] | None = None,
        asked: str = "",
    ) -> SessionRecord:
        """Make a session that continues from ``state``: a fresh one, or a snapshot's for a fork.

        Doing it again with the same id changes nothing and returns the session as it stands. ``asked`` is a digest
        of what the creation asks for.

        Raises:
            KeyReusedError: There is a session of this id, for which something else was asked.
            QuotaExceededError: The tenant has as many sessions, or keeps as much, as it may.
        """
        keys = SessionKeys(tenant, sid)
        if self._usage.counts and (found := await self._made_before(keys, asked)) is not None:
            return found
        fields: dict[str, str | int] = {
            "model": model,
            "focus": json.dumps(focus, ensure_ascii=False),
            "keep_text": int(keep_text),
            "auto_snapshots": auto_snapshots,
            "metadata": dump_metadata(metadata or {}),
            "ttl_ms": whole_ms(ttl_s),
            "accepted_bytes": state.read_bytes,
            "text_origin": state.read_bytes,
            "text_start": state.read_bytes,
            **dump_state(state),
        }
        pairs = (part for pair in fields.items() for part in pair)
        share = Amount(sessions=1, kept_bytes=len(state.blob))
        async with self._usage.reserved(tenant, share):
            answer = await self._redis.run_on_session("create_session", keys, asked, state.blob, *pairs)
            if answer[0] == "reused":
                raise KeyReusedError
        if not answer[3]:
            await self._usage.change(tenant, -share)
        created = fields_of(answer[1])
        await self._index(tenant).add(entry(int(created["created_ms"]), sid), partial(self._find_session, tenant))
        return await self._woken(keys, load_session(tenant, sid, created), now_ms=answer[2])

    async def get_session(self, tenant: str, sid: str) -> SessionRecord:
        """The session as it stands.

        Raises:
            SessionNotFoundError: There is none.
        """
        session = await self._find_session(tenant, sid)
        if session is None:
            raise SessionNotFoundError(sid)
        return session

    async def session_state(self, tenant: str, sid: str) -> tuple[SessionRecord, StoredState]:
        """A session and its reader state as of the same moment."""
        answer = await self._redis.run_on_session("load_session", SessionKeys(tenant, sid))
        session = load_session(tenant, sid, fields_of(answer[1]))
        return session, session.state(answer[2])

    async def list_sessions(self, tenant: str, limit: int = 100, after: str | None = None) -> Page[SessionRecord]:
        """A tenant's sessions, the newest first."""
        return await self._index(tenant).page(partial(self._find_session, tenant), limit, after)

    async def update_session(
        self,
        tenant: str,
        sid: str,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        if_etag: str | None = None,
    ) -> SessionRecord:
        """Replace the metadata, change the time to live, or both.

        Raises:
            PreconditionFailedError: The session's ETag is not ``if_etag``.
        """
        answer = await self._redis.run_on_session(
            "update_session",
            SessionKeys(tenant, sid),
            if_etag or "",
            "" if ttl_s is None else whole_ms(ttl_s),
            "" if metadata is None else dump_metadata(metadata),
        )
        return self._changed(tenant, sid, answer)

    async def restore(self, tenant: str, sid: str, state: StoredState, *, if_etag: str | None = None) -> SessionRecord:
        """Put another memory in the place of the session's.

        The text and the documents so far go: they do not belong to that memory. A reader that holds the
        session loses its lease.

        Raises:
            UploadOpenError: A document is being uploaded.
            StillReadingError: Accepted text is not read yet.
            PreconditionFailedError: The session's ETag is not ``if_etag``.
        """
        keys = SessionKeys(tenant, sid)
        answer = await self._redis.run_on_session(
            "restore",
            keys,
            if_etag or "",
            state.blob,
            state.read_bytes,
            state.tokens,
            state.segments,
            state.digest,
            state.waiting_segments,
        )
        session = self._changed(tenant, sid, answer)
        await self._usage.change(tenant, Amount(kept_bytes=session.kept_bytes - answer[3]))
        return await self._woken(keys, session, now_ms=answer[2])

    async def _delete_session(self, tenant: str, sid: str) -> list[bytes]:
        """Delete a session with all that belongs to it but its snapshots; ids of those that were kept by themselves."""
        keys = SessionKeys(tenant, sid)
        answer = await self._redis.run_on_session("delete_session", keys)
        fields = fields_of(answer[1])
        await self._index(tenant).remove(entry(int(fields["created_ms"]), sid))
        await self._usage.change(tenant, -held(load_session(tenant, sid, fields)))
        await self._redis.command("ZREM", READY, keys.member)
        return list(answer[2])

    async def _made_before(self, keys: SessionKeys, asked: str) -> SessionRecord | None:
        known = await self._redis.command("HGET", keys.session, "asked")
        if known not in (None, asked.encode()):
            raise KeyReusedError
        return await self._find_session(keys.tenant, keys.sid)

    async def _find_session(self, tenant: str, sid: str) -> SessionRecord | None:
        fields: dict[bytes, bytes] = await self._redis.command("HGETALL", SessionKeys(tenant, sid).session)
        named = {name.decode(): value for name, value in fields.items()}
        return load_session(tenant, sid, named) if named else None

    async def _woken(self, keys: SessionKeys, session: SessionRecord, *, now_ms: int) -> SessionRecord:
        """The session; if its new state brought segments that are to be read, the readers are told."""
        if session.waiting_segments:
            await wake(self._redis, keys, now_ms)
        return session

    def _changed(self, tenant: str, sid: str, answer: list[Any]) -> SessionRecord:
        match answer:
            case ["stale", etag]:
                raise PreconditionFailedError(etag.decode())
            case ["open", document]:
                raise UploadOpenError(document.decode())
            case ["unread", unread_bytes]:
                raise StillReadingError(unread_bytes)
        return load_session(tenant, sid, fields_of(answer[1]))

    def _index(self, tenant: str) -> Index:
        return Index(self._redis, tenant_sessions(tenant))
