"""Batches, built ahead while the device computes: in a thread, or in processes where a thread is too slow."""

import multiprocessing
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from random import Random
from typing import Self

import torch

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
        processes: Processes that build them, each with a copy of the builder; 0 for a thread of this one.
    """

    def __init__(
        self, builder: BatchBuilder, curriculum: Curriculum, *, parts: int = 1, ahead: int = 4, processes: int = 0
    ) -> None:
        self.parts = parts
        self.ahead = max(ahead, processes)
        self._build: Callable[[int, int, int], Batch] = partial(_build, builder, curriculum)
        self._builders: Executor = ThreadPoolExecutor(1)
        if processes:
            self._build, self._builders = _build_here, _processes(builder, curriculum, processes)
        self._waiting: deque[tuple[int, int, list[Future[Batch]]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._builders.shutdown(cancel_futures=True)

    def take(self, step: int, stage: int) -> list[Batch]:
        """The batches of a step, built already if all went well."""
        if self._waiting and self._waiting[0][:2] != (step, stage):
            for _, _, futures in self._waiting:
                for future in futures:
                    future.cancel()
            self._waiting.clear()
        while len(self._waiting) <= self.ahead:
            later = step + len(self._waiting)
            futures = [self._builders.submit(self._build, later, stage, part) for part in range(self.parts)]
            self._waiting.append((later, stage, futures))
        return [future.result() for future in self._waiting.popleft()[2]]


def _build(builder: BatchBuilder, curriculum: Curriculum, step: int, stage: int, part: int) -> Batch:
    return builder.batch(Random(f"{curriculum.seed}-batch-{step}-{part}"), curriculum.shape(step, stage, part))


def _processes(builder: BatchBuilder, curriculum: Curriculum, count: int) -> Executor:
    """Forked, so that the background's tokens are in memory once; they touch no device."""
    context = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(count, context, initializer=_remember, initargs=(builder, curriculum))


_here: list[tuple[BatchBuilder, Curriculum]] = []


def _remember(builder: BatchBuilder, curriculum: Curriculum) -> None:
    torch.set_num_threads(1)
    # The other strategy holds a file open for each tensor.
    torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    _here.append((builder, curriculum))


def _build_here(step: int, stage: int, part: int) -> Batch:
    return _build(*_here[0], step, stage, part)
