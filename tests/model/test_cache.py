"""Caches: a row that is extended piece by piece, beside others, is the row that is computed at once and alone."""

import gc
from collections.abc import Callable

import pytest
import torch
from tests.tiny_models import BackboneFactory
from torch import Tensor

from rmt_model.cache import Cache, CachePool, PaddedCache, StaticCache
from rmt_model.llama_body import LlamaBody

WIDTH = 32
MakeCache = Callable[[int, int], Cache]


@pytest.fixture(params=["static", "padded"])
def make_cache(request: pytest.FixtureRequest, tiny_backbone: BackboneFactory) -> MakeCache:
    backbone = tiny_backbone("llama", layers=3)
    if request.param == "padded":
        return lambda rows, places: PaddedCache(backbone.model, None)
    body, pool = LlamaBody.of(backbone.model), CachePool()
    assert body is not None
    return lambda rows, places: StaticCache(body, rows, places, torch.full((1,), float("nan")), pool)


@pytest.fixture
def at_once(tiny_backbone: BackboneFactory) -> Callable[[Tensor], Tensor]:
    """The final hidden state behind one row, [d], computed without a cache."""
    backbone = tiny_backbone("llama", layers=3)
    return lambda row: backbone.model(inputs_embeds=row[None], use_cache=False).last_hidden_state[0, -1]


def row(seed: int, length: int) -> Tensor:
    return torch.randn(length, WIDTH, generator=torch.Generator().manual_seed(seed))


def assert_rows(found: Tensor, wanted: list[Tensor]) -> None:
    torch.testing.assert_close(found, torch.stack(wanted), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "pieces",
    [
        [[5, 5, 5], [1, 1, 1], [1, 1, 1]],
        [[5, 1, 9], [1, 1, 1], [1, 1, 1]],
        [[70, 3, 130], [66, 1, 2], [1, 1, 1], [1, 1, 1]],
        [[3], [80], [1], [1]],
    ],
)
@torch.inference_mode()
def test_rows_grow_as_they_would_alone(
    make_cache: MakeCache, at_once: Callable[[Tensor], Tensor], pieces: list[list[int]]
) -> None:
    rows, widest = len(pieces[0]), sum(max(lengths) for lengths in pieces)
    cache, whole = make_cache(rows, widest), [torch.empty(0, WIDTH) for _ in range(rows)]
    for step, lengths in enumerate(pieces):
        new = [row(10 * step + number, length) for number, length in enumerate(lengths)]
        whole = [torch.cat(pair) for pair in zip(whole, new, strict=True)]
        assert_rows(cache.extend(new), [at_once(one) for one in whole])


@torch.inference_mode()
def test_rows_are_left_out_repeated_and_put_in_another_order(
    make_cache: MakeCache, at_once: Callable[[Tensor], Tensor]
) -> None:
    cache, known = make_cache(5, 40), [row(1, 4), row(2, 17), row(3, 9)]
    cache.extend(known)
    for chosen in ([0, 1, 2, 1, 1], [4, 0, 2], [2, 1], [1]):
        cache.select(chosen)
        new = [row(20 + number, 1 + number % 2) for number in range(len(chosen))]
        known = [torch.cat((known[index], more)) for index, more in zip(chosen, new, strict=True)]
        assert_rows(cache.extend(new), [at_once(one) for one in known])


def test_memory_is_used_again_and_what_it_held_is_not_seen(tiny_backbone: BackboneFactory) -> None:
    body, pool, like = LlamaBody.of(tiny_backbone("llama", layers=2).model), CachePool(), torch.zeros(1)
    assert body is not None
    with torch.inference_mode():
        first = StaticCache(body, 4, 50, like, pool)
        first._held.fill_(float("nan"))
        where = first._held.data_ptr()
        del first
        gc.collect()
        second, alone = StaticCache(body, 2, 60, like, pool), StaticCache(body, 1, 60, like, CachePool())
        assert second._held.data_ptr() == where
        found = [second.extend([row(1, 3), row(2, 8)]), second.extend([row(3, 2), row(4, 1)])]
        wanted = [alone.extend([row(1, 3)]), alone.extend([row(3, 2)])]
    for some, one in zip(found, wanted, strict=True):
        torch.testing.assert_close(some[:1], one, rtol=2e-4, atol=2e-5)


def test_memory_that_is_too_small_or_of_another_type_is_left_alone() -> None:
    pool = CachePool()
    pool.give_back(torch.zeros(10))
    assert pool.take((3, 4), torch.zeros(1)).shape == (3, 4)
    assert pool.take((2,), torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.bfloat16
    pool.give_back(torch.zeros(4))
    again = pool.take((2, 5), torch.zeros(1))
    assert again.untyped_storage().nbytes() == 40
    assert pool.take((2, 5), torch.zeros(1)).data_ptr() != again.data_ptr()
