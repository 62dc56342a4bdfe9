"""The engine: a lane reads as it would alone, answers as it would alone, and nothing else happens to it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from rmt_model.checkpoint import load_checkpoint
from rmt_model.config import DtypeName
from rmt_model.engine import KEPT_MOVEMENTS, Engine, EngineFullError
from rmt_model.errors import QuestionError, StateError
from rmt_model.state import ReaderState
from rmt_model.tokenizer import TokenizerState
from rmt_model.types import LaneSegment, Prompt

M, S, VOCAB = 4, 16, 350
FAMILIES = ["llama", "gpt2", "qwen2", "gpt_neox"]
MakeEngine = Callable[..., Engine]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    return str(request.param)


@pytest.fixture
def make_engine(tiny_checkpoint: Any, device: str) -> MakeEngine:
    def make(
        family: str = "llama",
        slots: int = 24,
        max_batch_lanes: int = 8,
        dtype: DtypeName = "float32",
        **fields: Any,
    ) -> Engine:
        checkpoint = load_checkpoint(tiny_checkpoint(family, **fields), device=device, dtype=dtype)
        return Engine(checkpoint, slots=slots, max_batch_lanes=max_batch_lanes)

    return make


@pytest.fixture
def engine(make_engine: MakeEngine) -> Engine:
    return make_engine()


def segments(lane: int, count: int, length: int = S) -> list[list[int]]:
    """A lane's own document, in segments of `length` tokens."""
    generator = torch.Generator().manual_seed(lane)
    ids: list[list[int]] = torch.randint(1, VOCAB, (count, length), generator=generator).tolist()
    return ids


def alone(engine: Engine, document: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """The memory of a lane that reads a document by itself, [M, d]."""
    slots = engine.open(1)
    for segment in document:
        engine.read([LaneSegment(slots[0], segment)])
    memory: NDArray[np.float32] = engine.memory(slots)[0]
    engine.close(slots)
    return memory


def assert_close(found: NDArray[np.float32], wanted: NDArray[np.float32], tolerance: float = 1e-4) -> None:
    assert np.linalg.norm(found - wanted) <= tolerance * np.linalg.norm(wanted)


@contextmanager
def forbidden(module: nn.Module) -> Iterator[None]:
    """Inside, nobody calls the module."""

    def refuse(*_: object) -> None:
        raise AssertionError("it was called")

    handle = module.register_forward_pre_hook(refuse)
    yield
    handle.remove()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lanes", [1, 2, 3, 7, 8, 9, 20])
def test_a_lane_in_a_batch_reads_as_alone(make_engine: MakeEngine, family: str, lanes: int) -> None:
    engine = make_engine(family)
    documents = [segments(lane, 6) for lane in range(lanes)]
    slots = engine.open(lanes)
    for step in zip(*documents, strict=True):
        engine.read([LaneSegment(slot, segment) for slot, segment in zip(slots, step, strict=True)])
    for found, document in zip(engine.memory(slots), documents, strict=True):
        assert_close(found, alone(engine, document))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bfloat16_backbone_reads_and_answers_around_a_float32_memory(make_engine: MakeEngine, family: str) -> None:
    """Roundings differ with the batch: the memories lie apart by about what 8 bits of a mantissa cannot tell."""
    engine = make_engine(family, dtype="bfloat16")
    documents = [segments(lane, 6) for lane in range(5)]
    slots = engine.open(5)
    for step in zip(*documents, strict=True):
        engine.read([LaneSegment(slot, segment) for slot, segment in zip(slots, step, strict=True)])
    together = engine.memory(slots)
    assert together.dtype == np.float32
    for found, document in zip(together, documents, strict=True):
        assert_close(found, alone(engine, document), 0.1)
        np.testing.assert_array_equal(alone(engine, document), alone(engine, document))
    answers = engine.answer([Prompt(slot, [5, 6, 7], 4) for slot in slots])
    assert all(answer.completion_tokens >= 1 and 0 < answer.probability <= 1 for answer in answers)


def test_alone_the_bits_are_the_same_every_time(engine: Engine) -> None:
    document = segments(3, 10)
    first = alone(engine, document)
    engine.open(5)  # another slot, other memories beside it
    for _ in range(3):
        np.testing.assert_array_equal(alone(engine, document), first)


@pytest.mark.parametrize("update", ["replace", "gated"])
def test_reading_is_the_plain_loop(make_engine: MakeEngine, device: str, update: str) -> None:
    engine, document = make_engine(update=update), segments(1, 8)
    memory = engine.model.cell.fresh(1)
    with torch.inference_mode():
        for segment in document:
            memory = engine.model.read(memory, torch.tensor([segment], device=device))
    np.testing.assert_array_equal(alone(engine, document), memory[0].cpu().numpy())


def test_lanes_with_prefixes_of_different_lengths(engine: Engine) -> None:
    prefixes = [[5] * length for length in (0, 16, 16, 32, 0, 48)]
    documents = [[[*prefix, *segment] for segment in segments(lane, 5)] for lane, prefix in enumerate(prefixes)]
    slots = engine.open(len(prefixes))
    for step in zip(*documents, strict=True):
        engine.read([LaneSegment(slot, segment) for slot, segment in zip(slots, step, strict=True)])
    for found, document in zip(engine.memory(slots), documents, strict=True):
        assert_close(found, alone(engine, document))


def test_lanes_that_sit_out_stay_as_they_are(engine: Engine) -> None:
    slots = engine.open(3)
    before = engine.memory(slots)
    engine.read([LaneSegment(slots[1], segments(1, 1)[0])])
    after = engine.memory(slots)
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert not np.array_equal(after[1], before[1])


def test_a_lane_goes_on_from_the_memory_it_is_given(engine: Engine) -> None:
    document = segments(2, 9)
    slots = engine.open(1)
    for segment in document[:4]:
        engine.read([LaneSegment(slots[0], segment)])
    put_down = engine.memory(slots)
    engine.close(slots)
    other = engine.open(put_down)
    for segment in document[4:]:
        engine.read([LaneSegment(other[0], segment)])
    np.testing.assert_array_equal(engine.memory(other)[0], alone(engine, document))


def test_the_memory_is_a_copy(engine: Engine) -> None:
    slots = engine.open(2)
    engine.memory(slots)[:] = 7
    given = np.zeros((1, M, engine.model.hidden), np.float32)
    more = engine.open(given)
    given[:] = 7
    assert not (engine.memory((*slots, *more)) == 7).any()


def test_it_tells_how_far_each_vector_moved(make_engine: MakeEngine) -> None:
    """At every segment of every lane since that was asked last, whatever other lanes read meanwhile."""
    engine = make_engine(max_batch_lanes=2)
    slots, others = engine.open(3), engine.open(2)
    documents = [segments(lane, KEPT_MOVEMENTS + 9) for lane in range(5)]
    for asked in (0, 5, KEPT_MOVEMENTS, 4):
        wanted = []
        for number in range(asked):
            before = engine.memory(slots)
            engine.read([LaneSegment(slot, documents[slot][number]) for slot in (*slots, *others)])
            after = engine.memory(slots)
            wanted.append(np.linalg.norm(after - before, axis=2) / np.linalg.norm(before, axis=2))
        engine.read([LaneSegment(slot, documents[slot][asked]) for slot in others])
        moved = engine.moved(slots)
        assert [len(lane) for lane in moved] == [asked] * 3
        for lane, one in enumerate(moved):
            np.testing.assert_allclose(one, [step[lane] for step in wanted] or np.zeros((0, M)), rtol=1e-3)
    engine.close(others)
    assert [len(lane) for lane in engine.moved(engine.open(2))] == [0, 0]


def test_slots_are_given_back_and_used_again(make_engine: MakeEngine) -> None:
    engine = make_engine(slots=4)
    for _ in range(10):
        slots = engine.open(4)
        assert engine.free_slots == 0
        np.testing.assert_array_equal(engine.memory(slots[:1])[0], engine.model.cell.fresh(1)[0].detach().cpu())
        engine.read([LaneSegment(slot, segments(slot, 1)[0]) for slot in slots])
        engine.close(slots)
    with pytest.raises(AssertionError, match="handed out twice"):
        engine.close(slots)
    assert engine.free_slots == 4


def test_a_full_engine_says_so_and_takes_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine(slots=3)
    slots = engine.open(2)
    with pytest.raises(EngineFullError, match="2 lanes asked for, 1 of 3 slots are free"):
        engine.open(2)
    assert engine.free_slots == 1
    engine.close(slots)
    assert len(set(engine.open(3))) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_never_runs_the_vocabulary_projection(
    make_engine: MakeEngine, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it was called")

    engine = make_engine(family)
    slots = engine.open(3)
    monkeypatch.setattr(engine.model, "project", refuse)
    with forbidden(engine.model.backbone.get_output_embeddings()):
        engine.read([LaneSegment(slot, segments(slot, 1)[0]) for slot in slots])
        with pytest.raises(AssertionError, match="it was called"):
            engine.answer([Prompt(slots[0], [1, 2], 2)])


# ---------------------------------------------------------------------------- answers


def questions(slots: Sequence[int]) -> list[Prompt]:
    lengths = [3, 40, 1, 17, 16, 5, 90, 2, 33, 8]
    return [
        Prompt(slot, segments(90 + index, 1, length)[0], max_tokens=4 + index)
        for index, (slot, length) in enumerate(zip(slots, lengths, strict=True))
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_in_a_batch_are_those_of_each_alone(make_engine: MakeEngine, family: str) -> None:
    engine = make_engine(family, max_batch_lanes=4)
    slots = engine.open(10)
    for step in range(3):
        engine.read([LaneSegment(slot, segments(slot, 3)[step]) for slot in slots])
    prompts = questions(slots)
    together = engine.answer(prompts)
    for prompt, found in zip(prompts, together, strict=True):
        (wanted,) = engine.answer([prompt])
        assert (found.text, found.finish_reason) == (wanted.text, wanted.finish_reason)
        assert found.completion_tokens == wanted.completion_tokens <= prompt.max_tokens
        assert found.prompt_tokens == len(prompt.token_ids)
        assert found.probability == pytest.approx(wanted.probability, rel=1e-3)
        assert 0 < found.probability <= 1


def test_a_finished_answer_beside_a_longer_one_stays_within_the_positions(make_engine: MakeEngine) -> None:
    """GPT-2 here has 512 positions: the first answer ends at the last of them, the second goes on for 40 tokens."""
    engine = make_engine("gpt2", segment_tokens=400, stop="")
    slots = engine.open(2)
    prompts = [Prompt(slots[0], segments(1, 1, 512 - M - 4)[0], 4), Prompt(slots[1], [5, 6, 7], 44)]
    for found, prompt in zip(engine.answer(prompts), prompts, strict=True):
        wanted = engine.answer([prompt])[0]
        approximately = {name: pytest.approx(getattr(wanted, name), rel=1e-3) for name in ("probability", "margin")}
        assert found == replace(wanted, **approximately)


def test_answers_are_the_plain_loop(make_engine: MakeEngine, device: str) -> None:
    engine = make_engine(stop="")
    slots = engine.open(1)
    engine.read([LaneSegment(slots[0], segments(0, 1)[0])])
    memory = torch.from_numpy(engine.memory(slots)).to(device)
    asked = segments(5, 1, 9)[0]
    found = engine.answer([Prompt(slots[0], asked, max_tokens=12)])[0]
    ids, log_prob, eos = list(asked), 0.0, engine.checkpoint.eos_token_id
    with torch.inference_mode():
        while len(ids) < len(asked) + 12 and (len(ids) == len(asked) or ids[-1] != eos):
            hidden = engine.model.hidden_after(memory, torch.tensor([ids], device=device))
            scores = engine.model.project(hidden[:, -1]).float().log_softmax(-1)[0]
            ids.append(int(scores.argmax()))
            log_prob += float(scores.max())
    answer = [token_id for token_id in ids[len(asked) :] if token_id != eos]
    assert found.text == engine.checkpoint.text_of(answer).strip()
    assert found.probability == pytest.approx(np.exp(log_prob), rel=1e-3)


def test_asking_changes_no_memory(engine: Engine) -> None:
    slots = engine.open(10)
    engine.read([LaneSegment(slot, segments(slot, 1)[0]) for slot in slots])
    before = engine.memory(slots)
    first = engine.answer(questions(slots))
    np.testing.assert_array_equal(engine.memory(slots), before)
    assert engine.answer(questions(slots)) == first


def test_no_prompts_no_answers(engine: Engine) -> None:
    assert engine.answer([]) == []
    engine.read([])


@pytest.mark.parametrize(("stop", "reason"), [("", "length"), ("e", "stop")])
def test_an_answer_ends_at_the_stop_text_or_at_its_length(make_engine: MakeEngine, stop: str, reason: str) -> None:
    engine = make_engine(stop=stop)
    slots = engine.open(1)
    answers = [engine.answer([Prompt(slots[0], [token_id], 60)])[0] for token_id in range(1, 16)]
    assert reason in {answer.finish_reason for answer in answers}
    for answer in answers:
        assert answer.finish_reason == "stop" or answer.completion_tokens == 60
        assert not stop or stop not in answer.text


# ---------------------------------------------------------------------------- states that come from outside


def test_a_fresh_state_has_a_lane_for_each_focus(engine: Engine) -> None:
    assert engine.fresh_state().lanes == 1
    state = engine.fresh_state(["Where is Mary?", "Who?"])
    assert (state.lanes, state.focus) == (2, ("Where is Mary?", "Who?"))
    engine.check(state)
    state.memory[:] = 7  # a copy: the next one starts as this one did
    assert not (engine.fresh_state().memory == 7).any()
    for focus in ("", " \n\t", "word " * 20 * S, "x" * 10_000_000):
        with pytest.raises(QuestionError):
            engine.fresh_state(["Who?", focus])


def state_of(engine: Engine, **changed: Any) -> ReaderState:
    shape = (1, M, engine.model.hidden)
    options = {"focus": (), "memory": np.zeros(shape, np.float32), **changed}
    return ReaderState(engine.checkpoint.fingerprint, **options)


@pytest.mark.parametrize(
    "changed",
    [
        {"memory": np.zeros((1, M + 1, 32), np.float32)},
        {"memory": np.zeros((1, M, 31), np.float32)},
        {"memory": np.full((1, M, 32), -1.1e6, np.float32)},
        {"pending": (1, 400)},
        {"focus": ("",)},
        {"focus": ("word " * 1000,)},
        {"tokenizer": TokenizerState(held="x" * 1025)},
    ],
    ids=str,
)
def test_a_state_that_does_not_fit_the_model_is_refused(engine: Engine, changed: dict[str, Any]) -> None:
    engine.check(state_of(engine, memory=np.full((1, M, 32), -1e6, np.float32)))
    with pytest.raises(StateError):
        engine.check(state_of(engine, **changed))


def test_a_model_with_learned_positions_refuses_what_it_cannot_count(make_engine: MakeEngine) -> None:
    """GPT-2 here has 512 positions; asking for more would end in the middle of the forward pass."""
    engine = make_engine("gpt2", segment_tokens=400, focus_multiple=128)
    slots = engine.open(1)
    engine.read([LaneSegment(slots[0], [1] * (512 - 2 * M))])
    with pytest.raises(QuestionError, match="positions"):
        engine.fresh_state(["Where is Mary?"])
    fits = 512 - M - 10
    assert engine.answer([Prompt(slots[0], [1] * fits, 10)])
    with pytest.raises(QuestionError, match="positions"):
        engine.answer([Prompt(slots[0], [1] * fits, 11)])
