"""Requests as they are built, answers as they are read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rmt_client import errors, protocol, resumable
from rmt_client.errors import ProblemError, ProtocolError, RmtError
from rmt_client.models import Health
from rmt_client.wire import READ_TIMEOUT_S, Response

PROBLEM = {
    "type": "https://rmt/problems/offset",
    "title": "Offset mismatch",
    "status": 409,
    "detail": "The upload is at 5.",
    "instance": "/v1/x",
    "request_id": "r1",
    "expected-offset": 5,
    "provided-offset": 7,
}
ANSWERS = {
    "answers": [
        {
            "question": "Where is Mary?",
            "answer": "garden",
            "outcome": "answered",
            "citations": [
                {
                    "document_id": "d",
                    "document": None,
                    "start": 100,
                    "end": 129,
                    "start_char": 90,
                    "end_char": 116,
                    "answer_start": 118,
                    "answer_end": 124,
                    "quote": "Märy sits in the garden. …",
                    "score": 1.5,
                    "new": 0,
                }
            ],
            "verified": None,
            "notice": None,
            "guess": "garden",
            "confidence": 0.5,
            "probability": 0.4,
            "margin": 0.1,
            "mode": "recall",
            "lane": None,
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 5, "completion_tokens": 1, "new": 0},
            "trace": None,
        }
    ],
    "position": {"bytes": 1, "tokens": 2, "segments": 3, "revision": 4, "digest": "d"},
}


def said(body: object, status: int = 200, **headers: str) -> Response:
    return Response(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()
    )


def test_what_is_not_given_is_not_sent() -> None:
    request = protocol.create_session("key", focus=["a"], ttl_s=None, keep_text=False).request
    assert (request.method, request.path) == ("POST", "/v1/sessions")
    assert request.json == {"focus": ["a"], "keep_text": False}
    assert request.headers == {"Idempotency-Key": "key"}
    assert protocol.create_session("key").request.json == {}
    assert protocol.list_sessions(limit=5, after=None).request.params == {"limit": "5"}
    assert protocol.update_session("s", metadata=None, ttl_s=9, revision=3).request.headers == {"If-Match": '"3"'}
    assert protocol.ask("s", ["q"], None, lane=0).request.json == {"questions": ["q"], "lane": 0}
    assert protocol.ask("s", ["q"], None, documents=["d"]).request.json == {"questions": ["q"], "documents": ["d"]}
    assert protocol.ask("s", ["q"], None).request.read_timeout_s is None


def test_calls_wait_for_as_long_as_is_documented() -> None:
    client = Path(__file__).resolve().parents[2] / "docs" / "client.md"
    assert (
        f"wait {READ_TIMEOUT_S:g} s for an answer, except `create_snapshot`, `search`, `trace` and `timeline`"
        in client.read_text()
    )
    calls = [
        protocol.status(),
        protocol.create_session("key"),
        protocol.get_session("s"),
        protocol.restore_session("s", "n", revision=None),
        protocol.export_snapshot("n"),
        protocol.movements("s", lane=0),
        protocol.import_snapshot("key", b"", name=None),
    ]
    assert {call.request.read_timeout_s for call in calls} == {READ_TIMEOUT_S}
    patient = [
        protocol.create_snapshot("key", "s", name=None, metadata=None, ttl_s=None),
        protocol.trace("s", "Who?", answer=None),
        protocol.timeline("s", question=None, lane=None, vectors=False),
        protocol.search("s", "key", limit=None, documents=None, wait=None),
    ]
    assert {call.request.read_timeout_s for call in patient} == {None}


def test_ids_are_one_part_of_the_path() -> None:
    assert protocol.get_session("a/../b?c").request.path == "/v1/sessions/a%2F..%2Fb%3Fc"
    assert protocol.get_snapshot("ä").request.path == "/v1/snapshots/%C3%A4"


def test_upload_requests() -> None:
    opening = resumable.open_upload("s", idempotency_key="k", length=7)
    assert opening.headers["Upload-Complete"] == "?0"
    assert opening.headers["Upload-Length"] == "7"
    assert "Upload-Length" not in resumable.open_upload("s", idempotency_key="k", length=None).headers
    sending = resumable.append("s", "d", b"ab", offset=3, last=True)
    assert (sending.method, sending.path, sending.content) == ("PATCH", "/v1/sessions/s/documents/d", b"ab")
    assert sending.headers == {
        "Content-Type": "application/partial-upload",
        "Content-Digest": "sha-256=:+44g/C5MPySMYMOb1lLzwTRymLuXe4tNWQO4UFViBgM=:",
        "Upload-Offset": "3",
        "Upload-Complete": "?1",
    }


def test_upload_answers() -> None:
    headers = {"upload-offset": "3", "upload-complete": "?1", "upload-limit": "max-size=9, max-append-size=4"}
    assert resumable.point(Response(204, headers)) == resumable.Point(3, True, 4)
    assert resumable.point(Response(204, {"upload-offset": "0"})) == resumable.Point(0, False, None)
    with pytest.raises(ProtocolError, match="without its Upload-Offset"):
        resumable.point(Response(204))


def test_a_problem_keeps_all_that_it_says() -> None:
    with pytest.raises(errors.ConflictError) as raised:
        protocol.get_session("s").parse(said(PROBLEM, 409, retry_after="7"))
    problem = raised.value
    assert str(problem) == problem.detail == "The upload is at 5."
    assert (problem.type, problem.title, problem.status) == (PROBLEM["type"], "Offset mismatch", 409)
    assert (problem.request_id, problem.retry_after_s) == ("r1", 7.0)
    assert problem.fields == {"expected-offset": 5, "provided-offset": 7}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequestError),
        (401, errors.UnauthorizedError),
        (403, errors.UnauthorizedError),
        (404, errors.NotFoundError),
        (405, errors.ProblemError),
        (409, errors.ConflictError),
        (412, errors.StaleError),
        (413, errors.TooLargeError),
        (422, errors.InvalidError),
        (429, errors.RateLimitedError),
        (500, errors.ServerError),
        (502, errors.UnavailableError),
        (503, errors.UnavailableError),
    ],
)
def test_every_status_has_its_error(status: int, kind: type[ProblemError]) -> None:
    for body in (b"", b"<html>", b"[]", b"{}"):
        with pytest.raises(ProblemError) as raised:
            protocol.delete_session("s").parse(Response(status, {"x-request-id": "r9"}, body))
        assert type(raised.value) is kind
        assert str(raised.value) == f"HTTP {status}"
        assert raised.value.request_id == "r9"


def test_the_tree_of_errors_is_drawn_whole() -> None:
    def below(kind: type[RmtError]) -> set[str]:
        return {kind.__name__}.union(*map(below, kind.__subclasses__()))

    assert errors.__doc__
    drawn = {word for word in errors.__doc__.split() if word.endswith("Error")}
    assert drawn == below(RmtError)


def test_answers_are_read_and_new_fields_ignored() -> None:
    answers = protocol.ask("s", ["Where is Mary?"], None).parse(said(ANSWERS))
    assert answers.answers[0].answer == "garden"
    assert answers.answers[0].confidence == 0.5
    assert answers.answers[0].usage.completion_tokens == 1
    assert answers.answers[0].outcome == "answered"
    (citation,) = answers.answers[0].citations
    assert citation.parts == ("Märy sits in the ", "garden", ". …")
    assert (citation.document_id, citation.start_char, citation.page, citation.section) == ("d", 90, None, None)
    assert answers.position.revision == 4


def test_times_are_times() -> None:
    snapshot = {
        "id": "n",
        "session_id": None,
        "document_id": None,
        "name": None,
        "metadata": {},
        "created_at": "2026-01-02T03:04:05.5Z",
        "expires_at": None,
        "model": "m",
        "focus": ["a"],
        "bytes": 1,
        "tokens": 1,
        "segments": 1,
        "size_bytes": 1,
        "digest": "d",
    }
    read = protocol.get_snapshot("n").parse(said(snapshot))
    assert read.created_at == datetime(2026, 1, 2, 3, 4, 5, 500_000, UTC)
    assert read.expires_at is None
    with pytest.raises(ProtocolError, match="size_bytes"):
        protocol.get_snapshot("n").parse(said({n: v for n, v in snapshot.items() if n != "size_bytes"}))


@pytest.mark.parametrize("body", [b"<html>", b"null", b"[1]", b'"text"', b"{}"])
def test_an_answer_of_another_server_is_recognised(body: bytes) -> None:
    for call in (protocol.get_session("s"), protocol.list_sessions(limit=1, after=None), protocol.status()):
        with pytest.raises(ProtocolError):
            call.parse(Response(200, {}, body))
    with pytest.raises(ProtocolError, match="302"):
        protocol.get_session("s").parse(Response(302))


def test_status() -> None:
    assert protocol.status().parse(said({"status": "ready"})) == Health(True, "ready")
    assert protocol.status().parse(said({"status": "loading"}, 503)) == Health(False, "loading")
    assert protocol.status().parse(said({"title": "Draining", "status": 503}, 503)) == Health(False, "Draining")
    assert protocol.status().parse(Response(502, {}, b"<html>")) == Health(False, "HTTP 502")


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("", None), ("Fri, 31 Dec 2027", None), ("-1", None)])
def test_retry_after(value: str, seconds: float | None) -> None:
    assert Response(503, {"retry-after": value}).retry_after_s == seconds
