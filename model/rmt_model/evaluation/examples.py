"""Example: a document as token ids, and the question that is asked behind it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rmt_model.data.background import Background
from rmt_model.data.haystack import DoesNotFitError, Hidden, Layout, hide
from rmt_model.data.story import Story
from rmt_model.errors import DataError
from rmt_model.evaluation.lengths import Unit

__all__ = ["NO_TEXT", "Encode", "Example", "Examples", "document_of", "rng_of", "short_digest"]

Encode = Callable[[str], list[int]]
"""Text to token ids, without special tokens."""
NO_TEXT = Background(np.zeros(1, np.int32), np.ones(1, np.bool_))
"""Background of stories that stand alone: as long as the document, they leave no room for any."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One document with a question.

    Attributes:
        number: Its number in its series, from 0.
        group: What it is counted under: a task's part, as `qa1`.
        length: The length that was asked for, in the series' unit.
        question: What is asked behind the document.
        answers: Right answers, one at least.
        ids: The whole document, int32 [tokens].
        spans: Where each statement of the story stands in it.
        text: The document as it was written; empty where it was made of tokens, which tell its words.
    """

    number: int
    group: str
    length: int
    question: str
    answers: tuple[str, ...]
    ids: NDArray[np.int32]
    spans: tuple[range, ...]
    text: str = ""


class Examples(Protocol):
    """The examples of one series. Each depends on seed, group, length and number alone, and is built when it is needed.

    Attributes:
        task: Name of the task.
        group: What the examples are counted under.
        length: Their length, in `unit`.
        unit: Tokens or segments.
        seed: Seed of all examples.
        settings: Everything else that changes an example, by name.
        available: How many examples there are; None where there is no end.
    """

    task: str
    group: str
    length: int
    unit: Unit
    seed: int
    settings: Mapping[str, str]
    available: int | None

    def example(self, number: int) -> Example:
        """Build an example, `number` from 0 and below `available`."""
        ...

    def scores(self, example: Example, answer: str) -> Mapping[str, float]:
        """How good an answer is, by metric, each from 0 to 1."""
        ...


def rng_of(*parts: object) -> Random:
    """A source of random numbers that depends on `parts` alone."""
    return Random("-".join(map(str, parts)))


def document_of(
    rng: Random, story: Story, background: Background, encode: Encode, *, tokens: int, what: str
) -> tuple[NDArray[np.int32], tuple[range, ...]]:
    """A document of exactly `tokens` tokens with a story inline in one window of background: ids and spans.

    Raises:
        DataError: The story is longer than the document; `what` names the example in the message.
    """
    try:
        hidden: Hidden = hide(rng, story, background, encode, Layout(tokens))
    except DoesNotFitError as error:
        raise DataError(f"{what} is too short: {error}; ask for a longer one") from error
    return np.asarray(hidden.ids, dtype=np.int32), hidden.spans


def short_digest(data: bytes) -> str:
    """Eight hexadecimal digits that name data by content."""
    return hashlib.sha256(data).hexdigest()[:8]
