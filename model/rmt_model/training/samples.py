"""Documents with planted facts, as the tensors that one training step reads."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from rmt_model.config import RMTConfig
from rmt_model.prompt import PromptBuilder
from rmt_model.training.background import Background
from rmt_model.training.facts import KINDS, Fact, draw_fact, draw_facts
from rmt_model.training.words import NO_LEXICON, Lexicon, Split

__all__ = ["Batch", "Mode", "PlantedDocument", "Questions", "SampleBuilder", "SampleShape"]

Mode = Literal["focus", "recall"]

_CUT_SHARE = 0.1
"""Share of the documents with an asked fact on both sides of a segment's end that are kept."""
_MENTION_SHARE = 0.4
"""Share of the documents with a focus that also hold a sentence with a word of the asked fact, but not the fact."""
_FACT_TOKENS = 20
"""Room for one planted fact: a document holds no more facts than fit."""


@dataclass(frozen=True, slots=True)
class SampleShape:
    """What all documents of one batch have in common.

    Attributes:
        mode: `focus` puts the question in front of every segment, `recall` only behind the last.
        lanes: Number of documents.
        segments: Whole segments before the partial one, n.
        segment_tokens: S.
        partial_tokens: Tokens of the partial segment that is read with the question, 0..S-1.
        questions: Questions asked of each document at its end.
    """

    mode: Mode
    lanes: int
    segments: int
    segment_tokens: int
    partial_tokens: int
    questions: int = 1

    @property
    def document_tokens(self) -> int:
        """Length of each document."""
        return self.segments * self.segment_tokens + self.partial_tokens

    def segments_of(self, span: range) -> range:
        """Numbers of the segments that hold (part of) the tokens of `span`; n is the partial one's."""
        return range(span.start // self.segment_tokens, (span.stop - 1) // self.segment_tokens + 1)


@dataclass(frozen=True, slots=True)
class PlantedDocument:
    """A document's tokens, and the token range of every fact in it, in order."""

    ids: list[int]
    facts: tuple[tuple[Fact, range], ...]

    def about(self, asked: Fact) -> list[tuple[Fact, range]]:
        """The facts that answer the same question, in order: the last one holds at the end."""
        return [(fact, span) for fact, span in self.facts if fact.asks_like(asked)]


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions with their answers, the questions of one document in one right-padded row.

    Attributes:
        lanes: Document of each row, [rows].
        ids: Partial segment, questions and answers, [rows, L].
        labels: Token that should follow each position where that is an answer's, else -100, [rows, L].
        owners: Number of the question that the label belongs to, else -1, [rows, L].
        count: Number of questions.
    """

    lanes: Tensor
    ids: Tensor
    labels: Tensor
    owners: Tensor
    count: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One training step.

    Attributes:
        shape: What its documents have in common.
        prefix: Focus in front of every segment, [lanes, P]; P is 0 for recall.
        segments: Token ids, [n, lanes, S].
        rewritten: Memory vectors that a segment should change, because it holds (part of) what they are for,
            [n, lanes, M].
        notes: Token that each memory vector should say after a segment, where it ends a fact, else -100, [n, lanes, M].
        at_end: Questions asked behind the partial segment.
        midway: Questions asked with no partial segment right after some segment: (segments read, questions).
    """

    shape: SampleShape
    prefix: Tensor
    segments: Tensor
    rewritten: Tensor
    notes: Tensor
    at_end: Questions
    midway: tuple[tuple[int, Questions], ...]


class SampleBuilder:
    """Builds documents and batches from a seed; the same seed gives the same samples."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: RMTConfig,
        background: Background,
        split: Split,
        kinds: tuple[str, ...] = tuple(KINDS),
        lexicon: Lexicon = NO_LEXICON,
    ) -> None:
        self.kinds = kinds
        self.lexicon = lexicon
        self.tokenizer = tokenizer
        self.config = config
        self.background = background
        self.split: Split = split
        self.prompts = PromptBuilder(tokenizer, config)  # what is trained is what is served
        self.encode = self.prompts.encode
        self.stop = self.encode(config.stop)

    def plant(self, rng: Random, length: int, placed: Sequence[tuple[Fact, int]]) -> PlantedDocument:
        """A document of exactly `length` tokens with facts near the given token positions.

        Args:
            rng: Source of the background's place.
            length: Tokens of the whole document.
            placed: Facts with the position each should start at; it moves to the next sentence gap if there is one.

        Raises:
            ValueError: The facts are longer than the document.
        """
        background, gaps = self.background.window(rng, length)
        gap_at = np.flatnonzero(gaps).tolist()
        ids: list[int] = []
        facts: list[tuple[Fact, range]] = []
        taken = 0
        planted = [(fact, position, self._planted(rng, fact)) for fact, position in sorted(placed, key=lambda p: p[1])]
        room = length - sum(len(tokens) for _, _, tokens in planted)
        if room < 0:
            raise ValueError(f"facts of {length - room} tokens do not fit into a document of {length}")
        for fact, position, tokens in planted:
            # `taken` counts background tokens; no more of them than `room` may stand before a fact that must fit.
            at = min(max(taken, taken + position - len(ids)), room)
            index = bisect_left(gap_at, at)
            if index < len(gap_at) and gap_at[index] <= room:
                at = gap_at[index]
            ids.extend(background[taken:at].tolist())
            facts.append((fact, range(len(ids), len(ids) + len(tokens))))
            ids.extend(tokens)
            taken = at
        ids.extend(background[taken : taken + length - len(ids)].tolist())
        return PlantedDocument(ids, tuple(facts))

    def _planted(self, rng: Random, fact: Fact) -> list[int]:
        """A fact's tokens: within a paragraph, or on a line of its own."""
        return self.encode(f"\n{fact.statement}\n" if rng.random() < 0.5 else f" {fact.statement}")

    def document(self, rng: Random, shape: SampleShape) -> tuple[PlantedDocument, list[Fact]]:
        """One document of a shape, and the facts that are asked for: in focus mode one, with others around it.

        Where segments are short, a fact is often cut in two; most of those documents are drawn again.
        """
        while True:
            document, asked = self._draw_document(rng, shape)
            cut = any(fact in asked and len(shape.segments_of(span)) > 1 for fact, span in document.facts)
            if not cut or rng.random() < _CUT_SHARE:
                return document, asked

    def _draw_document(self, rng: Random, shape: SampleShape) -> tuple[PlantedDocument, list[Fact]]:
        whole = shape.segments * shape.segment_tokens
        noted = shape.mode == "recall" and shape.segments > 0
        others = rng.choice((0, 0, 0, 1) if noted else (0, 0, 1, 1, 2, 3, 4))
        room = shape.document_tokens // _FACT_TOKENS - shape.questions - 1
        mentioned = shape.mode == "focus" and room >= 2 and rng.random() < _MENTION_SHARE
        others = max(0, min(others, room - 2 * mentioned))
        kinds = self.kinds if rng.random() < 0.7 else (rng.choice(self.kinds),)
        facts = draw_facts(rng, self.split, shape.questions + others, kinds, self.lexicon)
        asked = facts[: shape.questions]
        reach = shape.document_tokens
        placed = [(fact, rng.randrange(reach)) for fact in facts[shape.questions :]]
        for fact in asked:
            in_memory = shape.segments > 0 and rng.random() < 0.9
            placed.append((fact, rng.randrange(whole if in_memory else reach)))
        if shape.mode == "focus" and reach >= 2 * _FACT_TOKENS and rng.random() < 0.15:
            placed.append((self._replacing(rng, asked[0]), rng.randrange(reach)))
        mention = self._mention(rng, asked[0]) if mentioned else None
        if mention is not None:
            placed.append((mention, rng.randrange(reach)))
        document = self.plant(rng, reach, placed)
        return document, [document.about(fact)[-1][0] for fact in asked]

    def _mention(self, rng: Random, asked: Fact) -> Fact | None:
        """A sentence of the background with a word of the fact, if one is found: it must not pass for the fact."""
        words = [word for word in asked.statement.rstrip(".").split() if len(word) > 3] or asked.key.split()
        ids = self.background.mention(rng, self.encode(" " + rng.choice(words)), 2 * _FACT_TOKENS)
        return Fact("mention", asked.key, self.tokenizer.decode(ids).strip(), "", "") if ids else None

    def batch(self, rng: Random, shape: SampleShape) -> Batch:
        """A batch of documents, their questions, and which segments matter for them."""
        built = [self.document(rng, shape) for _ in range(shape.lanes)]
        whole = shape.segments * shape.segment_tokens
        ids = torch.tensor([document.ids[:whole] for document, _ in built], dtype=torch.long)
        segments = ids.view(shape.lanes, shape.segments, shape.segment_tokens).transpose(0, 1)
        rewritten = torch.zeros(shape.segments, shape.lanes, self.config.memory_tokens, dtype=torch.bool)
        notes = torch.full(rewritten.shape, -100, dtype=torch.long)
        for lane, (document, asked) in enumerate(built):
            for note in self._notes(shape.mode, document, asked):
                read_in = shape.segments_of(note.span)
                rewritten[read_in.start : read_in.stop, lane, note.vectors] = True
                if read_in.stop <= shape.segments:
                    unsaid = [-100] * (note.vectors.stop - note.vectors.start - len(note.ids))
                    notes[read_in.stop - 1, lane, note.vectors] = torch.tensor(note.ids + unsaid)
        prefixes = [self.prompts.focus(asked[0].question) if shape.mode == "focus" else [] for _, asked in built]
        width = max(map(len, prefixes))
        prefix = torch.tensor([[self.prompts.newline] * (width - len(p)) + p for p in prefixes], dtype=torch.long)
        at_end = self._questions([(lane, d.ids[whole:], f) for lane, (d, asked) in enumerate(built) for f in asked])
        return Batch(
            shape,
            prefix.view(shape.lanes, width),
            segments,
            rewritten,
            notes,
            at_end,
            self._midway(rng, shape, built),
        )

    def _notes(self, mode: Mode, document: PlantedDocument, asked: Sequence[Fact]) -> Iterator["_Note"]:
        """What the memory should say of each fact, and in which of its vectors.

        With a focus: the answer, from the first vector on, the others free. For recall: the statements from the first
        to the last word that matters, one behind the other while the memory has room for the whole of one.
        """
        room = self.config.memory_tokens
        if mode == "focus":
            for fact, span in document.about(asked[0]):
                yield _Note(span, slice(0, room), (self.encode(" " + fact.answer) + self.stop)[:room])
            return
        used = 0
        for fact, span in document.facts:
            parts = [(fact.statement.index(text), len(text)) for text in (fact.key, fact.answer.removeprefix("the "))]
            start, stop = min(at for at, _ in parts), max(at + length for at, length in parts)
            ids = self.encode(" " + fact.statement[start:stop])
            if used + len(ids) <= room:
                yield _Note(span, slice(used, used + len(ids)), ids)
                used += len(ids)

    def _replacing(self, rng: Random, fact: Fact) -> Fact:
        """A fact about the same thing with another answer."""
        while True:
            other = draw_fact(rng, self.split, (fact.kind,), self.lexicon)
            if other.question.startswith(fact.question.split(fact.key)[0]) and other.answer != fact.answer:
                return Fact(
                    fact.kind,
                    fact.key,
                    other.statement.replace(other.key, fact.key),
                    fact.question,
                    other.answer,
                )

    def _midway(
        self, rng: Random, shape: SampleShape, built: list[tuple[PlantedDocument, list[Fact]]]
    ) -> tuple[tuple[int, Questions], ...]:
        """Questions of one early place, for the lanes whose facts have all been read by then."""
        if shape.segments < 2:
            return ()
        read = rng.randint(1, shape.segments - 1)
        asked: list[tuple[int, list[int], Fact]] = []
        for lane, (document, facts) in enumerate(built):
            for fact in facts:
                _, span = document.about(fact)[-1]
                if span.stop <= read * shape.segment_tokens:
                    asked.append((lane, [], fact))
        return ((read, self._questions(asked)),) if asked else ()

    def _questions(self, asked: Sequence[tuple[int, list[int], Fact]]) -> Questions:
        """One right-padded row for each document: partial segment, then its questions, each with its answer.

        The first question of a row is what a served question looks like; those behind it cost little and teach as much.
        """
        rows: dict[int, _Row] = {}
        for number, (lane, partial, fact) in enumerate(asked):
            row = rows.setdefault(lane, _Row(list(partial)))
            row.extend(self.prompts.question(fact.question), number=-1)
            row.extend(self.encode(" " + fact.answer) + self.stop, number=number)
        width = max(len(row.ids) for row in rows.values()) - 1
        ids = torch.full((len(rows), width), self.prompts.newline, dtype=torch.long)
        labels = torch.full((len(rows), width), -100, dtype=torch.long)
        owners = torch.full((len(rows), width), -1, dtype=torch.long)
        for index, row in enumerate(rows.values()):
            length = len(row.ids) - 1
            ids[index, :length] = torch.tensor(row.ids[:-1])
            owner = torch.tensor(row.owners[1:])
            owners[index, :length] = owner
            labels[index, :length] = torch.tensor(row.ids[1:]).where(owner >= 0, -100)
        return Questions(torch.tensor(list(rows)), ids, labels, owners, len(asked))


@dataclass(frozen=True, slots=True)
class _Note:
    """Tokens that the memory vectors of a slice should say once the text at `span` has been read."""

    span: range
    vectors: slice
    ids: list[int]


class _Row:
    """Token ids, and the number of the question that each is an answer's token of, or -1."""

    def __init__(self, partial: list[int]) -> None:
        self.ids = partial
        self.owners = [-1] * len(partial)

    def extend(self, ids: Sequence[int], number: int) -> None:
        self.ids.extend(ids)
        self.owners.extend([number] * len(ids))
