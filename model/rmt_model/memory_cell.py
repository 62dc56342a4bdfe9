"""Memory vectors around one segment, and the rule that turns what was written into the next memory.

There is no loop in here and no backbone: a cell lays vectors in front of and behind a segment's embeddings,
and reads the new memory out of the last hidden states. Source: Bulatov et al., arXiv 2304.11062, section 3.
"""

import torch
from torch import Tensor, nn

from rmt_model.config import UpdateRule

__all__ = ["GatedUpdate", "MemoryCell", "ReplaceUpdate", "memory_update", "movement"]


class ReplaceUpdate(nn.Module):
    """The paper's rule: what was written is the next memory."""

    def forward(self, old: Tensor, written: Tensor) -> Tensor:
        """Return `written`; both are [lanes, M, d]."""
        del old
        return written


class GatedUpdate(nn.Module):
    """`memory = g * old + (1 - g) * written`, one gate `g` in [0, 1] for each memory vector.

    `g = clamp(2 sigmoid(x) - 1/2, 0, 1)` with `x = u . written + v . old + p . mean(written) + q . mean(old) + b`, the
    means over all vectors; it starts at `g = 1/2`. Beyond `|x| = ln 3` the gate is wholly closed or open: a closed one
    carries a memory unchanged past a segment that has nothing for it, however many of those follow. That is what keeps
    facts over long distances.
    """

    def __init__(self, memory_tokens: int, hidden: int) -> None:
        super().__init__()
        self.from_written = nn.Parameter(torch.zeros(hidden))
        self.from_old = nn.Parameter(torch.zeros(hidden))
        self.from_all_written = nn.Parameter(torch.zeros(hidden))
        self.from_all_old = nn.Parameter(torch.zeros(hidden))
        self.bias = nn.Parameter(torch.zeros(memory_tokens))

    def logits(self, old: Tensor, written: Tensor) -> Tensor:
        """Gate logits [lanes, M] for `old` and `written` [lanes, M, d].

        Sums of products instead of matrix products, whose rounding depends on how many lanes there are.
        """
        each = (written * self.from_written + old * self.from_old).sum(-1)
        together = (written.mean(1) * self.from_all_written + old.mean(1) * self.from_all_old).sum(-1)
        return each + together.unsqueeze(-1) + self.bias

    def forward(self, old: Tensor, written: Tensor) -> Tensor:
        """Mix `old` and `written`, both [lanes, M, d], into the next memory."""
        keep = (2 * torch.sigmoid(self.logits(old, written)) - 0.5).clamp(0, 1).unsqueeze(-1)
        return keep * old + (1 - keep) * written


def memory_update(rule: UpdateRule, memory_tokens: int, hidden: int) -> nn.Module:
    """Build the update that a checkpoint's `update` names."""
    return GatedUpdate(memory_tokens, hidden) if rule == "gated" else ReplaceUpdate()


class MemoryCell(nn.Module):
    """M memory vectors of size d: the learned start, how they surround a segment, and how they are updated.

    The same vectors stand in front of a segment, to be read, and behind it, to be written: under causal attention
    only those behind have seen the segment. Parameters and memory are float32 whatever the backbone's type.
    """

    def __init__(self, memory_tokens: int, hidden: int, *, update: UpdateRule = "replace", scale: float = 1.0) -> None:
        super().__init__()
        self.memory_tokens = memory_tokens
        self.scale = scale
        self.initial = nn.Parameter(torch.zeros(memory_tokens, hidden))
        self.update = memory_update(update, memory_tokens, hidden)

    def fresh(self, lanes: int) -> Tensor:
        """Memory of a document of which nothing was read: [lanes, M, d]."""
        return self.initial.unsqueeze(0).expand(lanes, -1, -1)

    def surround(self, memory: Tensor, embeddings: Tensor) -> Tensor:
        """`[memory | embeddings | memory]`: [lanes, M + L + M, d] in the type of `embeddings` [lanes, L, d]."""
        cast = memory.to(embeddings.dtype)
        return torch.cat((cast, embeddings, cast), dim=1)

    def precede(self, memory: Tensor, embeddings: Tensor) -> Tensor:
        """`[memory | embeddings]`, for answering: nothing is written."""
        return torch.cat((memory.to(embeddings.dtype), embeddings), dim=1)

    def written(self, hidden_states: Tensor) -> Tensor:
        """What the last M positions wrote: float32 [lanes, M, d] from the final hidden states [lanes, L, d]."""
        return hidden_states[:, -self.memory_tokens :].float() * self.scale


def movement(old: Tensor, new: Tensor) -> Tensor:
    """How far each memory vector moved, over its length before: [lanes, M], from [lanes, M, d] twice."""
    moved: Tensor = (new - old).norm(dim=-1) / old.norm(dim=-1).clamp_min(1e-9)
    return moved
