"""What a tenant uses, against its quotas: counters that are moved with every change, and counted anew now and then.

A session and its tenant's counters lie in different slots, so no script changes both. A share is reserved before
anything is made and given back when it fails. What a process that dies in between, an answer of Redis that was lost, or
a session that expires leaves wrong, a recount sets right: the sweep counts every tenant, and a refusal is only believed
when the count is no older than a few seconds. A recount walks over what there is while changes go on, so it may miss
what was made meanwhile; the next one finds it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Self

from rmt_server.errors import (
    BackPressureError,
    QuotaExceededError,
    RmtServerError,
    StoreUnavailableError,
    TokensSpentError,
)
from rmt_server.keys import (
    EVERY_USAGE,
    SessionKeys,
    snapshot_key,
    tenant_of,
    tenant_sessions,
    tenant_snapshots,
    tenant_tokens,
    tenant_usage,
)
from rmt_server.settings import Settings
from rmt_server.store.connection import Connection, Room
from rmt_server.store.index import Index
from rmt_server.store.records import SessionRecord

_USAGE_TTL_MS = 3_600_000
_BELIEVED_MS = 5000
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one tenant may use; 0 is without limit."""

    sessions: int = 0
    snapshots: int = 0
    kept_bytes: int = 0
    unread_bytes: int = 0
    tokens_day: int = 0

    def __bool__(self) -> bool:
        return any(astuple(self))

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those that an operator has set."""
        return cls(
            settings.max_tenant_sessions,
            settings.max_tenant_snapshots,
            settings.max_tenant_kept_bytes,
            settings.max_tenant_unread_bytes,
            settings.max_tenant_tokens_day,
        )


@dataclass(frozen=True, slots=True)
class Amount:
    """A share of each quota but the tokens."""

    sessions: int = 0
    snapshots: int = 0
    kept_bytes: int = 0
    unread_bytes: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(*(mine + yours for mine, yours in zip(astuple(self), astuple(other), strict=True)))

    def __neg__(self) -> "Amount":
        return Amount(*(-one for one in astuple(self)))

    @property
    def named(self) -> tuple[str | int, ...]:
        """Name, amount, name, amount."""
        return tuple(part for field in fields(self) for part in (field.name, getattr(self, field.name)))


def held(session: SessionRecord) -> Amount:
    """What a session uses."""
    return Amount(sessions=1, kept_bytes=session.kept_bytes, unread_bytes=session.unread_bytes)


def read_since(before: SessionRecord, now: SessionRecord, aside_bytes: int) -> Amount:
    """What a reader has changed between two of its commits, of what is kept aside so many bytes.

    What others have brought meanwhile, text and lanes, was counted when they did.
    """
    came = now.accepted_bytes - before.accepted_bytes + now.aside_bytes - before.aside_bytes
    return Amount(
        kept_bytes=now.kept_bytes - before.kept_bytes - came + aside_bytes,
        unread_bytes=before.read_bytes - now.read_bytes,
    )


class Usage:
    """The counters of all tenants. Without any quota nothing is counted, and nothing is asked of Redis."""

    def __init__(self, redis: Connection, quotas: Quotas) -> None:
        self._redis = redis
        self._quotas = quotas

    @property
    def counts(self) -> bool:
        """Whether there is any quota."""
        return bool(self._quotas)

    @asynccontextmanager
    async def reserved(self, tenant: str, amount: Amount, *, spends: bool = False) -> AsyncIterator[None]:
        """Reserve a share for what is made inside; when that is refused, the share is given back.

        When Redis falls silent nobody knows whether it was made: then the share stays taken until the next recount.

        Args:
            tenant: Whose share.
            amount: How much.
            spends: Whether it costs tokens, of which some have to be left today.

        Raises:
            QuotaExceededError: More sessions, snapshots or kept bytes than allowed.
            BackPressureError: More unread bytes than allowed.
            TokensSpentError: No tokens are left today.
        """
        await self.reserve(tenant, amount, spends=spends)
        try:
            yield
        except StoreUnavailableError:
            raise
        except RmtServerError:
            await self.change(tenant, -amount)
            raise

    async def reserve(self, tenant: str, amount: Amount = Amount(), *, spends: bool = False) -> None:
        """Take a share, as `reserved` does; whoever takes it gives it back."""
        if not self._quotas or not (spends or any(astuple(amount))):
            return
        limits, most_tokens = astuple(self._quotas)[:-1], self._quotas.tokens_day if spends else 0
        shares = (number for pair in zip(limits, astuple(amount), strict=True) for number in pair)
        arguments = (_USAGE_TTL_MS, most_tokens, *shares)
        while True:
            match await self._redis.run("reserve", _keys(tenant), *arguments):
                case ["ok"]:
                    return
                case ["over", quota, limit, used, age_ms] if age_ms < _BELIEVED_MS:
                    raise _refusal(quota.decode(), limit, used)
            await self.recount(tenant)

    async def change(self, tenant: str, amount: Amount, tokens: int = 0) -> None:
        """Count what has changed. Where Redis does not answer that is left to the next recount; tokens are lost."""
        if self._quotas:
            with suppress(StoreUnavailableError):
                await self._redis.run("adjust", _keys(tenant), tokens, round(_to_midnight_s() * 1000), *amount.named)

    async def recount(self, tenant: str) -> None:
        """Set a tenant's counters to what there is."""
        sessions = await self._sum(tenant_sessions(tenant), partial(self._session, tenant))
        snapshots = await self._sum(tenant_snapshots(tenant), partial(self._snapshot, tenant))
        await self._redis.run("recount", _keys(tenant)[:1], _USAGE_TTL_MS, *(sessions + snapshots).named)

    async def recount_all(self) -> None:
        """Recount every tenant that has counters."""
        if self._quotas:
            async for key in self._redis.scan(EVERY_USAGE):
                await self.recount(tenant_of(key))

    async def _sum(self, index: str, load: Callable[[str], Awaitable[Amount | None]]) -> Amount:
        total, cursor = Amount(), None
        while True:
            page = await Index(self._redis, index).page(load, _PAGE, cursor)
            total = sum(page.items, total)
            if (cursor := page.next_cursor) is None:
                return total

    async def _session(self, tenant: str, sid: str) -> Amount | None:
        names = ("accepted_bytes", "read_bytes", "text_start", "state_bytes", "aside_bytes")
        found = await self._redis.command("HMGET", SessionKeys(tenant, sid).session, *names)
        if found[0] is None:
            return None
        accepted, read, start, state, aside = (int(one or 0) for one in found)
        return Amount(sessions=1, kept_bytes=accepted - start + state + aside, unread_bytes=accepted - read)

    async def _snapshot(self, tenant: str, snapshot_id: str) -> Amount | None:
        found = await self._redis.command("HGET", snapshot_key(tenant, snapshot_id), "state_bytes")
        return None if found is None else Amount(snapshots=1, kept_bytes=int(found))


class Metered(Room):
    """A part of the store whose changes are counted."""

    def __init__(self, redis: Connection, quotas: Quotas = Quotas()) -> None:
        super().__init__(redis)
        self._usage = Usage(redis, quotas)

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        max_connections: int = 64,
        timeout_s: float = 5.0,
        quotas: Quotas = Quotas(),
    ) -> Self:
        """A store behind a ``redis``, ``rediss``, ``unix`` or ``redis+cluster`` URL, connected when used."""
        return cls(Connection(url, max_connections, timeout_s), quotas)

    async def require_tokens(self, tenant: str) -> None:
        """Refuse what costs tokens when a tenant has none left today.

        Raises:
            TokensSpentError: It has none.
        """
        await self._usage.reserve(tenant, spends=True)

    async def spend(self, tenant: str, tokens: int) -> None:
        """Count tokens that were spent."""
        await self._usage.change(tenant, Amount(), tokens)


def _keys(tenant: str) -> tuple[str, str]:
    return tenant_usage(tenant), tenant_tokens(tenant, f"{datetime.now(UTC):%Y%m%d}")


def _to_midnight_s() -> float:
    """How long this day lasts, in UTC."""
    now = datetime.now(UTC)
    return (now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1) - now).total_seconds()


def _refusal(quota: str, limit: int, used: int) -> RmtServerError:
    if quota == "tokens_day":
        return TokensSpentError(limit, used, _to_midnight_s())
    if quota == "unread_bytes":
        detail = f"All sessions together have {used} of {limit} bytes unread."
        return BackPressureError(detail, fields={"unread-bytes": used})
    return QuotaExceededError(quota, limit, used)
