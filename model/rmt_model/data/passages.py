"""Documents with questions whose answers are spans of their text: what extractive readers learn from.

Start here, then `corpora` (real data sets), `cloze` (questions made from any text) and `scenes` (documents made by
templates); `rmt_model.training.span_batches` turns them into batches.
"""

from dataclasses import dataclass
from random import Random
from typing import Protocol

__all__ = ["Passage", "PassageSource", "SpanQuestion"]


@dataclass(frozen=True, slots=True)
class SpanQuestion:
    """A question about a passage.

    Attributes:
        text: The question.
        spans: Character offsets [start, end) in the passage's text of every place that answers it, the preferred one
            first; empty where the passage does not answer it.
        answers: Texts that count as right when scored; those of the spans where empty.
    """

    text: str
    spans: tuple[tuple[int, int], ...] = ()
    answers: tuple[str, ...] = ()


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
