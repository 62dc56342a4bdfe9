"""A source that cannot go back: bytes that come when they come, kept until they are surely elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from rmt_client.errors import SourceError
from rmt_client.flow import Piece

POLL_S = 0.05


class Stream:
    """Pieces taken from an iterable by a thread of its own, into a bounded window.

    At most `ahead_bytes` (or one piece more) wait to be acknowledged: then no more is taken, and the
    producer feels it. Of what was acknowledged the last `replay_bytes` are kept, for a server that
    lost its latest moments and asks for them again.

    Args:
        pieces: The bytes; without it, `offer` and `end` feed the stream.
        ahead_bytes: Limit of what is not acknowledged.
        replay_bytes: How far back the stream can go behind what was acknowledged.
    """

    length = None

    def __init__(
        self,
        pieces: Iterable[bytes] | None = None,
        *,
        ahead_bytes: int = 4 << 20,
        replay_bytes: int = 4 << 20,
    ) -> None:
        self._pieces, self._ahead_bytes, self._replay_bytes = pieces, ahead_bytes, replay_bytes
        self._lock = threading.Lock()
        self._window = bytearray()
        self._start = self._acknowledged = 0
        self._ended = self._finished = False
        self._failure: BaseException | None = None

    def read(self, offset: int, size: int) -> Piece:
        """Takes that everything before `offset` is acknowledged, and returns what is there behind it.

        Raises:
            SourceError: The stream ended before `offset`, or no longer has those bytes.
            Exception: Whatever the iterable raised, once all that came before is read.
        """
        self._pump_from_now_on()
        with self._lock:
            self._forget_before(offset)
            end = self._end()
            at = offset - self._start
            data = bytes(self._window[at : min(at + size, end)])
            over = self._over()
            last = over and at + len(data) >= end
            if last and self._failure is not None:
                if not data:
                    raise self._failure
                last = False
            if last and at > end:
                raise SourceError(f"The stream ended at byte {self._start + end}, before byte {offset}.")
            return Piece(data, last, growing=not over and len(data) < size and self._has_room())

    def finish(self) -> None:
        """Ends the document with the last whole character that has come; safe in a signal handler."""
        self._finished = self._finished or not self._ended

    def offer(self, piece: bytes) -> bool:
        """Puts a piece in if there is room, or if nobody will ever want it."""
        with self._lock:
            if self._over():
                return True
            if not self._has_room():
                return False
            self._window += piece
            return True

    def end(self, failure: BaseException | None = None) -> None:
        """Says that no piece will follow, or that what would have followed failed."""
        with self._lock:  # between two looks of a read, the end would cut half a character off
            self._failure, self._ended = failure, True

    def close(self) -> None:
        """Lets the thread go as soon as the iterable gives it a chance."""
        self.finish()

    def _pump_from_now_on(self) -> None:
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            threading.Thread(target=self._pump, args=(pieces,), name="rmt-stream", daemon=True).start()

    def _pump(self, pieces: Iterable[bytes]) -> None:
        try:
            for piece in pieces:
                while not self.offer(piece):
                    time.sleep(POLL_S)
                if self._finished:
                    break
        except BaseException as error:  # it belongs to whoever reads the stream
            self.end(error)
        else:
            self.end()

    def _forget_before(self, offset: int) -> None:
        if offset < self._start:
            raise SourceError(
                f"The server asks for byte {offset} again, but only those from {self._start} on are kept.",
                "Send the document again from a file, or allow a longer replay.",
            )
        self._acknowledged = offset
        surplus = min(offset - self._replay_bytes - self._start, len(self._window))
        if surplus > 0:
            del self._window[:surplus]
            self._start += surplus

    def _has_room(self) -> bool:
        return self._start + len(self._window) - self._acknowledged < self._ahead_bytes

    def _over(self) -> bool:
        return self._ended or self._finished

    def _end(self) -> int:
        """Where the window may be read to: half a character waits for its other half."""
        whole = self._ended and not self._finished
        return len(self._window) if whole else whole_characters(self._window)


def whole_characters(data: bytes | bytearray) -> int:
    """Returns the length of `data` without a UTF-8 character that has only begun at its end."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0b1100_0000:
            needed = 2 + (byte >= 0b1110_0000) + (byte >= 0b1111_0000)
            return len(data) - back if needed > back else len(data)
        if byte < 0b1000_0000:
            break
    return len(data)
