"""Rounds: several ways of doing the same, in turn, so that whatever else the machine does meets all of them."""

import statistics
from collections.abc import Callable, Mapping, Sequence

__all__ = ["interleaved", "median_ratio"]


def interleaved(ways: Mapping[str, Callable[[], float]], runs: int) -> dict[str, list[float]]:
    """What each way gave in each of so many rounds, after one that does not count."""
    for way in ways.values():
        way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            found[name].append(way())
    return found


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median of the ratios within a round."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))
