"""What the server keeps of a session does not grow with what it has read."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from tests.serving import ServerFactory, text

from rmt_model.engine import Engine
from rmt_model.movements import MOST_COLUMNS, Movements
from rmt_server.keys import SessionKeys
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.store import KEPT_EVENTS

LINE_BYTES = 10_000_000


@pytest.mark.slow
def test_a_session_is_as_large_after_a_million_tokens_as_after_ten_thousand(
    start_server: ServerFactory,
    own_redis: EmbeddedRedis,
    make_engine: Callable[..., Engine],
    tiny_checkpoint: Callable[..., Path],
) -> None:
    """10,000 tokens of ordinary text, then 10 MB in one line without a single space.

    Compared is the state's size, and the memory that Redis has in use for all keys of the session, of which one
    document's record may be some bytes longer than another's. Its last events, the states of its timeline and the
    columns of its movements are bounded by their number.
    """
    checkpoint = tiny_checkpoint(base_layers=1, segment_tokens=256)
    server = start_server(make_engine(checkpoint), commit_interval_s=0.5, max_unread_bytes=1 << 20)
    sid = server.session(keep_text=False)

    def measured() -> tuple[int, dict[str, int]]:
        session = server.wait_until_read(sid, 100)
        with redis.Redis.from_url(own_redis.url) as bare:
            named = SessionKeys("public", sid)
            assert bare.xlen(named.events) <= KEPT_EVENTS
            assert 0 < bare.hlen(named.timeline) <= server.app.state.settings.timeline_points
            movements = Movements.from_bytes(bare.get(named.movements), session["digest"])
            assert movements.segments_read == session["segments"]
            assert bare.strlen(named.movements) <= MOST_COLUMNS * (8 + 2 * movements.moved.shape[2]) + 80
            keys = set(named.all()) - {named.events, named.timeline, named.movements}
            used = {key: bare.memory_usage(key, samples=0) for key in keys}
            assert bare.strlen(named.all()[1]) == session["state_bytes"]
        return session["tokens"], {key: size for key, size in used.items() if size}

    server.send(sid, text(48_000))
    tokens, before = measured()
    assert 10_000 <= tokens < 20_000
    server.send(sid, b"bathroom" * (LINE_BYTES // 8))
    tokens, after = measured()
    assert tokens > 1_000_000
    assert before.keys() == after.keys()
    growth = {key: after[key] - before[key] for key in before if after[key] != before[key]}
    assert sum(growth.values()) < 512, growth
    assert len(server.state(sid)) == server.look(sid)["state_bytes"]
