"""Timelines and traces over HTTP: what is kept along a text, and where an answer came from."""

from typing import Any

import pytest
from tests.conftest import StoreBench
from tests.server.obstacles import Throttle
from tests.serving import Server, ServerFactory, text

from rmt_model.engine import Engine

DATA = text(30_000)


def timeline(server: Server, sid: str, **params: Any) -> list[dict[str, Any]]:
    answer = server.http.get(f"/v1/sessions/{sid}/timeline", params=params)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["points"])


def trace(server: Server, sid: str, **body: Any) -> dict[str, Any]:
    answer = server.http.post(f"/v1/sessions/{sid}/traces", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


# ---------------------------------------------------------------------------- timeline


def test_a_timeline_is_evenly_spaced_and_bounded(start_server: ServerFactory) -> None:
    server = start_server(timeline_points=8, commit_interval_s=0.001)
    sid = server.read(DATA, focus=["Who?", "Where?"])
    points = timeline(server, sid)
    session = server.look(sid)
    assert 4 <= len(points) <= 8
    segments = [point["segment"] for point in points]
    gaps = [later - earlier for earlier, later in zip([0, *segments], segments, strict=False)]
    assert segments == sorted(set(segments))
    assert max(gaps) <= 4 * min(gaps)
    assert segments[-1] <= session["segments"]
    ends = [point["bytes"] for point in points]
    assert ends == sorted(ends)
    assert all(0 < end <= len(DATA) for end in ends)
    assert all(len(point["moved"]) == 2 and min(point["moved"]) > 0 for point in points)
    assert all(point["tokens"] == point["segment"] * 32 for point in points)
    assert all(point["answer"] is point["confidence"] is None for point in points)


def test_its_size_is_bounded_too(start_server: ServerFactory) -> None:
    server = start_server(max_timeline_bytes=60_000, commit_interval_s=0.001)
    sid = server.read(DATA)
    size = server.look(sid)["state_bytes"]
    assert 1 <= len(timeline(server, sid)) <= 60_000 // size


def test_it_can_be_turned_off(start_server: ServerFactory) -> None:
    off = start_server(timeline_points=0)
    assert timeline(off, off.read(DATA)) == []


def test_a_question_is_asked_along_the_text(server: Server) -> None:
    sid = server.read(DATA, focus=["Who?", "Where is Mary?"])
    points = timeline(server, sid, question="Where is Mary?")
    assert len(points) > 1
    assert all(0 <= point["confidence"] <= 1 and isinstance(point["guess"], str) for point in points)
    by_lane = timeline(server, sid, question="Where is Mary?", lane=1)
    assert [point["guess"] for point in by_lane] == [point["guess"] for point in points]
    assert timeline(server, sid, question="Where is Mary?", lane=0) != by_lane


@pytest.mark.parametrize(
    ("params", "status"), [({"question": " "}, 422), ({"question": "Who?", "lane": 1}, 422), ({"lane": -1}, 422)]
)
def test_a_timeline_that_cannot_be_asked(server: Server, params: dict[str, Any], status: int) -> None:
    answer = server.http.get(f"/v1/sessions/{server.session()}/timeline", params=params)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert server.http.get("/v1/sessions/ses_none/timeline").status_code == 404


def test_every_memory_vector_tells_how_far_it_moved(server: Server) -> None:
    sid = server.read(DATA, focus=["Who?", "Where?"])
    assert all(point["vectors"] is None for point in timeline(server, sid))
    points = timeline(server, sid, vectors=True)
    memory = server.scheduler.engine.checkpoint.config.memory_tokens
    assert all([len(lane) for lane in point["vectors"]] == [memory, memory] for point in points)
    for point in points:  # what a lane moved lies between what its vectors did
        for lane, moved in zip(point["vectors"], point["moved"], strict=True):
            assert min(lane) - 1e-3 <= moved <= max(lane) + 1e-3


# ---------------------------------------------------------------------------- text


def part(server: Server, sid: str, **params: int) -> dict[str, Any]:
    answer = server.http.get(f"/v1/sessions/{sid}/text", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_the_text_can_be_read_again(server: Server) -> None:
    sid = server.read(DATA * 5)
    assert part(server, sid, start=100, end=250)["text"] == DATA[100:250].decode()
    assert part(server, sid)["text"] == (DATA * 5)[: 64 * 1024].decode()
    assert part(server, sid, start=70_000, end=1 << 40)["end"] == 70_000 + 64 * 1024
    assert part(server, sid, start=149_990)["text"] == DATA[-10:].decode()
    for beyond in (150_000, 1 << 50):
        assert part(server, sid, start=beyond) == {"start": beyond, "end": beyond, "text": ""}
    assert part(server, sid, start=9, end=3) == {"start": 9, "end": 9, "text": ""}


def test_a_part_of_the_text_is_whole_characters(server: Server) -> None:
    written = "aä€😀" * 20
    data = written.encode()
    sid = server.read(data)
    for start in range(12):
        for end in range(start, start + 12):
            found = part(server, sid, start=start, end=end)
            assert found["text"].encode() == data[found["start"] : found["end"]]
            assert start <= found["start"] <= found["end"] <= max(end, start + 3)
            assert found["start"] - start < 4
            assert end - found["end"] < 4


def test_text_that_is_not_kept_cannot_be_read_again(server: Server) -> None:
    sid = server.read(DATA, keep_text=False)
    answer = server.http.get(f"/v1/sessions/{sid}/text")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:rmt-server:problem:text-not-kept")
    assert server.http.get("/v1/sessions/ses_none/text").status_code == 404
    assert server.http.get(f"/v1/sessions/{sid}/text", params={"start": -1}).status_code == 422


async def test_every_second_state_goes_when_there_are_too_many(bench: StoreBench) -> None:
    from dataclasses import replace

    from tests.conftest import stored_state

    await bench.session()
    await bench.document(b"x" * 100_000)
    lease = await bench.lease()
    kept = []
    for at in range(1, 41):
        state = replace(stored_state(at * 1000, b"%03d" % at), segments=at)
        lease = await bench.store.commit(lease, state, timeline_points=5)
        points = await bench.store.timeline("t", "s")
        assert all(blob == b"%03d" % segments for segments, blob in points)
        assert lease.session.aside_bytes == 3 * len(points)
        kept.append([segments for segments, _ in points])
    assert kept[4] == [1, 2, 3, 4, 5]
    assert kept[5] == [2, 4, 6]
    assert all(len(points) <= 5 for points in kept)
    gaps = {later - earlier for earlier, later in zip(kept[-1], kept[-1][1:], strict=False)}
    assert len(gaps) == 1


async def test_only_the_last_lanes_are_kept(bench: StoreBench) -> None:
    from rmt_server.store.limits import KEPT_LANES

    await bench.session()
    for number in range(KEPT_LANES + 3):
        await bench.store.keep_lane("t", "s", f"lane{number}", b"x" * (number + 1))
    await bench.store.keep_lane("t", "s", "lane5", b"new")
    names = [f"lane{number}" for number in range(KEPT_LANES + 3)]
    found = await bench.store.kept_lanes("t", "s", names)
    assert [name for name, blob in zip(names, found, strict=True) if blob is None] == names[:3]
    assert found[5] == b"new"
    session = await bench.store.get_session("t", "s")
    assert session.aside_bytes == sum(len(blob) for blob in found if blob is not None)


# ---------------------------------------------------------------------------- traces


def test_a_trace_tells_segment_bytes_and_text(server: Server) -> None:
    """With a model of random weights there is no right place: what it tells has to hold all the same."""
    sid = server.read(DATA, focus=["Who?"])
    found = trace(server, sid, question="Who?")
    asked = server.ask(sid, "Who?")
    assert found["answer"] == asked["guess"]
    if found["segment"] is not None:
        start, stop = found["bytes"]
        assert 0 <= start < stop <= len(DATA)
        assert found["excerpt"] in DATA[start:stop].decode()
    assert all(probe.keys() == {"segment", "answer", "confidence"} for probe in found["probes"])
    assert not found["verified"] or found["segment"] is not None


def test_a_trace_can_come_with_the_answer(server: Server) -> None:
    sid = server.read(text(4000), focus=["Who?"])
    answered = server.ask(sid, "Who?", trace=True)
    assert answered["trace"]["answer"] == answered["answer"]
    assert answered["trace"] == trace(server, sid, question="Who?", answer=answered["answer"])
    assert server.ask(sid, "Who?")["trace"] is None


def test_a_question_that_came_afterwards_is_traced_by_reading_once_more(start_server: ServerFactory) -> None:
    server = start_server()
    sid = server.read(text(8000))
    before = server.metric("rmt_lane_segments_total")
    found = trace(server, sid, question="Where is Daniel?", answer="nowhere at all")
    assert (found["segment"], found["bytes"], found["verified"]) == (None, None, False)
    assert server.metric("rmt_lane_segments_total") > before + 10


def test_what_cannot_be_traced_is_refused(server: Server) -> None:
    sid = server.read(text(3000), keep_text=False)
    problem = server.http.post(f"/v1/sessions/{sid}/traces", json={"question": "Who?"})
    assert problem.status_code == 409
    assert problem.json()["type"].endswith("text-not-kept")
    assert "keep_text" in problem.json()["detail"]
    assert server.http.post("/v1/sessions/ses_none/traces", json={"question": "Who?"}).status_code == 404
    for body in ({"question": ""}, {"question": "x " * 9000}, {"question": "Who?", "answer": "x" * 1001}, {}):
        assert server.http.post(f"/v1/sessions/{server.session()}/traces", json=body).status_code == 422
    for body in ({"trace": True, "snapshot": "snp_x"}, {"trace": True, "wait": False}):
        answer = server.http.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?", **body})
        assert answer.status_code == 422


def test_what_cannot_be_traced_is_refused_before_it_is_answered(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine)
    sid = server.read(text(3000), keep_text=False)
    answer = server.http.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?", "trace": True})
    assert (answer.status_code, answer.json()["type"].rsplit(":")[-1]) == (409, "text-not-kept")
    assert throttle.answered == 0
