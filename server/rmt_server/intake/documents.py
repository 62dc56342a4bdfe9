"""Intake: the door through which documents come in: whole, piece by piece, or the same once more."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from starlette.requests import Request

from rmt_server.errors import (
    BadRequestError,
    CompletedUploadError,
    InconsistentLengthError,
    SupersededError,
    TooLargeError,
    UnprocessableError,
)
from rmt_server.intake.body import Body
from rmt_server.intake.inbox import APPEND_BYTES, Inbox
from rmt_server.intake.multipart import MultipartUpload
from rmt_server.metrics import Metrics
from rmt_server.reading.scheduler import Scheduler
from rmt_server.service.asking import Asking
from rmt_server.service.idempotency import Creation
from rmt_server.service.sessions import Service
from rmt_server.settings import Settings
from rmt_server.store import DocumentRecord, SessionRecord, Store
from rmt_server.wire.names import document_name, sent_filename
from rmt_server.wire.requests import (
    media_type,
    parsed_json,
    require_text,
    told_length,
    upload_complete,
    upload_length,
    upload_offset,
)
from rmt_server.wire.schemas import DocumentRequest

__all__ = ["APPEND_BYTES", "Intake", "OneCall"]

_ABOUT_THE_BODY = (UnprocessableError, TooLargeError, BadRequestError)
_ABOUT_ANOTHER = (SupersededError, CompletedUploadError)


@dataclass(frozen=True, slots=True)
class OneCall:
    """What a one-call request asks for, and the text that it brings."""

    options: DocumentRequest
    body: Body
    text: AsyncIterator[bytes]


class Intake:
    """Accepts documents."""

    def __init__(
        self,
        store: Store,
        service: Service,
        asking: Asking,
        scheduler: Scheduler,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._service = service
        self._asking = asking
        self._scheduler = scheduler
        self._settings = settings
        self._inbox = Inbox(store, scheduler, settings, metrics)

    async def one_call(self, request: Request, options: DocumentRequest, *, wait: bool) -> OneCall:
        """What a one-call body asks for, and its text: a text body, JSON, or a form with a file.

        Args:
            request: The request, of whose body nothing has been read.
            options: What its query says; JSON says all of it itself, but for a name that stands here.
            wait: Whether the caller waits until the document has been read.

        Raises:
            UnprocessableError: Questions that cannot be answered, or that nobody waits for; a name that is none.
        """
        call = await self._one_call(request, options)
        self._asking.check_questions(call.options.questions)
        if call.options.questions and not wait:
            raise UnprocessableError("Questions are answered when the document has been read: send ?wait=true.")
        return call

    async def _one_call(self, request: Request, options: DocumentRequest) -> OneCall:
        kind = media_type(request)
        if kind not in ("application/json", "multipart/form-data"):
            require_text(request, "application/json", "multipart/form-data")
        body, limit, wanted = Body(request, self._settings), self._settings.max_json_bytes, options.name
        if kind == "application/json":
            options = parsed_json(await body.whole(limit), DocumentRequest)
            name = document_name(options.name if wanted is None else wanted, sent_filename(request))
            return OneCall(options.model_copy(update={"name": name}), body, _pieces(options.text.encode()))
        if kind == "multipart/form-data":
            self._inbox.require_room((body.declared_bytes or 0) - limit)
            upload = MultipartUpload(request.headers["content-type"], aiter(body), limit)
            await upload.read_fields()
            named = {field: upload.fields[field] for field in ("focus", "questions") if field in upload.fields}
            name = document_name(wanted, upload.filename)
            return OneCall(options.model_copy(update={**named, "name": name}), body, upload.chunks())
        self._inbox.require_room(body.declared_bytes or 0)
        name = document_name(wanted, sent_filename(request))
        return OneCall(options.model_copy(update={"name": name}), body, aiter(body))

    async def receive_whole(
        self, tenant: str, call: OneCall, idempotency_key: str | None
    ) -> tuple[SessionRecord, DocumentRecord]:
        """A new session with a whole document; when the document cannot be accepted, neither stays.

        With an idempotency key both stay when the body only breaks off, and the same call again goes on there.

        Raises:
            KeyReusedError: The key belongs to another creation.
            CompletedUploadError: The document is complete, and was not made of this body.
            SupersededError: A newer request writes the document.
        """
        options = call.options
        unsaid = {"text", "name"} if options.name is None else {"text"}  # older servers knew no names
        creation = Creation.of(idempotency_key, "document", options.model_dump(exclude=unsaid))
        await self._require_tokens(tenant, idempotency_key)
        await call.body.hold()
        session = await self._service.create_session(
            tenant,
            focus=options.focus,
            keep_text=options.keep_text,
            ttl_s=options.ttl_s,
            metadata=options.metadata,
            creation=creation,
        )
        try:
            did = creation.new_id("doc", tenant, session.id)
            document = await self._store.create_document(
                tenant, session.id, did, asked=creation.asked, name=options.name
            )
            document = await self._receive_missing(tenant, document, call.body, call.text, complete=True)
        except _ABOUT_ANOTHER:
            raise
        except BaseException as error:
            if isinstance(error, _ABOUT_THE_BODY) or idempotency_key is None:
                await asyncio.shield(self._store.delete_session(tenant, session.id))
            raise
        return await self._store.get_session(tenant, session.id), document

    async def receive_new(
        self, tenant: str, sid: str, request: Request, idempotency_key: str | None, wanted_name: str | None
    ) -> tuple[DocumentRecord, bool]:
        """Begin a document in a session, or find it again, and receive the body that it is created with.

        A whole document whose body is refused ends where it stands. So does one that breaks off, unless its sender has
        a key to send it again with: nobody else would know how to go on with it.

        Args:
            tenant: Whose session it is.
            sid: The session.
            request: The request, of whose body nothing has been read.
            idempotency_key: The same one finds the same document again.
            wanted_name: What the document is to be called; None: as its file is.

        Returns:
            The document, and whether the request meant to send all of it.

        Raises:
            UnprocessableError: Its name is too long, or none.
            TooLargeError: It declares itself too large; then it is not begun.
            KeyReusedError: The key belongs to another creation.
            CompletedUploadError: The document is complete, and was not made of this body.
            SupersededError: A newer request writes the document.
        """
        require_text(request)
        name = document_name(wanted_name, sent_filename(request))
        body, complete = Body(request, self._settings), upload_complete(request, default=True)
        length = told_length(request, 0, body.declared_bytes, complete=complete)
        self._inbox.require_room(max(length or 0, body.declared_bytes or 0))
        named = () if name is None else (name,)  # older servers knew none
        creation = Creation.of(idempotency_key, upload_length(request), complete, *named)
        await self._require_tokens(tenant, idempotency_key)
        await body.hold()
        did = creation.new_id("doc", tenant, sid)
        document = await self._store.create_document(tenant, sid, did, length, creation.asked, name)
        try:
            return await self._receive_missing(tenant, document, body, aiter(body), complete=complete), complete
        except _ABOUT_ANOTHER:
            raise
        except BaseException as error:
            if complete and (isinstance(error, _ABOUT_THE_BODY) or idempotency_key is None):
                await asyncio.shield(self._end(tenant, document, document.writer))
            raise

    async def _require_tokens(self, tenant: str, idempotency_key: str | None) -> None:
        """Begin nothing that could not go on; what was begun with a key may be whole already."""
        if idempotency_key is None:
            await self._store.require_tokens(tenant)

    async def _receive_missing(
        self, tenant: str, document: DocumentRecord, body: Body, text: AsyncIterator[bytes], *, complete: bool
    ) -> DocumentRecord:
        """Receive the text that a document was created with; sent again, only what is missing of it is appended."""
        if document.complete:
            size = await _size(text, document.offset)
            if size > document.offset or (complete and size < document.offset):
                raise CompletedUploadError(document.id).at(document.offset)
            return document
        self._inbox.watch(body, tenant, document)
        return await self._inbox.receive(tenant, document, _skipping(text, document.offset), complete=complete)

    async def append(self, tenant: str, sid: str, document_id: str, request: Request) -> DocumentRecord:
        """Append a request's body to a document that continues at the offset that the request names.

        Raises:
            BadRequestError: The request does not say where its body belongs, or contradicts the document's length, or
                the document takes no more; as every 400 about a known document, it tells where that stands.
            OffsetMismatchError: It continues elsewhere.
            TooLargeError: It would exceed the limit.
        """
        try:
            body = Body(request, self._settings)
            complete, offset = upload_complete(request), upload_offset(request)
            length = told_length(request, offset, body.declared_bytes, complete=complete)
            reached = offset + (body.declared_bytes or 0)
            if offset <= self._settings.max_document_bytes:  # else no document stands there
                self._inbox.require_room(max(reached, length or 0))
            document = await self._store.take_over(
                tenant, sid, document_id, offset=offset, length=length, reached=reached
            )
            if document.complete:
                raise await _after_the_end(document, body)
        except BadRequestError as error:
            error.at((await self._store.get_document(tenant, sid, document_id)).offset)
            raise
        document = document if length is None else replace(document, length=length)
        self._inbox.watch(body, tenant, document)
        return await self._inbox.receive(tenant, document, aiter(body), complete=complete)

    async def locate(self, tenant: str, sid: str, document_id: str) -> DocumentRecord:
        """Where an upload stands, for good: a request that still brings some of it is ended."""
        return await self._store.take_over(tenant, sid, document_id)

    async def cancel(self, tenant: str, sid: str, document_id: str) -> None:
        """End an open upload where it stands, and whoever still brings some of it."""
        await self._end(tenant, await self._store.get_document(tenant, sid, document_id))

    async def _end(self, tenant: str, document: DocumentRecord, writer: int | None = None) -> None:
        await self._store.cancel_document(tenant, document.session_id, document.id, writer)
        self._scheduler.wake()


async def _after_the_end(document: DocumentRecord, body: Body) -> BadRequestError:
    """What is wrong with a request on a complete document: bytes are beyond its length, an end is there already."""
    size = body.declared_bytes
    if size is None:
        size = await _size(aiter(body), 0)
    if size:
        return InconsistentLengthError(document.offset, document.offset + size)
    return CompletedUploadError(document.id)


async def _size(body: AsyncIterator[bytes], most: int) -> int:
    """The size of a body in bytes; of one beyond `most` only that it is: the rest is not read."""
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > most:
            break
    return size


async def _pieces(text: bytes) -> AsyncIterator[bytes]:
    yield text


async def _skipping(body: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """A body without its first `size` bytes."""
    async for chunk in body:
        rest = chunk[size:]
        size = max(0, size - len(chunk))
        if rest:
            yield rest
