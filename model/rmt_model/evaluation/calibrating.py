"""Calibrating: what the probabilities of a checkpoint's answers mean, fitted to results that lie in a folder.

Every second example is fitted to, the others are reported. Questions that their document does not answer count as
answered wrongly, whatever was said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Sheet
from numpy.typing import NDArray

from rmt_model.calibration import Calibration, Curve, Way
from rmt_model.errors import DataError
from rmt_model.evaluation.results import Result, ResultsFile, Series
from rmt_model.evaluation.scoring import wilson

__all__ = ["calibrate", "plot_reliability", "table_of_calibration"]

_BINS = 10
_NEWTON_STEPS = 50
_RIDGE = 1e-3
_SMALLEST = 1e-9
_RIGHT = 1.0
_WAYS: tuple[Way, ...] = ("focus", "recall")
"""How answers that are written are asked for; places that are looked up are an encoder's."""
_COLOURS: Mapping[Way, str] = {"focus": "#0072B2", "recall": "#D55E00"}
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "rmt", "font.size": 9}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Asked:
    """Answers that were met in one way, with the probability of their tokens and whether each was right."""

    probability: Floats
    right: Floats
    present: Floats

    @classmethod
    def of(cls, files: Sequence[ResultsFile], way: Way, *, odd: bool) -> "_Asked":
        """Those of all files read in this way; of odd or of even examples."""
        found = [
            (one.confidence, _is_right(one), not _is_absent(file.series))
            for file in files
            if file.series.mode == way
            for one in file.results.values()
            if one.number % 2 == odd
        ]
        probability, right, present = np.array(found or np.empty((0, 3)), dtype=np.float64).T
        return cls(probability, right, present)

    def confidence(self, curve: Curve) -> Floats:
        """What a curve makes of the probabilities."""
        return np.array([curve.confidence(one) for one in self.probability])


def calibrate(folder: Path, fingerprint: str, *, least: float, trusted: float) -> tuple[Calibration, list[ResultsFile]]:
    """Fit a checkpoint's calibration to its results in a folder, and return it with the files.

    Args:
        folder: Results of `planted`, `babilong` or `paper`, by focus and by recall.
        fingerprint: The checkpoint's.
        least: See `Calibration`.
        trusted: See `Calibration`.

    Raises:
        DataError: There are no such results of one of the two ways, or none that are right, or none that are wrong.
    """
    files = [file for path in sorted(folder.glob("*.jsonl")) if (file := ResultsFile.read(path)) is not None]
    files = [file for file in files if file.series.fingerprint == fingerprint and _is_scored(file)]
    curves = {way: _fitted(_Asked.of(files, way, odd=False), way, folder) for way in _WAYS}
    asked = {way: int(_Asked.of(files, way, odd=False).right.size) for way in _WAYS}
    provenance: dict[str, Any] = {
        "fitted_to": asked,
        "results": sorted({_named(file.series) for file in files}),
        "dtypes": sorted({file.series.dtype for file in files}),
    }
    try:
        return Calibration(curves["focus"], curves["recall"], least, trusted, provenance), files
    except ValueError as error:
        raise DataError(f"no calibration: {error}") from error


def table_of_calibration(calibration: Calibration, files: Sequence[ResultsFile]) -> str:
    """What the calibration does to answers that it was not fitted to."""
    lines = [f"{'way':8}{'answers':>9}{'right':>8}{'ECE before':>12}{'after':>8}   what is withheld"]
    for way in _WAYS:
        asked, curve = _Asked.of(files, way, odd=True), getattr(calibration, way)
        confidence = asked.confidence(curve)
        withheld = confidence < calibration.least
        shares = ", ".join(
            f"{withheld[chosen].mean():.1%} of {chosen.sum()} {name}"
            for name, chosen in (
                ("right answers", asked.right == 1),
                ("wrong ones", (asked.right == 0) & (asked.present == 1)),
                ("to questions without an answer", asked.present == 0),
            )
            if chosen.any()
        )
        before, after = _error(asked.probability, asked.right), _error(confidence, asked.right)
        lines.append(f"{way:8}{asked.right.size:9}{asked.right.mean():8.1%}{before:12.3f}{after:8.3f}   {shares}")
    lines += ["", f"{'series, odd examples':56}{'recall':>9}{'auto':>9}{'reread':>9}{'all rereads':>13}"]
    lines += _auto_lines(calibration, files)
    return "\n".join(lines) + "\n"


def plot_reliability(calibration: Calibration, files: Sequence[ResultsFile], path: Path, *, title: str) -> None:
    """Draw how often answers are right against the confidence in them, for answers that were not fitted to."""
    with mpl.rc_context(_STYLE):
        sheet = Sheet(figsize=(9.0, 4.2), layout="constrained")
        sheet.suptitle(title, fontsize=9)
        for axes, way in zip(sheet.subplots(1, 2, sharey=True), _WAYS, strict=True):
            asked = _Asked.of(files, way, odd=True)
            confidence = asked.confidence(getattr(calibration, way))
            axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
            for values, label, marker, colour in (
                (asked.probability, "probability of the tokens", "s", "#999999"),
                (confidence, "confidence", "o", _COLOURS[way]),
            ):
                _draw(axes, values, asked.right, f"{label}, ECE {_error(values, asked.right):.3f}", marker, colour)
            axes.set_title(f"{way}: {asked.right.size} answers", loc="left")
            axes.set_xlabel("confidence")
            axes.set_xlim(-0.02, 1.02)
            axes.set_ylim(-0.02, 1.02)
            axes.grid(alpha=0.3)
            axes.legend(frameon=False, fontsize=8, loc="upper left")
        sheet.axes[0].set_ylabel("share of right answers")
        sheet.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _draw(axes: Any, values: Floats, right: Floats, label: str, marker: str, colour: str) -> None:
    bins = [(values[inside].mean(), right[inside]) for inside in _binned(values) if inside.any()]
    shares = [float(one.mean()) for _, one in bins]
    spans = [wilson(int(one.sum()), len(one)) for _, one in bins]
    errors = [
        [max(0.0, share - low) for share, (low, _) in zip(shares, spans, strict=True)],
        [max(0.0, high - share) for share, (_, high) in zip(shares, spans, strict=True)],
    ]
    middles = [float(middle) for middle, _ in bins]
    axes.errorbar(middles, shares, yerr=errors, color=colour, marker=marker, markersize=4, capsize=2, label=label)


def _fitted(asked: _Asked, way: Way, folder: Path) -> Curve:
    """Platt's curve by Newton's method, and a touch of ridge: a few examples must not make it a step."""
    if not 0 < asked.right.sum() < asked.right.size:
        raise DataError(f"{folder} holds no results by {way} with right and wrong answers: rmt-model eval planted")
    clipped = asked.probability.clip(_SMALLEST, 1 - _SMALLEST)
    logits = np.log(clipped / (1 - clipped))
    inputs, weights = np.stack((logits, np.ones_like(logits)), axis=1), np.array([1.0, 0.0])
    start = weights.copy()

    def loss(at: Floats) -> float:
        signed = (inputs @ at) * (1 - 2 * asked.right)
        return float(np.logaddexp(0, signed).sum() + _RIDGE / 2 * ((at - start) ** 2).sum())

    for _ in range(_NEWTON_STEPS):
        predicted = 1 / (1 + np.exp(-(inputs @ weights).clip(-60, 60)))
        slope = inputs.T @ (asked.right - predicted) - _RIDGE * (weights - start)
        bend = (inputs * (predicted * (1 - predicted))[:, None]).T @ inputs + _RIDGE * np.eye(2)
        step = np.linalg.solve(bend, slope)
        while loss(weights + step) > loss(weights) and np.abs(step).max() > _SMALLEST:
            step = step / 2  # the loss is convex, but far from its bottom a whole step goes beyond it
        weights = weights + step
    if weights[0] <= 0:
        raise DataError(f"by {way}, likelier answers are no more often right in {folder}: measure more of them")
    return Curve(round(float(weights[0]), 4), round(float(weights[1]), 4))


def _error(values: Floats, right: Floats) -> float:
    """Expected calibration error (Naeini et al., 2015): |confidence - accuracy| over ten bins, by their answers."""
    gaps = [abs(values[one].mean() - right[one].mean()) * one.sum() for one in _binned(values) if one.any()]
    return float(sum(gaps) / max(1, right.size))


def _binned(values: Floats) -> list[NDArray[np.bool_]]:
    numbers = np.minimum((values * _BINS).astype(int), _BINS - 1)
    return [numbers == number for number in range(_BINS)]


def _auto_lines(calibration: Calibration, files: Sequence[ResultsFile]) -> list[str]:
    """For every series that was asked both ways: recall, what `auto` would answer, and how often it would reread."""
    recalls, focuses = (
        {
            replace(file.series, mode="").file_name: file
            for file in files
            if file.series.mode == way and not _is_absent(file.series)
        }
        for way in ("recall", "focus")
    )
    lines = []
    for name in sorted(recalls.keys() & focuses.keys()):
        recall, focus = recalls[name], focuses[name]
        both = [number for number in sorted(recall.results.keys() & focus.results.keys()) if number % 2]
        if not both:
            continue
        recalled = [recall.results[number] for number in both]
        reread = [focus.results[number] for number in both]
        chosen = [_auto(calibration, *pair) for pair in zip(recalled, reread, strict=True)]
        again = np.mean([not _is_trusted(calibration, one) for one in recalled])
        shares = (np.mean([_is_right(one) for one in answers]) for answers in (recalled, chosen, reread))
        lines.append(f"{_named(recall.series):56}" + "".join(f"{share:9.1%}" for share in shares) + f"{again:13.1%}")
    return lines


def _auto(calibration: Calibration, recalled: Result, reread: Result) -> Result:
    """What `auto` answers: what was recalled where that is trusted, else the surer of both."""
    if _is_trusted(calibration, recalled):
        return recalled
    before = calibration.confidence(recalled.confidence, "recall")
    return reread if calibration.confidence(reread.confidence, "focus") >= before else recalled


def _is_trusted(calibration: Calibration, recalled: Result) -> bool:
    return calibration.is_trusted(calibration.confidence(recalled.confidence, "recall"), "recall")


def _named(series: Series) -> str:
    others = series.settings.get("others")
    return f"{series.task} {series.group} {series.length}" + (f" others {others}" if others else "")


def _is_scored(file: ResultsFile) -> bool:
    """Whether its answers are right or wrong; those to questions without an answer are wrong."""
    return _is_absent(file.series) or any("accuracy" in one.scores for one in file.results.values())


def _is_absent(series: Series) -> bool:
    return series.settings.get("absent") == "yes"


def _is_right(result: Result) -> bool:
    return result.scores.get("accuracy") == _RIGHT
