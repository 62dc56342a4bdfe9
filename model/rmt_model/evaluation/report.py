"""Report: `report.txt`, `report.json` and `report.svg` out of all results of a checkpoint that lie in a folder."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rmt_model.evaluation.figures import Figure, figures_of
from rmt_model.evaluation.lengths import length_label
from rmt_model.evaluation.published import CURVES, beside
from rmt_model.evaluation.results import ResultsFile

__all__ = ["Served", "collect", "table_of", "write_report"]

_TEXT, _JSON, _PLOT = "report.txt", "report.json", "report.svg"
_COLUMNS = ("task", "group", "mode", "length", "metric", "value", "95 % interval", "samples", "published", "settings")
_TO_THE_RIGHT = (3, 5, 6, 7)


@dataclass(frozen=True, slots=True)
class Served:
    """What was measured, and on which machine.

    Attributes:
        checkpoint: Its name.
        fingerprint: Names it by content.
        dtype: Type of the backbone's weights.
        device: Where it ran.
        torch_version: PyTorch's version.
    """

    checkpoint: str
    fingerprint: str
    dtype: str
    device: str
    torch_version: str


def collect(folder: Path, fingerprint: str, dtype: str) -> list[Figure]:
    """The figures of all results files of one checkpoint and type in a folder.

    Raises:
        DataError: A file is damaged.
    """
    files = [file for path in sorted(folder.glob("*.jsonl")) if (file := ResultsFile.read(path))]
    return figures_of([f for f in files if (f.series.fingerprint, f.series.dtype) == (fingerprint, dtype)])


def write_report(folder: Path, served: Served) -> list[Figure]:
    """Write the three files anew; returns the figures, without which nothing is written.

    Raises:
        DataError: A results file is damaged.
    """
    figures = collect(folder, served.fingerprint, served.dtype)
    if figures:
        from rmt_model.evaluation.plot import plot_figures

        head = f"{served.checkpoint} ({served.fingerprint}), {served.dtype} on {served.device}"
        (folder / _TEXT).write_text(f"{head}\n\n{table_of(figures)}", encoding="utf-8")
        (folder / _JSON).write_text(_json_of(figures, served), encoding="utf-8")
        plot_figures(figures, folder / _PLOT, title=head)
    return figures


def table_of(figures: Sequence[Figure]) -> str:
    """Figures as text, a line each under a line of headings, with the published numbers beside them."""
    rows = [_COLUMNS, *map(_cells, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return "".join(f"{_line(row, widths)}\n" for row in rows)


def _cells(figure: Figure) -> tuple[str, ...]:
    known = beside(figure.task, figure.group, figure.length) if figure.metric == "accuracy" else ""
    return (
        figure.task,
        figure.group,
        figure.mode,
        f"{length_label(figure.length, figure.unit)} {figure.unit}",
        figure.metric.replace("_", " ") + ("" if figure.metric == "perplexity" else " %"),
        f"{figure.value:.1f}",
        f"{figure.low:.1f}..{figure.high:.1f}",
        str(figure.samples),
        known,
        f"seed {figure.seed}, {figure.settings}".removesuffix(", "),
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if column in _TO_THE_RIGHT else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _json_of(figures: Sequence[Figure], served: Served) -> str:
    machine = {"cpu": _cpu_model(), "cores": os.cpu_count(), "system": platform.platform()}
    report = {
        "checkpoint": asdict(served),
        "machine": machine,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "figures": [asdict(figure) for figure in figures],
        "published": [asdict(curve) for curve in CURVES if curve.task in {figure.task for figure in figures}],
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
