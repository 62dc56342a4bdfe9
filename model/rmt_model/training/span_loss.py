"""What a span reader is trained by: the places that are right, and the scores of a teacher that reads the same.

Places are weighed within a segment, and, where a question was put to several windows, against each other as search
does: each score less the window's own "not here", all of them in one sum, with 0 for "in none of them". Source: Clark
and Gardner, "Simple and Effective Multi-Paragraph Reading Comprehension", arXiv 1710.10723 (shared normalization).

A teacher's scores stand for what it finds likely anywhere, also where nothing is marked as right. Source: Hinton et
al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from rmt_model.encoder_checkpoint import EncoderCheckpoint
from rmt_model.errors import TrainingError
from rmt_model.span_reader import SegmentReading, SpanReader
from rmt_model.training.span_batches import SpanBatch

__all__ = ["Teacher", "span_loss"]

_LEAST_SHARED = 0.98
"""Of the student's tokens, so many must be tokens of the teacher: what a text is cut into is then the same."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A reader whose scores another one learns.

    Attributes:
        reader: The reader; it is not trained.
        token_ids: Its token id for each of the student's, [student's vocabulary].
        weight: Its part of the loss, 0 to 1; the rest is that of the right places.
        temperature: Scores are divided by it before they are compared, so that unlikely places count, too.
    """

    reader: SpanReader
    token_ids: Tensor
    weight: float = 0.5
    temperature: float = 2.0

    @classmethod
    def of(cls, checkpoint: EncoderCheckpoint, student: Tokenizer, weight: float, temperature: float) -> "Teacher":
        """A checkpoint as a teacher.

        Raises:
            TrainingError: It cuts text into other tokens than its student.
        """
        vocabulary, known = student.get_vocab(), checkpoint.tokenizer.get_vocab()
        shared = [token for token in vocabulary if token in known]
        if len(shared) < _LEAST_SHARED * len(vocabulary):
            raise TrainingError(
                f"teacher: {checkpoint.name} knows {len(shared)} of the {len(vocabulary)} tokens of what is trained; a "
                "teacher must cut text into the same tokens"
            )
        unknown = known.get("[UNK]", checkpoint.model.sep_id)
        token_ids = torch.full((max(vocabulary.values()) + 1,), unknown)
        token_ids[[vocabulary[token] for token in shared]] = torch.tensor([known[token] for token in shared])
        token_ids[0] = 0  # what pads
        return cls(checkpoint.model, token_ids, weight, temperature)

    @torch.no_grad()
    def read(self, batch: SpanBatch) -> list[SegmentReading]:
        """What it reads in each segment of a batch of its student's."""
        return _read(self.reader, self.token_ids[batch.question], [self.token_ids[one] for one in batch.segments])


def span_loss(reader: SpanReader, batch: SpanBatch, teacher: Teacher | None = None) -> tuple[Tensor, float]:
    """The loss of each lane [lanes], and the share of segments whose likeliest start is right.

    At each segment the scores of all places that are right count together, against all places and "not here".
    """
    readings = _read(reader, batch.question, batch.segments)
    loss = _right_places(readings, batch)
    if teacher is not None:
        taught = _as_taught(readings, teacher.read(batch), batch.windows, teacher.temperature)
        loss = (1 - teacher.weight) * loss + teacher.weight * taught
    right = sum(
        float(start.gather(1, one.start.argmax(1, keepdim=True)).float().mean())
        for one, start in zip(readings, batch.starts, strict=True)
    )
    return loss, right / len(readings)


def _read(reader: SpanReader, question: Tensor, segments: Sequence[Tensor]) -> list[SegmentReading]:
    memory = reader.cell.fresh(len(question))
    readings = []
    for segment in segments:
        readings.append(reader.read(memory, question, segment))
        memory = readings[-1].memory
    return readings


def _right_places(readings: Sequence[SegmentReading], batch: SpanBatch) -> Tensor:
    losses = []
    for reading, *wanted in zip(readings, batch.starts, batch.ends, strict=True):
        for scores, right in zip((reading.start, reading.end), wanted, strict=True):
            loss = _cross_entropy(scores, right)
            if batch.windows > 1:
                here = right[:, 1:].reshape(len(right) // batch.windows, -1)
                in_all = torch.cat((~here.any(1, keepdim=True), here), 1)
                beside = _cross_entropy(_side_by_side(scores, batch.windows), in_all)
                loss = (loss + beside.repeat_interleave(batch.windows)) / 2
            losses.append(loss)
    return torch.stack(losses).mean(0)


def _as_taught(
    readings: Sequence[SegmentReading], taught: Sequence[SegmentReading], windows: int, temperature: float
) -> Tensor:
    losses = []
    for reading, teaching in zip(readings, taught, strict=True):
        for scores, wanted in ((reading.start, teaching.start), (reading.end, teaching.end)):
            loss = _divergence(scores, wanted, temperature)
            if windows > 1:
                beside = _divergence(_side_by_side(scores, windows), _side_by_side(wanted, windows), temperature)
                loss = (loss + beside.repeat_interleave(windows)) / 2
            losses.append(loss)
    return torch.stack(losses).mean(0)


def _cross_entropy(scores: Tensor, right: Tensor) -> Tensor:
    return scores.logsumexp(1) - scores.masked_fill(~right, -torch.inf).logsumexp(1)


def _divergence(scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """How far scores are from others, in nats [lanes]; its gradient is about that of a temperature of one."""
    log_found, log_wanted = (one.div(temperature).log_softmax(1) for one in (scores, wanted))
    return temperature**2 * (log_wanted.exp() * (log_wanted - log_found)).sum(1)


def _side_by_side(scores: Tensor, windows: int) -> Tensor:
    """The scores of each question's windows in one row, behind 0 for "in none of them": [questions, 1 + places]."""
    above = (scores - scores[:, :1])[:, 1:].reshape(len(scores) // windows, -1)
    return torch.cat((torch.zeros_like(above[:, :1]), above), 1)
