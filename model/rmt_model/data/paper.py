"""The paper's three memory tasks: one fact at the start, one anywhere, two anywhere (arXiv 2304.11062, section 5).

Texts are those of bAbI: six places, four people, five ways to go; for reasoning two statements on where places lie,
which both speak of the place that is asked about.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Literal

from rmt_model.data.forms import asked_along, kept_for_any_question, kept_for_focus
from rmt_model.data.story import Asked, Story, Wish
from rmt_model.data.world import OPPOSITE

__all__ = ["PAPER_TASKS", "PLACES", "PaperSource", "PaperTask"]

PaperTask = Literal["memorize", "detect", "reasoning"]
PAPER_TASKS: tuple[PaperTask, ...] = ("memorize", "detect", "reasoning")
PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
"""The six answers."""
_PEOPLE = ("Mary", "John", "Daniel", "Sandra")
_WAYS = ("moved", "went", "went back", "journeyed", "travelled")


class PaperSource:
    """Stories of the paper's tasks, all equally often."""

    def __init__(self, tasks: Sequence[PaperTask] = PAPER_TASKS) -> None:
        self.tasks = tuple(tasks)

    def draw(self, rng: Random, wish: Wish) -> Story:
        """One story of one or two sentences, which fit anywhere."""
        task = rng.choice(self.tasks)
        story = _reasoning(rng) if task == "reasoning" else _one_fact(rng, at_start=task == "memorize")
        asked, only = story.asked[0], wish.mode != "recall"
        more = asked_along(rng, story.statements, asked.question, wish.questions, only=only)
        return replace(story, asked=(asked, *more))


def _one_fact(rng: Random, *, at_start: bool) -> Story:
    """Somebody goes somewhere."""
    person, place = rng.choice(_PEOPLE), rng.choice(PLACES)
    return _story((f"{person} {rng.choice(_WAYS)} to the {place}.",), f"Where is {person}?", place, at_start=at_start)


def _reasoning(rng: Random) -> Story:
    """Two statements about one place, and a question that only one of them answers, as in bAbI's fourth task."""
    middle, one, other = rng.sample(PLACES, 3)
    way, other_way = rng.sample(tuple(OPPOSITE), 2)
    statements = [_lies(rng, one, way, middle), _lies(rng, other, other_way, middle)]
    rng.shuffle(statements)
    question = rng.choice((f"What is {way} of the {middle}?", f"What is the {middle} {OPPOSITE[way]} of?"))
    return _story(tuple(statements), question, one)


def _lies(rng: Random, place: str, way: str, other: str) -> str:
    return rng.choice((f"The {place} is {way} of the {other}.", f"The {other} is {OPPOSITE[way]} of the {place}."))


def _story(statements: tuple[str, ...], question: str, answer: str, *, at_start: bool = False) -> Story:
    asked = Asked(question, answer, kept_for_focus(statements, question))
    return Story(statements, (asked,), kept_for_any_question(statements), at_start=at_start)
