"""The training loop of a span reader: batches, one step, a state that resumes, and a journal.

The encoder computes in bfloat16 where that is wanted, from weights that are kept in float32; the memory cell and the
heads are float32. Batches are built ahead in a process of their own. A lane's memory goes from segment to segment with
its gradients.
"""

import math
import multiprocessing
import os
import time
from collections import defaultdict, deque
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from rmt_model.errors import TrainingError
from rmt_model.span_reader import SpanReader
from rmt_model.training.journal import Journal
from rmt_model.training.span_batches import SpanBatch, SpanBatchBuilder
from rmt_model.training.span_loss import Teacher, span_loss

__all__ = ["STATE_FILE", "Record", "SpanSettings", "SpanTrainer", "batch_shape"]

Record = dict[str, Any]
_AHEAD = 6
STATE_FILE = "state.pt"
"""What a run directory keeps to go on from; its `masters` are the trained weights in float32."""


@dataclass(frozen=True, slots=True)
class SpanSettings:
    """How to train.

    Attributes:
        steps: Steps in all.
        learning_rate: Peak rate of the encoder's weights.
        head_learning_rate: Peak rate of memory and heads.
        warm_up: Steps until the peak.
        floor: What share of the peak is left at the last step; in between the rate falls linearly.
        weight_decay: Of matrices.
        step_tokens: About how many tokens of segments a step reads.
        segment_tokens: Lengths of segments, one of which is drawn for each step.
        memory_share: Share of steps whose lanes read several segments.
        most_segments: The most segments of a lane.
        memory_segment_tokens: Lengths of segments in those steps.
        windows_share: Share of the other steps that put each question to several stretches side by side.
        windows: How many, in those steps.
        seed: Seed of everything drawn.
        bfloat16: Whether the encoder computes in bfloat16.
        save_every_s: Seconds between saved states.
    """

    steps: int
    learning_rate: float = 1.5e-4
    head_learning_rate: float = 1e-3
    warm_up: int = 100
    floor: float = 0.03
    weight_decay: float = 0.01
    step_tokens: int = 6144
    segment_tokens: tuple[int, ...] = (128, 192, 256, 320, 384)
    memory_share: float = 0.2
    most_segments: int = 4
    memory_segment_tokens: tuple[int, ...] = (64, 96, 128, 192)
    windows_share: float = 0.0
    windows: int = 4
    seed: int = 2304
    bfloat16: bool = True
    save_every_s: float = 300.0


class SpanTrainer:
    """Trains a reader in a run directory; started again on the same directory, it goes on where it was.

    What is trained are the reader's weights that want a gradient; towards a teacher's scores where there is one.
    """

    def __init__(
        self,
        reader: SpanReader,
        builder: SpanBatchBuilder,
        settings: SpanSettings,
        run_dir: Path,
        teacher: Teacher | None = None,
    ) -> None:
        self.reader = reader.train()
        self.teacher = teacher
        self.builder = builder
        self.settings = settings
        self.run_dir = run_dir
        self.step = 0
        self.masters = {name: p.detach().clone().float() for name, p in reader.named_parameters() if p.requires_grad}
        if settings.bfloat16:
            reader.encoder.to(torch.bfloat16)
        self._trained = {name: p for name, p in reader.named_parameters() if p.requires_grad}
        self._optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98), eps=1e-6, fused=True)
        run_dir.mkdir(parents=True, exist_ok=True)
        if (run_dir / STATE_FILE).exists():
            self._load()

    def train(self) -> Generator[Record, None, None]:
        """Run to the last step, yielding a record for each."""
        saved_s = time.monotonic()
        journal = Journal(self.run_dir, self.step)
        with _Batches(self.builder, self.settings) as batches:
            while self.step < self.settings.steps:
                started_s = time.monotonic()
                record = self._step(batches.take(self.step))
                record |= {"step": self.step, "seconds": round(time.monotonic() - started_s, 3)}
                self.step += 1
                journal.write(record)
                if time.monotonic() - saved_s > self.settings.save_every_s or self.step == self.settings.steps:
                    self.save()
                    saved_s = time.monotonic()
                yield record

    def save(self) -> None:
        """Write all that is needed to go on, so that a crash leaves the old state or the new one."""
        state = {"step": self.step, "masters": self.masters, "optimizer": self._optimizer.state_dict()}
        fresh = self.run_dir / f"{STATE_FILE}.new"
        torch.save(state, fresh)
        os.replace(fresh, self.run_dir / STATE_FILE)

    def _load(self) -> None:
        state = torch.load(self.run_dir / STATE_FILE, map_location="cpu", weights_only=True)
        if _shapes(state["masters"]) != _shapes(self.masters):
            raise TrainingError(f"{self.run_dir / STATE_FILE} is of another model: use another run directory")
        self.step = state["step"]
        for name, master in self.masters.items():
            master.copy_(state["masters"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._publish()

    def _groups(self) -> list[dict[str, Any]]:
        settings, groups = self.settings, defaultdict(list)
        for name, master in self.masters.items():
            rate = settings.learning_rate if name.startswith("encoder.") else settings.head_learning_rate
            groups[rate, settings.weight_decay if master.ndim > 1 else 0.0].append(master)
        return [
            {"params": some, "lr": rate, "peak": rate, "weight_decay": decay} for (rate, decay), some in groups.items()
        ]

    def _step(self, batch: SpanBatch) -> Record:
        rate = _rate(self.step, self.settings)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        losses, right = span_loss(self.reader, batch, self.teacher)
        loss = losses.mean()
        if not math.isfinite(float(loss.detach())):
            raise TrainingError(f"the loss of step {self.step} is {float(loss.detach())}")
        loss.backward()  # type: ignore[no-untyped-call]
        for name, weight in self._trained.items():
            self.masters[name].grad = None if weight.grad is None else weight.grad.float()
            weight.grad = None
        norm = nn.utils.clip_grad_norm_(list(self.masters.values()), 1.0)
        self._optimizer.step()
        self._publish()
        by_source = defaultdict(list)
        for source, one in zip(batch.sources, losses.detach().tolist(), strict=True):
            by_source[self.builder.sources[source].name].append(one)
        return {
            "loss": round(float(loss.detach()), 4),
            "right": round(right, 3),
            "norm": round(float(norm), 2),
            "segments": len(batch.segments),
            "tokens": batch.segments[0].shape[1],
            "lanes": len(batch.sources),
            "windows": batch.windows,
            "sources": {name: [len(some), round(sum(some) / len(some), 3)] for name, some in by_source.items()},
        }

    @torch.no_grad()
    def _publish(self) -> None:
        """Copy the kept weights into the reader."""
        for name, weight in self._trained.items():
            weight.copy_(self.masters[name])


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}


def batch_shape(rng: Random, settings: SpanSettings) -> dict[str, int]:
    """Lanes, segments and their length for a step."""
    if rng.random() < settings.memory_share:
        segments = rng.randint(2, settings.most_segments)
        tokens = rng.choice(settings.memory_segment_tokens)
        windows = 1
    else:
        segments, tokens = 1, rng.choice(settings.segment_tokens)
        windows = settings.windows if rng.random() < settings.windows_share else 1
    lanes = max(4, settings.step_tokens // (segments * tokens)) // windows * windows
    return {"lanes": max(lanes, windows), "segments": segments, "segment_tokens": tokens, "windows": windows}


def _rate(step: int, settings: SpanSettings) -> float:
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    left = (settings.steps - step) / max(1, settings.steps - settings.warm_up)
    return settings.floor + (1 - settings.floor) * left


class _Batches:
    """Batches of one step after another, built ahead in another process."""

    def __init__(self, builder: SpanBatchBuilder, settings: SpanSettings) -> None:
        context = multiprocessing.get_context("fork")
        self._pool = ProcessPoolExecutor(1, context, initializer=_remember, initargs=(builder, settings))
        self._waiting: deque[Future[SpanBatch]] = deque()
        self._next = 0

    def __enter__(self) -> "_Batches":
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def take(self, step: int) -> SpanBatch:
        """The batch of a step, which follows the last one that was taken."""
        if not self._waiting:
            self._next = step
        while len(self._waiting) <= _AHEAD:
            self._waiting.append(self._pool.submit(_build, self._next))
            self._next += 1
        return self._waiting.popleft().result()


_here: list[tuple[SpanBatchBuilder, SpanSettings]] = []


def _remember(builder: SpanBatchBuilder, settings: SpanSettings) -> None:
    torch.set_num_threads(1)
    torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    _here.append((builder, settings))


def _build(step: int) -> SpanBatch:
    builder, settings = _here[0]
    rng = Random(f"{settings.seed}-{step}")
    return builder.batch(rng, **batch_shape(rng, settings))
