"""Readers: each answers a question from windows of a text, so that different models can be judged on the same windows.

* `Pointing`: an encoder reads each window alone and points at the best place of all, as the server's search does.
* `Focused`: a checkpoint of either kind reads the windows one after another, as one text, with the question as focus.
* `benchmarks.llama.LlamaReader`: llama.cpp is given the windows in a prompt.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rmt_model.answering import Answer, Question, answer, pointed_answer
from rmt_model.lane_engine import LaneEngine
from rmt_model.offline import read_document
from rmt_model.pointers import Pointer
from rmt_model.span_engine import SpanEngine, Window
from rmt_server.service.citations import trimmed
from rmt_server.service.evidence import best_pointers

__all__ = ["Focused", "Pointing", "Reader", "Said", "focused", "words_at"]

_NOTHING, _ALONE = -30.0, 10.0
"""The score where there is no place, and the margin where there is only one."""


@dataclass(frozen=True)
class Said:
    """An answer's words, whether the reader stands by them, and of one that points the best score and its margin."""

    text: str
    known: bool
    score: float = _NOTHING
    margin: float = _ALONE


class Reader(Protocol):
    """Answers a question from windows of a text, the best first.

    Raises:
        QuestionError: The question is too long.
    """

    def __call__(self, question: str, windows: Sequence[Window]) -> Said:
        """The answer."""
        ...


class Pointing:
    """An encoder, as the server's search uses it."""

    def __init__(self, engine: SpanEngine) -> None:
        self._engine = engine

    def __call__(self, question: str, windows: Sequence[Window]) -> Said:
        """The best place of all windows."""
        read = self._engine.read_windows(question, windows) if windows else []
        places = best_pointers(read, self._engine.checkpoint.calibration.rank_weight)
        return _said(pointed_answer(self._engine, places, way="search"), windows)


class Focused:
    """A checkpoint of either kind that reads for the question; windows are read in the order of the text."""

    def __init__(self, engine: LaneEngine) -> None:
        self._engine = engine

    def __call__(self, question: str, windows: Sequence[Window]) -> Said:
        """What the memory says, or points at, behind the last window."""
        text = "\n\n".join(one.text for one in sorted(windows, key=lambda one: one.start))
        return _said(focused(self._engine, text, question), [Window(text, 0)])


def focused(engine: LaneEngine, text: str, question: str) -> Answer:
    """What a lane answers that has read a text with the question as its focus."""
    state = read_document(engine, io.BytesIO(text.encode()), [question], report=lambda _: None)
    return answer(engine, state, [Question(question)])[0]


def words_at(pointer: Pointer, windows: Sequence[Window]) -> str:
    """A pointer's words, as they are written."""
    for window in windows:
        data = window.text.encode()
        if window.start <= pointer.start and pointer.end <= window.start + len(data):
            inside = data[pointer.start - window.start : pointer.end - window.start].decode(errors="replace")
            first, last = trimmed(inside, 0, len(inside))
            return inside[first:last]
    raise ValueError(f"no window holds the bytes {pointer.start} to {pointer.end}")


def _said(found: Answer, windows: Sequence[Window]) -> Said:
    if not found.pointers:
        return Said(found.generation.text.strip(), found.known)
    scores = [one.score for one in found.pointers]
    margin = scores[0] - scores[1] if len(scores) > 1 else _ALONE
    return Said(words_at(found.pointers[0], windows), found.known, scores[0], margin)
