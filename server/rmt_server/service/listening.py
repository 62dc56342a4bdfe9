"""Listener: what a caller who waits may hear meanwhile."""

from collections.abc import Sequence

from rmt_server.reading.rereading import RereadProgress
from rmt_server.service.citations import Citation
from rmt_server.store import SessionRecord

__all__ = ["NOBODY", "Listener"]


class Listener:
    """Hears of everything and does nothing; whoever wants to know overrides."""

    def session(self, record: SessionRecord) -> None:
        """How a session stands, each time that somebody who waits for it has looked."""

    def reread(self, progress: RereadProgress) -> None:
        """How far kept text has been read once more."""

    def citations(self, question: int, found: Sequence[Citation]) -> None:
        """The sentences that the answer to the question of this number stands in, the best first."""

    def words(self, question: int, text: str) -> None:
        """Further words of the answer to the question of this number, which nothing takes back."""


NOBODY = Listener()
