"""The engine that points: a lane reads as alone, whatever the cuts, and what it points at stands in the text."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rmt_model.answering import Pointed, Question, answer, inquire, pointed_answer, read_windows
from rmt_model.calibration import Calibration, Curve
from rmt_model.checkpoint import load_checkpoint
from rmt_model.encoder_checkpoint import load_encoder_checkpoint
from rmt_model.engine import Engine
from rmt_model.errors import CheckpointError, FingerprintError, QuestionError, StateError
from rmt_model.lane_engine import KEPT_MOVEMENTS, EngineFullError
from rmt_model.pointers import Pointer, pointers_of
from rmt_model.span_engine import SpanEngine, SpanSegment, Window
from rmt_model.state import ReaderState
from rmt_model.tokenizer import TokenizerState
from rmt_model.types import LaneSegment

M, S, D = 8, 96, 128
FOCUS = ("Where is Mary?", "Who went to the office?")
SENTENCES = [
    "Mary went to the bathroom. ",
    "John moved to the hallway, it seems. ",
    "Где Мэри? ",
    "Daniel travelled to the café 🐘. ",
    "北京 人 said nothing.\n",
    "Sandra journeyed back to the garden; the age of wisdom! ",
]
MakeEngine = Callable[..., SpanEngine]


def story(lane: int, sentences: int = 90) -> str:
    """A document, another one for each lane; numbers in it keep the scores of its places apart."""
    rng = Random(lane)
    return "".join(rng.choice(SENTENCES).replace(" ", f" {rng.randrange(10_000)} ", 1) for _ in range(sentences))


@pytest.fixture(scope="module")
def make_engine(tiny_encoder_checkpoint: Any) -> MakeEngine:
    made = tiny_encoder_checkpoint()

    def make(slots: int = 24, max_batch_lanes: int = 8, **fields: Any) -> SpanEngine:
        checkpoint = load_encoder_checkpoint(tiny_encoder_checkpoint(**fields) if fields else made)
        return SpanEngine(checkpoint, slots=slots, max_batch_lanes=max_batch_lanes)

    return make


@pytest.fixture(scope="module")
def engine(make_engine: MakeEngine) -> SpanEngine:
    return make_engine()


def read(
    engine: SpanEngine, *pieces: bytes | None, state: ReaderState | None = None, focus: Sequence[str] = ()
) -> ReaderState:
    """The state after some pieces of text, None for the end of a document; all whole segments are in the memory."""
    state = state or engine.fresh_state(focus)
    source, slots = engine.source(state), engine.open(state.memory)
    for piece in pieces:
        source.finish_document() if piece is None else source.feed(piece)
        while source.waiting:
            engine.read(engine.segment_rows(slots, engine.prefixes(state), source.take()))
    found: ReaderState = source.state(engine.memory(slots))
    engine.close(slots)
    return found


def assert_close(found: NDArray[np.float32], wanted: NDArray[np.float32], tolerance: float = 1e-4) -> None:
    assert np.linalg.norm(found - wanted) <= tolerance * np.linalg.norm(wanted)


def same_places(found: Sequence[Pointer], wanted: Sequence[Pointer]) -> None:
    assert [one.score for one in found] == pytest.approx([one.score for one in wanted], abs=1e-3)
    assert [(one.start, one.end, one.token_ids) for one in found] == [
        (one.start, one.end, one.token_ids) for one in wanted
    ]


# ---------------------------------------------------------------------------- reading


@pytest.mark.parametrize("lanes", [2, 3, 9])
def test_a_lane_in_a_batch_reads_as_alone(engine: SpanEngine, lanes: int) -> None:
    """Whether it works for a question or not, and whatever the lengths of the others' segments."""
    states = [engine.fresh_state(FOCUS[:1] if lane % 2 else ()) for lane in range(lanes)]
    sources = [engine.source(state) for state in states]
    slots = [engine.open(state.memory)[0] for state in states]
    for lane, source in enumerate(sources):
        source.feed(story(lane, 30 + 10 * lane).encode())
        source.finish_document()
    while any(source.waiting for source in sources):
        rows: list[LaneSegment] = []
        for slot, state, source in zip(slots, states, sources, strict=True):
            if source.waiting:
                rows += engine.segment_rows([slot], engine.prefixes(state), source.take())
        engine.read(rows)
    together = engine.memory(slots)
    engine.close(slots)
    for lane, found in enumerate(together):
        alone = read(engine, story(lane, 30 + 10 * lane).encode(), None, focus=states[lane].focus).memory[0]
        assert_close(found[:-1], alone[:-1])
        same_places(pointers_of(found[-1]), pointers_of(alone[-1]))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 4500), max_size=5), st.integers(0, 5))
def test_any_cut_and_any_rest_give_the_same_memory_bit_for_bit(
    engine: SpanEngine, cuts: list[int], put_down: int
) -> None:
    data = story(3, 140).encode()
    wanted = read(engine, data, None, focus=FOCUS)
    assert wanted.segments_read > 8
    borders = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(borders)]
    state = read(engine, *pieces[:put_down], focus=FOCUS)
    found = read(engine, *pieces[put_down:], None, state=ReaderState.from_bytes(state.to_bytes()))
    assert found.to_bytes() == wanted.to_bytes()
    engine.check(found)


def test_alone_the_bits_are_the_same_every_time(engine: SpanEngine) -> None:
    wanted = read(engine, story(1).encode(), None, focus=FOCUS).to_bytes()
    others = engine.open(5)
    assert read(engine, story(1).encode(), None, focus=FOCUS).to_bytes() == wanted
    engine.close(others)


def test_padding_is_no_text(engine: SpanEngine) -> None:
    """The model reads a segment and a question as it reads them without the padding that the engine adds."""
    ids = torch.tensor([engine.cutter.encode(story(0))[:70]])
    asked = torch.tensor([engine.question(FOCUS[0])])
    memory = engine.model.cell.fresh(1)
    with torch.inference_mode():
        wanted = engine.model.read(memory, asked, ids)
        for question_pad, segment_pad in ((0, 26), (11, 0), (40, 58)):
            padded = engine.model.read(
                memory,
                torch.nn.functional.pad(asked, (0, question_pad)),
                torch.nn.functional.pad(ids, (0, segment_pad)),
            )
            torch.testing.assert_close(padded.memory, wanted.memory, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(padded.start[:, :71], wanted.start, rtol=1e-4, atol=1e-4)
            assert (padded.end[:, 71:] == -1e4).all()


def test_segments_as_long_as_the_positions_allow_are_read(make_engine: MakeEngine) -> None:
    """Segments are padded, and what pads takes positions, too."""
    sizes = {"max_position_embeddings": 64 + 128 + 1}
    for segment_tokens in (65, 128):
        engine = make_engine(segment_tokens=segment_tokens, sizes=sizes)
        assert read(engine, story(0).encode(), None, focus=FOCUS).segments_read > 5
    with pytest.raises(CheckpointError, match="129 tokens is too long for 193 positions"):
        make_engine(segment_tokens=129, sizes=sizes)


def test_a_segment_without_tokens_moves_nothing(engine: SpanEngine) -> None:
    state = read(engine, story(2).encode(), None, focus=FOCUS)
    blank = read(engine, b"\n" * 5000, None, b" ", None, state=state)
    assert blank.segments_read == state.segments_read + 3
    np.testing.assert_array_equal(blank.memory, state.memory)
    slots = engine.open(1)
    source = engine.source(engine.fresh_state())
    source.feed(b"Mary went.")
    source.finish_document()
    source.feed(b" ")
    source.finish_document()
    for _ in range(2):
        engine.read(engine.segment_rows(slots, [[]], source.take()))
    (moved,) = engine.moved(slots)
    engine.close(slots)
    assert moved[0, :-1].any()
    assert not moved[1].any()


def test_it_tells_how_far_each_vector_moved_and_whether_the_best_pointer_changed(engine: SpanEngine) -> None:
    state = engine.fresh_state(FOCUS[:1])
    source, (slot,) = engine.source(state), engine.open(state.memory)
    source.feed(story(4, 300).encode())
    assert source.waiting > 10
    wanted = []
    for _ in range(source.waiting):
        before = engine.memory([slot])[0]
        engine.read(engine.segment_rows([slot], engine.prefixes(state), source.take()))
        after = engine.memory([slot])[0]
        far = np.linalg.norm(after[:-1] - before[:-1], axis=1) / np.linalg.norm(before[:-1], axis=1)
        best, other = pointers_of(after[-1])[0], (pointers_of(before[-1]) or [None])[0]
        wanted.append([*far, float(other is None or (best.start, best.end) != (other.start, other.end))])
    (moved,) = engine.moved([slot])
    engine.close([slot])
    assert moved.shape == (len(wanted), M + 1)
    assert len(wanted) < KEPT_MOVEMENTS
    np.testing.assert_allclose(moved, wanted, rtol=1e-3)
    assert set(moved[:, -1].tolist()) == {0.0, 1.0}


def test_nothing_to_read_reads_nothing(engine: SpanEngine) -> None:
    engine.read([])
    slots = engine.open(2)
    before = engine.memory(slots)
    engine.read(engine.segment_rows(slots[:1], [[]], engine.cutter.alone("Mary went to the office.", 0)))
    after = engine.memory(slots)
    engine.close(slots)
    assert not np.array_equal(after[0], before[0])
    np.testing.assert_array_equal(after[1], before[1])


def test_a_row_says_what_it_reads(engine: SpanEngine) -> None:
    segment = engine.cutter.alone("Mary went to the office.", 0)
    (row,) = engine.segment_rows([3], [[7]], segment)
    assert row == SpanSegment(3, segment.token_ids, [7], segment)
    assert engine.step_positions == S + M + 3


# ---------------------------------------------------------------------------- pointers


def quoted(engine: SpanEngine, data: bytes, pointers: Sequence[Pointer]) -> None:
    """Each pointer's bytes are words of the text, and its tokens are those of the words."""
    for one in pointers:
        quote = data[one.start : one.end].decode()
        assert quote == quote.strip() != ""
        assert engine.cutter.encode(quote) == list(one.token_ids)
        before, after = data[: one.start].decode()[-1:], data[one.end :].decode()[:1]
        assert not (before.isalnum() and quote[0].isalnum())
        assert not (after.isalnum() and quote[-1].isalnum())


def test_lanes_with_a_focus_point_into_the_text(engine: SpanEngine) -> None:
    documents = [story(lane, 200).encode() for lane in range(3)]
    state = read(engine, *(part for one in documents for part in (one, None)), focus=FOCUS)
    engine.check(state)
    for row in state.memory[:, -1]:
        pointers = pointers_of(row)
        assert len(pointers) == 4
        assert [one.score for one in pointers] == sorted((one.score for one in pointers), reverse=True)
        quoted(engine, b"".join(documents), pointers)
        assert len({one.start for one in pointers}) == 4
        for one in pointers:
            said = b"".join(documents)[one.start : one.end].decode().lower().replace("é", "e")
            decoded = engine.cutter.decode(one.token_ids)
            assert "".join(c for c in decoded if c.isalnum()) == "".join(c for c in said if c.isalnum())


def test_the_best_pointers_are_those_of_all_segments(engine: SpanEngine) -> None:
    """A lane keeps the best of what each segment gave, with the memory that the lane had there."""
    state, found = engine.fresh_state(FOCUS[:1]), []
    source, (slot,) = engine.source(state), engine.open(state.memory)
    source.feed(story(5, 200).encode())
    source.finish_document()
    while source.waiting:
        segment = source.take()
        memory = engine.memory([slot])
        memory[:, -1] = 0
        found += pointers_of(engine.read_on(memory, engine.prefixes(state), [[segment]])[0, -1])
        engine.read(engine.segment_rows([slot], engine.prefixes(state), segment))
    kept = pointers_of(engine.memory([slot])[0, -1])
    engine.close([slot])
    assert kept == sorted(found, key=lambda one: -one.score)[:4]


def test_a_session_without_focus_reads_too_and_points_at_nothing(engine: SpanEngine) -> None:
    state = read(engine, story(0).encode(), None)
    assert state.lanes == 1
    assert not state.memory[:, -1].any()
    assert not np.array_equal(state.memory[0, :-1], engine.fresh_state().memory[0, :-1])
    focused = read(engine, story(0).encode(), None, focus=FOCUS)
    assert focused.lanes == 2
    assert not np.array_equal(focused.memory[0], focused.memory[1])


def test_windows_are_read_by_themselves(engine: SpanEngine) -> None:
    texts = [story(lane, 3) for lane in range(5)]
    windows = [Window(text, 1000 * (1 << 23) * number) for number, text in enumerate(texts)]
    found = engine.read_windows(FOCUS[0], [*windows, Window(" \n", 5)])
    assert [len(one.pointers) for one in found] == [2] * 5 + [0]
    question = len(engine.question(FOCUS[0]))
    assert [one.tokens for one in found] == [question + len(engine.cutter.encode(text)) for text in (*texts, "")]
    for window, some in zip(windows, [one.pointers for one in found], strict=False):
        quoted(
            engine,
            window.text.encode(),
            [replace(one, start=one.start - window.start, end=one.end - window.start) for one in some],
        )
        (alone,) = engine.read_windows(FOCUS[0], [window])
        same_places(some, alone.pointers)
        fresh = read(engine, window.text.encode(), None, focus=FOCUS[:1])
        same_places(
            [replace(one, start=one.start - window.start, end=one.end - window.start) for one in some],
            pointers_of(fresh.memory[0, -1]),
        )
    assert engine.read_windows(FOCUS[0], []) == []
    with pytest.raises(QuestionError):
        engine.read_windows(" ", windows)


def test_an_engine_that_writes_finds_nothing_in_windows(tiny_checkpoint: Any, engine: SpanEngine) -> None:
    writes = Engine(load_checkpoint(tiny_checkpoint()), slots=2)
    windows = [Window("Mary went to the office.", 0)] * 2
    assert [list(one.pointers) for one in read_windows(writes, "Who?", windows)] == [[], []]
    assert [len(one.pointers) for one in read_windows(engine, "Who?", windows)] == [2, 2]


# ---------------------------------------------------------------------------- questions


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("\0\u200d", "no character that the model knows"),
        ("mary " * 63, "has 63 tokens; at most 62"),
        ("x" * 10_000_000, "has 10000000 characters; at most"),
        ("mary " * 50_000, "at most"),
    ],
    ids=["empty", "blank", "nothing that is left", "long", "ten megabytes", "many words"],
)
def test_what_cannot_be_asked_is_refused(engine: SpanEngine, question: str, complaint: str) -> None:
    state = engine.fresh_state(FOCUS)
    for ask in (
        lambda: engine.require_question(question),
        lambda: engine.fresh_state([FOCUS[0], question]),
        lambda: answer(engine, state, [Question("Who?"), Question(question)]),
        lambda: engine.read_windows(question, []),
    ):
        with pytest.raises(QuestionError, match=complaint):
            ask()


def test_a_question_as_long_as_can_be_is_read(engine: SpanEngine) -> None:
    assert len(engine.question("mary " * 48)) == 48
    state = read(engine, story(0, 30).encode(), None, focus=["mary " * 48])
    assert len(answer(engine, state, [Question("mary " * 48)])[0].pointers) == 4


def test_a_control_token_in_a_question_is_text(engine: SpanEngine) -> None:
    ids = engine.question("Where is [SEP] [PAD]?")
    assert engine.model.sep_id not in ids
    assert 0 not in ids
    assert engine.question("Where is \udcff?") == engine.question("Where is \ufffd?")


def test_asking_changes_nothing(engine: SpanEngine) -> None:
    data = story(1).encode()
    state = read(engine, data[:2000], focus=FOCUS)
    assert state.tokenizer.held
    before, free = state.to_bytes(), engine.free_slots
    asked = [Question(FOCUS[0]), Question("Who?"), Question("Who?", lane=1)]
    first = answer(engine, state, asked)
    assert answer(engine, state, asked) == first
    assert (state.to_bytes(), engine.free_slots) == (before, free)
    assert read(engine, data[2000:], None, state=state).to_bytes() == read(engine, data, None, focus=FOCUS).to_bytes()


def test_a_focus_answers_with_what_its_lane_found(engine: SpanEngine) -> None:
    """At the end of a document nothing is held back: the answer is what lies in the state."""
    data = story(2, 200).encode()
    state = read(engine, data, None, focus=FOCUS)
    for text in (FOCUS[1], "  who WENT to\nthe office? "):
        (found,) = answer(engine, state, [Question(text)])
        assert (found.lane, found.way) == (1, "focus")
        assert list(found.pointers) == pointers_of(state.memory[1, -1])
        assert found.generation.text == engine.cutter.decode(found.pointers[0].token_ids)
        assert found.generation.completion_tokens == 0


def test_the_text_that_is_held_back_counts(engine: SpanEngine) -> None:
    """An answer covers every byte that was read: it is the one that the end of the document would give."""
    data = story(3, 150).encode()
    for cut in (40, 4700, len(data) - 3):
        state = read(engine, data[:cut], focus=FOCUS)
        ended = read(engine, data[:cut], None, focus=FOCUS)
        assert state.tokenizer.held
        assert ended.tokenizer.held == ""
        for lane, text in enumerate(FOCUS):
            (found,) = answer(engine, state, [Question(text)])
            same_places(found.pointers, pointers_of(ended.memory[lane, -1]))
            quoted(engine, data, found.pointers)


def test_segments_that_wait_are_read_for_an_answer(engine: SpanEngine) -> None:
    data = story(4, 200).encode()
    source = engine.source(engine.fresh_state(FOCUS))
    source.feed(data)
    assert source.waiting > 3
    unread = source.state(engine.fresh_state(FOCUS).memory)
    assert engine.waiting_segments(unread) == source.waiting
    assert engine.text_end(unread) == 0
    ended = read(engine, data, None, focus=FOCUS)
    assert (engine.waiting_segments(ended), engine.text_end(ended)) == (0, len(data))
    (found,) = answer(engine, ReaderState.from_bytes(unread.to_bytes()), [Question(FOCUS[0])])
    same_places(found.pointers, pointers_of(ended.memory[0, -1]))


def test_any_other_question_is_recalled(engine: SpanEngine) -> None:
    """A question that comes afterwards reads the held text alone; what lanes found for others is none of its answer."""
    data = story(5, 200).encode()
    state = read(engine, data[:-40], focus=FOCUS)
    held = len(state.tokenizer.held.encode())
    (found,) = answer(engine, state, [Question("Who is it?")])
    assert found.way == "recall"
    assert found.pointers
    assert all(one.start >= state.bytes_read - held for one in found.pointers)
    quoted(engine, data, found.pointers)
    by_lane = [answer(engine, state, [Question("Who is it?", lane=lane)])[0] for lane in range(2)]
    assert [one.lane for one in by_lane] == [0, 1]
    assert found.generation.probability == pytest.approx(max(one.generation.probability for one in by_lane), rel=1e-3)
    (other,) = answer(engine, state, [Question(FOCUS[0], lane=1)])
    assert (other.lane, other.way) == (1, "recall")


def test_where_nothing_is_found_nothing_is_known(engine: SpanEngine) -> None:
    for state in (engine.fresh_state(), engine.fresh_state(FOCUS), read(engine, story(0).encode(), None)):
        (found,) = answer(engine, state, [Question("Who is it?")])
        assert (found.pointers, found.generation.text, found.confidence, found.known) == ((), "", 0.0, False)
        assert found.generation.prompt_tokens == len(engine.question("Who is it?"))
    assert answer(engine, engine.fresh_state(), []) == []


def test_many_questions_are_answered_as_each_alone(engine: SpanEngine) -> None:
    state = read(engine, story(1).encode()[:3000], focus=FOCUS)
    asked = [Question(FOCUS[1]), Question("Who?"), Question("Is John in the hallway?", lane=0)]
    together = answer(engine, state, asked)
    for found, one in zip(together, asked, strict=True):
        (wanted,) = answer(engine, state, [one])
        assert (found.lane, found.way, found.generation.text) == (wanted.lane, wanted.way, wanted.generation.text)
        same_places(found.pointers, wanted.pointers)


def test_an_inquiry_has_nothing_to_decode(engine: SpanEngine) -> None:
    state = read(engine, story(1).encode(), focus=FOCUS)
    inquiry = inquire(engine, state, [Question(FOCUS[0])])
    assert isinstance(inquiry, Pointed)
    assert (list(inquiry.prompts), list(inquiry.candidates)) == ([], [])
    assert inquiry.answers(engine, []) == answer(engine, state, [Question(FOCUS[0])])


@pytest.mark.parametrize("lane", [-1, 2])
def test_a_lane_that_is_not_there_is_refused(engine: SpanEngine, lane: int) -> None:
    with pytest.raises(QuestionError, match=f"lane {lane} does not exist"):
        answer(engine, engine.fresh_state(FOCUS), [Question("Who?", lane=lane)])


def test_confidence_is_what_the_calibration_says_of_each_way(make_engine: MakeEngine) -> None:
    engine = make_engine()
    curves = Calibration(Curve(1.0, 1.0), Curve(1.0, -1.0), 0.5, 0.9, search=Curve(2.0, 0.0))
    engine.checkpoint = replace(engine.checkpoint, calibration=curves)
    pointers = [Pointer(0.5, 3, 7, tuple(engine.cutter.encode("Mary"))), Pointer(-1.0, 20, 24, (1,))]
    chance = 1 / (1 + np.exp(-0.5))
    for way, logit in (("focus", 1.5), ("recall", -0.5), ("search", 1.0)):
        found = pointed_answer(engine, pointers, way=way, lane=3, prompt_tokens=9)
        assert found.confidence == pytest.approx(1 / (1 + np.exp(-logit)))
        assert found.known == (way != "recall")
        assert (found.lane, found.generation.text, found.generation.prompt_tokens) == (3, "mary", 9)
        assert found.generation.probability == pytest.approx(chance)
        assert found.generation.margin == pytest.approx(chance - 1 / (1 + np.exp(1.0)))
    for score, chance in ((1e30, 1.0), (-1e30, 0.0)):
        found = pointed_answer(engine, [Pointer(score, 0, 1, (1,))], way="focus")
        assert found.generation.probability == pytest.approx(chance, abs=1e-9)


# ---------------------------------------------------------------------------- states


def test_a_fork_goes_on_as_the_first_one_does(engine: SpanEngine) -> None:
    text = story(0, 160)
    data, cut = text.encode(), len(text[:3301].encode())
    state = read(engine, data[:cut], focus=FOCUS)
    fork = ReaderState.from_bytes(state.to_bytes())
    engine.check(fork)
    assert fork.to_bytes() == state.to_bytes()
    wanted = read(engine, data[cut:], None, state=state).to_bytes()
    other = read(engine, b"Nothing more. ", None, state=fork)
    assert read(engine, data[cut:], None, state=fork).to_bytes() == wanted
    assert other.to_bytes() != wanted


def test_a_state_says_where_its_text_ends(engine: SpanEngine) -> None:
    data = story(1, 200).encode()
    state = engine.fresh_state()
    assert engine.text_end(state) == 0
    for start in range(0, len(data), 1999):
        state = read(engine, data[start : start + 1999], state=state)
        held = len(state.tokenizer.held.encode()) + len(state.tokenizer.undecoded)
        assert engine.text_end(state) == state.bytes_read - held == engine.source(state).end_byte
    assert engine.text_end(read(engine, None, state=state)) == len(data)


def test_a_fresh_state_has_a_lane_for_each_focus(engine: SpanEngine) -> None:
    assert engine.fresh_state().memory.shape == (1, M + 1, D)
    state = engine.fresh_state(FOCUS)
    assert (state.lanes, state.focus) == (2, FOCUS)
    engine.check(state)
    state.memory[:] = 7
    assert not (engine.fresh_state().memory == 7).any()
    assert engine.prefixes(state) == [engine.question(one) for one in FOCUS]
    assert engine.prefixes(engine.fresh_state()) == [[]]


def state_of(engine: SpanEngine, **changed: Any) -> ReaderState:
    options = {"focus": FOCUS[:1], "memory": np.zeros((1, M + 1, D), np.float32), "bytes_read": 5000, **changed}
    return ReaderState(engine.checkpoint.fingerprint, **options)


def pointing(**fields: float) -> NDArray[np.float32]:
    """A memory that points at bytes 4990 to 5000, with one token, but for these numbers: `f2=7.0` is the third one."""
    memory = np.zeros((1, M + 1, D), np.float32)
    memory[0, -1, :6] = (1.5, 0, 4990, 10, 1, 30)
    for name, value in fields.items():
        memory[0, -1, int(name[1:])] = value
    return memory


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"memory": np.zeros((1, M, D), np.float32)}, "the model's is"),
        ({"memory": np.zeros((1, M + 2, D), np.float32)}, "the model's is"),
        ({"memory": np.zeros((1, M + 1, D + 1), np.float32)}, "the model's is"),
        ({"memory": np.full((1, M + 1, D), -1.1e6, np.float32)}, "beyond"),
        ({"memory": pointing(f3=11.0)}, "beyond its text of 5000"),
        ({"memory": pointing(f1=1.0)}, "beyond its text of 5000"),
        ({"memory": pointing(f5=100_000.0)}, "vocabulary"),
        ({"memory": pointing(f4=25.0)}, "too many tokens"),
        ({"memory": pointing(f2=-4.0)}, "no count"),
        ({"pending": (3,)}, "does not hold"),
        ({"pending": (3, 8), "tokenizer": TokenizerState(held="x" * 10)}, "does not hold"),
        ({"pending": (0,), "tokenizer": TokenizerState(held="x" * 10)}, "does not hold"),
        ({"pending": (-1,), "tokenizer": TokenizerState(held="x" * 10)}, "does not hold"),
        ({"pending": (3073,), "tokenizer": TokenizerState(held="x" * 4000)}, "does not hold"),
        ({"tokenizer": TokenizerState(held="x" * 5001)}, "holds back more text"),
        ({"tokenizer": TokenizerState(held="é" * 2500, undecoded=b"\xc3")}, "holds back more text"),
        ({"tokenizer": TokenizerState(held="x" * 70_000), "bytes_read": 80_000}, "more than 65536 characters"),
        ({"focus": ("",)}, "focus"),
        ({"focus": ("mary " * 63,)}, "focus"),
    ],
)
def test_a_state_that_does_not_fit_the_model_is_refused(
    engine: SpanEngine, changed: dict[str, Any], complaint: str
) -> None:
    engine.check(state_of(engine, memory=pointing()))
    engine.check(state_of(engine, tokenizer=TokenizerState(held="x" * 5000), pending=(3072, 1)))
    with pytest.raises(StateError, match=complaint):
        engine.check(state_of(engine, **changed))


def test_a_state_of_another_checkpoint_is_refused(engine: SpanEngine) -> None:
    state = replace(engine.fresh_state(), fingerprint="another")
    with pytest.raises(FingerprintError, match="another"):
        answer(engine, state, [Question("Where?")])


def test_vectors_without_room_for_pointers_are_refused(make_engine: MakeEngine) -> None:
    with pytest.raises(CheckpointError, match="have 64 numbers; pointers need 128"):
        make_engine(sizes={"hidden_size": 64})


def test_slots_are_given_back_and_used_again(make_engine: MakeEngine) -> None:
    engine = make_engine(slots=3)
    for _ in range(4):
        slots = engine.open(3)
        assert engine.free_slots == 0
        np.testing.assert_array_equal(engine.memory(slots[:1]), engine.fresh_state().memory)
        engine.read(engine.segment_rows(slots, [[]] * 3, engine.cutter.alone("Mary went to the office.", 0)))
        with pytest.raises(EngineFullError, match="0 of 3 slots are free"):
            engine.open(1)
        engine.close(slots)
