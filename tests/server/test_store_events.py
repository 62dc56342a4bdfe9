"""Events in the store: there if and only if the change is, in order, bounded, and gone with their session."""

import asyncio
from pathlib import Path

import pytest
import redis
from tests.conftest import StoreBench, stored_state

from rmt_server.errors import FencedError, OffsetMismatchError, PreconditionFailedError, SessionNotFoundError
from rmt_server.keys import SessionKeys
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.store import KEPT_EVENTS, EventRecord, EventSnapshot, Lease, Store

STATE = stored_state(10)


async def events_of(bench: StoreBench, after: str | None = "0-0", limit: int = 1000) -> list[EventRecord]:
    return await bench.store.events("t", "s", after, limit)


def told(events: list[EventRecord]) -> list[tuple[str, int, int, int, int, bool]]:
    return [(e.kind, e.accepted_bytes, e.read_bytes, e.revision, e.pending_documents, e.is_read) for e in events]


async def leased(bench: StoreBench, data: bytes) -> Lease:
    await bench.document(data)
    return await bench.lease()


async def full(bench: StoreBench) -> list[EventRecord]:
    """The events of a session that has had one more than are kept, of which the first is its creation."""
    await bench.session()
    (first,) = await events_of(bench)
    lease = await leased(bench, b"x" * 1000)
    events = [first, *await events_of(bench, first.id)]
    for position in range(KEPT_EVENTS - 1):
        lease = await bench.read(lease, position)
        events += await events_of(bench, events[-1].id)
    return events


async def test_every_change_is_told_in_its_order(bench: StoreBench) -> None:
    await bench.session()
    await bench.document(b"x" * 10)
    lease = await bench.read(await bench.lease(), 4)
    await bench.document(b"", "e")
    await bench.read(lease, 10, "d", "e")
    await bench.store.create_snapshot("t", "p", session_id="s", model="m", state=STATE, ttl_s=60, name="a name: Ω")
    await bench.store.restore("t", "s", stored_state(7))
    await bench.store.report("t", "s", {"status": 422, "detail": "Ω"})
    await bench.store.create_document("t", "s", "f")
    await bench.store.cancel_document("t", "s", "f")
    events = await events_of(bench)
    assert told(events) == [
        ("progress", 0, 0, 0, 0, True),
        ("progress", 10, 0, 0, 1, False),
        ("progress", 10, 4, 1, 1, False),
        ("progress", 10, 4, 1, 2, False),
        ("done", 10, 10, 2, 0, True),
        ("snapshot", 10, 10, 2, 0, True),
        ("progress", 7, 7, 3, 0, True),
        ("error", 7, 7, 3, 0, True),
        ("progress", 7, 7, 3, 1, False),
    ]
    assert [event.documents for event in events if event.documents] == [("d", "e")]
    assert events[5].snapshot == EventSnapshot("p", "a name: Ω", 10, 2, 0)
    assert events[7].problem == {"status": 422, "detail": "Ω"}
    assert not any(event.left_out for event in events)


async def test_after_each_event_come_exactly_the_others(bench: StoreBench) -> None:
    await bench.session()
    lease = await leased(bench, b"x" * 10)
    for position in range(6):
        lease = await bench.read(lease, position)
    events = await events_of(bench)
    assert len(events) == 8
    for known in range(len(events)):
        assert await events_of(bench, events[known].id) == events[known + 1 :]
    assert await events_of(bench, events[0].id, limit=3) == events[1:4]


async def test_what_is_refused_or_repeated_tells_nothing(bench: StoreBench) -> None:
    await bench.session()
    lease = await leased(bench, b"x" * 10)
    await bench.store.create_snapshot("t", "p", session_id="s", model="m", state=STATE, ttl_s=60)
    before = await events_of(bench)
    await bench.session()
    await bench.store.create_snapshot("t", "p", session_id="s", model="m", state=STATE, ttl_s=60)
    await bench.store.cancel_document("t", "s", "d")
    await bench.store.update_session("t", "s", metadata={"a": "b"})
    await bench.store.renew(lease, 1000)
    with pytest.raises(OffsetMismatchError):
        await bench.append(b"x", 3)
    with pytest.raises(PreconditionFailedError):
        await bench.store.restore("t", "s", STATE, if_etag="9-9")
    with pytest.raises(ValueError, match="a commit at byte 11"):
        await bench.read(lease, 11)
    await bench.read(lease, 1)
    with pytest.raises(FencedError):
        await bench.read(lease, 2)
    assert told((await events_of(bench))[len(before) :]) == [("progress", 10, 1, 1, 1, False)]


async def test_without_a_known_event_the_present_state_comes_first(bench: StoreBench) -> None:
    await bench.session()
    await bench.document(b"x" * 10)
    *_, last = await events_of(bench)
    assert await events_of(bench, None) == [last]
    assert await events_of(bench, last.id) == []
    await bench.document(b"", "e")
    await bench.read(await bench.lease(), 10, "d")
    *_, last = await events_of(bench)
    (present,) = await events_of(bench, None)
    assert (present.kind, present.documents, present.left_out) == ("progress", (), False)
    assert (present.id, told([present])[0][1:]) == (last.id, told([last])[0][1:])


async def test_the_last_so_many_events_are_kept(bench: StoreBench) -> None:
    first, *kept = await full(bench)
    assert len(kept) == bench.bare.xlen(bench.keys.events) == KEPT_EVENTS
    assert await events_of(bench, kept[0].id) == kept[1:]
    assert first.id not in [event.id for event in kept]


async def test_whoever_knows_an_event_that_is_gone_is_told_so(bench: StoreBench) -> None:
    events = await full(bench)
    lease = await bench.lease()
    for position in range(KEPT_EVENTS, KEPT_EVENTS + 3):
        lease = await bench.read(lease, position)
    for gone in ("0-0", events[0].id, events[3].id):
        (present,) = await events_of(bench, gone)
        assert (present.kind, present.left_out, present.read_bytes) == ("progress", True, KEPT_EVENTS + 2)
        assert await events_of(bench, present.id) == []
    kept = await events_of(bench, events[4].id)
    assert kept[: len(events) - 5] == events[5:]
    assert len(kept) == KEPT_EVENTS - 1


async def test_an_event_that_redis_has_lost_is_not_waited_for(bench: StoreBench) -> None:
    """After a power cut the end of a log may be missing, and with it an event that somebody has seen."""
    await bench.session()
    (only,) = await events_of(bench)
    (present,) = await events_of(bench, "99999999999999-0")
    assert (present.id, present.left_out) == (only.id, True)


async def test_events_go_with_their_session(bench: StoreBench) -> None:
    await bench.session()
    await bench.document(b"x")
    await bench.store.delete_session("t", "s")
    assert bench.names() == set()
    await bench.session(ttl_s=0.2)
    assert await events_of(bench)
    await asyncio.sleep(0.25)
    assert bench.names() & set(bench.keys.all()) == set()
    for call in (bench.store.events("t", "s", None), bench.store.report("t", "s", {})):
        with pytest.raises(SessionNotFoundError):
            await call
    assert bench.names() & set(bench.keys.all()) == set()


async def test_events_are_their_tenants(bench: StoreBench) -> None:
    await bench.session()
    with pytest.raises(SessionNotFoundError):
        await bench.store.events("other", "s", None)


async def test_ids_go_on_growing_over_a_restart_of_redis(tmp_path: Path) -> None:
    ids: list[str] = []
    for life in range(2):
        with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as bare:
            store = Store.connect(server.url)
            bench = StoreBench(store, bare, SessionKeys("t", "s"))
            if life == 0:
                await bench.session()
            await bench.document(b"", f"d{life}")
            ids = [event.id for event in await events_of(bench)]
            await store.close()
    parts = [tuple(map(int, one.split("-"))) for one in ids]
    assert len(parts) == 3
    assert parts == sorted(set(parts))
