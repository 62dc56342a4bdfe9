"""Evidence: places of a session's text that may answer a question: looked up by words, then read by the model.

What is found depends on the text alone, so it can be asked while the memory is still reading.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rmt_model.answering import Answer, pointed_answer
from rmt_model.pointers import Pointer
from rmt_model.span_engine import SpanEngine, Window, WindowReading
from rmt_server.errors import EmptyQuestionError
from rmt_server.reading.scheduler import Scheduler
from rmt_server.search.indexes import FoundPassage, Indexes
from rmt_server.service.citations import Citation
from rmt_server.store import SessionRecord

__all__ = ["WINDOWS", "Evidence", "asks_for_more", "best_pointers", "notice_on"]

WINDOWS = 8
"""Passages that are read for a question."""
_KEPT = 4
_NEAR = 3.0
"""Places that are further behind the best one than this, in logits, are no part of the evidence."""
NOT_ENGLISH = (
    "The text does not read like English prose, on which answers were tried: trust the quotes, not the confidence."
)
_WORD = re.compile(r"[^\W\d_]+")
_COMMON_TEXT = """
the of and to is it that for with this not are from have they which you were her she all when there can
your would been their has had but
"""
_COMMON = frozenset(_COMMON_TEXT.split())
_LEAST_COMMON_SHARE = 0.1
_LEAST_WORDS = 40
_ASKS_FOR_MORE = re.compile(
    r"""\s*(?:(?:please|can\ you|could\ you|would\ you|i\ want\ you\ to)\s+)*(?:
        (?:summari[sz]e|sum\ up|outline|paraphrase|translate|rewrite|rephrase|proofread|review|critique|compare|contrast
          |list|enumerate|write|draft|compose|generate|discuss|evaluate|analy[sz]e)\b
      | (?:give|show|make|provide)\s+(?:me\s+)?(?:a\s+|an\s+|the\s+)?(?:short\s+|brief\s+|full\s+|complete\s+)?
        (?:summary|overview|list|outline|translation|table|synopsis|abstract)\b
      | what\s+(?:is|are|was|were)\s+(?:the\s+)?(?:main|key|most\ important)\s+(?:points?|ideas?|themes?|takeaways?)\b
      | what\s+(?:is|was)\s+(?:this|the)\s+(?:text|book|document|story|novel|file|chat|article|paper)\s+about\b
      | (?:what\s+do\s+you\s+think|do\s+you\s+(?:think|like|agree)|what\s+is\s+your\s+(?:opinion|view))\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def asks_for_more(question: str) -> bool:
    """Whether a question asks for what no place of a text holds: a summary, a list, a translation, an opinion."""
    return _ASKS_FOR_MORE.match(question) is not None


@dataclass(frozen=True, slots=True)
class Found:
    """What a question's places answer, and the passages that were read for it, the best first."""

    answer: Answer
    passages: Sequence[FoundPassage]
    notice: str | None


class Evidence:
    """Looks up, reads, and weighs."""

    def __init__(self, scheduler: Scheduler, indexes: Indexes) -> None:
        self._scheduler = scheduler
        self._indexes = indexes

    @property
    def reads(self) -> bool:
        """Whether the served checkpoint can point at places."""
        return isinstance(self._scheduler.engine, SpanEngine)

    async def find(
        self, session: SessionRecord, question: str, documents: Sequence[str] | None = None, windows: int = WINDOWS
    ) -> Found:
        """What the places that match a question best answer; nothing is known where no word of it is in the text.

        Raises:
            BusyError: Too many questions wait, or the index is not ready in time.
            TextNotKeptError: Not all of the text is kept.
            RmtModelError: The question does not fit.
        """
        engine = self._scheduler.engine
        assert isinstance(engine, SpanEngine)  # noqa: S101 - see `reads`
        try:
            passages = (await self._indexes.find(session, question, windows, documents)).passages
        except EmptyQuestionError:  # it has no word that could be looked up
            passages = []
        stretches = [Window(one.text, one.start) for one in passages]
        read = await self._scheduler.read_windows(question, stretches) if stretches else []
        places = best_pointers(read, engine.checkpoint.calibration.rank_weight)
        tokens = sum(one.tokens for one in read)
        answer = pointed_answer(engine, places, way="search", prompt_tokens=tokens)
        return Found(answer, passages, notice_on("\n".join(one.text for one in passages)))

    async def gives(self, question: str, citation: Citation) -> bool:
        """Whether the cited sentence, read alone by an empty memory, gives its answer."""
        (read,) = await self._scheduler.read_windows(question, [Window(citation.quote, citation.start)])
        best = read.pointers[0] if read.pointers else None
        return best is not None and best.start < citation.answer_end and citation.answer_start < best.end


def best_pointers(read: Sequence[WindowReading], rank_weight: float) -> list[Pointer]:
    """The best places of passages that were read, each once: passages share sentences.

    Args:
        read: What each passage gave, the passage that matches best first.
        rank_weight: See `rmt_model.calibration.Calibration`.
    """
    weighed = [
        replace(pointer, score=pointer.score - rank_weight * math.log(rank))
        for rank, reading in enumerate(read, 1)
        for pointer in reading.pointers
    ]
    kept: list[Pointer] = []
    for pointer in sorted(weighed, key=lambda one: -one.score):
        near = not kept or kept[0].score - pointer.score <= _NEAR
        if near and len(kept) < _KEPT and not any(one.start < pointer.end and pointer.start < one.end for one in kept):
            kept.append(pointer)
    return kept


def notice_on(text: str) -> str | None:
    """What to say where a text is of another kind than those on which answers were tried."""
    words = _WORD.findall(text.lower())
    letters = sum(character.isalpha() for character in text)
    if letters == 0 or (len(words) < _LEAST_WORDS and text.isascii()):
        return None
    share = sum(word in _COMMON for word in words) / max(1, len(words))
    return NOT_ENGLISH if share < _LEAST_COMMON_SHARE else None
