"""What every engine has: slots on a device that hold the lanes' memory between steps.

`engine` reads with a causal language model and decodes answers; `span_engine` reads with an encoder and points at them.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rmt_model.calibration import Calibration
from rmt_model.config import RMTConfig
from rmt_model.errors import QuestionError, StateError
from rmt_model.state import ReaderState
from rmt_model.types import LaneSegment

__all__ = ["KEPT_MOVEMENTS", "AnyCheckpoint", "EngineFullError", "LaneEngine", "SegmentSource", "require_values"]

T = TypeVar("T")
Segment = TypeVar("Segment", bound=Sized, covariant=True)
KEPT_MOVEMENTS = 64
"""Of how many segments the device keeps how far a lane's memory moved; see `LaneEngine.moved`."""

_LARGEST_VALUE = 1_000_000


class EngineFullError(RuntimeError):
    """No memory slot is free; close lanes, or build the engine with more `slots`."""


class SegmentSource(Protocol[Segment]):
    """Turns a session's bytes into segments, and knows at each of them what is left over; see `rmt_model.reader`."""

    bytes_read: int
    segments_read: int
    tokens_read: int
    documents_read: int
    end_byte: int

    @property
    def waiting(self) -> int:
        """Whole segments that can be read."""
        ...

    @property
    def within_document(self) -> bool:
        """Whether a document has begun that has not ended."""
        ...

    def feed(self, data: bytes) -> None:
        """Take further bytes of the document."""
        ...

    def finish_document(self) -> None:
        """End the document."""
        ...

    def take(self) -> Segment:
        """The next whole segment, which counts as read from now on; its length is its number of tokens."""
        ...

    def state(self, memory: NDArray[np.float32]) -> ReaderState:
        """The state after the last segment that was taken, with the lanes' memory [lanes, rows, d] as it was then."""
        ...


class AnyCheckpoint(Protocol):
    """What engines of every kind know of their checkpoint."""

    @property
    def name(self) -> str:
        """The name it was asked for by, or its directory's."""
        ...

    @property
    def config(self) -> RMTConfig:
        """What its `rmt.json` says."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names it by its content."""
        ...

    @property
    def calibration(self) -> Calibration:
        """What the probabilities of its answers mean."""
        ...


class LaneEngine(ABC):
    """Slots on a device that hold lanes' memories between steps; how a segment is read is the subclass's.

    One thread calls what reads and answers. A lane's memory is float32 [rows, d] on the device and does not travel
    while a document is read.

    Args:
        fresh: The memory of a lane that has read nothing, float32 [1, rows, d], on the device.
        slots: How many lanes there can be at a time.
        max_batch_lanes: The most lanes of a step.

    Attributes:
        fingerprint: The checkpoint whose memories these are.
    """

    def __init__(self, checkpoint: AnyCheckpoint, fresh: Tensor, *, slots: int, max_batch_lanes: int) -> None:
        self.served = checkpoint
        self.max_batch_lanes = max_batch_lanes
        _, self.rows, self.hidden = fresh.shape
        self._memory = torch.zeros(slots + 1, *fresh.shape[1:], device=fresh.device)  # the last is for filling
        self._moved = torch.zeros(slots + 1, KEPT_MOVEMENTS, self.rows, device=fresh.device)
        self._read_since = [0] * slots
        self._free = list(range(slots))[::-1]
        self._fresh = fresh.detach().cpu().numpy().copy()

    @property
    def device(self) -> torch.device:
        """Where the memory lies."""
        return self._memory.device

    @property
    def free_slots(self) -> int:
        """Slots that `open` can still hand out."""
        return len(self._free)

    @property
    @abstractmethod
    def step_positions(self) -> int:
        """Positions that a segment takes with its memory; a question takes more."""

    @abstractmethod
    def prefixes(self, state: ReaderState) -> list[list[int]]:
        """For each lane, the token ids of what it works for: nothing in a session without focus."""

    @abstractmethod
    def source(self, state: ReaderState, end_byte: int | None = None) -> "SegmentSource[Any]":
        """What turns further bytes into segments, from a state on; see `Reader` for `end_byte`."""

    @abstractmethod
    def segment_rows(self, slots: Sequence[int], prefixes: Sequence[Sequence[int]], segment: Any) -> list[LaneSegment]:
        """A segment that a source gave, as a row for each lane."""

    @abstractmethod
    def read(self, segments: Sequence[LaneSegment]) -> None:
        """Read one segment in each of the given lanes; a lane may appear once."""

    @abstractmethod
    def require_question(self, question: str) -> None:
        """Raise QuestionError where a question cannot be asked."""

    @abstractmethod
    def require_focus(self, focus: Sequence[str]) -> None:
        """Raise QuestionError where a lane cannot work for one of these questions."""

    @abstractmethod
    def text_end(self, state: ReaderState, document_ends: Sequence[int] = ()) -> int:
        """The byte of the text behind the last segment in the memory."""

    @abstractmethod
    def waiting_segments(self, state: ReaderState) -> int:
        """Whole segments that a state holds unread."""

    def fresh_state(self, focus: Sequence[str] = ()) -> ReaderState:
        """The state of a session that has read nothing: one lane for each focus, one lane without any.

        Like `check`, it does not touch the device: any thread may call it.

        Raises:
            QuestionError: A focus is empty, longer than a segment, or too long for the model beside one.
        """
        self.require_focus(focus)
        return ReaderState(self.served.fingerprint, tuple(focus), self._fresh.repeat(max(1, len(focus)), axis=0))

    def check(self, state: ReaderState) -> None:
        """Raise StateError unless a state that came from outside fits this engine's model."""
        self._require_memory(state.memory)
        self._check_values(state)
        if len(state.tokenizer.held) > self._most_held_chars:
            raise StateError(f"the state holds back more than {self._most_held_chars} characters")
        try:
            self.require_focus(state.focus)
        except QuestionError as error:
            raise StateError(f"the state has a focus that nothing can read for: {error}") from error

    @torch.inference_mode()
    def open(self, memory: NDArray[np.float32] | int) -> tuple[int, ...]:
        """Take slots for lanes and put their memory there.

        Args:
            memory: Memory to go on from, [lanes, rows, d]; or a number of lanes that start fresh.

        Returns:
            One slot for each lane.

        Raises:
            EngineFullError: Fewer slots are free than there are lanes.
            StateError: The memory is not one of this model.
        """
        if isinstance(memory, int):
            memory = self._fresh.repeat(memory, axis=0)
        self._require_memory(memory)
        if len(memory) > len(self._free):
            slots_are_free = f"{len(self._free)} of {len(self._memory) - 1} slots are free"
            raise EngineFullError(f"{len(memory)} lanes asked for, {slots_are_free}")
        slots = tuple(self._free.pop() for _ in range(len(memory)))
        self._memory[list(slots)] = torch.from_numpy(np.array(memory)).to(self._memory)
        self._forget_movements(slots)
        return slots

    def close(self, slots: Sequence[int]) -> None:
        """Give slots back; their memory is gone."""
        assert not set(slots) & set(self._free), "a slot that is free would be handed out twice"  # noqa: S101
        self._free.extend(slots)

    @torch.inference_mode()
    def memory(self, slots: Sequence[int]) -> NDArray[np.float32]:
        """The lanes' memory as it is now, copied: [lanes, rows, d]."""
        return self._memory[list(slots)].cpu().numpy()

    @torch.inference_mode()
    def moved(self, slots: Sequence[int]) -> list[NDArray[np.float32]]:
        """How far each lane's vectors moved at each segment since this was asked last: [segments, rows] for each lane.

        At a segment a vector moves by the distance between what it was before and after, over its length before.
        Whoever wants to know of all segments asks at least once in `KEPT_MOVEMENTS` of them.
        """
        counts = [self._read_since[slot] for slot in slots]
        assert max(counts) <= KEPT_MOVEMENTS, "the first of these are written over"  # noqa: S101
        kept = self._moved[list(slots)].cpu().numpy()
        self._forget_movements(slots)
        return [moved[:count] for moved, count in zip(kept, counts, strict=True)]

    @property
    @abstractmethod
    def _most_held_chars(self) -> int:
        """Most characters that a state may hold back."""

    @abstractmethod
    def _check_values(self, state: ReaderState) -> None:
        """Raise StateError where a state holds values that no reader leaves behind."""

    def _require_memory(self, memory: NDArray[np.float32]) -> None:
        if memory.shape[1:] != (self.rows, self.hidden):
            raise StateError(
                f"the state's memory is {list(memory.shape)}; the model's is [lanes, {self.rows}, {self.hidden}]"
            )

    def _places_for(self, slots: Sequence[int]) -> list[int]:
        """Where to note how far each lane moves at its next segment."""
        return [self._read_since[slot] % KEPT_MOVEMENTS for slot in slots]

    def _count_read(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self._read_since[slot] += 1

    def _forget_movements(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self._read_since[slot] = 0

    def _by_length(self, segments: Sequence[T], length: Callable[[T], Any]) -> Iterator[Sequence[T]]:
        """Rows of equal length together, `max_batch_lanes` at most."""
        lengths: dict[Any, list[T]] = defaultdict(list)
        for segment in segments:
            lengths[length(segment)].append(segment)
        for rows in lengths.values():
            for start in range(0, len(rows), self.max_batch_lanes):
                yield rows[start : start + self.max_batch_lanes]


def require_values(memory: NDArray[np.float32]) -> None:
    """Raise StateError where a memory would overflow as it is read on."""
    if np.abs(memory).max() > _LARGEST_VALUE:
        raise StateError(f"the state's memory holds values beyond {_LARGEST_VALUE:,}: reading on would overflow")
