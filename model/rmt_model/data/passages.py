"""Documents with questions whose answers are spans of their text: what extractive readers learn from.

Start here, then `corpora` (real data sets), `cloze` (questions made from any text), `scenes` (documents made by
templates) and `told` (stories in which facts change); `rmt_model.training.span_batches` turns them into batches.
"""

from dataclasses import dataclass
from random import Random
from typing import Protocol

__all__ = ["Holds", "Passage", "PassageSource", "SpanQuestion"]


@dataclass(frozen=True, slots=True)
class Holds:
    """How much of a text one must have read for a place in it to be the answer.

    Attributes:
        first: First character of what the answer follows from: whoever begins to read behind it cannot know.
        since: The answer is right once the text was read up to here.
        until: And wrong once it was read up to here; None: right to the end.
    """

    first: int
    since: int
    until: int | None = None

    def at(self, start: int, end: int) -> bool:
        """Whether the place is the answer to somebody who has read the characters [start, end)."""
        return start <= self.first and self.since <= end and (self.until is None or end < self.until)


@dataclass(frozen=True, slots=True)
class SpanQuestion:
    """A question about a passage.

    Attributes:
        text: The question.
        spans: Character offsets [start, end) in the passage's text of every place that answers it, the preferred one
            first; empty where the passage does not answer it.
        answers: Texts that count as right when scored; those of the spans where empty.
        holds: For each span, when it is right, where the text tells of changes; empty: all spans are right always. A
            place that follows from the text in two ways is there twice.
    """

    text: str
    spans: tuple[tuple[int, int], ...] = ()
    answers: tuple[str, ...] = ()
    holds: tuple[Holds, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with questions about it.

    Attributes:
        source: The data set or generator that it comes from.
        name: Its name there: an article's title, a story's file.
        text: The text. It may be longer than any window.
        questions: Questions about it.
    """

    source: str
    name: str
    text: str
    questions: tuple[SpanQuestion, ...]

    def answers(self, question: SpanQuestion) -> tuple[str, ...]:
        """The texts that count as right."""
        return question.answers or tuple(dict.fromkeys(self.text[start:end] for start, end in question.spans))


class PassageSource(Protocol):
    """Passages without end, for training. The same random state gives the same passage."""

    def draw(self, rng: Random) -> Passage:
        """One passage with at least one question."""
        ...
