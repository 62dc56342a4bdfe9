import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from rmt_server.errors import (
    PreconditionFailedError,
    SessionNotFoundError,
    StillReadingError,
    UploadOpenError,
)
from rmt_server.store import StoredState

STATE = StoredState(b"\x00\xffblob", read_bytes=10, tokens=3, segments=1, digest="ab")


async def test_a_session_is_what_was_made(bench) -> None:
    made = await bench.session(
        state=STATE, focus=("Wo ist Mary?", "где?"), keep_text=False, metadata={"book": "Krieg & Frieden ☮"}
    )
    assert made == await bench.store.get_session("t", "s")
    assert (made.tenant, made.id, made.model) == ("t", "s", "m")
    assert made.focus == ("Wo ist Mary?", "где?")
    assert made.metadata == {"book": "Krieg & Frieden ☮"}
    assert not made.keep_text
    assert (made.accepted_bytes, made.read_bytes, made.text_start, made.unread_bytes) == (10, 10, 10, 0)
    assert (made.tokens, made.segments, made.digest, made.state_bytes) == (3, 1, "ab", 6)
    assert (made.revision, made.edits, made.documents, made.etag) == (0, 0, 0, "0-0")
    assert made.expires_at - made.created_at == timedelta(seconds=60)
    assert abs(made.created_at - datetime.now(UTC)) < timedelta(seconds=5)


async def test_state_and_record_come_together(bench) -> None:
    made = await bench.session(state=STATE)
    assert await bench.store.session_state("t", "s") == (made, STATE)


async def test_making_it_again_changes_nothing(bench) -> None:
    made = await bench.session(metadata={"a": "1"})
    before = bench.dump()
    assert await bench.session(metadata={"a": "2"}, state=STATE) == made
    assert bench.dump() == before


@pytest.mark.parametrize("sid", ["nobody", "", "a:b", "{s}", "s\n", "ß", "x" * 200])
async def test_what_is_not_there_is_not_found(bench, sid) -> None:
    await bench.session()
    store = bench.store
    for call in (
        store.get_session("t", sid),
        store.session_state("t", sid),
        store.update_session("t", sid, metadata={}),
        store.restore("t", sid, STATE),
        store.delete_session("t", sid),
        store.create_document("t", sid, "d"),
        store.append("t", sid, "d", offset=0, data=b"x", complete=True, max_unread_bytes=9),
        store.cancel_document("t", sid, "d"),
        store.read_text("t", sid, 0, 1),
    ):
        async with bench.refusal(SessionNotFoundError):
            await call


async def test_tenants_do_not_meet(bench) -> None:
    await bench.session()
    with pytest.raises(SessionNotFoundError):
        await bench.store.get_session("u", "s")
    assert (await bench.store.list_sessions("u")).items == ()
    with pytest.raises(ValueError, match="tenant name"):
        await bench.store.list_sessions("t:s")


async def test_listing_goes_page_by_page(bench) -> None:
    names = [f"s{number}" for number in range(7)]
    for name in names:
        await bench.session(name)
        await asyncio.sleep(0.002)
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = await bench.store.list_sessions("t", limit=3, after=cursor)
        found += [each.id for each in page.items]
        cursor, pages = page.next_cursor, pages + 1
    assert found == names[::-1]
    assert pages == 3
    assert (await bench.store.list_sessions("t", limit=3, after="rubbish")).next_cursor is not None


async def test_a_page_has_room_for_something(bench) -> None:
    with pytest.raises(ValueError, match="page of 0"):
        await bench.store.list_sessions("t", limit=0)


async def test_listing_drops_what_is_gone(bench) -> None:
    for name in ("s0", "s1", "s2", "s3"):
        await bench.session(name)
    for name in ("s1", "s2"):
        bench.bare.delete(f"rmt:{{t:{name}}}:session")
    page = await bench.store.list_sessions("t", limit=2)
    assert sorted(each.id for each in page.items) == ["s0", "s3"]
    assert bench.bare.zcard("rmt:{t}:sessions") == 2


async def test_an_index_that_nobody_lists_stays_small(bench) -> None:
    for number in range(200):
        await bench.session(f"s{number}")
        bench.bare.delete(f"rmt:{{t:s{number}}}:session")
    assert bench.bare.zcard("rmt:{t}:sessions") < 20


async def test_update(bench) -> None:
    await bench.session(metadata={"a": "1"})
    changed = await bench.store.update_session("t", "s", metadata={"b": "2"}, if_etag="0-0")
    assert (changed.metadata, changed.etag) == ({"b": "2"}, "0-1")
    longer = await bench.store.update_session("t", "s", ttl_s=600)
    assert longer.metadata == {"b": "2"}
    assert 595 < (longer.expires_at - datetime.now(UTC)).total_seconds() < 605
    async with bench.refusal(PreconditionFailedError, "0-2"):
        await bench.store.update_session("t", "s", metadata={}, if_etag="0-1")


async def test_delete_leaves_no_key(bench) -> None:
    await bench.session()
    await bench.document(b"x" * 200_000)
    await bench.store.create_document("t", "s", "open")
    lease = await bench.lease()
    await bench.read(lease, 150_000)
    await bench.store.create_snapshot("t", "p", session_id="s", model="m", state=STATE, ttl_s=60)
    await bench.store.delete_snapshot("t", "p")
    await bench.store.delete_session("t", "s")
    assert bench.names() == set()


async def test_a_session_expires_as_one(bench) -> None:
    await bench.session(ttl_s=0.3)
    await bench.document(b"x" * 200_000)
    await bench.store.create_document("t", "s", "open")
    lease = await bench.read(await bench.lease(), 200_000, "d", timeline_points=3)
    await bench.store.keep_lane("t", "s", "name", b"lane")
    await bench.store.create_snapshot("t", "p", session_id="s", model="m", state=STATE, ttl_s=60)
    await bench.store.create_snapshot("t", "e", session_id="s", model="m", state=STATE, ttl_s=60, auto_snapshots=3)
    await bench.store.compact(lease)
    mine = set(bench.keys.all()) & bench.names()
    assert mine == set(bench.keys.all()) - {"rmt:{t:s}:boundaries"}
    left_ms = [bench.bare.pttl(key) for key in mine]
    assert 0 < min(left_ms) <= max(left_ms) <= min(left_ms) + 50
    await asyncio.sleep(0.35)
    assert (await bench.store.list_sessions("t")).items == ()
    assert await bench.store.lease("t", "s", "a", 1000) is None
    await bench.store.delete_snapshot("t", "p")
    await bench.store.delete_snapshot("t", "e")
    assert bench.names() == set()


async def test_work_keeps_a_session_alive(bench) -> None:
    await bench.session(ttl_s=0.4)
    for _ in range(3):
        await asyncio.sleep(0.15)
        await bench.store.update_session("t", "s", metadata={})
    await bench.store.create_document("t", "s", "d")
    for offset in range(3):
        await asyncio.sleep(0.15)
        await bench.append(b"x", offset)
    for position in range(3):
        await asyncio.sleep(0.15)
        await bench.read(await bench.lease(), position)
    assert await bench.store.read_text("t", "s", 0, 9) == b"xxx"


async def test_restore_puts_another_memory_in_place(bench) -> None:
    await bench.session()
    await bench.document(b"x" * 100_000)
    lease = await bench.read(await bench.lease(), 100_000, "d")
    restored = await bench.store.restore("t", "s", STATE, if_etag=lease.session.etag)
    assert (restored.accepted_bytes, restored.read_bytes, restored.text_start) == (10, 10, 10)
    assert (restored.revision, restored.digest, restored.state_bytes) == (2, "ab", 6)
    assert await bench.store.session_state("t", "s") == (restored, STATE)
    assert set(bench.keys.all()) & bench.names() == {bench.keys.session, "rmt:{t:s}:state", "rmt:{t:s}:events"}
    document = await bench.document(b"next", "e")
    assert document.start == 10
    assert await bench.store.read_text("t", "s", 10, 99) == b"next"


async def test_restore_waits_for_uploads_and_reading(bench) -> None:
    await bench.session()
    async with bench.refusal(PreconditionFailedError):
        await bench.store.restore("t", "s", STATE, if_etag="7-0")
    await bench.store.create_document("t", "s", "d")
    await bench.append(b"four", 0)
    async with bench.refusal(UploadOpenError, "Document d "):
        await bench.store.restore("t", "s", STATE)
    await bench.append(b"", 4, complete=True)
    async with bench.refusal(StillReadingError, "4 bytes"):
        await bench.store.restore("t", "s", STATE)
    lease = await bench.read(await bench.lease(), 4)
    async with bench.refusal(StillReadingError, "0 bytes"):
        await bench.store.restore("t", "s", STATE)
    await bench.read(lease, 4, "d")
    await bench.store.restore("t", "s", STATE)
