"""Snapshots to the end: kept by themselves at the end of documents, forked again and again, deleted while in use."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.server.event_reader import all_events
from tests.server.obstacles import Throttle
from tests.serving import Server, ServerFactory, text, wait_for

from rmt_model.engine import Engine

DOCUMENTS = [text(2000, seed) for seed in range(5)]


def listed(server: Server, sid: str) -> list[dict[str, Any]]:
    """A session's snapshots, the newest first."""
    return list(server.http.get(f"/v1/sessions/{sid}/snapshots", params={"limit": 100}).json()["snapshots"])


def kept(server: Server, sid: str) -> list[str | None]:
    """The documents at whose ends snapshots were kept, in their order."""
    return [one["document_id"] for one in reversed(listed(server, sid))]


def fork(server: Server, snapshot: str) -> str:
    sid = server.session(from_snapshot=snapshot)
    server.wait_until_read(sid)
    return sid


# ---------------------------------------------------------------------------- at the end of each document


@pytest.mark.parametrize("waits", [True, False])
def test_the_end_of_each_document_is_kept(start_server: ServerFactory, server: Server, waits: bool) -> None:
    mine = start_server(auto_snapshots=8)
    sid = mine.session(focus=["Who?"])
    documents = [mine.send(sid, data, wait=waits)["id"] for data in DOCUMENTS]
    session = mine.wait_until_read(sid)
    assert session["auto_snapshots"] == 8
    wait_for(lambda: len(kept(mine, sid)) == 5, what="the snapshots")
    snapshots = {one["document_id"]: one for one in listed(mine, sid)}
    assert list(snapshots) == documents[::-1] or set(snapshots) == set(documents)
    reading = server.session(focus=["Who?"])
    for number, document in enumerate(documents):
        server.send(reading, DOCUMENTS[number], wait=True)
        end = snapshots[document]
        assert (end["bytes"], end["session_id"]) == (2000 * (number + 1), sid)
        assert end["digest"] == server.look(reading)["digest"]
        assert mine.ask(fork(mine, end["id"]), "Who?")["guess"] == server.ask(reading, "Who?")["guess"]
    told = [event.data["snapshot"]["id"] for event in all_events(mine.url, sid) if event.kind == "snapshot"]
    assert set(told) == {one["id"] for one in snapshots.values()}


def test_only_the_last_are_kept(start_server: ServerFactory) -> None:
    server = start_server(auto_snapshots=2)
    sid = server.session()
    one_by_one = [server.send(sid, data, wait=True)["id"] for data in DOCUMENTS[:4]]
    wait_for(lambda: kept(server, sid) == one_by_one[-2:], what="the older ones to go")
    at_once = [server.send(sid, data[:300])["id"] for data in DOCUMENTS]
    server.wait_until_read(sid)
    wait_for(lambda: kept(server, sid) == at_once[-2:], what="the older ones to go")
    asked_for = server.snapshot(sid)
    server.send(sid, DOCUMENTS[0], wait=True)
    server.send(sid, DOCUMENTS[1], wait=True)
    wait_for(lambda: at_once[-1] not in kept(server, sid), what="the older ones to go")
    assert asked_for in [one["id"] for one in listed(server, sid)]


@pytest.mark.parametrize(("setting", "field"), [(0, None), (4, 0)])
def test_none_are_kept_where_none_are_wanted(start_server: ServerFactory, setting: int, field: int | None) -> None:
    server = start_server(auto_snapshots=setting)
    sid = server.session(**({} if field is None else {"auto_snapshots": field}))
    server.send(sid, DOCUMENTS[0], wait=True)
    assert server.look(sid)["auto_snapshots"] == 0
    assert listed(server, sid) == []


def test_a_session_may_want_others(start_server: ServerFactory) -> None:
    server = start_server(auto_snapshots=0)
    sid = server.session(auto_snapshots=1)
    documents = [server.send(sid, data, wait=True)["id"] for data in DOCUMENTS[:3]]
    wait_for(lambda: kept(server, sid) == documents[-1:], what="one snapshot")
    for wrong in (-1, 65):
        assert server.http.post("/v1/sessions", json={"auto_snapshots": wrong}).status_code == 422


def test_they_go_with_their_session_and_others_stay(start_server: ServerFactory) -> None:
    server = start_server()
    sid = server.session()
    server.send(sid, DOCUMENTS[0], wait=True)
    wait_for(lambda: len(listed(server, sid)) == 1, what="the snapshot")
    by_itself, asked_for = listed(server, sid)[0]["id"], server.snapshot(sid)
    assert server.http.delete(f"/v1/sessions/{sid}").status_code == 204
    assert server.http.get(f"/v1/snapshots/{by_itself}").status_code == 404
    assert server.http.get(f"/v1/snapshots/{asked_for}").status_code == 200


def test_a_restore_leaves_those_before_it_to_go_in_their_turn(start_server: ServerFactory) -> None:
    server = start_server(auto_snapshots=2)
    sid = server.session()
    empty = server.snapshot(sid)
    for turn in range(3):
        key = {"Idempotency-Key": "the same document again"}
        documents = [
            server.send(sid, DOCUMENTS[2 * turn % 5][: 1000 + turn], wait=True, headers=key)["id"],
            server.send(sid, DOCUMENTS[2 * turn % 5 + 1], wait=True)["id"] if turn < 2 else None,
        ]
        wait_for(lambda: len(kept(server, sid)) == 3, what="two ends and the snapshot that was asked for")
        newest = {one["document_id"]: one for one in listed(server, sid)}
        assert newest[documents[0]]["bytes"] == 1000 + turn  # not what stood there before the restore
        assert server.http.post(f"/v1/sessions/{sid}/restore", json={"snapshot": empty}).status_code == 200
    assert server.http.delete(f"/v1/sessions/{sid}").status_code == 204
    left = [one["id"] for one in server.http.get("/v1/snapshots", params={"limit": 100}).json()["snapshots"]]
    assert left == [empty]


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.2])
def test_none_is_left_of_a_session_that_is_deleted_while_it_is_read(
    start_server: ServerFactory, engine: Engine, throttle: Throttle, after_s: float
) -> None:
    server = start_server(engine, commit_interval_s=0.01, auto_snapshots=64)
    sid = server.session()
    throttle.seconds = 0.01
    for number in range(30):
        server.send(sid, DOCUMENTS[number % 5][:300])
    time.sleep(after_s)
    assert server.http.delete(f"/v1/sessions/{sid}").status_code == 204
    throttle.seconds = 0.0
    other = server.session(auto_snapshots=0)
    server.send(other, DOCUMENTS[0], wait=True)
    wait_for(lambda: server.metric("rmt_readings") == 0, what="the reader to let go")
    assert server.http.get("/v1/snapshots", params={"limit": 100}).json()["snapshots"] == []


def test_they_live_as_long_as_their_session_would(start_server: ServerFactory) -> None:
    server = start_server()
    sid = server.session(ttl_s=2)
    server.send(sid, DOCUMENTS[0], wait=True)
    wait_for(lambda: len(listed(server, sid)) == 1, what="the snapshot")
    snapshot = listed(server, sid)[0]["id"]
    time.sleep(2.2)
    assert server.http.get(f"/v1/snapshots/{snapshot}").status_code == 404


def test_a_full_quota_keeps_none_and_reading_goes_on(start_server: ServerFactory) -> None:
    server = start_server(max_tenant_snapshots=1)
    sid = server.session()
    for data in DOCUMENTS[:3]:
        server.send(sid, data, wait=True)
    assert server.look(sid)["read_bytes"] == 6000
    assert len(server.http.get("/v1/snapshots").json()["snapshots"]) == 1


def test_a_takeover_keeps_no_second_one(start_server: ServerFactory, make_engine: Callable[..., Engine]) -> None:
    """The first process stops without a commit after each end; what it kept is kept once."""
    slow = make_engine()
    throttle = Throttle(slow)
    first = start_server(slow, commit_interval_s=60.0, lease_s=0.5)
    sid = first.session()
    throttle.seconds = 0.01
    documents = [first.send(sid, data)["id"] for data in DOCUMENTS[:3]]
    second = start_server()
    session = second.wait_until_read(sid)
    wait_for(lambda: len(kept(second, sid)) == 3, what="the snapshots")
    assert sorted(kept(second, sid)) == sorted(documents)
    assert session["read_bytes"] == 6000
    throttle.open.set()


# ---------------------------------------------------------------------------- what else may happen to them


def test_a_fork_of_a_fork_of_a_fork(server: Server) -> None:
    sid, whole = server.session(), server.session()
    for data in DOCUMENTS[:4]:
        server.send(sid, data, wait=True)
        server.send(whole, data, wait=True)
        sid = fork(server, server.snapshot(sid))
    assert server.look(sid)["digest"] == server.look(whole)["digest"]
    assert server.state(sid) == server.state(whole)


def test_a_snapshot_may_be_deleted_while_it_is_used(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine)
    sid = server.read(DOCUMENTS[0])
    snapshot = server.snapshot(sid)
    forked = server.session(from_snapshot=snapshot)
    wanted = server.ask(sid, "Who?", snapshot=snapshot)["guess"]
    assert server.http.delete(f"/v1/snapshots/{snapshot}").status_code == 204
    server.send(forked, DOCUMENTS[1], wait=True)
    assert server.look(forked)["read_bytes"] == 4000
    assert server.ask(sid, "Who?")["guess"] == wanted
    for path, body in (
        (f"/v1/sessions/{sid}/answers", {"question": "Who?", "snapshot": snapshot}),
        (f"/v1/sessions/{sid}/restore", {"snapshot": snapshot}),
        ("/v1/sessions", {"from_snapshot": snapshot}),
    ):
        assert server.http.post(path, json=body).status_code == 404
    assert server.http.delete(f"/v1/snapshots/{snapshot}").status_code == 404


def test_a_restore_is_refused_while_a_document_is_uploaded(server: Server) -> None:
    sid = server.read(DOCUMENTS[0])
    snapshot = server.snapshot(sid)
    document = server.open(sid, b"Mary went ")
    refused = server.http.post(f"/v1/sessions/{sid}/restore", json={"snapshot": snapshot})
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("upload-open")
    assert refused.json()["document-id"] in document
    assert server.append(document, b"home.", 10, complete=True).status_code == 204
    server.wait_until_read(sid)
    assert server.http.post(f"/v1/sessions/{sid}/restore", json={"snapshot": snapshot}).status_code == 200


def test_an_export_is_imported_by_pieces(server: Server) -> None:
    content = server.content(server.snapshot(server.read(DOCUMENTS[0], focus=["Who?"])))

    def pieces() -> Any:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    headers = {"Content-Type": "application/vnd.safetensors"}
    made = server.http.post("/v1/snapshots", params={"name": "again"}, content=pieces(), headers=headers)
    assert made.status_code == 201
    assert server.content(made.json()["id"]) == content
    assert made.json()["document_id"] is None


def test_a_snapshot_lives_as_long_as_it_is_told(server: Server) -> None:
    sid = server.read(DOCUMENTS[0])
    snapshot = server.snapshot(sid, ttl_s=1)
    assert server.http.get(f"/v1/snapshots/{snapshot}").status_code == 200
    time.sleep(1.2)
    assert server.http.get(f"/v1/snapshots/{snapshot}").status_code == 404
    for wrong in (0, -1, 10**10):
        assert server.http.post(f"/v1/sessions/{sid}/snapshots", json={"ttl_s": wrong}).status_code == 422
