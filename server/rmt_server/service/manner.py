"""Manner: how questions are to be answered."""

from dataclasses import dataclass
from typing import Literal

from rmt_model.types import Sampling

__all__ = ["Manner", "Mode"]

Mode = Literal["auto", "search", "recall", "reread"]


@dataclass(frozen=True, slots=True)
class Manner:
    """How questions are to be answered.

    Attributes:
        mode: `search` places of the kept text that may answer, and read them; `recall` from the memory at once;
            `reread` the kept text for each question; `auto` takes a focus that was given before, else what the
            checkpoint answers best by. None: `auto` of a checkpoint that points at places, `recall` of one that writes.
        documents: Documents to which a search is restricted; None: all.
        lane: The lane that answers; None takes the one whose focus is the question, else the surest of all.
        snapshot: What is asked instead of the session.
        wait: Whether everything accepted has to be read first.
        max_tokens: Most tokens of an answer.
        temperature: See `Sampling`, as for all that follows.
        top_p: Of sampling.
        seed: Of sampling.
        stop: Of sampling.
    """

    mode: Mode | None = None
    documents: tuple[str, ...] | None = None
    lane: int | None = None
    snapshot: str | None = None
    wait: bool = True
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen."""
        return Sampling(self.temperature, self.top_p, self.seed, self.stop)
