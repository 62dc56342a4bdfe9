"""The training loop: take the batches of a step, compute, advance, and save a state that resumes."""

import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from rmt_model.errors import TrainingError
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.training.batches import Batch, BatchBuilder
from rmt_model.training.config import LessonWeights, OptimizerConfig, Stage
from rmt_model.training.curriculum import Curriculum, Progress
from rmt_model.training.growth import Growth
from rmt_model.training.journal import Journal
from rmt_model.training.loader import BatchLoader
from rmt_model.training.memory import fits_in_memory
from rmt_model.training.step import StepOptions, StepResult, Tally, run_batch

__all__ = ["Record", "Trainer", "TrainerSettings"]

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """How to train.

    Attributes:
        stages: The curriculum.
        optimizer: Rates and their course.
        lessons: Weights of what is taught besides the answers.
        seed: Seed of samples and order.
        bfloat16: Matrix products of the backbone in bfloat16.
        recompute: Compute activations twice instead of keeping them; None: when they would not fit.
        save_every_s: Seconds between saves of the resumable state.
        prefetch: Steps whose batches are built ahead.
        builders: Processes that build them; 0 for a thread.
    """

    stages: tuple[Stage, ...]
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lessons: LessonWeights = field(default_factory=LessonWeights)
    seed: int = 2304
    bfloat16: bool = False
    recompute: bool | None = None
    save_every_s: float = 180.0
    prefetch: int = 4
    builders: int = 0


class Trainer:
    """Trains a model in a run directory; started again on the same directory, it goes on where it was.

    Raises:
        TrainingError: There is too little disk space for the state, or the state there is of another model.
    """

    def __init__(
        self,
        model: RecurrentMemoryTransformer,
        builder: BatchBuilder,
        settings: TrainerSettings,
        run_dir: Path,
        growth: Growth | None = None,
    ) -> None:
        self.model = model.train()
        self.growth = growth
        self.builder = builder
        self.settings = settings
        self.run_dir = run_dir
        self.progress = Progress()
        self.curriculum = Curriculum(settings.stages, settings.seed, model.cell.memory_tokens)
        optimizer = settings.optimizer
        body = [p for p in model.backbone.parameters() if p.requires_grad]
        memory = list(model.cell.parameters())
        self.parameters = [*body, *memory]
        groups = [
            {"params": body, "peak": optimizer.learning_rate},
            {"params": memory, "peak": optimizer.memory_learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=optimizer.learning_rate, betas=(0.9, 0.95), weight_decay=optimizer.weight_decay, fused=True
        )
        run_dir.mkdir(parents=True, exist_ok=True)
        self.state_file = run_dir / "state.pt"
        self._require_space()
        if self.state_file.exists():
            self._load()
        if growth is not None:
            growth.at(self.progress.step)
        self.journal = Journal(run_dir, self.progress.step)

    def train(self) -> Iterator[Record]:
        """Run to the end of the curriculum, yielding one record a step."""
        parts = self.settings.optimizer.accumulate
        saved_at = time.monotonic()
        ahead, builders = self.settings.prefetch, self.settings.builders
        with BatchLoader(self.builder, self.curriculum, parts=parts, ahead=ahead, processes=builders) as loader:
            while not self.curriculum.finished(self.progress):
                started = time.monotonic()
                batches = loader.take(self.progress.step, self.progress.stage)
                waited = time.monotonic() - started
                if self.growth is not None:
                    self.growth.at(self.progress.step)
                results = self._step(batches)
                record = self._record(batches, results, waited, time.monotonic() - started)
                shapes = [batch.shape for batch in batches]
                self.curriculum.advance(self.progress, [(s, r.accuracy) for s, r in zip(shapes, results, strict=True)])
                self.journal.write(record)
                if time.monotonic() - saved_at > self.settings.save_every_s:
                    self.save()
                    saved_at = time.monotonic()
                yield record
        self.save()

    def save(self) -> None:
        """Write everything needed to go on, atomically, and draw the curves.

        Raises:
            TrainingError: It cannot be written; the state before is still there.
        """
        state = {
            "model": {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad},
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }
        partial = self.state_file.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                torch.save(state, file)
                os.fsync(file.fileno())
            partial.replace(self.state_file)
        except (OSError, RuntimeError) as error:  # torch turns a full disk into a RuntimeError
            partial.unlink(missing_ok=True)
            raise TrainingError(f"{self.state_file} cannot be written: {error}; {self._last_good()}") from error
        self.journal.draw()

    def _load(self) -> None:
        try:
            state = torch.load(self.state_file, weights_only=True, map_location=self.model.device)
        except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
            problem = f"{self.state_file} cannot be read: {error}"
            raise TrainingError(f"{problem}; remove it to begin anew, or take another run folder") from error
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        saved = {name: value.shape for name, value in state["model"].items()}
        if saved != {name: p.shape for name, p in parameters.items()}:
            raise TrainingError(f"{self.state_file} is of another model; take another run folder, or the same model")
        with torch.no_grad():
            for name, value in state["model"].items():
                parameters[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])

    def _step(self, batches: list[Batch]) -> list[StepResult]:
        # What is random in the model, an adapter's dropout, depends on the step alone: a run that resumes repeats it.
        torch.manual_seed(self.settings.seed + self.progress.step)
        self.optimizer.zero_grad(set_to_none=True)
        results = []
        for batch in batches:
            result = run_batch(self.model, batch.to(self.model.device), self._options(batch))
            torch.autograd.backward(result.loss / len(batches))
            results.append(result)
        optimizer = self.settings.optimizer
        norm = float(nn.utils.clip_grad_norm_(self.parameters, optimizer.clip))
        if not math.isfinite(norm):
            self.optimizer.zero_grad(set_to_none=True)
            raise TrainingError(f"loss or gradient is not a number at step {self.progress.step}; {self._last_good()}")
        rate = self.curriculum.rate(self.progress, optimizer.warmup_steps, optimizer.decay_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        self.optimizer.step()
        return results

    def _options(self, batch: Batch) -> StepOptions:
        stage = self.settings.stages[self.progress.stage]
        recompute = self.settings.recompute
        if recompute is None:
            recompute = not fits_in_memory(self.model, batch.shape, stage.bptt_segments)
        return StepOptions(self.settings.lessons, self.settings.bfloat16, stage.bptt_segments, recompute)

    def _require_space(self) -> None:
        """The state, weights and two moments each in float32, is written beside the one before."""
        states = 1 if self.state_file.exists() else 2
        needed = states * 3 * 4 * sum(p.numel() for p in self.parameters)
        free = shutil.disk_usage(self.run_dir).free
        if free < needed:
            raise TrainingError(
                f"{self.run_dir} has {free >> 20} MiB of free disk; the resumable state needs {needed >> 20} MiB"
            )

    def _last_good(self) -> str:
        return f"the last good state is {self.state_file}" if self.state_file.exists() else "no state was saved yet"

    def _record(self, batches: list[Batch], results: list[StepResult], waited: float, seconds: float) -> Record:
        shape, count = asdict(batches[0].shape), len(results)

        def mean(name: str) -> float:
            return round(float(sum(getattr(result, name) for result in results)) / count, 4)

        return {
            "step": self.progress.step,
            "stage": self.progress.stage,
            **shape,
            "loss": mean("answer_loss"),
            "gate_loss": mean("gate_loss"),
            "note_loss": mean("note_loss"),
            "accuracy": mean("accuracy"),
            "sources": _by_source(results),
            "rate": self.optimizer.param_groups[0]["lr"],
            "waited_s": round(waited, 4),
            "seconds": round(seconds, 3),
        }


def _by_source(results: Sequence[StepResult]) -> dict[str, dict[str, float]]:
    """Number of questions, mean loss and share of right answers of each source."""
    names = sorted({name for result in results for name in result.sources})
    tallies = {name: sum((one.sources.get(name, Tally()) for one in results), Tally()) for name in names}
    return {
        name: {
            "questions": tally.questions,
            "loss": round(tally.loss / tally.questions, 4),
            "accuracy": round(tally.right / tally.questions, 4),
        }
        for name, tally in tallies.items()
    }
