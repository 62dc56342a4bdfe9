"""Wire bodies: what requests may hold, and what answers look like. `docs/openapi.json` is made from these."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rmt_server.search.indexes import FoundPassage
from rmt_server.service.citations import Citation
from rmt_server.service.manner import Manner, Mode
from rmt_server.settings import MOST_ENTRIES
from rmt_server.store import DocumentRecord, SessionRecord, SnapshotRecord

__all__ = [
    "AnswerBody",
    "AnswerRequest",
    "AnswersBody",
    "DocumentBody",
    "DocumentRequest",
    "FoundPassageBody",
    "HealthBody",
    "MovementColumnBody",
    "MovementsBody",
    "PositionBody",
    "ProbeBody",
    "ProblemBody",
    "ReadBody",
    "RestoreRequest",
    "SearchBody",
    "SearchRequest",
    "SessionBody",
    "SessionPatch",
    "SessionRequest",
    "SessionsBody",
    "SnapshotBody",
    "SnapshotRequest",
    "SnapshotsBody",
    "TimelineBody",
    "TimelinePointBody",
    "TraceBody",
    "TraceRequest",
    "UsageBody",
    "without_surrogates",
]

_Texts = Annotated[list[str], Field(max_length=MOST_ENTRIES)]
Metadata = Annotated[dict[str, str], Field(max_length=MOST_ENTRIES, description="Texts of your own, kept beside it.")]
_StopText = Annotated[str, Field(min_length=1, max_length=64)]
Stop = Annotated[
    _StopText | Annotated[list[_StopText], Field(max_length=4)],
    Field(description="Texts that end an answer, besides the checkpoint's own; up to 4."),
]
Focus = Annotated[_Texts, Field(description="Questions known before reading; each gets a lane that works for it.")]


_SURROGATE = re.compile("[\ud800-\udfff]")


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _whole_characters(cls, value: object) -> object:
        """JSON can write half a surrogate pair, which no UTF-8 text can hold: it becomes U+FFFD."""
        return without_surrogates(value, depth=2)


def without_surrogates(value: object, depth: int) -> object:
    """The same without half characters, as deep as the models go; what they refuse for its length is left alone."""
    if isinstance(value, list | dict) and len(value) > MOST_ENTRIES:
        return value
    match value:
        case str():
            return _SURROGATE.sub("\ufffd", value)
        case list() if depth:
            return [without_surrogates(one, depth - 1) for one in value]
        case dict() if depth:
            return {without_surrogates(key, 0): without_surrogates(one, depth - 1) for key, one in value.items()}
    return value


class SessionRequest(_Request):
    """A new session."""

    model: str | None = Field(None, description="Checkpoint; must be the one that is served.")
    focus: Focus = []
    keep_text: bool = Field(True, description="Keep the text for traces and rereading; else it goes as it is read.")
    ttl_s: int | None = Field(None, gt=0, description="Seconds after its last change at which the session goes.")
    metadata: Metadata = {}
    auto_snapshots: int | None = Field(
        None,
        ge=0,
        le=64,
        description="Of how many of the last documents a snapshot of the end is kept; else the server's.",
    )
    from_snapshot: str | None = Field(None, description="Begin with a snapshot's memory: a fork.")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.from_snapshot is not None and self.focus:
            raise ValueError("a fork has the focuses of its snapshot: send from_snapshot or focus, not both")
        return self


class SessionPatch(_Request):
    """What may be changed about a session."""

    metadata: Metadata | None = None
    ttl_s: int | None = Field(None, gt=0)


class DocumentRequest(_Request):
    """A whole document as JSON, for a session of its own."""

    text: str
    name: str | None = Field(None, description="What the document is called, as with `?name=`, which goes first.")
    focus: Focus = []
    questions: _Texts = Field([], description="Asked when the document has been read; needs wait=true.")
    keep_text: bool = True
    ttl_s: int | None = Field(None, gt=0)
    metadata: Metadata = {}


class AnswerRequest(_Request):
    """Questions to a session: `question`, or `questions`."""

    question: str | None = None
    questions: _Texts | None = None
    mode: Mode | None = Field(
        None,
        description="`search`: look up places of the kept text and read them. `recall`: from the memory at once. "
        "`reread`: read the kept text once more for each question. `auto`: a focus that was given before, else "
        "search; of a checkpoint that writes its answers, recall, and reread what was not recalled surely. Default: "
        "`auto`; `recall` of a checkpoint that writes, and with `lane` or `snapshot`.",
    )
    documents: Annotated[list[str], Field(min_length=1, max_length=MOST_ENTRIES)] | None = Field(
        None, description="Look up these documents of the session only; with mode search or auto."
    )
    lane: int | None = Field(None, ge=0, description="Lane that answers; else the one with this focus, or the surest.")
    snapshot: str | None = Field(None, description="Ask this snapshot instead of the live memory.")
    wait: bool = Field(True, description="Wait until everything accepted so far has been read.")
    max_tokens: int | None = Field(None, gt=0, description="Most tokens of an answer.")
    temperature: float = Field(0.0, ge=0, le=2, description="0 takes the likeliest token; above, tokens are drawn.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Draw only from the likeliest tokens of this probability together."
    )
    seed: int | None = Field(
        None, ge=0, lt=1 << 63, description="The same one draws the same answer; in bfloat16 mostly."
    )
    stop: Stop = []
    trace: bool = Field(False, description="Find the part of the text that each answer came from.")
    stream: bool = Field(False, description="Answer with server-sent events: words of the answers as they are decoded.")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.question is None) == (not self.questions):
            raise ValueError("send either question or a non-empty list of questions")
        return self

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.chosen_mode != "recall" and self.snapshot is not None:
            raise ValueError(f"a snapshot has a memory, but no text: mode {self.mode} cannot read it once more")
        if self.chosen_mode != "recall" and self.lane is not None:
            raise ValueError(f"mode {self.mode} may answer from a lane of its own: send lane with mode recall only")
        if self.chosen_mode in ("recall", "reread") and self.documents is not None:
            raise ValueError("documents restrict a search: send them with mode search or auto")
        if self.trace and (self.snapshot is not None or not self.wait):
            raise ValueError(
                "a trace is of the session as it stands when all is read: send neither snapshot nor wait=false"
            )
        if self.mode == "reread" and not self.wait:
            raise ValueError("mode reread reads all that was accepted: send wait=false with another mode")
        return self

    @property
    def chosen_mode(self) -> Mode | None:
        """The mode that was sent, or follows from what was; None leaves it to the served checkpoint."""
        return self.mode or ("recall" if self.lane is not None or self.snapshot is not None else None)

    @property
    def manner(self) -> Manner:
        """How the questions are to be answered."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        return Manner(
            mode=self.chosen_mode,
            documents=None if self.documents is None else tuple(self.documents),
            lane=self.lane,
            snapshot=self.snapshot,
            wait=self.wait,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=stop,
        )

    @property
    def asked(self) -> list[str]:
        """All questions."""
        return self.questions or [self.question or ""]


class SearchRequest(_Request):
    """What to look for in a session's text."""

    query: str = Field(description="Words in any language; no syntax.")
    limit: int = Field(10, ge=1, le=100, description="Most passages.")
    documents: Annotated[list[str], Field(min_length=1, max_length=MOST_ENTRIES)] | None = Field(
        None, description="Search these documents of the session only."
    )
    wait: bool = Field(
        False, description="Wait until the memory holds everything accepted so far; the search itself needs no waiting."
    )


class SnapshotRequest(_Request):
    """A snapshot to take."""

    name: str = Field("", max_length=200)
    metadata: Metadata = {}
    ttl_s: int | None = Field(None, gt=0, description="Seconds until it goes; else the server's.")


class RestoreRequest(_Request):
    """A snapshot to go back to."""

    snapshot: str


class SessionBody(BaseModel):
    """A session."""

    id: str
    model: str
    created_at: datetime
    expires_at: datetime
    status: Literal["idle", "reading"]
    focus: list[str]
    keep_text: bool
    auto_snapshots: int = Field(description="Of how many of its last documents a snapshot of the end is kept.")
    metadata: dict[str, str]
    accepted_bytes: int
    read_bytes: int
    tokens: int
    segments: int
    state_bytes: int
    revision: int
    digest: str
    documents: int
    memory_took: Literal["something", "nothing"] | None = Field(
        description="`nothing`: all is read, and the memory did not move at any segment; a search still finds the "
        "text. `something`: it moved. null: it is not known yet."
    )

    @classmethod
    def of(cls, record: SessionRecord) -> Self:
        """The wire form of a record."""
        return cls(
            id=record.id,
            model=record.model,
            created_at=record.created_at,
            expires_at=record.expires_at,
            status="idle" if record.is_read else "reading",
            focus=list(record.focus),
            keep_text=record.keep_text,
            auto_snapshots=record.auto_snapshots,
            metadata=dict(record.metadata),
            accepted_bytes=record.accepted_bytes,
            read_bytes=record.read_bytes,
            tokens=record.tokens,
            segments=record.segments,
            state_bytes=record.state_bytes,
            revision=record.revision,
            digest=record.digest,
            documents=record.documents,
            memory_took=record.memory_took,
        )


class SessionsBody(BaseModel):
    """A page of sessions, the newest first."""

    sessions: list[SessionBody]
    next: str | None = Field(description="Send as `after` for the next page.")


class DocumentBody(BaseModel):
    """A document of a session."""

    id: str
    session_id: str
    name: str | None = Field(description="As it was named when it was made; null where it was not.")
    start: int = Field(description="First byte in the session's text.")
    offset: int = Field(description="Bytes accepted.")
    length: int | None = Field(description="Bytes of the whole document: as declared until it is complete.")
    complete: bool
    read: bool

    @classmethod
    def of(cls, record: DocumentRecord) -> Self:
        """The wire form of a record."""
        return cls(
            id=record.id,
            session_id=record.session_id,
            name=record.name,
            start=record.start,
            offset=record.offset,
            length=record.known_length,
            complete=record.complete,
            read=record.read,
        )


class UsageBody(BaseModel):
    """Tokens an answer took."""

    prompt_tokens: int
    completion_tokens: int


class ProbeBody(BaseModel):
    """A memory along the text that was asked."""

    segment: int = Field(description="How many segments it had read.")
    answer: str
    confidence: float


class TraceBody(BaseModel):
    """Where an answer came from."""

    question: str
    answer: str
    segment: int | None = Field(description="Number of the segment, from 0; null: no memory along the text says so.")
    bytes: tuple[int, int] | None = Field(description="Its first byte in the session's text, and the one behind it.")
    excerpt: str = Field(description="What of the segment is closest to question and answer.")
    verified: bool = Field(
        description="Whether the memory before the segment did not say so, and one that reads nothing but it does."
    )
    probes: list[ProbeBody]


class TraceRequest(_Request):
    """What to trace."""

    question: str
    answer: str | None = Field(None, max_length=1000, description="Trace this instead of what the session answers.")


class CitationBody(BaseModel):
    """A sentence of the text that an answer stands in."""

    document_id: str | None = Field(description="Its document; null where the record of that is no longer kept.")
    document: str | None = Field(description="The document's name; null without one.")
    start: int = Field(description="The sentence's first byte in the session's text.")
    end: int = Field(description="The byte behind it.")
    start_char: int | None = Field(description="Its first character in the document; null without `document_id`.")
    end_char: int | None = Field(description="The character behind it.")
    answer_start: int = Field(description="The answer's first byte in the session's text.")
    answer_end: int = Field(description="The byte behind it.")
    quote: str = Field(description="The sentence: exactly what the bytes from `start` to `end` hold.")
    score: float = Field(description="How likely this place is the answer's, in logits.")
    page: int | None = Field(default=None, description="Its page, where the document has any.")
    section: str | None = Field(default=None, description="Its section, where the document has any.")

    @classmethod
    def of(cls, citation: Citation) -> Self:
        """The wire form."""
        return cls(
            document_id=citation.document_id,
            document=citation.document,
            start=citation.start,
            end=citation.end,
            start_char=citation.start_char,
            end_char=citation.end_char,
            answer_start=citation.answer_start,
            answer_end=citation.answer_end,
            quote=citation.quote,
            score=citation.score,
        )


class AnswerBody(BaseModel):
    """One answer."""

    question: str
    answer: str | None = Field(description="null: none was found, or none of this kind can be given.")
    outcome: Literal["answered", "not_found", "not_supported"] = Field(
        description="`answered`; `not_found`: nothing that was read answers it, which is no proof that the text does "
        "not; `not_supported`: summaries, lists, translations and opinions stand at no place of a text."
    )
    citations: list[CitationBody] = Field(
        description="Sentences that hold the answer, the best first; without an answer, what came closest."
    )
    verified: bool | None = Field(
        description="Whether the first quote, read alone, gives the answer; null: there is none."
    )
    notice: str | None = Field(description="What else there is to know, such as a text of an unusual kind.")
    guess: str = Field(description="What was found or decoded; with an answer, the same.")
    confidence: float = Field(
        description="How likely it is that the guess is right, 0 to 1, by the checkpoint's calibration."
    )
    probability: float = Field(description="Probability of the decoded tokens, 0 to 1.")
    margin: float = Field(description="`probability` less the most that any other answer can have.")
    mode: Literal["focus", "search", "recall", "reread"] = Field(
        description="What answered: a lane that had worked for the question, places that were looked up, the memory, "
        "or the whole text, read once more."
    )
    lane: int | None = Field(description="The lane that answered; null where the text was looked up or read once more.")
    finish_reason: Literal["stop", "length"]
    usage: UsageBody
    trace: TraceBody | None = Field(
        default=None, description="With `trace`: where the answer came from; null without one."
    )


class TimelinePointBody(BaseModel):
    """A memory that is kept along the text."""

    segment: int = Field(description="How many segments it had read.")
    bytes: int = Field(description="Where the text ends that is in it.")
    tokens: int
    moved: list[float] = Field(description="By lane: how far it moved since the point before, over its length there.")
    vectors: list[list[float]] | None = Field(
        default=None, description="With `vectors`: by lane and memory vector, how far that one moved."
    )
    answer: str | None = Field(
        default=None, description="With a question: what it answers; null: it does not seem to know."
    )
    guess: str | None = Field(default=None, description="With a question: what was decoded.")
    confidence: float | None = Field(
        default=None, description="With a question: how likely the guess is right, 0 to 1."
    )


class TextBody(BaseModel):
    """A part of a session's text."""

    start: int = Field(description="Its first byte: that asked for, or the next one that begins a character.")
    end: int = Field(description="The byte behind it: the end of the last whole character.")
    text: str


class TimelineBody(BaseModel):
    """The memories that are kept along a session's text, evenly spaced."""

    points: list[TimelinePointBody]


class MovementColumnBody(BaseModel):
    """How far a lane's memory moved at a few segments of the text, or at one."""

    segment: int = Field(description="How many segments had been read at its end.")
    bytes: int = Field(description="Where the text of these ends.")
    moved: list[float] = Field(
        description="By memory vector: how far it moved, over its length before, at the one of its segments where that "
        "was furthest."
    )


class MovementsBody(BaseModel):
    """How far a lane's memory moved along the text: 512 columns at most."""

    start: int = Field(description="The byte where the first column begins.")
    segments_each: int = Field(description="How many segments make a column; the last one may have fewer.")
    columns: list[MovementColumnBody]


class PositionBody(BaseModel):
    """What had been read when the answers were given."""

    bytes: int
    tokens: int
    segments: int
    revision: int | None = Field(description="The session's revision; null for a snapshot.")
    digest: str


class AnswersBody(BaseModel):
    """Answers, in the order of the questions."""

    answers: list[AnswerBody]
    position: PositionBody


class FoundPassageBody(BaseModel):
    """A passage of a session's text that matches a query."""

    document_id: str | None = Field(description="null: the record of the document is no longer kept.")
    document: str | None = Field(description="The document's name; null where it has none.")
    start: int = Field(description="First byte in the session's text.")
    end: int = Field(description="The byte behind the last one.")
    start_char: int | None = Field(description="First character in the document.")
    end_char: int | None = Field(description="The character behind the last one.")
    text: str = Field(description="Exactly what these bytes hold.")
    score: float = Field(description="Higher is better; not comparable across queries or sessions.")
    page: int | None = Field(description="null: the document has no pages.")
    section: str | None = Field(description="null: the document has no sections.")

    @classmethod
    def of(cls, passage: FoundPassage) -> Self:
        """The wire form of a passage."""
        return cls(
            document_id=passage.document_id,
            document=passage.document,
            start=passage.start,
            end=passage.end,
            start_char=passage.start_char,
            end_char=passage.end_char,
            text=passage.text,
            score=passage.score,
            page=None,
            section=None,
        )


class SearchBody(BaseModel):
    """Passages, the best first."""

    passages: list[FoundPassageBody]
    position: int = Field(description="Bytes of the session's text that were searched: all that was accepted.")


class ReadBody(BaseModel):
    """A document that was sent in one call, with its session."""

    session: SessionBody
    document: DocumentBody
    answers: AnswersBody | None = None


class SnapshotBody(BaseModel):
    """A kept memory."""

    id: str
    session_id: str | None
    document_id: str | None = Field(description="The document at whose end it was kept by itself.")
    name: str
    metadata: dict[str, str]
    created_at: datetime
    expires_at: datetime
    model: str
    focus: list[str]
    bytes: int
    tokens: int
    segments: int
    size_bytes: int
    digest: str

    @classmethod
    def of(cls, record: SnapshotRecord) -> Self:
        """The wire form of a record."""
        return cls(
            id=record.id,
            session_id=record.session_id,
            document_id=record.document_id,
            name=record.name,
            metadata=dict(record.metadata),
            created_at=record.created_at,
            expires_at=record.expires_at,
            model=record.model,
            focus=list(record.focus),
            bytes=record.read_bytes,
            tokens=record.tokens,
            segments=record.segments,
            size_bytes=record.state_bytes,
            digest=record.digest,
        )


class SnapshotsBody(BaseModel):
    """A page of snapshots, the newest first."""

    snapshots: list[SnapshotBody]
    next: str | None


class HealthBody(BaseModel):
    """Whether the server lives, or is ready."""

    status: str
    detail: str | None = None


class ProblemBody(BaseModel):
    """An error, by RFC 9457; problems add fields of their own."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[dict[str, Any]] | None = None
