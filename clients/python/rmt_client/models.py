"""What the server tells, as frozen dataclasses; and how they are read from JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Session:
    """A reader and its memory, and how far it is. Byte counts are of all its documents together."""

    id: str
    model: str
    created_at: datetime
    expires_at: datetime | None
    status: str
    focus: tuple[str, ...]
    keep_text: bool
    auto_snapshots: int
    metadata: Mapping[str, str]
    accepted_bytes: int
    read_bytes: int
    tokens: int
    segments: int
    state_bytes: int
    revision: int
    digest: str
    documents: int
    memory_took: str | None
    """"nothing": all is read, and the memory did not move at any segment; "something"; None: it is not known yet."""

    @classmethod
    def from_json(cls, data: Json) -> Session:
        """Reads a session; KeyError, TypeError or ValueError when it is not one."""
        return cls(**_common(cls, {"memory_took": None, **data}), focus=tuple(data["focus"]))


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint that is served."""

    id: str
    created: datetime

    @classmethod
    def from_json(cls, data: Json) -> Model:
        """Reads a model; its time is in seconds since 1970."""
        return cls(str(data["id"]), datetime.fromtimestamp(int(data["created"]), UTC))


@dataclass(frozen=True, slots=True)
class Document:
    """One upload: `offset` bytes of it are accepted; its first byte is byte `start` of the session."""

    id: str
    session_id: str
    name: str | None
    start: int
    offset: int
    length: int | None
    complete: bool
    read: bool

    @classmethod
    def from_json(cls, data: Json) -> Document:
        """Reads a document."""
        return cls(**_common(cls, {"name": None, **data}))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one answer cost."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A memory along the text that was asked: how many segments it had read, and what it said."""

    segment: int
    answer: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Trace:
    """Where an answer came from.

    Attributes:
        question: What was asked.
        answer: What was traced.
        segment: Number of the segment, from 0; None where no memory along the text says so.
        bytes: Its first byte in the session's text, and the one behind it.
        excerpt: What of it is closest to question and answer.
        verified: Whether the memory before it did not say so, and one that reads nothing but it does.
        probes: The memories that were asked.
    """

    question: str
    answer: str
    segment: int | None
    bytes: tuple[int, int] | None
    excerpt: str
    verified: bool
    probes: tuple[Probe, ...]

    @classmethod
    def from_json(cls, data: Json) -> Trace:
        """Reads a trace."""
        place = data["bytes"]
        probes = tuple(Probe(**_common(Probe, probe)) for probe in data["probes"])
        known = _common(cls, {**data, "bytes": None if place is None else (int(place[0]), int(place[1]))})
        return cls(**known, probes=probes)


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of the text that holds an answer.

    Attributes:
        document_id: The document in which it stands; None where its record is no longer kept.
        document: The document's name, where it has one.
        start: The sentence's first byte in the session's text, as `get_text` counts.
        end: The byte behind its last.
        start_char: Its first character in the document; None without `document_id`.
        end_char: The character behind its last.
        answer_start: The answer's first byte in the session's text.
        answer_end: The byte behind its last.
        quote: The sentence: exactly what the bytes from `start` to `end` hold.
        score: How likely this place is the answer's, in logits; higher is likelier.
        page: Its page, where the document has pages.
        section: Its section, where the document has sections.
    """

    document_id: str | None
    document: str | None
    start: int
    end: int
    start_char: int | None
    end_char: int | None
    answer_start: int
    answer_end: int
    quote: str
    score: float
    page: int | None
    section: str | None

    @classmethod
    def from_json(cls, data: Json) -> Citation:
        """Reads a citation."""
        return cls(**_common(cls, {"page": None, "section": None, **data}))

    @property
    def parts(self) -> tuple[str, str, str]:
        """The quote in three parts: before the answer, the answer, and behind it."""
        quote = self.quote.encode()
        first, last = self.answer_start - self.start, self.answer_end - self.start
        before, answer, behind = quote[:first], quote[first:last], quote[last:]
        return before.decode(errors="replace"), answer.decode(errors="replace"), behind.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question.

    Attributes:
        question: The question.
        answer: The answer; None where there is none.
        outcome: "answered"; "not_found": nothing that was read answers the question; or "not_supported": the question
            asks for what stands at no place of a text, such as a summary or a list.
        citations: The sentences that hold the answer, the best first; without an answer, what came closest. Empty
            where the text was not kept, or the checkpoint writes its answers instead of pointing at them.
        verified: Whether the first quote, read alone, gives the answer; None where there is no answer, or no quote.
        notice: What else there is to know, such as a text of an unusual kind.
        guess: What was found or decoded, also where that is not called an answer.
        confidence: How likely it is that the guess is right, 0 to 1.
        probability: Probability of the decoded tokens.
        margin: `probability` less the most that any other answer can have.
        mode: What answered: "focus", a lane that had worked for the question; "search", places that were looked up;
            "recall", the memory; or "reread", the whole text, read once more.
        lane: The lane that answered; None where the text was looked up or read once more.
        finish_reason: "stop", or "length" when it was cut off.
        usage: Tokens that it took.
        trace: Where it came from, if that was asked for.
    """

    question: str
    answer: str | None
    outcome: str
    citations: tuple[Citation, ...]
    verified: bool | None
    notice: str | None
    guess: str
    confidence: float
    probability: float
    margin: float
    mode: str
    lane: int | None
    finish_reason: str
    usage: Usage
    trace: Trace | None

    @classmethod
    def from_json(cls, data: Json) -> Answer:
        """Reads an answer."""
        usage = Usage(**_common(Usage, data["usage"]))
        trace = None if data["trace"] is None else Trace.from_json(data["trace"])
        citations = tuple(map(Citation.from_json, data["citations"]))
        return cls(**_common(cls, data), usage=usage, trace=trace, citations=citations)


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a session's text, whole characters of it.

    Attributes:
        start: Its first byte.
        end: The byte behind it.
    """

    start: int
    end: int
    text: str

    @classmethod
    def from_json(cls, data: Json) -> Text:
        """Reads a part of a text."""
        return cls(**_common(cls, data))


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """A memory that is kept along a session's text.

    Attributes:
        segment: How many segments it had read.
        bytes: Where the text ends that is in it.
        tokens: How many tokens that is.
        moved: By lane: how far it moved since the point before, over its length there.
        vectors: By lane and memory vector the same, if that was asked for.
        answer: What it answers, if it was asked and seems to know.
        guess: What was decoded, if it was asked.
        confidence: How likely the guess is right, 0 to 1, if it was asked.
    """

    segment: int
    bytes: int
    tokens: int
    moved: tuple[float, ...]
    vectors: tuple[tuple[float, ...], ...] | None
    answer: str | None
    guess: str | None
    confidence: float | None

    @classmethod
    def from_json(cls, data: Json) -> TimelinePoint:
        """Reads a point."""
        lanes = data.get("vectors")
        vectors = None if lanes is None else tuple(tuple(map(float, lane)) for lane in lanes)
        return cls(**_common(cls, {**data, "moved": tuple(map(float, data["moved"])), "vectors": vectors}))


@dataclass(frozen=True, slots=True)
class MovementColumn:
    """How far a lane's memory moved at a few segments of the text, or at one.

    Attributes:
        segment: How many segments had been read at its end.
        bytes: Where the text of these ends.
        moved: By memory vector: how far it moved, over its length before, at the one of its segments where that was
            furthest.
    """

    segment: int
    bytes: int
    moved: tuple[float, ...]

    @classmethod
    def from_json(cls, data: Json) -> MovementColumn:
        """Reads a column."""
        return cls(**_common(cls, {**data, "moved": tuple(map(float, data["moved"]))}))


@dataclass(frozen=True, slots=True)
class Movements:
    """How far a lane's memory moved along the text.

    Attributes:
        start: The byte where the first column begins.
        segments_each: How many segments make a column; the last one may have fewer.
        columns: 512 at most.
    """

    start: int
    segments_each: int
    columns: tuple[MovementColumn, ...]

    @classmethod
    def from_json(cls, data: Json) -> Movements:
        """Reads movements."""
        return cls(**_common(cls, {**data, "columns": tuple(map(MovementColumn.from_json, data["columns"]))}))


@dataclass(frozen=True, slots=True)
class Position:
    """The point of the text that answers speak for. A snapshot's has no revision."""

    bytes: int
    tokens: int
    segments: int
    revision: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to several questions, in their order, all from one position."""

    answers: tuple[Answer, ...]
    position: Position

    @classmethod
    def from_json(cls, data: Json) -> Answers:
        """Reads answers and their position."""
        answers = tuple(Answer.from_json(answer) for answer in data["answers"])
        return cls(answers, Position(**_common(Position, data["position"])))


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """A passage of a session's text that matches a query.

    Attributes:
        document_id: The document in which it stands; None where its record is no longer kept.
        document: The document's name, where it has one.
        start: Its first byte in the session's text, as `get_text` counts.
        end: The byte behind its last.
        start_char: Its first character in the document.
        end_char: The character behind its last.
        text: Exactly what these bytes hold.
        score: Higher is better; not comparable across queries or sessions.
        page: Its page, where the document has pages.
        section: Its section, where the document has sections.
    """

    document_id: str | None
    document: str | None
    start: int
    end: int
    start_char: int | None
    end_char: int | None
    text: str
    score: float
    page: int | None
    section: str | None

    @classmethod
    def from_json(cls, data: Json) -> FoundPassage:
        """Reads a passage."""
        return cls(**_common(cls, data))


@dataclass(frozen=True, slots=True)
class Found:
    """The passages that a search found, the best first; `position` counts the bytes of text that were searched."""

    passages: tuple[FoundPassage, ...]
    position: int

    @classmethod
    def from_json(cls, data: Json) -> Found:
        """Reads what a search found."""
        return cls(tuple(map(FoundPassage.from_json, data["passages"])), data["position"])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A kept reading state.

    `session_id` is None where it was imported; `document_id` names the document at whose end it was kept by itself.
    """

    id: str
    session_id: str | None
    document_id: str | None
    name: str | None
    metadata: Mapping[str, str]
    created_at: datetime
    expires_at: datetime | None
    model: str
    focus: tuple[str, ...]
    bytes: int
    tokens: int
    segments: int
    size_bytes: int
    digest: str

    @classmethod
    def from_json(cls, data: Json) -> Snapshot:
        """Reads a snapshot."""
        return cls(**_common(cls, data), focus=tuple(data["focus"]))


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a listing; `next` goes into `after` for the part behind it, and is None at the end."""

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the server takes work, and its own word for it."""

    ready: bool
    status: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an operation is: of one document, or of a session while only waiting for it.

    `tokens` counts those read since the operation began. `problem` says what is being waited for
    when something went wrong and is tried again; it is empty while all is well.
    """

    document_id: str
    sent_bytes: int
    total_bytes: int | None
    read_bytes: int
    tokens: int
    problem: str = ""


Listener = Callable[[Progress], None]


def _common(cls: type[Any], data: Json) -> dict[str, Any]:
    """Picks the fields that JSON holds as they are, and reads times; leaves the nested ones out."""
    plain: dict[str, Any] = {}
    for field in fields(cls):
        if field.name.endswith("_at"):
            plain[field.name] = _time(data[field.name])
        elif field.name not in {"focus", "usage", "trace", "probes", "citations"}:
            plain[field.name] = data[field.name]
    return plain


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
