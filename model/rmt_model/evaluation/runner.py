"""Runner: measures a series lane group by lane group, keeps what is done, and shows how far it is."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tqdm import tqdm

from rmt_model.evaluation.lengths import length_label
from rmt_model.evaluation.results import Result, ResultsFile, Series

__all__ = ["Measurement", "run_series"]


class Measurement(Protocol):
    """Something that is measured example by example.

    Attributes:
        series: What the results belong to.
        available: Examples that there are; None where there is no end.
    """

    series: Series
    available: int | None

    def measure(self, numbers: Sequence[int], step: Callable[[int], None]) -> list[Result]:
        """Measure the examples of these numbers side by side; `step` hears of every token that was read."""
        ...


def run_series(measurement: Measurement, *, samples: int, lanes: int, folder: Path) -> ResultsFile:
    """Measure the first `samples` examples, or all that there are; those that are in the folder are not measured again.

    Results are written as each group of lanes finishes. Progress goes to stderr if that is a terminal.

    Args:
        measurement: What to measure.
        samples: Number of examples in all.
        lanes: Examples side by side, 1 or more; answers do not depend on it.
        folder: Where results files lie.

    Returns:
        The file with these results, and with others if an earlier run had more.
    """
    wanted = samples if measurement.available is None else min(samples, measurement.available)
    file = ResultsFile.of(folder, measurement.series)
    left = [number for number in range(wanted) if number not in file.results]
    with _Progress(measurement.series, len(left)) as progress:
        for start in range(0, len(left), lanes):
            numbers = left[start : start + lanes]
            file.append(measurement.measure(numbers, progress.step))
            progress.done(len(numbers))
    return file


class _Progress:
    """A bar of tokens; how many there will be is estimated from the examples that are done."""

    def __init__(self, series: Series, examples: int) -> None:
        label = length_label(series.length, series.unit)
        name = f"{series.task} {series.group} {label}"
        shown = examples > 0 and sys.stderr.isatty()
        self._bar = tqdm(desc=name, unit="tok", unit_scale=True, leave=False, file=sys.stderr, disable=not shown)
        self._examples = examples
        self._finished = 0
        self._tokens = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def step(self, tokens: int) -> None:
        """So many tokens more were read."""
        self._tokens += tokens
        self._bar.update(tokens)

    def done(self, examples: int) -> None:
        """So many examples more are finished."""
        self._finished += examples
        self._bar.total = self._tokens * self._examples // self._finished
        self._bar.set_postfix_str(f"{self._finished}/{self._examples} examples")
