"""Batches for a span reader: questions, the segments that each lane reads, and where the answers stand in them.

A sample is a stretch of a passage of about `segments * segment_tokens` tokens, with the answer anywhere in it or not at
all, cut into segments. What a batch holds depends on its random state alone.

A sample is asked all along: at each segment as if the text ended there. Where facts change, those places of the segment
are right that still are at its end, to a reader who began with the sample (`rmt_model.data.passages.Holds`).

A question may be put to several stretches side by side, of which one at most answers it, as search puts it to passages.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from rmt_model.data.passages import Passage, PassageSource, SpanQuestion

__all__ = ["MOST_QUESTION_TOKENS", "CorpusSource", "SpanBatch", "SpanBatchBuilder", "WeightedSource"]

MOST_QUESTION_TOKENS = 48
_PAD_MULTIPLE = 8
_TRIES = 20
_LEAST_TOKENS = 12
_HARD_AMONG = 4
_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?\n][\"'”’)\]]*$")


@dataclass(frozen=True, slots=True)
class WeightedSource:
    """A source of passages, and how it is drawn from.

    Attributes:
        name: What its loss is reported under.
        source: The passages.
        weight: How often, compared with the others.
        negatives: Share of questions that are put to a stretch without their answer.
    """

    name: str
    source: PassageSource
    weight: float
    negatives: float


class CorpusSource:
    """Passages of a data set, drawn by their number of questions."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._weights = [len(one.questions) for one in passages]

    def draw(self, rng: Random) -> Passage:
        """One passage."""
        return rng.choices(self._passages, self._weights)[0]


@dataclass(frozen=True, slots=True)
class SpanBatch:
    """Lanes side by side.

    Attributes:
        question: Token ids, padded, [lanes, Q].
        segments: Token ids of each segment, padded, [segments][lanes, S].
        starts: Where an answer begins, bool [segments][lanes, 1 + S]; the first column: no answer in this segment.
        ends: Where it ends, its last token, likewise.
        sources: Number of each lane's source.
        windows: How many lanes one after another have the same question, of which the first alone may have its answer.
    """

    question: Tensor
    segments: tuple[Tensor, ...]
    starts: tuple[Tensor, ...]
    ends: tuple[Tensor, ...]
    sources: tuple[int, ...]
    windows: int = 1


@dataclass(frozen=True, slots=True)
class _Tokens:
    """A passage's tokens and where each stands: ids [n], starts [n], ends [n]."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Sample:
    question: list[int]
    segments: list[list[int]]
    spans: list[list[tuple[int, int]]]
    source: int


class SpanBatchBuilder:
    """Draws samples from sources and lays them side by side.

    Args:
        tokenizer: The encoder's.
        sources: Where passages come from.
    """

    def __init__(self, tokenizer: Tokenizer, sources: Sequence[WeightedSource]) -> None:
        self.sources = tuple(sources)
        self._tokenizer = tokenizer
        self._cached = lru_cache(maxsize=4096)(self._tokenize)

    def batch(self, rng: Random, *, lanes: int, segments: int, segment_tokens: int, windows: int = 1) -> SpanBatch:
        """A batch of so many lanes, of so many segments each of at most so many tokens.

        Args:
            rng: What everything depends on.
            lanes: A multiple of `windows`.
            segments: Segments of a lane.
            segment_tokens: Most tokens of a segment.
            windows: How many lanes are put the same question.
        """
        samples = [
            one for _ in range(lanes // windows) for one in self._samples(rng, segments, segment_tokens, windows)
        ]
        questions = _padded([one.question for one in samples])
        tokens, starts, ends = [], [], []
        for number in range(segments):
            rows = _padded([one.segments[number] for one in samples])
            start, end = (torch.zeros(len(samples), 1 + rows.shape[1], dtype=torch.bool) for _ in range(2))
            for lane, sample in enumerate(samples):
                for first, last in sample.spans[number] or [(-1, -1)]:
                    start[lane, 1 + first] = end[lane, 1 + last] = True
            tokens.append(rows)
            starts.append(start)
            ends.append(end)
        sources = tuple(one.source for one in samples)
        return SpanBatch(questions, tuple(tokens), tuple(starts), tuple(ends), sources, windows)

    def _samples(self, rng: Random, segments: int, segment_tokens: int, windows: int) -> list[_Sample]:
        """A question, put to a stretch that may answer it, and to others that do not."""
        size = segments, segment_tokens
        while True:
            (number,) = rng.choices(range(len(self.sources)), [one.weight for one in self.sources])
            weighted = self.sources[number]
            passage = weighted.source.draw(rng)
            question = rng.choice(passage.questions)
            if not question.spans and question.answers:
                continue  # its answer stands nowhere in these words: neither an example nor a counterexample
            if question.holds and windows > 1:
                continue  # where facts change, other stretches of the story have answers of their own
            asked = self._tokenizer.encode(_varied(rng, question.text), add_special_tokens=False).ids
            asked = asked[:MOST_QUESTION_TOKENS]
            answered = bool(question.spans) and rng.random() >= weighted.negatives
            first = self._sample(rng, number, passage, question, asked, answered, size) if asked else None
            if first is not None:
                return [first, *(self._rival(rng, number, passage, question, asked, size) for _ in range(1, windows))]

    def _rival(
        self,
        rng: Random,
        number: int,
        passage: Passage,
        question: SpanQuestion,
        asked: list[int],
        size: tuple[int, int],
    ) -> _Sample:
        """A stretch without the answer: of the same passage, or of another one where that has no room for it."""
        rival = self._sample(rng, number, passage, question, asked, False, size)
        elsewhere = SpanQuestion(question.text, answers=tuple(passage.answers(question)))
        while rival is None:
            other = self.sources[number].source.draw(rng)
            rival = self._sample(rng, number, other, elsewhere, asked, False, size)
        return rival

    def _sample(
        self,
        rng: Random,
        number: int,
        passage: Passage,
        question: SpanQuestion,
        asked: list[int],
        answered: bool,
        size: tuple[int, int],
    ) -> _Sample | None:
        """A question and a stretch of a passage, in segments; None where there is no such stretch."""
        segments, segment_tokens = size
        tokens = self._tokens(passage)
        most = segments * segment_tokens
        stretch = (
            _around_answer(rng, passage, tokens, question, most)
            if answered
            else _without_answer(rng, passage, tokens, question, most)
        )
        if stretch is None or (question.holds and stretch[1] - stretch[0] < _LEAST_TOKENS * segments):
            return None  # a story of few words is not cut into crumbs
        cuts = _cuts(passage.text, tokens, stretch, segments, segment_tokens)
        spans = _right_spans(tokens, question, cuts)
        if answered and not any(spans):
            return None  # each answer stands in a segment before the one from which it follows
        pieces = [tokens.ids[start:end].tolist() for start, end in pairwise(cuts)]
        return _Sample(asked, pieces, spans, number)

    def _tokens(self, passage: Passage) -> _Tokens:
        return self._cached(passage.text) if passage.name else self._tokenize(passage.text)

    def _tokenize(self, text: str) -> _Tokens:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        return _Tokens(np.array(encoding.ids, dtype=np.int32), offsets[:, 0], offsets[:, 1])


def _around_answer(
    rng: Random, passage: Passage, tokens: _Tokens, question: SpanQuestion, size: int
) -> tuple[int, int] | None:
    """A stretch of at most `size` tokens, with one of the answers, and what it follows from, at any place of it."""
    number = rng.randrange(len(question.spans))
    start_char, end_char = question.spans[number]
    if question.holds:
        held = question.holds[number]
        start_char, end_char = min(start_char, held.first), max(end_char, held.since)
    first, last = _token_span(tokens, start_char, end_char)
    if last - first >= size or last < first:
        return None
    size = min(size, max(last - first + 1, round(size * rng.uniform(0.5, 1.0))))
    earliest, latest = max(0, last + 1 - size), max(0, min(first, len(tokens.ids) - size))
    start = rng.randint(min(earliest, latest), latest)
    if rng.random() < 0.7:
        start = _sentence_start(passage.text, tokens, start, first)
    return start, min(len(tokens.ids), max(start + size, last + 1))


def _without_answer(
    rng: Random, passage: Passage, tokens: _Tokens, question: SpanQuestion, size: int
) -> tuple[int, int] | None:
    """A stretch that holds no answer, one of those that share most words with the question.

    Where facts change it is any stretch: it may begin too late to know the answer, or before that changes.
    """
    wanted = set(_WORD.findall(question.text.lower()))
    answers = [answer.lower() for answer in passage.answers(question) if len(answer) > 1]
    size = round(size * rng.uniform(0.5, 1.0))
    count = len(tokens.ids)
    if question.holds and count:
        start = rng.randint(0, max(0, count - min(size, 24)))
        return start, min(count, start + size)
    if question.spans and count <= size:
        return _shorter_side(rng, tokens, question)
    found: list[tuple[float, int, int]] = []
    for _ in range(_TRIES if question.spans else 1):
        start = rng.randint(0, max(0, count - size))
        end = min(count, start + size)
        text = passage.text[tokens.starts[start] : tokens.ends[end - 1]].lower() if end > start else ""
        if text and not any(answer in text for answer in answers):
            found.append((len(wanted & set(_WORD.findall(text))) + rng.random(), start, end))
    if not found:
        return None
    _, start, end = rng.choice(sorted(found, reverse=True)[:_HARD_AMONG])
    return start, end


def _shorter_side(rng: Random, tokens: _Tokens, question: SpanQuestion) -> tuple[int, int] | None:
    """What stands before all answers, or behind them, of a passage that fits into a sample whole."""
    places = [_token_span(tokens, *span) for span in question.spans]
    sides = [(0, min(a for a, _ in places)), (max(b for _, b in places) + 1, len(tokens.ids))]
    long_enough = [(a, b) for a, b in sides if b - a >= 24]
    return rng.choice(long_enough) if long_enough else None


def _right_spans(tokens: _Tokens, question: SpanQuestion, cuts: Sequence[int]) -> list[list[tuple[int, int]]]:
    """The answers in each segment that are right at its end, as its tokens: first and last."""
    places = [_token_span(tokens, *span) for span in question.spans]
    right: list[list[tuple[int, int]]] = []
    for start, end in pairwise(cuts):
        here = [start <= first and last < end for first, last in places]
        if question.holds and any(here):
            read = int(tokens.starts[cuts[0]]), int(tokens.ends[end - 1])
            here = [one and held.at(*read) for one, held in zip(here, question.holds, strict=True)]
        right.append([(first - start, last - start) for (first, last), one in zip(places, here, strict=True) if one])
    return right


def _cuts(text: str, tokens: _Tokens, stretch: tuple[int, int], segments: int, segment_tokens: int) -> list[int]:
    """Where a stretch of tokens is cut into so many segments: at ends of sentences, if there are some near.

    The segments are about equal, and none is longer than `segment_tokens`: what is behind a cut fits into the rest.
    """
    first, last = stretch
    size = -(-(last - first) // segments)
    cuts, at = [first], first
    for behind in reversed(range(segments)):
        least = max(at, last - behind * segment_tokens)
        most = max(least, min(at + size, last - behind * size))
        at = max(least, _sentence_end(text, tokens, at, most)) if behind else last
        cuts.append(at)
    return cuts


def _token_span(tokens: _Tokens, start: int, end: int) -> tuple[int, int]:
    """The first and the last token of a stretch of characters."""
    first = int(np.searchsorted(tokens.ends, start, side="right"))
    last = int(np.searchsorted(tokens.starts, end, side="left")) - 1
    return first, last


def _sentence_start(text: str, tokens: _Tokens, start: int, before: int) -> int:
    """The first token of the next sentence behind `start`, at most `before`; `start` where there is none."""
    for token in range(start, min(before, start + 40) + 1):
        if token == 0 or _SENTENCE_END.search(
            text[max(0, tokens.starts[token] - 4) : tokens.starts[token]].rstrip(" ")
        ):
            return token
    return start


def _sentence_end(text: str, tokens: _Tokens, start: int, end: int) -> int:
    """The last token border up to `end` where a sentence ends, in the last third; `end` where there is none."""
    for token in range(end, start + 2 * (end - start) // 3, -1):
        if token < len(tokens.starts) and _SENTENCE_END.search(
            text[max(0, tokens.starts[token] - 4) : tokens.starts[token]].rstrip(" ")
        ):
            return token
    return end


def _varied(rng: Random, question: str) -> str:
    """A question as people type it: now and then without its mark, or with a typo."""
    if rng.random() < 0.25:
        question = question.rstrip("?.! ")
    if rng.random() < 0.08 and len(question) > 12:
        at = rng.randrange(2, len(question) - 2)
        swapped = question[:at] + question[at + 1] + question[at] + question[at + 2 :]
        question = rng.choice((swapped, question[:at] + question[at + 1 :]))
    return question


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of token ids, padded behind with 0 to a multiple of 8: [rows, longest]."""
    longest = max(1, max(map(len, rows)))
    padded = np.zeros((len(rows), -(-longest // _PAD_MULTIPLE) * _PAD_MULTIPLE), np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return torch.from_numpy(padded)
