"""Snapshots: reader states that are kept. Each is immutable and lives on its own."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from rmt_server.errors import KeyReusedError, SessionNotFoundError, SnapshotNotFoundError
from rmt_server.keys import SessionKeys, snapshot_key, tenant_snapshots
from rmt_server.store.codec import dump_metadata, dump_state, load_snapshot, whole_ms
from rmt_server.store.index import Index, entry
from rmt_server.store.records import Page, SessionRecord, SnapshotRecord, StoredState
from rmt_server.store.sessions import Sessions
from rmt_server.store.usage import Amount

_FIELDS = (
    "session_id",
    "document_id",
    "name",
    "metadata",
    "created_ms",
    "expires_ms",
    "model",
    "focus",
    "read_bytes",
    "tokens",
    "segments",
    "state_bytes",
    "digest",
)


class Snapshots(Sessions):
    """The part of the store that knows snapshots."""

    async def create_snapshot(
        self,
        tenant: str,
        snapshot_id: str,
        *,
        session_id: str | None,
        document_id: str = "",
        auto_snapshots: int | None = None,
        model: str,
        state: StoredState,
        ttl_s: float,
        focus: tuple[str, ...] = (),
        name: str = "",
        metadata: Mapping[str, str] | None = None,
        asked: str = "",
    ) -> SnapshotRecord:
        """Keep a state: a session's (see ``session_state``) or, without ``session_id``, an imported one.

        Doing it again with the same id changes nothing and returns the snapshot as it stands. ``asked`` is a digest
        of what the creation asks for. With ``auto_snapshots`` it is one of so many that the session keeps by itself.

        Raises:
            KeyReusedError: There is a snapshot of this id, for which something else was asked.
            QuotaExceededError: The tenant has as many snapshots, or keeps as much, as it may.
        """
        fields: dict[str, str | int | bytes] = {
            "session_id": session_id or "",
            "document_id": document_id,
            "name": name,
            "metadata": dump_metadata(metadata or {}),
            "model": model,
            "focus": json.dumps(focus, ensure_ascii=False),
            "state": state.blob,
            **dump_state(state),
        }
        pairs = (part for pair in fields.items() for part in pair)
        key = snapshot_key(tenant, snapshot_id)
        share = Amount(snapshots=1, kept_bytes=len(state.blob))
        async with self._usage.reserved(tenant, share):
            answer = await self._redis.run("create_snapshot", (key,), whole_ms(ttl_s), asked, *pairs)
            if answer[0] == "reused":
                raise KeyReusedError
        if not answer[2]:
            await self._usage.change(tenant, -share)
        snapshot = await self.get_snapshot(tenant, snapshot_id)
        most = "" if auto_snapshots is None else auto_snapshots
        await self._list(snapshot, entry(int(answer[1]), snapshot_id), most)
        return snapshot

    async def keep_end(self, session: SessionRecord, document_id: str, state: StoredState) -> None:
        """Keep the state at the end of a document, for as long as the session lives without a change.

        The session keeps the last so many, and none once it is gone.

        Raises:
            QuotaExceededError: The tenant has as many snapshots, or keeps as much, as it may.
        """
        await self.create_snapshot(
            session.tenant,
            _id_of_end(session.id, document_id, state.digest),
            session_id=session.id,
            document_id=document_id,
            auto_snapshots=session.auto_snapshots,
            model=session.model,
            state=state,
            ttl_s=session.ttl_s,
            focus=session.focus,
        )

    async def _drop_ends(self, tenant: str, snapshot_ids: Sequence[bytes]) -> None:
        for snapshot_id in snapshot_ids:
            with suppress(SnapshotNotFoundError):
                await self.delete_snapshot(tenant, snapshot_id.decode())

    async def get_snapshot(self, tenant: str, snapshot_id: str) -> SnapshotRecord:
        """The snapshot's record, without its state.

        Raises:
            SnapshotNotFoundError: There is none.
        """
        snapshot = await self._find_snapshot(tenant, snapshot_id)
        if snapshot is None:
            raise SnapshotNotFoundError(snapshot_id)
        return snapshot

    async def find_snapshot(self, tenant: str, snapshot_id: str, asked: str) -> SnapshotRecord | None:
        """The snapshot that a creation made before, or None.

        Raises:
            KeyReusedError: There is one, for which something else was asked.
        """
        found = await self._redis.command("HGET", snapshot_key(tenant, snapshot_id), "asked")
        if found not in (None, asked.encode()):
            raise KeyReusedError
        return await self._find_snapshot(tenant, snapshot_id)

    async def snapshot_state(self, tenant: str, snapshot_id: str) -> StoredState:
        """The state that a snapshot keeps.

        Raises:
            SnapshotNotFoundError: There is none.
        """
        names = ("state", "read_bytes", "tokens", "segments", "digest")
        values = await self._redis.command("HMGET", snapshot_key(tenant, snapshot_id), *names)
        if values[0] is None:
            raise SnapshotNotFoundError(snapshot_id)
        blob, read_bytes, tokens, segments, digest = values
        return StoredState(blob, int(read_bytes), int(tokens), int(segments), digest.decode())

    async def list_snapshots(
        self, tenant: str, session_id: str | None = None, limit: int = 100, after: str | None = None
    ) -> Page[SnapshotRecord]:
        """A tenant's snapshots, or one session's as long as it lives, the newest first."""
        key = tenant_snapshots(tenant) if session_id is None else SessionKeys(tenant, session_id).snapshots
        return await Index(self._redis, key).page(partial(self._find_snapshot, tenant), limit, after)

    async def delete_snapshot(self, tenant: str, snapshot_id: str) -> None:
        """Delete a snapshot.

        Raises:
            SnapshotNotFoundError: There is none.
        """
        key = snapshot_key(tenant, snapshot_id)
        names = ("created_ms", "session_id", "state_bytes")
        created_ms, session_id, state_bytes = await self._redis.command("HMGET", key, *names)
        if created_ms is None:
            raise SnapshotNotFoundError(snapshot_id)
        if await self._redis.command("UNLINK", key):
            await self._usage.change(tenant, -Amount(snapshots=1, kept_bytes=int(state_bytes)))
        old_entry = entry(int(created_ms), snapshot_id)
        await Index(self._redis, tenant_snapshots(tenant)).remove(old_entry)
        if session_id:
            keys = SessionKeys(tenant, session_id.decode())
            await Index(self._redis, keys.snapshots).remove(old_entry)

    async def delete_session(self, tenant: str, sid: str) -> None:
        """Delete a session with all that belongs to it, the snapshots that were kept by themselves, too."""
        await self._drop_ends(tenant, await self._delete_session(tenant, sid))

    async def _list(self, snapshot: SnapshotRecord, new_entry: str, most: int | str) -> None:
        """Put a snapshot into its tenant's index and, while the session lives, into the session's.

        One that is kept by itself, of which the session keeps so many, goes where the session is gone.
        """
        find = partial(self._find_snapshot, snapshot.tenant)
        await Index(self._redis, tenant_snapshots(snapshot.tenant)).add(new_entry, find)
        if snapshot.session_id is None:
            return
        keys = SessionKeys(snapshot.tenant, snapshot.session_id)
        try:
            answer = await self._redis.run_on_session(
                "index_snapshot",
                keys,
                new_entry,
                snapshot.id,
                snapshot.name,
                snapshot.read_bytes,
                snapshot.tokens,
                snapshot.segments,
                most,
            )
        except SessionNotFoundError:
            if most != "":
                await self._drop_ends(snapshot.tenant, [snapshot.id.encode()])
            return
        await self._drop_ends(snapshot.tenant, answer[1])
        await Index(self._redis, keys.snapshots).inspect(find)

    async def _find_snapshot(self, tenant: str, snapshot_id: str) -> SnapshotRecord | None:
        values = await self._redis.command("HMGET", snapshot_key(tenant, snapshot_id), *_FIELDS)
        if values[0] is None:
            return None
        return load_snapshot(tenant, snapshot_id, dict(zip(_FIELDS, values, strict=True)))


def _id_of_end(sid: str, document_id: str, digest: str) -> str:
    """The automatic snapshot of a document's end: a crash between keeping and committing it makes no second one.

    After a restore there may be another document of the same id, so the text's digest belongs to it.
    """
    return f"snp_{hashlib.sha256(f'end {sid} {document_id} {digest}'.encode()).hexdigest()[:22]}"
