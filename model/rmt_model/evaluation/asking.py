"""Asking: reads examples through a decoder's engine as a server would, side by side, and asks each its question."""

from collections.abc import Callable, Sequence

from rmt_model.data.story import Mode
from rmt_model.engine import Engine
from rmt_model.evaluation.examples import Example, Examples
from rmt_model.evaluation.results import Result, Series
from rmt_model.span_engine import SpanEngine
from rmt_model.types import Generation, LaneSegment, Prompt

__all__ = ["Asking", "dtype_of", "series_of"]


class Asking:
    """Measures answers to the questions of a series.

    `focus` has the question in front of every segment, `both` in front of the first only; in every mode (`recall` has
    nothing else) it comes behind the last. Whole segments go into the memory; what is left is read with the question.

    Attributes:
        series: What the results belong to.
        available: Examples that there are; None where there is no end.
    """

    def __init__(self, engine: Engine, examples: Examples, mode: Mode) -> None:
        self.series = series_of(examples, mode, engine.checkpoint.fingerprint, dtype_of(engine))
        self.available = examples.available
        self._engine = engine
        self._examples = examples
        self._mode = mode

    def measure(self, numbers: Sequence[int], step: Callable[[int], None]) -> list[Result]:
        """Read and ask the examples of these numbers, one lane each; `step` hears of every token that was read.

        Raises:
            DataError: An example cannot be built.
            QuestionError: A question is too long for a segment, or for the model beside one.
            EngineFullError: There are more numbers than slots.
        """
        group = [self._examples.example(number) for number in numbers]
        answers = zip(group, self._read_and_ask(group, step), strict=True)
        return [self._result(example, generation) for example, generation in answers]

    def _read_and_ask(self, group: Sequence[Example], step: Callable[[int], None]) -> list[Generation]:
        engine, size = self._engine, self._engine.checkpoint.config.segment_tokens
        focus = [] if self._mode == "recall" else [example.question for example in group]
        prefixes = [engine.prompts.focus(question) for question in focus] or [[]] * len(group)
        slots = engine.open(engine.fresh_state(focus).memory if focus else len(group))
        lanes = list(zip(slots, prefixes, group, strict=True))
        try:
            for start in range(0, max(len(example.ids) for example in group), size):
                rows = [
                    LaneSegment(slot, self._with_prefix(prefix, example, start, start + size))
                    for slot, prefix, example in lanes
                    if start + size <= len(example.ids)
                ]
                engine.read(rows)
                step(size * len(rows))
            return engine.answer([self._prompt(slot, prefix, example) for slot, prefix, example in lanes])
        finally:
            engine.close(slots)

    def _with_prefix(self, prefix: Sequence[int], example: Example, start: int, stop: int) -> list[int]:
        tokens: list[int] = example.ids[start:stop].tolist()
        return [*prefix, *tokens] if self._mode == "focus" or start == 0 else tokens

    def _prompt(self, slot: int, prefix: Sequence[int], example: Example) -> Prompt:
        config, end = self._engine.checkpoint.config, len(example.ids)
        partial = self._with_prefix(prefix, example, end - end % config.segment_tokens, end)
        question = self._engine.prompts.question(example.question)
        return Prompt(slot, [*partial, *question], config.max_answer_tokens)

    def _result(self, example: Example, generation: Generation) -> Result:
        return Result(
            number=example.number,
            scores=self._examples.scores(example, generation.text),
            question=example.question,
            answers=example.answers,
            answer=generation.text,
            confidence=generation.probability,
        )


def series_of(examples: Examples, mode: Mode, fingerprint: str, dtype: str) -> Series:
    """The series of some examples that a checkpoint reads in one mode."""
    return Series(
        task=examples.task,
        group=examples.group,
        mode=mode,
        length=examples.length,
        unit=examples.unit,
        seed=examples.seed,
        settings=examples.settings,
        fingerprint=fingerprint,
        dtype=dtype,
    )


def dtype_of(engine: Engine | SpanEngine) -> str:
    """Type of the body's weights, as `float32`."""
    body = engine.model.encoder.words.weight if isinstance(engine, SpanEngine) else engine.model.backbone
    return str(body.dtype).removeprefix("torch.")
