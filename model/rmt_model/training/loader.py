"""Batches, built ahead in a thread while the device computes."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import Self

from rmt_model.training.batches import Batch, BatchBuilder
from rmt_model.training.curriculum import Curriculum

__all__ = ["BatchLoader"]


class BatchLoader:
    """The batches of one step after another. What a batch holds depends on seed, step and stage alone.

    Those built ahead for a stage that has ended meanwhile are thrown away.

    Args:
        builder: Builds them.
        curriculum: Says what they look like.
        parts: Batches of one step.
        ahead: Steps that are built ahead.
    """

    def __init__(self, builder: BatchBuilder, curriculum: Curriculum, *, parts: int = 1, ahead: int = 4) -> None:
        self.builder = builder
        self.curriculum = curriculum
        self.parts = parts
        self.ahead = ahead
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rmt-batches")
        self._waiting: deque[tuple[int, int, Future[list[Batch]]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def take(self, step: int, stage: int) -> list[Batch]:
        """The batches of a step, built already if all went well."""
        if self._waiting and self._waiting[0][:2] != (step, stage):
            for _, _, future in self._waiting:
                future.cancel()
            self._waiting.clear()
        while len(self._waiting) <= self.ahead:
            later = step + len(self._waiting)
            self._waiting.append((later, stage, self._thread.submit(self._build, later, stage)))
        return self._waiting.popleft()[2].result()

    def _build(self, step: int, stage: int) -> list[Batch]:
        seed = self.curriculum.seed
        return [
            self.builder.batch(Random(f"{seed}-batch-{step}-{part}"), self.curriculum.shape(step, stage, part))
            for part in range(self.parts)
        ]
