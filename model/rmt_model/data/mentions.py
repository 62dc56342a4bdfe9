"""Sentences that mention what a question is about without answering it: a memory has to let them pass."""

from dataclasses import replace
from random import Random

from tokenizers import Tokenizer

from rmt_model.data.background import Background
from rmt_model.data.story import Asked, Kept, Source, Story, Wish

__all__ = ["WithMentions"]

_SHARE = 0.4
"""Share of the stories that get such a sentence."""
_MOST_TOKENS = 40
_TOKENS_PER_CHAR = 0.3
_ASKING = {"where", "what", "which", "that", "does", "before", "many", "much", "with"}


class WithMentions:
    """A source whose scattered stories often hold a sentence of the background with a word of the question or answer.

    Args:
        source: Where the stories are from.
        background: Where the sentences are from.
        tokenizer: The background's.
    """

    def __init__(self, source: Source, background: Background, tokenizer: Tokenizer) -> None:
        self.source = source
        self.background = background
        self.tokenizer = tokenizer

    def draw(self, rng: Random, wish: Wish) -> Story:
        """One story, with such a sentence if one is soon found and there is room for it."""
        story = self.source.draw(rng, wish)
        taken = _TOKENS_PER_CHAR * sum(map(len, story.statements))
        roomy = story.scattered and not story.at_start and taken + _MOST_TOKENS <= wish.room_tokens
        if not roomy or rng.random() > _SHARE:
            return story
        sentence = self._sentence(rng, rng.choice(story.asked))
        return _inserted(story, sentence, rng.randint(0, len(story.statements))) if sentence else story

    def _sentence(self, rng: Random, asked: Asked) -> str | None:
        words = [word.strip(".,?'") for word in f"{asked.question} {asked.answer}".split()]
        telling = [word for word in words if len(word) > 3 and word.lower() not in _ASKING]
        if not telling:
            return None
        word = self.tokenizer.encode(" " + rng.choice(telling), add_special_tokens=False).ids
        ids = self.background.mention(rng, word, _MOST_TOKENS)
        return self.tokenizer.decode(ids).strip() if ids else None


def _inserted(story: Story, sentence: str, at: int) -> Story:
    """The story with one more statement, of which nothing is kept."""

    def moved(kept: tuple[Kept, ...] | None) -> tuple[Kept, ...] | None:
        return kept and tuple(replace(each, after=each.after + (each.after >= at)) for each in kept)

    asked = tuple(
        replace(each, kept=moved(each.kept), after=None if each.after is None else each.after + (each.after >= at))
        for each in story.asked
    )
    statements = (*story.statements[:at], sentence, *story.statements[at:])
    return replace(story, statements=statements, asked=asked, kept=moved(story.kept))
