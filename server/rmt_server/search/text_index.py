"""The index of one text, as it grows: bytes in, passages into the index, and a digest that names what was fed.

For one thread at a time; it does not know where the text comes from.
"""

import codecs
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from rmt_model.digest import StreamDigest
from rmt_server.search.index import Hit, PassageIndex
from rmt_server.search.passages import PassageCutter
from rmt_server.search.words import QueryWord

__all__ = ["MARK_BYTES", "TextIndex"]

MARK_BYTES = 64 * 1024
"""After so many bytes, again and again, the digest's state is kept."""
_TAIL_BYTES = 1024
_CHAIN_BYTES = len(StreamDigest().chain)


class TextIndex:
    """A session's text from its first byte on.

    Attributes:
        fed: Bytes that were fed, the beginning of an unfinished character included.
        committed: Those of them that can be found.
        tail: The last of them, by which to tell whether the text is still the same.
    """

    def __init__(self, folder: Path | None) -> None:
        self._index = PassageIndex(folder)
        self._cutter = PassageCutter()
        self._digest = StreamDigest()
        self._chains = bytearray(self._digest.chain)
        self._partial = b""
        self.fed = 0
        self.committed = 0
        self.tail = b""

    @property
    def folder(self) -> Path | None:
        """Where its files are; None: in memory."""
        return self._index.folder

    @property
    def covered(self) -> int:
        """The byte behind the last whole character that was fed."""
        return self._cutter.end

    @property
    def size_bytes(self) -> int:
        """What it takes on disk, or in memory."""
        return self._index.size_bytes

    @property
    def digest(self) -> str:
        """The digest of all bytes that were fed."""
        return self._digest.hexdigest()

    def digest_before(self, byte: int) -> tuple[int, StreamDigest]:
        """The last place up to `byte` where the digest's state was kept, and a digest to go on with from there."""
        mark = byte // MARK_BYTES
        chain = self._chains[mark * _CHAIN_BYTES : (mark + 1) * _CHAIN_BYTES]
        return mark * MARK_BYTES, StreamDigest(bytes(chain))

    def feed(self, data: bytes, boundaries: Sequence[int]) -> None:
        """Take the bytes behind those before.

        Args:
            data: The bytes.
            boundaries: Where documents begin and end in the text, in order; those before `fed` do not matter.

        Raises:
            BrokenIndexError: The index cannot be written.
        """
        start, stop = self.fed, self.fed + len(data)
        inner = boundaries[bisect_right(boundaries, start - 1) : bisect_right(boundaries, stop)]
        for end in [*inner, stop]:
            self._take(data[self.fed - start : end - start])
            if end in inner:
                self._finish_document()
        self.tail = (self.tail + data)[-_TAIL_BYTES:]

    def commit(self) -> None:
        """Make all that was fed findable.

        Raises:
            BrokenIndexError: The index cannot be written.
        """
        self._index.commit(self._cutter.unfinished())
        self.committed = self.fed

    def search(self, words: Sequence[QueryWord], limit: int, ranges: Sequence[tuple[int, int]] | None) -> list[Hit]:
        """The best passages: see `PassageIndex.search`."""
        return self._index.search(words, limit, ranges)

    def _take(self, data: bytes) -> None:
        self.fed += len(data)
        self._note_digest(data)
        data = self._partial + data
        while True:
            try:
                text, used = codecs.utf_8_decode(data, "strict", False)
            except UnicodeDecodeError as error:
                # Where an upload was cancelled within a character, its first bytes stay: no text, and an end of one.
                self._index.add(self._cutter.feed(data[: error.start].decode()))
                self._finish_document()
                self._cutter.skip(error.end - error.start)
                data = data[error.end :]
            else:
                break
        self._index.add(self._cutter.feed(text))
        self._partial = data[used:]

    def _finish_document(self) -> None:
        self._index.add(self._cutter.finish_document())
        self._cutter.skip(len(self._partial))
        self._partial = b""

    def _note_digest(self, data: bytes) -> None:
        before = self.fed - len(data)
        first = MARK_BYTES - before % MARK_BYTES
        starts = [0, *range(first, len(data) + 1, MARK_BYTES)]
        for start, stop in zip(starts, [*starts[1:], len(data)], strict=True):
            self._digest.update(data[start:stop])
            if stop > start and (before + stop) % MARK_BYTES == 0:
                self._chains += self._digest.chain
