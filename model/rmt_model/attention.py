"""Causal attention, computed as the device likes it best.

On a CPU it is taken in blocks of rows, each with the keys that its rows see and no others: half of the products and of
the softmax that a whole square takes, in matrices small enough to stay in the cache. PyTorch's fused attention does the
same inside, but in 1.5 (float32) to 2.5 times (bfloat16) the time at the sizes of segments.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["causal_attention"]

_BLOCK_ROWS = 64
_NOTHING = float("-inf")


def causal_attention(queries: Tensor, keys: Tensor, values: Tensor, places: Tensor | None = None) -> Tensor:
    """What the queries of each lane find at all places up to their own.

    Args:
        queries: [lanes, R, heads, head].
        keys: Of all places, [lanes, L, kv heads, head].
        values: Of all places, [lanes, L, kv heads, head].
        places: Where each query stands, [lanes, R]; None where they stand at the last R places of all.

    Returns:
        [lanes, R, heads * head].
    """
    if queries.device.type == "cpu":
        return _in_blocks(queries, keys, values, places)
    rows, length = queries.shape[1], keys.shape[1]
    from_start = places is None and rows == length
    if places is None:
        places = torch.arange(length - rows, length, device=queries.device)[None]
    found = functional.scaled_dot_product_attention(
        queries.transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=None if from_start else _seen(places, length)[:, None],
        is_causal=from_start,
        enable_gqa=queries.shape[2] != keys.shape[2],
    )
    return found.transpose(1, 2).flatten(2)


def _seen(places: Tensor, length: int) -> Tensor:
    """Which of the first places queries at some of them see: [lanes, R, L] from [lanes, R]."""
    return torch.arange(length, device=places.device) <= places[:, :, None]


def _in_blocks(queries: Tensor, keys: Tensor, values: Tensor, places: Tensor | None) -> Tensor:
    lanes, rows, heads, head = queries.shape
    length, kv_heads = keys.shape[1:3]
    # Query heads that share a key head are rows of one matrix.
    queries = queries.reshape(lanes, rows, kv_heads, -1, head).permute(0, 2, 3, 1, 4)
    keys, values = keys.permute(0, 2, 3, 1), values.permute(0, 2, 1, 3)
    found = queries.new_empty(lanes, rows, kv_heads, heads // kv_heads, head)
    nothing = queries.new_zeros(())
    unseen = None if places is None else ~_seen(places, length)
    diagonal = ~torch.ones(_BLOCK_ROWS, _BLOCK_ROWS, dtype=torch.bool).tril()
    for start in range(0, rows, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, rows)
        size, seen = stop - start, length if places is not None else length - rows + stop
        of_block = queries[:, :, :, start:stop].reshape(lanes * kv_heads, -1, head)
        seen_keys = keys[..., :seen].reshape(lanes * kv_heads, head, seen)
        scores = torch.baddbmm(nothing, of_block, seen_keys, beta=0, alpha=head**-0.5)
        by_row = scores.view(lanes, -1, size, seen)
        if unseen is None:
            by_row[..., -size:].masked_fill_(diagonal[:size, :size], _NOTHING)
        else:
            by_row.masked_fill_(unseen[:, None, start:stop], _NOTHING)
        mixed = torch.bmm(scores.softmax(-1), values[:, :, :seen].reshape(lanes * kv_heads, seen, head))
        found[:, start:stop] = mixed.view(lanes, kv_heads, -1, size, head).permute(0, 3, 1, 2, 4)
    return found.flatten(2)
