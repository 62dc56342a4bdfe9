"""Answers to a state: from memory, partial segment and held text; by the right lane; and the state stays as it is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.normalizers import Replace

from rmt_model.answering import Answer, Question, answer, lane_of_focus
from rmt_model.checkpoint import load_checkpoint
from rmt_model.engine import Engine
from rmt_model.errors import CheckpointError, FingerprintError, QuestionError
from rmt_model.prompt import PromptBuilder
from rmt_model.reader import Reader
from rmt_model.state import ReaderState
from rmt_model.types import LaneSegment, Prompt

S = 16
TEXT = b"Mary went to the bathroom. John moved to the hallway. Daniel travelled to the office. " * 20
FOCUS = ("Where is Mary?", "Who is in the office?", "What is it?")


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: Any) -> Engine:
    return Engine(load_checkpoint(tiny_checkpoint()), slots=16, max_batch_lanes=8)


def read(engine: Engine, text: bytes, focus: Sequence[str] = (), take: int | None = None) -> ReaderState:
    """The state after a text, of whose whole segments the memory has all, or only the first `take`."""
    state = engine.fresh_state(focus)
    reader = Reader(engine.text_tokenizer, S, state)
    prefixes = [engine.prompts.focus(question) for question in focus] or [[]]
    slots = engine.open(state.memory)
    reader.feed(text)
    while reader.waiting and (take is None or reader.segments_read < take):
        segment = reader.take()
        engine.read([LaneSegment(slot, [*prefix, *segment]) for slot, prefix in zip(slots, prefixes, strict=True)])
    state = reader.state(engine.memory(slots))
    engine.close(slots)
    return state


def texts(answers: Sequence[Answer]) -> list[tuple[int, str]]:
    return [(one.lane, one.generation.text) for one in answers]


def test_the_prompt_is_focus_partial_segment_and_question(engine: Engine) -> None:
    state = read(engine, TEXT, FOCUS)
    slots = engine.open(state.memory)
    assert len(state.tokenizer.held) > 100
    whole = Reader(engine.text_tokenizer, S, state)
    whole.finish_document()
    prefix = engine.prompts.focus(FOCUS[1])
    while whole.waiting:
        engine.read([LaneSegment(slots[1], [*prefix, *whole.take()])])
    partial = whole.state(state.memory).pending
    prompt = [*prefix, *partial, *engine.prompts.question("Where?")]
    (wanted,) = engine.answer([Prompt(slots[1], prompt, 7)])
    engine.close(slots)
    (found,) = answer(engine, state, [Question("Where?", lane=1, max_tokens=7)])
    assert (found.lane, found.generation) == (1, wanted)


def test_it_matters_not_how_many_segments_were_taken_in(engine: Engine) -> None:
    """What the state holds but the memory does not is read on a copy."""
    asked = [Question("Where is Mary?"), Question("Who?")]
    wanted = answer(engine, read(engine, TEXT), asked)
    for take in (0, 1, 5):
        state = read(engine, TEXT, take=take)
        assert len(state.pending) >= S
        assert texts(answer(engine, state, asked)) == texts(wanted)


def test_asking_changes_nothing(engine: Engine) -> None:
    state = read(engine, TEXT, FOCUS)
    before, free = state.to_bytes(), engine.free_slots
    asked = [Question("Where is Mary?"), Question("Who?"), Question("Who?", lane=2)]
    first = answer(engine, state, asked)
    assert answer(engine, state, asked) == first
    assert state.to_bytes() == before
    assert engine.free_slots == free


def test_many_questions_are_answered_as_each_alone(engine: Engine) -> None:
    state = read(engine, TEXT, FOCUS)
    asked = [Question("Where is Mary?"), Question("Who?"), Question("Is John in the hallway?", lane=0, max_tokens=3)]
    together = answer(engine, state, asked)
    assert texts(together) == texts([answer(engine, state, [one])[0] for one in asked])
    assert together[2].generation.completion_tokens <= 3


def test_a_focus_is_asked_in_its_own_lane_however_it_is_written(engine: Engine) -> None:
    state = read(engine, TEXT, FOCUS)
    for text in ("Who is in the office?", "  who is  in the\nOFFICE? "):
        assert answer(engine, state, [Question(text)])[0].lane == 1
    assert lane_of_focus("Who is in the kitchen?", FOCUS) is None
    assert lane_of_focus("Who?", ()) is None


def test_any_other_question_is_answered_by_the_surest_lane(engine: Engine) -> None:
    state = read(engine, TEXT, FOCUS)
    by_lane = [answer(engine, state, [Question("Why?", lane=lane)])[0] for lane in range(3)]
    surest = max(by_lane, key=lambda one: one.generation.probability)
    (found,) = answer(engine, state, [Question("Why?")])
    assert (found.lane, found.generation.text) == (surest.lane, surest.generation.text)
    assert found.generation.probability == pytest.approx(surest.generation.probability, rel=1e-3)


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        (Question(""), "empty"),
        (Question(" \n\t "), "empty"),
        (Question("word " * 17), "at most 16"),
        (Question("x" * 10_000_000), "at most 16"),
        (Question("Where?", lane=3), "lane 3 does not exist"),
        (Question("Where?", lane=-1), "lane -1 does not exist"),
    ],
    ids=["empty", "blank", "long", "ten megabytes", "lane 3", "lane -1"],
)
def test_what_cannot_be_asked_is_refused_and_leaves_no_slot_taken(
    engine: Engine, question: Question, complaint: str
) -> None:
    state, free = read(engine, TEXT, FOCUS), engine.free_slots
    with pytest.raises(QuestionError, match=complaint):
        answer(engine, state, [Question("Where?"), question])
    assert engine.free_slots == free


def test_a_state_of_another_checkpoint_is_refused(engine: Engine) -> None:
    state = replace(engine.fresh_state(), fingerprint="another")
    with pytest.raises(FingerprintError, match="another"):
        answer(engine, state, [Question("Where?")])


def test_a_session_that_has_read_nothing_answers(engine: Engine) -> None:
    assert answer(engine, engine.fresh_state(), [Question("Where?")])[0].generation.prompt_tokens > 0


def test_a_control_token_in_a_question_is_text(engine: Engine) -> None:
    ids = engine.prompts.question("Where is <|endoftext|>?")
    assert engine.checkpoint.eos_token_id not in ids


def test_half_a_surrogate_pair_in_a_question_is_a_replacement_character(engine: Engine) -> None:
    assert engine.prompts.question("Where is \udcff?") == engine.prompts.question("Where is \ufffd?")
    assert engine.prompts.focus("Where is \ud83d?") == engine.prompts.focus("Where is \ufffd?")


def test_a_tokenizer_without_newlines_is_refused(engine: Engine) -> None:
    without = Tokenizer.from_str(engine.checkpoint.tokenizer.to_str())
    without.normalizer = Replace("\n", "")
    with pytest.raises(CheckpointError, match="newlines"):
        PromptBuilder(without, engine.checkpoint.config)


@pytest.mark.parametrize("multiple", [1, 16, 64])
def test_a_focus_is_padded_in_front_to_a_multiple(tiny_checkpoint: Any, multiple: int) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint(focus_multiple=multiple))
    prompts = PromptBuilder(checkpoint.tokenizer, checkpoint.config)
    newline = prompts.encode("\n")[-1]
    for question in FOCUS:
        ids, bare = prompts.focus(question), prompts.encode(f"Question: {question}\n")
        assert len(ids) % multiple == 0
        assert len(ids) - len(bare) < multiple
        assert ids == [newline] * (len(ids) - len(bare)) + bare
