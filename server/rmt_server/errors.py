"""Every error that this server raises on purpose.

::

    RmtServerError                    500
    ├── BadRequestError               400
    │   ├── CompletedUploadError           the upload was finished before
    │   ├── InconsistentLengthError        the bytes contradict the declared length
    │   ├── DamagedContentError            the content is not coded as it says
    │   └── DigestMismatchError            the content is not what was sent
    ├── UnauthorizedError             401  no key, or an unknown one
    ├── ForbiddenError                403
    │   ├── MissingScopeError              the key does not allow this
    │   ├── CrossSiteError                 a web page of another origin
    │   └── QuotaExceededError             a tenant has as much as it may
    ├── NotFoundError                 404
    │   ├── SessionNotFoundError
    │   ├── DocumentNotFoundError
    │   ├── SnapshotNotFoundError
    │   └── ModelNotFoundError
    ├── RequestTimeoutError           408  the request does not come to its end
    │   └── SlowBodyError                  its body brings nothing for too long
    ├── ConflictError                 409
    │   ├── OffsetMismatchError            the upload continues somewhere else
    │   ├── SupersededError                a newer request goes on with the upload
    │   ├── UploadOpenError                another document is still being uploaded
    │   ├── StillReadingError              accepted bytes are not read yet
    │   ├── TextNotKeptError               the text asked for was dropped
    │   ├── TextTooLongError               more text than this server indexes
    │   └── WrongCheckpointError           a state made by another model
    ├── PreconditionFailedError       412  stale If-Match
    ├── TooLargeError                 413
    ├── UnsupportedMediaTypeError     415
    │   └── UnsupportedCodingError
    ├── UnprocessableError            422
    │   ├── KeyReusedError                 an idempotency key of another request
    │   ├── InvalidUtf8Error
    │   ├── DamagedSnapshotError
    │   ├── EmptyQuestionError
    │   └── QuestionTooLongError
    ├── HeadTooLargeError             431
    ├── BusyError                     503  come back after retry_after_s
    │   ├── RateLimitedError          429
    │   ├── TokensSpentError          429  until the next day
    │   ├── BackPressureError              more unread text than the limit
    │   └── StoreUnavailableError          Redis does not answer
    ├── FencedError                   500  internal: a reader lost its lease
    ├── DamagedStoreError             500  internal: Redis holds less than it acknowledged
    └── StartupError                  500  the server cannot start

The first level fixes the HTTP status; a class below it names one problem. ``problem()`` gives the body
of an ``application/problem+json`` answer (RFC 9457), to which the route adds ``instance`` and ``request_id``.
"""

from collections.abc import Mapping
from typing import ClassVar, Self

PROBLEM_TYPE_PREFIX = "urn:rmt-server:problem:"
IANA_PROBLEM_TYPE_PREFIX = "https://iana.org/assignments/http-problem-types#"


class RmtServerError(Exception):
    """The root: a detail in words, and the fields that a program can act upon."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    type_prefix: ClassVar[str] = PROBLEM_TYPE_PREFIX
    ends_connection: ClassVar[bool] = False
    expected_bytes: int | None = None

    def __init__(self, detail: str, fields: Mapping[str, object] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = dict(fields or {})

    @property
    def type(self) -> str:
        """The problem's type: a URI."""
        return self.type_prefix + self.slug

    def at(self, offset_bytes: int) -> Self:
        """The same error, telling where the upload that it is about stands."""
        self.expected_bytes = offset_bytes
        self.fields["expected-offset"] = offset_bytes
        return self

    def problem(self) -> dict[str, object]:
        """The problem document, without the fields that only the route knows."""
        return {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.fields,
        }


class BadRequestError(RmtServerError):
    """The request contradicts itself or the state of what it names."""

    status, slug, title = 400, "bad-request", "Bad request"


class CompletedUploadError(BadRequestError):
    """Bytes for an upload that is complete (draft-ietf-httpbis-resumable-upload)."""

    slug, title, type_prefix = "completed-upload", "The upload is complete", IANA_PROBLEM_TYPE_PREFIX

    def __init__(self, document_id: str) -> None:
        super().__init__(f"Document {document_id} is complete and takes no more bytes.")


class InconsistentLengthError(BadRequestError):
    """The upload would end before or after its declared length (draft-ietf-httpbis-resumable-upload)."""

    slug = "inconsistent-upload-length"
    title, type_prefix = "Inconsistent upload length", IANA_PROBLEM_TYPE_PREFIX

    def __init__(self, declared_bytes: int, provided_bytes: int) -> None:
        super().__init__(f"The upload was declared {declared_bytes} bytes long, not {provided_bytes}.")


class DamagedContentError(BadRequestError):
    """Content that its coding cannot have made: damaged, or cut off."""

    slug, title = "damaged-content", "Damaged content"


class DigestMismatchError(BadRequestError):
    """Content with another digest than its ``Content-Digest`` (RFC 9530): it was damaged on the way."""

    slug, title = "digest-mismatch", "Digest mismatch"

    def __init__(self, algorithm: str, provided: str) -> None:
        super().__init__(
            f"The content has another {algorithm} digest than Content-Digest says.",
            {"algorithm": algorithm, "provided-digest": provided},
        )


class UnauthorizedError(RmtServerError):
    """No API key, or one that this server does not know."""

    status, slug, title = 401, "unauthorized", "Unauthorized"

    def __init__(
        self, detail: str = "Send a valid key as `Authorization: Bearer KEY`.", *, invalid: bool = False
    ) -> None:
        super().__init__(detail)
        self.challenge = 'Bearer realm="rmt-server"' + (', error="invalid_token"' if invalid else "")


class ForbiddenError(RmtServerError):
    """Known who it is, and still not allowed."""

    status, slug, title = 403, "forbidden", "Forbidden"


class MissingScopeError(ForbiddenError):
    """The API key does not allow this."""

    slug, title = "missing-scope", "Missing scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"The key lacks the scope {scope!r}, which this call needs.", {"required-scope": scope})
        self.challenge = f'Bearer realm="rmt-server", error="insufficient_scope", scope="{scope}"'


class CrossSiteError(ForbiddenError):
    """A web page of another origin calls a server that asks for no key."""

    slug, title = "cross-site", "Cross-site request"


class QuotaExceededError(ForbiddenError):
    """A tenant has as many sessions, snapshots or bytes as it may: something has to go first."""

    slug, title = "quota-exceeded", "Quota exceeded"

    def __init__(self, quota: str, limit: int, used: int) -> None:
        named = quota.replace("_", " ")
        super().__init__(f"{used} of {limit} {named} are used.", {"quota": quota, "limit": limit, "used": used})


class NotFoundError(RmtServerError):
    """Nothing of that name for this tenant."""

    status, slug, title = 404, "not-found", "Not found"
    noun: ClassVar[str] = "Resource"

    def __init__(self, name: str) -> None:
        super().__init__(f"{self.noun} {name!r} does not exist, or no longer.")


class SessionNotFoundError(NotFoundError):
    """No such session: never made, deleted, expired, or another tenant's."""

    slug, title, noun = "session-not-found", "Session not found", "Session"


class DocumentNotFoundError(NotFoundError):
    """No such document in this session."""

    slug, title, noun = "document-not-found", "Document not found", "Document"


class SnapshotNotFoundError(NotFoundError):
    """No such snapshot: never made, deleted, expired, or another tenant's."""

    slug, title, noun = "snapshot-not-found", "Snapshot not found", "Snapshot"


class ModelNotFoundError(NotFoundError):
    """This server does not serve that model."""

    slug, title, noun = "model-not-found", "Model not found", "Model"


class RequestTimeoutError(RmtServerError):
    """The rest of a request does not come."""

    status, slug, title = 408, "request-timeout", "Request timeout"


class SlowBodyError(RequestTimeoutError):
    """The sender of a body fell silent in the middle of it. The connection is closed: more may still be under way."""

    slug, title, ends_connection = "slow-body", "The body stalls", True

    def __init__(self, idle_s: float) -> None:
        super().__init__(f"Nothing of the body has come for {idle_s:g} s.")


class ConflictError(RmtServerError):
    """The state of the resource does not allow this now."""

    status, slug, title = 409, "conflict", "Conflict"


class OffsetMismatchError(ConflictError):
    """The piece does not continue the upload (draft-ietf-httpbis-resumable-upload)."""

    slug = "mismatching-upload-offset"
    title, type_prefix = "Mismatching upload offset", IANA_PROBLEM_TYPE_PREFIX

    def __init__(self, expected_bytes: int, provided_bytes: int) -> None:
        super().__init__(
            f"The upload continues at byte {expected_bytes}, not at {provided_bytes}.",
            {"expected-offset": expected_bytes, "provided-offset": provided_bytes},
        )
        self.expected_bytes = expected_bytes
        self.provided_bytes = provided_bytes


class SupersededError(ConflictError):
    """A newer request goes on with the upload, or ended it, or asked where it stands: this one has no say any more."""

    slug, title, ends_connection = "superseded", "Superseded by a newer request", True

    def __init__(self, document_id: str) -> None:
        super().__init__(f"A newer request took over document {document_id}.")


class UploadOpenError(ConflictError):
    """Documents follow one another: another one is not complete yet."""

    slug, title = "upload-open", "Another upload is open"

    def __init__(self, document_id: str) -> None:
        super().__init__(
            f"Document {document_id} is not complete. Finish or cancel it first.",
            {"document-id": document_id},
        )
        self.document_id = document_id


class StillReadingError(ConflictError):
    """The session has accepted text that is not in its memory yet."""

    slug, title = "still-reading", "Still reading"

    def __init__(self, unread_bytes: int) -> None:
        super().__init__(
            f"The session has yet to read its accepted text ({unread_bytes} bytes). Wait until it has.",
            {"unread-bytes": unread_bytes},
        )


class TextNotKeptError(ConflictError):
    """The text asked for was dropped: by ``keep_text=false``, a fork or a restore."""

    slug, title = "text-not-kept", "Text not kept"

    def __init__(self, text_start_byte: int) -> None:
        super().__init__(
            f"The session keeps its text from byte {text_start_byte} on. What needs all of it: send the document to a "
            "new session with keep_text true; a fork, or a restored session, begins without text.",
            {"text-start": text_start_byte},
        )


class TextTooLongError(ConflictError):
    """The index of a session's text would be larger than the limit."""

    slug, title = "text-too-long", "Text too long to be searched"

    def __init__(self, text_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"The session's text has {text_bytes} bytes; its index would be larger than the {limit_bytes} bytes that "
            "RMT_MAX_SEARCH_BYTES allows.",
            {"text-bytes": text_bytes, "limit-bytes": limit_bytes},
        )


class WrongCheckpointError(ConflictError):
    """A reader state made by another checkpoint than the one that is served."""

    slug, title = "wrong-checkpoint", "Wrong checkpoint"

    def __init__(self, expected: str, provided: str) -> None:
        super().__init__(
            f"The state was made by checkpoint {provided}; this one is {expected}.",
            {"expected-checkpoint": expected, "provided-checkpoint": provided},
        )


class PreconditionFailedError(RmtServerError):
    """``If-Match`` names a version that is no longer the current one."""

    status, slug, title = 412, "precondition-failed", "Precondition failed"

    def __init__(self, current_etag: str) -> None:
        super().__init__(f"The session has changed: its ETag is {current_etag!r} now.", {"etag": current_etag})


class TooLargeError(RmtServerError):
    """A body above its documented limit."""

    status, slug, title = 413, "too-large", "Content too large"

    def __init__(self, limit_bytes: int, name: str = "max-size") -> None:
        super().__init__(f"The limit is {limit_bytes} bytes.", {"limit-bytes": limit_bytes})
        self.upload_limit = f"{name}={limit_bytes}"


class UnsupportedMediaTypeError(RmtServerError):
    """A content type that this route does not read."""

    status, slug, title = 415, "unsupported-media-type", "Unsupported media type"
    accept_patch: str | None = None

    def __init__(self, provided: str, supported: tuple[str, ...]) -> None:
        super().__init__(f"Content-Type {provided!r} is not one of {', '.join(supported)}.")


class UnsupportedCodingError(UnsupportedMediaTypeError):
    """A content coding that this route does not decode."""

    slug, title = "unsupported-content-coding", "Unsupported content coding"

    def __init__(self, provided: str, supported: tuple[str, ...]) -> None:
        RmtServerError.__init__(self, f"Content-Encoding {provided!r} is not one of {', '.join(supported)}.")
        self.accept_encoding = ", ".join(supported)


class UnprocessableError(RmtServerError):
    """Well-formed, but it cannot be worked with."""

    status, slug, title = 422, "unprocessable", "Unprocessable content"


class KeyReusedError(UnprocessableError):
    """An ``Idempotency-Key`` that came with another request before."""

    slug, title = "idempotency-key-reused", "Idempotency key reused"

    def __init__(self) -> None:
        super().__init__("The Idempotency-Key belongs to a request that asked for something else. Take a new one.")


class InvalidUtf8Error(UnprocessableError):
    """Text that is not UTF-8. What came before the offset stays accepted."""

    slug, title = "invalid-utf8", "Invalid UTF-8"

    def __init__(self, byte_offset: int) -> None:
        super().__init__(f"The text is not UTF-8 at byte {byte_offset}.", {"byte-offset": byte_offset})
        self.byte_offset = byte_offset


class DamagedSnapshotError(UnprocessableError):
    """An imported snapshot that is not a readable reader state."""

    slug, title = "damaged-snapshot", "Damaged snapshot"


class EmptyQuestionError(UnprocessableError):
    """A question without words."""

    slug, title = "empty-question", "Empty question"

    def __init__(self, detail: str = "The question is empty.") -> None:
        super().__init__(detail)


class QuestionTooLongError(UnprocessableError):
    """A question that does not fit into a segment."""

    slug, title = "question-too-long", "Question too long"


class HeadTooLargeError(RmtServerError):
    """The request's target and header fields are too large, or too many."""

    status, slug, title = 431, "head-too-large", "Request header fields too large"

    def __init__(self, limit_bytes: int, most_fields: int) -> None:
        super().__init__(f"A head may have {limit_bytes} bytes and {most_fields} fields.", {"limit-bytes": limit_bytes})


class BusyError(RmtServerError):
    """Not now: a queue is full or a part is away. ``retry_after_s`` becomes ``Retry-After``."""

    status, slug, title = 503, "busy", "Busy"

    def __init__(self, detail: str, retry_after_s: float = 1.0, fields: Mapping[str, object] | None = None) -> None:
        super().__init__(detail, fields)
        self.retry_after_s = retry_after_s


class RateLimitedError(BusyError):
    """One tenant's requests come faster than its limit."""

    status, slug, title = 429, "rate-limited", "Too many requests"


class TokensSpentError(BusyError):
    """A tenant has spent the tokens of the day."""

    status, slug, title = 429, "tokens-spent", "Tokens spent"

    def __init__(self, limit: int, used: int, retry_after_s: float) -> None:
        fields = {"quota": "tokens_day", "limit": limit, "used": used}
        super().__init__(f"{used} of {limit} tokens of this day (UTC) are spent.", retry_after_s, fields)


class BackPressureError(BusyError):
    """Text arrives faster than it is read, and the waiting room is full."""

    slug, title = "back-pressure", "Back-pressure"


class StoreUnavailableError(BusyError):
    """Redis cannot be reached, is loading, read-only or out of memory."""

    slug, title = "store-unavailable", "Store unavailable"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or "Redis does not answer, or takes no changes now.")


class FencedError(RmtServerError):
    """The lease is no longer ours: whatever was computed under it must be dropped."""

    slug, title = "fenced", "Lease lost"


class DamagedStoreError(RmtServerError):
    """Redis does not hold what it acknowledged."""

    slug, title = "damaged-store", "Damaged store"


class StartupError(RmtServerError):
    """The server cannot start; the detail says what to do about it."""

    slug, title = "startup", "Cannot start"


def why_unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Why a text file cannot be read, without its name."""
    return str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8"


def problem_slugs() -> list[str]:
    """What the types of all problems end in."""
    found, classes = set[str](), [RmtServerError]
    while classes:
        error = classes.pop()
        found.add(error.slug)
        classes += error.__subclasses__()
    return sorted(found)
