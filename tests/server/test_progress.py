"""Long calls with `Accept: text/event-stream`: progress while they wait, then what the plain call answers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.server.event_reader import EventReader
from tests.server.obstacles import Throttle
from tests.serving import TEXT_PLAIN, Server, ServerFactory, text, wait_for

from rmt_model.engine import Engine

EVENTS = {"Accept": "text/event-stream"}
LONG = text(20_000)


@contextmanager
def streamed(server: Server, path: str, headers: dict[str, str] | None = None, **request: Any) -> Iterator[EventReader]:
    headers = EVENTS | (headers or {})
    with httpx.stream("POST", server.url + path, headers=headers, timeout=60, **request) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield EventReader(answer)


def ids_of(body: Any) -> set[str]:
    """What differs between two calls that do the same."""
    return {"id", "session_id", "created_at", "expires_at", "start", "revision", "documents"}


def without_ids(body: Any) -> Any:
    match body:
        case dict():
            return {name: without_ids(value) for name, value in body.items() if name not in ids_of(body)}
        case list():
            return [without_ids(one) for one in body]
    return body


def document(server: Server) -> tuple[str, dict[str, Any]]:
    return f"/v1/sessions/{server.session()}/documents?wait=true", {"content": LONG, "headers": TEXT_PLAIN}


def one_call(server: Server) -> tuple[str, dict[str, Any]]:
    return "/v1/documents?wait=true", {"json": {"text": LONG.decode(), "questions": ["Where is Mary?"]}}


def answers(server: Server) -> tuple[str, dict[str, Any]]:
    sid = server.session()
    server.send(sid, LONG)
    return f"/v1/sessions/{sid}/answers", {"json": {"questions": ["Where is Mary?", "Who?"]}}


def snapshot(server: Server) -> tuple[str, dict[str, Any]]:
    sid = server.session()
    server.send(sid, LONG)
    return f"/v1/sessions/{sid}/snapshots", {"json": {"name": "kept"}}


CALLS = [document, one_call, answers, snapshot]
Call = Callable[[Server], tuple[str, dict[str, Any]]]


@pytest.mark.parametrize("call", CALLS)
def test_a_long_call_tells_its_progress_and_then_what_the_plain_one_answers(
    start_server: ServerFactory, engine: Engine, throttle: Throttle, call: Call
) -> None:
    throttle.seconds = 0.002
    server = start_server(engine)
    path, request = call(server)
    with streamed(server, path, **request) as reader:
        *progress, result = reader
        known_at_once = reader.answer.headers
    assert [event.kind for event in (*progress, result)] == ["progress"] * len(progress) + ["result"]
    assert len(progress) >= 2
    reached = [event.data["read_bytes"] for event in progress]
    assert reached == sorted(reached)
    assert reached[-1] == len(LONG)
    path, request = call(server)
    plain = server.http.post(path, **request)
    assert result.data["status"] == plain.status_code
    assert without_ids(result.data["body"]) == without_ids(plain.json())
    told = {"location", "upload-offset", "upload-complete", "upload-length", "upload-limit"}
    assert result.data["headers"].keys() & told == plain.headers.keys() & told
    assert known_at_once.keys() & told == (set() if call is snapshot else plain.headers.keys() & told)


def test_without_wait_the_documents_are_waited_for_all_the_same(server: Server) -> None:
    with streamed(server, "/v1/documents", content=LONG, headers=TEXT_PLAIN) as reader:
        *_, result = reader
    assert (result.data["status"], result.data["body"]["document"]["read"]) == (200, True)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/sessions/ses_none/answers", {"question": "Who?"}, 404),
        ("/v1/sessions/ses_none/snapshots", {}, 404),
        ("/v1/sessions/{sid}/answers", {"question": "Who?", "lane": 5}, 422),
        ("/v1/sessions/{sid}/answers", {"question": " "}, 422),
        ("/v1/sessions/{sid}/answers", {"question": "Who?", "snapshot": "snp_none"}, 404),
        ("/v1/documents", {"text": "x", "questions": [" "]}, 422),
    ],
)
def test_what_is_refused_at_once_is_a_plain_problem(server: Server, path: str, body: Any, status: int) -> None:
    answer = server.http.post(path.format(sid=server.session()), json=body, headers=EVENTS)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_what_fails_later_is_an_error_event(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    server = start_server(engine)
    throttle.open.clear()
    path, request = answers(server)
    with streamed(server, path, **request) as reader:
        next(reader)
        assert server.http.delete(path.removesuffix("/answers")).status_code == 204
        (error,) = reader
    assert (error.kind, error.data["status"], error.data["instance"]) == ("error", 404, path)
    assert error.data["request_id"] == reader.answer.headers["X-Request-Id"]


def test_a_server_that_stops_says_so_in_the_stream(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine)
    throttle.open.clear()
    path, request = snapshot(server)
    with streamed(server, path, **request) as reader:
        next(reader)
        server.scheduler.stop()
        throttle.open.set()
        *_, error = reader
    assert (error.kind, error.data["status"]) == ("error", 503)


def test_while_nothing_moves_comments_come(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    server = start_server(engine, event_ping_s=0.05)
    throttle.open.clear()
    path, request = answers(server)
    with streamed(server, path, **request) as reader:
        next(reader)
        assert ": ping" in reader._lines
        throttle.open.set()
        assert list(reader)[-1].kind == "result"


def test_whoever_leaves_ends_the_work(start_server: ServerFactory, engine: Engine, throttle: Throttle) -> None:
    server = start_server(engine)
    throttle.open.clear()
    path, request = answers(server)
    with streamed(server, path, **request) as reader:
        next(reader)
        watchers = server.scheduler._watchers
        wait_for(lambda: watchers, what="the call to wait")
    wait_for(lambda: not watchers, what="the work to end")
    throttle.open.set()
