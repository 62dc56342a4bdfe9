"""Finding: what a check found, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Level"]

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `rmt-server doctor`.

    Attributes:
        check: What was looked at, in a word or two.
        level: `ok`; `warning`, what may be meant so; `problem`, what does not work or loses data.
        found: What was found, as a sentence without a full stop.
        mend: What to do, as a sentence without a full stop; empty where nothing is to be done.
    """

    check: str
    level: Level
    found: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.check}: {self.found}" + (f". {self.mend}" if self.mend else "")
