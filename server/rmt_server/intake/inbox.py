"""Inbox: text goes into the store piece by piece, checked, and held back where reading is slower."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from rmt_server.errors import (
    BackPressureError,
    BadRequestError,
    BusyError,
    InvalidUtf8Error,
    SlowBodyError,
    StoreUnavailableError,
    SupersededError,
    TooLargeError,
)
from rmt_server.intake.body import Body
from rmt_server.intake.utf8 import Utf8Gate
from rmt_server.metrics import Metrics
from rmt_server.reading.scheduler import Scheduler
from rmt_server.settings import Settings
from rmt_server.store import DocumentRecord, Store

__all__ = ["APPEND_BYTES", "Inbox"]

APPEND_BYTES = 64 * 1024
"""Text that goes into the store at once, and that one request of an upload should carry at most."""

_RETRY_S = 0.05


class Inbox:
    """Takes bodies into documents. What an append has acknowledged stays, whatever happens to the rest of the body."""

    def __init__(self, store: Store, scheduler: Scheduler, settings: Settings, metrics: Metrics) -> None:
        self._store = store
        self._scheduler = scheduler
        self._settings = settings
        self._metrics = metrics
        self._piece_bytes = min(APPEND_BYTES, settings.max_unread_bytes)

    def watch(self, body: Body, tenant: str, document: DocumentRecord) -> None:
        """While a body brings nothing, end it if the server stops or a newer request writes the document."""

        async def check() -> None:
            self._require_running()
            with suppress(StoreUnavailableError):  # the next append will tell
                await self._require_writer(tenant, document)

        body.while_silent(check)

    async def receive(
        self, tenant: str, document: DocumentRecord, text: AsyncIterator[bytes], *, complete: bool
    ) -> DocumentRecord:
        """Append text to a document as it arrives.

        While the session's unread text is at its limit the body is left in the socket, and so with its sender.

        Args:
            tenant: Whose document it is.
            document: The document as it stands; the text continues at its offset.
            text: The pieces of the text.
            complete: Whether the document ends with the text.

        Raises:
            InvalidUtf8Error: The text stops being UTF-8 at some byte; what came before it stays.
            TooLargeError: The document would exceed the limit; what came before stays.
            SupersededError: A newer request writes the document.
            BackPressureError: Nothing could be accepted for `back_pressure_wait_s`.
            SlowBodyError: Nothing has come for `body_idle_s`; what came before stays.
            BusyError: The server is stopping; what came before stays.
        """
        try:
            async for chunk in text:
                for start in range(0, len(chunk), self._piece_bytes):
                    document = await self._accept(tenant, document, chunk[start : start + self._piece_bytes])
            if complete:
                document = await self._finish(tenant, document)
        except (BadRequestError, SlowBodyError) as error:
            error.at(document.offset)
            raise
        except InvalidUtf8Error as error:
            problem = error.problem() | {"document-id": document.id}
            await self._store.report(tenant, document.session_id, problem)
            raise
        return document

    def require_room(self, size_bytes: int) -> None:
        """Refuse a document of a size above the limit."""
        if size_bytes > self._settings.max_document_bytes:
            raise TooLargeError(self._settings.max_document_bytes)

    async def _accept(self, tenant: str, document: DocumentRecord, piece: bytes) -> DocumentRecord:
        self._require_running()
        self.require_room(document.offset + len(piece))
        gate = Utf8Gate(document.utf8_tail)
        valid = gate.admit(piece)
        if valid is None:
            return await self._append(tenant, document, piece, gate.tail)
        if valid > 0:
            await self._append(tenant, document, piece[:valid], b"")
        raise InvalidUtf8Error(document.offset + valid)

    async def _finish(self, tenant: str, document: DocumentRecord) -> DocumentRecord:
        if document.utf8_tail:
            raise InvalidUtf8Error(document.offset - len(document.utf8_tail))
        return await self._append(tenant, document, b"", b"", complete=True)

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
                    writer=document.writer,
                    length=document.length,
                )
            except BackPressureError as error:
                if unread != error.fields["unread-bytes"]:
                    unread = error.fields["unread-bytes"]
                    deadline = time.monotonic() + self._settings.back_pressure_wait_s
                if time.monotonic() >= deadline or self._scheduler.stopping:
                    raise
                await asyncio.sleep(_RETRY_S)
                continue
            self._metrics.accepted_bytes.inc(len(data))
            self._scheduler.wake()
            return accepted

    async def _require_writer(self, tenant: str, document: DocumentRecord) -> None:
        """Refuse to go on for a request that is not the document's last one."""
        now = await self._store.get_document(tenant, document.session_id, document.id)
        if now.writer != document.writer:
            raise SupersededError(document.id).at(now.offset)

    def _require_running(self) -> None:
        if self._scheduler.stopping:
            raise BusyError("The server is stopping.")
