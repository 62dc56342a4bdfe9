"""Content codings: gzip and zstd, decoded in small steps, so that little data never becomes much at once."""

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

from rmt_server.errors import DamagedContentError, UnsupportedCodingError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["CODINGS", "STEP_BYTES", "Decoder", "decoded", "named_coding"]

STEP_BYTES = 64 * 1024
"""What one step of decoding gives at most."""

_WINDOW_LOG = 23  # 8 MiB, what RFC 9659 asks of every decoder
_GZIP = 16 + zlib.MAX_WBITS


class _Member(Protocol):
    """One gzip member or zstd frame that is being decoded."""

    @property
    def hungry(self) -> bool:
        """Whether it gives no more before more goes in."""

    @property
    def eof(self) -> bool:
        """Whether it is at its end."""

    @property
    def unused_data(self) -> bytes:
        """What came behind its end."""

    def step(self, data: bytes) -> bytes:
        """Put data in; get a step of what it stands for out."""


class _GzipMember:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_GZIP)
        self._full = False

    @property
    def hungry(self) -> bool:
        return not self._full and not self._inner.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def step(self, data: bytes) -> bytes:
        piece = self._inner.decompress(self._inner.unconsumed_tail + data, STEP_BYTES)
        self._full = len(piece) == STEP_BYTES
        return piece


class _ZstdFrame:
    def __init__(self) -> None:
        self._inner = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})

    @property
    def hungry(self) -> bool:
        return self._inner.needs_input

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def step(self, data: bytes) -> bytes:
        return self._inner.decompress(data, STEP_BYTES)


_MEMBERS: dict[str, Callable[[], "_Member"]] = {"gzip": _GzipMember, "zstd": _ZstdFrame}
CODINGS = tuple(_MEMBERS)
"""The codings that are decoded."""


class Decoder:
    """Decodes one coded stream: gzip members or zstd frames, one after another."""

    def __init__(self, coding: str) -> None:
        self._begin = _MEMBERS[coding]
        self._member: _Member | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        """What the next bytes of the stream stand for, in steps; some may be empty.

        Raises:
            DamagedContentError: They do not go on with the stream.
        """
        try:
            while data:
                member = self._member = self._member or self._begin()
                yield member.step(data)
                while not (member.eof or member.hungry):
                    yield member.step(b"")
                data = member.unused_data if member.eof else b""
                self._member = None if member.eof else member
        except (zlib.error, zstd.ZstdError) as error:
            raise DamagedContentError(f"The content cannot be decoded: {error}.") from error

    def finish(self) -> None:
        """Say that the stream ends here.

        Raises:
            DamagedContentError: It is cut off.
        """
        if self._member is not None:
            raise DamagedContentError("The content ends in the middle of its coding.")


def named_coding(fields: list[str]) -> str | None:
    """The coding that `Content-Encoding` names; None where the content is as it is.

    Raises:
        UnsupportedCodingError: Another one, or more than one.
    """
    names = [name.strip().lower() for field in fields for name in field.split(",")]
    codings = ["gzip" if name == "x-gzip" else name for name in names if name not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in CODINGS:
        raise UnsupportedCodingError(", ".join(codings)[:80], CODINGS)
    return codings[0]


async def decoded(content: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    """Decode content as it arrives. Others have their turn after each step.

    Raises:
        DamagedContentError: It is damaged or cut off; what came before that was given.
    """
    decoder = Decoder(coding)
    async for data in content:
        for piece in decoder.decode(data):
            if piece:
                yield piece
            await asyncio.sleep(0)
    decoder.finish()
