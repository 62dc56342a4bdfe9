"""What a sender was promised, and what of it Redis was allowed to lose."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
from tests.faults.world import Loss


class LostError(AssertionError):
    """Something that was acknowledged is gone, or there twice, or other than it should be."""


class StartOverError(Exception):
    """Redis may have lost a session as a whole, and was allowed to: it is made again."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and when its request began and was answered."""

    response: httpx.Response
    began_s: float
    got_s: float

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def problem(self) -> str:
        """The last part of the problem's type, where it is one."""
        return str(self.response.json()["type"]).rpartition(":")[2].rpartition("#")[2] if self.status >= 400 else ""

    @property
    def offset(self) -> int:
        return int(self.response.headers["Upload-Offset"])

    @property
    def complete(self) -> bool:
        return self.response.headers["Upload-Complete"] == "?1"

    def expect(self, status: int) -> Answered:
        """The same; another status breaks a promise."""
        if self.status != status:
            request = self.response.request
            raise LostError(f"{request.method} {request.url.path}: {self.status} {self.response.text}")
        return self


@dataclass(slots=True)
class Promise:
    """A number that was acknowledged, and may only grow, as long as Redis loses nothing."""

    kept: list[tuple[Answered, int]] = field(default_factory=list)

    def add(self, answered: Answered, number: int) -> None:
        """Remember what an answer said."""
        self.kept.append((answered, number))

    def least(self, losses: tuple[Loss, ...]) -> int:
        """What must still be there: what was answered before the last moment that Redis kept, or asked since.

        Every loss counts for every answer: one that came before a loss may be added after it was looked for.
        """
        self.kept = [
            (answered, number)
            for answered, number in self.kept
            if all(answered.got_s < loss.kept_s or answered.began_s > loss.back_s for loss in losses)
        ]
        return max((number for _, number in self.kept), default=0)


@dataclass(slots=True)
class Whole:
    """Things that are there or not: what of them Redis may have lost cannot be sent again from some offset on."""

    made: int = 0
    promise: Promise = field(default_factory=Promise)

    def add(self, answered: Answered) -> None:
        """Remember that one was made."""
        self.made += 1
        self.promise.add(answered, self.made)

    def check(self, losses: tuple[Loss, ...]) -> None:
        """Raise StartOverError unless all of them must be there."""
        self.promise.least(losses)
        if len(self.promise.kept) < self.made:
            raise StartOverError
