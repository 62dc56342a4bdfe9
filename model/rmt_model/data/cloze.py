"""Questions out of any text: a sentence with a recurring name, number or phrase masked, to be found elsewhere.

Two places of a text that say the same words in a row make an exercise: the sentence around one of them, the words
masked, is the question; the other places are the answers. Source: Ram et al., "Few-Shot Question Answering by
Pretraining Span Selection", arXiv 2101.00438 (recurring span selection). Half of the questions keep the masked
sentence. The others are bent towards a question: the mask becomes who, when or what, and the sentence ends with a
question mark.
"""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from rmt_model.data.passages import Passage, SpanQuestion

__all__ = ["BLANK", "ClozeSource"]

BLANK = "[MASK]"
_CHARS = (700, 1900)
_QUESTIONS = (1, 4)
_TRIES = 12
_TOKEN = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+[\"'”’)]*|\n|$)")
_MOST_WORDS = 6
_MOST_QUESTION_CHARS = 260
_LEAST_QUESTION_WORDS = 5
_STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "above",
        "after",
        "again",
        "all",
        "am",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "before",
        "being",
        "below",
        "between",
        "both",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "doing",
        "down",
        "during",
        "each",
        "few",
        "for",
        "from",
        "further",
        "had",
        "has",
        "have",
        "having",
        "he",
        "her",
        "here",
        "hers",
        "herself",
        "him",
        "himself",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "itself",
        "just",
        "me",
        "more",
        "most",
        "my",
        "myself",
        "no",
        "nor",
        "not",
        "now",
        "of",
        "off",
        "on",
        "once",
        "only",
        "or",
        "other",
        "our",
        "ours",
        "out",
        "over",
        "own",
        "same",
        "shall",
        "she",
        "should",
        "so",
        "some",
        "such",
        "than",
        "that",
        "the",
        "their",
        "theirs",
        "them",
        "themselves",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "through",
        "to",
        "too",
        "under",
        "until",
        "up",
        "upon",
        "very",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
        "yours",
        "yourself",
        "said",
        "one",
        "s",
        "t",
        "don",
        "mr",
        "mrs",
        "miss",
    ]
)
_PEOPLE = frozenset(
    [
        "said",
        "asked",
        "cried",
        "replied",
        "answered",
        "thought",
        "looked",
        "went",
        "came",
        "told",
        "he",
        "she",
        "his",
        "her",
    ]
)


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    start: int
    end: int


class ClozeSource:
    """Cloze exercises over some texts, without end.

    Args:
        texts: Long texts; a passage is a stretch of one of them.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text for text in texts if len(text) > 2 * _CHARS[1]]
        self._weights = [len(text) for text in self._texts]

    def draw(self, rng: Random) -> Passage:
        """One stretch of text with one to four exercises.

        The masked sentence is taken out of the passage, so that the question is not a copy of what stands beside its
        answer.
        """
        while True:
            (text,) = rng.choices(self._texts, self._weights)
            stretch = _stretch(rng, text)
            passage = _exercise(rng, stretch)
            if passage is not None:
                return passage


def _stretch(rng: Random, text: str) -> str:
    start = rng.randrange(len(text) - _CHARS[1])
    stretch = text[start : start + rng.randint(*_CHARS)]
    first, last = stretch.find(" "), stretch.rfind(" ")
    # Books break lines at a width; half of the time lines are joined, as most other texts have them.
    whole = stretch[first + 1 : last]
    return re.sub(r"(?<!\n)\n(?!\n)", " ", whole) if rng.random() < 0.7 else whole


def _exercise(rng: Random, text: str) -> Passage | None:
    """A sentence of a text as question, and the text without it as passage."""
    words = [_Word(m[0].lower(), m.start(), m.end()) for m in _TOKEN.finditer(text)]
    recurring = _recurring(words)
    if not recurring:
        return None
    for _ in range(_TRIES):
        phrase = rng.choices(recurring, [_weight(text, words, one) for one in recurring])[0]
        length, places = phrase
        at = rng.choice(places)
        found = _question(rng, text, words[at].start, words[at + length - 1].end)
        if found is None:
            continue
        question, first, last = found
        spans = [(words[one].start, words[one + length - 1].end) for one in places]
        kept = [_without((start, end), first, last) for start, end in spans if end <= first or start >= last]
        if kept:
            rest = text[:first] + text[last:]
            return Passage("cloze", "", rest, (SpanQuestion(question, tuple(kept)),))
    return None


def _recurring(words: Sequence[_Word]) -> list[tuple[int, list[int]]]:
    """Stretches of words that come up more than once: how many words, and where each begins; longest ones only."""
    found: list[tuple[int, list[int]]] = []
    taken: set[int] = set()
    for length in range(_MOST_WORDS, 0, -1):
        places: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for at in range(len(words) - length + 1):
            key = tuple(word.text for word in words[at : at + length])
            if _is_phrase(key):
                places[key].append(at)
        for several in places.values():
            fresh = [at for at in several if at not in taken]
            if len(several) > 1 and fresh and several[1] - several[0] >= length:
                found.append((length, several))
                taken.update(at + step for at in several for step in range(length))
    return found


def _is_phrase(key: tuple[str, ...]) -> bool:
    """Whether words in a row say something: none is punctuation, both ends carry meaning."""
    return (
        all(word[0].isalnum() for word in key)
        and key[0] not in _STOP_WORDS
        and key[-1] not in _STOP_WORDS
        and (len(key) > 1 or len(key[0]) > 2 or key[0].isdigit())
    )


def _weight(text: str, words: Sequence[_Word], phrase: tuple[int, list[int]]) -> float:
    """Names, numbers and phrases of several words weigh more: that is what people ask for."""
    length, places = phrase
    first = text[words[places[0]].start : words[places[0] + length - 1].end]
    named = sum(text[words[at].start].isupper() for at in places) == len(places)
    kind = 4.0 if named else 3.0 if any(letter.isdigit() for letter in first) else 0.2
    return kind * (1 + 0.8 * (length - 1)) / math.sqrt(len(places))


def _question(rng: Random, text: str, start: int, end: int) -> tuple[str, int, int] | None:
    """The sentence around a place, masked, and where it stands; None where it is too long or too short."""
    for sentence in _SENTENCE.finditer(text):
        if sentence.start() <= start and end <= sentence.end():
            break
    else:
        return None
    before, after = text[sentence.start() : start], text[end : sentence.end()]
    said = [word for word in _TOKEN.findall(before + after) if word[0].isalnum()]
    if len(before + after) > _MOST_QUESTION_CHARS or len(said) < _LEAST_QUESTION_WORDS:
        return None
    if sum(word.lower() not in _STOP_WORDS for word in said) < 3:
        return None
    mask = BLANK if rng.random() < 0.5 else _question_word(text[start:end], after)
    question = " ".join(f"{before}{mask}{after}".split())
    if mask != BLANK:
        question = question.rstrip(".!?\"'”’ ") + rng.choice(("?", "?", ""))
    return question, sentence.start(), sentence.end()


def _question_word(answer: str, after: str) -> str:
    if any(letter.isdigit() for letter in answer):
        return "when" if len(answer) == 4 and answer.isdigit() else "how many"
    following = after.split(maxsplit=1)[0].lower() if after.split() else ""
    return "who" if answer[0].isupper() and following in _PEOPLE else "what"


def _without(span: tuple[int, int], first: int, last: int) -> tuple[int, int]:
    """Where a span stands once [first, last) is taken out before or behind it."""
    return span if span[1] <= first else (span[0] - last + first, span[1] - last + first)
