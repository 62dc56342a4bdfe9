import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rmt_server.errors import SessionNotFoundError, SnapshotNotFoundError
from rmt_server.store import StoredState

STATE = StoredState(b"\x00\xffsnap", read_bytes=10, tokens=3, segments=1, digest="ab")


def keep(bench, snapshot_id: str = "p", session_id: str | None = "s", **more):
    options = {"session_id": session_id, "model": "m", "state": STATE, "ttl_s": 60.0, **more}
    return bench.store.create_snapshot("t", snapshot_id, **options)


async def test_a_snapshot_is_what_was_kept(bench) -> None:
    await bench.session()
    kept = await keep(bench, name="Kapitel 1", metadata={"a": "ö"}, focus=("Who?",))
    assert kept == await bench.store.get_snapshot("t", "p")
    assert (kept.tenant, kept.id, kept.session_id, kept.name) == ("t", "p", "s", "Kapitel 1")
    assert (kept.metadata, kept.focus, kept.model) == ({"a": "ö"}, ("Who?",), "m")
    assert (kept.read_bytes, kept.tokens, kept.segments, kept.digest) == (10, 3, 1, "ab")
    assert kept.state_bytes == len(STATE.blob)
    assert 55 < (kept.expires_at - datetime.now(UTC)).total_seconds() <= 61
    assert await bench.store.snapshot_state("t", "p") == STATE


async def test_keeping_it_again_changes_nothing(bench) -> None:
    kept = await keep(bench)
    before = bench.dump()
    assert await keep(bench, state=replace(STATE, blob=b"other")) == kept
    assert bench.dump() == before


async def test_a_fork_starts_where_the_snapshot_stands(bench) -> None:
    await keep(bench, session_id=None)
    fork = await bench.session("fork", state=await bench.store.snapshot_state("t", "p"))
    assert (fork.accepted_bytes, fork.read_bytes, fork.text_start, fork.segments) == (10, 10, 10, 1)


async def test_listing(bench) -> None:
    await bench.session()
    for name in ("p0", "p1", "p2"):
        await keep(bench, name, session_id=None if name == "p1" else "s")
        await asyncio.sleep(0.002)
    everything = await bench.store.list_snapshots("t")
    assert [each.id for each in everything.items] == ["p2", "p1", "p0"]
    first = await bench.store.list_snapshots("t", "s", limit=1)
    second = await bench.store.list_snapshots("t", "s", limit=1, after=first.next_cursor)
    assert [each.id for each in (*first.items, *second.items)] == ["p2", "p0"]
    assert (await bench.store.list_snapshots("u")).items == ()


async def test_a_snapshot_outlives_its_session(bench) -> None:
    await bench.session()
    await keep(bench)
    await bench.store.delete_session("t", "s")
    assert (await bench.store.get_snapshot("t", "p")).session_id == "s"
    assert bench.names() == {"rmt:{t:p}:snapshot", "rmt:{t}:snapshots"}
    await keep(bench, "late")
    assert bench.names() == {"rmt:{t:p}:snapshot", "rmt:{t:late}:snapshot", "rmt:{t}:snapshots"}


async def test_delete_and_expiry_leave_no_key(bench) -> None:
    await keep(bench, "short", ttl_s=0.05)
    await keep(bench)
    await bench.store.delete_snapshot("t", "p")
    await asyncio.sleep(0.1)
    assert (await bench.store.list_snapshots("t")).items == ()
    assert bench.names() == set()


@pytest.mark.parametrize("snapshot_id", ["nothing", "", "{p}", "a:b"])
async def test_what_is_not_there_is_not_found(bench, snapshot_id) -> None:
    await keep(bench)
    for call in (
        bench.store.get_snapshot("t", snapshot_id),
        bench.store.snapshot_state("t", snapshot_id),
        bench.store.delete_snapshot("t", snapshot_id),
        bench.store.get_snapshot("u", "p"),
        bench.store.delete_snapshot("u", "p"),
    ):
        async with bench.refusal(SnapshotNotFoundError):
            await call
    with pytest.raises(SessionNotFoundError):
        await bench.store.list_snapshots("t", "{s}")
