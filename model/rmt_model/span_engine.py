"""SpanEngine: reads one segment of many lanes at a step with an encoder, and points at answers. Owns the device.

A lane's memory has a row more than the model's vectors: its pointers, which change in the same step (`pointers`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rmt_model.encoder_checkpoint import EncoderCheckpoint
from rmt_model.errors import CheckpointError, QuestionError, StateError
from rmt_model.lane_engine import LaneEngine, require_values
from rmt_model.memory_cell import movement
from rmt_model.pointers import BYTE_UNIT, LEAST_HIDDEN, Pointer, best_spans, merged, pointers_of, require_pointers
from rmt_model.span_reader import SEGMENT_MULTIPLE
from rmt_model.state import ReaderState
from rmt_model.text_source import VIEW_CHARS, SegmentCutter, TextSegment, TextSource
from rmt_model.types import LaneSegment
from rmt_model.unicode import whole_characters

__all__ = ["MOST_QUESTION_TOKENS", "SpanEngine", "SpanSegment", "Window", "WindowReading"]

MOST_QUESTION_TOKENS = 62
"""With [CLS] and [SEP] they fill the places in front of the segment's."""
_MOST_QUESTION_CHARS = 64 * MOST_QUESTION_TOKENS
_QUESTION_MULTIPLE = 16
_MOST_HELD_CHARS = 64 * 1024


@dataclass(frozen=True, slots=True)
class SpanSegment(LaneSegment):
    """One lane's part of a reading step: a segment, and the question that the lane works for.

    Attributes:
        question: Token ids of the question, [Q]; none where the lane has no focus.
        segment: The segment, with the places of its tokens.
    """

    question: Sequence[int]
    segment: TextSegment


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a text that is read by itself.

    Attributes:
        text: The text.
        start: Its first byte in the session's text.
    """

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class WindowReading:
    """What a window gave.

    Attributes:
        pointers: Its best places, best first.
        tokens: Tokens that were read, those of the question included.
    """

    pointers: Sequence[Pointer]
    tokens: int


class SpanEngine(LaneEngine):
    """An encoder with memory on a device.

    Attributes:
        checkpoint: What is served.
        cutter: Cuts text into segments; shared by all sources.
    """

    def __init__(self, checkpoint: EncoderCheckpoint, *, slots: int = 64, max_batch_lanes: int = 16) -> None:
        self.checkpoint = checkpoint
        self.model = checkpoint.model.eval()
        self.cutter = SegmentCutter(checkpoint.tokenizer, checkpoint.config.segment_tokens)
        with torch.inference_mode():
            vectors = self.model.cell.fresh(1)
        if vectors.shape[2] < LEAST_HIDDEN:
            raise CheckpointError(
                f"the encoder's vectors have {vectors.shape[2]} numbers; pointers need {LEAST_HIDDEN}"
            )
        fresh = torch.cat((vectors, torch.zeros_like(vectors[:, :1])), 1)
        super().__init__(checkpoint, fresh, slots=slots, max_batch_lanes=max_batch_lanes)
        self._continues = _continuations(checkpoint).to(self.device)

    @property
    def step_positions(self) -> int:
        """Positions that a segment takes with its memory; a question takes more."""
        return self.checkpoint.config.segment_tokens + self.checkpoint.config.memory_tokens + 3

    def prefixes(self, state: ReaderState) -> list[list[int]]:
        """The question that each lane works for: none in a session without focus."""
        return [self.question(question) for question in state.focus] or [[]]

    def source(self, state: ReaderState, end_byte: int | None = None) -> TextSource:
        """What turns further bytes into segments, from a state on, which knows where its text ends."""
        del end_byte
        return TextSource(self.cutter, state)

    def segment_rows(
        self, slots: Sequence[int], prefixes: Sequence[Sequence[int]], segment: TextSegment
    ) -> list[LaneSegment]:
        """A segment as a row for each lane, with the question that the lane works for."""
        return [
            SpanSegment(slot, segment.token_ids, question, segment)
            for slot, question in zip(slots, prefixes, strict=True)
        ]

    def question(self, question: str) -> list[int]:
        """Token ids of a question, [Q].

        Raises:
            QuestionError: It is empty, or has too many tokens.
        """
        text = whole_characters(" ".join(question.split()))
        if not text:
            raise QuestionError("the question is empty; send a text with at least one visible character")
        if len(text) > _MOST_QUESTION_CHARS:
            most = f"at most {_MOST_QUESTION_CHARS}, and {MOST_QUESTION_TOKENS} tokens, can be asked"
            raise QuestionError(f"the question has {len(text)} characters; {most}")
        ids = self.cutter.encode(text)
        if not ids:
            raise QuestionError("the question has no character that the model knows")
        if len(ids) > MOST_QUESTION_TOKENS:
            raise QuestionError(f"the question has {len(ids)} tokens; at most {MOST_QUESTION_TOKENS} can be asked")
        return ids

    def require_question(self, question: str) -> None:
        """Raise QuestionError where a question is empty or too long."""
        self.question(question)

    def require_focus(self, focus: Sequence[str]) -> None:
        """Raise QuestionError where a focus is empty or too long."""
        for question in focus:
            self.question(question)

    def text_end(self, state: ReaderState, document_ends: Sequence[int] = ()) -> int:
        """The byte of the text behind the last segment in the memory."""
        del document_ends
        held = state.tokenizer
        return max(0, state.bytes_read - len(held.held.encode()) - len(held.undecoded))

    def waiting_segments(self, state: ReaderState) -> int:
        """Whole segments that a state holds unread."""
        return len(state.pending)

    @torch.inference_mode()
    def read(self, segments: Sequence[LaneSegment]) -> None:
        """Read one segment in each of the given lanes; a lane may appear once.

        Lanes that are padded to the same shape share a forward pass. A segment without tokens moves nothing.
        """
        rows = [row for row in segments if isinstance(row, SpanSegment)]
        for some in self._by_length([row for row in rows if row.token_ids], _shape):
            slots = [row.slot for row in some]
            old = self._memory[slots]
            new = self._after(old, [row.question for row in some], [row.segment for row in some])
            self._memory[slots] = new
            self._moved[slots, self._places_for(slots)] = _moved(old, new)
            self._count_read(slots)
        still = [row.slot for row in rows if not row.token_ids]
        if still:
            self._moved[still, self._places_for(still)] = 0.0
            self._count_read(still)

    @torch.inference_mode()
    def read_on(
        self, memory: NDArray[np.float32], questions: Sequence[Sequence[int]], segments: Sequence[Sequence[TextSegment]]
    ) -> NDArray[np.float32]:
        """Read further segments on a copy of some memories, [rows of memory, rows, d], and return what becomes of them.

        Args:
            memory: One memory for each question.
            questions: Token ids of the questions.
            segments: For each, the segments to read, in order.
        """
        lanes = torch.from_numpy(np.array(memory)).to(self._memory)
        for number in range(max(map(len, segments), default=0)):
            due = [lane for lane, some in enumerate(segments) if number < len(some) and len(some[number])]
            rows = [
                SpanSegment(lane, segments[lane][number].token_ids, questions[lane], segments[lane][number])
                for lane in due
            ]
            for some in self._by_length(rows, _shape):
                which = [row.slot for row in some]
                lanes[which] = self._after(lanes[which], [row.question for row in some], [row.segment for row in some])
        return lanes.cpu().numpy()

    def read_windows(self, question: str, windows: Sequence[Window]) -> list[WindowReading]:
        """The best places of each window, each read by itself from an empty memory.

        Raises:
            QuestionError: The question is empty or too long.
        """
        ids = self.question(question)
        segments = [[self.cutter.alone(window.text, window.start)] for window in windows]
        fresh = self._fresh.repeat(len(windows), axis=0)
        rows = self.read_on(fresh, [ids] * len(windows), segments)[:, -1]
        return [
            WindowReading(pointers_of(row), len(ids) + len(segment))
            for row, (segment,) in zip(rows, segments, strict=True)
        ]

    @property
    def _most_held_chars(self) -> int:
        return _MOST_HELD_CHARS

    def _check_values(self, state: ReaderState) -> None:
        require_values(state.memory[:, :-1])
        require_pointers(state.memory[:, -1], state.bytes_read, self.checkpoint.tokenizer.get_vocab_size())
        if state.bytes_read < len(state.tokenizer.held.encode()) + len(state.tokenizer.undecoded):
            raise StateError(f"the state holds back more text than the {state.bytes_read} bytes that it has read")
        if sum(state.pending) > len(state.tokenizer.held) or any(not 0 < one <= VIEW_CHARS for one in state.pending):
            raise StateError("the state has segments that wait which its text does not hold")

    def _after(self, memory: Tensor, questions: Sequence[Sequence[int]], segments: Sequence[TextSegment]) -> Tensor:
        """Memory and pointers [lanes, M + 1, d] after one segment in each lane."""
        device = memory.device
        width, length = _padded_sizes(questions[0], segments[0])
        question = _rows(questions, width).to(device)
        segment = _rows([one.token_ids for one in segments], length).to(device)
        reading = self.model.read(memory[:, :-1], question, segment)
        starts, ends = (
            _rows(some, length).to(device) for some in ([s.starts for s in segments], [s.ends for s in segments])
        )
        filled = segment != 0
        continues = self._continues[segment] & filled
        last = ~torch.nn.functional.pad(continues[:, 1:], (0, 1))
        spans = best_spans(reading.start, reading.end, ~continues & filled, last & filled)
        at = torch.tensor([[one.start // BYTE_UNIT, one.start % BYTE_UNIT] for one in segments], device=device)
        asked = (question != 0).any(1)
        pointers = merged(memory[:, -1], spans, segment, starts, ends, (at[:, 0], at[:, 1]), asked)
        return torch.cat((reading.memory, pointers[:, None]), 1)


def _continuations(checkpoint: EncoderCheckpoint) -> Tensor:
    """Which tokens go on with the word before them, bool [vocabulary]."""
    vocabulary = checkpoint.tokenizer.get_vocab()
    continues = torch.zeros(checkpoint.model.encoder.config.vocab_size, dtype=torch.bool)
    continues[[number for token, number in vocabulary.items() if token.startswith("##")]] = True
    return continues


def _shape(row: SpanSegment) -> tuple[int, int]:
    return _padded_sizes(row.question, row.segment)


def _padded_sizes(question: Sequence[int], segment: TextSegment) -> tuple[int, int]:
    """What a lane is padded to: it depends on the lane alone, so that a lane in a batch is the lane alone."""
    return _multiple(len(question), _QUESTION_MULTIPLE), _multiple(len(segment), SEGMENT_MULTIPLE)


def _multiple(count: int, unit: int) -> int:
    return max(1, -(-count // unit)) * unit


def _rows(rows: Sequence[Sequence[int] | NDArray[np.int32]], width: int) -> Tensor:
    padded = np.zeros((len(rows), width), np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return torch.from_numpy(padded)


def _moved(old: Tensor, new: Tensor) -> Tensor:
    """How far each vector moved, [lanes, M + 1]; of the pointers 1 where the best one changed, else 0."""
    changed = (old[:, -1, 1:4] != new[:, -1, 1:4]).any(1, keepdim=True)
    return torch.cat((movement(old[:, :-1], new[:, :-1]), changed.float()), 1)
