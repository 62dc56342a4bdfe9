"""Pointing: reads examples through an encoder's engine as a server would, side by side, and asks each its question."""

from collections.abc import Callable, Iterator, Sequence

from rmt_model.answering import Answer, Question, answer
from rmt_model.data.story import Mode
from rmt_model.evaluation.asking import dtype_of, series_of
from rmt_model.evaluation.examples import Example, Examples
from rmt_model.evaluation.results import Result
from rmt_model.span_engine import SpanEngine, SpanSegment
from rmt_model.state import ReaderState
from rmt_model.text_source import TextSegment, TextSource

__all__ = ["Pointing"]

_PIECE_BYTES = 1 << 16
"""How much text is cut into segments at a time."""


class Pointing:
    """Measures answers to the questions of a series; what is pointed at counts, however unsure it is.

    `focus` has the question in front of every segment. Else it stands in front of those segments that are only known
    when the document has ended: its last 3,072 characters. `both` has it in front of the first as well.

    Attributes:
        series: What the results belong to.
        available: Examples that there are; None where there is no end.
    """

    def __init__(self, engine: SpanEngine, examples: Examples, mode: Mode) -> None:
        self.series = series_of(examples, mode, engine.checkpoint.fingerprint, dtype_of(engine))
        self.available = examples.available
        self._engine = engine
        self._examples = examples
        self._mode = mode

    def measure(self, numbers: Sequence[int], step: Callable[[int], None]) -> list[Result]:
        """Read and ask the examples of these numbers, one lane each; `step` hears of every token that was read.

        Raises:
            DataError: An example cannot be built.
            QuestionError: A question is too long.
            EngineFullError: There are more numbers than slots.
        """
        group = [self._examples.example(number) for number in numbers]
        states = self._read(group, step)
        return [
            self._result(example, answer(self._engine, state, [Question(example.question)])[0])
            for example, state in zip(group, states, strict=True)
        ]

    def _read(self, group: Sequence[Example], step: Callable[[int], None]) -> list[ReaderState]:
        engine, whole = self._engine, self._mode == "focus"
        focus = [() if self._mode == "recall" else (example.question,) for example in group]
        sources = [engine.source(engine.fresh_state(one)) for one in focus]
        asked = [engine.question(example.question) for example in group]
        texts = [_segments(source, self._text(one), whole=whole) for source, one in zip(sources, group, strict=True)]
        slots = engine.open(len(group))
        try:
            first = True
            while due := [(lane, found) for lane, text in enumerate(texts) if (found := next(text, None)) is not None]:
                asks = whole or (first and self._mode == "both")
                engine.read([SpanSegment(slots[n], one.token_ids, asked[n] if asks else [], one) for n, one in due])
                step(sum(len(segment) for _, segment in due))
                first = False
            memory = engine.memory(slots)
        finally:
            engine.close(slots)
        return [source.state(memory[lane : lane + 1]) for lane, source in enumerate(sources)]

    def _text(self, example: Example) -> bytes:
        return (example.text or self._engine.cutter.decode(example.ids.tolist())).encode()

    def _result(self, example: Example, given: Answer) -> Result:
        text = given.generation.text
        return Result(
            number=example.number,
            scores=self._examples.scores(example, text),
            question=example.question,
            answers=example.answers,
            answer=text,
            confidence=given.generation.probability,
        )


def _segments(source: TextSource, text: bytes, *, whole: bool) -> Iterator[TextSegment]:
    """The segments of a document; where it is not `whole`, without those that are only known at its end."""
    for start in range(0, len(text), _PIECE_BYTES):
        source.feed(text[start : start + _PIECE_BYTES])
        while source.waiting:
            yield source.take()
    if whole:
        source.finish_document()
        while source.waiting:
            yield source.take()
