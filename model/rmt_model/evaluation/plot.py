"""A plot of figures against length on a log axis: a panel for each task and metric, published curves dashed."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Sheet

from rmt_model.evaluation.figures import Figure
from rmt_model.evaluation.lengths import length_label
from rmt_model.evaluation.published import MEAN_GROUP, Curve, published

__all__ = ["plot_figures"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which colour-blind people tell apart; yellow, too faint on white, is left out."""
_MARKERS = "osD^vPX*"
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "rmt", "font.size": 9}
_WIDTH, _PANEL_HEIGHT = 10.0, 4.0
_BEFORE_FIRST = 4
"""Length 0 has no place on a log axis: it stands by this factor before the shortest other length."""

_LEAST_GAP = 0.045
"""Between two ticks, as a share of the axis."""

Axes = Any


def plot_figures(figures: Sequence[Figure], path: Path, *, title: str) -> None:
    """Write a plot of `figures`, in the format that the ending of `path` names: `.svg` or `.png`."""
    panels = sorted({(figure.task, figure.metric) for figure in figures})
    with mpl.rc_context(_STYLE):
        sheet = Sheet(figsize=(_WIDTH, 0.4 + _PANEL_HEIGHT * len(panels)), layout="constrained")
        sheet.suptitle(title, fontsize=9)
        all_axes = sheet.subplots(len(panels), squeeze=False)[:, 0]
        for axes, (task, metric) in zip(all_axes, panels, strict=True):
            _panel(axes, [one for one in figures if (one.task, one.metric) == (task, metric)])
        sheet.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _panel(axes: Axes, figures: Sequence[Figure]) -> None:
    first = figures[0]
    curves = _published(figures)
    lengths = {figure.length for figure in figures} | {at for curve in curves for at, _ in curve.points}
    zero = min([length for length in lengths if length] or [_BEFORE_FIRST]) / _BEFORE_FIRST
    groups = list(dict.fromkeys(figure.group for figure in figures))
    colours = {group: _COLOURS[at % len(_COLOURS)] for at, group in enumerate(groups)}
    for at, (label, ours) in enumerate(_curves_of(figures).items()):
        _draw(ours, axes, label, colours[ours[0].group], _MARKERS[at % len(_MARKERS)], zero)
    for curve in curves:
        points = [(length or zero, value) for length, value in curve.points]
        label, colour = f"{curve.group}: {curve.name}, published", colours.get(curve.group, "#777777")
        dashes = "--" if curve is published(first.task, curve.group)[0] else ":"
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=dashes, linewidth=1.2, label=label)
    axes.set_xscale("log")
    _label_lengths(axes, figures, curves, zero)
    axes.set_xlabel(f"length in {first.unit}")
    axes.set_title(f"{first.task}: {first.metric.replace('_', ' ')}", loc="left")
    axes.set_ylabel("perplexity" if first.metric == "perplexity" else f"{first.metric.replace('_', ' ')}, %")
    if first.metric in ("accuracy", "exact_match", "f1"):
        axes.set_ylim(-3, 103)
    axes.grid(alpha=0.3)
    published_last = sorted(
        zip(*axes.get_legend_handles_labels(), strict=True), key=lambda pair: "published" in pair[1]
    )
    axes.legend(
        *zip(*published_last, strict=True), loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8
    )


def _draw(figures: Sequence[Figure], axes: Axes, label: str, colour: str, marker: str, zero: float) -> None:
    """One of our curves, with its intervals."""
    ours = sorted(figures, key=lambda one: one.length)
    below = [one.value - one.low for one in ours]
    above = [one.high - one.value for one in ours]
    axes.errorbar(
        [one.length or zero for one in ours],
        [one.value for one in ours],
        yerr=[[max(0.0, gap) for gap in below], [max(0.0, gap) for gap in above]],
        color=colour,
        marker=marker,
        markersize=5,
        capsize=3,
        label=label,
    )


def _label_lengths(axes: Axes, figures: Sequence[Figure], curves: Sequence[Curve], zero: float) -> None:
    """A tick at our lengths, and at published ones between them; none where words would run into each other."""
    lengths = [*sorted(figure.length for figure in figures), *(at for curve in curves for at, _ in curve.points)]
    places = [log(length or zero) for length in lengths]
    ticks: dict[float, int] = {}
    for place, length in zip(places, lengths, strict=True):
        if all(abs(place - other) >= _LEAST_GAP * (max(places) - min(places)) for other in ticks):
            ticks[place] = length
    axes.set_xticks(
        [length or zero for length in ticks.values()], [length_label(n, figures[0].unit) for n in ticks.values()]
    )
    axes.minorticks_off()


def _published(figures: Sequence[Figure]) -> list[Curve]:
    if figures[0].metric != "accuracy":
        return []
    groups = dict.fromkeys(figure.group for figure in figures)
    means = [MEAN_GROUP] if figures[0].task == "babilong" and MEAN_GROUP not in groups else []
    return [curve for group in (*groups, *means) for curve in published(figures[0].task, group)]


def _curves_of(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    """Figures that differ in length alone, by a label; settings are named where they tell curves apart."""
    short = {figure: f"{figure.group}, {figure.mode}".removesuffix(", -") for figure in figures}
    whole = {
        figure: f"{short[figure]}, seed {figure.seed}, {_settings(figure)}".removesuffix(", ") for figure in figures
    }
    told_apart = Counter(label for label, _ in {(short[figure], whole[figure]) for figure in figures})
    curves: dict[str, list[Figure]] = defaultdict(list)
    for figure in figures:
        curves[short[figure] if told_apart[short[figure]] == 1 else whole[figure]].append(figure)
    return curves


def _settings(figure: Figure) -> str:
    """Without the books, which a story or document that is read alone does not have."""
    return ", ".join(part for part in figure.settings.split(", ") if not part.startswith("books "))
