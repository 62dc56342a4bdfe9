"""Tells a listener how far an operation is."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from rmt_client import protocol
from rmt_client.errors import ProblemError, ProtocolError, TransportError
from rmt_client.flow import Flow, once
from rmt_client.models import Listener, Progress, Session
from rmt_client.patience import Clock

LOOK_EVERY_S = 0.5


@dataclass(slots=True)
class Watch:
    """What is known of one session while something happens in it.

    Attributes:
        start: Where in the session the watched bytes begin.
        sent_bytes, total_bytes: How many of them are accepted, and will be.
    """

    session_id: str
    clock: Clock
    listener: Listener | None = None
    document_id: str = ""
    start: int = 0
    sent_bytes: int = 0
    total_bytes: int | None = None
    _first: Session | None = field(init=False, default=None)
    _last: Session | None = field(init=False, default=None)
    _mark: Session | None = field(init=False, default=None)
    _looked_s: float = field(init=False, default=float("-inf"))

    def look_if_due(self) -> Flow[None]:
        """Looks at the session if somebody listens, not too often, and only while there is news to expect."""
        behind = self._last is None or self._last.read_bytes < self.start + self.sent_bytes
        if self.listener and behind and self.clock() - self._looked_s >= LOOK_EVERY_S:
            yield from self.look()
            self.tell()

    def look(self) -> Flow[None]:
        """Looks at the session. A failure here is not worth an error."""
        self._looked_s = self.clock()
        with suppress(TransportError, ProblemError, ProtocolError):
            self.saw((yield from once(protocol.get_session(self.session_id))))

    def saw(self, session: Session) -> None:
        """Takes note of the session."""
        self._looked_s, self._last = self.clock(), session
        self._first = self._first or session

    def has_read_on(self) -> bool:
        """Tells whether the session is further, as far as was seen, than when this was last asked."""
        before, self._mark = self._mark, self._last
        if before is None or self._last is None:
            return False
        return (self._last.read_bytes, self._last.segments) > (before.read_bytes, before.segments)

    def tell(self, problem: str = "") -> None:
        """Tells the listener, if there is one."""
        if self.listener is None:
            return
        read_bytes = self._last.read_bytes - self.start if self._last else 0
        tokens = self._last.tokens - self._first.tokens if self._last and self._first else 0
        self.listener(
            Progress(
                document_id=self.document_id,
                sent_bytes=self.sent_bytes,
                total_bytes=self.total_bytes,
                read_bytes=min(max(0, read_bytes), self.sent_bytes),
                tokens=tokens,
                problem=problem,
            )
        )
