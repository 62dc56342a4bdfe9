"""The training loop: a curriculum over segments, a loss on answers, a lesson for the gate, a state that resumes."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional

from rmt_model.errors import RmtModelError
from rmt_model.memory_cell import GatedUpdate
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.data.story import Mode
from rmt_model.training.batches import Batch, BatchBuilder, Questions, SampleShape

__all__ = ["Stage", "StepResult", "Trainer", "TrainerSettings", "run_batch"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the curriculum: it ends when accuracy holds, or after `max_steps`.

    Attributes:
        max_segments: Most whole segments a document has before its partial one, for focus and for recall.
        max_recall_segments: The same for recall.
        segment_tokens: Segment lengths that are drawn from.
        tokens: About how many tokens, all lanes together, one step reads.
        focus_share: Share of batches in focus mode.
        max_steps: Steps after which the stage ends in any case.
        advance_at: Running accuracy, of the poorer mode, at which it ends.
        longest_share: Share of batches with the most segments; the others have any smaller number.
    """

    max_segments: int
    max_recall_segments: int
    segment_tokens: tuple[int, ...]
    tokens: int
    max_steps: int
    focus_share: float = 0.6
    advance_at: float = 0.96
    longest_share: float = 0.5
    both_share: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """How to train.

    Attributes:
        stages: The curriculum.
        seed: Seed of samples and order.
        learning_rate: Peak, for the backbone's layers.
        cell_learning_rate: Peak, for memory vectors and gate.
        warmup_steps: Linear warm-up.
        gate_weight: Weight of the lesson for the gate: the builder knows which segments matter.
        note_weight: Weight of the lesson for what is written: the builder knows what a memory should say.
        bfloat16: Matrix products of the backbone in bfloat16; parameters, memory and gate stay float32.
        clip: Largest norm of the gradient.
        save_every_s: Seconds between saves of the resumable state.
        final_decay_steps: Steps at the end over which the rate falls to a tenth.
    """

    stages: tuple[Stage, ...]
    seed: int = 2304
    learning_rate: float = 3e-4
    cell_learning_rate: float = 1e-3
    warmup_steps: int = 40
    gate_weight: float = 1.0
    note_weight: float = 0.5
    bfloat16: bool = False
    clip: float = 1.0
    save_every_s: float = 240.0
    final_decay_steps: int = 200


@dataclass(frozen=True, slots=True)
class StepResult:
    """Losses and accuracy of one batch; accuracy is the share of questions with every answer token right."""

    loss: Tensor
    answer_loss: float
    gate_loss: float
    note_loss: float
    accuracy: float


@dataclass
class _Progress:
    step: int = 0
    stage: int = 0
    stage_step: int = 0
    accuracy: dict[str, float] = field(default_factory=dict)


def run_batch(model: RecurrentMemoryTransformer, batch: Batch, settings: TrainerSettings) -> StepResult:
    """Read a batch's documents and answer its questions, with gradients through every segment.

    Two lessons teach what the answer's loss alone teaches slowly. The gate's: a segment without (part of) the fact must
    leave the memory as it is, and one with it must not. The note's: what is written, put through the vocabulary
    projection, says the words of the fact, so that a memory vector works like the embedding of a token.
    """
    half_precision = torch.autocast(model.device.type, torch.bfloat16, enabled=settings.bfloat16)
    memory = model.cell.fresh(batch.shape.lanes)
    asked: list[tuple[Tensor, Questions, Tensor]] = []
    gates: list[Tensor] = []
    writings: list[Tensor] = []
    midway = dict(batch.midway)
    for index, segment in enumerate(batch.segments):
        with half_precision:
            written = model.write(memory, torch.cat((batch.prefix_of(index), segment), dim=1))
        writings.append(written)
        if isinstance(model.cell.update, GatedUpdate):
            gates.append(model.cell.update.logits(memory, written))
        memory = model.cell.update(memory, written)
        if index + 1 in midway:
            asked.append((memory, midway[index + 1], batch.prefix_of(index + 1)))
    asked.append((memory, batch.at_end, batch.prefix_of(len(batch.segments))))
    with half_precision:
        losses, rights = zip(*(_answer(model, *item) for item in asked), strict=True)
    answer_loss, right = torch.cat(losses).mean(), rights[-1]
    gate_loss = note_loss = answer_loss.new_zeros(())
    if gates:
        known = batch.lesson.rewritten >= 0
        kept = (batch.lesson.rewritten == 0).float()
        gate_loss = functional.binary_cross_entropy_with_logits(torch.stack(gates)[known], kept[known])
    noted = batch.lesson.notes >= 0
    if noted.any():
        with half_precision:
            logits = model.project(torch.stack(writings)[noted] / model.cell.scale)
        note_loss = functional.cross_entropy(logits.float(), batch.lesson.notes[noted])
    loss = answer_loss + settings.gate_weight * gate_loss + settings.note_weight * note_loss
    return StepResult(
        loss=loss,
        answer_loss=answer_loss.item(),
        gate_loss=gate_loss.item(),
        note_loss=note_loss.item(),
        accuracy=right.float().mean().item(),
    )


def _answer(
    model: RecurrentMemoryTransformer, memory: Tensor, asked: Questions, prefix: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of every answer token, and whether each question's answer is right throughout."""
    width = prefix.shape[1]
    inputs = torch.cat((prefix[asked.lanes], asked.ids), dim=1)
    hidden = model.hidden_after(memory[asked.lanes], inputs)[:, width:]
    wanted = asked.labels >= 0
    logits, labels, owners = model.project(hidden[wanted]), asked.labels[wanted], asked.owners[wanted]
    wrong = torch.zeros(asked.count, dtype=torch.long, device=labels.device)
    wrong.index_add_(0, owners, (logits.argmax(-1) != labels).long())
    return functional.cross_entropy(logits.float(), labels, reduction="none"), wrong == 0


class Trainer:
    """Trains a model in a run directory; started again on the same directory, it goes on where it was."""

    def __init__(
        self,
        model: RecurrentMemoryTransformer,
        builder: BatchBuilder,
        settings: TrainerSettings,
        run_dir: Path,
    ) -> None:
        self.model = model
        self.builder = builder
        self.settings = settings
        self.run_dir = run_dir
        self.progress = _Progress()
        body = [p for p in model.backbone.parameters() if p.requires_grad]
        groups = [
            {"params": body, "peak": settings.learning_rate},
            {"params": list(model.cell.parameters()), "peak": settings.cell_learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
        run_dir.mkdir(parents=True, exist_ok=True)
        if self._state_file.exists():
            self._load()

    @property
    def _state_file(self) -> Path:
        return self.run_dir / "state.pt"

    def train(self) -> Iterator[dict[str, float | int | str]]:
        """Run to the end of the curriculum, yielding one record a step."""
        saved_at = time.monotonic()
        while self.progress.stage < len(self.settings.stages):
            started = time.monotonic()
            shape = self._shape()
            result = self._step(shape)
            record = self._record(shape, result, time.monotonic() - started)
            self._advance(shape, result)
            if time.monotonic() - saved_at > self.settings.save_every_s:
                self.save()
                saved_at = time.monotonic()
            yield record
        self.save()

    def save(self) -> None:
        """Write everything needed to go on, atomically."""
        state = {
            "model": {name: p for name, p in self.model.named_parameters() if p.requires_grad},
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }
        partial = self._state_file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._state_file)

    def _load(self) -> None:
        state = torch.load(self._state_file, weights_only=True)
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in state["model"].items():
                parameters[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = _Progress(**state["progress"])

    def _shape(self) -> SampleShape:
        """Draw what this step's batch looks like; it depends on the seed and the step alone."""
        rng = Random(f"{self.settings.seed}-shape-{self.progress.step}")
        stage = self.settings.stages[self.progress.stage]
        mode: Mode = "focus" if rng.random() < stage.focus_share else "recall"
        if mode == "recall" and rng.random() < stage.both_share:
            mode = "both"
        most = stage.max_segments if mode == "focus" else stage.max_recall_segments
        # Some batches at the stage's length, the others at any shorter one: short documents are not forgotten.
        segments = most if rng.random() < stage.longest_share else rng.randint(0, most)
        length = rng.choice(stage.segment_tokens)
        most_questions = 1 if mode != "recall" else max(1, min(6, length // 32))
        questions = rng.randint(1, most_questions)
        if segments == 0:
            partial = rng.randint(min(20 * questions + 4, length - 1), length - 1)
        else:  # mostly a short one: what there is to learn lies in the segments before it
            partial = rng.randrange(0, length if rng.random() < 0.3 else min(32, length))
        overhead = 2 * self.model.config.memory_tokens + (0 if mode == "recall" else 16)
        cost = segments * (length + overhead) + partial + overhead + 20 * questions
        lanes = max(4, min(32, stage.tokens // cost))
        return SampleShape(mode, lanes, segments, length, partial, questions)

    def _step(self, shape: SampleShape) -> StepResult:
        batch = self.builder.batch(Random(f"{self.settings.seed}-batch-{self.progress.step}"), shape)
        self.optimizer.zero_grad(set_to_none=True)
        result = run_batch(self.model, batch, self.settings)
        torch.autograd.backward(result.loss)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        if not math.isfinite(float(norm)):
            self.optimizer.zero_grad(set_to_none=True)
            step, state = self.progress.step, self._state_file
            raise RmtModelError(f"loss or gradient is not a number at step {step}; the last good state is {state}")
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self._rate()
        self.optimizer.step()
        return result

    def _rate(self) -> float:
        """Share of the peak learning rate at this step: warm-up, plateau, and a fall in the last stage."""
        rate = min(1.0, (self.progress.step + 1) / self.settings.warmup_steps)
        if self.progress.stage == len(self.settings.stages) - 1:
            left = self.settings.stages[-1].max_steps - self.progress.stage_step
            rate *= max(0.1, min(1.0, left / self.settings.final_decay_steps))
        return rate

    def _advance(self, shape: SampleShape, result: StepResult) -> None:
        """Count the step, and go to the next stage when both modes are good enough at this one's length."""
        progress, stage = self.progress, self.settings.stages[self.progress.stage]
        longest = stage.max_segments if shape.mode == "focus" else stage.max_recall_segments
        if shape.segments == longest:
            before = progress.accuracy.get(shape.mode, 0.0)
            progress.accuracy[shape.mode] = before + 0.1 * (result.accuracy - before)
        progress.step += 1
        progress.stage_step += 1
        modes = [m for m, share in (("focus", stage.focus_share), ("recall", 1 - stage.focus_share)) if share > 0]
        good = all(progress.accuracy.get(mode, 0.0) >= stage.advance_at for mode in modes)
        if good or progress.stage_step >= stage.max_steps:
            progress.stage, progress.stage_step, progress.accuracy = progress.stage + 1, 0, {}

    def _record(self, shape: SampleShape, result: StepResult, seconds: float) -> dict[str, float | int | str]:
        record: dict[str, float | int | str] = {
            "step": self.progress.step,
            "stage": self.progress.stage,
            **asdict(shape),
            "loss": round(result.answer_loss, 4),
            "gate_loss": round(result.gate_loss, 4),
            "note_loss": round(result.note_loss, 4),
            "accuracy": round(result.accuracy, 4),
            "running": json.dumps({k: round(v, 3) for k, v in self.progress.accuracy.items()}),
            "seconds": round(seconds, 3),
        }
        with (self.run_dir / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        return record
