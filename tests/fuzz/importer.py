"""Damaged and forged snapshots: each is refused in words, or is a state that can be kept, read on and asked.

    python -m tests.fuzz.importer --inputs 1000000 --seed 1

An input is a good file with up to four changes: to its bytes, its two headers, its tensors, or any of them twice.
"""

import json
import random
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.fuzz.campaign import arguments, campaign, kind_of
from tests.fuzz.snapshot_mutations import any_state, mutated
from tests.tiny_models import write_served_checkpoint

from rmt_model.answering import Question, answer
from rmt_model.checkpoint import load_checkpoint
from rmt_model.engine import Engine
from rmt_model.errors import StateError
from rmt_model.reader import Reader
from rmt_model.state import ReaderState
from rmt_model.types import LaneSegment
from rmt_server.app import create_app
from rmt_server.errors import DamagedSnapshotError, RmtServerError, UnprocessableError, WrongCheckpointError
from rmt_server.service.sessions import Service
from rmt_server.settings import Settings
from rmt_server.store import Store

_REFUSALS = (DamagedSnapshotError, WrongCheckpointError, UnprocessableError)
_PEAK_BYTES = 16 << 20
_PROBLEM_BYTES = 4096
_FILES = 8
_WEIGHED_ONE_IN, _READ_ONE_IN = 128, 64


class Importer:
    """The real service in front of a tiny real model; nothing is kept."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._vocabulary = len(engine.checkpoint.tokenizer.get_vocab())
        store = Store.connect("redis://127.0.0.1:1")  # where a state would go: nobody is asked
        self._service: Service = create_app(Settings(), store, engine).state.service

    def run(self, rng: random.Random) -> Iterator[str]:
        """Some files that were one."""
        good = any_state(rng, self.engine.checkpoint.fingerprint, self._vocabulary).to_bytes()
        for _ in range(_FILES):
            weigh, read = rng.randrange(_WEIGHED_ONE_IN) == 0, rng.randrange(_READ_ONE_IN) == 0
            yield self.check(mutated(rng, good), weigh=weigh, read=read)

    def check(self, data: bytes, *, weigh: bool = True, read: bool = True) -> str:
        """What became of a file; an AssertionError, or any other, where that should not be."""
        outcome, state = _weighed(self._imported, data) if weigh else self._imported(data)
        if state is not None:
            _require_that_it_comes_back(state)
            if read:
                self._read_on(state)
                return f"{outcome}, read on"
        return outcome

    def _imported(self, data: bytes) -> tuple[str, ReaderState | None]:
        try:
            return "accepted", self._service._imported(data)
        except _REFUSALS as refusal:
            _require_that_it_can_be_told(refusal)
            _require_that_it_comes_back_if_it_is_one(data)
            return kind_of(refusal), None

    def _read_on(self, state: ReaderState) -> None:
        """Whatever is accepted must not break the process that reads it."""
        answers = answer(self.engine, state, [Question("Where is Mary?", max_tokens=2)])
        json.dumps([one.generation.probability for one in answers], allow_nan=False)
        reader = Reader(self.engine.text_tokenizer, self.engine.checkpoint.config.segment_tokens, state)
        if not state.tokenizer.undecoded:
            reader.feed(b"Mary went to the garden. " * 8)
        reader.finish_document()
        slots = self.engine.open(state.memory)
        while reader.waiting:
            segment = reader.take()
            self.engine.read([LaneSegment(slot, segment) for slot in slots])
        after = reader.state(self.engine.memory(slots))
        self.engine.close(slots)
        _require_that_it_comes_back(after)


def _weighed(imported: Callable[[bytes], Any], data: bytes) -> Any:
    tracemalloc.start()
    try:
        result = imported(data)
        assert tracemalloc.get_traced_memory()[1] < _PEAK_BYTES
    finally:
        tracemalloc.stop()
    return result


def _require_that_it_can_be_told(refusal: RmtServerError) -> None:
    problem = json.dumps(refusal.problem(), ensure_ascii=False, allow_nan=False).encode()
    assert len(problem) <= _PROBLEM_BYTES


def _require_that_it_comes_back(state: ReaderState) -> None:
    data = state.to_bytes()
    assert ReaderState.from_bytes(data).to_bytes() == data


def _require_that_it_comes_back_if_it_is_one(data: bytes) -> None:
    try:
        state = ReaderState.from_bytes(data)
    except StateError:
        return
    _require_that_it_comes_back(state)


def main() -> int:
    """The long form."""
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    np.seterr(all="raise")
    with tempfile.TemporaryDirectory() as directory:
        importer = Importer(Engine(load_checkpoint(write_served_checkpoint(Path(directory)))))
        return campaign(importer.run, options.inputs, options.seed, options.first)


if __name__ == "__main__":
    sys.exit(main())
