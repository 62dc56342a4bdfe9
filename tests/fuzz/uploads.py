"""One session's uploads, readers and restores at random: the store does what a model of it does, step by step.

    python -m tests.fuzz.uploads --inputs 1000000 --seed 1

An input is a step: a call of the store that is right, wrong, late, or made for the second time.
"""

import asyncio
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from tests.fuzz.campaign import arguments, campaign
from tests.fuzz.upload_model import UploadModel

from rmt_server.errors import RmtServerError
from rmt_server.keys import READY, SessionKeys
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.store import DocumentRecord, Lease, SessionRecord, Store, StoredState

_TENANT, _SID = "t", "s"
_NEVER = datetime.fromtimestamp(0, UTC)
_SIZES = (0, 1, 3, 100, 5000, 65_535, 65_536, 70_000)
_SEEN_ONE_IN = 8
_TIMELINE_POINTS = 3
_NOISE = random.Random(0).randbytes(1 << 20)


class Uploads:
    """Drives a store and its model side by side."""

    def __init__(self, redis_url: str) -> None:
        self._runner = asyncio.Runner()
        self._store = Store.connect(redis_url)
        self._bare = redis.Redis.from_url(redis_url)

    def close(self) -> None:
        """Leave Redis."""
        self._run(self._store.close())
        self._runner.close()
        self._bare.close()

    def run(self, rng: random.Random) -> Iterator[str]:
        """One session from its beginning to its end."""
        pair = self.begin()
        for _ in range(rng.choice((20, 60, 200))):
            yield step(rng.choice(STEPS), rng, pair)
            if rng.randrange(_SEEN_ONE_IN) == 0:
                pair.both("get_session", _TENANT, _SID)
        self.finish(pair)

    def begin(self) -> "Pair":
        """A store and a model, of which neither has a session."""
        return Pair(self._store, self._run)

    def finish(self, pair: "Pair") -> None:
        """Everything there is to see is as it should be, and nothing is left when the session goes."""
        pair.look()
        record = pair.model.record
        if record is not None:
            hinted = self._bare.zscore(READY, SessionKeys(_TENANT, _SID).member) is not None
            assert hinted or record.is_read, "nobody would read this session"
            pair.both("delete_session", _TENANT, _SID)
        assert self._bare.keys("*") == []

    def _run(self, call: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await call

        return self._runner.run(awaited())


@dataclass
class Pair:
    """The store and the model of one session, with the leases that either gave."""

    store: Store
    run: Callable[[Awaitable[Any]], Any]
    model: UploadModel = field(default_factory=UploadModel)
    leases: list[tuple[Lease, Lease]] = field(default_factory=list)
    states: list[StoredState] = field(default_factory=lambda: [_state(0)])

    def both(self, call: str, *args: Any, **more: Any) -> str:
        """The same call of both, with the same result; how it ended."""
        real = self._outcome(lambda: self.run(getattr(self.store, call)(*args, **more)))
        modelled = self._outcome(lambda: getattr(self.model, call)(*args, **more))
        assert real == modelled, f"{call}{args} {more}"
        return f"{call}: {_name(real)}"

    def both_leased(self, call: str, index: int, *args: Any, **more: Any) -> str:
        """A call with a lease, of each with its own; a lease that comes back takes the old one's place."""
        mine, its = self.leases[index]
        real = self._outcome(lambda: self.run(getattr(self.store, call)(mine, *args, **more)))
        modelled = self._outcome(lambda: getattr(self.model, call)(its, *args, **more))
        assert real == modelled, f"{call}{args} of {its}"
        if isinstance(real, Lease):
            self.leases[index] = (real, modelled)
        return f"{call}: {_name(real)}"

    def lease(self, owner: str, lease_ms: int) -> str:
        """A lease, or none."""
        real = self.run(self.store.lease(_TENANT, _SID, owner, lease_ms))
        modelled = self.model.lease(_TENANT, _SID, owner, lease_ms)
        assert _comparable(real) == _comparable(modelled), f"lease by {owner}"
        if real is not None:
            self.leases.append((real, modelled))
            del self.leases[:-3]
        return f"lease: {'given' if real else 'none'}"

    def look(self) -> None:
        """Compare all that can be asked for."""
        self.both("session_state", _TENANT, _SID)
        self.both("timeline", _TENANT, _SID)
        self.both("movements", _TENANT, _SID)
        for name in self.model.documents:
            self.both("get_document", _TENANT, _SID, name)
        if self.model.record is not None:
            start, stop = self.model.record.text_start, self.model.record.accepted_bytes
            for byte in range(start, stop, 1 << 20):
                self.both("read_text", _TENANT, _SID, byte, min(byte + (1 << 20), stop))

    @staticmethod
    def _outcome(call: Callable[[], Any]) -> Any:
        try:
            return _comparable(call())
        except RmtServerError as error:
            return type(error), error.detail, error.fields
        except ValueError:
            return (ValueError,)


def _comparable(value: Any) -> Any:
    """A result without its times, which no model knows."""
    match value:
        case SessionRecord():
            return replace(value, created_at=_NEVER, expires_at=_NEVER)
        case Lease():
            return replace(value, session=_comparable(value.session))
        case tuple():
            return tuple(_comparable(one) for one in value)
    return value


def _name(outcome: Any) -> str:
    match outcome:
        case (type() as error, *_):
            return error.__name__
    return "done"


def _state(read_bytes: int, blob: bytes = b"state") -> StoredState:
    return StoredState(blob, read_bytes, read_bytes // 4, read_bytes // 64, f"digest of {read_bytes}")


# ---------------------------------------------------------------------------- steps


def step(kind: "Step", rng: random.Random, pair: Pair) -> str:
    """One step that may be right or wrong now, and where there is no session mostly makes one; what came of it."""
    if pair.model.record is None and rng.random() < 0.8:
        return _create_session(rng, pair)
    return kind(rng, pair)


def _create_session(rng: random.Random, pair: Pair) -> str:
    more = {"model": "m", "ttl_s": 600.0, "keep_text": rng.random() < 0.6}
    return pair.both("create_session", _TENANT, _SID, state=rng.choice(pair.states), **more)


def _delete_session(rng: random.Random, pair: Pair) -> str:
    if rng.random() < 0.8:
        return _read_text(rng, pair)
    return pair.both("delete_session", _TENANT, _SID)


def _create_document(rng: random.Random, pair: Pair) -> str:
    return pair.both(
        "create_document", _TENANT, _SID, _document(rng, pair), rng.choice((None, None, 0, 3, 200, 70_000))
    )


def _append(rng: random.Random, pair: Pair) -> str:
    name = pair.model.open if pair.model.open and rng.random() < 0.9 else _document(rng, pair)
    there = pair.model.documents.get(name)
    right, length = (there.offset, there.length) if there else (0, None)
    size = rng.choice(_SIZES)
    if length is not None and rng.random() < 0.5:
        size = max(0, length - right)
    start = rng.randrange(len(_NOISE) - size)
    return pair.both(
        "append",
        _TENANT,
        _SID,
        name,
        offset=right if rng.random() < 0.9 else max(0, right + rng.choice((-1, 1, -100, 5000))),
        data=_NOISE[start : start + size],
        complete=rng.random() < 0.2,
        max_unread_bytes=rng.choice((1 << 30, 1 << 30, 200_000, 5000, 0)),
        utf8_tail=rng.choice((b"", b"\xe2\x82")),
        writer=_writer(rng, there),
        length=rng.choice((None,) * 8 + (length, right + size, right + size + 7)),
    )


def _take_over(rng: random.Random, pair: Pair) -> str:
    name = _document(rng, pair)
    there = pair.model.documents.get(name)
    right, length = (there.offset, there.length) if there else (0, None)
    return pair.both(
        "take_over",
        _TENANT,
        _SID,
        name,
        offset=rng.choice((None, None, right, right, right + 1)),
        length=rng.choice((None, None, None, length, right + 100, 3)),
        reached=rng.choice((0, 0, right, right + 100)),
    )


def _cancel_document(rng: random.Random, pair: Pair) -> str:
    name = _document(rng, pair)
    writer = _writer(rng, pair.model.documents.get(name)) if rng.random() < 0.5 else None
    return pair.both("cancel_document", _TENANT, _SID, name, writer)


def _get_document(rng: random.Random, pair: Pair) -> str:
    return pair.both("get_document", _TENANT, _SID, _document(rng, pair))


def _read_text(rng: random.Random, pair: Pair) -> str:
    record = pair.model.record
    accepted = record.accepted_bytes if record else 0
    start = rng.choice((0, accepted, rng.randrange(accepted + 1), max(0, accepted - 10)))
    return pair.both("read_text", _TENANT, _SID, start, start + rng.choice((0, 1, 100, 100_000)))


def _restore(rng: random.Random, pair: Pair) -> str:
    record = pair.model.record
    etag = rng.choice((None, None, record.etag if record else "0-0", "9-9"))
    return pair.both("restore", _TENANT, _SID, rng.choice(pair.states), if_etag=etag)


def _keep_state(rng: random.Random, pair: Pair) -> str:
    if pair.model.record is not None:
        pair.states = [pair.states[0], pair.model.record.state(pair.model.blob)]
    return pair.both("session_state", _TENANT, _SID)


def _lease(rng: random.Random, pair: Pair) -> str:
    return pair.lease(rng.choice("ab"), rng.choice((60_000, 60_000, 0)))


def _commit(rng: random.Random, pair: Pair) -> str:
    """Progress up to somewhere, with the ends that it passed; or a wrong place, or too few or many ends."""
    record = pair.model.record
    if not pair.leases or record is None:
        return _lease(rng, pair)
    ends = sorted(pair.model.ends.items(), key=lambda one: one[1])
    places = (record.accepted_bytes, record.accepted_bytes, rng.randrange(record.read_bytes, record.accepted_bytes + 1))
    position = rng.choice(places) if rng.random() < 0.95 else rng.choice((record.accepted_bytes + 1, 0))
    finished = [name for name, end in ends if end <= position]
    if rng.random() < 0.1:
        finished = rng.choice((finished[:-1], [name for name, _ in ends], [*finished, "unknown"]))
    state = _state(position, rng.randbytes(rng.choice((0, 5, 100))))
    kept = {"timeline_points": _TIMELINE_POINTS, "movements": _grown(rng, pair.model.moved)}
    return pair.both_leased("commit", _which(rng, pair), state, tuple(finished), **kept)


def _grown(rng: random.Random, moved: bytes) -> bytes:
    """Movements that have grown at their end, that have shrunk, or others."""
    return moved[: rng.choice((0, 3, rng.randrange(len(moved) + 1), len(moved)))] + rng.randbytes(
        rng.choice((0, 5, 100))
    )


def _renew(rng: random.Random, pair: Pair) -> str:
    return pair.both_leased("renew", _which(rng, pair), rng.choice((60_000, 0))) if pair.leases else _lease(rng, pair)


def _release(rng: random.Random, pair: Pair) -> str:
    return pair.both_leased("release", _which(rng, pair)) if pair.leases else _lease(rng, pair)


def _compact(rng: random.Random, pair: Pair) -> str:
    return pair.both_leased("compact", _which(rng, pair)) if pair.leases else _lease(rng, pair)


def _unread(rng: random.Random, pair: Pair) -> str:
    if not pair.leases or pair.model.record is None:
        return _lease(rng, pair)
    if rng.random() < 0.2:
        return pair.both_leased("boundaries", _which(rng, pair))
    start = rng.choice((pair.model.record.read_bytes, rng.randrange(pair.model.record.accepted_bytes + 1)))
    return pair.both_leased("unread", _which(rng, pair), start, rng.choice((0, 100, 16_384)))


def _document(rng: random.Random, pair: Pair) -> str:
    """The one that is open, one that was, or one that is not."""
    if pair.model.open and rng.random() < 0.4:
        return pair.model.open
    return f"d{rng.randrange(len(pair.model.documents) + 2)}"


def _writer(rng: random.Random, document: DocumentRecord | None) -> int:
    """The number of the last writer, or of one before or after it."""
    last = document.writer if document else 1
    return last if rng.random() < 0.9 else last + rng.choice((-1, 1))


def _which(rng: random.Random, pair: Pair) -> int:
    """The last lease, or one before it."""
    return -1 if rng.random() < 0.8 else rng.randrange(len(pair.leases))


Step = Callable[[random.Random, Pair], str]
STEPS: tuple[Step, ...] = (
    *(_create_document, _create_document, _take_over, _append, _append, _append, _append, _append),
    *(_cancel_document, _get_document, _lease, _commit, _commit, _commit, _unread, _renew, _release, _compact),
    *(_read_text, _restore, _restore, _keep_state, _create_session, _delete_session),
)


def main() -> int:
    """The long form."""
    options = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as directory, EmbeddedRedis(Path(directory)) as server:
        uploads = Uploads(server.url)
        try:
            return campaign(uploads.run, options.inputs, options.seed, options.first)
        finally:
            uploads.close()


if __name__ == "__main__":
    sys.exit(main())
