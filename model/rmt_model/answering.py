"""Answering: questions to a reader state. The state is copied into the engine, so asking never changes it.

`inquire` prepares questions for either kind of engine: a causal language model's answers are to be decoded
(`Inquiry`), an encoder's are there at once (`Pointed`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rmt_model.calibration import Way
from rmt_model.engine import Engine
from rmt_model.errors import FingerprintError, QuestionError
from rmt_model.lane_engine import LaneEngine
from rmt_model.pointers import Pointer, pointers_of
from rmt_model.span_engine import SpanEngine, Window, WindowReading
from rmt_model.state import ReaderState
from rmt_model.tokenizer import StreamingTokenizer
from rmt_model.types import GREEDY, Generation, LaneSegment, Prompt, Sampling

__all__ = [
    "Answer",
    "Candidate",
    "Inquiry",
    "Pointed",
    "Question",
    "answer",
    "bare",
    "focus_ids",
    "inquire",
    "lane_of_focus",
    "normalised",
    "pointed_answer",
    "read_windows",
]


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a state.

    Attributes:
        text: The question.
        lane: The lane that answers; None takes the lane whose focus is this question, else the surest of all.
        max_tokens: Most tokens of the answer; None takes the checkpoint's limit.
        sampling: How the answer's tokens are chosen.
    """

    text: str
    lane: int | None = None
    max_tokens: int | None = None
    sampling: Sampling = GREEDY


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, and by which lane.

    Attributes:
        lane: The lane.
        way: Whether it had worked for the question while it read.
        generation: What was decoded.
        confidence: How likely it is that this is right, by the checkpoint's calibration, 0 to 1.
        known: Whether that is enough to call it an answer; else the document does not seem to say.
        pointers: An encoder's places of the text, the answer's first; none of a model that writes.
    """

    lane: int
    way: Way
    generation: Generation
    confidence: float
    known: bool
    pointers: tuple[Pointer, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt, and the lane that it asks."""

    lane: int
    way: Way
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Questions to one state, ready to be decoded: each to every lane that may answer it.

    Attributes:
        memory: The memory of the lanes that are asked, with whole segments that waited read, [asked lanes, M, d].
        candidates: By question.
    """

    memory: NDArray[np.float32]
    candidates: Sequence[Sequence[Candidate]]

    @classmethod
    def of(cls, engine: Engine, state: ReaderState, questions: Sequence[Question]) -> "Inquiry":
        """Prepare questions; what the state holds beside its memory is read on copies.

        Raises:
            FingerprintError: The state was made by another checkpoint.
            QuestionError: A question is empty, too long, or names a lane that is not there.
            EngineFullError: There are not enough free slots for the lanes.
        """
        require_fingerprint(state, engine.checkpoint.fingerprint)
        lanes = [_lanes_for(question, state) for question in questions]
        used = sorted({lane for some in lanes for lane in some})
        asked = [engine.prompts.question(question.text) for question in questions]
        memory, partial = _with_whole_segments(engine, state, used)
        contexts = {lane: [*focus_ids(engine, state, lane), *partial] for lane in used}
        candidates = [
            [
                Candidate(
                    lane,
                    "focus" if _is_focus(question, state, lane) else "recall",
                    Prompt(
                        slot=used.index(lane),
                        token_ids=[*contexts[lane], *ids],
                        max_tokens=question.max_tokens or engine.checkpoint.config.max_answer_tokens,
                        context_tokens=len(contexts[lane]),
                        sampling=question.sampling,
                    ),
                )
                for lane in some
            ]
            for question, ids, some in zip(questions, asked, lanes, strict=True)
        ]
        inquiry = cls(memory, candidates)
        engine.require_answerable(inquiry.prompts)
        return inquiry

    @property
    def prompts(self) -> list[Prompt]:
        """All prompts, those of a question one after another; their slots are rows of `memory`."""
        return [candidate.prompt for some in self.candidates for candidate in some]

    def answers(self, engine: LaneEngine, generations: Sequence[Generation]) -> list[Answer]:
        """The answer to each question, from what was decoded for all prompts."""
        decoded = iter(generations)
        return [_surest([_judged(engine, one, next(decoded)) for one in some]) for some in self.candidates]


@dataclass(frozen=True, slots=True)
class Pointed:
    """An encoder's answers, which are there without decoding.

    Attributes:
        given: The answers, in the order of the questions.
    """

    given: Sequence[Answer]

    @property
    def prompts(self) -> list[Prompt]:
        """Nothing is to be decoded."""
        return []

    @property
    def candidates(self) -> Sequence[Sequence[Candidate]]:
        """Nothing is to be decoded."""
        return []

    def answers(self, engine: LaneEngine, generations: Sequence[Generation]) -> list[Answer]:
        """The answer to each question."""
        del engine, generations
        return list(self.given)


def inquire(engine: LaneEngine, state: ReaderState, questions: Sequence[Question]) -> Inquiry | Pointed:
    """Prepare questions to a state, for an engine of either kind.

    Raises:
        FingerprintError: The state was made by another checkpoint.
        QuestionError: A question is empty, too long, or names a lane that is not there.
        EngineFullError: There are not enough free slots for the lanes.
    """
    if isinstance(engine, SpanEngine):
        return _pointed(engine, state, questions)
    assert isinstance(engine, Engine)  # noqa: S101 - there are two kinds
    return Inquiry.of(engine, state, questions)


def read_windows(engine: LaneEngine, question: str, windows: Sequence[Window]) -> Sequence[WindowReading]:
    """The best places of some stretches of a text, each read by itself; none for an engine that does not point.

    Raises:
        QuestionError: The question is empty or too long.
    """
    return (
        engine.read_windows(question, windows)
        if isinstance(engine, SpanEngine)
        else [WindowReading((), 0)] * len(windows)
    )


def answer(engine: LaneEngine, state: ReaderState, questions: Sequence[Question]) -> list[Answer]:
    """Answer questions from the memory, the partial segment, and the text that is still held back.

    Raises:
        FingerprintError: The state was made by another checkpoint.
        QuestionError: A question is empty, too long, or names a lane that is not there.
    """
    inquiry = inquire(engine, state, questions)
    if isinstance(inquiry, Pointed):
        return list(inquiry.given)
    assert isinstance(engine, Engine)  # noqa: S101 - what is decoded was prepared by one
    return inquiry.answers(engine, engine.answer_from(inquiry.memory, inquiry.prompts))


def pointed_answer(
    engine: SpanEngine, pointers: Sequence[Pointer], *, way: Way, lane: int = 0, prompt_tokens: int = 0
) -> Answer:
    """An answer out of places of the text, best first; nothing where there is none."""
    chances = [_chance(one.score) for one in pointers] or [0.0]
    text = engine.cutter.decode(pointers[0].token_ids) if pointers else ""
    margin = chances[0] - (chances[1] if len(chances) > 1 else 0.0)
    calibration = engine.checkpoint.calibration
    confidence = calibration.confidence(chances[0], way) if pointers else 0.0
    generation = Generation(text, chances[0], margin, "stop", prompt_tokens, 0)
    known = bool(pointers) and confidence >= calibration.least
    return Answer(lane, way, generation, confidence, known, tuple(pointers))


def _pointed(engine: SpanEngine, state: ReaderState, questions: Sequence[Question]) -> Pointed:
    """Read the text that is not in the memory yet with each question, on copies, and see where the lanes point."""
    require_fingerprint(state, engine.checkpoint.fingerprint)
    asked = [(number, lane) for number, one in enumerate(questions) for lane in _lanes_for(one, state)]
    ids = [engine.question(one.text) for one in questions]
    ways: list[Way] = ["focus" if _is_focus(questions[number], state, lane) else "recall" for number, lane in asked]
    memory = state.memory[[lane for _, lane in asked]].copy()
    memory[[way == "recall" for way in ways], -1] = 0.0  # these pointers are another question's
    source = engine.source(state)
    source.finish_document()
    tail = [source.take() for _ in range(source.waiting)]
    read = engine.read_on(memory, [ids[number] for number, _ in asked], [tail] * len(asked))
    tokens = sum(map(len, tail))
    answers: list[list[Answer]] = [[] for _ in questions]
    for (number, lane), way, row in zip(asked, ways, read[:, -1], strict=True):
        taken = len(ids[number]) + tokens
        pointers = _latest_first(pointers_of(row), engine.checkpoint.calibration.as_likely)
        answers[number].append(pointed_answer(engine, pointers, way=way, lane=lane, prompt_tokens=taken))
    return Pointed([_surest(some) for some in answers])


def _latest_first(pointers: list[Pointer], as_likely: float) -> list[Pointer]:
    """The same places; of those that are about as likely as the best one, the last in the text comes first."""
    likely = [one for one in pointers if pointers[0].score - one.score <= as_likely]
    latest = max(likely, key=lambda one: one.start, default=None)
    return pointers if latest is None else [latest, *(one for one in pointers if one is not latest)]


def _chance(score: float) -> float:
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


def _is_focus(question: Question, state: ReaderState, lane: int) -> bool:
    return normalised(question.text) in map(normalised, state.focus[lane : lane + 1])


def lane_of_focus(question: str, focus: Sequence[str]) -> int | None:
    """The lane that read with this question in front of every segment, if there is one."""
    wanted = normalised(question)
    return next((lane for lane, text in enumerate(focus) if normalised(text) == wanted), None)


def normalised(question: str) -> str:
    """What questions that are the same have in common."""
    return " ".join(question.split()).casefold()


def bare(answer: str) -> str:
    """An answer without case, a leading article and a final stop: what answers that are the same have in common."""
    words = answer.casefold().strip(" .").split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("the", "a", "an") else words)


def focus_ids(engine: Engine, state: ReaderState, lane: int) -> list[int]:
    """What a lane reads in front of every segment: nothing in a session without focus."""
    return engine.prompts.focus(state.focus[lane]) if state.focus else []


def require_fingerprint(state: ReaderState, fingerprint: str) -> None:
    """Raise FingerprintError unless a state belongs to the checkpoint of that fingerprint."""
    if state.fingerprint != fingerprint:
        raise FingerprintError(
            f"the state was made by checkpoint {state.fingerprint}, not by {fingerprint}: read the document again"
        )


def _lanes_for(question: Question, state: ReaderState) -> Sequence[int]:
    if question.lane is not None:
        if not 0 <= question.lane < state.lanes:
            raise QuestionError(f"lane {question.lane} does not exist: the session has lanes 0 to {state.lanes - 1}")
        return (question.lane,)
    own = lane_of_focus(question.text, state.focus)
    return range(state.lanes) if own is None else (own,)


def _with_whole_segments(
    engine: Engine, state: ReaderState, lanes: Sequence[int]
) -> tuple[NDArray[np.float32], list[int]]:
    """The lanes' memory with all whole segments that the state holds read, and the tokens of the partial one."""
    held = StreamingTokenizer(engine.text_tokenizer, state.tokenizer).peek()
    tail, size = [*state.pending, *held], engine.checkpoint.config.segment_tokens
    whole, memory = len(tail) - len(tail) % size, state.memory[lanes]
    if not whole:
        return memory, tail
    prefixes = [focus_ids(engine, state, lane) for lane in lanes]
    slots = engine.open(memory)
    try:
        for start in range(0, whole, size):
            segment = tail[start : start + size]
            rows = zip(slots, prefixes, strict=True)
            engine.read([LaneSegment(slot, [*prefix, *segment]) for slot, prefix in rows])
        return engine.memory(slots), tail[whole:]
    finally:
        engine.close(slots)


def _judged(engine: LaneEngine, candidate: Candidate, generation: Generation) -> Answer:
    calibration = engine.served.calibration
    confidence = calibration.confidence(generation.probability, candidate.way)
    return Answer(candidate.lane, candidate.way, generation, confidence, known=confidence >= calibration.least)


def _surest(answers: Sequence[Answer]) -> Answer:
    return max(answers, key=lambda one: (one.confidence, one.generation.probability))
