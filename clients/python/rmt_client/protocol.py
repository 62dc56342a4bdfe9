"""The HTTP API as pure functions: one per call, giving the request and the parser of its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, Unpack
from urllib.parse import quote

from rmt_client.errors import ProtocolError
from rmt_client.models import (
    Answers,
    Document,
    Found,
    Health,
    Model,
    Movements,
    Page,
    Session,
    Snapshot,
    Text,
    TimelinePoint,
    Trace,
)
from rmt_client.options import AskOptions, SessionOptions
from rmt_client.wire import BUSY, Call, Request, Response, body, nothing, reads

T = TypeVar("T")
SAFETENSORS = "application/vnd.safetensors"


def create_session(idempotency_key: str, **options: Unpack[SessionOptions]) -> Call[Session]:
    """Starts a session, empty or from a snapshot."""
    headers = {"Idempotency-Key": idempotency_key}
    request = Request("POST", "/v1/sessions", headers, json=_given(**options), repeatable=True)
    return Call(request, reads(Session.from_json, 200, 201))


def list_sessions(*, limit: int | None, after: str | None) -> Call[Page[Session]]:
    """Lists sessions, a page at a time."""
    return Call(_list("/v1/sessions", limit, after), reads(_page("sessions", Session.from_json), 200))


def get_session(session_id: str) -> Call[Session]:
    """Looks at a session."""
    return Call(_get(_session(session_id)), reads(Session.from_json, 200))


def update_session(
    session_id: str, *, metadata: Mapping[str, str] | None, ttl_s: int | None, revision: int | None
) -> Call[Session]:
    """Changes metadata or lifetime; with a revision, only if the session still has it."""
    request = Request("PATCH", _session(session_id), _if(revision), json=_given(metadata=metadata, ttl_s=ttl_s))
    return Call(request, reads(Session.from_json, 200))


def delete_session(session_id: str) -> Call[None]:
    """Deletes a session."""
    return Call(Request("DELETE", _session(session_id)), nothing)


def restore_session(session_id: str, snapshot_id: str, *, revision: int | None) -> Call[Session]:
    """Puts a session back to a snapshot; with a revision, only if the session still has it."""
    request = Request("POST", _session(session_id, "restore"), _if(revision), json={"snapshot": snapshot_id})
    return Call(request, reads(Session.from_json, 200))


def get_document(session_id: str, document_id: str) -> Call[Document]:
    """Looks at a document."""
    return Call(_get(document_path(session_id, document_id)), reads(Document.from_json, 200))


def cancel_document(session_id: str, document_id: str) -> Call[None]:
    """Ends an upload; what was accepted stays accepted."""
    return Call(Request("DELETE", document_path(session_id, document_id)), nothing)


def ask(
    session_id: str, questions: Sequence[str], read_timeout_s: float | None, **options: Unpack[AskOptions]
) -> Call[Answers]:
    """Asks; the answer may wait until all that was accepted has been read."""
    wanted = _given(questions=list(questions), **options)
    request = Request("POST", _session(session_id, "answers"), json=wanted, read_timeout_s=read_timeout_s, patient=True)
    return Call(request, reads(Answers.from_json, 200))


def stream_answer(session_id: str, question: str, **options: Unpack[AskOptions]) -> Request:
    """Asks one question, to be answered by events."""
    wanted = _given(question=question, stream=True, **options)
    headers = {"Accept": "text/event-stream"}
    return Request("POST", _session(session_id, "answers"), headers, json=wanted)


def trace(session_id: str, question: str, *, answer: str | None) -> Call[Trace]:
    """Finds where an answer came from, which may take as long as reading the text."""
    request = Request(
        "POST",
        _session(session_id, "traces"),
        json=_given(question=question, answer=answer),
        read_timeout_s=None,
        patient=True,
        repeatable=True,
    )
    return Call(request, reads(Trace.from_json, 200))


def search(
    session_id: str, query: str, *, limit: int | None, documents: Sequence[str] | None, wait: bool | None
) -> Call[Found]:
    """Finds passages of a session's text; with `wait` it may take as long as reading the text."""
    wanted = _given(
        query=query, limit=limit, documents=None if documents is None else list(documents), wait=wait or None
    )
    request = Request(
        "POST", _session(session_id, "search"), json=wanted, read_timeout_s=None, patient=True, repeatable=True
    )
    return Call(request, reads(Found.from_json, 200))


def get_text(session_id: str, *, start: int, end: int | None) -> Call[Text]:
    """Gives a part of a session's text."""
    params = _given(start=str(start), end=None if end is None else str(end))
    return Call(_get(_session(session_id, "text"), params=params), reads(Text.from_json, 200))


def timeline(
    session_id: str, *, question: str | None, lane: int | None, vectors: bool
) -> Call[tuple[TimelinePoint, ...]]:
    """Looks along a session's text."""
    params = _given(question=question, lane=None if lane is None else str(lane), vectors="true" if vectors else None)
    request = _get(_session(session_id, "timeline"), params=params, read_timeout_s=None, patient=True)
    return Call(request, reads(lambda data: tuple(map(TimelinePoint.from_json, data["points"])), 200))


def movements(session_id: str, *, lane: int) -> Call[Movements]:
    """Tells how far a lane's memory moved along a session's text."""
    request = _get(_session(session_id, "movements"), params={"lane": str(lane)})
    return Call(request, reads(Movements.from_json, 200))


def create_snapshot(
    idempotency_key: str, session_id: str, *, name: str | None, metadata: Mapping[str, str] | None, ttl_s: int | None
) -> Call[Snapshot]:
    """Keeps the reading state, once everything accepted has been read: that may take a while."""
    request = Request(
        "POST",
        _session(session_id, "snapshots"),
        {"Idempotency-Key": idempotency_key},
        json=_given(name=name, metadata=metadata, ttl_s=ttl_s),
        read_timeout_s=None,
        patient=True,
        repeatable=True,
    )
    return Call(request, reads(Snapshot.from_json, 200, 201))


def list_snapshots(session_id: str | None, *, limit: int | None, after: str | None) -> Call[Page[Snapshot]]:
    """Lists the snapshots of one session, or all."""
    path = "/v1/snapshots" if session_id is None else _session(session_id, "snapshots")
    return Call(_list(path, limit, after), reads(_page("snapshots", Snapshot.from_json), 200))


def get_snapshot(snapshot_id: str) -> Call[Snapshot]:
    """Looks at a snapshot."""
    return Call(_get(_snapshot(snapshot_id)), reads(Snapshot.from_json, 200))


def delete_snapshot(snapshot_id: str) -> Call[None]:
    """Deletes a snapshot."""
    return Call(Request("DELETE", _snapshot(snapshot_id)), nothing)


def export_snapshot(snapshot_id: str) -> Call[bytes]:
    """Downloads a snapshot as a safetensors file."""
    return Call(_get(_snapshot(snapshot_id) + "/content", headers={"Accept": SAFETENSORS}), body)


def import_snapshot(idempotency_key: str, content: bytes, *, name: str | None) -> Call[Snapshot]:
    """Uploads a snapshot that was exported."""
    headers = {"Content-Type": SAFETENSORS, "Idempotency-Key": idempotency_key}
    request = Request("POST", "/v1/snapshots", headers, _given(name=name), content=content, repeatable=True)
    return Call(request, reads(Snapshot.from_json, 200, 201))


def list_models() -> Call[tuple[Model, ...]]:
    """Lists the checkpoints that are served."""
    return Call(_get("/v1/models"), reads(lambda data: tuple(map(Model.from_json, data["data"])), 200))


def status() -> Call[Health]:
    """Asks whether the server takes work; 503 is an answer here, too."""

    def parse(response: Response) -> Health:
        if response.status not in BUSY:
            return reads(lambda data: Health(True, str(data["status"])), 200)(response)
        try:
            word = response.json()["status"]
        except (ProtocolError, KeyError, TypeError):
            word = None
        return Health(False, word if isinstance(word, str) else response.problem().title)

    return Call(Request("GET", "/readyz"), parse)


def documents_path(session_id: str) -> str:
    """Names where a session's documents are created."""
    return _session(session_id, "documents")


def document_path(session_id: str, document_id: str) -> str:
    """Names one document."""
    return _session(session_id, "documents", document_id)


def _get(path: str, **more: Any) -> Request:
    return Request("GET", path, repeatable=True, **more)


def _if(revision: int | None) -> dict[str, str]:
    return {} if revision is None else {"If-Match": f'"{revision}"'}


def _session(*parts: str) -> str:
    return "/v1/sessions/" + "/".join(quote(part, safe="") for part in parts)


def _snapshot(snapshot_id: str) -> str:
    return "/v1/snapshots/" + quote(snapshot_id, safe="")


def _list(path: str, limit: int | None, after: str | None) -> Request:
    return _get(path, params=_given(limit=None if limit is None else str(limit), after=after))


def _page(name: str, model: Callable[[Any], T]) -> Callable[[Any], Page[T]]:
    return lambda data: Page(tuple(model(item) for item in data[name]), data["next"])


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
