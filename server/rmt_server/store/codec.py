"""Records to and from the bytes that Redis holds. The field names here are those of the Lua files."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rmt_server.store.records import DocumentRecord, SessionRecord, SnapshotRecord, StoredState


def fields_of(flat: Sequence[bytes]) -> dict[str, bytes]:
    """A Redis hash as a script returns it: field, value, field, value."""
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def whole_ms(seconds: float) -> int:
    """A time in milliseconds: at least one, since a time to live of 0 would delete at once."""
    return max(1, round(seconds * 1000))


def dump_metadata(metadata: Mapping[str, str]) -> str:
    """Metadata as one field."""
    return json.dumps(dict(metadata), ensure_ascii=False)


def dump_state(state: StoredState) -> dict[str, str | int]:
    """The fields that say how far a state has read."""
    return {
        "read_bytes": state.read_bytes,
        "tokens": state.tokens,
        "segments": state.segments,
        "digest": state.digest,
        "state_bytes": len(state.blob),
        "waiting_segments": state.waiting_segments,
    }


def load_session(tenant: str, sid: str, fields: Mapping[str, bytes]) -> SessionRecord:
    """A session out of its hash."""
    return SessionRecord(
        tenant=tenant,
        id=sid,
        ttl_s=int(fields["ttl_ms"]) / 1000,
        keep_text=fields["keep_text"] == b"1",
        accepted_bytes=int(fields["accepted_bytes"]),
        revision=int(fields["revision"]),
        edits=int(fields["edits"]),
        documents=int(fields["documents"]),
        pending_documents=int(fields["pending_documents"]),
        waiting_segments=int(fields["waiting_segments"]),
        text_start=int(fields["text_start"]),
        auto_snapshots=int(fields.get("auto_snapshots", b"0")),
        aside_bytes=int(fields.get("aside_bytes", b"0")),
        moved=None if (moved := fields.get("moved")) is None else float(moved),
        **_common(fields),
    )


def load_snapshot(tenant: str, snapshot_id: str, fields: Mapping[str, bytes]) -> SnapshotRecord:
    """A snapshot out of its hash."""
    return SnapshotRecord(
        tenant=tenant,
        id=snapshot_id,
        session_id=fields["session_id"].decode() or None,
        document_id=(fields.get("document_id") or b"").decode() or None,
        name=fields["name"].decode(),
        **_common(fields),
    )


def load_document(sid: str, document_id: str, answer: Sequence[Any]) -> DocumentRecord:
    """A document out of a script's answer: its JSON, the time, and when its session goes."""
    _, text, now_ms, expires_ms = answer
    fields = json.loads(text)
    return DocumentRecord(
        session_id=sid,
        id=document_id,
        start=fields["start"],
        offset=fields["offset"],
        length=fields["length"],
        complete=fields["complete"],
        read=fields["read"],
        utf8_tail=bytes.fromhex(fields["utf8_tail"]),
        writer=fields.get("writer", 0),
        expires_in_s=(int(expires_ms) - now_ms) // 1000,
        name=fields.get("name"),
    )


def _common(fields: Mapping[str, bytes]) -> dict[str, Any]:
    """What sessions and snapshots both say."""
    return {
        "created_at": _moment(fields["created_ms"]),
        "expires_at": _moment(fields["expires_ms"]),
        "model": fields["model"].decode(),
        "focus": tuple(json.loads(fields["focus"])),
        "metadata": json.loads(fields["metadata"]),
        "read_bytes": int(fields["read_bytes"]),
        "tokens": int(fields["tokens"]),
        "segments": int(fields["segments"]),
        "state_bytes": int(fields["state_bytes"]),
        "digest": fields["digest"].decode(),
    }


def _moment(ms: bytes) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)
