"""Tracing: which segment of a document an answer came from, found by searching memories along the document.

The search asks all memories that were kept along the text, and looks from the end backwards for those that have the
answer where the one before has not: it came with the segments between the two. Those are read once more from the memory
before them, with more memories kept, until one segment is left. Whether a memory knows an answer need not be monotone
along a document, so what was found is verified: the segment read alone, by an empty memory, has to give the answer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from rmt_model.answering import Answer, Question, bare
from rmt_model.lane_engine import LaneEngine
from rmt_model.state import ReaderState
from rmt_model.tokenizer import TokenizerState

__all__ = ["KEPT_ALONG", "Probe", "Prober", "Trace", "lane_alone", "memory_only", "trace"]

KEPT_ALONG = 32
"""How many memories are kept while an interval is read once more."""
_ASKED_AT_ONCE = 32
_EXCERPT_CHARS = 400
_SENTENCE = re.compile(r"(?:[^.!?。！？…\n]|[.!?](?![\s\"')\]]|$))*[.!?。！？…\n]?[\"')\]”」』]*\s*")
_WORD = re.compile(r"\w+")
_ARTICLES = frozenset({"a", "an", "the"})


class Prober(Protocol):
    """What a search needs; whoever runs it shares the engine with others."""

    async def ask(self, states: Sequence[ReaderState], question: Question) -> list[Answer]:
        """The answers of some states, of one lane each."""
        ...

    async def read_on(self, state: ReaderState, segments: int, keep: int) -> list[ReaderState]:
        """Read on from a state until that many segments are read; up to `keep` states on the way, the last one last."""
        ...

    async def text(self, start: int, stop: int) -> bytes:
        """Bytes of the document."""
        ...


@dataclass(frozen=True, slots=True)
class Probe:
    """A memory that was asked: how many segments it had read, and what it answered."""

    segment: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Trace:
    """Where an answer came from.

    Attributes:
        answer: What was traced.
        segment: Number of the segment, from 0; None where no memory that was asked has that answer and the one before
            has not.
        start: Its first byte, give or take a character.
        stop: The byte behind it.
        excerpt: What of its text is closest to question and answer.
        verified: Whether the memory before did not have the answer, and the segment read alone gives it.
        probes: Every memory that was asked, in order.
    """

    answer: str
    segment: int | None
    start: int
    stop: int
    excerpt: str
    verified: bool
    probes: Sequence[Probe]


async def trace(
    engine: LaneEngine,
    prober: Prober,
    points: Sequence[ReaderState],
    question: Question,
    answer: str | None = None,
    *,
    document_ends: Sequence[int] = (),
) -> Trace:
    """Find the segment that an answer came from.

    Args:
        engine: Knows tokens and an empty memory; nothing is read or asked with it here.
        prober: Asks and reads.
        points: States of one lane along the text, in order: the first has read nothing, the last all.
        question: What is asked.
        answer: What to trace; None traces what the last point answers.
        document_ends: See `rmt_model.reader.text_end`.
    """
    last = points[-1]
    (now,) = await prober.ask([last], question)
    traced = answer if answer is not None else now.generation.text
    search = _Search(engine, prober, question, traced, document_ends)
    if not bare(traced):
        return search.without_a_place()
    if search.is_wanted(now) and not (await search.has([last]))[0]:
        return await search.in_the_tail(last)
    tried: list[tuple[ReaderState, ReaderState]] = []
    for before, after in await search.beginnings(points):
        step = await search.narrowed(before, after)
        if step is None:
            continue
        tried.append(step)
        if await search.alone(*step):
            return await search.found(*step, verified=True)
    return await search.found(*tried[0], verified=False) if tried else search.without_a_place()


def lane_alone(state: ReaderState, lane: int) -> ReaderState:
    """The same state with one of its lanes only."""
    focus = state.focus[lane : lane + 1] if state.focus else ()
    return replace(state, focus=focus, memory=state.memory[lane : lane + 1])


def memory_only(state: ReaderState) -> ReaderState:
    """The same memory, without the text that waits to be read into it: what it says, it knows."""
    return replace(state, pending=(), tokenizer=TokenizerState(bytes_fed=state.tokenizer.bytes_fed))


class _Search:
    """Asks memories, each once, and remembers what they said."""

    def __init__(
        self, engine: LaneEngine, prober: Prober, question: Question, traced: str, document_ends: Sequence[int]
    ) -> None:
        self._engine = engine
        self._prober = prober
        self._question = question
        self._traced = traced
        self._document_ends = document_ends
        self._known: dict[int, Answer] = {}

    async def has(self, states: Sequence[ReaderState]) -> list[bool]:
        """Which of these memories have the answer."""
        new = [state for state in states if state.segments_read not in self._known]
        for start in range(0, len(new), _ASKED_AT_ONCE):
            some = new[start : start + _ASKED_AT_ONCE]
            answers = await self._prober.ask([memory_only(state) for state in some], self._question)
            self._known |= {state.segments_read: one for state, one in zip(some, answers, strict=True)}
        return [self.is_wanted(self._known[state.segments_read]) for state in states]

    def is_wanted(self, answer: Answer) -> bool:
        """Whether it is what is traced, but for case, an article and a final stop."""
        return bare(answer.generation.text) == bare(self._traced)

    async def beginnings(self, states: Sequence[ReaderState]) -> list[tuple[ReaderState, ReaderState]]:
        """Neighbours of which the later one has the answer and the earlier has not, the last pair first."""
        known = await self.has(states)
        pairs = zip(pairwise(states), pairwise(known), strict=True)
        return [step for step, (before, after) in pairs if after and not before][::-1]

    async def narrowed(self, before: ReaderState, after: ReaderState) -> tuple[ReaderState, ReaderState] | None:
        """Read the segments between two states once more until one is left; None if the answer did not come again."""
        while after.segments_read - before.segments_read > 1:
            kept = await self._prober.read_on(before, after.segments_read, KEPT_ALONG)
            found = await self.beginnings([before, *kept])
            if not found:
                return None
            before, after = found[0]
        return before, after

    async def alone(self, before: ReaderState, after: ReaderState) -> bool:
        """Whether an empty memory has the answer when it reads nothing but the segment between two states."""
        (read,) = await self._prober.read_on(self._emptied(before), after.segments_read, 1)
        (answer,) = await self._prober.ask([memory_only(read)], self._question)
        return self.is_wanted(answer)

    async def found(self, before: ReaderState, after: ReaderState, *, verified: bool) -> Trace:
        """The answer came with the segment between two states."""
        return await self._cut_out(before.segments_read, self._end(before), self._end(after), verified=verified)

    async def in_the_tail(self, last: ReaderState) -> Trace:
        """The answer is in the text that fills no segment yet; verified if that gives it to an empty memory, too."""
        (alone,) = await self._prober.ask([self._emptied(last)], self._question)
        verified = self.is_wanted(alone)
        return await self._cut_out(last.segments_read, self._end(last), last.bytes_read, verified=verified)

    def without_a_place(self) -> Trace:
        """No memory that was asked begins to have the answer."""
        return Trace(self._traced, None, 0, 0, "", verified=False, probes=self._probes)

    async def _cut_out(self, segment: int, start: int, stop: int, *, verified: bool) -> Trace:
        text = (await self._prober.text(start, stop)).decode(errors="ignore")
        excerpt = _excerpt(text, self._question.text, self._traced)
        return Trace(self._traced, segment, start, stop, excerpt, verified, self._probes)

    def _emptied(self, state: ReaderState) -> ReaderState:
        return replace(state, memory=self._engine.fresh_state(state.focus).memory)

    def _end(self, state: ReaderState) -> int:
        return self._engine.text_end(state, self._document_ends)

    @property
    def _probes(self) -> list[Probe]:
        return [Probe(segment, self._known[segment]) for segment in sorted(self._known)]


def _excerpt(text: str, question: str, answer: str) -> str:
    """The sentence that has most words of question and answer, with its neighbours as far as they fit."""
    sentences = [found[0] for found in _SENTENCE.finditer(text) if found[0].strip()]
    if not sentences:
        return ""
    asked, said, wanted = _words(question), _words(answer), bare(answer)
    scores = [
        (wanted in sentence.casefold(), len(asked & words) + 2 * len(said & words))
        for sentence, words in zip(sentences, map(_words, sentences), strict=True)
    ]
    first = last = best = scores.index(max(scores))
    size = len(sentences[best])
    if size > _EXCERPT_CHARS:
        return _around(sentences[best], wanted)
    before = after = 0
    while True:
        room = _EXCERPT_CHARS - size
        grows_before = first > 0 and len(sentences[first - 1]) <= room
        grows_after = last + 1 < len(sentences) and len(sentences[last + 1]) <= room
        if not (grows_before or grows_after):
            return "".join(sentences[first : last + 1]).strip()[:_EXCERPT_CHARS]
        if grows_before and (before <= after or not grows_after):
            first -= 1
            before += len(sentences[first])
        else:
            last += 1
            after += len(sentences[last])
        size = before + after + len(sentences[best])


def _around(sentence: str, wanted: str) -> str:
    """Of a sentence that is too long, the part that has the answer in its middle; else its beginning."""
    at = max(0, sentence.casefold().find(wanted))
    start = max(0, min(at + len(wanted) // 2 - _EXCERPT_CHARS // 2, len(sentence) - _EXCERPT_CHARS))
    return sentence[start : start + _EXCERPT_CHARS].strip()


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold())) - _ARTICLES
