"""Listings that are longer than a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rmt_client.models import Page

T = TypeVar("T")
PAGE_ITEMS = 100


def first(limit: int, page: Callable[[int, str | None], Page[T]]) -> list[T]:
    """Collects up to `limit` items, page by page; `page` takes a size and where to go on."""
    found: list[T] = []
    after: str | None = None
    while len(found) < limit:
        items = page(min(PAGE_ITEMS, limit - len(found)), after)
        found += items.items
        after = items.next
        if after is None:
            break
    return found[:limit]
