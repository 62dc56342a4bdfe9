"""Movements: how far each memory vector moved at each segment of a text, in bounded room.

At a segment a vector moves by the distance between what it was before and what it is after, over its length before.
"""

import struct
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rmt_model.errors import StateError

__all__ = ["MOST_COLUMNS", "Movements"]

MOST_COLUMNS = 512
"""As many as a wide screen can show. They take 2 bytes for each memory vector, and 8."""
_MOST_MOVED = float(np.finfo(np.float16).max)
_PLACE = struct.Struct("<6q32s")
"""Lanes, memory vectors, first segment, first byte, segments read, segments in a column, digest of the text."""


class Movements:
    """Columns along a text, each of so many segments: the furthest that each vector moved at one of these.

    A column is one segment until there are too many of them; then two become one, again and again.

    Args:
        lanes: Number of lanes.
        memory_tokens: Memory vectors M of each.
        first_segment: How many segments were read before.
        first_byte: Where the text of those ends.

    Attributes:
        first_segment: As given.
        first_byte: As given.
        segments_read: How many segments are read, those before included.
        segments_each: How many make a column; the last one may have fewer.
    """

    def __init__(self, lanes: int, memory_tokens: int, *, first_segment: int = 0, first_byte: int = 0) -> None:
        self.first_segment = self.segments_read = first_segment
        self.first_byte = first_byte
        self.segments_each = 1
        self._columns = np.zeros(MOST_COLUMNS, [("end", "<i8"), ("moved", "<f2", (lanes, memory_tokens))])

    def add(self, end_byte: int, moved: NDArray[np.float32]) -> None:
        """Take in the next segment: the byte behind its text, and how far each vector moved, [lanes, M]."""
        if self.segments_read - self.first_segment == MOST_COLUMNS * self.segments_each:
            self._halve()
        column = (self.segments_read - self.first_segment) // self.segments_each
        self._columns["end"][column] = end_byte
        furthest = self._columns["moved"][column]
        np.maximum(furthest, np.fmin(moved, _MOST_MOVED), out=furthest, casting="same_kind")
        self.segments_read += 1

    @property
    def end_byte(self) -> int:
        """Where the text of the last column ends."""
        return int(self.ends[-1]) if len(self.ends) else self.first_byte

    @property
    def segments(self) -> NDArray[np.int64]:
        """How many segments are read at the end of each column, those before the first included: [columns]."""
        columns = -(-(self.segments_read - self.first_segment) // self.segments_each)
        ends = self.first_segment + self.segments_each * np.arange(1, columns + 1, dtype=np.int64)
        return np.minimum(ends, self.segments_read)

    @property
    def ends(self) -> NDArray[np.int64]:
        """The byte behind the text of each column: [columns]."""
        return self._columns["end"][: len(self.segments)]

    @property
    def moved(self) -> NDArray[np.float16]:
        """How far each vector moved, [columns, lanes, M]: at the segment of a column where it moved furthest."""
        return self._columns["moved"][: len(self.segments)]

    def to_bytes(self, digest: str) -> bytes:
        """The columns, then what they are of: when one is added, most of the bytes before stay as they are.

        Args:
            digest: Of the text that is read, in hexadecimal, as its state has it.
        """
        _, lanes, memory_tokens = self.moved.shape
        place = (lanes, memory_tokens, self.first_segment, self.first_byte, self.segments_read, self.segments_each)
        return self._columns[: len(self.segments)].tobytes() + _PLACE.pack(*place, bytes.fromhex(digest))

    @classmethod
    def from_bytes(cls, data: bytes, digest: str) -> Self:
        """Read movements back.

        Raises:
            StateError: It is none of them, or they are of another text than the one with this digest.
        """
        try:
            lanes, memory_tokens, first_segment, first_byte, *read, text = _PLACE.unpack(data[-_PLACE.size :])
            movements = cls(lanes, memory_tokens, first_segment=first_segment, first_byte=first_byte)
            movements.segments_read, movements.segments_each = read
            columns = np.frombuffer(data[: -_PLACE.size], movements._columns.dtype)
            movements._columns[: len(columns)] = columns.reshape(len(movements.segments))
        except (struct.error, ValueError, ZeroDivisionError, MemoryError) as error:
            raise StateError(f"the movements of a memory are damaged: {error}"[:200]) from error
        if text.hex() != digest:
            raise StateError(f"the movements are of another text: its digest is {text.hex()}, not {digest}")
        return movements

    def _halve(self) -> None:
        half = MOST_COLUMNS // 2
        ends, moved = self._columns["end"], self._columns["moved"]
        ends[:half] = ends[1::2]
        moved[:half] = np.maximum(moved[::2], moved[1::2])
        moved[half:] = 0
        self.segments_each *= 2
