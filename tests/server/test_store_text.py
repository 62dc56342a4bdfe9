import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rmt_server.errors import DamagedStoreError, FencedError, TextNotKeptError
from rmt_server.store import BLOCK_BYTES, READ_BYTES, StoredState

SIZES = st.one_of(
    st.integers(0, 300),
    st.integers(BLOCK_BYTES - 2, BLOCK_BYTES + 2),
    st.integers(0, 3 * BLOCK_BYTES),
)
ON_A_REAL_REDIS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def blocks(bench) -> set[str]:
    """The blocks of the text, without what is counted beside them."""
    return {name.decode() for name in bench.bare.hkeys("rmt:{t:s}:text") if not name.startswith(b"c")}


async def fill(bench, data: bytes, did: str = "d") -> None:
    for start in range(0, len(data), READ_BYTES):
        await bench.append(data[start : start + READ_BYTES], start, did)


@ON_A_REAL_REDIS
@given(origin=st.integers(0, 1 << 40), sizes=st.lists(SIZES, max_size=6), data=st.data())
async def test_any_pieces_are_the_whole(bench, origin, sizes, data) -> None:
    bench.bare.flushall()
    await bench.session(state=StoredState(b"", origin, 0, 0, ""))
    await bench.store.create_document("t", "s", "d")
    text = noise(sum(sizes))
    offset = 0
    for size in sizes:
        await bench.append(text[offset : offset + size], offset)
        offset += size
    start = data.draw(st.integers(0, len(text)))
    size = data.draw(st.integers(0, READ_BYTES))
    found = await bench.store.read_text("t", "s", origin + start, origin + start + size)
    assert found == text[start : start + size]
    assert len(blocks(bench)) == len(text) // BLOCK_BYTES
    assert bench.bare.strlen("rmt:{t:s}:tail") == len(text) % BLOCK_BYTES


@ON_A_REAL_REDIS
@given(sizes=st.lists(SIZES, min_size=1, max_size=6), keep_text=st.booleans(), data=st.data())
async def test_reading_while_it_grows(bench, sizes, keep_text, data) -> None:
    bench.bare.flushall()
    await bench.session(keep_text=keep_text)
    await bench.store.create_document("t", "s", "d")
    text = noise(sum(sizes))
    accepted = read = 0
    for size in sizes:
        await bench.append(text[accepted : accepted + size], accepted)
        accepted += size
        if accepted == read:
            continue
        lease = await bench.lease()
        step = data.draw(st.integers(1, accepted - read))
        assert await bench.store.unread(lease, read, step) == text[read : read + step]
        read += step
        lease = await bench.read(lease, read)
        while await bench.store.compact(lease):
            pass
        assert await bench.store.unread(lease, read, READ_BYTES) == text[read:accepted]
        await bench.store.release(lease)
    kept = (await bench.store.get_session("t", "s")).text_start
    assert kept == 0 if keep_text else read - BLOCK_BYTES < kept <= read
    assert await bench.store.read_text("t", "s", kept, kept + READ_BYTES) == text[kept:accepted]


async def test_read_text_is_bounded(bench) -> None:
    await bench.session()
    for start, stop in ((0, READ_BYTES + 1), (2, 1), (-1, 1)):
        with pytest.raises(ValueError, match="at once"):
            await bench.store.read_text("t", "s", start, stop)
    assert await bench.store.read_text("t", "s", 5, 10) == b""


async def test_read_text_is_compressed(bench) -> None:
    await bench.session()
    text = b"all work and no play " * 100_000
    await bench.store.create_document("t", "s", "d")
    await fill(bench, text)
    lease = await bench.lease()
    assert await bench.store.compact(lease) == 0
    lease = await bench.read(lease, len(text) - 1)
    done = [await bench.store.compact(lease) for _ in range(4)]
    assert done == [16, 16, 0, 0]
    assert blocks(bench) == {f"z{number}" for number in range(32)}
    assert sum(map(len, bench.bare.hvals("rmt:{t:s}:text"))) < len(text) / 50
    assert await bench.store.read_text("t", "s", 1_000_000, 2_000_000) == text[1_000_000:2_000_000]


async def test_compacting_needs_the_lease(bench) -> None:
    await bench.session()
    await bench.document(noise(3 * BLOCK_BYTES))
    lease = await bench.read(await bench.lease(), 2 * BLOCK_BYTES)
    await bench.lease("a")
    async with bench.refusal(FencedError):
        await bench.store.compact(lease)


async def test_compacting_never_overwrites_what_came_meanwhile(bench, monkeypatch) -> None:
    async def restore_first(pack):
        await bench.store.restore("t", "s", StoredState(b"", 0, 0, 0, ""))
        await bench.document(other, "e")
        await bench.lease("b")
        return pack()

    await bench.session()
    text, other = noise(BLOCK_BYTES, 1), noise(BLOCK_BYTES, 2)
    await bench.document(text)
    lease = await bench.read(await bench.lease("a"), BLOCK_BYTES, "d")
    monkeypatch.setattr("asyncio.to_thread", restore_first)
    with pytest.raises(FencedError):
        await bench.store.compact(lease)
    assert await bench.store.read_text("t", "s", 0, BLOCK_BYTES) == other


async def test_text_that_is_not_kept_goes_as_it_is_read(bench) -> None:
    await bench.session(keep_text=False)
    text = noise(5 * BLOCK_BYTES + 10)
    await bench.document(text)
    lease = await bench.read(await bench.lease(), 2 * BLOCK_BYTES + 1)
    assert sorted(bench.bare.hkeys("rmt:{t:s}:text")) == [b"2", b"3", b"4"]
    assert lease.session.text_start == 2 * BLOCK_BYTES
    with pytest.raises(TextNotKeptError, match=str(2 * BLOCK_BYTES)):
        await bench.store.read_text("t", "s", 0, 10)
    lease = await bench.read(lease, len(text), "d")
    assert lease.session.text_start == len(text)
    assert not {"rmt:{t:s}:text", "rmt:{t:s}:tail"} & bench.names()
    assert await bench.store.compact(lease) == 0


async def test_small_pieces_do_not_rewrite_their_block(bench) -> None:
    await bench.session()
    await bench.store.create_document("t", "s", "d")
    before = bench.bare.info("persistence")["aof_current_size"]
    for number in range(600):
        await bench.append(b"x" * 100, number * 100)
    written = bench.bare.info("persistence")["aof_current_size"] - before
    assert written < 600 * 2000


async def test_missing_text_is_never_made_up(bench) -> None:
    await bench.session()
    await bench.document(noise(2 * BLOCK_BYTES + 5))
    bench.bare.hdel("rmt:{t:s}:text", 0)
    assert len(await bench.store.read_text("t", "s", BLOCK_BYTES, READ_BYTES)) == BLOCK_BYTES + 5
    for stop in (1, BLOCK_BYTES, READ_BYTES):
        with pytest.raises(DamagedStoreError):
            await bench.store.read_text("t", "s", 0, stop)
