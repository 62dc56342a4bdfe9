"""Quotas: a share is reserved before anything is made, given back with what goes, and counted anew."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import redis
from tests.conftest import StoreBench, stored_state

from rmt_server.errors import (
    BackPressureError,
    OffsetMismatchError,
    QuotaExceededError,
    StoreUnavailableError,
    TokensSpentError,
)
from rmt_server.keys import SessionKeys, tenant_usage
from rmt_server.store import Quotas, Store

STATE = len(stored_state().blob)
USAGE = tenant_usage("t")
PLENTY = 1 << 40


@dataclass
class Counted(StoreBench):
    """A bench whose tenant's use is counted."""

    def limit(self, **quotas: int) -> None:
        """From now on the store has these quotas."""
        self.store = Store(self.store._redis, Quotas(**quotas))

    def used(self) -> dict[str, int]:
        """The counters as they stand, without when they were counted."""
        found = {name.decode(): int(value) for name, value in self.bare.hgetall(USAGE).items()}
        del found["counted_ms"]
        return found

    async def recounted(self) -> dict[str, int]:
        """The counters as a recount sets them."""
        await self.store.sweep()
        return self.used()


@pytest.fixture
async def counted(each_redis_url: str) -> AsyncIterator[Counted]:
    store = Store.connect(each_redis_url, quotas=Quotas(sessions=PLENTY))
    with redis.Redis.from_url(each_redis_url) as bare:
        yield Counted(store, bare, SessionKeys("t", "s"))
    await store.close()


async def test_without_quotas_nothing_is_counted(bench: StoreBench) -> None:
    await bench.session()
    await bench.document(b"Mary went to the garden.")
    await bench.read(await bench.lease(), 24, "d")
    await bench.store.spend("t", 5)
    await bench.store.require_tokens("t")
    assert not [name for name in bench.names() if "usage" in name or "tokens" in name]


async def test_every_change_moves_the_counters_to_where_a_recount_sets_them(counted: Counted) -> None:
    async def expect(**expected: int) -> None:
        everything = {"sessions": 0, "snapshots": 0, "kept_bytes": 0, "unread_bytes": 0} | expected
        assert counted.used() == everything
        assert await counted.recounted() == everything

    await counted.session()
    await expect(sessions=1, kept_bytes=STATE)
    await counted.session()  # the same again
    await expect(sessions=1, kept_bytes=STATE)
    await counted.document(b"x" * 100)
    await expect(sessions=1, kept_bytes=STATE + 100, unread_bytes=100)
    larger = replace(stored_state(60), blob=b"a larger state than before")
    lease = await counted.store.commit(await counted.lease(), larger)
    await expect(sessions=1, kept_bytes=len(larger.blob) + 100, unread_bytes=40)
    await counted.read(lease, 100, "d")
    await expect(sessions=1, kept_bytes=STATE + 100)
    for _ in range(2):
        options = {"session_id": "s", "model": "m", "state": larger, "ttl_s": 60.0}
        await counted.store.create_snapshot("t", "p", **options)
    await expect(sessions=1, snapshots=1, kept_bytes=STATE + 100 + len(larger.blob))
    await counted.store.restore("t", "s", larger)
    await expect(sessions=1, snapshots=1, kept_bytes=2 * len(larger.blob))
    await counted.store.delete_session("t", "s")
    await expect(snapshots=1, kept_bytes=len(larger.blob))
    await counted.store.delete_snapshot("t", "p")
    await expect()


async def test_what_is_kept_aside_is_counted_once(counted: Counted) -> None:
    """A timeline and movements by the reader's commits, a lane by a call that comes between two of them."""
    await counted.session()
    await counted.document(b"x" * 100)
    lease = await counted.lease()
    for at in range(1, 10):
        await counted.store.keep_lane("t", "s", f"lane{at % 3}", b"y" * at)
        state = replace(stored_state(at * 10, b"z" * at), segments=at)
        lease = await counted.store.commit(lease, state, timeline_points=3, movements=b"m" * (at % 4))
        used = counted.used()
        assert used["kept_bytes"] == lease.session.kept_bytes > 100 + at
        assert used == await counted.recounted()


async def test_text_that_is_not_kept_is_given_back_as_it_is_read(counted: Counted) -> None:
    await counted.session(keep_text=False)
    await counted.document(b"x" * 200_000)
    assert counted.used()["kept_bytes"] == STATE + 200_000
    lease = await counted.read(await counted.lease(), 150_000)
    assert counted.used() == await counted.recounted()
    await counted.read(lease, 200_000, "d")
    assert counted.used() == await counted.recounted()
    assert counted.used()["kept_bytes"] == STATE


async def test_sessions_at_their_quota(counted: Counted) -> None:
    counted.limit(sessions=2)
    await counted.session("a")
    await counted.session("b")
    async with counted.refusal(QuotaExceededError) as refused:
        await counted.session("c")
    assert refused.value.fields == {"quota": "sessions", "limit": 2, "used": 2}
    assert (await counted.session("b")).id == "b"  # a creation that is repeated finds what it made
    await counted.store.delete_session("t", "a")
    await counted.session("c")


async def test_snapshots_at_their_quota(counted: Counted) -> None:
    counted.limit(snapshots=1)
    options = {"session_id": None, "model": "m", "state": stored_state(), "ttl_s": 60.0}
    await counted.store.create_snapshot("t", "p", **options)
    async with counted.refusal(QuotaExceededError) as refused:
        await counted.store.create_snapshot("t", "q", **options)
    assert refused.value.fields == {"quota": "snapshots", "limit": 1, "used": 1}
    await counted.store.delete_snapshot("t", "p")
    await counted.store.create_snapshot("t", "q", **options)


async def test_kept_bytes_at_their_quota(counted: Counted) -> None:
    counted.limit(kept_bytes=STATE + 100)
    await counted.session()
    await counted.store.create_document("t", "s", "d")
    await counted.append(b"x" * 100, 0)
    async with counted.refusal(QuotaExceededError) as refused:
        await counted.append(b"x", 100)
    assert refused.value.fields == {"quota": "kept_bytes", "limit": STATE + 100, "used": STATE + 100}
    async with counted.refusal(QuotaExceededError):
        await counted.session("another")
    await counted.append(b"", 100, complete=True)  # what costs nothing goes on


async def test_unread_bytes_at_their_quota_are_back_pressure(counted: Counted) -> None:
    counted.limit(unread_bytes=100)
    await counted.session("other")
    await counted.session()
    await counted.store.create_document("t", "s", "d")
    await counted.store.create_document("t", "other", "d")
    await counted.append(b"x" * 60, 0)
    more = {"offset": 0, "complete": False, "max_unread_bytes": PLENTY}
    async with counted.refusal(BackPressureError) as refused:
        await counted.store.append("t", "other", "d", data=b"x" * 41, **more)
    assert refused.value.fields == {"unread-bytes": 60}
    await counted.store.append("t", "other", "d", data=b"x" * 40, **more)
    await counted.read(await counted.lease(), 1)
    await counted.append(b"x", 60)


async def test_tokens_of_a_day_at_their_quota(counted: Counted) -> None:
    counted.limit(tokens_day=50)
    await counted.session(focus=("Who?", "Where?"))
    await counted.document(b"x" * 100)
    await counted.store.spend("t", 9)
    await counted.read(await counted.lease(), 80)  # 20 tokens in each of two lanes
    await counted.store.require_tokens("t")
    await counted.store.create_document("t", "s", "e")
    await counted.append(b"x", 0, "e")
    await counted.store.spend("t", 1)
    for refuse in (lambda: counted.store.require_tokens("t"), lambda: counted.append(b"x", 1, "e")):
        async with counted.refusal(TokensSpentError) as refused:
            await refuse()
        assert refused.value.fields == {"quota": "tokens_day", "limit": 50, "used": 50}
        assert 0 < refused.value.retry_after_s <= 86_400
    await counted.store.create_document("t", "s", "e")  # what costs no tokens goes on
    key = next(name for name in counted.names() if ":tokens:" in name)
    assert 0 < counted.bare.pttl(key) <= 86_400_000
    counted.bare.delete(key)  # the day is over
    await counted.append(b"x", 1, "e", writer=2)


async def test_tenants_have_quotas_of_their_own(counted: Counted) -> None:
    counted.limit(sessions=1)
    await counted.session()
    await counted.store.create_session("other", "s", model="m", ttl_s=60.0, state=stored_state())
    with pytest.raises(QuotaExceededError):
        await counted.session("another")


async def test_what_is_refused_by_the_session_is_given_back(counted: Counted) -> None:
    await counted.session()
    await counted.store.create_document("t", "s", "d")
    async with counted.refusal(OffsetMismatchError):
        await counted.append(b"x" * 100, 7)
    async with counted.refusal(BackPressureError):
        await counted.append(b"x" * 100, 0, max_unread_bytes=99)


async def test_what_expired_is_noticed_before_a_refusal_is_believed(counted: Counted) -> None:
    counted.limit(sessions=1)
    await counted.session()
    counted.bare.delete(*counted.keys.all())  # as if it had expired
    counted.bare.hset(USAGE, "counted_ms", 0)  # some time ago
    await counted.session("next")
    with pytest.raises(QuotaExceededError):
        await counted.session("another")


async def test_a_refusal_is_not_counted_anew_again_and_again(counted: Counted) -> None:
    counted.limit(sessions=1)
    await counted.session()
    counted.bare.delete(*counted.keys.all())
    async with counted.refusal(QuotaExceededError):  # counted a moment ago: believed as it stands
        await counted.session("next")


async def test_what_was_there_before_the_counters_is_counted(bench: StoreBench) -> None:
    await bench.session()
    await bench.session("other")
    limited = Store(bench.store._redis, Quotas(sessions=2))
    with pytest.raises(QuotaExceededError):
        await limited.create_session("t", "third", model="m", ttl_s=60.0, state=stored_state())


async def test_counters_without_use_go(counted: Counted) -> None:
    await counted.session()
    assert 0 < counted.bare.pttl(USAGE) <= 3_600_000


async def test_when_nobody_answers_a_share_stays_taken_until_the_recount(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*arguments: object) -> None:
        raise StoreUnavailableError

    await counted.session()
    await counted.store.create_document("t", "s", "d")
    with monkeypatch.context() as patch:
        patch.setattr(counted.store._redis, "run_on_session", silent)
        with pytest.raises(StoreUnavailableError):
            await counted.append(b"x" * 100, 0)
    assert counted.used()["unread_bytes"] == 100
    assert (await counted.recounted())["unread_bytes"] == 0
