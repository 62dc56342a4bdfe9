"""Indexes on a real Redis: other texts under them, broken folders, eviction, many sessions.

Run: pytest tests/server/test_search_indexes.py.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import StoreBench, stored_state

from rmt_model.digest import StreamDigest
from rmt_server.errors import (
    BusyError,
    SessionNotFoundError,
    StoreUnavailableError,
    TextNotKeptError,
    TextTooLongError,
)
from rmt_server.metrics import Metrics
from rmt_server.search.folders import ProcessFolder, default_folder
from rmt_server.search.indexes import Found, Indexes
from rmt_server.settings import Settings
from rmt_server.store import FINISHED_DOCUMENTS, StoredState

FILLER = "The old garden was quiet and nobody came along the path for a long time. "
Start = Callable[..., Awaitable[Indexes]]


def story(sentence: str, size: int = 60) -> bytes:
    return (FILLER * size + sentence + " " + FILLER * size).encode()


def state_of(text: bytes) -> StoredState:
    """A state that has read a text: it names the text by its digest."""
    digest = StreamDigest()
    digest.update(text)
    return StoredState(b"state", len(text), len(text) // 4, len(text) // 256, digest.hexdigest())


@asynccontextmanager
async def indexes_on(bench: StoreBench, folder: Path, **settings: Any) -> AsyncIterator[Indexes]:
    indexes = Indexes(bench.store, Settings(search_dir=folder, **settings), Metrics())
    running = asyncio.create_task(indexes.run())
    await asyncio.sleep(0.02)
    yield indexes
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await indexes.close()


@pytest.fixture
async def indexes(bench: StoreBench, tmp_path: Path) -> AsyncIterator[Indexes]:
    async with indexes_on(bench, tmp_path / "search") as made:
        yield made


async def find(indexes: Indexes, bench: StoreBench, query: str, sid: str = "s", limit: int = 5) -> Found:
    return await indexes.find(await bench.store.get_session("t", sid), query, limit)


async def texts(indexes: Indexes, bench: StoreBench, query: str) -> str:
    return "\n".join(one.text for one in (await find(indexes, bench, query)).passages)


def put_back(bench: StoreBench, before: dict[bytes, bytes]) -> None:
    """Redis as it was."""
    bench.bare.flushdb()
    for key, value in before.items():
        bench.bare.restore(key, 0, value)


async def fresh_document(bench: StoreBench, data: bytes, sid: str = "s", did: str = "d") -> None:
    await bench.store.create_document("t", sid, did)
    await bench.store.append("t", sid, did, offset=0, data=data, complete=True, max_unread_bytes=1 << 30)


def built(indexes: Indexes) -> float:
    return indexes._metrics.search_builds._value.get()  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------- another text


async def test_a_redis_that_lost_its_last_second_is_noticed(bench: StoreBench, indexes: Indexes) -> None:
    await bench.session(state=state_of(b""))
    await bench.store.create_document("t", "s", "d")
    first, lost, anew = story("The lion is here."), story("The tiger is here."), story("The zebra is here.", 61)
    await bench.append(first, 0)
    before = bench.dump()
    await bench.append(lost, len(first))
    assert "tiger" in await texts(indexes, bench, "tiger")
    put_back(bench, before)
    assert (await find(indexes, bench, "tiger")).passages == []
    await bench.append(anew, len(first))
    assert "zebra" in await texts(indexes, bench, "zebra")
    assert "lion" in await texts(indexes, bench, "lion")
    assert (await find(indexes, bench, "tiger")).passages == []


async def test_text_that_was_lost_and_sent_anew_between_two_searches_is_noticed(
    bench: StoreBench, indexes: Indexes
) -> None:
    """Of the same size and end: at first the place that is quoted tells, later the digest of what was read."""
    await bench.session(state=state_of(b""))
    await bench.store.create_document("t", "s", "d")
    before = bench.dump()
    same = FILLER.encode() * 200
    for number, word in enumerate((b"lion", b"bear")):
        put_back(bench, before)
        await bench.append(b"The " + word + b" is here. " + same, 0)
        if not number:
            assert "lion" in await texts(indexes, bench, "lion")
    assert (await find(indexes, bench, "lion")).passages == []
    assert built(indexes) == 2
    text = b"The bear is here. " + same
    lease = await bench.lease()
    await bench.store.commit(lease, state_of(text), ())
    assert "bear" in await texts(indexes, bench, "bear")
    assert built(indexes) == 2


async def test_a_digest_of_another_text_makes_the_index_anew(bench: StoreBench, indexes: Indexes) -> None:
    await bench.session(state=state_of(b""))
    text = story("The lion is here.", 1500)
    await fresh_document(bench, text)
    assert await texts(indexes, bench, "lion")
    lease = await bench.lease()
    lease = await bench.store.commit(lease, state_of(text[:150_001]), ())
    assert await texts(indexes, bench, "lion")
    assert built(indexes) == 1
    await bench.store.commit(lease, state_of(text[:190_000] + b"!"), ())
    assert await texts(indexes, bench, "lion")
    assert built(indexes) == 2


async def test_a_session_of_the_same_name_is_another_one(bench: StoreBench, indexes: Indexes) -> None:
    await bench.session(state=state_of(b""))
    await fresh_document(bench, story("The lion is here."))
    assert await texts(indexes, bench, "lion")
    await bench.store.delete_session("t", "s")
    with pytest.raises(SessionNotFoundError):
        await bench.store.get_session("t", "s")
    await asyncio.sleep(0.002)
    await bench.session(state=state_of(b""))
    assert await find(indexes, bench, "lion") == Found([], 0)
    await fresh_document(bench, story("The lion is here.") + story("The tiger is here."))
    assert "tiger" in await texts(indexes, bench, "tiger")


async def test_a_restore_ends_it(bench: StoreBench, indexes: Indexes) -> None:
    await bench.session(state=state_of(b""))
    await fresh_document(bench, story("The lion is here."))
    session = await bench.store.get_session("t", "s")
    assert await texts(indexes, bench, "lion")
    lease = await bench.lease()
    await bench.store.commit(lease, state_of(story("The lion is here.")), ("d",))
    await bench.store.restore("t", "s", stored_state(100))
    with pytest.raises(TextNotKeptError):
        await indexes.find(session, "lion", 5)


# ---------------------------------------------------------------------------- documents


async def test_documents_end_where_they_end_and_their_records_go(bench: StoreBench, indexes: Indexes) -> None:
    await bench.session(state=state_of(b""))
    count = FINISHED_DOCUMENTS + 10
    data, places = b"", []
    for number in range(count):
        text = f"Sentence number{number} is alone. ".encode()
        await fresh_document(bench, text, did=f"d{number}")
        places.append((len(data), len(data) + len(text)))
        data += text
        if number % 400 == 399 or number == count - 1:
            lease = await bench.lease()
            unread = [f"d{one}" for one in range(number - number % 400, number + 1)]
            await bench.store.release(await bench.store.commit(lease, state_of(data), unread))
    for number in (5, 500, count - 1):
        (found,) = (await find(indexes, bench, f"number{number}")).passages
        if number == 5:
            assert (found.document_id, found.start_char, found.end_char) == (None, None, None)
            assert f"number{number - 1}" in found.text, "the ends of documents without records are unknown"
            continue
        start, stop = places[number]
        assert (found.document_id, found.start, found.end) == (f"d{number}", start, stop - 1)
        assert (found.start_char, found.end_char) == (0, stop - start - 1)


# ---------------------------------------------------------------------------- broken folders


def folders(parent: Path) -> list[Path]:
    """Those of the indexes of the only process."""
    (process,) = parent.glob("process-*")
    return [one for one in process.iterdir() if one.is_dir()]


def size_bytes(parent: Path) -> int:
    return sum(file.stat().st_size for folder in folders(parent) for file in folder.iterdir())


@pytest.mark.parametrize("damage", ["gone", "a file", "other bytes"])
async def test_a_broken_index_is_made_anew(bench: StoreBench, tmp_path: Path, indexes: Indexes, damage: str) -> None:
    await bench.session(state=state_of(b""))
    await bench.store.create_document("t", "s", "d")
    text = story("The lion is here.")
    await bench.append(text, 0)
    assert await texts(indexes, bench, "lion")
    (folder,) = folders(tmp_path / "search")
    if damage == "other bytes":
        for file in folder.iterdir():
            if file.is_file() and file.stat().st_size:
                file.write_bytes(os.urandom(4096) + b"x" * file.stat().st_size)
    else:
        shutil.rmtree(folder)
        if damage == "a file":
            folder.write_text("in its place")
    await bench.append(story("The tiger is here."), len(text))
    assert "tiger" in await texts(indexes, bench, "tiger")
    assert "lion" in await texts(indexes, bench, "lion")


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
async def test_damage_that_a_search_meets_ends_no_server(
    bench: StoreBench, tmp_path: Path, indexes: Indexes, byte: bytes
) -> None:
    await bench.session(state=state_of(b""))
    await fresh_document(bench, story("The lion is here.", 300))
    assert await texts(indexes, bench, "lion")
    for file in folders(tmp_path / "search")[0].iterdir():
        with file.open("r+b") as opened:  # the open index maps these bytes
            opened.write(byte * file.stat().st_size)
    for passage in (await find(indexes, bench, "lion garden path")).passages:
        kept = await bench.store.read_text("t", "s", passage.start, passage.end)
        assert kept.decode() == passage.text


async def test_without_a_folder_that_can_be_used_indexes_are_in_memory(bench: StoreBench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    async with indexes_on(bench, tmp_path / "file" / "search") as indexes:
        await bench.session(state=state_of(b""))
        await fresh_document(bench, story("The lion is here."))
        assert await texts(indexes, bench, "lion")
    async with indexes_on(bench, tmp_path / "there") as indexes:
        assert indexes._folder is not None
        shutil.rmtree(indexes._folder.path)
        indexes._folder.path.write_text("in its place")
        assert await texts(indexes, bench, "lion")


def test_a_folder_goes_with_its_process_and_anothers_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = ProcessFolder(tmp_path), ProcessFolder(tmp_path)
    assert one.path != other.path
    assert oct(one.path.stat().st_mode)[-3:] == "700"
    assert one.new() != one.new()
    one.close()
    assert [*tmp_path.iterdir()] == [other.path]
    stale = tmp_path / "process-old"
    stale.mkdir()
    (stale / "lock").touch()
    begun = tmp_path / "begun-now"
    begun.mkdir()
    third = ProcessFolder(tmp_path)
    assert {*tmp_path.iterdir()} == {other.path, third.path, begun}
    other.close()
    third.close()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert oct(default_folder().stat().st_mode)[-3:] == "700"
    default_folder().rmdir()
    (tmp_path / f"rmt-search-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        default_folder()


# ---------------------------------------------------------------------------- bounds


async def test_the_least_lately_asked_goes(bench: StoreBench, tmp_path: Path) -> None:
    async with indexes_on(bench, tmp_path, max_search_indexes=2) as indexes:
        for sid in "abc":
            await bench.session(sid, state=state_of(b""))
            await fresh_document(bench, story(f"The lion is in {sid}."), sid)
        for sid, count in (("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 4)):
            found = await find(indexes, bench, "lion", sid)
            assert f"in {sid}." in found.passages[0].text
            assert built(indexes) == count
            assert len(folders(tmp_path)) <= 2


async def test_indexes_take_no_more_than_allowed(bench: StoreBench, tmp_path: Path) -> None:
    async with indexes_on(bench, tmp_path, max_search_bytes=40_000) as indexes:
        for sid in "abc":
            await bench.session(sid, state=state_of(b""))
            await fresh_document(bench, story(f"The lion is in {sid}."), sid)
        for sid in "abcabc":
            assert (await find(indexes, bench, "lion", sid)).passages
            assert 0 < size_bytes(tmp_path) <= 40_000
        await bench.session("large", state=state_of(b""))
        await fresh_document(bench, os.urandom(80_000).hex().encode(), "large")
        with pytest.raises(TextTooLongError):
            await find(indexes, bench, "lion", "large")
        await bench.session("larger", state=state_of(b""))
        await fresh_document(bench, b"x " * 200_000, "larger")
        with pytest.raises(TextTooLongError):
            await find(indexes, bench, "x", "larger")
        assert (await find(indexes, bench, "lion", "a")).passages


async def test_a_long_build_holds_up_no_other_session_and_goes_on_without_its_caller(
    bench: StoreBench, tmp_path: Path
) -> None:
    async with indexes_on(bench, tmp_path, answer_wait_s=1.0, max_waiting_searches=2) as indexes:
        for sid, size in (("long", 200_000), ("short", 10)):
            await bench.session(sid, state=state_of(b""))
            await fresh_document(bench, story("The lion is here.", size), sid)
        long = asyncio.create_task(find(indexes, bench, "lion", "long"))
        await asyncio.sleep(0.05)
        since_s = time.monotonic()
        assert (await find(indexes, bench, "lion", "short")).passages
        assert time.monotonic() - since_s < 1.0
        with pytest.raises(BusyError, match="being indexed"):
            await long
        another = asyncio.create_task(find(indexes, bench, "lion", "long"))
        await asyncio.sleep(0.01)
        with pytest.raises(BusyError, match="wait already"):
            await find(indexes, bench, "lion", "short")
        with suppress(BusyError):
            await another
        deadline = time.monotonic() + 20
        while True:
            with suppress(BusyError):
                if (await find(indexes, bench, "lion", "long")).passages:
                    break
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        assert built(indexes) == 2


async def test_tenants_are_apart(bench: StoreBench, indexes: Indexes) -> None:
    await bench.session(state=state_of(b""))
    await fresh_document(bench, story("The lion is here."))
    await bench.store.create_session("u", "s", model="m", ttl_s=60.0, state=state_of(b""))
    assert await texts(indexes, bench, "lion")
    assert (await indexes.find(await bench.store.get_session("u", "s"), "lion", 5)).passages == []


async def test_what_was_taken_in_before_redis_failed_is_found_afterwards(
    bench: StoreBench, indexes: Indexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.session(state=state_of(b""))
    await fresh_document(bench, story("The lion is here."))
    read_text, calls = bench.store.read_text, 0

    async def fails_once(tenant: str, sid: str, start: int, stop: int) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 2:  # the text has been taken in, and is not findable yet
            raise StoreUnavailableError("gone for a moment")
        return await read_text(tenant, sid, start, stop)

    monkeypatch.setattr(bench.store, "read_text", fails_once)
    with pytest.raises(StoreUnavailableError):
        await find(indexes, bench, "lion")
    assert "lion" in await texts(indexes, bench, "lion")
