"""Stories hidden in documents, as the tensors that one training step reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from rmt_model.config import RMTConfig
from rmt_model.data.background import Background
from rmt_model.data.haystack import DoesNotFitError, Hidden, Layout, cut_out, hide
from rmt_model.data.story import BEHIND, Asked, Kept, Mode, Source, Story, Wish
from rmt_model.errors import DataError
from rmt_model.prompt import PromptBuilder
from rmt_model.training.questions import Question, Questions

__all__ = ["Batch", "BatchBuilder", "Lesson", "SampleShape", "WeightedSource"]

_MOVED_SHARE = 0.9
"""Share of the statements on both sides of a segment's end that are moved into one segment."""
_OWN_LINES = 0.5
_IN_MEMORY_SHARE = 0.9
"""Share of the documents whose statements all begin in whole segments, where there are any."""
_DENSE_SHARE = 0.5
"""Share of the documents of real text that are filled with it; others have less of it, in a haystack."""
_TRIES = 64
_SQUEEZE = 0.8
"""After a story that was too long, a shorter one is wished for: what a token is in characters is a guess there."""
_WHOLE_DOCUMENT = 1 << 30


_Said = tuple[range, int, list[int]]
"""Tokens of the document that say something to be kept, the first vector for it, and what to say."""


@dataclass(frozen=True, slots=True)
class SampleShape:
    """What all documents of one batch have in common.

    Attributes:
        mode: `focus` puts the question in front of every segment, `both` in front of the first and behind the last,
            `recall` only behind the last.
        lanes: Number of documents.
        segments: Whole segments before the partial one, n.
        segment_tokens: S.
        partial_tokens: Tokens of the partial segment that is read with the question, 0..S-1.
        questions: Questions asked of each document in each segment, at most.
        endings: Places in each segment at which the memory has a lesson, besides the segment's end.
    """

    mode: Mode
    lanes: int
    segments: int
    segment_tokens: int
    partial_tokens: int
    questions: int = 1
    endings: int = 0

    @property
    def document_tokens(self) -> int:
        """Length of each document."""
        return self.segments * self.segment_tokens + self.partial_tokens


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is known of the memory besides the answers, as if each segment ended at K places before its end, and there.

    Attributes:
        seen: Tokens of the segment before each ending, the last being S, [n, lanes, K + 1].
        rewritten: Memory vectors that should change: 1 yes, 0 no, -1 nobody knows, int8 [n, lanes, K + 1, M].
        notes: Token that each memory vector should say, else -100, [n, lanes, K + 1, M].
    """

    seen: Tensor
    rewritten: Tensor
    notes: Tensor

    def to(self, device: torch.device) -> "Lesson":
        """The same lesson on a device."""
        return Lesson(self.seen.to(device), self.rewritten.to(device), self.notes.to(device))


@dataclass(frozen=True, slots=True)
class Batch:
    """One training step.

    Attributes:
        shape: What its documents have in common.
        prefix: Focus in front of every segment, or of the first only, [lanes, P]; P is 0 for recall.
        segments: Token ids of whole segments, [n, lanes, S].
        partial: Token ids behind them, [lanes, partial].
        lesson: What is known of the memory.
        asked: Questions in each whole segment; None where there are none. n of them.
        at_end: Questions in the partial segment and at its end.
        sources: Name of each document's source.
    """

    shape: SampleShape
    prefix: Tensor
    segments: Tensor
    partial: Tensor
    lesson: Lesson
    asked: tuple[Questions | None, ...]
    at_end: Questions
    sources: tuple[str, ...]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(
            self.shape,
            self.prefix.to(device),
            self.segments.to(device),
            self.partial.to(device),
            self.lesson.to(device),
            tuple(one and one.to(device) for one in self.asked),
            self.at_end.to(device),
            self.sources,
        )

    def prefix_of(self, segment: int) -> Tensor:
        """What stands in front of a segment, the partial one's number being n."""
        everywhere = self.shape.mode == "focus" or segment == 0
        return self.prefix if everywhere else self.prefix[:, :0]


@dataclass(frozen=True, slots=True)
class WeightedSource:
    """A source of stories.

    Attributes:
        source: The source.
        weight: How often it is drawn from, compared with the others.
        name: What the log calls it.
        from_tokens: Length of the shortest documents that it is drawn from for.
    """

    source: Source
    weight: float
    name: str = "source"
    from_tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Built:
    story: Story
    hidden: Hidden
    source: str


class BatchBuilder:
    """Builds documents and batches from a seed; the same seed gives the same samples."""

    def __init__(
        self, tokenizer: Tokenizer, config: RMTConfig, background: Background | None, sources: Sequence[WeightedSource]
    ) -> None:
        self.config = config
        self.background = background
        self.sources = tuple(sources)
        self.prompts = PromptBuilder(tokenizer, config)  # what is trained is what is served
        self.encode = self.prompts.encode
        self.stop = self.encode(config.stop)

    def batch(self, rng: Random, shape: SampleShape) -> Batch:
        """A batch of documents, their questions, and what their memories should keep."""
        built = [self._document(rng, shape) for _ in range(shape.lanes)]
        whole = shape.segments * shape.segment_tokens
        ids = torch.tensor([one.hidden.ids[:whole] for one in built], dtype=torch.long)
        partial = torch.tensor([one.hidden.ids[whole:] for one in built], dtype=torch.long)
        *asked, at_end = self._asked(rng, shape, built)
        return Batch(
            shape=shape,
            prefix=self._prefix(shape, built),
            segments=ids.view(shape.lanes, shape.segments, shape.segment_tokens).transpose(0, 1),
            partial=partial.view(shape.lanes, shape.partial_tokens),
            lesson=self._lesson(rng, shape, built),
            asked=tuple(Questions.of(here, shape.lanes, self.prompts.newline) if here else None for here in asked),
            at_end=Questions.of(at_end, shape.lanes, self.prompts.newline),
            sources=tuple(one.source for one in built),
        )

    def _document(self, rng: Random, shape: SampleShape) -> _Built:
        """A story of some source, hidden in a document of the shape; drawn again if it turns out too long."""
        whole = shape.segments * shape.segment_tokens
        sources = [one for one in self.sources if one.from_tokens <= shape.document_tokens]
        weights = [one.weight for one in sources]
        problem, squeezed = "", 1.0
        for _ in range(_TRIES):
            drawn = rng.choices(sources, weights)[0]
            room = shape.document_tokens
            if self.background is None:
                room = _WHOLE_DOCUMENT
            elif rng.random() > _DENSE_SHARE:
                room = rng.randint(min(room, 32), room)
            story = drawn.source.draw(rng, self._wish(shape, int(squeezed * room)))
            in_memory = shape.segments > 0 and rng.random() < _IN_MEMORY_SHARE
            reach = whole if in_memory else shape.document_tokens
            try:
                return _Built(story, self._hidden(rng, story, shape, reach), drawn.name)
            except DoesNotFitError as error:
                problem, squeezed = str(error), _SQUEEZE * squeezed
        raise DataError(f"no story out of {_TRIES} fits into a document of {shape.document_tokens} tokens: {problem}")

    def _wish(self, shape: SampleShape, room: int) -> Wish:
        return Wish(shape.mode, room, shape.questions * (shape.segments + 1), shape.segments > 0)

    def _hidden(self, rng: Random, story: Story, shape: SampleShape, reach: int) -> Hidden:
        if self.background is None:
            return cut_out(rng, story, self.encode, shape.document_tokens, reach)
        layout = Layout(shape.document_tokens, reach, shape.segment_tokens, _MOVED_SHARE, _OWN_LINES)
        return hide(rng, story, self.background, self.encode, layout)

    def _prefix(self, shape: SampleShape, built: Sequence[_Built]) -> Tensor:
        focused = shape.mode != "recall"
        prefixes = [self.prompts.focus(one.story.asked[0].question) if focused else [] for one in built]
        width = max(map(len, prefixes))
        padded = [[self.prompts.newline] * (width - len(prefix)) + prefix for prefix in prefixes]
        return torch.tensor(padded, dtype=torch.long).view(shape.lanes, width)

    def _lesson(self, rng: Random, shape: SampleShape, built: Sequence[_Built]) -> Lesson:
        size = (shape.segments, shape.lanes, shape.endings + 1)
        seen = torch.full(size, shape.segment_tokens)
        rewritten = torch.zeros((*size, self.config.memory_tokens), dtype=torch.int8)
        notes = torch.full((*size, self.config.memory_tokens), -100, dtype=torch.long)
        for lane, one in enumerate(built):
            kept = {"focus": one.story.asked[0].kept, "recall": one.story.kept, "both": None}[shape.mode]
            said = None if kept is None else list(self._said(one, kept))
            for segment in range(shape.segments):
                start = segment * shape.segment_tokens
                endings = _endings(rng, one, range(start, start + shape.segment_tokens), shape.endings)
                for number, end in enumerate((*endings, start + shape.segment_tokens)):
                    at = (segment, lane, number)
                    seen[at] = end - start
                    _teach(range(start, end), one.hidden.spans, said, rewritten[at], notes[at])
        if shape.mode == "both":  # how a memory should keep a question is for the answers to teach
            rewritten[:1] = -1
        return Lesson(seen, rewritten, notes)

    def _said(self, one: _Built, kept: Sequence[Kept]) -> Iterator[_Said]:
        """Where each thing to be kept stands, the first vector for it, and the tokens, -100 for any."""
        used, room = 0, self.config.memory_tokens
        for each in kept:
            ids = self.encode(" " + each.text)
            if each.vectors is not None:
                ids = (ids + self.stop)[: each.vectors]
                ids += [-100] * (each.vectors - len(ids))
            first = used if each.vector == BEHIND else each.vector
            if first + len(ids) > room and each.vector == BEHIND:
                continue
            used = max(used, first + len(ids))
            yield one.hidden.spans[each.after], first, ids[: room - first]

    def _asked(self, rng: Random, shape: SampleShape, built: Sequence[_Built]) -> list[list[Question]]:
        """The questions of each segment: in every document the one at its end, and some of the others."""
        segments: list[list[Question]] = [[] for _ in range(shape.segments + 1)]
        for lane, one in enumerate(built):
            for index, here in enumerate(self._places(rng, shape, one)):
                last = here[:1] if index == shape.segments else []  # the one at the end
                others = here[len(last) :]
                some = rng.sample(others, min(len(others), shape.questions - len(last)))
                segments[index] += [
                    self._question(lane, place - index * shape.segment_tokens, each) for place, each in (*last, *some)
                ]
        return segments

    def _places(self, rng: Random, shape: SampleShape, built: _Built) -> list[list[tuple[int, Asked]]]:
        """The questions that may be asked in each segment, with the tokens of the document before each."""
        places: list[dict[tuple[int, str], Asked]] = [{} for _ in range(shape.segments + 1)]
        main = built.story.asked[0]
        for each in built.story.asked:
            wanted = shape.mode == "recall" or each.question == main.question
            needed = {each.after, *(kept.after for kept in each.kept or ())}
            if each is main or (wanted and not needed & built.hidden.cut_off):
                place = _place(rng, built, each, shape.document_tokens)
                places[place // shape.segment_tokens].setdefault((place, each.question), each)
        return [[(place, each) for (place, _), each in here.items()] for here in places]

    def _question(self, lane: int, seen: int, asked: Asked) -> Question:
        answer = self.encode(" " + asked.answer) + self.stop
        return Question(lane, seen, self.prompts.question(asked.question), answer)


def _overlap(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


def _endings(rng: Random, built: _Built, segment: range, count: int) -> list[int]:
    """Places of a document inside a segment and outside of statements: behind some of them where there are any."""
    spans = [span for span in built.hidden.spans if _overlap(span, segment)]
    behind = [span.stop for span in spans if span.stop < segment.stop]
    places = rng.sample(behind, min(count, len(behind)))
    while len(places) < count:
        place = rng.randrange(segment.start, segment.stop)
        inside = next((span for span in spans if span.start < place < span.stop), None)
        places.append(place if inside is None else max(inside.start, segment.start))
    return places


def _teach(read: range, spans: Sequence[range], said: Sequence[_Said] | None, rewritten: Tensor, notes: Tensor) -> None:
    """Fill in what each memory vector, [M], should do when these tokens of a document were read at once."""
    if said is None:  # nobody knows what is kept of the statements
        if any(_overlap(span, read) for span in spans):
            rewritten[:] = -1
        return
    for span, first, ids in said:
        if _overlap(span, read):
            rewritten[first : first + len(ids)] = 1
            if span.stop <= read.stop:
                notes[first : first + len(ids)] = torch.tensor(ids)


def _place(rng: Random, built: _Built, asked: Asked, end: int) -> int:
    """Tokens of the document before a question: behind its statement, and before the next one."""
    if asked.after is None:
        return end
    spans = built.hidden.spans
    following = spans[asked.after + 1].start if asked.after + 1 < len(spans) else end
    return rng.randint(spans[asked.after].stop, max(following, spans[asked.after].stop))
