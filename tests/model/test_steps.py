"""Recorded steps: what they do to the memory is what plain steps do, whatever was recorded before.

On a CPU the recorder gives the work itself: everything but the CUDA graph is the same. With CUDA there are graphs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from rmt_model import steps as steps_module
from rmt_model.checkpoint import load_checkpoint
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.steps import GraphedSteps, PlainSteps, bucket, cuda_graph, steps

SLOTS, PLACES, DEVICES = 12, 3, ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def model(request: pytest.FixtureRequest, tiny_checkpoint: Any) -> RecurrentMemoryTransformer:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    return load_checkpoint(tiny_checkpoint(), device=request.param, dtype="float32").model.for_inference()


@pytest.fixture
def recorded() -> list[Callable[[], None]]:
    return []


@pytest.fixture
def record(model: RecurrentMemoryTransformer, recorded: list[Callable[[], None]]) -> Callable[..., Any]:
    def record(work: Callable[[], None]) -> Callable[[], object]:
        recorded.append(work)
        if model.device.type == "cuda":
            return cuda_graph(work)
        work()  # as a warm-up does
        return work

    return record


def memory_of(model: RecurrentMemoryTransformer) -> torch.Tensor:
    drawn = torch.randn(SLOTS + 1, 4, model.hidden, generator=torch.Generator().manual_seed(1))
    return drawn.to(model.device)


def moved_of(model: RecurrentMemoryTransformer) -> torch.Tensor:
    return torch.zeros(SLOTS + 1, PLACES, 4, device=model.device)


def ids(seed: int, lanes: int, length: int) -> list[list[int]]:
    found: list[list[int]] = torch.randint(
        1, 300, (lanes, length), generator=torch.Generator().manual_seed(seed)
    ).tolist()
    return found


WORK: Sequence[tuple[Sequence[int], int]] = [
    ([3], 16), ([0, 5], 16), ([7, 2, 11, 4, 9], 16), ([3], 20), ([11, 10, 9, 8, 7, 6, 5], 16), ([1, 3], 16), ([3], 16)
]  # fmt: skip


@torch.inference_mode()
def test_memory_is_what_plain_steps_make_of_it(
    model: RecurrentMemoryTransformer, record: Callable[..., Any], recorded: list[Callable[[], None]]
) -> None:
    plain, graphed, moved_plain, moved_graphed = memory_of(model), memory_of(model), moved_of(model), moved_of(model)
    by_plain, by_graphs = PlainSteps(model, plain, moved_plain), GraphedSteps(model, graphed, moved_graphed, 8, record)
    for seed, (slots, length) in enumerate(WORK):
        places = [(slot + seed) % PLACES for slot in slots]
        by_plain.read(slots, places, ids(seed, len(slots), length))
        by_graphs.read(slots, places, ids(seed, len(slots), length))
        torch.testing.assert_close(graphed[:-1], plain[:-1], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(moved_graphed[:-1], moved_plain[:-1], rtol=1e-3, atol=1e-5)
    written = {(slot, (slot + seed) % PLACES) for seed, (slots, _) in enumerate(WORK) for slot in slots}
    assert {tuple(place) for place in moved_plain.sum(2).nonzero().tolist()} == written
    assert len(recorded) == len({(bucket(len(slots), 8), length) for slots, length in WORK}) < len(WORK)


@torch.inference_mode()
def test_the_step_that_was_not_used_for_longest_is_forgotten(
    model: RecurrentMemoryTransformer,
    record: Callable[..., Any],
    recorded: list[Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps_module, "_MOST_GRAPHS", 2)
    by_graphs = GraphedSteps(model, memory_of(model), moved_of(model), 8, record)
    for length, known in ((16, 1), (17, 2), (16, 2), (18, 3), (16, 3), (17, 4)):
        by_graphs.read([1], [0], ids(length, 1, length))
        assert len(recorded) == known


@pytest.mark.parametrize("most", [1, 6, 16, 100])
def test_buckets_waste_little(most: int) -> None:
    sizes = [bucket(lanes, most) for lanes in range(1, most + 1)]
    assert all(lanes <= size <= most for lanes, size in enumerate(sizes, 1))
    assert all(size <= lanes + 3 or size <= 1.5 * lanes for lanes, size in enumerate(sizes, 1))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) <= 4 + 7 + most // 16 + 1


def test_other_backbones_and_devices_are_read_as_they_come(tiny_checkpoint: Any) -> None:
    for family in ("llama", "gpt2"):
        model = load_checkpoint(tiny_checkpoint(family)).model.for_inference()
        assert isinstance(steps(model, memory_of(model), moved_of(model), 2), PlainSteps)
