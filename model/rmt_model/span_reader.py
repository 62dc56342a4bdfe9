"""An encoder with memory: it reads a document segment by segment, and points at the answer to a question.

    [CLS] m_1 .. m_M question [SEP] segment [SEP]

The memory vectors enter as input vectors at places of their own, and are read from the last hidden states of the same
places: the form of the paper's own memory tasks (Bulatov et al., arXiv 2304.11062, section 3). Two scores at each token
of the segment, and at [CLS] for "not in this segment", say where an answer begins and ends.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rmt_model.encoder import Encoder, padding_bias
from rmt_model.memory_cell import MemoryCell

__all__ = ["SEGMENT_MULTIPLE", "SEGMENT_PLACE", "SegmentReading", "SpanReader"]

SEGMENT_PLACE = 64
"""Position of a segment's first token, however long the question is: equal segments are equal work."""
SEGMENT_MULTIPLE = 64
"""Segments are padded to a multiple of this when they are served."""
_MEMORY_DISTANCE = 128
"""How far a memory vector is from everything, for an encoder that looks at distances: as far as that can tell."""


@dataclass(frozen=True, slots=True)
class SegmentReading:
    """What one segment gave.

    Attributes:
        memory: Memory after it, float32 [lanes, M, d].
        start: Scores of an answer's first token, float32 [lanes, 1 + S]; the first is that of [CLS]: no answer here.
        end: The same for its last token.
    """

    memory: Tensor
    start: Tensor
    end: Tensor


class SpanReader(nn.Module):
    """The encoder, the memory around it, and the heads.

    Token ids are padded behind with [PAD], 0, which nothing sees. Memory is float32 whatever the encoder's type.

    Args:
        encoder: The body; its token embeddings, too.
        memory_tokens: Number of memory vectors, M.
        cls_id: Token id of [CLS].
        sep_id: Token id of [SEP].
    """

    def __init__(self, encoder: Encoder, memory_tokens: int, *, cls_id: int, sep_id: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.cls_id = cls_id
        self.sep_id = sep_id
        size = encoder.config.hidden_size
        spread = float(encoder.words.weight.detach().float().std())
        self.cell = MemoryCell(memory_tokens, size, update="gated")
        nn.init.normal_(self.cell.initial)
        self.memory_places = nn.Parameter(torch.randn(memory_tokens, size) * spread)
        self.from_memory = nn.Parameter(torch.eye(size) * spread)
        self.span_head = nn.Linear(size, 2)

    @property
    def memory_tokens(self) -> int:
        """Number of memory vectors, M."""
        return self.cell.memory_tokens

    def read(self, memory: Tensor, question: Tensor, segment: Tensor) -> SegmentReading:
        """Read one segment in each lane.

        Args:
            memory: Memory before it, float32 [lanes, M, d].
            question: Token ids of the lanes' questions, [lanes, Q], padded; all [PAD] where a lane has none.
            segment: Token ids of the segments, [lanes, S], padded.
        """
        hidden = self._hidden(memory, question, segment)
        start, end = self._scores(hidden, segment)
        written = self.cell.written(hidden[:, : 1 + self.memory_tokens])
        return SegmentReading(self.cell.update(memory, written), start, end)

    def _hidden(self, memory: Tensor, question: Tensor, segment: Tensor) -> Tensor:
        encoder, dtype = self.encoder, self.encoder.words.weight.dtype
        lanes, device = len(segment), segment.device
        ends = torch.full((lanes, 1), self.sep_id, device=device)
        asked = torch.cat((question, torch.zeros_like(ends)), 1)
        asked = asked.scatter(1, (question != 0).sum(1, keepdim=True), ends)
        told = torch.cat((segment, torch.zeros_like(ends)), 1)
        told = told.scatter(1, (segment != 0).sum(1, keepdim=True), ends)
        start = torch.full((lanes, 1), self.cls_id, device=device)
        count = asked.shape[1]
        places = torch.arange(1, 1 + count, device=device)
        told_places = SEGMENT_PLACE + torch.arange(told.shape[1], device=device)
        remembered_places = -_MEMORY_DISTANCE * torch.arange(1, 1 + self.memory_tokens, device=device)
        type_0, type_1 = encoder.types.weight
        remembered = (memory @ self.from_memory + self.memory_places).to(dtype) + type_0
        inputs = torch.cat(
            (
                encoder.words(start) + encoder.places.weight[:1] + type_0,
                remembered,
                encoder.words(asked) + encoder.places(places) + type_0,
                encoder.words(told) + encoder.places(told_places) + type_1,
            ),
            1,
        )
        always = torch.ones((lanes, 1 + self.memory_tokens), dtype=torch.bool, device=device)
        bias = padding_bias(torch.cat((always, asked != 0, told != 0), 1), dtype)
        hidden: Tensor = encoder(inputs, bias, torch.cat((places[:1] - 1, remembered_places, places, told_places)))
        return hidden

    def _scores(self, hidden: Tensor, segment: Tensor) -> tuple[Tensor, Tensor]:
        """Scores at [CLS] and the segment's tokens; what only pads can be no answer."""
        length = segment.shape[1]
        places = torch.cat((hidden[:, :1], hidden[:, -length - 1 : -1]), 1)
        scores: Tensor = self.span_head(places.float())
        filled = torch.cat((torch.ones_like(segment[:, :1], dtype=torch.bool), segment != 0), 1)
        start, end = scores.masked_fill(~filled[..., None], -1e4).unbind(-1)
        return start, end
