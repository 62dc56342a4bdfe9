"""Every bound of docs/server-behavior.md: at it a request is accepted; beyond it the answer is as documented."""

import ast
import json
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.conftest import StoreBench
from tests.server.obstacles import Throttle, in_background
from tests.serving import ProcessFactory, Server, ServerFactory, text, wait_for

from rmt_model.engine import Engine
from rmt_model.state import ReaderState
from rmt_server.errors import DocumentNotFoundError
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.settings import MOST_ENTRIES, Settings
from rmt_server.store import FINISHED_DOCUMENTS

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


# ---------------------------------------------------------------------------- a test for each bound

TESTS = {
    "`RMT_MAX_ANSWER_LANES`": "test_limits.py::test_answers_side_by_side_at_their_limit",
    "`RMT_MAX_REREADS`": "test_rereading.py::test_too_many_rereadings_are_told_to_come_back",
    "`RMT_MAX_WAITING_REREADS`": "test_rereading.py::test_too_many_rereadings_are_told_to_come_back",
    "`RMT_AUTO_SNAPSHOTS`": "test_snapshots.py::test_only_the_last_are_kept",
    "`RMT_TIMELINE_POINTS`": "test_tracing.py::test_a_timeline_is_evenly_spaced_and_bounded",
    "`RMT_MAX_TIMELINE_BYTES`": "test_tracing.py::test_its_size_is_bounded_too",
    "movements of a session": "test_movements.py::test_a_long_text_has_several_segments_a_column",
    "`RMT_CHAT_TTL_S`": "test_limits.py::test_what_a_chat_has_read_goes_after_its_time",
    "`RMT_MAX_DOCUMENT_BYTES`": "test_refusals.py::test_exactly_the_limit_is_accepted",
    "`RMT_MAX_CONNECTIONS`": "test_protocol.py::test_as_many_connections_as_allowed_are_served_and_one_more_is_not",
    "`RMT_MAX_HEAD_BYTES`": "test_protocol.py::test_a_head_at_its_limit_is_served_and_one_byte_more_is_not",
    "`RMT_HEAD_TIMEOUT_S`": "test_protocol.py::test_a_head_that_comes_too_slowly_is_given_up",
    "`RMT_SEND_IDLE_S`": "test_protocol.py::test_a_reader_that_takes_nothing_is_cut_off",
    "`RMT_BODY_IDLE_S`": "test_bodies.py::test_of_an_upload_that_stalls_what_came_stays",
    "`RMT_MAX_JSON_BYTES`": "test_refusals.py::test_a_json_document_at_its_limit",
    "`RMT_MAX_UNREAD_BYTES`": "test_store_documents.py::test_back_pressure_at_the_limit",
    "`RMT_BACK_PRESSURE_WAIT_S`": "test_scheduler.py::test_back_pressure_ends_with_503_and_what_came_stays",
    "`RMT_RATE_LIMIT`": "test_rates.py::test_two_servers_share_one_limit",
    "`RMT_MAX_TENANT_SESSIONS`": "test_store_usage.py::test_sessions_at_their_quota",
    "`RMT_MAX_TENANT_SNAPSHOTS`": "test_store_usage.py::test_snapshots_at_their_quota",
    "`RMT_MAX_TENANT_KEPT_BYTES`": "test_store_usage.py::test_kept_bytes_at_their_quota",
    "`RMT_MAX_TENANT_UNREAD_BYTES`": "test_store_usage.py::test_unread_bytes_at_their_quota_are_back_pressure",
    "`RMT_MAX_TENANT_TOKENS_DAY`": "test_store_usage.py::test_tokens_of_a_day_at_their_quota",
    "`RMT_MAX_FOCUSES`": "test_limits.py::test_as_many_focuses_as_allowed",
    "`RMT_MAX_QUESTIONS`": "test_limits.py::test_as_many_questions_as_allowed",
    "`RMT_MAX_ANSWER_TOKENS`": "test_limits.py::test_answers_as_long_as_allowed",
    "`RMT_MAX_METADATA_BYTES`": "test_limits.py::test_metadata_as_large_as_allowed",
    "`RMT_MAX_QUESTION_BYTES`": "test_limits.py::test_a_question_of_the_largest_size_is_asked_and_a_longer_one_is_not",
    "`RMT_MAX_WAITING_QUESTIONS`": "test_limits.py::test_questions_of_all_calls_together_wait",
    "`RMT_ANSWER_WAIT_S`": "test_limits.py::test_a_question_does_not_wait_for_ever",
    "`RMT_READ_WAIT_S`": "test_scheduler.py::test_waiting_has_an_end",
    "`RMT_MAX_SEARCH_BYTES`": "test_search_indexes.py::test_indexes_take_no_more_than_allowed",
    "`RMT_MAX_SEARCH_INDEXES`": "test_search_indexes.py::test_the_least_lately_asked_goes",
    "`RMT_MAX_WAITING_SEARCHES`": (
        "test_search_indexes.py::test_a_long_build_holds_up_no_other_session_and_goes_on_without_its_caller"
    ),
    "`RMT_SESSION_TTL_S`": "test_store_sessions.py::test_a_session_expires_as_one",
    "`RMT_SNAPSHOT_TTL_S`": "test_store_snapshots.py::test_delete_and_expiry_leave_no_key",
    "`RMT_MAX_TTL_S`": "test_limits.py::test_as_long_a_life_as_allowed",
    "`RMT_MAX_READINGS`": "test_limits.py::test_no_more_sessions_are_read_at_once_than_allowed",
    "`RMT_TURN_S`": "test_scheduler.py::test_a_short_document_does_not_starve_behind_long_ones",
    "`RMT_MAX_BATCH_TOKENS`": "test_turns.py::test_a_step_reads_as_many_tokens_as_allowed",
    "`RMT_MAX_BATCH_LANES`": "test_scheduler.py::test_lanes_of_many_sessions_share_a_step",
    "`RMT_COMMIT_INTERVAL_S`": "test_limits.py::test_progress_is_stored_as_often_as_said",
    "`RMT_LEASE_S`": "test_store_leases.py::test_a_dead_readers_session_is_taken_over",
    "`RMT_POLL_S`": "test_scheduler.py::test_two_servers_share_the_work",
    "`RMT_MAX_EVENT_STREAMS`": "test_events.py::test_streams_are_bounded_and_give_their_place_back",
    "`RMT_EVENT_PING_S`": "test_events.py::test_a_silent_stream_sends_comments",
    "`RMT_DRAIN_S`": "test_limits.py::test_a_stop_does_not_wait_for_a_request_for_ever",
    "a question or focus": "test_refusals.py::test_an_empty_question_and_a_long_one_have_names",
    "entries of a list or an object in JSON": "test_limits.py::test_lists_and_objects_have_a_largest_length",
    "nesting of JSON": "test_limits.py::test_json_may_be_as_deep_as_its_models_and_no_deeper",
    "name of a document": "test_names.py::test_a_name_has_200_characters_at_most",
    "passages of a search": "test_search.py::test_what_cannot_be_searched_for",
    "passages that are read for a question": "test_evidence.py::test_no_more_passages_are_read_than_allowed",
    "citations of an answer": "test_evidence.py::test_no_more_citations_than_allowed",
    "characters of a citation": "test_evidence.py::test_no_more_is_cited_around_an_answer_than_allowed",
    "characters of a passage": "test_search_passages.py::test_without_spaces_or_sentences_passages_are_bounded",
    "different words of a query": "test_search_passages.py::test_a_query_has_a_largest_number_of_words",
    "page of a listing": "test_limits.py::test_a_page_as_long_as_allowed",
    "`Idempotency-Key`, `after`, snapshot name": "test_limits.py::test_keys_and_names_as_long_as_allowed",
    "`Upload-Offset`, `Upload-Length`": "test_limits.py::test_numbers_as_long_as_allowed",
    "a coded body": "test_bodies.py::test_limits_hold_for_what_code_stands_for",
    "parts of a form": "test_limits.py::test_a_form_of_as_many_parts_as_allowed",
    "one request of an upload": "test_routes.py::test_the_size_of_a_request_is_advised_and_not_demanded",
    "imported snapshot": "test_limits.py::test_a_snapshot_of_the_largest_size_is_looked_at_and_a_larger_one_is_not",
    "unread tokens in an imported snapshot": "test_refusals.py::test_a_snapshot_holds_no_more_than_a_reader_leaves",
    "values in the memory of an imported snapshot": "test_limits.py::test_a_memory_with_values_as_large_as_allowed",
    "bytes, tokens, segments, documents that an imported snapshot counts": (
        "test_refusals.py::test_a_snapshot_counts_no_further_than_redis"
    ),
    "complete documents waiting to be read, a session": ("test_store_documents.py::test_waiting_documents_are_bounded"),
    "records of documents that were read, a session": (
        "test_limits.py::test_records_of_the_last_so_many_documents_are_kept"
    ),
    "events that a session keeps": "test_store_events.py::test_the_last_so_many_events_are_kept",
    "text fetched ahead of the engine": "test_limits.py::test_text_is_fetched_a_little_ahead_of_the_engine",
    "connections to Redis": "test_store_connection.py::test_more_callers_than_connections_wait_their_turn",
    "answer of Redis": "test_store_connection.py::test_a_hung_redis_times_out",
    "header fields of a request": "test_protocol.py::test_as_many_fields_as_allowed_are_served_and_one_more_is_not",
    "idle HTTP connection": "test_protocol.py::test_a_connection_that_is_idle_for_too_long_is_closed",
}


def documented_bounds() -> list[str]:
    """The first cells of the tables of limits; one for each setting where a row has several."""
    document = (Path(__file__).parents[2] / "docs" / "server-behavior.md").read_text()
    section = document.partition("\n## Limits\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")]
    bounds = [cell for cell in cells if cell not in ("setting", "bound")]
    return [one for cell in bounds for one in (cell.split(", ") if cell.startswith("`RMT_") else [cell])]


@pytest.mark.parametrize("bound", documented_bounds())
def test_every_bound_has_a_test(bound: str) -> None:
    assert bound in TESTS, f"write a test at the limit of {bound}, and name it in TESTS"
    file, _, name = TESTS[bound].partition("::")
    tree = ast.parse((Path(__file__).parent / file).read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    assert name in {function.name for function in functions}


def test_settings_are_documented() -> None:
    document = (Path(__file__).parents[2] / "docs" / "server-behavior.md").read_text()
    assert [name for name in Settings.model_fields if f"`RMT_{name.upper()}`" not in document] == []


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


def test_a_page_as_long_as_allowed(tight: Server) -> None:
    assert tight.http.get("/v1/sessions", params={"limit": 100}).status_code == 200
    refused(tight.http.get("/v1/sessions", params={"limit": 101}), 422, "unprocessable")


def test_keys_and_names_as_long_as_allowed(tight: Server, read: str) -> None:
    def statuses(size: int) -> list[int]:
        name = "x" * size
        calls = (
            tight.http.post("/v1/sessions", json={}, headers={"Idempotency-Key": name}),
            tight.http.get("/v1/sessions", params={"after": name}),
            tight.http.post(f"/v1/sessions/{read}/snapshots", json={"name": name}),
        )
        return [answer.status_code for answer in calls]

    assert statuses(200) == [201, 200, 201]
    assert statuses(201) == [422, 422, 422]


def test_numbers_as_long_as_allowed(tight: Server) -> None:
    document = tight.open(tight.session())
    assert tight.append(document, b"x", "9" * 15).status_code == 409  # understood, and wrong
    refused(tight.append(document, b"x", "9" * 16), 400, "bad-request")
    assert tight.append(document, b"x", "0" * 15).status_code == 204


def test_a_form_of_as_many_parts_as_allowed(tight: Server) -> None:
    def send(parts: int) -> httpx.Response:
        field = b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n'
        file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nMary\r\n--b--\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        return tight.http.post("/v1/documents", content=field * (parts - 1) + file, headers=headers)

    assert send(64).status_code == 202
    refused(send(65), 400, "bad-request")


def test_a_snapshot_of_the_largest_size_is_looked_at_and_a_larger_one_is_not(tight: Server) -> None:
    limit = tight.app.state.service.max_snapshot_bytes
    headers = {"Content-Type": "application/vnd.safetensors"}
    refused(tight.http.post("/v1/snapshots", content=b"x" * limit, headers=headers), 422, "damaged-snapshot")
    found = refused(tight.http.post("/v1/snapshots", content=b"x" * (limit + 1), headers=headers), 413, "too-large")
    assert found["limit-bytes"] == limit


def test_a_memory_with_values_as_large_as_allowed(tight: Server, read: str) -> None:
    state = ReaderState.from_bytes(tight.state(read))
    headers = {"Content-Type": "application/vnd.safetensors"}
    for value, status in ((1e6, 201), (-1e6, 201), (np.nextafter(np.float32(1e6), np.float32(2e6)), 422)):
        memory = state.memory.copy()
        memory.flat[0] = value
        content = replace(state, memory=memory).to_bytes()
        answer = tight.http.post("/v1/snapshots", content=content, headers=headers)
        assert answer.status_code == status, answer.text


# ---------------------------------------------------------------------------- reading


async def test_records_of_the_last_so_many_documents_are_kept(bench: StoreBench) -> None:
    await bench.session()
    lease = None
    for number in range(FINISHED_DOCUMENTS + 1):
        await bench.document(b"x", f"d{number}")
        lease = lease or await bench.lease()
        lease = await bench.read(lease, number + 1, f"d{number}")
    assert (await bench.store.get_document("t", "s", "d1")).read
    with pytest.raises(DocumentNotFoundError):
        await bench.store.get_document("t", "s", "d0")


def test_no_more_sessions_are_read_at_once_than_allowed(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server = start_server(engine, max_readings=2)
    throttle.seconds = 0.01
    sids = [server.session() for _ in range(5)]
    for sid in sids:
        server.send(sid, text(4000))
    at_once = []
    while any(server.look(sid)["status"] == "reading" for sid in sids):
        at_once.append(server.metric("rmt_readings"))
    assert max(at_once) == 2 >= max(throttle.lanes_read)


@pytest.mark.parametrize(("interval_s", "seen"), [(0.01, True), (1000.0, False)])
def test_progress_is_stored_as_often_as_said(
    start_server: ServerFactory, engine: Engine, throttle: Throttle, interval_s: float, seen: bool
) -> None:
    server = start_server(engine, commit_interval_s=interval_s)
    throttle.seconds = 0.01
    sid = server.session()
    document = server.open(sid, text(40_000))
    steps = []
    while (session := server.look(sid))["status"] == "reading":
        steps.append(session["read_bytes"])
    assert any(0 < step < 40_000 for step in steps) is seen
    assert session["read_bytes"] == 40_000
    assert server.http.delete(document).status_code == 204


def test_text_is_fetched_a_little_ahead_of_the_engine(
    start_server: ServerFactory, engine: Engine, throttle: Throttle, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(engine)
    fetched: list[int] = []
    unread = server.app.state.store.unread

    async def counted(lease: Any, start: int, size: int) -> bytes:
        piece: bytes = await unread(lease, start, size)
        fetched.append(len(piece))
        return piece

    monkeypatch.setattr(server.app.state.store, "unread", counted)
    throttle.open.clear()
    before = throttle.arrived
    sid = server.session()
    server.send(sid, text(200_000))
    wait_for(lambda: throttle.arrived > before and fetched, what="the engine to stand still")
    assert set(fetched) == {4 * engine.checkpoint.config.segment_tokens * 4}  # four segments of tokens of four bytes
    assert len(fetched) <= 4  # a token of this text has two
    throttle.open.set()
    server.http.delete(f"/v1/sessions/{sid}")


def test_a_stop_does_not_wait_for_a_request_for_ever(start_process: ProcessFactory) -> None:
    server = start_process(drain_s=1, body_idle_s=60, head_timeout_s=60).wait_until_ready()
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 80), timeout=30) as line:
        line.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        line.sendall(b"Content-Length: 100\r\n\r\n{")  # and no more
        wait_for(lambda: server.http.get("/livez").status_code == 200)
        assert server.stop(signal.SIGTERM) == 0


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
    server = start_server(max_tenant_sessions=2, max_tenant_snapshots=1, auto_snapshots=0)
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
    session = server.wait_until_read(sid)
    assert (session["read_bytes"], session["documents"]) == (2000, 1)  # nothing was begun


def test_what_was_sent_is_found_again_when_no_tokens_are_left(start_server: ServerFactory) -> None:
    server = start_server(max_tenant_tokens_day=100)
    sid = server.session()
    headers = {"Content-Type": "text/plain", "Idempotency-Key": "one"}
    sent, again = (
        server.http.post(f"/v1/sessions/{sid}/documents?wait=true", content=text(2000), headers=headers)
        for _ in range(2)
    )
    assert (sent.status_code, again.status_code) == (200, 200)
    assert again.json()["id"] == sent.json()["id"]


def test_answers_side_by_side_at_their_limit(start_server: ServerFactory, make_engine: Callable[..., Engine]) -> None:
    """Five questions where two are decoded at once: all are answered, as alone, and never more than two together."""
    engine = make_engine(max_answer_lanes=2)
    server = start_server(engine)
    sid = server.read(text(1500))
    together: list[int] = []
    advance = engine.advance
    under_way: list[Any] = []

    def counted(decoding: Any) -> None:
        if decoding not in under_way:
            under_way.append(decoding)
        together.append(sum(not row.finished for one in under_way for row in one.rows))
        advance(decoding)

    engine.advance = counted  # type: ignore[method-assign]
    asked = [f"Where is number {n}?" for n in range(5)]
    found = server.http.post(f"/v1/sessions/{sid}/answers", json={"questions": asked, "max_tokens": 6}).json()
    assert max(together) == 2
    assert [one["guess"] for one in found["answers"]] == [server.ask(sid, one, max_tokens=6)["guess"] for one in asked]


def test_what_a_chat_has_read_goes_after_its_time(start_server: ServerFactory) -> None:
    server = start_server(chat_ttl_s=1)
    model = server.http.get("/v1/models").json()["data"][0]["id"]
    messages = [{"role": "system", "content": text(500).decode()}, {"role": "user", "content": "Who?"}]
    answer = server.http.post("/v1/chat/completions", json={"model": model, "messages": messages}).json()
    sid = answer["rmt"]["session_id"]
    assert server.http.get(f"/v1/sessions/{sid}").status_code == 200
    wait_for(lambda: server.http.get(f"/v1/sessions/{sid}").status_code == 404, 5, "the chat to be forgotten")
