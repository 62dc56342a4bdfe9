"""Intake: the door through which text comes in, piece by piece, checked and held back where reading is slower."""

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.requests import Request

from rmt_server.errors import (
    BackPressureError,
    BadRequestError,
    BusyError,
    CompletedUploadError,
    InconsistentLengthError,
    InvalidUtf8Error,
    OffsetMismatchError,
    TooLargeError,
    UnprocessableError,
)
from rmt_server.metrics import Metrics
from rmt_server.multipart import MultipartUpload
from rmt_server.requests import (
    declared_bytes,
    json_body,
    media_type,
    require_text,
    upload_complete,
    upload_offset,
)
from rmt_server.scheduler import Scheduler
from rmt_server.schemas import DocumentRequest
from rmt_server.service import Service, new_id
from rmt_server.settings import Settings
from rmt_server.store import DocumentRecord, SessionRecord, Store
from rmt_server.utf8 import Utf8Gate

__all__ = ["APPEND_BYTES", "Intake"]

APPEND_BYTES = 64 * 1024
"""Text that goes into the store at once, and that one request of an upload should carry at most."""

_RETRY_S = 0.05
_ABOUT_THE_BODY = (UnprocessableError, TooLargeError, InconsistentLengthError)


class Intake:
    """Accepts documents. What an append has acknowledged stays, whatever happens to the rest of the body."""

    def __init__(
        self, store: Store, service: Service, scheduler: Scheduler, settings: Settings, metrics: Metrics
    ) -> None:
        self._store = store
        self._service = service
        self._scheduler = scheduler
        self._settings = settings
        self._metrics = metrics
        self._piece_bytes = min(APPEND_BYTES, settings.max_unread_bytes)

    async def one_call(
        self, request: Request, options: DocumentRequest, *, wait: bool
    ) -> tuple[DocumentRequest, AsyncIterator[bytes]]:
        """What a one-call body asks for, and its text: a text body, JSON, or a form with a file.

        Args:
            request: The request, of whose body nothing has been read.
            options: What its query says; JSON says all of it itself.
            wait: Whether the caller waits until the document has been read.

        Raises:
            UnprocessableError: Questions that cannot be answered, or that nobody waits for.
        """
        options, text = await self._options_and_text(request, options)
        self._service.check_questions(options.questions)
        if options.questions and not wait:
            raise UnprocessableError("Questions are answered when the document has been read: send ?wait=true.")
        return options, text

    async def _options_and_text(
        self, request: Request, options: DocumentRequest
    ) -> tuple[DocumentRequest, AsyncIterator[bytes]]:
        kind = media_type(request)
        if kind == "application/json":
            options = await json_body(request, DocumentRequest, self._settings.max_json_bytes)
            return options, _pieces(options.text.encode())
        if kind == "multipart/form-data":
            self._require_room(declared_bytes(request) - self._settings.max_json_bytes)
            upload = MultipartUpload(request, self._settings.max_json_bytes)
            await upload.read_fields()
            named = {name: upload.fields[name] for name in ("focus", "questions") if name in upload.fields}
            return options.model_copy(update=named), upload.chunks()
        require_text(request, "application/json", "multipart/form-data")
        self._require_room(declared_bytes(request))
        return options, request.stream()

    async def receive_whole(
        self, tenant: str, options: DocumentRequest, text: AsyncIterator[bytes]
    ) -> tuple[SessionRecord, DocumentRecord]:
        """A new session with a whole document; when the document cannot be accepted, neither stays."""
        session = await self._service.create_session(
            tenant,
            focus=options.focus,
            keep_text=options.keep_text,
            ttl_s=options.ttl_s,
            metadata=options.metadata,
        )
        try:
            document = await self._store.create_document(tenant, session.id, new_id("doc"))
            document = await self.receive(tenant, document, text, complete=True)
        except BaseException:
            await asyncio.shield(self._store.delete_session(tenant, session.id))
            raise
        return await self._store.get_session(tenant, session.id), document

    async def create(
        self, tenant: str, sid: str, request: Request, length: int | None, idempotency_key: str | None
    ) -> DocumentRecord:
        """Begin a document in a session; one that declares itself too large is refused before it begins."""
        self._require_room(max(length or 0, declared_bytes(request)))
        return await self._store.create_document(
            tenant, sid, new_id("doc", *((tenant, sid, idempotency_key) if idempotency_key else ())), length
        )

    async def receive_again(
        self, tenant: str, document: DocumentRecord, body: AsyncIterator[bytes], *, complete: bool, repeatable: bool
    ) -> DocumentRecord:
        """Receive the body that a document was created with; sent again, only what is missing of it is appended.

        A whole document whose body is refused ends where it stands. So does one that breaks off, unless its sender can
        send it again: nobody else would know how to go on with it. Where the same body comes twice at a time, one of
        the two goes on and the other one meets an offset mismatch; that ends nothing, and sent again it works.

        Args:
            tenant: Whose document it is.
            document: The document, just begun or found by its idempotency key.
            body: All that the document was created with.
            complete: Whether the document ends with the body.
            repeatable: Whether the sender knows an idempotency key, with which the same body may come again.

        Raises:
            CompletedUploadError: The document is complete, and was not made of this body.
            OffsetMismatchError: The same body arrives over another connection, too, which is faster.
        """
        if document.complete:
            size = await _size(body, document.offset)
            if size > document.offset or (complete and size < document.offset):
                raise CompletedUploadError(document.id).at(document.offset)
            return document
        try:
            return await self.receive(tenant, document, _skipping(body, document.offset), complete=complete)
        except BaseException as error:
            if complete and (isinstance(error, _ABOUT_THE_BODY) or not repeatable):
                await asyncio.shield(self.cancel(tenant, document))
            raise

    async def append(self, tenant: str, sid: str, document_id: str, request: Request) -> DocumentRecord:
        """Append a request's body to a document that continues at the offset that the request names.

        Raises:
            BadRequestError: The request does not say where its body belongs, or the document takes no more; as every
                400 about a known document, it tells where that stands.
            OffsetMismatchError: It continues elsewhere.
            TooLargeError: It would exceed the limit.
        """
        document = await self._store.get_document(tenant, sid, document_id)
        if document.complete:
            raise CompletedUploadError(document.id).at(document.offset)
        try:
            complete, offset = upload_complete(request), upload_offset(request)
        except BadRequestError as error:
            error.at(document.offset)
            raise
        if document.offset != offset:
            raise OffsetMismatchError(document.offset, offset)
        self._require_room(offset + declared_bytes(request))
        return await self.receive(tenant, document, request.stream(), complete=complete)

    async def cancel(self, tenant: str, document: DocumentRecord) -> None:
        """End an open upload where it stands."""
        await self._store.cancel_document(tenant, document.session_id, document.id)
        self._scheduler.wake()

    async def receive(
        self,
        tenant: str,
        document: DocumentRecord,
        body: AsyncIterator[bytes],
        *,
        complete: bool,
    ) -> DocumentRecord:
        """Append a body to a document as it arrives.

        While the session's unread text is at its limit the body is left in the socket, and so with its sender.

        Args:
            tenant: Whose document it is.
            document: The document as it stands; the body continues at its offset.
            body: The pieces of the body.
            complete: Whether the document ends with the body.

        Raises:
            InvalidUtf8Error: The text stops being UTF-8 at some byte; what came before it stays.
            TooLargeError: The document would exceed the limit; what came before stays.
            BackPressureError: Nothing could be accepted for `back_pressure_wait_s`.
            BusyError: The server is stopping; what came before stays.
        """
        try:
            return await self._receive(tenant, document, body, complete=complete)
        except InvalidUtf8Error as error:
            problem = error.problem() | {"document-id": document.id}
            await self._store.report(tenant, document.session_id, problem)
            raise

    async def _receive(
        self, tenant: str, document: DocumentRecord, body: AsyncIterator[bytes], *, complete: bool
    ) -> DocumentRecord:
        async for chunk in body:
            for start in range(0, len(chunk), self._piece_bytes):
                document = await self._accept(tenant, document, chunk[start : start + self._piece_bytes])
        if complete:
            if document.utf8_tail:
                raise InvalidUtf8Error(document.offset - len(document.utf8_tail))
            document = await self._append(tenant, document, b"", b"", complete=True)
        return document

    async def _accept(self, tenant: str, document: DocumentRecord, piece: bytes) -> DocumentRecord:
        if self._scheduler.stopping:
            raise BusyError("The server is stopping.")
        self._require_room(document.offset + len(piece))
        gate = Utf8Gate(document.utf8_tail)
        valid = gate.admit(piece)
        if valid is None:
            return await self._append(tenant, document, piece, gate.tail)
        if valid > 0:
            await self._append(tenant, document, piece[:valid], b"")
        raise InvalidUtf8Error(document.offset + valid)

    async def _append(
        self, tenant: str, document: DocumentRecord, data: bytes, utf8_tail: bytes, *, complete: bool = False
    ) -> DocumentRecord:
        """Append to the store, waiting while the session has too much unread text and goes on reading it."""
        deadline, unread = time.monotonic() + self._settings.back_pressure_wait_s, None
        while True:
            try:
                accepted = await self._store.append(
                    tenant,
                    document.session_id,
                    document.id,
                    offset=document.offset,
                    data=data,
                    complete=complete,
                    max_unread_bytes=self._settings.max_unread_bytes,
                    utf8_tail=utf8_tail,
                )
            except BackPressureError as error:
                if unread != error.fields["unread-bytes"]:
                    unread = error.fields["unread-bytes"]
                    deadline = time.monotonic() + self._settings.back_pressure_wait_s
                if time.monotonic() >= deadline or self._scheduler.stopping:
                    raise
                await asyncio.sleep(_RETRY_S)
                continue
            except BadRequestError as error:
                error.at(document.offset)
                raise
            self._metrics.accepted_bytes.inc(len(data))
            self._scheduler.wake()
            return accepted

    def _require_room(self, size_bytes: int) -> None:
        """Refuse a document of a size above the limit."""
        if size_bytes > self._settings.max_document_bytes:
            raise TooLargeError(self._settings.max_document_bytes)


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
