"""Engine: reads one segment of many lanes at a step, and answers many questions. Owns the device."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from rmt_model.checkpoint import Checkpoint
from rmt_model.decoding import Decoding
from rmt_model.errors import QuestionError, StateError
from rmt_model.prompt import PromptBuilder
from rmt_model.reader import MAX_HELD_CHARS
from rmt_model.state import ReaderState
from rmt_model.steps import steps
from rmt_model.tokenizer import TextTokenizer
from rmt_model.types import Generation, LaneSegment, Prompt

T = TypeVar("T")

__all__ = ["KEPT_MOVEMENTS", "Engine", "EngineFullError"]

KEPT_MOVEMENTS = 64
"""Of how many segments the device keeps how far a lane's memory moved; see `Engine.moved`."""

_LARGEST_VALUE = 1_000_000
_ANSWER_TOKENS = 32_768
"""Most tokens, padding and answers included, whose keys and values all answers under way hold together."""


class EngineFullError(RuntimeError):
    """No memory slot is free; close lanes, or build the engine with more `slots`."""


class Engine:
    """A checkpoint on a device, with slots that hold lanes' memories between steps.

    One thread calls what reads and answers. Memory is float32 [slots, M, d] on the device and does not travel while a
    document is read; the vocabulary projection runs only to decode answers.

    Attributes:
        checkpoint: What is served.
        prompts: Turns questions into tokens by the checkpoint's templates.
        text_tokenizer: Shared by all readers.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, slots: int = 64, max_batch_lanes: int = 16, max_answer_lanes: int = 64
    ) -> None:
        self.checkpoint = checkpoint
        self.model = checkpoint.model.for_inference()
        self.prompts = PromptBuilder(checkpoint.tokenizer, checkpoint.config)
        self.text_tokenizer = TextTokenizer(checkpoint.tokenizer, max_held_chars=MAX_HELD_CHARS)
        self.max_batch_lanes = max_batch_lanes
        self.max_answer_lanes = max_answer_lanes
        memory_tokens, device = checkpoint.config.memory_tokens, self.model.device
        self._memory = torch.zeros(
            slots + 1, memory_tokens, self.model.hidden, device=device
        )  # the last is for filling
        self._moved = torch.zeros(slots + 1, KEPT_MOVEMENTS, memory_tokens, device=device)
        self._read_since = [0] * slots
        self._steps = steps(self.model, self._memory, self._moved, max_batch_lanes)
        self._free = list(range(slots))[::-1]
        with torch.inference_mode():
            self._fresh = self.model.cell.fresh(1).cpu().numpy().copy()

    @property
    def free_slots(self) -> int:
        """Slots that `open` can still hand out."""
        return len(self._free)

    def fresh_state(self, focus: Sequence[str] = ()) -> ReaderState:
        """The state of a session that has read nothing: one lane for each focus, one lane without any.

        Like `check`, it does not touch the device: any thread may call it.

        Raises:
            QuestionError: A focus is empty, longer than a segment, or too long for the model beside one.
        """
        self._require_focus(focus)
        return ReaderState(self.checkpoint.fingerprint, tuple(focus), self._fresh.repeat(max(1, len(focus)), axis=0))

    def check(self, state: ReaderState) -> None:
        """Raise StateError unless a state that came from outside fits this engine's model."""
        self._require_memory(state.memory)
        if np.abs(state.memory).max() > _LARGEST_VALUE:
            raise StateError(f"the state's memory holds values beyond {_LARGEST_VALUE:,}: reading on would overflow")
        vocabulary = self.model.backbone.get_input_embeddings().num_embeddings
        if any(token_id >= vocabulary for token_id in state.pending):
            raise StateError(f"the state holds token ids beyond the vocabulary of {vocabulary}")
        if len(state.tokenizer.held) > MAX_HELD_CHARS:
            raise StateError(f"the state holds back more than {MAX_HELD_CHARS} characters")
        try:
            self._require_focus(state.focus)
        except QuestionError as error:
            raise StateError(f"the state has a focus that nothing can read for: {error}") from error

    def _require_memory(self, memory: NDArray[np.float32]) -> None:
        wanted = (self.checkpoint.config.memory_tokens, self.model.hidden)
        if memory.shape[1:] != wanted:
            raise StateError(
                f"the state's memory is {list(memory.shape)}; the model's is [lanes, {wanted[0]}, {wanted[1]}]"
            )

    def _require_focus(self, focus: Sequence[str]) -> None:
        config = self.checkpoint.config
        for question in focus:
            self._require_positions(
                config.segment_positions + len(self.prompts.focus(question)),
                "the focus with a segment",
            )

    def _require_positions(self, wanted: int, what: str) -> None:
        """The model knows so many positions: beyond them a backbone with learned ones cannot compute at all."""
        known = self.model.positions
        if known is not None and wanted > known:
            raise QuestionError(f"{what} takes {wanted} positions; the model has {known}: shorten it")

    @torch.inference_mode()
    def open(self, memory: NDArray[np.float32] | int) -> tuple[int, ...]:
        """Take slots for lanes and put their memory there.

        Args:
            memory: Memory to go on from, [lanes, M, d]; or a number of lanes that start fresh.

        Returns:
            One slot for each lane.

        Raises:
            EngineFullError: Fewer slots are free than there are lanes.
            StateError: The memory is not one of this model.
        """
        if not isinstance(memory, int):
            self._require_memory(memory)
        lanes = memory if isinstance(memory, int) else len(memory)
        if lanes > len(self._free):
            slots_are_free = f"{len(self._free)} of {len(self._memory) - 1} slots are free"
            raise EngineFullError(f"{lanes} lanes asked for, {slots_are_free}")
        slots = tuple(self._free.pop() for _ in range(lanes))
        start = self.model.cell.fresh(lanes) if isinstance(memory, int) else torch.from_numpy(np.array(memory))
        self._memory[list(slots)] = start.to(self._memory)
        self._forget_movements(slots)
        return slots

    def close(self, slots: Sequence[int]) -> None:
        """Give slots back; their memory is gone."""
        assert not set(slots) & set(self._free), "a slot that is free would be handed out twice"  # noqa: S101
        self._free.extend(slots)

    @torch.inference_mode()
    def memory(self, slots: Sequence[int]) -> NDArray[np.float32]:
        """The lanes' memory as it is now, copied: [lanes, M, d]."""
        return self._memory[list(slots)].cpu().numpy()

    @torch.inference_mode()
    def moved(self, slots: Sequence[int]) -> list[NDArray[np.float32]]:
        """How far each lane's vectors moved at each segment since this was asked last: [segments, M] for each lane.

        At a segment a vector moves by the distance between what it was before and after, over its length before.
        Whoever wants to know of all segments asks at least once in `KEPT_MOVEMENTS` of them.
        """
        counts = [self._read_since[slot] for slot in slots]
        assert max(counts) <= KEPT_MOVEMENTS, "the first of these are written over"  # noqa: S101
        kept = self._moved[list(slots)].cpu().numpy()
        self._forget_movements(slots)
        return [moved[:count] for moved, count in zip(kept, counts, strict=True)]

    @torch.inference_mode()
    def read(self, segments: Sequence[LaneSegment]) -> None:
        """Read one segment in each of the given lanes; a lane may appear once.

        Lanes whose rows have the same length share a forward pass, `max_batch_lanes` at most.
        """
        for rows in self._by_length(segments):
            slots = [row.slot for row in rows]
            places = [self._read_since[slot] % KEPT_MOVEMENTS for slot in slots]
            self._steps.read(slots, places, [row.token_ids for row in rows])
            for slot in slots:
                self._read_since[slot] += 1

    @torch.inference_mode()
    def decode(self, memory: NDArray[np.float32], prompts: Sequence[Prompt]) -> Decoding:
        """Begin to answer prompts, all of them in one batch; `advance` goes on with it.

        Args:
            memory: Memories, [memories, M, d]; a prompt's `slot` is the number of one. They are copied.
            prompts: What to answer.

        Raises:
            QuestionError: The model has too few positions for a prompt and its answer.
        """
        self.require_answerable(prompts)
        on_device = torch.from_numpy(np.array(memory)).to(self._memory)
        return Decoding(self.model, on_device, prompts, self.checkpoint.text_of, self.checkpoint.eos_token_id)

    @torch.inference_mode()
    def advance(self, decoding: Decoding) -> None:
        """Decode a token more of every answer that has not ended."""
        decoding.step()

    def answer(self, prompts: Sequence[Prompt]) -> list[Generation]:
        """Answer each prompt to a lane; no lane's memory changes.

        Raises:
            QuestionError: The model has too few positions for a prompt and its answer.
        """
        slots = sorted({prompt.slot for prompt in prompts})
        return self.answer_from(self.memory(slots), [replace(one, slot=slots.index(one.slot)) for one in prompts])

    def answer_from(self, memory: NDArray[np.float32], prompts: Sequence[Prompt]) -> list[Generation]:
        """Answer each prompt, in batches; for arguments and errors see `decode`."""
        self.require_answerable(prompts)
        generations: list[Generation] = []
        for group in self.answer_batches(prompts):
            decoding = self.decode(memory, group)
            while not decoding.finished:
                self.advance(decoding)
            generations += [row.generation() for row in decoding.rows]
        return generations

    def answer_batches(self, prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
        """Prompts in their order, as many in a batch as are decoded at once: see `answers_at_once`."""
        start = 0
        while start < len(prompts):
            count = self.answers_at_once(prompts[start : start + self.max_answer_lanes])
            yield prompts[start : start + count]
            start += count

    def answers_at_once(self, prompts: Sequence[Prompt], beside: Sequence[Decoding] = ()) -> int:
        """How many of the first prompts may be decoded in a batch: the cache of all batches together is bounded.

        A single prompt is never too long where no other batch is under way.
        """
        room = _ANSWER_TOKENS - sum(one.held for one in beside)
        fits = 0 if beside else 1
        some = prompts[: self.max_answer_lanes]
        while fits < len(some) and Decoding.most_cached(some[: fits + 1], self.checkpoint.config.memory_tokens) <= room:
            fits += 1
        return min(fits, len(some))

    def require_answerable(self, prompts: Sequence[Prompt]) -> None:
        """Raise QuestionError unless the model has enough positions for each prompt and its answer."""
        for prompt in prompts:
            taken = self.checkpoint.config.memory_tokens + len(prompt.token_ids) + prompt.max_tokens
            self._require_positions(taken, "the question with its answer")

    def _forget_movements(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self._read_since[slot] = 0

    def _by_length(self, segments: Sequence[LaneSegment]) -> Iterator[Sequence[LaneSegment]]:
        lengths: dict[int, list[LaneSegment]] = defaultdict(list)
        for segment in segments:
            lengths[len(segment.token_ids)].append(segment)
        for rows in lengths.values():
            yield from self._batches(rows)

    def _batches(self, rows: Sequence[T]) -> Iterator[Sequence[T]]:
        for start in range(0, len(rows), self.max_batch_lanes):
            yield rows[start : start + self.max_batch_lanes]
