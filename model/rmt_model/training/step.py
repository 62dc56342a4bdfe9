"""One step's forward pass: reading the documents of a batch, answering, and what is taught besides the answers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial, reduce
from operator import add

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from rmt_model.memory_cell import GatedUpdate
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.training.batches import Batch
from rmt_model.training.branches import Branches
from rmt_model.training.config import LessonWeights
from rmt_model.training.questions import Questions

__all__ = ["StepOptions", "StepResult", "Tally", "run_batch"]


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
class Tally:
    """How questions were answered: their number, the sum of their losses, and how many had every answer token right."""

    questions: int = 0
    loss: float = 0.0
    right: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.questions + other.questions, self.loss + other.loss, self.right + other.right)


@dataclass(frozen=True, slots=True)
class StepResult:
    """Losses and accuracy of one batch.

    Attributes:
        loss: What is differentiated.
        answer_loss: Mean over the questions.
        gate_loss: The gate's lesson.
        note_loss: The note's lesson.
        accuracy: Share of the questions behind the last whole segment with every answer token right.
        sources: All questions by the source of their document.
    """

    loss: Tensor
    answer_loss: float
    gate_loss: float
    note_loss: float
    accuracy: float
    sources: dict[str, Tally]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What reading left behind: what was said to questions, gate logits and written vectors of those with gradients."""

    answers: list[tuple[Tensor, Tensor]]
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
    losses, rights = zip(*reading.answers, strict=True)
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
        sources=_by_source(batch, reading, torch.cat(losses).tolist(), torch.cat(rights).tolist()),
    )


def _by_source(batch: Batch, reading: _Reading, losses: list[float], rights: list[bool]) -> dict[str, Tally]:
    asked = (one for one in (*batch.asked[reading.first :], batch.at_end) if one is not None)
    lanes = (lane for one in asked for lane in one.lanes.tolist())
    sources: dict[str, Tally] = {}
    for lane, loss, right in zip(lanes, losses, rights, strict=True):
        name = batch.sources[lane]
        sources[name] = sources.get(name, Tally()) + Tally(1, loss, int(right))
    return sources


def _attention(model: RecurrentMemoryTransformer) -> AbstractContextManager[None]:
    """On the CPU the fused kernel's backward pass takes twice as long as plain products, in bfloat16."""
    return sdpa_kernel(SDPBackend.MATH) if model.device.type == "cpu" else nullcontext()


def _read(model: RecurrentMemoryTransformer, batch: Batch, options: StepOptions) -> _Reading:
    count = len(batch.segments)
    first = max(0, count - options.bptt_segments) if options.bptt_segments is not None else 0
    reading = _Reading([], [], [], first)
    memory = model.cell.fresh(batch.shape.lanes)
    for index, segment in enumerate(batch.segments):
        taught = index >= first
        prefix, asked = batch.prefix_of(index), batch.asked[index] if taught else None
        endings = batch.lesson.seen[index, :, :-1] if taught else batch.lesson.seen[index, :, :0]
        with _gradients(taught):
            run = partial(checkpoint, _segment, use_reentrant=False) if options.recompute else _segment
            writings, said = run(model, memory, prefix, segment, asked, endings)
            if taught:
                reading.writings.append(writings)
                if isinstance(model.cell.update, GatedUpdate):
                    reading.gates.append(_gates(model.cell.update, memory, writings))
            if asked is not None:
                reading.answers.append(_answers(model, said, asked))
            memory = _float32(model.cell.update, memory, writings[:, -1])
    _, said = _segment(model, memory, batch.prefix_of(count), batch.partial, batch.at_end, None)
    reading.answers.append(_answers(model, said, batch.at_end))
    return reading


def _segment(
    model: RecurrentMemoryTransformer,
    memory: Tensor,
    prefix: Tensor,
    segment: Tensor,
    asked: Questions | None,
    endings: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """What a segment writes at its endings, and the final hidden states of the questions in it.

    Args:
        model: The model.
        memory: Memory before it, [lanes, M, d].
        prefix: The focus in front of it, [lanes, P].
        segment: Its tokens, [lanes, S].
        asked: Questions in it.
        endings: Tokens before each place where it might have ended, [lanes, K]; None: nothing is written, at its end
            neither.

    Returns:
        What is written at the K places and at its end, [lanes, K + 1, M, d], and hidden states [lanes, B, d].
    """
    lanes, vectors = memory.shape[:2]
    embeddings = model.embed(torch.cat((prefix, segment), dim=1))
    write = endings is not None
    inputs = model.cell.surround(memory, embeddings) if write else model.cell.precede(memory, embeddings)
    trunk, before = inputs.shape[1], vectors + prefix.shape[1]
    pieces, branches = [inputs], list[Branches]()
    if asked is not None:
        pieces.append(model.embed(asked.ids))
        branches.append(asked.branches)
    if endings is not None and endings.shape[1]:
        pieces.append(memory.to(inputs.dtype).repeat(1, endings.shape[1], 1))
        branches.append(Branches.of_equal_length(endings, vectors))
    hidden = _hidden(model, torch.cat(pieces, dim=1), branches, trunk, before)
    asked_width = 0 if asked is None else asked.ids.shape[1]
    at_end, said, early = hidden.tensor_split((trunk, trunk + asked_width), dim=1)
    written = torch.cat((early, at_end[:, -vectors:]), dim=1).view(-1, vectors, model.hidden)
    return model.cell.written(written).view(lanes, -1, vectors, model.hidden), said


def _hidden(
    model: RecurrentMemoryTransformer, inputs: Tensor, branches: Sequence[Branches], trunk: int, before: int
) -> Tensor:
    """Final hidden states of what is read and of the branches behind it."""
    arguments: dict[str, Tensor] = {}
    if branches:
        all_of_them = reduce(add, branches)
        mask = _for_attention(model, all_of_them.mask(trunk, before), inputs.dtype)
        arguments = {"attention_mask": mask, "position_ids": all_of_them.positions(trunk, before)}
    with _attention(model):
        hidden: Tensor = model.body(inputs_embeds=inputs, use_cache=False, **arguments).last_hidden_state
    return hidden


def _gates(update: GatedUpdate, memory: Tensor, writings: Tensor) -> Tensor:
    """Gate logits [lanes, K + 1, M] of what is written at each ending, [lanes, K + 1, M, d]."""
    lanes, endings = writings.shape[:2]
    old = memory.repeat_interleave(endings, dim=0)
    return _float32(update.logits, old, writings.flatten(0, 1)).view(lanes, endings, -1)


def _for_attention(model: RecurrentMemoryTransformer, sees: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as the backbone's attention takes it: PyTorch's own takes booleans, others what is added to the scores."""
    if model.backbone.config._attn_implementation == "sdpa":
        return sees
    return torch.zeros_like(sees, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)


@contextmanager
def _gradients(wanted: bool) -> Iterator[None]:
    with torch.set_grad_enabled(wanted and torch.is_grad_enabled()):
        yield


def _float32(function: Callable[[Tensor, Tensor], Tensor], old: Tensor, written: Tensor) -> Tensor:
    """The update without half precision, as it is served."""
    with torch.autocast(old.device.type, enabled=False):
        return function(old, written)


def _answers(model: RecurrentMemoryTransformer, said: Tensor, asked: Questions) -> tuple[Tensor, Tensor]:
    """Mean loss over the tokens of each question's answer, so that long ones count no more; and which are all right."""
    wanted = asked.labels >= 0
    logits, labels, owners = model.project(said[wanted]), asked.labels[wanted], asked.branches.owners[wanted]
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
