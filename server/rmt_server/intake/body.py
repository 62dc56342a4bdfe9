"""Body: the content of a request as it was meant: waited for, checked against its digest, decoded."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from rmt_server.errors import SlowBodyError, TooLargeError
from rmt_server.intake.coding import STEP_BYTES, decoded, named_coding
from rmt_server.intake.digests import named_digests, verify
from rmt_server.settings import Settings
from rmt_server.wire.requests import declared_bytes

__all__ = ["Body"]

_LOOK_S = 1.0


class Body:
    """The content of one request, to be iterated over once.

    A body with a known digest is held until all of it is there and right, so it has a limit; others stream.

    Raises:
        UnsupportedCodingError: It has a content coding that is not decoded here.
        BadRequestError: Its digest is malformed.
        TooLargeError: It has a digest, and declares itself too large to be held.
    """

    def __init__(self, request: Request, settings: Settings) -> None:
        self._receive = request.receive
        self._idle_s = settings.body_idle_s
        self._held_bytes = settings.max_json_bytes
        self._coding = named_coding(request.headers.getlist("content-encoding"))
        self._digests = named_digests(request.headers.getlist("content-digest"))
        self._held: bytearray | None = None
        self._while_silent: Callable[[], Awaitable[None]] | None = None
        declared = declared_bytes(request)
        if self._digests:
            self._require_holdable(declared or 0)
        self.declared_bytes = None if self._coding else declared
        """Size of the content, if it is known beforehand: of coded content it is not."""

    def while_silent(self, check: Callable[[], Awaitable[None]]) -> None:
        """Have this called about once a second while nothing arrives; it raises where waiting is in vain."""
        self._while_silent = check

    async def hold(self) -> None:
        """Where it has a digest, wait for all of it now: what is made for the content need not be made in vain.

        Raises:
            DigestMismatchError, SlowBodyError, TooLargeError, ClientDisconnect: As when it is iterated over.
        """
        if self._digests and self._held is None:
            content = bytearray()
            async for piece in self._arriving():
                content += piece
                self._require_holdable(len(content))
            verify(content, self._digests)
            self._held = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces of the content.

        Raises:
            SlowBodyError: Nothing has arrived for `body_idle_s`.
            DigestMismatchError: The content is not what its digest says; none of it was given.
            DamagedContentError: It cannot be decoded; what came before that was given.
            TooLargeError: It has a digest, and is too large to be held.
            ClientDisconnect: The sender has left.
        """
        content = self._checked() if self._digests else self._arriving()
        return decoded(content, self._coding) if self._coding else content

    async def whole(self, limit_bytes: int) -> bytes:
        """All of the content.

        Raises:
            TooLargeError: It is larger than the limit; the rest is not read.
        """
        body = bytearray()
        if (self.declared_bytes or 0) > limit_bytes:
            raise TooLargeError(limit_bytes)
        async for piece in self:
            body += piece
            if len(body) > limit_bytes:
                raise TooLargeError(limit_bytes)
        return bytes(body)

    async def _arriving(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._next_message()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            more = message.get("more_body", False)
            if data := message.get("body", b""):
                yield data

    async def _next_message(self) -> Message:
        deadline = time.monotonic() + self._idle_s
        while True:
            try:
                async with asyncio.timeout(min(_LOOK_S, self._idle_s)):
                    return await self._receive()
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise SlowBodyError(self._idle_s) from None
            if self._while_silent:
                await self._while_silent()

    async def _checked(self) -> AsyncIterator[bytes]:
        await self.hold()
        content = self._held or bytearray()
        for start in range(0, len(content), STEP_BYTES):
            yield bytes(content[start : start + STEP_BYTES])

    def _require_holdable(self, size_bytes: int) -> None:
        if size_bytes > self._held_bytes:
            raise TooLargeError(self._held_bytes, "max-append-size")
