"""The line to Redis: scripts, single commands, and one kind of error when nobody answers."""

import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any, Self

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rmt_server.errors import FencedError, SessionNotFoundError, StoreUnavailableError
from rmt_server.keys import SessionKeys
from rmt_server.store import limits

Argument = str | bytes | int | float
Observe = Callable[[str, float], None]
CLUSTER_SCHEME = "redis+cluster://"

_HERE = Path(__file__).parent
_ON_OTHER_KEYS = {"adjust", "recount", "reserve", "create_snapshot", "due", "hint", "probe", "stay"}
_IN_FRONT = {"clock", "prelude"}
_REASONS = {
    "LOADING": "Redis is loading its data.",
    "MISCONF": "Redis cannot write to its disk.",
    "NOREPLICAS": "Redis has too few replicas of its own.",
    "OOM": "Redis is full: it has reached its maxmemory.",
    "READONLY": "Redis is a replica of another one and takes no changes.",
}
_REFUSED_FOR_NOW = re.compile(r"\b(BUSY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|" + "|".join(_REASONS) + r")\b")
_CODES: dict[type[Exception], str] = {  # of these the client takes the code off the text
    exceptions.BusyLoadingError: "LOADING",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ReadOnlyError: "READONLY",
}
_UNAVAILABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.RedisClusterException,
    exceptions.ClusterError,
    OSError,
)


@cache
def script_source(name: str) -> str:
    """The text of ``<name>.lua``, behind the limits, the clock and, for a script on a session, the prelude."""
    constants = "".join(f"local {key} = {value}\n" for key, value in sorted(vars(limits).items()) if key.isupper())
    names = ("clock", name) if name in _ON_OTHER_KEYS else ("clock", "prelude", name)
    return constants + "".join((_HERE / f"{each}.lua").read_text("utf-8") for each in names)


class _Script:
    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = sha1(source.encode(), usedforsecurity=False).hexdigest()


class Connection:
    """A pool of connections to one Redis, or to a Redis Cluster.

    Commands are never repeated behind the caller's back: after a lost answer only the caller knows whether
    doing it twice is harmless. Connections that died while idle are replaced silently.
    """

    def __init__(self, url: str, max_connections: int, timeout_s: float) -> None:
        options: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
        }
        self._client: Redis | RedisCluster
        if url.startswith(CLUSTER_SCHEME):
            plain = "redis://" + url.removeprefix(CLUSTER_SCHEME)
            self._client = RedisCluster.from_url(plain, max_connections=max_connections, **options)
        else:
            self._client = Redis.from_pool(
                BlockingConnectionPool.from_url(url, max_connections=max_connections, timeout=timeout_s, **options)
            )
        names = {path.stem for path in _HERE.glob("*.lua")} - _IN_FRONT
        self._scripts = {name: _Script(script_source(name)) for name in names}
        self.observe: Observe | None = None
        """Is told every script or command that was run, and how long it took, in vain or not."""

    @property
    def client(self) -> Redis | RedisCluster:
        """The bare client, for packages that need one; what they meet has to be `translated`."""
        return self._client

    async def run(self, script: str, keys: tuple[str, ...], *arguments: Argument) -> list[Any]:
        """Run one script: its answer, of which the first item says what happened."""
        with self._timed(script), translated():
            answer = await self._evaluate(self._scripts[script], (len(keys), *keys, *arguments))
        return [answer[0].decode(), *answer[1:]]

    async def _evaluate(self, script: "_Script", arguments: tuple[Argument, ...]) -> list[Any]:
        """Name the script by its digest; a Redis that does not know it, or no longer, gets all of it."""
        try:
            return await self._client.execute_command("EVALSHA", script.digest, *arguments)  # type: ignore[no-any-return]
        except exceptions.NoScriptError:
            return await self._client.execute_command("EVAL", script.source, *arguments)  # type: ignore[no-any-return]

    async def run_on_session(self, script: str, keys: SessionKeys, *arguments: Argument) -> list[Any]:
        """Run a script on one session.

        Raises:
            SessionNotFoundError: There is no such session.
            FencedError: The script wants a lease, and it is another one now.
        """
        answer = await self.run(script, keys.all(), *arguments)
        if answer[0] == "session":
            raise SessionNotFoundError(keys.sid)
        if answer[0] == "fenced":
            raise FencedError(f"The lease of session {keys.sid} is lost: to a reader, a restore or a restart of Redis.")
        return answer

    async def command(self, *arguments: Argument) -> Any:
        """Run one command on one key."""
        with self._timed(str(arguments[0])), translated():
            return await self._client.execute_command(*arguments)

    async def scan(self, pattern: str) -> AsyncIterator[bytes]:
        """Walk over all keys that match, on every node."""
        with translated():
            async for key in self._client.scan_iter(match=pattern, count=500):
                yield key

    @property
    def is_cluster(self) -> bool:
        """Whether it is spoken to as a Redis Cluster."""
        return isinstance(self._client, RedisCluster)

    async def info(self) -> dict[str, Any]:
        """What Redis says about itself; of a cluster, any one node."""
        with translated():
            if isinstance(self._client, RedisCluster):
                return dict(await self._client.info(target_nodes=RedisCluster.RANDOM))
            return dict(await self._client.info())

    async def setting(self, name: str) -> str:
        """One of Redis's settings; empty where it does not tell."""
        with translated():
            try:
                found: dict[Any, Any] = await self._client.config_get(name)
            except exceptions.ResponseError:  # no permission, or a hosted Redis that knows no CONFIG
                return ""
        return str(found.get(name, ""))

    async def time(self) -> tuple[int, int]:
        """The clock of Redis: seconds and microseconds."""
        with self._timed("TIME"), translated():
            seconds, microseconds = await self._client.time()
        return int(seconds), int(microseconds)

    @contextmanager
    def _timed(self, call: str) -> Iterator[None]:
        started_s = time.monotonic()
        try:
            yield
        finally:
            if self.observe is not None:
                self.observe(call, time.monotonic() - started_s)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


@contextmanager
def translated() -> Iterator[None]:
    """Whatever keeps Redis from answering, or from taking a change, becomes `StoreUnavailableError`."""
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        found = _REFUSED_FOR_NOW.search(str(error))
        code = found[0] if found else _CODES.get(type(error))
        if code is None and not isinstance(error, _UNAVAILABLE):
            raise
        raise StoreUnavailableError(_REASONS.get(code or "", "")) from error


class Room:
    """What every part of the store has: the line to Redis."""

    def __init__(self, redis: Connection) -> None:
        self._redis = redis

    @classmethod
    def connect(cls, url: str, *, max_connections: int = 64, timeout_s: float = 5.0) -> Self:
        """A store behind a ``redis``, ``rediss``, ``unix`` or ``redis+cluster`` URL, connected when used."""
        return cls(Connection(url, max_connections, timeout_s))
