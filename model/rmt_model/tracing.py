"""Tracing: which segment of a document an answer came from, found by searching memories along the document.

The search asks memories that were kept along the text, from the end backwards: where the answer is there in all of them
from some point on, it came with the segments before that point. Those are read once more from the memory before them,
with more memories kept, until one segment is left. Whether a memory knows an answer need not be monotone along a
document, so what was found is verified: the segment read alone, by an empty memory, has to give the answer, too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rmt_model.answering import Answer, Question, bare
from rmt_model.engine import Engine
from rmt_model.state import ReaderState
from rmt_model.tokenizer import TokenizerState

__all__ = ["KEPT_ALONG", "Probe", "Prober", "Trace", "lane_alone", "memory_only", "text_end", "trace"]

KEPT_ALONG = 32
"""How many memories are kept while an interval is read once more."""
_PROBED_AT_ONCE = 12
_EXCERPT_CHARS = 400
_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?\n]?[\"')\]]*\s*")
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
        segment: Number of the segment, from 0; None where no memory along the text has that answer.
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
    engine: Engine, prober: Prober, points: Sequence[ReaderState], question: Question, answer: str | None = None
) -> Trace:
    """Find the segment that an answer came from.

    Args:
        engine: Knows tokens and segments; it is not run here.
        prober: Asks and reads.
        points: States of one lane along the document, in order: the first has read nothing, the last all.
        question: What is asked.
        answer: What to trace; None traces what the last point answers.
    """
    last = points[-1]
    (now,) = await prober.ask([last], question)
    traced = answer if answer is not None else now.generation.text
    search = _Search(prober, question, traced)
    if search.is_wanted(now) and not (await search.has([last]))[0]:
        return await _in_the_tail(engine, prober, search, last)
    tried: list[tuple[ReaderState, ReaderState]] = []
    for before, after in await search.transitions(points):
        step = await search.narrowed(before, after)
        if step is None:
            continue
        tried.append(step)
        if await search.alone(engine, *step):
            return await _found(engine, prober, search, step, verified=True)
    if tried:
        return await _found(engine, prober, search, tried[0], verified=False)
    return Trace(traced, None, 0, 0, "", verified=False, probes=search.probes)


def lane_alone(state: ReaderState, lane: int) -> ReaderState:
    """The same state with one of its lanes only."""
    focus = state.focus[lane : lane + 1] if state.focus else ()
    return replace(state, focus=focus, memory=state.memory[lane : lane + 1])


def memory_only(state: ReaderState) -> ReaderState:
    """The same memory, without the text that waits to be read into it: what it says, it knows."""
    return replace(state, pending=(), tokenizer=TokenizerState(bytes_fed=state.tokenizer.bytes_fed))


def text_end(engine: Engine, state: ReaderState) -> int:
    """The byte of the document behind the last segment in the memory.

    It is exact to the character for tokenizers whose tokens spell the text as it is, which those of bytes do.
    """
    waiting = engine.checkpoint.text_of(state.pending).encode(errors="replace")
    behind = len(state.tokenizer.held.encode()) + len(state.tokenizer.undecoded) + len(waiting)
    return max(0, state.bytes_read - behind)


class _Search:
    """Asks memories, each once, and remembers what they said."""

    def __init__(self, prober: Prober, question: Question, traced: str) -> None:
        self.question = question
        self.traced = traced
        self._prober = prober
        self._known: dict[int, Answer] = {}

    @property
    def probes(self) -> list[Probe]:
        return [Probe(segment, self._known[segment]) for segment in sorted(self._known)]

    async def ask(self, states: Sequence[ReaderState]) -> list[Answer]:
        new = [state for state in states if state.segments_read not in self._known]
        if new:
            answers = await self._prober.ask([memory_only(state) for state in new], self.question)
            self._known |= {state.segments_read: one for state, one in zip(new, answers, strict=True)}
        return [self._known[state.segments_read] for state in states]

    async def has(self, states: Sequence[ReaderState]) -> list[bool]:
        """Which of these memories have the answer."""
        return [self.is_wanted(one) for one in await self.ask(states)]

    def is_wanted(self, answer: Answer) -> bool:
        """Whether it is what is traced, but for case, an article and a final stop."""
        return bare(answer.generation.text) == bare(self.traced)

    async def transitions(self, points: Sequence[ReaderState]) -> list[tuple[ReaderState, ReaderState]]:
        """Neighbouring points of which the later one has the answer and the earlier has not, the last pair first."""
        while True:
            count = len(points)
            spread = sorted({round(at * (count - 1) / _PROBED_AT_ONCE) for at in range(_PROBED_AT_ONCE + 1)})
            some = [points[at] for at in spread]
            known = await self.has(some)
            pairs = [
                (first, second)
                for first, second, before, after in zip(spread, spread[1:], known, known[1:], strict=False)
                if after and not before
            ]
            if len(pairs) != 1 or pairs[0][1] - pairs[0][0] == 1:
                break
            points = points[pairs[0][0] : pairs[0][1] + 1]
        return [await self._neighbours(points[first : second + 1]) for first, second in reversed(pairs)]

    async def _neighbours(self, points: Sequence[ReaderState]) -> tuple[ReaderState, ReaderState]:
        """Bisect: the first point has not the answer and the last has; two neighbours of which that is true."""
        low, high = 0, len(points) - 1
        while high - low > 1:
            middle = (low + high) // 2
            if (await self.has([points[middle]]))[0]:
                high = middle
            else:
                low = middle
        return points[low], points[high]

    async def narrowed(self, before: ReaderState, after: ReaderState) -> tuple[ReaderState, ReaderState] | None:
        """Read the segments between two states once more until one is left; None if the answer did not come again."""
        while after.segments_read - before.segments_read > 1:
            kept = await self._prober.read_on(before, after.segments_read, KEPT_ALONG)
            known = [False, *await self.has(kept)]
            states = [before, *kept]
            last = max((at for at in range(1, len(states)) if known[at] and not known[at - 1]), default=None)
            if last is None:
                return None
            before, after = states[last - 1], states[last]
        return before, after

    async def alone(self, engine: Engine, before: ReaderState, after: ReaderState) -> bool:
        """Whether an empty memory has the answer when it reads nothing but the segment between two states."""
        empty = replace(before, memory=engine.fresh_state(before.focus).memory)
        (read,) = await self._prober.read_on(empty, after.segments_read, 1)
        (answer,) = await self._prober.ask([memory_only(read)], self.question)
        return self.is_wanted(answer)


async def _in_the_tail(engine: Engine, prober: Prober, search: _Search, last: ReaderState) -> Trace:
    """The answer is in the text that fills no segment yet; verified if that gives it to an empty memory, too."""
    empty = replace(last, memory=engine.fresh_state(last.focus).memory)
    (alone,) = await prober.ask([empty], search.question)
    start, stop = text_end(engine, last), last.bytes_read
    return await _cut_out(prober, search, last.segments_read, start, stop, verified=search.is_wanted(alone))


async def _found(
    engine: Engine, prober: Prober, search: _Search, step: tuple[ReaderState, ReaderState], *, verified: bool
) -> Trace:
    before, after = step
    start, stop = text_end(engine, before), text_end(engine, after)
    return await _cut_out(prober, search, before.segments_read, start, stop, verified=verified)


async def _cut_out(prober: Prober, search: _Search, segment: int, start: int, stop: int, *, verified: bool) -> Trace:
    text = (await prober.text(start, stop)).decode(errors="ignore")
    excerpt = _excerpt(text, search.question.text, search.traced)
    return Trace(search.traced, segment, start, stop, excerpt, verified, search.probes)


def _excerpt(text: str, question: str, answer: str) -> str:
    """The sentence that has most words of question and answer, with its neighbours as far as they fit."""
    sentences = [found[0] for found in _SENTENCE.finditer(text) if found[0].strip()]
    if not sentences:
        return text.strip()[:_EXCERPT_CHARS]
    asked, said = _words(question), _words(answer)
    scores = [len(asked & words) + 2 * len(said & words) for words in map(_words, sentences)]
    first = last = best = scores.index(max(scores))
    size = len(sentences[best])
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


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold())) - _ARTICLES
