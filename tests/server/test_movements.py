"""Movements over HTTP: how far the memory moved at each segment, as the engine computes it."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import redis
from numpy.typing import NDArray
from tests.conftest import StoreBench, stored_state
from tests.serving import Server, ServerFactory, text

from rmt_model.answering import focus_ids
from rmt_model.engine import KEPT_MOVEMENTS, Engine
from rmt_model.movements import MOST_COLUMNS
from rmt_model.reader import Reader
from rmt_model.types import LaneSegment
from rmt_server.keys import SessionKeys
from rmt_server.redis_process.server import EmbeddedRedis

FOCUS = ["Who?", "Where is the garden?"]


def movements(server: Server, sid: str, lane: int = 0) -> dict[str, Any]:
    answer = server.http.get(f"/v1/sessions/{sid}/movements", params={"lane": lane})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def computed(engine: Engine, *documents: bytes, focus: list[str]) -> tuple[list[int], NDArray[np.float32]]:
    """Where each segment's text ends, and how far each vector moved there: [segments, lanes, M]."""
    state = engine.fresh_state(focus)
    reader = Reader(engine.text_tokenizer, engine.checkpoint.config.segment_tokens, state)
    for document in documents:
        reader.feed(document)
        reader.finish_document()
    slots, memories, ends = engine.open(state.memory), [state.memory], []
    while reader.waiting:
        segment = reader.take()
        rows = [LaneSegment(slot, [*focus_ids(engine, state, lane), *segment]) for lane, slot in enumerate(slots)]
        engine.read(rows)
        memories.append(engine.memory(slots))
        ends.append(reader.end_byte)
    moved = [np.linalg.norm(new - old, axis=2) / np.linalg.norm(old, axis=2) for old, new in pairwise(memories)]
    return ends, np.array(moved)


def test_each_segment_is_a_column(server: Server, engine: Engine) -> None:
    """Of a text that is read within one commit, too; text after text."""
    texts = [text(9_000, seed=1), text(30_000, seed=2)]
    sid = server.read(texts[0], focus=FOCUS)
    server.send(sid, texts[1], wait=True)
    ends, moved = computed(engine, *texts, focus=FOCUS)
    for lane in range(2):
        found = movements(server, sid, lane)
        assert (found["start"], found["segments_each"]) == (0, 1)
        columns = found["columns"]
        assert [column["segment"] for column in columns] == list(range(1, server.look(sid)["segments"] + 1))
        assert [column["bytes"] for column in columns] == pytest.approx(ends, abs=2)  # a separator is not counted
        np.testing.assert_allclose([column["moved"] for column in columns], moved[:, lane], rtol=5e-3, atol=1e-4)


def test_a_long_text_has_several_segments_a_column(server: Server, engine: Engine) -> None:
    data = text(130_000)
    sid = server.read(data)
    found, (ends, moved) = movements(server, sid), computed(engine, data, focus=[])
    assert MOST_COLUMNS < len(ends) <= 2 * MOST_COLUMNS
    assert (found["segments_each"], len(found["columns"])) == (2, -(-len(ends) // 2))
    assert [column["bytes"] for column in found["columns"]] == [*ends[1::2], *ends[len(ends) - len(ends) % 2 :]]
    furthest = [moved[start : start + 2, 0].max(0) for start in range(0, len(moved), 2)]
    np.testing.assert_allclose([column["moved"] for column in found["columns"]], furthest, rtol=5e-3, atol=1e-4)


def test_a_commit_may_have_more_segments_than_the_device_keeps(start_server: ServerFactory, engine: Engine) -> None:
    """And each lane's are its own; the session commits once, at the end."""
    server, data = start_server(commit_interval_s=60.0), text(30_000)
    sid = server.read(data, focus=FOCUS)
    _, moved = computed(engine, data, focus=FOCUS)
    assert len(moved) > 3 * KEPT_MOVEMENTS
    for lane in range(2):
        columns = movements(server, sid, lane)["columns"]
        np.testing.assert_allclose([one["moved"] for one in columns], moved[:, lane], rtol=5e-3, atol=1e-4)


def test_a_fork_begins_where_its_snapshot_stands(server: Server, engine: Engine) -> None:
    texts = [text(9_000, seed=1), text(5_000, seed=3)]
    sid = server.read(texts[0])
    snapshot, before = server.snapshot(sid), movements(server, sid)
    fork = server.session(from_snapshot=snapshot)
    assert movements(server, fork)["columns"] == []
    server.send(fork, texts[1], wait=True)
    found, (ends, moved) = movements(server, fork), computed(engine, *texts, focus=[])
    first = len(before["columns"])
    assert found["start"] == before["columns"][-1]["bytes"] == ends[first - 1]
    assert [column["segment"] for column in found["columns"]] == list(range(first + 1, len(ends) + 1))
    np.testing.assert_allclose([one["moved"] for one in found["columns"]], moved[first:, 0], rtol=5e-3, atol=1e-4)
    restored = server.http.post(f"/v1/sessions/{sid}/restore", json={"snapshot": snapshot})
    assert restored.status_code == 200, restored.text
    assert movements(server, sid)["columns"] == []


def test_those_of_another_text_are_not_shown(server: Server, engine: Engine, service_redis: EmbeddedRedis) -> None:
    """A server of before does not know them, and leaves them behind at a restore: then they begin anew."""
    data = text(9_000, seed=1)
    sid, other = server.read(data), server.read(text(9_000, seed=2))
    with redis.Redis.from_url(service_redis.url) as bare:
        left = bare.get(SessionKeys("public", other).movements)
        bare.set(SessionKeys("public", sid).movements, left)
    assert movements(server, sid)["columns"] == []
    server.send(sid, text(5_000, seed=3), wait=True)
    first, found = len(computed(engine, data, focus=[])[0]), movements(server, sid)
    assert found["columns"][0]["segment"] == first + 1


def test_nothing_read_nothing_moved(server: Server) -> None:
    assert movements(server, server.session()) == {"start": 0, "segments_each": 1, "columns": []}
    sid = server.read(b"Mary went home.")  # which fills no segment
    assert movements(server, sid)["columns"] == []


@pytest.mark.parametrize(("lane", "status"), [(2, 422), (-1, 422), ("first", 422)])
def test_a_lane_that_is_not_there(server: Server, lane: object, status: int) -> None:
    answer = server.http.get(f"/v1/sessions/{server.session(focus=FOCUS)}/movements", params={"lane": str(lane)})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert server.http.get("/v1/sessions/ses_none/movements").status_code == 404


async def test_they_lie_beside_the_state_that_they_led_to(bench: StoreBench) -> None:
    await bench.session()
    await bench.document(b"x" * 100)
    lease = await bench.lease()
    assert lease.movements == (await bench.store.movements("t", "s"))[1] == b""
    grown = b"one", b"once two", b"once two", b"once three", b"o", b"another", b"", b"again"
    for at, moved in enumerate(grown, 1):
        lease = await bench.store.commit(lease, replace(stored_state(at), segments=at), movements=moved)
        assert (lease.session, lease.movements) == await bench.store.movements("t", "s")
        assert lease.movements == moved
        assert lease.session.aside_bytes == len(moved)
        lease = await bench.lease()
        assert lease.movements == moved
