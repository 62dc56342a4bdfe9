"""The full-text index of one session's passages: tantivy, with words and queries of our own.

Not thread-safe: one thread writes or searches at a time.
"""

import os
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tantivy import (
    Document,
    FieldType,
    Filter,
    Index,
    IndexWriter,
    Occur,
    Query,
    Schema,
    SchemaBuilder,
    TextAnalyzerBuilder,
    Tokenizer,
)

from rmt_server.search.passages import Passage
from rmt_server.search.words import QueryWord, spaced_words

__all__ = ["BrokenIndexError", "Hit", "PassageIndex", "Place", "check_of"]

_HEAP_BYTES = 16 << 20
"""Postings that are held until they are written as a segment; 15 MB is the least that tantivy takes."""
_WORDS, _START, _NUMBER, _ANALYZER = "words", "start", "number", "stems"
_PLACE_NUMBERS = 5
_BYTES_A_PASSAGE = 512


class BrokenIndexError(Exception):
    """The index cannot be written or read: its folder is full, damaged or gone. It has to be made anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a passage stands: bytes of the session's text, characters of its document, and a checksum of its bytes."""

    start: int
    end: int
    start_char: int
    end_char: int
    check: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found; a higher score is a better match, and says nothing across sessions or queries."""

    place: Place
    score: float


class PassageIndex:
    """Passages by their words. The last ones, of text that goes on, are replaced by each `commit`.

    Args:
        folder: An empty folder for its files; None keeps them in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._schema = _schema()
        with _broken_if_it_fails():
            self._index = Index(self._schema, None if folder is None else str(folder))
            self._files = _files_in(folder)
        self._analyzer = TextAnalyzerBuilder(Tokenizer.whitespace()).filter(Filter.stemmer("english")).build()
        self._index.register_tokenizer(_ANALYZER, self._analyzer)
        self._index.config_reader("manual")
        self._writer: IndexWriter | None = None
        self._places = array("Q")
        self._final = 0

    def __len__(self) -> int:
        return len(self._places) // _PLACE_NUMBERS

    @property
    def size_bytes(self) -> int:
        """Bytes of its files, or an estimate of what it takes in memory."""
        if self.folder is None:
            return _BYTES_A_PASSAGE * len(self)
        return sum(file.stat().st_size for file in self.folder.iterdir())

    def add(self, passages: Iterable[Passage]) -> None:
        """Add passages that no later text changes. They are found after the next `commit`."""
        with _broken_if_it_fails():
            self._drop_unfinished()
            self._write(passages)
        self._final = len(self)

    def commit(self, unfinished: Iterable[Passage]) -> None:
        """Make all that was added findable, and these passages until the next `add` or `commit`."""
        with _broken_if_it_fails():
            self._drop_unfinished()
            self._write(unfinished)
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.commit()
                writer.wait_merging_threads()  # a writer that goes without waiting leaves small segments unmerged
                self._index.reload()
                self._files = _files_in(self.folder)

    def search(self, words: Sequence[QueryWord], limit: int, ranges: Sequence[tuple[int, int]] | None) -> list[Hit]:
        """The best passages for any of the words, the best first.

        Args:
            words: What is looked for.
            limit: How many passages at most.
            ranges: Bytes of the session's text, first and behind the last, in which the passages begin; None: anywhere.
        """
        with _broken_if_it_fails():
            self._require_own_files()
            searcher = self._index.searcher()
            found = searcher.search(self._query(words, ranges), limit, count=False).hits
            numbers = searcher.fast_field_values(_NUMBER, [address for _, address in found])
        hits = [Hit(self._place(int(number or 0)), score) for number, (score, _) in zip(numbers, found, strict=True)]
        return sorted(hits, key=lambda hit: (-hit.score, hit.place.start))

    def _query(self, words: Sequence[QueryWord], ranges: Sequence[tuple[int, int]] | None) -> Query:
        stems: dict[str, float] = {}
        for word in words:
            for stem in self._analyzer.analyze(word.text):
                stems[stem] = max(word.weight, stems.get(stem, 0.0))
        terms = [
            (Occur.Should, Query.boost_query(Query.term_query(self._schema, _WORDS, stem, "freq"), weight))
            for stem, weight in stems.items()
        ]
        any_word = Query.boolean_query(terms)
        if ranges is None:
            return any_word
        within = [
            (
                Occur.Should,
                Query.range_query(self._schema, _START, FieldType.Unsigned, start, stop, include_upper=False),
            )
            for start, stop in ranges
        ]
        allowed = Query.const_score_query(Query.boolean_query(within), 0.0)
        return Query.boolean_query([(Occur.Must, any_word), (Occur.Must, allowed)])

    def _write(self, passages: Iterable[Passage]) -> None:
        for passage in passages:
            writer = self._open_writer()
            document = Document()
            document.add_text(_WORDS, spaced_words(passage.text))
            document.add_unsigned(_START, passage.start)
            document.add_unsigned(_NUMBER, len(self))
            writer.add_document(document)
            self._places.extend(
                (passage.start, passage.end, passage.start_char, passage.end_char, check_of(passage.text.encode()))
            )

    def _drop_unfinished(self) -> None:
        if len(self) == self._final:
            return
        writer = self._open_writer()
        # By a query: a term of an unsigned field deletes nothing in tantivy-py 0.27.0; findings has the script.
        unfinished = Query.range_query(self._schema, _NUMBER, FieldType.Unsigned, self._final, None)
        writer.delete_documents_by_query(unfinished)
        del self._places[self._final * _PLACE_NUMBERS :]

    def _open_writer(self) -> IndexWriter:
        if self._writer is None:
            self._require_own_files()
            self._writer = self._index.writer(_HEAP_BYTES, 1)
        return self._writer

    def _require_own_files(self) -> None:
        """Look whether the files are still those that were written here.

        tantivy maps them into memory. A file that is cut short ends the process (SIGBUS) when it is read, and so does
        a merge of files with other bytes.
        """
        now = _files_in(self.folder)
        changed = [name for name, facts in self._files.items() if now.get(name) != facts]
        if changed:
            raise BrokenIndexError(f"{changed[0]} was changed by somebody else")

    def _place(self, number: int) -> Place:
        if number >= len(self):
            raise BrokenIndexError(f"passage {number} of {len(self)}")
        return Place(*self._places[number * _PLACE_NUMBERS : (number + 1) * _PLACE_NUMBERS])


@contextmanager
def _broken_if_it_fails() -> Iterator[None]:
    """Turn what tantivy raises into `BrokenIndexError`; a panic of it is no `Exception`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise BrokenIndexError(str(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise BrokenIndexError(str(error)) from None


def _files_in(folder: Path | None) -> dict[str, tuple[int, int, int]]:
    """The files of a folder: what tells each from one that was changed or replaced."""
    if folder is None:
        return {}
    with os.scandir(folder) as entries:
        facts = {entry.name: entry.stat() for entry in entries}
    return {name: (one.st_ino, one.st_size, one.st_mtime_ns) for name, one in facts.items()}


def check_of(text: bytes) -> int:
    """A checksum of a passage's bytes: whether the text still holds what was found."""
    return zlib.crc32(text)


def _schema() -> Schema:
    schema = SchemaBuilder()
    schema.add_text_field(_WORDS, tokenizer_name=_ANALYZER, index_option="freq")
    schema.add_unsigned_field(_START, fast=True)
    schema.add_unsigned_field(_NUMBER, fast=True, indexed=True)
    return schema.build()
