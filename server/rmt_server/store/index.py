"""Indexes of sessions and of snapshots, in order of creation.

An entry is the moment of creation and the id, in a sorted set where all scores are 0: Redis then keeps
them in the order of their text, and an entry is a cursor. The index lies in another slot than what it
lists, so it is written by a command of its own, after the record; an entry without a record is dropped by
whoever meets it. So that a tenant who never lists does not collect such entries, each new one inspects a few
old ones.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rmt_server.store.connection import Connection
from rmt_server.store.records import Page

Item = TypeVar("Item")
Load = Callable[[str], Awaitable[Item | None]]

_INSPECTED = 4
_PRUNED = 100


def entry(created_ms: int, name: str) -> str:
    """The index entry of what was created then."""
    return f"{created_ms:015d}.{name}"


def _name(index_entry: bytes) -> str:
    return index_entry.decode().partition(".")[2]


class Index:
    """One index; ``load`` finds what an entry names, or None if it is gone."""

    def __init__(self, redis: Connection, key: str) -> None:
        self._redis = redis
        self._key = key

    async def add(self, new_entry: str, load: Load[Item]) -> None:
        """Add an entry, and drop some that are out of date."""
        await self._redis.command("ZADD", self._key, 0, new_entry)
        await self.inspect(load)

    async def inspect(self, load: Load[Item]) -> None:
        """Drop those of a few entries that name nothing any more."""
        await self._live(await self._redis.command("ZRANDMEMBER", self._key, _INSPECTED), load)

    async def remove(self, old_entry: str) -> None:
        """Remove an entry."""
        await self._redis.command("ZREM", self._key, old_entry)

    async def page(self, load: Load[Item], limit: int, after: str | None) -> Page[Item]:
        """Up to ``limit`` items, the newest first, after the one where the last page ended."""
        if limit < 1:
            raise ValueError(f"a page of {limit} items")
        items: list[Item] = []
        cursor = after
        while True:
            top = "+" if cursor is None else f"({cursor}"
            wanted = limit - len(items)
            entries: list[bytes] = await self._redis.command("ZREVRANGEBYLEX", self._key, top, "-", "LIMIT", 0, wanted)
            items += await self._live(entries, load)
            if len(entries) < wanted:
                return Page(tuple(items), None)
            cursor = entries[-1].decode()
            if len(items) == limit:
                return Page(tuple(items), cursor)

    async def prune(self, key_of: Callable[[str], str]) -> None:
        """Drop every entry that names nothing any more; ``key_of`` tells the key that holds what is named."""
        cursor = "-"
        while entries := await self._redis.command("ZRANGEBYLEX", self._key, cursor, "+", "LIMIT", 0, _PRUNED):
            for each in entries:
                if not await self._redis.command("EXISTS", key_of(_name(each))):
                    await self._redis.command("ZREM", self._key, each)
            cursor = f"({entries[-1].decode()}"

    async def _live(self, entries: list[bytes], load: Load[Item]) -> list[Item]:
        found = await asyncio.gather(*(load(_name(each)) for each in entries))
        gone = [each for each, item in zip(entries, found, strict=True) if item is None]
        if gone:
            await self._redis.command("ZREM", self._key, *gone)
        return [item for item in found if item is not None]
