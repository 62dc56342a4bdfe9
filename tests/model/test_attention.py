"""Attention in blocks is the attention of the formula."""

import pytest
import torch
from torch import Tensor

from rmt_model.attention import causal_attention


def by_formula(queries: Tensor, keys: Tensor, values: Tensor, places: Tensor) -> Tensor:
    repeats = queries.shape[2] // keys.shape[2]
    keys, values = (part.double().repeat_interleave(repeats, 2) for part in (keys, values))
    scores = torch.einsum("nrhd,nlhd->nhrl", queries.double(), keys) / queries.shape[-1] ** 0.5
    later = torch.arange(keys.shape[1]) > places[:, None, :, None]
    found = torch.einsum("nhrl,nlhd->nrhd", scores.masked_fill(later, float("-inf")).softmax(-1), values)
    return found.flatten(2)


def drawn(lanes: int, rows: int, length: int, heads: int, kv_heads: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows + length)
    shapes = ((rows, heads), (length, kv_heads), (length, kv_heads))
    return [torch.randn(lanes, *shape, 16, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (9, 3), (4, 1)])
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (1, 90), (16, 200), (64, 64), (65, 65), (200, 200), (130, 300)])
@pytest.mark.parametrize("lanes", [1, 3])
def test_the_last_rows_see_all_before_them(
    lanes: int, rows: int, length: int, heads: int, kv_heads: int, dtype: torch.dtype, tolerance: float
) -> None:
    queries, keys, values = drawn(lanes, rows, length, heads, kv_heads, dtype)
    places = torch.arange(length - rows, length).expand(lanes, -1)
    found = causal_attention(queries, keys, values)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.double(), by_formula(queries, keys, values, places), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("rows", [1, 70])
def test_rows_at_places_of_their_own(rows: int) -> None:
    queries, keys, values = drawn(3, rows, 150, 6, 3, torch.float32)
    places = torch.tensor([[0], [40], [149 - rows]]) + torch.arange(rows)
    found = causal_attention(queries, keys, values, places)
    torch.testing.assert_close(found.double(), by_formula(queries, keys, values, places), rtol=1e-5, atol=1e-5)
