"""What one undisturbed reading makes of a text: the engine in this process, without a server and without Redis."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from rmt_model.answering import Question, answer, focus_ids
from rmt_model.checkpoint import load_checkpoint
from rmt_model.engine import Engine
from rmt_model.reader import Reader
from rmt_model.state import ReaderState
from rmt_model.types import LaneSegment

ANSWER_TOKENS = 6


class Oracle:
    """Reads and answers one lane at a time, as the servers of a campaign do, so that equal means equal bits."""

    def __init__(self, checkpoint: Path) -> None:
        torch.set_num_threads(1)
        self._engine = Engine(load_checkpoint(checkpoint, device="cpu"), slots=16, max_batch_lanes=1)
        self._lock = threading.Lock()
        self._after = lru_cache(maxsize=64)(self._read)

    def fresh(self, focus: Sequence[str]) -> ReaderState:
        """The state of a session that has read nothing."""
        with self._lock:
            return self._engine.fresh_state(focus)

    def read(self, state: ReaderState, text: bytes) -> ReaderState:
        """The state after one more document."""
        with self._lock:
            return self._after(state.to_bytes(), text)

    def _read(self, blob: bytes, text: bytes) -> ReaderState:
        engine, state = self._engine, ReaderState.from_bytes(blob)
        reader = Reader(engine.text_tokenizer, engine.checkpoint.config.segment_tokens, state)
        prefixes = [focus_ids(engine, state, lane) for lane in range(state.lanes)]
        slots = engine.open(state.memory)
        reader.feed(text)
        reader.finish_document()
        while reader.waiting:
            segment = reader.take()
            engine.read([LaneSegment(slot, [*prefix, *segment]) for slot, prefix in zip(slots, prefixes, strict=False)])
        after = reader.state(engine.memory(slots))
        engine.close(slots)
        return after

    def answers(self, state: ReaderState, questions: Sequence[str]) -> list[tuple[str, int]]:
        """Answer and lane of each question."""
        with self._lock:
            asked = [Question(question, None, ANSWER_TOKENS) for question in questions]
            return [(one.generation.text, one.lane) for one in answer(self._engine, state, asked)]
