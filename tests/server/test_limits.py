"""Every bound of docs/server-behavior.md: at it a request is accepted; beyond it the answer is as documented."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.server.obstacles import Throttle, in_background
from tests.serving import Server, ServerFactory, text, wait_for

from rmt_model.engine import Engine
from rmt_server.embedded_redis import EmbeddedRedis
from rmt_server.settings import MOST_ENTRIES

LIMITS = {
    "max_question_bytes": 40,
    "max_focuses": 3,
    "max_questions": 4,
    "max_answer_tokens": 5,
    "max_metadata_bytes": 30,
    "max_ttl_s": 1000,
}


@pytest.fixture(scope="module")
def tight(service_redis: EmbeddedRedis, make_engine: Any) -> Iterator[Server]:
    """A server with small limits."""
    with Server(service_redis.url, make_engine(), LIMITS) as server:
        yield server


@pytest.fixture(scope="module")
def read(tight: Server) -> str:
    """A session that has read something."""
    return tight.read(text(500))


def refused(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem that an answer is."""
    assert answer.status_code == status, answer.text
    found = dict(answer.json())
    assert found["type"].endswith(f":{slug}"), found
    return found


# ---------------------------------------------------------------------------- JSON and questions


def test_a_question_of_the_largest_size_is_asked_and_a_longer_one_is_not(tight: Server, read: str) -> None:
    for size, fits in ((40, True), (41, False)):
        question = {"question": ("Who? " * 9)[: size - 2] + "é"}
        answer = tight.http.post(f"/v1/sessions/{read}/answers", json=question)
        focus = tight.http.post("/v1/sessions", json={"focus": [question["question"]]})
        if fits:
            assert (answer.status_code, focus.status_code) == (200, 201), answer.text + focus.text
        else:
            refused(answer, 422, "question-too-long")
            refused(focus, 422, "question-too-long")


def test_an_endless_question_costs_nothing(tight: Server, read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(question: str) -> Any:
        raise AssertionError(f"tokens of {len(question)} characters are counted")

    monkeypatch.setattr(tight.scheduler.engine.prompts, "question", count)
    answer = tight.http.post(f"/v1/sessions/{read}/answers", json={"question": "Who? " * 1_000_000})
    refused(answer, 422, "question-too-long")


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("focus", lambda n: ["Who?"] * n),
        ("metadata", lambda n: {str(i): "" for i in range(n)}),
        ("questions", lambda n: ["Who?"] * n),
    ],
    ids=["focus", "metadata", "questions"],
)
def test_lists_and_objects_have_a_largest_length(tight: Server, read: str, name: str, entries: Any) -> None:
    path = f"/v1/sessions/{read}/answers" if name == "questions" else "/v1/sessions"
    kinds = []
    for count in (MOST_ENTRIES, MOST_ENTRIES + 1):
        problem = refused(tight.http.post(path, json={name: entries(count)}), 422, "unprocessable")
        kinds.append(problem.get("errors", [{}])[0].get("kind"))
    assert kinds == [None, "too_long"]  # the first one meets the server's own limit


def test_json_may_be_as_deep_as_its_models_and_no_deeper(tight: Server, read: str) -> None:
    path, headers = f"/v1/sessions/{read}", {"Content-Type": "application/json"}
    assert tight.http.patch(path, content=b'{"metadata": {"a": "b"}}', headers=headers).status_code == 200
    for deeper in (b'{"metadata": {"a": ["b"]}}', b'{"metadata": ' + b'{"a":' * 500 + b"1" + b"}" * 501):
        refused(tight.http.patch(path, content=deeper, headers=headers), 422, "unprocessable")
    endless = b'{"metadata": ' + b'{"a":' * 100_000
    refused(tight.http.patch(path, content=endless, headers=headers), 400, "bad-request")
    assert tight.look(read)["metadata"] == {"a": "b"}


def test_as_many_focuses_as_allowed(tight: Server) -> None:
    assert tight.http.post("/v1/sessions", json={"focus": ["Who?"] * 3}).status_code == 201
    refused(tight.http.post("/v1/sessions", json={"focus": ["Who?"] * 4}), 422, "unprocessable")


def test_as_many_questions_as_allowed(tight: Server, read: str) -> None:
    path = f"/v1/sessions/{read}/answers"
    answer = tight.http.post(path, json={"questions": ["Who?"] * 4})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["answers"]) == 4
    refused(tight.http.post(path, json={"questions": ["Who?"] * 5}), 422, "unprocessable")


def test_answers_as_long_as_allowed(tight: Server, read: str) -> None:
    path = f"/v1/sessions/{read}/answers"
    assert tight.http.post(path, json={"question": "Who?", "max_tokens": 5}).status_code == 200
    refused(tight.http.post(path, json={"question": "Who?", "max_tokens": 6}), 422, "unprocessable")


def test_metadata_as_large_as_allowed(tight: Server) -> None:
    largest = {"a": "x" * (30 - len(json.dumps({"a": ""})))}
    assert tight.http.post("/v1/sessions", json={"metadata": largest}).status_code == 201
    refused(tight.http.post("/v1/sessions", json={"metadata": {"a": largest["a"] + "x"}}), 422, "unprocessable")


def test_as_long_a_life_as_allowed(tight: Server) -> None:
    assert tight.http.post("/v1/sessions", json={"ttl_s": 1000}).status_code == 201
    refused(tight.http.post("/v1/sessions", json={"ttl_s": 1001}), 422, "unprocessable")


# ---------------------------------------------------------------------------- waiting


def test_questions_of_all_calls_together_wait(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    server = start_server(engine, max_waiting_questions=3)
    path = f"/v1/sessions/{server.read(text(500))}/answers"

    def ask(count: int) -> httpx.Response:
        return server.http.post(path, json={"questions": ["Who?"] * count})

    throttle.open.clear()
    before = throttle.arrived
    with in_background(lambda: ask(1)) as begun:  # the engine has taken it, and stands still
        wait_for(lambda: throttle.arrived > before)
        with in_background(lambda: ask(2)) as second:
            wait_for(lambda: server.metric("rmt_waiting_questions") == 2, what="two questions to wait")
            refused(ask(2), 503, "busy")
            with in_background(lambda: ask(1)) as third:
                wait_for(lambda: server.metric("rmt_waiting_questions") == 3, what="three questions to wait")
                assert refused(ask(1), 503, "busy")["detail"] == "3 questions wait for the engine."
                throttle.open.set()
    assert [one[0].status_code for one in (begun, second, third)] == [200, 200, 200]


def test_a_question_does_not_wait_for_ever(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    server = start_server(engine, answer_wait_s=0.5)
    path = f"/v1/sessions/{server.read(text(500))}/answers"
    throttle.open.clear()
    before = throttle.arrived
    with in_background(lambda: server.http.post(path, json={"question": "Who?"})) as begun:
        wait_for(lambda: throttle.arrived > before)
        refused(server.http.post(path, json={"question": "Who?"}), 503, "busy")
        throttle.open.set()
    assert begun[0].status_code == 200  # what the engine has begun with is answered, however long it takes


# ---------------------------------------------------------------------------- quotas


def test_quotas_over_http(start_server: ServerFactory) -> None:
    server = start_server(max_tenant_sessions=2, max_tenant_snapshots=1)
    sid = server.read(text(500))
    keyed = {"Idempotency-Key": "k"}
    second = server.http.post("/v1/sessions", json={}, headers=keyed)
    assert second.status_code == 201
    found = refused(server.http.post("/v1/sessions", json={}), 403, "quota-exceeded")
    assert (found["quota"], found["limit"], found["used"]) == ("sessions", 2, 2)
    refused(server.http.post("/v1/documents", content=b"Mary"), 403, "quota-exceeded")
    again = server.http.post("/v1/sessions", json={}, headers=keyed)
    assert again.json()["id"] == second.json()["id"]
    snapshot = server.snapshot(sid)
    refused(server.http.post(f"/v1/sessions/{sid}/snapshots", json={}), 403, "quota-exceeded")
    content = {"content": server.content(snapshot), "headers": {"Content-Type": "application/vnd.safetensors"}}
    refused(server.http.post("/v1/snapshots", **content), 403, "quota-exceeded")
    assert server.http.delete(f"/v1/snapshots/{snapshot}").status_code == 204
    assert server.http.post("/v1/snapshots", **content).status_code == 201
    assert server.http.delete(f"/v1/sessions/{sid}").status_code == 204
    assert server.http.post("/v1/sessions", json={}).status_code == 201


def test_kept_bytes_over_http(start_server: ServerFactory) -> None:
    server = start_server(max_tenant_kept_bytes=200_000)
    sid = server.session()
    document = server.open(sid)
    found = refused(server.append(document, text(250_000), 0), 403, "quota-exceeded")
    assert (found["quota"], found["limit"]) == ("kept_bytes", 200_000)
    accepted = int(server.http.head(document).headers["Upload-Offset"])
    assert 0 < accepted < 200_000  # what came before stays, and is read
    assert server.http.delete(document).status_code == 204
    assert server.wait_until_read(sid)["read_bytes"] == accepted
    refused(server.http.post("/v1/documents", content=text(100_000)), 403, "quota-exceeded")
    assert [one["id"] for one in server.http.get("/v1/sessions").json()["sessions"]] == [sid]


def test_unread_bytes_of_a_tenant_hold_its_senders_back(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine, max_tenant_unread_bytes=10_000, back_pressure_wait_s=0.3)
    throttle.open.clear()
    assert server.http.post("/v1/documents", content=text(10_000)).status_code == 202
    other = server.session()
    path = f"/v1/sessions/{other}/documents"
    refused(server.http.post(path, content=b"M", headers={"Content-Type": "text/plain"}), 503, "back-pressure")
    throttle.open.set()
    assert server.send(other, text(10_000, seed=1), wait=True)["read"]


def test_tokens_of_a_day_over_http(start_server: ServerFactory) -> None:
    server = start_server(max_tenant_tokens_day=100)
    sid = server.read(text(2000))  # accepted as a whole, so read as a whole
    assert server.look(sid)["tokens"] >= 100
    asking = server.http.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?"})
    sending = server.http.post(f"/v1/sessions/{sid}/documents", content=b"Mary", headers={"Content-Type": "text/plain"})
    for answer in (asking, sending):
        assert refused(answer, 429, "tokens-spent")["limit"] == 100
        assert 0 < int(answer.headers["Retry-After"]) <= 86_400
    assert server.wait_until_read(sid)["read_bytes"] == 2000
