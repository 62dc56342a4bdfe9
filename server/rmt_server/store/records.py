"""What the store takes and gives: frozen records, no dictionaries. Their reprs, for logs, show no content."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class StoredState:
    """A reader state as it lies in the store: opaque bytes, and how far they have read."""

    blob: bytes = field(repr=False)
    read_bytes: int
    tokens: int
    segments: int
    digest: str
    """Rolling digest of the bytes read, in hexadecimal."""
    waiting_segments: int = 0
    """Whole segments that the state holds, for their bytes count as read, but that are not in the memory yet."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session, as of one moment. Offsets count the bytes of all its documents together."""

    tenant: str
    id: str
    created_at: datetime
    expires_at: datetime
    model: str
    """Fingerprint of the checkpoint that reads this session."""
    focus: tuple[str, ...] = field(repr=False)
    ttl_s: float
    """Time to live after the last change."""
    keep_text: bool
    metadata: Mapping[str, str] = field(repr=False)
    accepted_bytes: int
    read_bytes: int
    tokens: int
    segments: int
    state_bytes: int
    revision: int
    """Grows with every commit and restore: it names a state of the memory."""
    edits: int
    """Grows with every change of metadata or time to live."""
    digest: str
    documents: int
    """How many documents were ever begun."""
    pending_documents: int
    """Complete documents whose end the reader has not passed yet."""
    waiting_segments: int
    """See ``StoredState``."""
    text_start: int
    """The first byte whose text is still kept."""
    auto_snapshots: int
    """Of how many of its last documents there is a snapshot of the end."""
    aside_bytes: int
    """Size of the timeline, of the movements, and of lanes that reread the text."""
    moved: float | None = None
    """The furthest that a memory vector moved at a segment, over its length before; None: no segment is known."""

    @property
    def kept_bytes(self) -> int:
        """Text that is still there, as it was sent, the state, and what is kept aside."""
        return self.accepted_bytes - self.text_start + self.state_bytes + self.aside_bytes

    @property
    def unread_bytes(self) -> int:
        """Bytes that were accepted and are not in the memory yet."""
        return self.accepted_bytes - self.read_bytes

    @property
    def keeps_all_text(self) -> bool:
        """Whether all of its text is there."""
        return self.keep_text and self.text_start == 0

    @property
    def is_read(self) -> bool:
        """Whether everything accepted is in the memory, the ends of documents included."""
        return self.unread_bytes == self.pending_documents == self.waiting_segments == 0

    @property
    def memory_took(self) -> Literal["something", "nothing"] | None:
        """Whether the memory moved at any segment of the text; None while that is open."""
        if self.moved is None or (self.moved == 0 and not self.is_read):
            return None
        return "something" if self.moved > 0 else "nothing"

    @property
    def etag(self) -> str:
        """The version that ``if_etag`` is compared with."""
        return f"{self.revision}-{self.edits}"

    def state(self, blob: bytes) -> StoredState:
        """The state that this record describes."""
        return StoredState(blob, self.read_bytes, self.tokens, self.segments, self.digest)


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """One document: ``offset`` of its bytes are accepted, and lie from byte ``start`` of the session on."""

    session_id: str
    id: str
    start: int
    offset: int
    length: int | None
    """As declared, in bytes."""
    complete: bool
    read: bool
    utf8_tail: bytes = field(repr=False)
    """The accepted bytes of a character that the next piece finishes."""
    writer: int
    """Number of the request that writes it: each newer one takes the next."""
    expires_in_s: int = field(compare=False)
    """Its session's time to live, as of when this was looked up."""
    name: str | None = field(default=None, repr=False)

    @property
    def known_length(self) -> int | None:
        """The document's size in bytes: what it has when it is complete, else what was declared."""
        return self.offset if self.complete else self.length


@dataclass(frozen=True, slots=True)
class DocumentPlace:
    """Where a document lies in the session's text: up to byte ``end`` by now, and for good if it is complete."""

    id: str
    start: int
    end: int
    complete: bool
    name: str | None = field(default=None, repr=False)
    chars_before: int | None = None
    """How many characters begin in the session's text before it; None: they were not counted."""


def document_at(places: Sequence[DocumentPlace], byte: int) -> DocumentPlace | None:
    """Of documents in the order of the text, the one in which a byte lies; None where its record is no longer kept."""
    number = bisect_right(places, byte, key=lambda place: place.start) - 1
    return places[number] if number >= 0 and byte < places[number].end else None


@dataclass(frozen=True, slots=True)
class Boundary:
    """The end of a complete document that is not read yet."""

    end_byte: int
    document_id: str


@dataclass(frozen=True, slots=True)
class Due:
    """Sessions to try, by tenant and id, the longest waiting first. Only trying one tells for sure."""

    sessions: tuple[tuple[str, str], ...]
    hints: int
    """How many sessions are being read, or wait for it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to read one session: ``fence`` is higher than that of every lease before."""

    session: SessionRecord
    state: StoredState
    movements: bytes = field(repr=False)
    """How far the memory moved along the text, as it was committed; empty at the beginning."""
    owner: str
    fence: int
    lease_ms: int
    resumed: bool = False
    """Whether the reader before did not give it back: it died, fell silent, lost Redis, or Redis began another life."""


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A kept reader state, without its bytes. It outlives the session it was taken from."""

    tenant: str
    id: str
    session_id: str | None
    """None: imported."""
    document_id: str | None
    """The document at whose end it was kept by itself."""
    name: str
    metadata: Mapping[str, str] = field(repr=False)
    created_at: datetime
    expires_at: datetime
    model: str
    focus: tuple[str, ...] = field(repr=False)
    read_bytes: int
    tokens: int
    segments: int
    state_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened in a session, and how far that was then."""

    id: str
    """Grows from event to event, also over a restart of Redis."""
    kind: Literal["progress", "done", "snapshot", "error"]
    accepted_bytes: int
    read_bytes: int
    tokens: int
    segments: int
    revision: int
    pending_documents: int
    waiting_segments: int
    left_out: bool = False
    """This is how the session stands: events between the last known one and this are no longer kept."""
    documents: tuple[str, ...] = ()
    """Of ``done``: what has been read."""
    snapshot: "EventSnapshot | None" = None
    problem: Mapping[str, Any] = field(default_factory=dict)
    """Of ``error``."""

    @property
    def is_read(self) -> bool:
        """Whether everything accepted was in the memory."""
        return self.accepted_bytes == self.read_bytes and self.pending_documents == self.waiting_segments == 0


@dataclass(frozen=True, slots=True)
class EventSnapshot:
    """A snapshot that was taken, and the position that it holds."""

    id: str
    name: str
    read_bytes: int
    tokens: int
    segments: int


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a listing, the newest first; without ``next_cursor`` it is the last."""

    items: tuple[Item, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What Redis says about itself."""

    redis_version: str
    role: str
    """``master``, or ``slave``: it takes no changes."""
    is_cluster_node: bool
    as_cluster: bool
    """Whether the URL says that it is a cluster."""
    used_memory_bytes: int
    max_memory_bytes: int
    """0: no limit."""
    machine_memory_bytes: int
    """0: unknown."""
    eviction_policy: str
    append_only: bool
    append_fsync: str
    """Empty: it does not say."""
    writes_log: bool
    """Whether it could write its append-only file the last time."""
    loading: bool


@dataclass(frozen=True, slots=True)
class StoreTiming:
    """How far away Redis is."""

    median_s: float
    slowest_s: float
    clock_ahead_s: float
    """How far its clock is ahead of this machine's."""
