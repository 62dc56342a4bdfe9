"""Rereading: kept text once more for questions that came afterwards; its ends, its places, its price."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import redis
from tests.server.event_reader import Event, EventReader
from tests.server.obstacles import Throttle
from tests.server.test_asking import DATA, QUESTIONS, ask, same, streamed, words
from tests.serving import Server, ServerFactory, text, wait_for

from rmt_model.engine import Engine
from rmt_model.reader import Reader


@contextmanager
def begun(server: Server, sid: str) -> Iterator[tuple[EventReader, Event]]:
    """A call whose rereading has begun, and the event that said so; its caller leaves at the end."""
    body = {"question": "Who?", "mode": "reread", "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/sessions/{sid}/answers", json=body, timeout=60) as answer:
        reader = EventReader(answer)
        yield reader, reader.until("reread")[-1]


def test_a_reread_answer_is_that_of_a_session_with_the_question_as_focus(server: Server) -> None:
    documents = [text(2500, seed) for seed in range(3)] + [b"", text(700, 9)]
    plain, focused = server.session(), server.session(focus=QUESTIONS)
    for data in documents:
        server.send(plain, data, wait=True)
        server.send(focused, data, wait=True)
    asked = ask(server, plain, questions=QUESTIONS, mode="reread")
    assert [one["mode"] for one in asked["answers"]] == ["reread"] * 3
    assert [one["lane"] for one in asked["answers"]] == [None] * 3
    assert asked["position"]["digest"] == server.look(plain)["digest"]
    wanted = ask(server, focused, questions=QUESTIONS)["answers"]
    assert all(same(*pair) for pair in zip(asked["answers"], wanted, strict=True))


def test_the_lane_stays_for_the_same_question_and_reads_on_from_there(start_server: ServerFactory) -> None:
    server = start_server()
    sid = server.read(DATA)
    first = server.ask(sid, QUESTIONS[0], mode="reread")
    segments = server.metric("rmt_lane_segments_total")
    again = server.ask(sid, f"  {QUESTIONS[0].replace(' ', '  ')}", mode="reread")
    assert same(again | {"question": ""}, first | {"question": ""})
    assert server.metric("rmt_lane_segments_total") == segments  # nothing was read for it
    more = text(1500, 5)
    server.send(sid, more, wait=True)
    with_more = server.metric("rmt_lane_segments_total")
    later = server.ask(sid, QUESTIONS[0], mode="reread")
    read = server.metric("rmt_lane_segments_total") - with_more
    assert 0 < read < segments / 2
    fresh = server.session(focus=[QUESTIONS[0]])
    server.send(fresh, DATA, wait=True)
    server.send(fresh, more, wait=True)
    assert same(later, server.ask(fresh, QUESTIONS[0]))


def test_another_process_finds_the_lane(start_server: ServerFactory) -> None:
    first, second = start_server(), start_server()
    sid = first.read(DATA)
    wanted = first.ask(sid, QUESTIONS[0], mode="reread")
    before = second.metric("rmt_lane_segments_total")
    assert same(second.ask(sid, QUESTIONS[0], mode="reread"), wanted)
    assert second.metric("rmt_lane_segments_total") == before


def test_a_lane_of_another_text_is_not_used(server: Server) -> None:
    sid = server.session()
    empty = server.snapshot(sid)
    server.send(sid, DATA, wait=True)
    server.ask(sid, QUESTIONS[0], mode="reread")
    restored = server.http.post(f"/v1/sessions/{sid}/restore", json={"snapshot": empty})
    assert restored.status_code == 200
    other = text(6000, seed=77)
    server.send(sid, other, wait=True)
    found = server.ask(sid, QUESTIONS[0], mode="reread")
    assert same(found, server.ask(server.read(other, focus=[QUESTIONS[0]]), QUESTIONS[0]))


def test_rereading_tells_its_progress(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    server = start_server(engine)
    sid = server.read(text(20_000))
    throttle.seconds = 0.005
    events = streamed(server, sid, question="Who?", mode="reread")
    told = [event.data for event in events if event.kind == "reread"]
    assert len(told) > 3
    assert [one["read_bytes"] for one in told] == sorted(one["read_bytes"] for one in told)
    assert told[-1]["read_bytes"] == told[-1]["total_bytes"] == 20_000
    assert words(events)[0] == events[-1].data["body"]["answers"][0]["answer"]


def test_rereading_shares_steps_with_reading_and_other_rereading(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine)
    sids = [server.read(text(9000, seed)) for seed in range(2)]
    throttle.seconds = 0.005
    growing = server.session()
    server.send(growing, text(30_000, 5))
    throttle.lanes_read.clear()

    async def all_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            body = {"questions": QUESTIONS[:2], "mode": "reread"}
            return await asyncio.gather(*(client.post(f"/v1/sessions/{sid}/answers", json=body) for sid in sids))

    assert [answer.status_code for answer in asyncio.run(all_at_once())] == [200, 200]
    assert max(throttle.lanes_read) == 5  # one of the session that is read, two of each that is reread


def test_a_caller_who_leaves_ends_the_rereading(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine)
    sid = server.read(text(30_000))
    free = engine.free_slots
    throttle.seconds = 0.02
    with begun(server, sid):
        assert server.metric("rmt_rereads") == 1
    wait_for(lambda: server.metric("rmt_rereads") == 0, 5, "the rereading to end")
    steps = len(throttle.lanes_read)
    time.sleep(0.3)
    assert len(throttle.lanes_read) <= steps + 1
    assert engine.free_slots == free


def test_too_many_rereadings_are_told_to_come_back(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine, max_rereads=1, max_waiting_rereads=1)
    sid = server.read(text(9000))
    throttle.open.clear()

    async def crowd() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            calls = [
                client.post(f"/v1/sessions/{sid}/answers", json={"question": f"Who is {n}?", "mode": "reread"})
                for n in range(6)
            ]
            asyncio.get_running_loop().call_later(1.5, throttle.open.set)
            return await asyncio.gather(*calls)

    answers = asyncio.run(crowd())
    refused = [answer for answer in answers if answer.status_code == 503]
    assert 3 <= len(refused) <= 5
    assert all("Retry-After" in answer.headers for answer in refused)
    assert all(answer.status_code in (200, 503) for answer in answers)


def test_text_that_was_not_kept_cannot_be_reread_and_auto_recalls(server: Server) -> None:
    sid = server.read(DATA, keep_text=False)
    problem = server.http.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?", "mode": "reread"})
    assert problem.status_code == 409
    assert problem.json()["type"].endswith("text-not-kept")
    assert "keep_text" in problem.json()["detail"]
    assert server.ask(sid, "Who?", mode="auto")["mode"] == "recall"
    fork = server.session(from_snapshot=server.snapshot(server.read(DATA)))
    answer = server.http.post(f"/v1/sessions/{fork}/answers", json={"question": "Who?", "mode": "reread"})
    assert answer.status_code == 409


def test_a_session_that_goes_while_it_is_reread_is_not_found(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine)
    sid = server.read(text(60_000))
    free = engine.free_slots
    throttle.seconds = 0.01
    with begun(server, sid) as (reader, _):
        assert server.http.delete(f"/v1/sessions/{sid}").status_code == 204
        last = reader.until("error", "result")[-1]
    assert last.kind == "error"
    assert last.data["status"] == 404
    assert engine.free_slots == free


def test_a_server_that_stops_ends_rereadings(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    server = start_server(engine)
    sid = server.read(text(60_000))
    throttle.seconds = 0.02
    with begun(server, sid) as (reader, _):
        server.scheduler.stop()
        last = reader.until("error", "result")[-1]
    assert (last.kind, last.data["status"]) == ("error", 503)


# ---------------------------------------------------------------------------- where documents end


def test_a_lane_that_stood_in_an_open_document_ends_it_where_it_ended(server: Server) -> None:
    """The lane is kept while the upload is open; then that is closed, and another document comes."""
    sid = server.session()
    document = server.open(sid)
    assert server.append(document, DATA, 0).status_code == 204
    server.ask(sid, QUESTIONS[0], mode="reread")
    assert server.append(document, b"", len(DATA), complete=True).status_code == 204
    server.send(sid, text(2500, 3), wait=True)
    read_on = server.ask(sid, QUESTIONS[0], mode="reread")
    fresh = server.session(focus=[QUESTIONS[0]])
    server.send(fresh, DATA, wait=True)
    server.send(fresh, text(2500, 3), wait=True)
    assert same(read_on, server.ask(fresh, QUESTIONS[0]))


def test_all_ends_are_kept_however_slow_the_tokenizer_is(
    start_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(auto_snapshots=8, commit_interval_s=0.001)
    feed = Reader.feed

    def slow(reader: Reader, piece: bytes) -> None:
        time.sleep(0.05)
        feed(reader, piece)

    monkeypatch.setattr(Reader, "feed", slow)
    sid = server.session()
    documents = [server.send(sid, text(700, seed))["id"] for seed in range(6)]
    server.wait_until_read(sid)
    answer = server.http.get(f"/v1/sessions/{sid}/snapshots")
    assert [one["document_id"] for one in answer.json()["snapshots"]] == documents[::-1]


# ---------------------------------------------------------------------------- places and prices


def test_callers_who_left_while_they_waited_take_no_place(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine, max_rereads=1, max_waiting_rereads=2)
    sid = server.read(text(9000))
    throttle.open.clear()

    async def come_and_go() -> httpx.Response:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:

            def reread(number: int) -> asyncio.Task[httpx.Response]:
                body = {"question": f"Who is {number}?", "mode": "reread"}
                return asyncio.create_task(client.post(f"/v1/sessions/{sid}/answers", json=body))

            first = reread(0)
            await asyncio.to_thread(wait_for, lambda: server.metric("rmt_rereads") == 1, what="it to be read")
            waiting = [reread(1), reread(2)]
            await asyncio.sleep(0.3)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await asyncio.sleep(0.3)
            last = reread(3)
            await asyncio.sleep(0.3)
            throttle.open.set()
            await first
            return await last

    assert asyncio.run(come_and_go()).status_code == 200


def test_one_call_does_not_fill_the_queue(start_server: ServerFactory) -> None:
    server = start_server(max_waiting_questions=16, max_focuses=16)
    sid = server.read(text(3000))
    asked = [f"Where is number {number}?" for number in range(40)]
    answers = ask(server, sid, questions=asked, mode="reread", max_tokens=2)["answers"]
    assert [one["question"] for one in answers] == asked
    along = server.http.get(f"/v1/sessions/{sid}/timeline", params={"question": "Who?"})
    assert along.status_code == 200
    assert all(point["guess"] is not None for point in along.json()["points"])


def test_what_was_read_for_a_caller_who_left_is_counted(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine, max_tenant_tokens_day=1 << 40)
    sid = server.read(text(30_000))

    def spent() -> int:
        with redis.Redis.from_url(server.redis_url) as bare:
            (name,) = bare.keys("*:tokens:*")
            return int(bare.get(name))

    before = spent()
    throttle.seconds = 0.02
    with begun(server, sid) as (_, told):
        pass
    wait_for(lambda: server.metric("rmt_rereads") == 0, 5, "the rereading to end")
    wait_for(lambda: spent() > before, 5, "the tokens to be counted")
    assert told.data["tokens"] <= spent() - before < server.look(sid)["tokens"]


def test_who_waits_for_a_rereading_is_told_when_the_engine_breaks(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine)
    sid = server.read(text(3000))

    def broken(memory: Any) -> Any:
        raise RuntimeError("the device is on fire")

    engine.open = broken  # type: ignore[method-assign]
    body = {"question": "Who?", "mode": "reread"}
    answer = server.http.post(f"/v1/sessions/{sid}/answers", json=body, timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "fire" not in answer.text
    assert server.http.get("/livez").status_code == 503
