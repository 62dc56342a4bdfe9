"""Story: statements in order, what may be asked once they were read, and what a memory should keep of them."""

from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

__all__ = ["BEHIND", "WHOLE_MEMORY", "Asked", "Kept", "Mode", "Source", "Split", "Story", "Wish"]

BEHIND = -1
"""The first memory vector behind those that say something already; nothing is said if too few are left."""
WHOLE_MEMORY = 16
"""Memory vectors that change together where a question needs its answer alone; what a model lacks is left out."""
Mode = Literal["focus", "recall", "both"]
Split = Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class Kept:
    """What memory vectors should say once a statement was read: a lesson for training, unknown to any reader.

    Attributes:
        after: Number of the statement.
        vector: First memory vector, or `BEHIND`.
        text: What the vectors from there on say, one token each.
        vectors: How many vectors change: further tokens are dropped, further vectors may say anything. None: one for
            each token.
    """

    after: int
    vector: int
    text: str
    vectors: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a story.

    Attributes:
        question: What is asked.
        answer: The answer that is taught.
        kept: What a memory with this question as focus should keep; None where nobody knows.
        answers: All answers that are right, for scoring; the one that is taught where empty.
        after: Number of the statement that it is asked after, before the next one is read; None: at the very end.
    """

    question: str
    answer: str
    kept: tuple[Kept, ...] | None = None
    answers: tuple[str, ...] = ()
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """Statements in order, and what is asked about them.

    Attributes:
        statements: Sentences, or longer passages.
        asked: Questions; the first is asked at the very end, and is what a focus is about.
        kept: What a memory that does not know the questions should keep; None where nobody knows.
        scattered: Whether other text may stand between the statements; False keeps them together.
        at_start: Whether the statements stand at the very beginning of the document.
        name: Where it came from, for messages.
    """

    statements: tuple[str, ...]
    asked: tuple[Asked, ...]
    kept: tuple[Kept, ...] | None = None
    scattered: bool = True
    at_start: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a sample has room for.

    Attributes:
        mode: How it will be read.
        room_tokens: Most tokens that the statements may have together.
        questions: About how many there is room for besides the one at the end, all over the document.
        remembered: Whether anything is read before the segment with the question.
    """

    mode: Mode
    room_tokens: int
    questions: int = 0
    remembered: bool = True


class Source(Protocol):
    """Where stories come from. The same seed gives the same story; validation shares nothing with training."""

    def draw(self, rng: Random, wish: Wish) -> Story:
        """One story of at most `wish.room_tokens` tokens."""
        ...
