"""Steps: one segment in each of many lanes, whose memory stays on the device; so does how far that moved.

On a CPU a step is computed as it comes. On CUDA it is a graph: recorded once for a number of lanes and a length, then
started by a single call, so that the device never waits for Python. Tokens go through page-locked memory, of which
there are two pieces: while the device copies from one the next step is written to the other, and a caller that is two
steps ahead waits.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from rmt_model.memory_cell import movement
from rmt_model.recurrent import RecurrentMemoryTransformer

__all__ = ["GraphedSteps", "PlainSteps", "Steps", "bucket", "cuda_graph", "steps"]

_MOST_GRAPHS = 64
_WARM_UPS = 3

Recorder = Callable[[Callable[[], None]], Callable[[], object]]
"""Takes work on fixed tensors, and gives what does that work again; doing it meanwhile must do no harm."""


class Steps(Protocol):
    """Reads segments of equal length."""

    def read(self, slots: Sequence[int], places: Sequence[int], token_ids: Sequence[Sequence[int]]) -> None:
        """Read one segment in each lane: ids [lanes][L] into the memory at its slot, how far that moved to a place."""
        ...


def steps(model: RecurrentMemoryTransformer, memory: Tensor, moved: Tensor, most_lanes: int) -> Steps:
    """The fastest ones for a model and where it lies; for arguments see `GraphedSteps`."""
    if memory.device.type == "cuda" and model.lean_body is not None:
        return GraphedSteps(model, memory, moved, most_lanes, cuda_graph)
    return PlainSteps(model, memory, moved)


class PlainSteps:
    """Computed as they come, for any backbone."""

    def __init__(self, model: RecurrentMemoryTransformer, memory: Tensor, moved: Tensor) -> None:
        self._model = model
        self._memory = memory
        self._moved = moved

    def read(self, slots: Sequence[int], places: Sequence[int], token_ids: Sequence[Sequence[int]]) -> None:
        """Read one segment in each lane: ids [lanes][L] into the memory at its slot, how far that moved to a place."""
        where, whither, ids = (torch.tensor(one, device=self._memory.device) for one in (slots, places, token_ids))
        old = self._memory[where]
        new = self._model.read(old, ids)
        self._memory[where] = new
        self._moved[where, whither] = movement(old, new)


class GraphedSteps:
    """Recorded for each bucket of lanes and each length; the last ones that were used are kept.

    Args:
        model: What reads.
        memory: Memories, [slots + 1, M, d]; the last one is written by lanes that only fill a bucket.
        moved: How far they moved, [slots + 1, places, M].
        most_lanes: The most in one step.
        record: How work is recorded.
    """

    def __init__(
        self, model: RecurrentMemoryTransformer, memory: Tensor, moved: Tensor, most_lanes: int, record: Recorder
    ) -> None:
        self._model = model
        self._memory = memory
        self._moved = moved
        self._most_lanes = most_lanes
        self._record = record
        self._recorded: OrderedDict[tuple[int, int], _Recorded] = OrderedDict()

    def read(self, slots: Sequence[int], places: Sequence[int], token_ids: Sequence[Sequence[int]]) -> None:
        """Read one segment in each lane: ids [lanes][L] into the memory at its slot, how far that moved to a place."""
        lanes, length = bucket(len(slots), self._most_lanes), len(token_ids[0])
        rows = [[slot, place, *ids] for slot, place, ids in zip(slots, places, token_ids, strict=True)]
        filling = [len(self._memory) - 1, 0, *token_ids[0]]
        self._step(lanes, length).run([*rows, *[filling] * (lanes - len(rows))])

    def _step(self, lanes: int, length: int) -> "_Recorded":
        key = (lanes, length)
        if key not in self._recorded:
            if len(self._recorded) >= _MOST_GRAPHS:
                self._recorded.popitem(last=False)
            self._recorded[key] = _Recorded(self._model, self._memory, self._moved, lanes, length, self._record)
        self._recorded.move_to_end(key)
        return self._recorded[key]


class _Recorded:
    """A step of so many lanes and tokens, on tensors that stay where they are."""

    def __init__(
        self,
        model: RecurrentMemoryTransformer,
        memory: Tensor,
        moved: Tensor,
        lanes: int,
        length: int,
        record: Recorder,
    ) -> None:
        self._model = model
        self._memory = memory
        self._moved = moved
        # A row for each lane: its slot, the place, then its tokens. Until the first step all lanes only fill.
        self._rows = torch.zeros(lanes, 2 + length, dtype=torch.long, device=memory.device)
        self._rows[:, 0] = len(memory) - 1
        self._staged = [_Staged(self._rows) for _ in range(2)]
        self._again = record(self._compute)

    def run(self, rows: Sequence[Sequence[int]]) -> None:
        """Read the segments of rows; it returns before the device has done so."""
        self._staged.reverse()
        self._staged[0].send(rows)
        self._again()

    def _compute(self) -> None:
        slots, places, ids = self._rows[:, 0], self._rows[:, 1], self._rows[:, 2:]
        old = self._memory.index_select(0, slots)
        new = self._model.read(old, ids)
        self._memory.index_copy_(0, slots, new)
        self._moved.flatten(0, 1).index_copy_(0, slots * self._moved.shape[1] + places, movement(old, new))


class _Staged:
    """Memory of the host from which the device copies by itself."""

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        on_cuda = rows.device.type == "cuda"
        self._host = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=on_cuda)
        self._copied = torch.cuda.Event() if on_cuda else None  # type: ignore[no-untyped-call]

    def send(self, rows: Sequence[Sequence[int]]) -> None:
        """Write rows here, as soon as the last ones have left, and have them copied."""
        if self._copied is not None:
            self._copied.synchronize()
        self._host.copy_(torch.tensor(rows))
        self._rows.copy_(self._host, non_blocking=True)
        if self._copied is not None:
            self._copied.record()


def bucket(lanes: int, most: int) -> int:
    """For how many lanes a step of so many is recorded: for those up to 4, then for multiples of 4, from 32 of 16."""
    spacing = 1 if lanes <= 4 else 4 if lanes <= 32 else 16
    return min(most, -(-lanes // spacing) * spacing)


def cuda_graph(work: Callable[[], None]) -> Callable[[], object]:
    """Record work as a CUDA graph; it is done a few times before, so that nothing is set up while it is recorded."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
