"""Figure: one measured number with its interval, out of the results of a series."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rmt_model.evaluation.lengths import Unit, length_label
from rmt_model.evaluation.published import MEAN_GROUP
from rmt_model.evaluation.results import ResultsFile, Series
from rmt_model.evaluation.scoring import bootstrap_means, interval_of, wilson

__all__ = ["Figure", "figures_of", "sentence_of"]

_SHARES = ("accuracy", "exact_match")
_MEAN_OF = ("qa1", "qa2", "qa3", "qa4", "qa5")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number.

    Attributes:
        task: Name of the task.
        group: Part of the task.
        mode: How documents were read; `-` where nothing was asked.
        length: Length of the documents, in `unit`; 0: the story or document alone.
        unit: Tokens or segments.
        metric: `accuracy`, `exact_match` and `f1` are percent; `perplexity` has no unit; `improvement` is by how many
            percent the perplexity is lower than after 0 segments.
        value: The number.
        low: Lower end of its 95 % interval: Wilson's for shares of right answers, else from a seeded bootstrap.
        high: Upper end.
        samples: Number of samples.
        seed: Seed of the examples.
        settings: What else they depend on.
    """

    task: str
    group: str
    mode: str
    length: int
    unit: Unit
    metric: str
    value: float
    low: float
    high: float
    samples: int
    seed: int
    settings: str


def figures_of(files: Sequence[ResultsFile]) -> list[Figure]:
    """All figures of results files, in the order of task, group, mode and length; files without results have none."""
    filled = [file for file in files if file.results]
    figures = [figure for file in filled for figure in _of_file(file)]
    figures += [*_improvements(filled), *_means_of_tasks(filled)]
    return sorted(
        figures, key=lambda one: (one.task, *_natural(one.group), one.mode, one.settings, one.metric, one.length)
    )


def sentence_of(figure: Figure) -> str:
    """A figure in one line."""
    percent = "" if figure.metric == "perplexity" else " %"
    label = f"{length_label(figure.length, figure.unit)} {figure.unit}"
    mode = "" if figure.mode == "-" else f" {figure.mode}"
    interval = f"95 % interval {figure.low:.1f}..{figure.high:.1f}"
    name = f"{figure.task} {figure.group}{mode} {label}: {figure.metric.replace('_', ' ')}"
    return f"{name} {figure.value:.1f}{percent} of {figure.samples}, {interval}"


def _of_file(file: ResultsFile) -> list[Figure]:
    scores: dict[str, list[float]] = defaultdict(list)
    for number in sorted(file.results):
        for metric, value in file.results[number].scores.items():
            scores[metric].append(value)
    return [_figure(file.series, metric, np.array(values)) for metric, values in scores.items()]


def _figure(series: Series, metric: str, values: NDArray[np.float64]) -> Figure:
    if metric in _SHARES:
        low, high = wilson(int(values.sum()), len(values))
        return _make(series, metric, 100 * float(values.mean()), (100 * low, 100 * high), len(values))
    draws = bootstrap_means(values)
    if metric == "nll":
        return _make(series, "perplexity", float(np.exp(values.mean())), interval_of(np.exp(draws)), len(values))
    return _make(series, metric, 100 * float(values.mean()), interval_of(100 * draws), len(values))


def _improvements(files: Sequence[ResultsFile]) -> list[Figure]:
    """How much lower the perplexity is than that of the same targets after 0 segments."""
    language = [file for file in files if file.series.task == "lm"]
    starts = {_without_length(file.series): file for file in language if file.series.length == 0}
    figures = []
    for file in language:
        start = starts.get(_without_length(file.series))
        shared = sorted(file.results.keys() & start.results.keys()) if start and file is not start else []
        if start and shared:
            gains = np.array([file.results[n].scores["nll"] - start.results[n].scores["nll"] for n in shared])
            lower = 100 * (1 - np.exp(bootstrap_means(gains)))
            value = 100 * (1 - float(np.exp(gains.mean())))
            figures.append(_make(file.series, "improvement", value, interval_of(lower), len(shared)))
    return figures


def _means_of_tasks(files: Sequence[ResultsFile]) -> list[Figure]:
    """The mean of BABILong's first five tasks where all are there with the same number of samples."""
    groups: dict[tuple[object, ...], dict[str, ResultsFile]] = defaultdict(dict)
    for file in files:
        series = file.series
        if series.task == "babilong":
            settings = _listed({**series.settings, "stories": ""})
            groups[series.mode, series.length, series.seed, settings][series.group] = file
    figures = []
    for found in groups.values():
        tasks = [found[name] for name in _MEAN_OF if name in found]
        if len(tasks) == len(_MEAN_OF) and len({len(one.results) for one in tasks}) == 1:
            rights = np.array([result.scores["accuracy"] for one in tasks for result in one.results.values()])
            figures.append(_figure(_mean_series(tasks[0].series), "accuracy", rights))
    return figures


def _mean_series(series: Series) -> Series:
    return Series(
        task=series.task,
        group=MEAN_GROUP,
        mode=series.mode,
        length=series.length,
        unit=series.unit,
        seed=series.seed,
        settings={name: value for name, value in series.settings.items() if name != "stories"},
        fingerprint=series.fingerprint,
        dtype=series.dtype,
    )


def _make(series: Series, metric: str, value: float, interval: tuple[float, float], samples: int) -> Figure:
    return Figure(
        task=series.task,
        group=series.group,
        mode=series.mode,
        length=series.length,
        unit=series.unit,
        metric=metric,
        value=value,
        low=interval[0],
        high=interval[1],
        samples=samples,
        seed=series.seed,
        settings=_listed(series.settings),
    )


def _without_length(series: Series) -> tuple[object, ...]:
    return series.group, series.seed, _listed(series.settings)


def _listed(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value)


def _natural(group: str) -> tuple[str, int]:
    """`qa10` behind `qa9`."""
    digits = "".join(letter for letter in group if letter.isdigit())
    return group.rstrip("0123456789"), int(digits or 0)
