"""Wire bodies of events: `data` of each kind."""

from typing import Literal, Self

from pydantic import BaseModel, Field

from rmt_server.reading.rereading import RereadProgress
from rmt_server.store import EventRecord, SessionRecord
from rmt_server.wire.schemas import CitationBody

__all__ = ["DeltaBody", "DoneBody", "ProgressBody", "RereadBody", "SnapshotTakenBody", "event_body"]


class ProgressBody(BaseModel):
    """How far a session is."""

    status: Literal["idle", "reading"]
    accepted_bytes: int
    read_bytes: int
    tokens: int
    segments: int
    revision: int
    pending_documents: int = Field(description="Complete documents that are not read to their end.")
    left_out: bool = Field(False, description="Events before this one are no longer kept.")

    @classmethod
    def of(cls, record: SessionRecord | EventRecord) -> Self:
        """The wire form of how far a record says that its session is."""
        return cls(
            status="idle" if record.is_read else "reading",
            accepted_bytes=record.accepted_bytes,
            read_bytes=record.read_bytes,
            tokens=record.tokens,
            segments=record.segments,
            revision=record.revision,
            pending_documents=record.pending_documents,
            left_out=isinstance(record, EventRecord) and record.left_out,
        )


class RereadBody(BaseModel):
    """How far kept text has been read once more, for questions that came after it."""

    read_bytes: int
    total_bytes: int
    tokens: int
    segments: int

    @classmethod
    def of(cls, progress: RereadProgress) -> Self:
        """The wire form."""
        return cls(
            read_bytes=progress.read_bytes,
            total_bytes=progress.total_bytes,
            tokens=progress.tokens,
            segments=progress.segments,
        )


class DeltaBody(BaseModel):
    """Further words of an answer; all of them together are the answer."""

    question: int = Field(description="Its number in the call, from 0.")
    text: str


class CitationsBody(BaseModel):
    """The sentences that an answer stands in, before the result has them, too."""

    question: int = Field(description="Its number in the call, from 0.")
    citations: list[CitationBody]


class DoneBody(ProgressBody):
    """Documents were read to their end."""

    documents: list[str] = Field([], description="Their ids, in their order.")


class _Taken(BaseModel):
    id: str
    name: str
    bytes: int
    tokens: int
    segments: int


class SnapshotTakenBody(ProgressBody):
    """A snapshot was taken."""

    snapshot: _Taken | None = Field(None, description="Its id and name, and what had been read by then.")


def event_body(event: EventRecord) -> ProgressBody:
    """`data` of an event that is no error."""
    if event.kind == "done":
        return DoneBody.of(event).model_copy(update={"documents": list(event.documents)})
    if event.snapshot is not None:
        taken = event.snapshot
        snapshot = _Taken(
            id=taken.id, name=taken.name, bytes=taken.read_bytes, tokens=taken.tokens, segments=taken.segments
        )
        return SnapshotTakenBody.of(event).model_copy(update={"snapshot": snapshot})
    return ProgressBody.of(event)
