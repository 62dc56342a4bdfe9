"""Published numbers, to stand beside ours. Accuracy in percent; none of these was measured here.

The paper: Bulatov et al., arXiv 2304.11062; BERT-base, 10 memory vectors, trained on 7 segments of 499 tokens.
BABILong: Kuratov et al., arXiv 2406.10149 and 2402.10790; RMT and ARMT are GPT-2 (137M), fine-tuned for each task.
"""

from dataclasses import dataclass

__all__ = ["CURVES", "MEAN_GROUP", "Curve", "beside", "published"]

MEAN_GROUP = "qa1-qa5 mean"
_TOLERANCE = 0.05
"""Lengths that differ by no more are compared: 16k stands for 16,384 tokens in some tables, for 16,000 in others."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One row of a published table.

    Attributes:
        task: Our name of the task.
        group: Our name of its part.
        name: Who was measured.
        points: (length in the task's unit, accuracy in percent), lengths ascending.
    """

    task: str
    group: str
    name: str
    points: tuple[tuple[int, float], ...]

    def at(self, length: int) -> float | None:
        """Accuracy at a length, or at one that is hardly another."""
        near = [value for at, value in self.points if abs(at - length) <= _TOLERANCE * length]
        return near[0] if near else None


def published(task: str, group: str) -> list[Curve]:
    """The curves of a part of a task."""
    return [curve for curve in CURVES if (curve.task, curve.group) == (task, group)]


def beside(task: str, group: str, length: int) -> str:
    """What was published for the same task at the same length, as `RMT GPT-2 94`; empty where nothing was."""
    values = ((curve.name, curve.at(length)) for curve in published(task, group))
    return ", ".join(f"{name} {value:g}" for name, value in values if value is not None)


def _row(task: str, group: str, name: str, lengths: tuple[int, ...], *values: float) -> Curve:
    return Curve(task, group, name, tuple(zip(lengths, values, strict=True)))


_SEGMENTS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_TOKENS = (0, 4_000, 16_000, 32_000, 64_000, 128_000, 512_000, 1_000_000, 10_000_000)
_BY_512 = tuple(512 * segments for segments in (32, 64, 256, 2048, 19532))
_PAPER, _RMT, _FIRST_AND_LAST = "RMT BERT-base", "RMT GPT-2", "RMT GPT-2, question first and last"

CURVES = (
    _row("paper", "memorize", _PAPER, _SEGMENTS, 100, 99.2, 98.2, 96.5, 95.2, 93.2, 92.7, 90.4, 90.6),
    _row("paper", "detect", _PAPER, _SEGMENTS, 99.9, 99.8, 99.7, 98.9, 98.5, 98.6, 97.1, 97.1, 96.1),
    _row("paper", "reasoning", _PAPER, _SEGMENTS, 93.2, 91.6, 89.3, 87.4, 87.6, 84.8, 83.5, 83.5, 81.9),
    _row("babilong", "qa1", _RMT, _TOKENS, 100, 100, 100, 99, 96, 94, 87, 84, 66),
    _row("babilong", "qa2", _RMT, _TOKENS, 100, 98, 94, 82, 59, 39, 25, 22, 19),
    _row("babilong", "qa2", _FIRST_AND_LAST, _BY_512, 99.8, 99.3, 96.4, 91.7, 74.1),
    _row("babilong", "qa3", _RMT, _TOKENS, 97, 81, 66, 55, 55, 36, 25, 22, 21),
    _row("babilong", "qa4", _RMT, _TOKENS, 100, 83, 75, 64, 51, 38, 26, 24, 20),
    _row("babilong", "qa5", _RMT, _TOKENS, 100, 99, 94, 90, 89, 86, 69, 63, 44),
    _row("babilong", MEAN_GROUP, "ARMT", _TOKENS, 99, 98, 98, 98, 98, 97, 95, 93, 77),
    _row("babilong", MEAN_GROUP, "GPT-4", _TOKENS[:6], 87, 74, 64, 53, 43, 36),
)
