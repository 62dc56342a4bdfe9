"""Stories in which facts change, told among sentences of books: bAbI's, and the paper's. Answers are their own words.

The form is BABILong's (arXiv 2406.10149): a story's sentences in order, any number of a book's sentences between them.
Read `tracker` for which words answer what, and for how long.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random

from rmt_model.data.babi import BabiQuestion, read_babi_tasks
from rmt_model.data.paper import PaperSource
from rmt_model.data.passages import Passage, SpanQuestion
from rmt_model.data.sentences import sentences_of
from rmt_model.data.story import Split, Wish
from rmt_model.data.tracker import Tracker
from rmt_model.data.words import POOLS

__all__ = ["TASKS", "Prose", "StorySource", "told_in"]

TASKS = (1, 2, 3, 4, 5, 8)
"""bAbI's tasks whose answers are words of the story, of the first ten."""
_MOST_SENTENCES = 60
"""Of a story: some of the third task have hundreds."""
_NO_NOISE_SHARE = 0.25
_OTHER_FORMS_SHARE = 0.25
_UNANSWERED_SHARE = 0.3
_CHANGING_SHARE = 0.5
"""Of passages about which only that is asked whose answer changes most often."""
_LINES_SHARE = 0.2
_LEAST_WORDS = 8
_SENTENCE_CHARS = 400
"""More than most sentences of books have."""
_PEOPLE = ("Mary", "John", "Daniel", "Sandra", "Fred", "Bill", "Jeff", "Julie")
_PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office", "park", "school", "cinema")
_THINGS = ("football", "milk", "apple")
_WORD = re.compile(r"\w+")


class Prose:
    """Sentences of books, in order."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [text for text in texts if len(text) > _SENTENCE_CHARS]

    def sentences(self, rng: Random, count: int) -> list[str]:
        """Some sentences in a row, of 8 words or more; fewer where a book ends, or where there is no book."""
        if not count or not self._texts:
            return []
        text = rng.choice(self._texts)
        start = rng.randrange(len(text))
        _, *whole = sentences_of(text[start : start + _SENTENCE_CHARS * (count + 1)])
        return [one for one in whole[:-1] if len(one.split()) >= _LEAST_WORDS][:count]


class StorySource:
    """Passages without end, a story in each: one of bAbI's in most, else one of the paper's tasks.

    Args:
        questions: bAbI's questions by task, of the split that is wanted.
        prose: What is told between the story's sentences.
        split: Which words stand for people, places and things where these are replaced.
        most_noise: The most sentences of books in a passage.
        paper_share: Share of stories that are the paper's.
        renamed_share: Share of stories in which people, places and things have other names than in bAbI.
    """

    def __init__(
        self,
        questions: Mapping[int, Sequence[BabiQuestion]],
        prose: Prose,
        split: Split = "train",
        *,
        most_noise: int = 40,
        paper_share: float = 0.15,
        renamed_share: float = 0.3,
    ) -> None:
        self._stories = {task: _whole_stories(some) for task, some in questions.items()}
        self._asked = {task: list(dict.fromkeys(one.question for one in some)) for task, some in questions.items()}
        self._prose = prose
        self._split: Split = split
        self._most_noise = most_noise
        self._paper_share = paper_share
        self._renamed_share = renamed_share
        self._paper = PaperSource()

    @classmethod
    def read(
        cls, babi: Path, books: Iterable[str], split: Split = "train", tasks: Sequence[int] = TASKS
    ) -> "StorySource":
        """Read bAbI's training files, of which every tenth story is for validation; `books` are texts of books.

        Raises:
            DataError: A file is missing or malformed.
        """
        return cls(read_babi_tasks(babi, tasks, split), Prose(books), split)

    def draw(self, rng: Random) -> Passage:
        """One story, with what can be asked about it, and at times with something that it does not tell."""
        while True:
            passage = self._of_paper(rng) if rng.random() < self._paper_share else self._of_babi(rng)
            if passage.questions:
                return passage

    def _of_paper(self, rng: Random) -> Passage:
        story = self._paper.draw(rng, Wish("focus", self._most_noise))
        sentences, asked = self._renamed(rng, story.statements, [one.question for one in story.asked])
        text, known = told_in(rng, sentences, self._noise(rng), at_start=story.at_start)
        return Passage("stories", "", text, tuple(one for one in known if one.text in asked))

    def _of_babi(self, rng: Random) -> Passage:
        task = rng.choice(tuple(self._stories))
        whole = rng.choice(self._stories[task])
        count = rng.randint(min(2, len(whole)), min(len(whole), _MOST_SENTENCES))
        start = rng.choice((0, rng.randint(0, len(whole) - count)))
        sentences, asked = self._renamed(rng, whole[start : start + count], self._asked[task])
        text, known = told_in(rng, sentences, self._noise(rng))
        forms = set(asked)
        own = [one for one in known if one.text in forms]
        questions = known if rng.random() < _OTHER_FORMS_SHARE else own
        if rng.random() < _CHANGING_SHARE:
            questions = sorted(questions, key=lambda one: len(one.spans), reverse=True)[: 1 + len(questions) // 3]
        if rng.random() < _UNANSWERED_SHARE:
            told = {one.text for one in known}
            questions = [*questions, *(SpanQuestion(one) for one in rng.sample(asked, 1) if one not in told)]
        return Passage("stories", "", text, tuple(questions))

    def _noise(self, rng: Random) -> list[str]:
        if rng.random() < _NO_NOISE_SHARE or not self._most_noise:
            return []
        return self._prose.sentences(rng, round(math.exp(rng.uniform(0, math.log(self._most_noise)))))

    def _renamed(
        self, rng: Random, sentences: Sequence[str], asked: Sequence[str]
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Sentences and questions, now and then with other people, places and things."""
        if rng.random() >= self._renamed_share:
            return sentences, asked
        names: dict[str, str] = {}
        for words, pool in ((_PEOPLE, "person"), (_PLACES, "place"), (_THINGS, "object")):
            all_words = POOLS[pool].train if self._split == "train" else POOLS[pool].validation
            names |= zip(words, rng.sample(all_words, len(words)), strict=True)
        return [_replaced(one, names) for one in sentences], [_replaced(one, names) for one in asked]


def told_in(
    rng: Random, sentences: Sequence[str], noise: Sequence[str], *, at_start: bool = False
) -> tuple[str, list[SpanQuestion]]:
    """A story's sentences in order at random places among others, and all that can be asked about it.

    Nothing can be asked where a sentence is not understood.
    """
    places = sorted(0 if at_start else rng.randint(0, len(noise)) for _ in sentences)
    blank = "\n" if rng.random() < _LINES_SHARE else " "
    text, tracker, told = "", Tracker(), 0
    for at in range(len(noise) + 1):
        while told < len(sentences) and places[told] == at:
            if not tracker.take(sentences[told], len(text)):
                return text, []
            text += sentences[told] + blank
            told += 1
        if at < len(noise):
            text += noise[at] + blank
    return text.rstrip(), tracker.questions()


def _whole_stories(questions: Iterable[BabiQuestion]) -> list[tuple[str, ...]]:
    """The sentences of each story up to its last question."""
    stories: dict[int, tuple[str, ...]] = {}
    for one in questions:
        stories[one.story] = one.sentences
    return list(stories.values())


def _replaced(sentence: str, names: Mapping[str, str]) -> str:
    return _WORD.sub(lambda match: names.get(match[0], match[0]), sentence)
