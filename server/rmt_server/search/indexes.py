"""The indexes of this process: one for each session that was searched, derived from Redis and dropped at will."""

import asyncio
import logging
import shutil
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rmt_server.errors import BusyError, EmptyQuestionError, RmtServerError, SessionNotFoundError, TextNotKeptError
from rmt_server.metrics import Metrics
from rmt_server.search.folders import ProcessFolder, default_folder
from rmt_server.search.index import BrokenIndexError, Hit, check_of
from rmt_server.search.session_index import SessionIndex
from rmt_server.search.words import QueryWord, query_words
from rmt_server.settings import Settings
from rmt_server.store import SessionRecord, Store

__all__ = ["Found", "FoundPassage", "Indexes"]

T = TypeVar("T")
_log = logging.getLogger(__name__)
_WRITING_THREADS, _SEARCHING_THREADS = 2, 2
_BUILDS = 8
"""Indexes that are written at the same time: each may hold 16 MB of postings."""
_MOST_TRIES = 3
_RETRY_S = 2.0
_SWEEP_S = 15.0
_JOINED_BYTES = 64 * 1024
"""Passages that lie together are read from Redis in one call of up to so much."""


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """A passage that matches: `text` is exactly what the bytes `start` to `end` of the session's text hold.

    `document_id`, `start_char` and `end_char` (characters of the document) are None where the record of the document
    is no longer kept. `rank` counts from 1.
    """

    document_id: str | None
    document: str | None
    start: int
    end: int
    start_char: int | None
    end_char: int | None
    text: str = field(repr=False)
    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class Found:
    """Passages, the best first; `position`: the bytes of the session's text that were searched."""

    passages: list[FoundPassage]
    position: int


class _Entry:
    """A session's index, and who has it."""

    def __init__(self, index: SessionIndex) -> None:
        self.index = index
        self.lock = asyncio.Lock()
        self.users = 0
        self.size_bytes = 0


class _PassagesMovedError(Exception):
    """The text no longer holds what was found in it."""


class Indexes:
    """Finds passages. An index is made when its session is searched first, and follows the text from then on.

    Everything here belongs to one event loop; indexes are written and searched in threads of their own, so that
    neither requests nor reading wait for them.
    """

    def __init__(self, store: Store, settings: Settings, metrics: Metrics) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._writing = ThreadPoolExecutor(_WRITING_THREADS, thread_name_prefix="search-writing")
        self._searching = ThreadPoolExecutor(_SEARCHING_THREADS, thread_name_prefix="search")
        self._builds = asyncio.Semaphore(_BUILDS)
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._works: set[asyncio.Task[Found]] = set()
        self._folder: ProcessFolder | None = None

    async def find(
        self, session: SessionRecord, query: str, limit: int, documents: Sequence[str] | None = None
    ) -> Found:
        """The passages of a session's text that match a query best, in all text that was accepted by now.

        Args:
            session: Whose text.
            query: Words in any language; names and numbers weigh more, question words and stop words nothing.
            limit: How many passages at most.
            documents: Ids of documents to which the search is restricted.

        Raises:
            EmptyQuestionError: The query has no words.
            SessionNotFoundError: The session is gone.
            DocumentNotFoundError: The session has no record of one of the documents.
            TextNotKeptError: Not all of the text is kept.
            TextTooLongError: The text is too long to be indexed.
            BusyError: Too many searches wait, or the index is not ready within `answer_wait_s`; it is made meanwhile.
        """
        words = query_words(query)
        if not words:
            raise EmptyQuestionError("The query has no words.")
        if not session.keeps_all_text:
            raise TextNotKeptError(session.text_start)
        if len(self._works) >= self._settings.max_waiting_searches:
            raise BusyError(f"{len(self._works)} searches wait already.", retry_after_s=_RETRY_S)
        since_s = time.monotonic()
        entry = self._entry((session.tenant, session.id))
        entry.users += 1
        work = asyncio.create_task(self._find_in(entry, words, limit, documents))
        self._works.add(work)
        work.add_done_callback(self._works.discard)
        work.add_done_callback(_see_failure)
        try:
            # A caller who leaves, or has waited for long enough, does not end it: the next one needs the index, too.
            found = await asyncio.wait_for(asyncio.shield(work), self._settings.answer_wait_s)
        except TimeoutError:
            told = f"The session's text is being indexed: {entry.index.covered} of {session.accepted_bytes} bytes."
            raise BusyError(told, retry_after_s=_RETRY_S) from None
        self._metrics.searches.inc()
        self._metrics.search_seconds.observe(time.monotonic() - since_s)
        return found

    async def run(self) -> None:
        """Make the folder of this process, and from then on drop the indexes of sessions that are gone."""
        try:
            self._folder = await asyncio.to_thread(self._new_process_folder)
        except OSError as error:
            _log.warning("search indexes are kept in memory: %s", error)
        while True:
            await asyncio.sleep(_SWEEP_S)
            for key, entry in list(self._entries.items()):
                with suppress(RmtServerError):
                    await self._drop_if_gone(key, entry)

    async def close(self) -> None:
        """Drop all indexes."""
        for work in list(self._works):
            work.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)
        for threads in (self._writing, self._searching):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)
        self._entries.clear()
        if self._folder is not None:
            await asyncio.to_thread(self._folder.close)

    async def _find_in(
        self, entry: _Entry, words: Sequence[QueryWord], limit: int, documents: Sequence[str] | None
    ) -> Found:
        try:
            async with entry.lock:
                return await self._tried(entry, words, limit, documents)
        finally:
            entry.users -= 1
            await self._tidy(entry)

    async def _tried(
        self, entry: _Entry, words: Sequence[QueryWord], limit: int, documents: Sequence[str] | None
    ) -> Found:
        index = entry.index
        for _ in range(_MOST_TRIES):
            built = index.built
            async with self._builds:
                await index.follow()
            self._metrics.search_builds.inc(index.built - built)
            try:
                hits = await index.search(words, limit, documents)
                return Found(await self._passages(index, hits), index.covered)
            except (BrokenIndexError, _PassagesMovedError) as error:
                _log.info("the index of a session is made anew: %s", type(error).__name__)
                index.forget()
        raise BusyError("The session's text changes faster than it is searched.", retry_after_s=_RETRY_S)

    async def _passages(self, index: SessionIndex, hits: Sequence[Hit]) -> list[FoundPassage]:
        """Hits with their text, as Redis holds it now."""
        texts = await self._texts(index.key, hits)
        passages = []
        for rank, hit in enumerate(hits, 1):
            place = hit.place
            document = index.document_at(place.start)
            passages.append(
                FoundPassage(
                    document_id=None if document is None else document.id,
                    document=None if document is None else document.name,
                    start=place.start,
                    end=place.end,
                    start_char=None if document is None else place.start_char,
                    end_char=None if document is None else place.end_char,
                    text=texts[place.start].decode(),
                    score=hit.score,
                    rank=rank,
                )
            )
        return passages

    async def _texts(self, key: tuple[str, str], hits: Sequence[Hit]) -> dict[int, bytes]:
        """The bytes of each passage, by its first one.

        Raises:
            _PassagesMovedError: They are not those that were indexed.
        """
        places = sorted((hit.place for hit in hits), key=lambda place: place.start)
        found: dict[int, bytes] = {}
        base, data = 0, b""
        for number, place in enumerate(places):
            if place.end > base + len(data):
                base = place.start
                last = max(one.end for one in places[number:] if one.end <= base + _JOINED_BYTES)
                data = await self._store.read_text(*key, base, last)
            found[place.start] = data[place.start - base : place.end - base]
            if check_of(found[place.start]) != place.check:
                raise _PassagesMovedError
        return found

    def _entry(self, key: tuple[str, str]) -> _Entry:
        if key not in self._entries:
            self._entries[key] = _Entry(self._new_index(key))
        self._entries.move_to_end(key)
        return self._entries[key]

    def _new_index(self, key: tuple[str, str]) -> SessionIndex:
        most = self._settings.max_search_bytes
        return SessionIndex(self._store, key, self._write, self._search, self._new_folder, most)

    async def _tidy(self, used: _Entry) -> None:
        """Drop what is too much: indexes that were asked least lately, and folders that nothing uses any more."""
        used.size_bytes = used.index.size_bytes
        for key, entry in list(self._entries.items()):
            size = sum(one.size_bytes for one in self._entries.values())
            most = self._settings.max_search_bytes
            if size <= most and len(self._entries) <= self._settings.max_search_indexes:
                break
            if entry.users == 0 and entry is not used:
                await self._drop(key, entry)
        await self._remove_dropped(used.index)
        self._metrics.search_indexes.set(len(self._entries))
        self._metrics.search_index_bytes.set(sum(one.size_bytes for one in self._entries.values()))

    async def _drop_if_gone(self, key: tuple[str, str], entry: _Entry) -> None:
        try:
            await self._store.get_session(*key)
        except SessionNotFoundError:
            if entry.users == 0:
                await self._drop(key, entry)

    async def _drop(self, key: tuple[str, str], entry: _Entry) -> None:
        if self._entries.get(key) is entry:
            del self._entries[key]
        entry.index.forget()
        await self._remove_dropped(entry.index)

    async def _remove_dropped(self, index: SessionIndex) -> None:
        while index.dropped:
            await asyncio.to_thread(shutil.rmtree, index.dropped.pop(), ignore_errors=True)

    def _new_process_folder(self) -> ProcessFolder:
        return ProcessFolder(self._settings.search_dir or default_folder())

    def _new_folder(self) -> Path | None:
        return None if self._folder is None else self._folder.new()

    def _write(self, call: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._writing, call)

    def _search(self, call: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._searching, call)


def _see_failure(work: "asyncio.Task[Found]") -> None:
    """Look at a failure that nobody waits for any more, so that Python does not warn of it."""
    if not work.cancelled():
        work.exception()
