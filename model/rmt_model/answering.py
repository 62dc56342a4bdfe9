"""Answering: questions to a reader state. The state is copied into the engine, so asking never changes it."""

from collections.abc import Sequence
from dataclasses import dataclass

from rmt_model.engine import Engine
from rmt_model.errors import FingerprintError, QuestionError
from rmt_model.state import ReaderState
from rmt_model.tokenizer import StreamingTokenizer
from rmt_model.types import Generation, LaneSegment, Prompt

__all__ = ["Answer", "Question", "answer", "lane_of_focus"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a state.

    Attributes:
        text: The question.
        lane: The lane that answers; None takes the lane whose focus is this question, else the surest of all.
        max_tokens: Most tokens of the answer; None takes the checkpoint's limit.
    """

    text: str
    lane: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, and by which lane."""

    lane: int
    generation: Generation


def answer(engine: Engine, state: ReaderState, questions: Sequence[Question]) -> list[Answer]:
    """Answer questions from the memory, the partial segment, and the text that is still held back.

    Raises:
        FingerprintError: The state was made by another checkpoint.
        QuestionError: A question is empty, too long, or names a lane that is not there.
    """
    require_fingerprint(state, engine.checkpoint.fingerprint)
    lanes = [_lanes_for(question, state) for question in questions]
    used = sorted({lane for some in lanes for lane in some})
    slots = dict(zip(used, engine.open(state.memory[used]), strict=True))
    try:
        partial = _read_whole_segments(engine, state, slots)
        prompts = [
            Prompt(
                slots[lane],
                [*focus_ids(engine, state, lane), *partial, *engine.prompts.question(question.text)],
                question.max_tokens or engine.checkpoint.config.max_answer_tokens,
            )
            for question, some in zip(questions, lanes, strict=True)
            for lane in some
        ]
        generations = iter(engine.answer(prompts))
    finally:
        engine.close(list(slots.values()))
    return [_surest([Answer(lane, next(generations)) for lane in some]) for some in lanes]


def lane_of_focus(question: str, focus: Sequence[str]) -> int | None:
    """The lane that read with this question in front of every segment, if there is one."""
    wanted = _normalised(question)
    return next((lane for lane, text in enumerate(focus) if _normalised(text) == wanted), None)


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


def _read_whole_segments(engine: Engine, state: ReaderState, slots: dict[int, int]) -> list[int]:
    """Read what fills segments already on the copies; return the tokens of the partial segment."""
    held = StreamingTokenizer(engine.text_tokenizer, state.tokenizer).peek()
    tail, size = [*state.pending, *held], engine.checkpoint.config.segment_tokens
    while len(tail) >= size:
        segment, tail = tail[:size], tail[size:]
        engine.read([LaneSegment(slot, [*focus_ids(engine, state, lane), *segment]) for lane, slot in slots.items()])
    return tail


def _surest(answers: Sequence[Answer]) -> Answer:
    return max(answers, key=lambda one: one.generation.confidence)


def _normalised(question: str) -> str:
    return " ".join(question.split()).casefold()
