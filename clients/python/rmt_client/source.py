"""Where a document's bytes come from, and how they are read a second time."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from rmt_client.errors import SourceError, UsageError
from rmt_client.flow import Piece
from rmt_client.stream import Stream

PIECE_BYTES = 1 << 16
MOST_NAME_CHARS = 200
Source = str | bytes | os.PathLike[str] | BinaryIO | Iterable[bytes] | Stream
"""Text, bytes, the path of a file, an open binary file, pieces as they come, or a `Stream`."""


class Readable(Protocol):
    """What an upload reads: any part again, as long as it has not been acknowledged for long."""

    @property
    def length(self) -> int | None:
        """The number of bytes, where that is known beforehand."""

    def read(self, offset: int, size: int) -> Piece:
        """Returns what is there now, without waiting for more."""

    def close(self) -> None:
        """Lets go of what it holds."""


class FileSource:
    """A file that can go back. Its length is fixed when the upload begins."""

    def __init__(self, file: BinaryIO, *, owned: bool = False) -> None:
        self._file, self._owned = file, owned
        self._start = file.tell()
        self.length = file.seek(0, io.SEEK_END) - self._start

    def read(self, offset: int, size: int) -> Piece:
        """Reads at an offset; SourceError when the file has become shorter."""
        size = min(size, self.length - offset)
        self._file.seek(self._start + offset)
        data = self._file.read(size)
        if len(data) < size:
            raise SourceError(f"The file became shorter than its {self.length} bytes while it was sent.")
        return Piece(data, offset + size == self.length)

    def close(self) -> None:
        """Closes the file if it was opened here."""
        if self._owned:
            self._file.close()


def open_source(source: Source) -> Readable:
    """Makes any source readable."""
    if isinstance(source, Stream):
        return source
    if isinstance(source, str):
        return FileSource(io.BytesIO(source.encode()))
    if isinstance(source, bytes | bytearray | memoryview):
        return FileSource(io.BytesIO(source))
    if isinstance(source, os.PathLike):
        return _open_file(open_binary(source), owned=True)
    if isinstance(cast(object, source), io.TextIOBase):
        raise UsageError("The file is open as text.", 'Open it in binary mode: open(path, "rb").')
    if hasattr(source, "read"):
        return _open_file(cast(BinaryIO, source))
    return Stream(source)


def name_of(source: object) -> str:
    """The name of a source's file, shortened to what a server takes; empty where it is not a file with a name."""
    path = source if isinstance(source, os.PathLike) else getattr(source, "name", None)
    if not isinstance(path, str | os.PathLike) or str(path).startswith("<"):  # such as <stdin>
        return ""
    name = Path(os.fsdecode(path)).name.rpartition("\\")[2][:MOST_NAME_CHARS]  # the server takes what is behind it
    return name.encode(errors="replace").decode() if any(char.isprintable() for char in name.strip()) else ""


def open_binary(path: os.PathLike[str]) -> BinaryIO:
    """Opens a file to read; SourceError when that cannot be."""
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise SourceError(f"{os.fspath(path)} cannot be read: {error.strerror}.") from error


def _open_file(file: BinaryIO, *, owned: bool = False) -> Readable:
    if file.seekable():
        return FileSource(file, owned=owned)
    return Stream(pieces(file, owned=owned))


def pieces(file: BinaryIO, *, owned: bool = False) -> Iterator[bytes]:
    """Yields the bytes of a pipe as they arrive."""
    read = getattr(file, "read1", file.read)
    try:
        while (piece := read(PIECE_BYTES)) != b"":
            if piece is None:  # a non-blocking descriptor that has nothing now
                time.sleep(0.05)
            else:
                yield piece
    finally:
        if owned:
            file.close()
