"""How `rmt read` shows how far it is."""

from __future__ import annotations

from collections import deque
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from rmt_client.cli.output import note
from rmt_client.models import Progress

RATE_WINDOW_S = 10.0


class ProgressView:
    """A bar on a terminal; elsewhere only what goes wrong, a line each time it changes.

    Args:
        wait: Whether the bar shows what is read, or only what is sent.
        console: Where to draw.
    """

    def __init__(self, *, wait: bool, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._wait = wait
        self._rate = Rate()
        self._bar = Bar(
            SpinnerColumn(),
            BarColumn(),
            TextColumn("{task.fields[sent]} sent"),
            TextColumn("{task.fields[tokens]:,} tokens"),
            TextColumn("{task.fields[rate]:,.0f} tokens/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[problem]}", style="yellow"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, sent="0 bytes", tokens=0, rate=0.0, problem="")
        self._complaint = ""
        self.last: Progress | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Takes in how far it is."""
        self.last = progress
        self._complain(progress.problem)
        total = progress.total_bytes
        self._bar.update(
            self._task,
            total=total,
            completed=progress.read_bytes if self._wait else progress.sent_bytes,
            sent=decimal(progress.sent_bytes) + (f" of {decimal(total)}" if total is not None else ""),
            tokens=progress.tokens,
            rate=self._rate.per_s(progress.tokens, monotonic()),
            problem=f"trying again: {progress.problem}" if progress.problem else "",
        )

    def _complain(self, problem: str) -> None:
        if problem and problem != self._complaint and not self._console.is_terminal:
            note(f"rmt: {problem} Trying again.")
        self._complaint = problem


class Rate:
    """A rate over the last moments."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def per_s(self, count: int, now_s: float) -> float:
        """Notes a count that only grows, and returns by how much it grew a second."""
        self._seen.append((now_s, count))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > RATE_WINDOW_S:
            self._seen.popleft()
        then_s, before = self._seen[0]
        return (count - before) / (now_s - then_s) if now_s > then_s else 0.0
