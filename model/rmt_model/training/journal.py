"""The journal of a run: a line of JSON for each step, and a picture of the curves."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["Journal"]

Curve = list[tuple[float, float]]
_WINDOW = 25
"""Records that one point of a curve is the mean of."""


class Journal:
    """`log.jsonl` and `curves.svg` in a run's folder.

    Args:
        folder: The folder.
        step: Steps that are done: lines of later ones, written before a crash, are dropped.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.path = folder / "log.jsonl"
        self.picture = folder / "curves.svg"
        kept = [record for record in read_records(self.path) if record["step"] < step]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        partial.replace(self.path)

    def write(self, record: Mapping[str, object]) -> None:
        """Add a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def draw(self) -> None:
        """Draw accuracy and losses of all steps so far; nothing where there are none."""
        records = read_records(self.path)
        if not records:
            return
        import matplotlib.pyplot as plt  # seconds to import, and only needed here

        with plt.rc_context({"svg.hashsalt": "rmt", "backend": "Agg"}):
            figure, panels = plt.subplots(3, 1, figsize=(8, 10), sharex=True, layout="constrained")
            modes, sources, below = panels
            for axes, curves in ((modes, _by_mode(records)), (sources, _by_source(records))):
                for name, curve in sorted(curves.items()):
                    axes.plot(*zip(*curve, strict=True), label=name, marker=".", linewidth=1.2)
                axes.set(ylabel="answers wholly right", ylim=(-0.02, 1.02))
            for name in ("loss", "gate_loss", "note_loss"):
                points = _means([(r["step"], r[name]) for r in records if r[name] > 0])
                if points:
                    below.plot(*zip(*points, strict=True), label=name.replace("_", " "))
            below.set(xlabel="step", ylabel="loss", yscale="log")
            for axes in panels:
                for step in _stage_starts(records):
                    axes.axvline(step, color="0.8", linewidth=0.8)
                axes.grid(alpha=0.3)
                axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
            figure.savefig(self.picture, metadata={"Date": None})
            plt.close(figure)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; a torn last one, which a killed run leaves behind, is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def _by_mode(records: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    """Accuracy for each mode, without memory and with."""
    raw: dict[str, Curve] = defaultdict(list)
    for record in records:
        where = "in one segment" if record["segments"] == 0 else "over segments"
        raw[f"{record['mode']}, {where}"].append((record["step"], record["accuracy"]))
    return {name: _means(points) for name, points in raw.items()}


def _by_source(records: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    """Accuracy for each source."""
    raw: dict[str, Curve] = defaultdict(list)
    for record in records:
        for name, tally in record.get("sources", {}).items():
            raw[name].append((record["step"], tally["accuracy"]))
    return {name: _means(points) for name, points in raw.items()}


def _means(points: Curve) -> Curve:
    chunks = [points[at : at + _WINDOW] for at in range(0, len(points), _WINDOW)]
    return [(sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def _stage_starts(records: Sequence[dict[str, Any]]) -> list[float]:
    return [after["step"] for before, after in pairwise(records) if after["stage"] != before["stage"]]
