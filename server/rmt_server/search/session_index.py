"""The index of one session: made from the text in Redis, followed as the text grows, and made anew when it changed."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from rmt_server.errors import BusyError, DocumentNotFoundError, TextNotKeptError, TextTooLongError
from rmt_server.logs import about_session
from rmt_server.search.index import BrokenIndexError, Hit
from rmt_server.search.text_index import TextIndex
from rmt_server.search.words import QueryWord
from rmt_server.store import DocumentPlace, SessionRecord, Store, document_at

__all__ = ["InThread", "SessionIndex", "TextChangedError"]

T = TypeVar("T")
_log = logging.getLogger(__name__)
_PIECE_BYTES = 256 * 1024
"""Text that one turn in a thread takes in: some 50 ms, after which other sessions have theirs."""
_MOST_TRIES = 4
_INDEX_SHARE = 0.2
"""An index takes at least so much for each byte of text."""


class InThread(Protocol):
    """Runs something in a thread that may take its time."""

    def __call__(self, call: Callable[[], T]) -> Awaitable[T]:
        """What the call gives."""
        ...


class TextChangedError(Exception):
    """The session's text is not the one that was indexed: it was restored, made anew, or Redis lost its last second."""


class SessionIndex:
    """One session's passages. Its owner makes one call at a time.

    Args:
        store: Where the text is.
        key: Tenant and session id.
        write: Runs in a thread what writes the index.
        search: Runs in a thread what searches it.
        new_folder: Gives an empty folder; None where indexes are kept in memory.
        max_bytes: The largest index.

    Attributes:
        built: How often the index was made from the beginning.
    """

    def __init__(
        self,
        store: Store,
        key: tuple[str, str],
        write: InThread,
        search: InThread,
        new_folder: Callable[[], Path | None],
        max_bytes: int,
    ) -> None:
        self.key = key
        self.built = 0
        self._store = store
        self._write = write
        self._search = search
        self._new_folder = new_folder
        self._max_bytes = max_bytes
        self._text: TextIndex | None = None
        self._created_at: datetime | None = None
        self._proven: tuple[int, str] | None = None
        self._documents: Sequence[DocumentPlace] = ()
        self._documents_as_of: tuple[int, ...] | None = None
        self._in_memory = False
        self.dropped: list[Path] = []

    @property
    def covered(self) -> int:
        """Bytes of text that are indexed."""
        return 0 if self._text is None else self._text.covered

    @property
    def size_bytes(self) -> int:
        """What the index takes."""
        try:
            return 0 if self._text is None else self._text.size_bytes
        except OSError:
            return 0

    async def follow(self) -> None:
        """Take in all text that the session has accepted by now.

        Raises:
            SessionNotFoundError: The session is gone.
            TextNotKeptError: Not all of its text is kept.
            TextTooLongError: The index would be larger than allowed.
            BusyError: The text changed again and again meanwhile, or cannot be indexed.
        """
        is_broken = False
        for _ in range(_MOST_TRIES):
            session = await self._store.get_session(*self.key)
            if not session.keeps_all_text:
                self.forget()
                raise TextNotKeptError(session.text_start)
            try:
                await self._read_on(session)
            except TextChangedError:
                _log.info("the text is another one than was indexed: indexing it anew", extra=about_session(self.key))
                self.forget()
            except BrokenIndexError as error:
                where = "in memory" if self._in_memory else "in its folder"
                _log.warning("the search index %s is broken: %s", where, error, extra=about_session(self.key))
                self.forget()
                self._in_memory, is_broken = self._in_memory or is_broken, True
            else:
                return
        raise BusyError("The text cannot be indexed now.", retry_after_s=1.0)

    async def search(self, words: Sequence[QueryWord], limit: int, documents: Sequence[str] | None) -> list[Hit]:
        """The best passages of what was followed.

        Raises:
            DocumentNotFoundError: One of the documents is not known.
            BrokenIndexError: The index has to be made anew.
        """
        ranges = None if documents is None else self._ranges(documents)
        text = self._text
        assert text is not None, "searched before it followed"  # noqa: S101
        return await self._search(lambda: text.search(words, limit, ranges))

    def document_at(self, byte: int) -> DocumentPlace | None:
        """The document in which a byte lies; None where its record is no longer kept."""
        return document_at(self._documents, byte)

    def forget(self) -> None:
        """Drop the index: it is made anew when it is asked for."""
        if self._text is not None and self._text.folder is not None:
            self.dropped.append(self._text.folder)
        self._text, self._proven, self._documents_as_of = None, None, None

    async def _read_on(self, session: SessionRecord) -> None:
        self._require_room(session.accepted_bytes * _INDEX_SHARE, session)
        if self._text is None:
            await self._begin(session)
        text = self._text
        assert text is not None  # noqa: S101
        if session.created_at != self._created_at or session.accepted_bytes < text.fed:
            raise TextChangedError
        await self._look_at_documents(session)
        boundaries = sorted({end for place in self._documents for end in _boundaries(place)})
        while True:
            data = await self._next(text, session.accepted_bytes)
            if not data:
                break
            await self._write(lambda piece=data: text.feed(piece, boundaries))  # type: ignore[misc]
            self._require_room(self.size_bytes, session)
        if text.fed > text.committed:  # also what was fed before Redis failed, the last time
            await self._write(text.commit)
            self._require_room(self.size_bytes, session)
        await self._prove(text, session)

    async def _begin(self, session: SessionRecord) -> None:
        try:
            folder = None if self._in_memory else self._new_folder()
        except OSError as error:
            raise BrokenIndexError(str(error)) from error
        self._text = await self._write(lambda: TextIndex(folder))
        self._created_at = session.created_at
        self.built += 1

    def _require_room(self, size: float, session: SessionRecord) -> None:
        if size > self._max_bytes:
            self.forget()
            raise TextTooLongError(session.accepted_bytes, self._max_bytes)

    async def _next(self, text: TextIndex, accepted: int) -> bytes:
        """The bytes behind those that were fed, which must still stand in front of them."""
        start, stop = text.fed - len(text.tail), min(accepted, text.fed + _PIECE_BYTES)
        data = await self._store.read_text(*self.key, start, stop)
        if len(data) != stop - start or not data.startswith(text.tail):
            raise TextChangedError
        return data[len(text.tail) :]

    async def _prove(self, text: TextIndex, session: SessionRecord) -> None:
        """Compare what was fed with the digest of what the session has read, unless that was done before."""
        named = session.read_bytes, session.digest
        if named == self._proven or session.read_bytes > text.fed:
            return
        begin, digest = text.digest_before(session.read_bytes)
        digest.update(await self._store.read_text(*self.key, begin, session.read_bytes))
        if digest.hexdigest() != session.digest and self._proven is not None:
            raise TextChangedError
        self._proven = named  # of an index that was made just now it says nothing: the text was all read a moment ago

    async def _look_at_documents(self, session: SessionRecord) -> None:
        counts = (session.accepted_bytes, session.read_bytes, session.revision)
        as_of = (*counts, session.documents, session.pending_documents)
        if as_of != self._documents_as_of:
            self._documents = await self._store.document_places(*self.key)
            self._documents_as_of = as_of

    def _ranges(self, documents: Sequence[str]) -> list[tuple[int, int]]:
        known = {place.id: (place.start, place.end) for place in self._documents}
        missing = next((one for one in documents if one not in known), None)
        if missing is not None:
            raise DocumentNotFoundError(missing)
        return sorted({known[one] for one in documents})


def _boundaries(place: DocumentPlace) -> tuple[int, ...]:
    return (place.start, place.end) if place.complete else (place.start,)
