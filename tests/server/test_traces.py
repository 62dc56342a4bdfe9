"""Traces: what a real receiver of OTLP over HTTP gets from a real process."""

import signal
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.serving import TEXT_PLAIN, ProcessFactory, Server, text

from rmt_server.cli import main
from rmt_server.errors import StartupError
from rmt_server.traces import span, start_traces, traces_wanted

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


class Receiver:
    """Keeps what is sent to `/v1/traces`."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                receiver.bodies.append(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def resources(self) -> list[Any]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [one for request in requests for one in request.resource_spans]

    def spans(self, name: str) -> list[Span]:
        """Each once: OTLP sends again what it is not sure of."""
        found = [one for resource in self.resources for scope in resource.scope_spans for one in scope.spans]
        return list({one.span_id: one for one in found if one.name == name}.values())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def attributes(one: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        return [plain(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)

    return {each.key: plain(each.value) for each in one.attributes}


def test_spans_of_requests_answers_steps_and_commits_arrive(
    start_process: ProcessFactory, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    process = start_process(log_format="json").wait_until_ready()
    sid = process.session(focus=["Where is the secret-focus?"])
    headers = TEXT_PLAIN | {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "mine"}
    process.http.post(f"/v1/sessions/{sid}/documents", content=text(3000), headers=headers, params={"wait": True})
    process.ask(sid, "Where is the secret-question?")
    session = process.look(sid)
    process.http.get("/v1/sessions/none")
    process.http.post("/v1/documents", content=text(50), headers=TEXT_PLAIN, params={"focus": "A secret-query?"})
    assert process.stop(signal.SIGTERM) == 0

    (request,) = receiver.spans("POST /v1/sessions/{sid}/documents")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert request.kind == Span.SPAN_KIND_SERVER
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/sessions/{sid}/documents",
        "http.response.status_code": 200,
        "rmt.request_id": "mine",
        "rmt.session_id": sid,
    }
    assert f'"trace_id": "{TRACE}"' in process.log.read_text()

    (answer,), (asking,) = receiver.spans("answer"), receiver.spans("POST /v1/sessions/{sid}/answers")
    assert (answer.trace_id, answer.parent_span_id) == (asking.trace_id, asking.span_id)
    assert attributes(answer) == {"rmt.questions": 1}
    assert [event.name for event in answer.events] == ["on the engine"]
    assert asking.start_time_unix_nano <= answer.start_time_unix_nano < answer.end_time_unix_nano
    assert answer.end_time_unix_nano <= asking.end_time_unix_nano

    steps = [one for one in receiver.spans("step") if sid in attributes(one)["rmt.session_ids"]]
    commits = [one for one in receiver.spans("commit") if attributes(one)["rmt.session_id"] == sid]
    assert {one.parent_span_id for one in steps + commits} == {b""}
    assert [attributes(step) for step in steps] == [{"rmt.lanes": 1, "rmt.tokens": 32, "rmt.session_ids": [sid]}] * len(
        steps
    )
    assert len(steps) == session["segments"]
    assert len(commits) == session["revision"]
    by_id = {step.span_id: step for step in steps}
    for commit in commits:
        (link,) = commit.links
        assert by_id[link.span_id].end_time_unix_nano <= commit.start_time_unix_nano
    assert max(attributes(commit)["rmt.read_bytes"] for commit in commits) == 3000
    assert len(receiver.spans("POST /v1/documents")) == 1

    assert {attributes(one.resource)["service.name"] for one in receiver.resources} == {"rmt-server"}
    sent = b"".join(receiver.bodies)
    assert not [word for word in (b"secret", b"Mary", text(20)) if word in sent]


def test_a_missing_receiver_hinders_nobody(start_process: ProcessFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (ENDPOINT | {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}).items():
        monkeypatch.setenv(name, value)
    process = start_process().wait_until_ready()
    sid = process.read(text(500))
    assert process.ask(sid, "Where is Mary?")["finish_reason"]
    assert process.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    "environment",
    [{}, {"OTEL_TRACES_EXPORTER": "none"} | ENDPOINT, {"OTEL_SDK_DISABLED": "true"} | ENDPOINT],
)
def test_without_being_asked_for_nothing_is_recorded(environment: dict[str, str], server: Server) -> None:
    start_traces(environment)()
    with span("mine", {"rmt.lanes": 1}) as current:
        assert not current.is_recording()
    assert server.http.get("/v1/sessions").status_code == 200


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "zipkin"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"} | ENDPOINT, "http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "http/protobuf"),
    ],
)
def test_what_cannot_be_done_is_refused(environment: dict[str, str], complaint: str) -> None:
    with pytest.raises(StartupError, match=complaint):
        traces_wanted(environment)


@pytest.mark.parametrize(
    "missing", ["opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"]
)
def test_missing_packages_are_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert traces_wanted(ENDPOINT)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert main(["serve"]) == 1
    assert "pip install 'rmt-server[otel]'" in capsys.readouterr().err
    assert main(["doctor", "--checkpoint", "none"]) == 1
    assert "problem  traces: " in capsys.readouterr().out
