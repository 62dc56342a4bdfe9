"""Asking: words as they are decoded, many questions at once, reading once more, and callers who leave."""

import asyncio
import json
import socket
import time
from typing import Any

import httpx
import pytest
from tests.server.event_reader import Event, EventReader
from tests.server.obstacles import Throttle
from tests.serving import Server, ServerFactory, text, wait_for

from rmt_model.engine import Engine

DATA = text(6000)
QUESTIONS = ["Where is Mary?", "Who went to the office?", "Where is Sandra?"]


def ask(server: Server, sid: str, **body: Any) -> dict[str, Any]:
    answer = server.http.post(f"/v1/sessions/{sid}/answers", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def streamed(server: Server, sid: str, **body: Any) -> list[Event]:
    path = f"{server.url}/v1/sessions/{sid}/answers"
    with httpx.stream("POST", path, json={"stream": True, **body}, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        return list(EventReader(answer))


def words(events: list[Event]) -> dict[int, str]:
    found: dict[int, str] = {}
    for event in events:
        if event.kind == "delta":
            found[event.data["question"]] = found.get(event.data["question"], "") + event.data["text"]
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two answers are the same, but for rounding, lane and mode."""
    numbers = ("confidence", "probability", "margin")
    assert [one[name] for name in numbers] == pytest.approx([other[name] for name in numbers], rel=1e-2, abs=1e-6)
    names = ("question", "answer", "guess", "outcome", "finish_reason", "usage")
    return [one[name] for name in names] == [other[name] for name in names]


# ---------------------------------------------------------------------------- streaming


def test_words_come_as_they_are_decoded_and_are_the_answer(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    throttle.seconds_a_token = 0.01
    server = start_server(engine)
    sid = server.read(DATA)
    events = streamed(server, sid, questions=QUESTIONS, max_tokens=24)
    assert events[-1].kind == "result"
    assert sum(event.kind == "delta" for event in events) > 3
    result = events[-1].data
    plain = ask(server, sid, questions=QUESTIONS, max_tokens=24)
    assert result["status"] == 200
    assert result["body"]["position"] == plain["position"]
    for number, (told, asked) in enumerate(zip(result["body"]["answers"], plain["answers"], strict=True)):
        assert same(told, asked)
        assert words(events).get(number, "") == told["answer"]


def test_an_answer_of_the_surest_lane_is_told_when_it_is_known(server: Server) -> None:
    sid = server.read(DATA, focus=QUESTIONS[:2])
    events = streamed(server, sid, question="Why?", max_tokens=8)
    assert words(events) == {0: events[-1].data["body"]["answers"][0]["answer"]}
    assert [event.kind for event in events[-2:]] == ["delta", "result"]


def test_what_is_refused_at_once_is_a_plain_problem(server: Server) -> None:
    sid = server.session()
    answer = server.http.post(f"/v1/sessions/{sid}/answers", json={"question": " ", "stream": True})
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")


def test_a_caller_who_leaves_ends_decoding_within_a_step(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    throttle.seconds_a_token = 0.05
    server = start_server(engine)
    sid = server.read(DATA)
    body = {"question": "Who?", "max_tokens": 200, "stream": True, "temperature": 2, "seed": 1}
    with httpx.stream("POST", f"{server.url}/v1/sessions/{sid}/answers", json=body, timeout=60) as answer:
        next(EventReader(answer))
    at_leaving = throttle.tokens_decoded
    time.sleep(0.5)
    soon_after = throttle.tokens_decoded
    time.sleep(0.5)
    assert throttle.tokens_decoded == soon_after <= at_leaving + 3
    throttle.seconds_a_token = 0.0
    assert server.ask(sid, "Who?")["guess"] is not None


def test_a_reader_that_takes_nothing_is_cut_off_and_holds_nobody_up(
    start_server: ServerFactory, engine: Engine
) -> None:
    server = start_server(engine, send_idle_s=0.5)
    sid = server.read(DATA)
    body = json.dumps({"question": "Who?", "max_tokens": 200, "stream": True, "temperature": 2}).encode()
    head = f"POST /v1/sessions/{sid}/answers HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    host, port = server.http.base_url.host, server.http.base_url.port
    with socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        idle.connect((host, port))
        idle.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert server.ask(sid, "Where is Mary?")["guess"] is not None
        wait_for(lambda: server.metric("rmt_answers_total") >= 2, what="both answers to be decoded")


# ---------------------------------------------------------------------------- many at once


def test_sixty_four_questions_of_one_call_are_one_batch(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine)
    sid = server.read(DATA)
    batches: list[int] = []
    decode = engine.decode

    def counted(memory: Any, prompts: Any) -> Any:
        batches.append(len(prompts))
        return decode(memory, prompts)

    engine.decode = counted  # type: ignore[method-assign]
    asked = [f"Where is number {n}?" for n in range(64)]
    answers = ask(server, sid, questions=asked, max_tokens=4)["answers"]
    assert batches == [64]
    assert [one["question"] for one in answers] == asked
    for number in (0, 31, 63):
        assert same(answers[number], ask(server, sid, question=asked[number], max_tokens=4)["answers"][0])


def test_callers_at_the_same_time_share_a_batch(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine)
    sids = [server.read(text(3000, seed)) for seed in range(3)]
    wanted = [server.ask(sid, "Who?") for sid in sids]
    batches: list[int] = []
    decode = engine.decode

    def counted(memory: Any, prompts: Any) -> Any:
        batches.append(len(prompts))
        return decode(memory, prompts)

    engine.decode = counted  # type: ignore[method-assign]
    throttle.open.clear()  # the first call is begun alone, and the others wait behind it

    async def all_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            calls = [client.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?"}) for sid in sids * 3]
            asyncio.get_running_loop().call_later(1.0, throttle.open.set)
            return await asyncio.gather(*calls)

    found = [answer.json()["answers"][0] for answer in asyncio.run(all_at_once())]
    assert sum(batches) == 9
    assert max(batches) >= 4
    assert all(same(one, wanted[number % 3]) for number, one in enumerate(found))


def test_options_choose_how_tokens_are_drawn(server: Server) -> None:
    sid = server.read(DATA)
    drawn = [
        server.ask(sid, "Who?", temperature=1.5, top_p=0.99, seed=seed, max_tokens=12)["guess"] for seed in (1, 1, 2, 3)
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    whole = server.ask(sid, "Who?", max_tokens=40)["guess"]
    assert len(whole) > 3
    cut = server.ask(sid, "Who?", max_tokens=40, stop=whole[2])
    assert cut["guess"] == whole[: whole.index(whole[2])].strip()
    assert cut["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "body",
    [
        {"mode": "guess"},
        {"mode": "reread", "lane": 0},
        {"mode": "auto", "lane": 0},
        {"mode": "reread", "snapshot": "snp_x"},
        {"mode": "reread", "wait": False},
        {"temperature": -1},
        {"temperature": 2.1},
        {"top_p": 0},
        {"top_p": 1.5},
        {"seed": -1},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"stop": ""},
        {"stop": ["x" * 65]},
        {"questions": ["Who?"]},
        {"max_tokens": 0},
    ],
)
def test_options_that_are_wrong_or_contradict_each_other_are_refused(server: Server, body: dict[str, Any]) -> None:
    sid = server.session()
    answer = server.http.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?", **body})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"], "the problem says which field is wrong"
