"""The inbox: documents arrive piece by piece, and what is acknowledged is kept."""

import json
from collections.abc import Mapping
from typing import Any

from rmt_server.errors import (
    BackPressureError,
    CompletedUploadError,
    DocumentNotFoundError,
    InconsistentLengthError,
    KeyReusedError,
    OffsetMismatchError,
    SupersededError,
    UploadOpenError,
)
from rmt_server.keys import READY, SessionKeys
from rmt_server.store.codec import load_document
from rmt_server.store.connection import Connection
from rmt_server.store.records import DocumentPlace, DocumentRecord
from rmt_server.store.text import count_chars
from rmt_server.store.usage import Amount, Metered


class Documents(Metered):
    """The part of the store that takes documents in."""

    async def create_document(
        self,
        tenant: str,
        sid: str,
        document_id: str,
        length: int | None = None,
        asked: str = "",
        name: str | None = None,
    ) -> DocumentRecord:
        """Begin a document at the end of the session's text; ``length`` is its declared size in bytes.

        Doing it again with the same id changes nothing but the writer, and returns the document as it stands.
        ``asked`` is a digest of what the creation asks for.

        Raises:
            UploadOpenError: The document before it is not complete.
            BackPressureError: Too many complete documents wait to be read.
            KeyReusedError: There is a document of this id, for which something else was asked.
            InconsistentLengthError: There is one of another length.
        """
        answer = await self._redis.run_on_session(
            "create_document", SessionKeys(tenant, sid), document_id, _optional(length), asked, name or ""
        )
        match answer:
            case ["reused"]:
                raise KeyReusedError
            case ["length", declared]:
                raise InconsistentLengthError(declared, length or 0)
            case ["open", open_document]:
                raise UploadOpenError(open_document.decode())
            case ["crowded", waiting]:
                raise BackPressureError(f"{waiting} documents of session {sid} wait to be read.")
        return load_document(sid, document_id, answer)

    async def get_document(self, tenant: str, sid: str, document_id: str) -> DocumentRecord:
        """The document as it stands. Records of documents read long ago are dropped.

        Raises:
            DocumentNotFoundError: There is none, or no longer, or its session is gone.
        """
        answer = await self._redis.run_on_session("load_document", SessionKeys(tenant, sid), document_id)
        if answer[0] == "document":
            raise DocumentNotFoundError(document_id)
        return load_document(sid, document_id, answer)

    async def take_over(
        self,
        tenant: str,
        sid: str,
        document_id: str,
        *,
        offset: int | None = None,
        length: int | None = None,
        reached: int = 0,
    ) -> DocumentRecord:
        """Become the writer of an open document: whoever wrote before is refused from now on, so its offset is final.

        A complete document has no writer and is returned as it is.

        Args:
            tenant: Whose document it is.
            sid: Its session.
            document_id: The document.
            offset: Where the writer goes on.
            length: The document's size in bytes, if the writer tells it.
            reached: The byte of the document up to which the writer announces to write.

        Raises:
            DocumentNotFoundError: There is no such document.
            OffsetMismatchError: The document continues at another offset.
            InconsistentLengthError: It was declared to have another length.
        """
        answer = await self._redis.run_on_session(
            "take_over", SessionKeys(tenant, sid), document_id, _optional(offset), _optional(length), reached
        )
        match answer:
            case ["document"]:
                raise DocumentNotFoundError(document_id)
            case ["offset", expected]:
                raise OffsetMismatchError(expected, offset or 0)
            case ["length", declared]:
                raise InconsistentLengthError(declared, reached if length is None else length)
        return load_document(sid, document_id, answer)

    async def append(
        self,
        tenant: str,
        sid: str,
        document_id: str,
        *,
        offset: int,
        data: bytes,
        complete: bool,
        max_unread_bytes: int,
        utf8_tail: bytes = b"",
        writer: int = 1,
        length: int | None = None,
    ) -> DocumentRecord:
        """Accept a piece of a document, or change nothing; ``complete`` closes the document behind it.

        ``utf8_tail`` is the end of ``data`` that is not a whole character yet, for the next piece's check. ``writer``
        is the number that the request got; ``length`` the size of the document, once it is known.

        Raises:
            DocumentNotFoundError: There is no such document.
            SupersededError: A newer request writes the document.
            OffsetMismatchError: The document continues at another offset.
            CompletedUploadError: The document is complete.
            InconsistentLengthError: The piece goes beyond, or ends before, the declared length.
            BackPressureError: It would leave more than ``max_unread_bytes`` of the session unread, or more than its
                quota of the tenant.
            QuotaExceededError: It would keep more than the tenant may.
            TokensSpentError: The tenant has none left today.
        """
        keys = SessionKeys(tenant, sid)
        share = Amount(kept_bytes=len(data), unread_bytes=len(data))
        async with self._usage.reserved(tenant, share, spends=bool(data)):
            answer = await self._redis.run_on_session(
                "append",
                keys,
                document_id,
                offset,
                data,
                int(complete),
                utf8_tail.hex(),
                max_unread_bytes,
                writer,
                _optional(length),
                count_chars(data),
            )
            match answer:
                case ["document"]:
                    raise DocumentNotFoundError(document_id)
                case ["superseded", expected]:
                    raise SupersededError(document_id).at(expected)
                case ["offset", expected]:
                    raise OffsetMismatchError(expected, offset)
                case ["completed"]:
                    raise CompletedUploadError(document_id)
                case ["length", declared]:
                    raise InconsistentLengthError(declared, offset + len(data))
                case ["full", unread]:
                    detail = f"Session {sid} has {unread} of {max_unread_bytes} bytes unread."
                    raise BackPressureError(detail, fields={"unread-bytes": unread})
        return await self._accepted(keys, document_id, answer)

    async def document_ends(self, tenant: str, sid: str, start: int, stop: int) -> list[int]:
        """Where complete documents end in the session's text, from byte ``start`` to ``stop``, both included, in order.

        Of older documents than the store keeps records of nobody knows.
        """
        ends = sorted(one.end for one in await self.document_places(tenant, sid) if one.complete)
        return [end for end in ends if start <= end <= stop]

    async def document_places(self, tenant: str, sid: str) -> list[DocumentPlace]:
        """Where the documents lie of which the store keeps records, in the order of the text."""
        fields: dict[bytes, bytes] = await self._redis.command("HGETALL", SessionKeys(tenant, sid).documents)
        places = [_place(did.decode(), json.loads(text)) for did, text in fields.items()]
        return sorted(places, key=lambda place: (place.start, place.end))

    async def cancel_document(
        self, tenant: str, sid: str, document_id: str, writer: int | None = None
    ) -> DocumentRecord:
        """End an open upload where it stands, so that another may begin. What was accepted stays.

        With ``writer`` only if that one still writes it.

        Raises:
            DocumentNotFoundError: There is no such document.
        """
        keys = SessionKeys(tenant, sid)
        answer = await self._redis.run_on_session("cancel_document", keys, document_id, _optional(writer))
        if answer[0] == "document":
            raise DocumentNotFoundError(document_id)
        return await self._accepted(keys, document_id, answer)

    async def _accepted(self, keys: SessionKeys, document_id: str, answer: list[Any]) -> DocumentRecord:
        await wake(self._redis, keys, answer[2])
        return load_document(keys.sid, document_id, answer)


def _place(document_id: str, fields: Mapping[str, Any]) -> DocumentPlace:
    start, size = fields["start"], fields["offset"]
    return DocumentPlace(
        document_id,
        start,
        start + size,
        complete=fields["complete"],
        name=fields.get("name"),
        chars_before=fields.get("chars_before"),
    )


def _optional(number: int | None) -> str | int:
    return "" if number is None else number


async def wake(redis: Connection, keys: SessionKeys, now_ms: int) -> None:
    """Tell the readers of a session that has something to read. One that they know of keeps its place."""
    await redis.run("hint", (READY,), keys.member, now_ms, "NX")
