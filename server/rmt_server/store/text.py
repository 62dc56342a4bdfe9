"""The text of a session: full blocks, raw or compressed, and the tail behind them."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rmt_server.errors import DamagedStoreError, TextNotKeptError
from rmt_server.keys import SessionKeys
from rmt_server.store.connection import Room
from rmt_server.store.limits import READ_BYTES
from rmt_server.store.records import DocumentPlace


class Text(Room):
    """The part of the store that gives kept text back."""

    async def read_text(self, tenant: str, sid: str, start: int, stop: int) -> bytes:
        """The bytes ``start`` to ``stop`` of the session's text, or up to where it ends.

        Raises:
            TextNotKeptError: The text at ``start`` was dropped.
            ValueError: More than ``READ_BYTES`` at once.
        """
        wanted = text_range(start, stop)
        answer = await self._redis.run_on_session("read_text", SessionKeys(tenant, sid), "", 0, *wanted)
        return text_of(answer, sid, start)

    async def char_at(self, tenant: str, sid: str, document: DocumentPlace, byte: int) -> int:
        """How many characters of a document begin before ``byte`` of the session's text, which lies in the document.

        It reads some 128 KiB of text at most, however long the document is; all of the document before the byte only
        where no characters were counted as the text came in.

        Raises:
            TextNotKeptError: The text there was dropped.
        """
        _, *mark = await self._redis.run_on_session("chars_mark", SessionKeys(tenant, sid), byte)
        at, chars = document.start, 0
        if mark and document.chars_before is not None and mark[0] > at:
            at, chars = mark[0], mark[1] - document.chars_before
        for start in range(at, byte, READ_BYTES):
            chars += count_chars(await self.read_text(tenant, sid, start, min(byte, start + READ_BYTES)))
        return chars


def count_chars(data: bytes) -> int:
    """How many characters begin in some bytes of UTF-8: one at each byte that does not go on with another."""
    continuations = 0 if data.isascii() else np.count_nonzero(np.frombuffer(data, np.int8) < -64)
    return len(data) - int(continuations)


def text_range(start: int, stop: int) -> tuple[int, int]:
    """A range of text that one call may ask for."""
    if not 0 <= start <= stop <= start + READ_BYTES:
        raise ValueError(f"bytes {start} to {stop}: ask for 0 to {READ_BYTES} bytes at once")
    return start, stop


def text_of(answer: list[Any], sid: str, start: int) -> bytes:
    """The text in an answer of ``read_text.lua``."""
    if answer[0] == "dropped":
        raise TextNotKeptError(answer[1])
    _, first_byte, stop, blocks, tail = answer
    text = b"".join([*_full_blocks(blocks), tail])
    found = text[start - first_byte : stop - first_byte]
    if len(found) != stop - start:
        raise DamagedStoreError(f"Session {sid} accepted the bytes {start} to {stop} but does not hold them.")
    return found


def _full_blocks(blocks: Sequence[bytes | None]) -> Iterator[bytes]:
    """Each block is there raw or compressed; the one that is not is the tail, and the last."""
    for raw, compressed in zip(blocks[::2], blocks[1::2], strict=True):
        if raw is not None:
            yield raw
        elif compressed is not None:
            yield zlib.decompress(compressed)
        else:
            return
