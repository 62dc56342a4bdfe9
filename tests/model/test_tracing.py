"""The search for where an answer came from, on documents whose right place is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest

from rmt_model.answering import Answer, Question, bare
from rmt_model.checkpoint import load_checkpoint
from rmt_model.engine import Engine
from rmt_model.reader import Reader, text_end
from rmt_model.state import ReaderState
from rmt_model.tracing import Trace, _excerpt, lane_alone, memory_only, trace
from rmt_model.types import Generation

S = 16
SEGMENTS = 60
QUESTION = Question("Where is Mary?")


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: Any) -> Engine:
    return Engine(load_checkpoint(tiny_checkpoint()), slots=16)


@dataclass
class Told:
    """A prober whose memories say what a plan says: `plan[n]` after n segments, `alone[n]` with segment n alone.

    Reading is real, so bytes and segments are those of the reader; only what memories answer is planned.
    """

    engine: Engine
    document: bytes
    plan: Sequence[str]
    alone: Sequence[str]
    tail: str = ""
    asked: int = 0
    segments_read: int = 0

    async def ask(self, states: Sequence[ReaderState], question: Question) -> list[Answer]:
        assert question == QUESTION
        self.asked += len(states)
        return [self._answer(state) for state in states]

    def _answer(self, state: ReaderState) -> Answer:
        is_alone = float(np.abs(state.memory).max()) == 77.0
        waits = bool(state.pending or state.tokenizer.held)
        if waits and self.tail:
            said = self.tail
        elif is_alone:
            said = self.alone[state.segments_read - 1] if state.segments_read else ""
        else:
            said = self.plan[state.segments_read]
        return Answer(0, "focus", Generation(said, 0.9, 0.8, "stop", 1, 1), 0.9, known=True)

    async def read_on(self, state: ReaderState, segments: int, keep: int) -> list[ReaderState]:
        fresh = self.engine.fresh_state(state.focus).memory
        is_alone = np.array_equal(state.memory, fresh) and state.segments_read > 0
        states = along(self.engine, self.document, state, segments)
        self.segments_read += len(states)
        if is_alone:
            states = [replace(one, memory=np.full_like(one.memory, 77.0)) for one in states]
        spacing = max(1, -(-len(states) // keep))
        kept = [one for one in states[:-1] if one.segments_read % spacing == 0]
        return [*kept[-keep:], states[-1]]

    async def text(self, start: int, stop: int) -> bytes:
        return self.document[start:stop]


def along(engine: Engine, text: bytes, state: ReaderState, segments: int) -> list[ReaderState]:
    """The states after each further segment, up to so many in all; memories differ, and mean nothing."""
    reader = Reader(engine.text_tokenizer, S, state)
    reader.feed(text[state.bytes_read :])
    reader.finish_document()
    states, memory = [], state.memory
    while reader.segments_read < segments and reader.waiting:
        reader.take()
        memory = memory + 1.0
        states.append(reader.state(memory))
    return states


@dataclass
class Document:
    text: bytes
    fresh: ReaderState
    states: list[ReaderState]


@pytest.fixture(scope="module")
def document(engine: Engine) -> Document:
    text = " ".join(f"Sentence {n} says that John has {n} apples." for n in range(160)).encode()
    fresh = engine.fresh_state([QUESTION.text])
    states = along(engine, text, fresh, SEGMENTS)
    assert len(states) == SEGMENTS
    return Document(text, fresh, states)


def prober(engine: Engine, document: Document, plan: Sequence[str], alone: Sequence[str], tail: str = "") -> Told:
    return Told(engine, document.text, plan, alone, tail)


async def found(engine: Engine, document: Document, told: Told, spacing: int, answer: str | None = None) -> Trace:
    points = [document.fresh, *document.states[spacing - 1 :: spacing]]
    if points[-1] is not document.states[-1]:
        points.append(document.states[-1])
    return await trace(engine, told, points, QUESTION, answer)


def known_from(segment: int, answer: str = "the garden") -> tuple[list[str], list[str]]:
    plan = ["nowhere"] * (segment + 1) + [answer] * (SEGMENTS - segment)
    alone = [answer if n == segment else "nothing" for n in range(SEGMENTS)]
    return plan, alone


@pytest.mark.parametrize("spacing", [1, 4, 7, 59, 60])
@pytest.mark.parametrize("segment", [0, 1, 17, 58, 59])
async def test_the_segment_is_named(engine: Engine, document: Document, segment: int, spacing: int) -> None:
    told = prober(engine, document, *known_from(segment))
    result = await found(engine, document, told, spacing)
    assert (result.answer, result.segment, result.verified) == ("the garden", segment, True)
    assert result.start == (text_end(engine.text_tokenizer, document.states[segment - 1]) if segment else 0)
    assert result.stop == text_end(engine.text_tokenizer, document.states[segment])
    assert document.text[result.start : result.stop].strip()
    assert result.excerpt in document.text[result.start : result.stop].decode()
    assert told.asked <= SEGMENTS + 3  # each memory at most once, those with the tail, and that of the segment alone
    assert [probe.segment for probe in result.probes] == sorted({probe.segment for probe in result.probes})


async def test_segments_meet_without_gaps(engine: Engine, document: Document) -> None:
    """The ends of all segments, in bytes, cut the text into the texts of their tokens."""
    ends = [0, *(text_end(engine.text_tokenizer, state) for state in document.states)]
    reader = Reader(engine.text_tokenizer, S, document.fresh)
    reader.feed(document.text)
    reader.finish_document()
    for start, stop in pairwise(ends):
        assert reader.end_byte == start
        assert document.text[start:stop].decode() == engine.checkpoint.text_of(list(reader.take()))


async def test_what_stands_between_documents_is_no_text(engine: Engine) -> None:
    """The end of a segment is where its text ends, however many documents lie behind it and ahead."""
    texts = [f"This is number {n}, and it is here."[: 3 + 7 * n % 31] for n in range(40)]
    ends = list(accumulate(len(text) for text in texts))
    reader = Reader(engine.text_tokenizer, S, engine.fresh_state())
    for text in texts:
        reader.feed(text.encode())
        reader.finish_document()
    said, begun, memory = "", "", engine.fresh_state().memory
    while reader.waiting:
        said += engine.checkpoint.text_of(list(reader.take()))
        end = text_end(engine.text_tokenizer, reader.state(memory), ends)
        assert reader.end_byte == end
        begun = "".join(texts)[:end]
        assert said.replace("\n", "") == begun
    assert len(begun) > ends[-3]


async def test_an_answer_that_comes_and_goes_is_traced_to_where_it_is_true(engine: Engine, document: Document) -> None:
    """A memory that knew it by chance before is no place to stop at: the segment alone has to give it."""
    plan, alone = known_from(40)
    plan[10:14] = ["the garden"] * 4
    plan[50] = "forgotten for a moment"
    result = await found(engine, document, prober(engine, document, plan, alone), 5)
    assert (result.segment, result.verified) == (40, True)


@pytest.mark.parametrize("spacing", [1, 2, 5, 60])
async def test_what_was_told_twice_is_traced_to_the_last_place(
    engine: Engine, document: Document, spacing: int
) -> None:
    plan, alone = known_from(5)
    plan[30:34] = ["the kitchen"] * 4
    alone[33] = "the garden"
    result = await found(engine, document, prober(engine, document, plan, alone), spacing)
    assert (result.segment, result.verified) == (33, True)


async def test_what_only_a_few_memories_had_is_found_among_those_that_are_kept(
    engine: Engine, document: Document
) -> None:
    plan, alone = known_from(40)
    plan[21:25] = ["the kitchen"] * 4
    alone[20] = "the kitchen"
    result = await found(engine, document, prober(engine, document, plan, alone), 1, answer="the kitchen")
    assert (result.segment, result.verified) == (20, True)


async def test_no_words_have_no_place(engine: Engine, document: Document) -> None:
    told = prober(engine, document, [""] * (SEGMENTS + 1), [""] * SEGMENTS)
    for answer in (None, "", " . "):
        assert (await found(engine, document, told, 5, answer=answer)).segment is None


async def test_what_cannot_be_verified_is_said_so(engine: Engine, document: Document) -> None:
    plan, _ = known_from(33)
    result = await found(engine, document, prober(engine, document, plan, ["nothing"] * SEGMENTS), 5)
    assert (result.segment, result.verified) == (33, False)
    assert result.excerpt


async def test_what_no_memory_says_has_no_place(engine: Engine, document: Document) -> None:
    plan, alone = known_from(33)
    result = await found(engine, document, prober(engine, document, plan, alone), 5, answer="the moon")
    assert (result.answer, result.segment, result.excerpt, result.verified) == ("the moon", None, "", False)


async def test_an_answer_may_be_given(engine: Engine, document: Document) -> None:
    """One that was true before, and is not any more; written with another case and article."""
    plan, alone = known_from(40)
    plan[20:41] = ["a kitchen."] * 21
    alone[19] = "the kitchen"
    result = await found(engine, document, prober(engine, document, plan, alone), 5, answer="The Kitchen")
    assert (result.segment, result.verified) == (19, True)


@pytest.mark.parametrize("verified", [True, False])
async def test_the_text_behind_the_last_segment_is_a_place_too(
    engine: Engine, document: Document, verified: bool
) -> None:
    told = prober(engine, document, ["nowhere"] * (SEGMENTS + 1), ["nothing"] * SEGMENTS, tail="the attic")
    if not verified:
        fresh = engine.fresh_state([QUESTION.text]).memory
        ask = told.ask

        async def forgetful(states: Sequence[ReaderState], question: Question) -> list[Answer]:
            answers = await ask(states, question)
            blank = Generation("nothing", 0.9, 0.8, "stop", 1, 1)
            return [
                replace(one, generation=blank) if np.array_equal(state.memory, fresh) else one
                for state, one in zip(states, answers, strict=True)
            ]

        told.ask = forgetful  # type: ignore[method-assign]
    result = await found(engine, document, told, 5)
    assert (result.answer, result.segment, result.verified) == ("the attic", SEGMENTS, verified)
    last = document.states[-1]
    assert (result.start, result.stop) == (text_end(engine.text_tokenizer, last), last.bytes_read)


async def test_the_excerpt_is_the_sentence_that_matters(engine: Engine, document: Document) -> None:
    segment = 20
    start, stop = (text_end(engine.text_tokenizer, document.states[at]) for at in (segment - 1, segment))
    inside = document.text[start:stop].decode()
    apples = next(word for word in inside.split() if word.isdigit())
    told = prober(engine, document, *known_from(segment, apples))
    result = await found(engine, document, told, 1)
    assert apples in result.excerpt


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("静かな朝だった。" * 100 + "マリアは庭にいる。" + "犬が走る。" * 100, "庭"),
        ("".join(f"id={n} user=u{n} " for n in range(200)), "u155"),
        ("word " * 300 + "The Garden of stone", "the garden"),
        ('He said "no." She went to the attic. ' * 30 + 'The fox is in the "red barn." He left. ' * 2, "red barn"),
    ],
)
def test_the_excerpt_has_the_answer_in_any_kind_of_text(text: str, answer: str) -> None:
    found = _excerpt(text, "Where is it?", answer)
    assert bare(answer) in found.casefold()
    assert found in text
    assert len(found) <= 400


def test_parts_of_a_state(engine: Engine, document: Document) -> None:
    two = engine.fresh_state(["Who?", "Where?"])
    alone = lane_alone(two, 1)
    assert (alone.focus, alone.lanes) == (("Where?",), 1)
    bare = lane_alone(engine.fresh_state(), 0)
    assert (bare.focus, bare.lanes) == ((), 1)
    state = document.states[5]
    assert state.pending
    only = memory_only(state)
    assert (only.pending, only.tokenizer.held, only.segments_read) == ((), "", 6)
    assert only.tokenizer.bytes_fed == state.tokenizer.bytes_fed
