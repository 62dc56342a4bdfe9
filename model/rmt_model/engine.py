"""Engine: reads one segment of many lanes at a step, and answers many questions. Owns the device."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from rmt_model.checkpoint import Checkpoint
from rmt_model.decoding import Decoding
from rmt_model.errors import QuestionError, StateError
from rmt_model.lane_engine import KEPT_MOVEMENTS, EngineFullError, LaneEngine, require_values
from rmt_model.prompt import PromptBuilder
from rmt_model.reader import MAX_HELD_CHARS, Reader, text_end
from rmt_model.state import ReaderState
from rmt_model.steps import steps
from rmt_model.tokenizer import TextTokenizer
from rmt_model.types import Generation, LaneSegment, Prompt

__all__ = ["KEPT_MOVEMENTS", "Engine", "EngineFullError"]

_ANSWER_TOKENS = 32_768
"""Most tokens, padding and answers included, whose keys and values all answers under way hold together."""


class Engine(LaneEngine):
    """A checkpoint of a causal language model on a device.

    The vocabulary projection runs only to decode answers.

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
        self.max_answer_lanes = max_answer_lanes
        with torch.inference_mode():
            fresh = self.model.cell.fresh(1)
        super().__init__(checkpoint, fresh, slots=slots, max_batch_lanes=max_batch_lanes)
        self._steps = steps(self.model, self._memory, self._moved, max_batch_lanes)

    @property
    def step_positions(self) -> int:
        """Positions that a segment takes with its memory; a question takes more."""
        return self.checkpoint.config.segment_positions

    def prefixes(self, state: ReaderState) -> list[list[int]]:
        """What each lane reads in front of every segment: nothing in a session without focus."""
        return [self.prompts.focus(question) for question in state.focus] or [[]]

    def source(self, state: ReaderState, end_byte: int | None = None) -> Reader:
        """What turns further bytes into segments, from a state on."""
        return Reader(self.text_tokenizer, self.checkpoint.config.segment_tokens, state, end_byte)

    def segment_rows(
        self, slots: Sequence[int], prefixes: Sequence[Sequence[int]], segment: Sequence[int]
    ) -> list[LaneSegment]:
        """A segment's tokens as a row for each lane, behind what the lane works for."""
        return [LaneSegment(slot, [*prefix, *segment]) for slot, prefix in zip(slots, prefixes, strict=True)]

    def require_question(self, question: str) -> None:
        """Raise QuestionError where a question is empty or longer than a segment."""
        self.prompts.question(question)

    def require_focus(self, focus: Sequence[str]) -> None:
        """Raise QuestionError where a focus is empty, or too long for the model beside a segment."""
        for question in focus:
            self._require_positions(self.step_positions + len(self.prompts.focus(question)), "the focus with a segment")

    def text_end(self, state: ReaderState, document_ends: Sequence[int] = ()) -> int:
        """The byte of the text behind the last segment in the memory; see `rmt_model.reader.text_end`."""
        return text_end(self.text_tokenizer, state, document_ends)

    def waiting_segments(self, state: ReaderState) -> int:
        """Whole segments that a state holds unread."""
        return len(state.pending) // self.checkpoint.config.segment_tokens

    @property
    def _most_held_chars(self) -> int:
        return MAX_HELD_CHARS

    def _check_values(self, state: ReaderState) -> None:
        require_values(state.memory)
        vocabulary = self.model.backbone.get_input_embeddings().num_embeddings
        if any(token_id >= vocabulary for token_id in state.pending):
            raise StateError(f"the state holds token ids beyond the vocabulary of {vocabulary}")

    def _require_positions(self, wanted: int, what: str) -> None:
        """The model knows so many positions: beyond them a backbone with learned ones cannot compute at all."""
        known = self.model.positions
        if known is not None and wanted > known:
            raise QuestionError(f"{what} takes {wanted} positions; the model has {known}: shorten it")

    @torch.inference_mode()
    def read(self, segments: Sequence[LaneSegment]) -> None:
        """Read one segment in each of the given lanes; a lane may appear once.

        Lanes whose rows have the same length share a forward pass, `max_batch_lanes` at most.
        """
        for rows in self._by_length(segments, lambda row: len(row.token_ids)):
            slots = [row.slot for row in rows]
            self._steps.read(slots, self._places_for(slots), [row.token_ids for row in rows])
            self._count_read(slots)

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
