"""The frozen dataclasses that rooms exchange."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["FinishReason", "Generation", "LaneSegment", "Prompt"]

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class LaneSegment:
    """One lane's part of a reading step.

    Attributes:
        slot: Where the engine keeps the lane's memory.
        token_ids: The lane's focus (if any) and the segment, [L]. Lanes of equal L share a forward pass.
    """

    slot: int
    token_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question to one lane.

    Attributes:
        slot: Where the engine keeps the lane's memory; answering does not change it.
        token_ids: Focus (if any), partial segment and question, [L].
        max_tokens: Most tokens the answer may have.
    """

    slot: int
    token_ids: Sequence[int]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer as it was decoded.

    Attributes:
        text: The answer, without the stop text and surrounding white space.
        confidence: Probability of the decoded tokens, the stopping one included, in 0..1.
        finish_reason: `stop` when the model ended the answer, `length` when the limit did.
        prompt_tokens: Tokens that were read to answer, memory not counted.
        completion_tokens: Tokens that were decoded.
    """

    text: str
    confidence: float
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
