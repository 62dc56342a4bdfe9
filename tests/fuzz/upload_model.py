"""What the store promises about one session, in plain Python: the same calls, results and errors, without Redis."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from rmt_server.errors import (
    BackPressureError,
    CompletedUploadError,
    DocumentNotFoundError,
    FencedError,
    InconsistentLengthError,
    OffsetMismatchError,
    PreconditionFailedError,
    SessionNotFoundError,
    StillReadingError,
    SupersededError,
    TextNotKeptError,
    UploadOpenError,
)
from rmt_server.store import Boundary, DocumentRecord, Lease, SessionRecord, StoredState
from rmt_server.store.limits import BLOCK_BYTES, COMPACT_BLOCKS

_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass
class UploadModel:
    """One session, its documents, its text and its lease. Its methods are those of the store."""

    record: SessionRecord | None = None
    blob: bytes = b""
    documents: dict[str, DocumentRecord] = field(default_factory=dict)
    open: str = ""
    ends: dict[str, int] = field(default_factory=dict)
    text: bytearray = field(default_factory=bytearray)
    origin: int = 0
    compacted: int = 0
    fence: int = 0
    owner: str | None = None
    is_held: bool = False
    """Whether the lease's time is not over."""
    states_along: dict[int, bytes] = field(default_factory=dict)
    moved: bytes = b""
    spacing: int = 1
    last_along: int = 0

    def create_session(
        self, tenant: str, sid: str, *, state: StoredState, keep_text: bool, **_: object
    ) -> SessionRecord:
        if self.record is None:
            self.__init__()  # type: ignore[misc]
            self.blob, self.origin = state.blob, state.read_bytes
            self.record = SessionRecord(
                tenant=tenant,
                id=sid,
                created_at=_NEVER,
                expires_at=_NEVER,
                model="m",
                focus=(),
                ttl_s=600.0,
                keep_text=keep_text,
                metadata={},
                accepted_bytes=state.read_bytes,
                read_bytes=state.read_bytes,
                tokens=state.tokens,
                segments=state.segments,
                state_bytes=len(state.blob),
                revision=0,
                edits=0,
                digest=state.digest,
                documents=0,
                pending_documents=0,
                waiting_segments=0,
                text_start=state.read_bytes,
                auto_snapshots=0,
                aside_bytes=0,
            )
        return self.record

    def get_session(self, tenant: str, sid: str) -> SessionRecord:
        if self.record is None:
            raise SessionNotFoundError(sid)
        return self.record

    def session_state(self, tenant: str, sid: str) -> tuple[SessionRecord, StoredState]:
        record = self.get_session(tenant, sid)
        return record, record.state(self.blob)

    def delete_session(self, tenant: str, sid: str) -> None:
        self.get_session(tenant, sid)
        self.__init__()  # type: ignore[misc]

    def restore(self, tenant: str, sid: str, state: StoredState, *, if_etag: str | None) -> SessionRecord:
        record = self.get_session(tenant, sid)
        if if_etag not in (None, record.etag):
            raise PreconditionFailedError(record.etag)
        if self.open:
            raise UploadOpenError(self.open)
        if not record.is_read:
            raise StillReadingError(record.unread_bytes)
        self.blob, self.origin, self.compacted, self.owner = state.blob, state.read_bytes, 0, None
        self.documents.clear()
        self.text.clear()
        self.states_along.clear()
        self.moved = b""
        self.spacing, self.last_along = 1, 0
        self._stand_at(state, accepted_bytes=state.read_bytes, text_start=state.read_bytes, aside_bytes=0)
        return self.get_session(tenant, sid)

    # ------------------------------------------------------------------ documents

    def create_document(self, tenant: str, sid: str, document_id: str, length: int | None) -> DocumentRecord:
        record = self.get_session(tenant, sid)
        if document_id in self.documents:
            return self.take_over(tenant, sid, document_id, offset=None, length=length, reached=0)
        if self.open:
            raise UploadOpenError(self.open)
        self.documents[document_id] = DocumentRecord(
            session_id=sid,
            id=document_id,
            start=record.accepted_bytes,
            offset=0,
            length=length,
            complete=False,
            read=False,
            utf8_tail=b"",
            writer=1,
            expires_in_s=0,
        )
        self.open = document_id
        self._change(documents=record.documents + 1)
        return self.documents[document_id]

    def take_over(
        self, tenant: str, sid: str, document_id: str, *, offset: int | None, length: int | None, reached: int
    ) -> DocumentRecord:
        self.get_session(tenant, sid)
        document = self.get_document(tenant, sid, document_id)
        if document.complete:
            return document
        if offset not in (None, document.offset):
            raise OffsetMismatchError(document.offset, offset or 0)
        known = _contradicted(document, length, reached)
        if known is not None:
            raise InconsistentLengthError(known, reached if length is None else length)
        self.documents[document_id] = replace(document, writer=document.writer + 1)
        return self.documents[document_id]

    def get_document(self, tenant: str, sid: str, document_id: str) -> DocumentRecord:
        if document_id not in self.documents:
            raise DocumentNotFoundError(document_id)
        return self.documents[document_id]

    def append(
        self,
        tenant: str,
        sid: str,
        document_id: str,
        *,
        offset: int,
        data: bytes,
        complete: bool,
        max_unread_bytes: int,
        utf8_tail: bytes,
        writer: int,
        length: int | None,
    ) -> DocumentRecord:
        record = self.get_session(tenant, sid)
        document = self.get_document(tenant, sid, document_id)
        if writer != document.writer:
            raise SupersededError(document_id).at(document.offset)
        if offset != document.offset:
            raise OffsetMismatchError(document.offset, offset)
        if document.complete:
            raise CompletedUploadError(document_id)
        reached, declared = offset + len(data), length if document.length is None else document.length
        if declared is not None and (length not in (None, declared) or _ends_apart(reached, declared, complete)):
            raise InconsistentLengthError(declared, reached)
        unread = record.unread_bytes
        if data and unread + len(data) > max_unread_bytes:
            detail = f"Session {sid} has {unread} of {max_unread_bytes} bytes unread."
            raise BackPressureError(detail, fields={"unread-bytes": unread})
        self.text += data
        self.documents[document_id] = replace(document, offset=reached, length=declared, utf8_tail=utf8_tail)
        self._change(accepted_bytes=record.accepted_bytes + len(data))
        if complete:
            self._close(document_id)
        return self.documents[document_id]

    def cancel_document(self, tenant: str, sid: str, document_id: str, writer: int | None) -> DocumentRecord:
        self.get_session(tenant, sid)
        document = self.get_document(tenant, sid, document_id)
        if not document.complete and writer in (None, document.writer):
            self._close(document_id)
            self.documents[document_id] = replace(self.documents[document_id], writer=document.writer + 1)
        return self.documents[document_id]

    def _close(self, document_id: str) -> None:
        document = self.documents[document_id] = replace(self.documents[document_id], complete=True)
        self.open = ""
        self.ends[document_id] = document.start + document.offset
        self._change(pending_documents=len(self.ends))

    # ------------------------------------------------------------------ reading

    def lease(self, tenant: str, sid: str, owner: str, lease_ms: int) -> Lease | None:
        record = self.record
        if record is None or (self.owner not in (None, owner) and self.is_held) or record.is_read:
            return None
        resumed = self.owner is not None
        self.owner, self.is_held, self.fence = owner, lease_ms > 0, self.fence + 1
        return Lease(record, record.state(self.blob), self.moved, owner, self.fence, lease_ms, resumed)

    def renew(self, lease: Lease, lease_ms: int) -> Lease:
        record = self._fenced(lease)
        self.is_held = lease_ms > 0
        return replace(lease, session=record, lease_ms=lease_ms)

    def release(self, lease: Lease) -> None:
        if self._is_last(lease):
            self.owner = None

    def boundaries(self, lease: Lease) -> list[Boundary]:
        return [Boundary(end, name) for name, end in sorted(self.ends.items(), key=lambda one: (one[1], one[0]))]

    def unread(self, lease: Lease, start: int, size: int) -> bytes:
        self._fenced(lease)
        return self._text(start, start + size)

    def read_text(self, tenant: str, sid: str, start: int, stop: int) -> bytes:
        self.get_session(tenant, sid)
        return self._text(start, stop)

    def timeline(self, tenant: str, sid: str) -> list[tuple[int, bytes]]:
        return sorted(self.states_along.items())

    def movements(self, tenant: str, sid: str) -> tuple[SessionRecord, bytes]:
        return self.get_session(tenant, sid), self.moved

    def commit(
        self, lease: Lease, state: StoredState, finished: tuple[str, ...], *, timeline_points: int, movements: bytes
    ) -> Lease:
        record = self._fenced(lease)
        if record.revision != lease.session.revision:
            raise _lost(record)
        ended = all(self.ends.get(name, state.read_bytes + 1) <= state.read_bytes for name in finished)
        if not (record.read_bytes <= state.read_bytes <= record.accepted_bytes and ended):
            raise ValueError
        self.blob, self.moved, self.is_held = state.blob, movements, lease.lease_ms > 0
        for name in finished:
            del self.ends[name]
            self.documents[name] = replace(self.documents[name], read=True)
        self._stand_at(state)
        self._keep_along(state, timeline_points)
        self._change(aside_bytes=len(movements) + sum(map(len, self.states_along.values())))
        if not record.keep_text:
            self._drop_text()
        return replace(lease, session=self.get_session("", ""), state=state, movements=movements)

    def _keep_along(self, state: StoredState, most: int) -> None:
        """Evenly spaced states: when there are too many, every second one goes, the first of them first."""
        if not most or state.segments < self.last_along + self.spacing:
            return
        self.states_along[state.segments], self.last_along = state.blob, state.segments
        if len(self.states_along) > most:
            for segments in sorted(self.states_along)[::2]:
                del self.states_along[segments]
            self.spacing, self.last_along = 2 * self.spacing, max(self.states_along)

    def compact(self, lease: Lease) -> int:
        record = self._fenced(lease)
        if not record.keep_text:
            return 0
        blocks = min((record.read_bytes - self.origin) // BLOCK_BYTES - self.compacted, COMPACT_BLOCKS)
        self.compacted += max(0, blocks)
        return max(0, blocks)

    def _drop_text(self) -> None:
        record = self.get_session("", "")
        if record.is_read or record.unread_bytes == 0:
            self.origin = record.read_bytes
            self.text.clear()
            self._change(text_start=record.read_bytes)
        else:
            kept = (record.read_bytes - self.origin) // BLOCK_BYTES * BLOCK_BYTES
            self._change(text_start=self.origin + kept)

    def _text(self, start: int, stop: int) -> bytes:
        record = self.get_session("", "")
        if start < record.text_start:
            raise TextNotKeptError(record.text_start)
        return bytes(self.text[start - self.origin : max(start, stop) - self.origin])

    def _stand_at(self, state: StoredState, **more: int) -> None:
        record = self.get_session("", "")
        self._change(
            read_bytes=state.read_bytes,
            tokens=state.tokens,
            segments=state.segments,
            digest=state.digest,
            state_bytes=len(state.blob),
            revision=record.revision + 1,
            pending_documents=len(self.ends),
            **more,
        )

    def _fenced(self, lease: Lease) -> SessionRecord:
        if self.record is None:
            raise FencedError(f"Session {lease.session.id} is gone.")
        if not self._is_last(lease):
            raise _lost(self.record)
        return self.record

    def _is_last(self, lease: Lease) -> bool:
        return self.record is not None and (self.owner, self.fence) == (lease.owner, lease.fence)

    def _change(self, **fields: int) -> None:
        assert self.record is not None
        self.record = replace(self.record, **fields)  # type: ignore[arg-type]


def _contradicted(document: DocumentRecord, length: int | None, reached: int) -> int | None:
    """The length that is known, where another one is told or the document goes beyond it."""
    known = length if document.length is None else document.length
    if known is None or (length in (None, known) and max(reached, document.offset) <= known):
        return None
    return known


def _ends_apart(reached: int, declared: int, complete: bool) -> bool:
    return reached > declared or (complete and reached < declared)


def _lost(record: SessionRecord) -> FencedError:
    return FencedError(f"The lease of session {record.id} is lost: to a reader, a restore or a restart of Redis.")
