"""One step's forward pass: reading the documents of a batch, answering, and what is taught besides the answers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from rmt_model.memory_cell import GatedUpdate
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.training.batches import Batch, Questions
from rmt_model.training.config import LessonWeights

__all__ = ["StepOptions", "StepResult", "run_batch"]


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How a batch is computed.

    Attributes:
        lessons: Weights of what is taught besides the answers.
        bfloat16: Matrix products in bfloat16; parameters, memory and gate stay float32.
        bptt_segments: Gradients flow through the last so many segments only; None for all.
        recompute: Compute a segment's activations again in the backward pass instead of keeping them.
    """

    lessons: LessonWeights
    bfloat16: bool = False
    bptt_segments: int | None = None
    recompute: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """Losses and accuracy of one batch; accuracy is the share of questions with every answer token right."""

    loss: Tensor
    answer_loss: float
    gate_loss: float
    note_loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class _Reading:
    """What reading the segments left behind: gate logits and written vectors of those with gradients."""

    memories: list[tuple[Tensor, Questions, int]]
    gates: list[Tensor]
    writings: list[Tensor]
    first: int


def run_batch(model: RecurrentMemoryTransformer, batch: Batch, options: StepOptions) -> StepResult:
    """Read a batch's documents and answer its questions, with gradients through every segment, or the last ones.

    Two lessons teach what the answer's loss alone teaches slowly. The gate's: which segments may change which memory
    vectors. The note's: what is written, put through the vocabulary projection, says what the memory should keep, so
    that a memory vector works like the embedding of a token.
    """
    with torch.autocast(model.device.type, torch.bfloat16, enabled=options.bfloat16):
        reading = _read(model, batch, options)
        with _attention(model):
            losses, rights = zip(*(_answer(model, batch, *item) for item in reading.memories), strict=True)
    answer_loss = torch.cat(losses).mean()
    gate_loss = _gate_loss(reading, batch, answer_loss)
    note_loss = _note_loss(model, reading, batch, answer_loss, options.bfloat16)
    loss = answer_loss + options.lessons.gate * gate_loss + options.lessons.note * note_loss
    return StepResult(
        loss=loss,
        answer_loss=answer_loss.item(),
        gate_loss=gate_loss.item(),
        note_loss=note_loss.item(),
        accuracy=rights[-1].float().mean().item(),
    )


def _attention(model: RecurrentMemoryTransformer) -> AbstractContextManager[None]:
    """On the CPU the fused kernel's backward pass takes twice as long as plain products, in bfloat16."""
    return sdpa_kernel(SDPBackend.MATH) if model.device.type == "cpu" else nullcontext()


def _write(model: RecurrentMemoryTransformer, memory: Tensor, token_ids: Tensor) -> Tensor:
    """What a segment writes; the same kernels when it is computed again in the backward pass."""
    with _attention(model):
        return model.write(memory, token_ids)


def _read(model: RecurrentMemoryTransformer, batch: Batch, options: StepOptions) -> _Reading:
    count = len(batch.segments)
    first = max(0, count - options.bptt_segments) if options.bptt_segments is not None else 0
    reading = _Reading([], [], [], first)
    memory, midway = model.cell.fresh(batch.shape.lanes), dict(batch.midway)
    for index, segment in enumerate(batch.segments):
        token_ids = torch.cat((batch.prefix_of(index), segment), dim=1)
        with _gradients(index >= first):
            if index >= first and options.recompute:
                written = checkpoint(_write, model, memory, token_ids, use_reentrant=False)
            else:
                written = _write(model, memory, token_ids)
            if index >= first:
                reading.writings.append(written)
                if isinstance(model.cell.update, GatedUpdate):
                    reading.gates.append(_float32(model.cell.update.logits, memory, written))
            memory = _float32(model.cell.update, memory, written)
        if index + 1 in midway:
            reading.memories.append((memory, midway[index + 1], index + 1))
    reading.memories.append((memory, batch.at_end, count))
    return reading


@contextmanager
def _gradients(wanted: bool) -> Iterator[None]:
    with torch.set_grad_enabled(wanted and torch.is_grad_enabled()):
        yield


def _float32(function: Callable[[Tensor, Tensor], Tensor], old: Tensor, written: Tensor) -> Tensor:
    """The update without half precision, as it is served."""
    with torch.autocast(old.device.type, enabled=False):
        return function(old, written)


def _answer(
    model: RecurrentMemoryTransformer, batch: Batch, memory: Tensor, asked: Questions, segments_read: int
) -> tuple[Tensor, Tensor]:
    """Mean loss over the tokens of each question's answer, so that long ones count no more; and which are all right."""
    prefix = batch.prefix_of(segments_read)[asked.lanes]
    hidden = model.hidden_after(memory[asked.lanes], torch.cat((prefix, asked.ids), dim=1))[:, prefix.shape[1] :]
    wanted = asked.labels >= 0
    logits, labels, owners = model.project(hidden[wanted]), asked.labels[wanted], asked.owners[wanted]
    wrong = torch.zeros(asked.count, dtype=torch.long, device=labels.device)
    wrong.index_add_(0, owners, (logits.argmax(-1) != labels).long())
    losses = functional.cross_entropy(logits.float(), labels, reduction="none")
    tokens = torch.bincount(owners, minlength=asked.count)
    return losses.new_zeros(asked.count).index_add(0, owners, losses) / tokens, wrong == 0


def _gate_loss(reading: _Reading, batch: Batch, like: Tensor) -> Tensor:
    wanted = batch.lesson.rewritten[reading.first :]
    known = wanted >= 0
    if not reading.gates or not known.any():
        return like.new_zeros(())
    kept = (wanted == 0).float()
    return functional.binary_cross_entropy_with_logits(torch.stack(reading.gates)[known], kept[known])


def _note_loss(
    model: RecurrentMemoryTransformer, reading: _Reading, batch: Batch, like: Tensor, bfloat16: bool
) -> Tensor:
    wanted = batch.lesson.notes[reading.first :]
    noted = wanted >= 0
    if not noted.any():
        return like.new_zeros(())
    # Each note counts the same, however many vectors say it.
    weights = (noted / noted.sum(-1, keepdim=True).clamp(min=1))[noted]
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
        logits = model.project(torch.stack(reading.writings)[noted] / model.cell.scale)
    losses = functional.cross_entropy(logits.float(), wanted[noted], reduction="none")
    return (losses * weights).sum() / weights.sum()
