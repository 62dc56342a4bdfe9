"""Planted facts: a fact that is asked for, others around it, and facts that replace it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from rmt_model.data.facts import SEEN_KINDS, Fact, draw_fact, draw_facts
from rmt_model.data.story import BEHIND, WHOLE_MEMORY, Asked, Kept, Split, Story, Wish
from rmt_model.data.words import NO_LEXICON, Lexicon

__all__ = ["PlantedSource", "story_of_facts"]

_FACT_TOKENS = 20
"""Room for one planted fact."""
_MOST_ASKED = 6
_REPLACED_SHARE = 0.15
_TRIES = 50
_ONE_KIND_SHARE = 0.3
_TWO_SHARE = 0.2
"""Share of the documents that two questions are asked about, where memory is all that there is."""


class PlantedSource:
    """Facts of many kinds; names and values of validation are never used in training.

    Args:
        split: Which words are used.
        kinds: Kinds of facts.
        lexicon: Open vocabulary for things.
    """

    def __init__(
        self,
        split: Split,
        kinds: Sequence[str] = SEEN_KINDS,
        lexicon: Lexicon = NO_LEXICON,
    ) -> None:
        self.split: Split = split
        self.kinds = tuple(kinds)
        self.lexicon = lexicon

    def draw(self, rng: Random, wish: Wish) -> Story:
        """Facts in any order, the asked ones among them."""
        focused = wish.mode == "focus"
        room = wish.room_tokens // _FACT_TOKENS
        crowded = focused or not wish.remembered
        questions = 1 if wish.mode != "recall" else max(1, min(wish.questions + 1, _MOST_ASKED, room))
        if not crowded:  # a memory holds few statements
            questions = min(questions, 2) if rng.random() < _TWO_SHARE else 1
        others = min(rng.choice((0, 0, 1, 1, 2, 3, 4) if crowded else (0, 0, 0, 1)), max(0, room - questions))
        kinds = self.kinds if rng.random() > _ONE_KIND_SHARE else (rng.choice(self.kinds),)
        facts = draw_facts(rng, self.split, questions + others, kinds, self.lexicon)
        asked, planted = facts[:questions], list(facts)
        room -= len(facts)
        if focused and room >= 1 and rng.random() < _REPLACED_SHARE:
            later = _replacing(asked[0], lambda: draw_fact(rng, self.split, (asked[0].kind,), self.lexicon))
            planted += [later] if later else []
        rng.shuffle(planted)
        story = story_of_facts(planted, asked)
        earlier = filter(None, (_asked_early(rng, planted, rng.choice(asked)) for _ in range(wish.questions)))
        return replace(story, asked=(*story.asked, *(one for one in earlier if one not in story.asked)))


def story_of_facts(planted: Sequence[Fact], asked: Sequence[Fact]) -> Story:
    """The story of facts in this order; of several that answer a question, the last one holds."""
    return Story(
        statements=tuple(fact.statement for fact in planted),
        asked=tuple(_asked(fact, planted) for fact in asked),
        kept=tuple(Kept(number, BEHIND, _core(fact)) for number, fact in enumerate(planted)),
    )


def _asked(fact: Fact, planted: Sequence[Fact]) -> Asked:
    about = [number for number, other in enumerate(planted) if other.asks_like(fact)]
    kept = tuple(Kept(number, 0, planted[number].answer, WHOLE_MEMORY) for number in about)
    return Asked(fact.question, planted[about[-1]].answer, kept)


def _asked_early(rng: Random, planted: Sequence[Fact], fact: Fact) -> Asked | None:
    """The question of a fact after some statement, where it has an answer there already."""
    after = rng.randrange(len(planted))
    known = [other for other in planted[: after + 1] if other.asks_like(fact)]
    return Asked(fact.question, known[-1].answer, after=after) if known else None


def _core(fact: Fact) -> str:
    """A statement from the first to the last word that matters."""
    parts = [(fact.statement.index(text), len(text)) for text in (fact.key, fact.answer.removeprefix("the "))]
    return fact.statement[min(at for at, _ in parts) : max(at + length for at, length in parts)]


def _replacing(fact: Fact, draw: Callable[[], Fact]) -> Fact | None:
    """A fact about the same thing with another answer, if one of some that are drawn can be made into it."""
    for _ in range(_TRIES):
        other = draw()
        if other.question.replace(other.key, fact.key) == fact.question and other.answer != fact.answer:
            statement = other.statement.replace(other.key, fact.key)
            return replace(fact, statement=statement, answer=other.answer)
    return None
