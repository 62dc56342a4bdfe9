"""Perplexity against the number of segments read before: the same target segment after 0, 1, 2, 4, ... of them."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from rmt_model.engine import Engine
from rmt_model.errors import DataError
from rmt_model.evaluation.asking import dtype_of
from rmt_model.evaluation.books import Books
from rmt_model.evaluation.examples import rng_of
from rmt_model.evaluation.results import Result, Series
from rmt_model.types import LaneSegment

__all__ = ["Perplexity"]


class Perplexity:
    """Measures how well target segments of books are predicted from the memory of the `segments` before them.

    A target depends on seed, `reach` and number alone: it is a segment of one book with at least `reach` segments
    before it. Its first token is not counted: nothing but the memory predicts it. Nothing is put before a segment.

    Args:
        engine: Reads as it is served.
        books: Where targets are from.
        segments: How many segments are read before the target, `reach` at most.
        reach: How many could be.
        seed: Seed of the targets.

    Attributes:
        series: What the results belong to.
        available: None: there is no end of targets.

    Raises:
        DataError: `segments` is more than `reach`.
    """

    available: int | None = None

    def __init__(self, engine: Engine, books: Books, segments: int, *, reach: int, seed: int) -> None:
        if segments > reach:
            raise DataError(f"{segments} segments before a target are more than --reach {reach}: raise it")
        self.series = Series(
            task="lm",
            group="books",
            mode="-",
            length=segments,
            unit="segments",
            seed=seed,
            settings={"reach": str(reach), "books": books.digest},
            fingerprint=engine.checkpoint.fingerprint,
            dtype=dtype_of(engine),
        )
        self._engine = engine
        self._books = books
        self._reach = reach
        self._size = engine.checkpoint.config.segment_tokens

    def tokens(self, number: int) -> NDArray[np.int32]:
        """What is read, and the target behind it: int32 [segments + 1, S].

        Raises:
            DataError: No book is that long.
        """
        before, size = self._reach * self._size, self._size
        rng = rng_of(self.series.seed, "lm", self._reach, number)
        for path in rng.sample(self._books.paths, len(self._books.paths)):
            ids = self._books.tokens(path)
            if len(ids) >= before + size:
                target = rng.randrange(before, len(ids) - size + 1)
                return ids[target - self.series.length * size : target + size].reshape(-1, size)
        raise DataError(
            f"no book has {before + size} tokens, which {self._reach} segments of {size} and a target take: "
            "lower --segments or --reach, or add books"
        )

    def measure(self, numbers: Sequence[int], step: Callable[[int], None]) -> list[Result]:
        """The targets' mean negative log likelihood, nats a token; `step` hears of every token that was read."""
        rows = np.stack([self.tokens(number) for number in numbers])
        slots = self._engine.open(len(numbers))
        try:
            for segment in range(self.series.length):
                lanes = zip(slots, rows[:, segment].tolist(), strict=True)
                self._engine.read([LaneSegment(slot, ids) for slot, ids in lanes])
                step(rows[:, segment].size)
            memory = torch.from_numpy(self._engine.memory(slots)).to(self._engine.model.device)
        finally:
            self._engine.close(slots)
        nll = self._nll(memory, torch.from_numpy(rows[:, -1].astype(np.int64)).to(memory.device))
        step(rows[:, -1].size)
        return [Result(number, {"nll": value}) for number, value in zip(numbers, nll.tolist(), strict=True)]

    @torch.inference_mode()
    def _nll(self, memory: Tensor, target: Tensor) -> Tensor:
        """Nats a token, [lanes]; one lane at a time is projected, for logits are large."""
        model = self._engine.model
        hidden = model.hidden_after(memory, target)[:, :-1]
        lanes = zip(hidden, target[:, 1:], strict=True)
        return torch.stack([cross_entropy(model.project(states).float(), ids) for states, ids in lanes])
