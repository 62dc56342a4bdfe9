"""Caches: keys and values of rows that are decoded, so that each further token costs one token's work."""

import math
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from rmt_model.attention import causal_attention
from rmt_model.llama_body import LlamaBody

__all__ = ["Cache", "CachePool", "PaddedCache", "StaticCache"]


class Cache(Protocol):
    """Rows of input vectors that grow, each by as much as it likes."""

    def extend(self, inputs: Sequence[Tensor]) -> Tensor:
        """Add further input vectors [L_i, d] to each row; the final hidden state behind each: [rows, d]."""
        ...

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order; one may be named several times."""
        ...


class CachePool:
    """The memory of a StaticCache that is gone serves the next: fresh pages cost more than what is written there."""

    def __init__(self) -> None:
        self._kept: Tensor | None = None

    def take(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Memory of that shape, holding anything, of the type and on the device of `like`."""
        size, kept = math.prod(shape), self._kept
        if kept is None or kept.numel() < size or kept.dtype != like.dtype or kept.device != like.device:
            return like.new_empty(shape)
        self._kept = None
        return kept[:size].view(*shape)

    def give_back(self, memory: Tensor) -> None:
        """It is needed no more; the largest is kept."""
        whole = torch.empty(0, dtype=memory.dtype, device=memory.device).set_(memory.untyped_storage())
        if self._kept is None or self._kept.numel() < whole.numel():
            self._kept = whole


class StaticCache:
    """Allocated once, for rows of a LlamaBody.

    Each row begins at place 0 and stands without gaps; what pads a shorter one is written behind its end, where its
    next tokens overwrite it before anything looks there. What is masked is zero all the same: nothing times what memory
    happens to hold may be no number.

    Args:
        body: What computes.
        rows: The most that there will be; `extend` begins with as many as it is given.
        capacity: Places in each: as many as it will ever hold, and what pads its shorter extensions.
        like: A tensor of the type and on the device of the input vectors.
        pool: Where the memory comes from.
    """

    def __init__(self, body: LlamaBody, rows: int, capacity: int, like: Tensor, pool: CachePool) -> None:
        self._body = body
        self._lengths = [0] * rows
        self._held = pool.take((body.layers, 2, rows, body.kv_heads, capacity, body.head), like)
        self._places: Any = None
        self._seen = 0
        self._clean = 0  # no place below this holds what was there before
        weakref.finalize(self, pool.give_back, self._held)

    def extend(self, inputs: Sequence[Tensor]) -> Tensor:
        """Add further input vectors [L_i, d] to each row; the final hidden state behind each: [rows, d]."""
        padded = pad_sequence(list(inputs), batch_first=True)
        starts, width, device = self._lengths[: len(inputs)], padded.shape[1], padded.device
        self._lengths = [start + len(one) for start, one in zip(starts, inputs, strict=True)]
        self._seen = max(starts) + width
        self._held[..., self._clean : self._seen, :].zero_()
        self._clean = max(self._clean, self._seen)
        if min(starts) == max(starts):
            self._places = positions = slice(starts[0], self._seen)
            hidden = self._body.hidden(padded, positions, self._attend_together)
        else:
            each = torch.tensor(starts, device=device)[:, None] + torch.arange(width, device=device)
            self._places = torch.arange(len(starts), device=device)[:, None], each
            hidden = self._body.hidden(padded, each, self._attend_apart)
        ends = torch.tensor([len(one) - 1 for one in inputs], device=device)
        return hidden[torch.arange(len(starts), device=device), ends]

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order; one may be named several times."""
        self._lengths = [self._lengths[row] for row in rows]
        where = torch.tensor(rows, device=self._held.device)
        for layer in self._held:
            known = layer[..., : self._clean, :]
            known[:, : len(rows)] = known.index_select(1, where)

    def _attend_together(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of rows that are all of the same length."""
        held = self._held[layer, :, : len(queries)].transpose(2, 3)
        held[0, :, self._places], held[1, :, self._places] = keys, values
        return causal_attention(queries, held[0, :, : self._seen], held[1, :, : self._seen])

    def _attend_apart(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of rows that stand at different places."""
        held = self._held[layer, :, : len(queries)].transpose(2, 3)
        held[0][self._places], held[1][self._places] = keys, values
        return causal_attention(queries, held[0, :, : self._seen], held[1, :, : self._seen], self._places[1])


class PaddedCache:
    """For rows of any of transformers' bodies; shorter ones are padded on the left and masked.

    Args:
        body: What computes.
        positions: Positions that the body knows, None where there is no end.
    """

    def __init__(self, body: nn.Module, positions: int | None) -> None:
        self._body = body
        self._positions = positions
        self._cache: Any = None
        self._mask = torch.ones(0, 0, dtype=torch.long)

    def extend(self, inputs: Sequence[Tensor]) -> Tensor:
        """Add further input vectors [L_i, d] to each row; the final hidden state behind each: [rows, d]."""
        padded = pad_sequence(list(inputs), batch_first=True, padding_side="left")
        present = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in inputs]
        new = pad_sequence(present, batch_first=True, padding_side="left")
        self._mask = new if self._cache is None else torch.cat((self._mask, new), dim=1)
        # A row that is finished may go on beside the others, and stays at the last position that there is.
        last = self._positions and self._positions - 1
        positions = (self._mask.cumsum(1) - 1).clamp(min=0, max=last)[:, -padded.shape[1] :]
        # A mask without padding is left out: attention then takes its fastest path.
        output = self._body(
            inputs_embeds=padded,
            attention_mask=None if bool(self._mask.all()) else self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache = output.past_key_values
        hidden: Tensor = output.last_hidden_state[:, -1]
        return hidden

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order; one may be named several times."""
        where = torch.tensor(rows, device=self._mask.device)
        self._cache.batch_select_indices(where)
        self._mask = self._mask[where]
