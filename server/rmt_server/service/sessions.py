"""Service: sessions and snapshots, in terms of store and scheduler. It knows memories, not HTTP."""

import asyncio
import json
from collections.abc import Mapping, Sequence

from rmt_model.errors import QuestionError, StateError
from rmt_model.reader import MAX_HELD_CHARS
from rmt_model.state import ReaderState, StateOutline
from rmt_server.errors import DamagedSnapshotError, ModelNotFoundError, UnprocessableError
from rmt_server.logs import note
from rmt_server.reading.lanes import LOOKAHEAD_SEGMENTS, PIECE_BYTES, stored
from rmt_server.reading.scheduler import Scheduler
from rmt_server.service.asking import Asking
from rmt_server.service.idempotency import Creation
from rmt_server.service.listening import NOBODY, Listener
from rmt_server.settings import Settings
from rmt_server.store import SessionRecord, SnapshotRecord, Store, StoredState

__all__ = ["Service"]

_STATE_OVERHEAD_BYTES = 1 << 20
_LARGEST_CHAR_BYTES = 4
_MOST_IMPORTED = 1 << 45  # half of what a state may count: a session that begins there has room to go on


class Service:
    """Sessions and snapshots."""

    def __init__(self, store: Store, scheduler: Scheduler, asking: Asking, settings: Settings) -> None:
        self._store = store
        self._scheduler = scheduler
        self._asking = asking
        self._settings = settings
        self._checkpoint = scheduler.engine.served

    @property
    def max_snapshot_bytes(self) -> int:
        """Largest snapshot that can be imported."""
        engine = self._scheduler.engine
        return self._settings.max_focuses * engine.rows * engine.hidden * 4 + _STATE_OVERHEAD_BYTES

    @property
    def max_pending_tokens(self) -> int:
        """Most tokens that an imported snapshot may hold beside its memory.

        A reader stops fetching text when enough segments wait. To those, and a partial one, comes at most what one
        piece and the text held back before it are made of: a token for each byte.
        """
        text_bytes = PIECE_BYTES + _LARGEST_CHAR_BYTES * MAX_HELD_CHARS
        return (LOOKAHEAD_SEGMENTS + 1) * self._checkpoint.config.segment_tokens + text_bytes

    async def create_session(
        self,
        tenant: str,
        *,
        focus: Sequence[str] = (),
        model: str | None = None,
        keep_text: bool = True,
        ttl_s: int | None = None,
        metadata: Mapping[str, str] | None = None,
        from_snapshot: str | None = None,
        state: ReaderState | None = None,
        auto_snapshots: int | None = None,
        creation: Creation = Creation(),  # noqa: B008 - frozen
    ) -> SessionRecord:
        """Make a session, fresh, from a snapshot, or from a state; the same creation again finds it.

        Raises:
            KeyReusedError: Its key belongs to another creation.
            WrongCheckpointError: Another checkpoint made the state.
        """
        if model not in (None, self._checkpoint.name, self._checkpoint.fingerprint):
            raise ModelNotFoundError(model)
        self._check_metadata(metadata or {})
        if from_snapshot is not None:
            state = await self._snapshot(tenant, from_snapshot)
        elif state is None:
            state = self._fresh(focus)
        self._asking.require_own(state.fingerprint)
        session = await self._store.create_session(
            tenant,
            creation.new_id("ses", tenant),
            model=self._checkpoint.fingerprint,
            state=self._stored(state),
            ttl_s=self._ttl_s(ttl_s, self._settings.session_ttl_s),
            focus=state.focus,
            keep_text=keep_text,
            auto_snapshots=self._settings.auto_snapshots if auto_snapshots is None else auto_snapshots,
            metadata=metadata,
            asked=creation.asked,
        )
        note(session_id=session.id)
        self._scheduler.wake()
        return session

    async def update_session(
        self,
        tenant: str,
        sid: str,
        *,
        metadata: Mapping[str, str] | None,
        ttl_s: int | None,
        if_etag: str | None,
    ) -> SessionRecord:
        """Change a session's metadata or time to live."""
        self._check_metadata(metadata or {})
        wanted = None if ttl_s is None else self._ttl_s(ttl_s, ttl_s)
        return await self._store.update_session(tenant, sid, metadata=metadata, ttl_s=wanted, if_etag=if_etag)

    async def take_snapshot(
        self,
        tenant: str,
        sid: str,
        creation: Creation,
        *,
        name: str,
        metadata: Mapping[str, str],
        ttl_s: int | None = None,
        listener: Listener = NOBODY,
    ) -> SnapshotRecord:
        """Keep a session's memory as it is once everything accepted has been read; the same creation again finds it.

        Raises:
            KeyReusedError: Its key belongs to another creation.
        """
        self._check_metadata(metadata)
        self._ttl_s(ttl_s, self._settings.snapshot_ttl_s)
        snapshot_id = creation.new_id("snp", tenant, sid)
        if creation.key and (found := await self._store.find_snapshot(tenant, snapshot_id, creation.asked)):
            return found
        await self._asking.wait_until_read(tenant, sid, listener)
        session, state = await self._store.session_state(tenant, sid)
        return await self._store.create_snapshot(
            tenant,
            snapshot_id,
            session_id=sid,
            model=session.model,
            state=state,
            ttl_s=self._ttl_s(ttl_s, self._settings.snapshot_ttl_s),
            focus=session.focus,
            name=name,
            metadata=metadata,
            asked=creation.asked,
        )

    async def import_snapshot(self, tenant: str, content: bytes, creation: Creation, *, name: str) -> SnapshotRecord:
        """Keep a memory that was exported, here or elsewhere; the same creation again finds it.

        Raises:
            KeyReusedError: Its key belongs to another creation.
            DamagedSnapshotError: It is not a reader state, or damaged.
            WrongCheckpointError: Another checkpoint made it.
        """
        state = await asyncio.to_thread(self._imported, content)
        return await self._store.create_snapshot(
            tenant,
            creation.new_id("snp", tenant),
            session_id=None,
            model=self._checkpoint.fingerprint,
            state=self._stored(state),
            ttl_s=self._settings.snapshot_ttl_s,
            focus=state.focus,
            name=name,
            asked=creation.asked,
        )

    async def restore(self, tenant: str, sid: str, snapshot: str, *, if_etag: str | None = None) -> SessionRecord:
        """Put a snapshot's memory in the place of a session's.

        Raises:
            PreconditionFailedError: The session's ETag is not `if_etag`.
            WrongCheckpointError: Another checkpoint made the snapshot, or reads the session.
        """
        state = await self._snapshot(tenant, snapshot)
        session = await self._store.get_session(tenant, sid)
        self._asking.require_own(session.model)
        if state.focus != session.focus:
            raise UnprocessableError("The snapshot has other focuses than the session: make a fork of it instead.")
        session = await self._store.restore(tenant, sid, self._stored(state), if_etag=if_etag)
        self._scheduler.wake()
        return session

    def _stored(self, state: ReaderState) -> StoredState:
        """A state as the store keeps it: whole segments that it holds are still to be read."""
        return stored(state, self._scheduler.engine.waiting_segments(state))

    async def _snapshot(self, tenant: str, snapshot: str) -> ReaderState:
        return self._parsed(await self._store.snapshot_state(tenant, snapshot))

    def _parsed(self, state: StoredState) -> ReaderState:
        parsed = ReaderState.from_bytes(state.blob)
        self._asking.require_own(parsed.fingerprint)
        return parsed

    def _imported(self, content: bytes) -> ReaderState:
        try:
            self._require_size(StateOutline.of(content))
            state = ReaderState.from_bytes(content)
            self._asking.require_own(state.fingerprint)
            self._scheduler.engine.check(state)
        except StateError as error:
            raise DamagedSnapshotError(f"{error}.") from error
        self._require_plausible(state)
        return state

    def _require_size(self, outline: StateOutline) -> None:
        """Refuse a memory of another size than a session may have, before any of it is copied."""
        lanes, *of_lane = outline.memory_shape
        wanted = [self._scheduler.engine.rows, self._scheduler.engine.hidden]
        if of_lane != wanted:
            self._asking.require_own(outline.fingerprint)
            raise StateError(f"the state has {of_lane} for each lane, the model {wanted}")
        if lanes > self._settings.max_focuses:
            raise UnprocessableError(f"The snapshot has {lanes} lanes; the limit is {self._settings.max_focuses}.")

    def _require_plausible(self, state: ReaderState) -> None:
        """Refuse what no reader leaves behind, and nothing could go on with."""
        pending, most = len(state.pending), self.max_pending_tokens
        if pending > most:
            raise DamagedSnapshotError(f"The snapshot holds {pending} unread tokens; a reader leaves {most} at most.")
        read = max(state.bytes_read, state.tokens_read, state.segments_read, state.documents_read)
        if max(read, state.tokenizer.bytes_fed) >= _MOST_IMPORTED:
            raise DamagedSnapshotError(f"The snapshot counts to {_MOST_IMPORTED} or more: nothing has read so much.")

    def _fresh(self, focus: Sequence[str]) -> ReaderState:
        if len(focus) > self._settings.max_focuses:
            raise UnprocessableError(f"{len(focus)} focuses; the limit is {self._settings.max_focuses}.")
        for question in focus:
            self._asking.require_short(question)
        try:
            return self._scheduler.engine.fresh_state(focus)
        except QuestionError as error:
            raise UnprocessableError(f"A focus cannot be used: {error}.") from error

    def _ttl_s(self, wanted: int | None, default: int) -> int:
        limit = self._settings.max_ttl_s
        if wanted is not None and wanted > limit:
            raise UnprocessableError(f"ttl_s is {wanted}; the limit is {limit}.")
        return wanted or default

    def _check_metadata(self, metadata: Mapping[str, str]) -> None:
        size, limit = len(json.dumps(metadata).encode()), self._settings.max_metadata_bytes
        if size > limit:
            raise UnprocessableError(f"The metadata has {size} bytes as JSON; the limit is {limit}.")
