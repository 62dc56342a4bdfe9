"""The frozen dataclasses that rooms exchange."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["GREEDY", "FinishReason", "Generation", "LaneSegment", "Prompt", "Sampling"]

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
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: What the logits are divided by; 0 takes the likeliest token.
        top_p: Only the likeliest tokens that have this probability together are drawn from, above 0 up to 1.
        seed: The same one draws the same answer, as far as rounding does not depend on what else is decoded beside it
            (in bfloat16 it may); None draws another each time.
        stop: Texts that end the answer, besides the checkpoint's; they are not part of it.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question to one lane.

    Attributes:
        slot: Which memory is asked; answering does not change it.
        token_ids: Focus (if any), partial segment and question, [L].
        max_tokens: Most tokens the answer may have.
        context_tokens: How many of the first tokens other prompts to the same memory have, too: these are read once.
        sampling: How its tokens are chosen.
    """

    slot: int
    token_ids: Sequence[int]
    max_tokens: int
    context_tokens: int = 0
    sampling: Sampling = GREEDY


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer as it was decoded.

    Attributes:
        text: The answer, without the stop text and surrounding white space.
        probability: Probability of the decoded tokens, the stopping one included, in 0..1; sampling does not change how
            likely a token is.
        margin: `probability` less what the likeliest other answer can have at most: the probability of the tokens up to
            some place times that of the best other token there, at the place where this is largest. Below 0 where
            another answer may be likelier.
        finish_reason: `stop` when the model ended the answer, `length` when the limit did.
        prompt_tokens: Tokens that were read to answer, memory not counted.
        completion_tokens: Tokens that were decoded.
    """

    text: str
    probability: float
    margin: float
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
