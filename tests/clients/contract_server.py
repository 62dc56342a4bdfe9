"""A server without a model that speaks the wire contract, to test the client against.

It "reads" READ_STEP bytes whenever somebody looks at a session or asks it, four bytes a token, and
its digest is the SHA-256 of the bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from base64 import b64encode
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

READ_STEP = 1 << 17
MAX_APPEND_BYTES = 1 << 17
MAX_DOCUMENT_BYTES = 1 << 26
TIME = "2026-01-02T03:04:05Z"


class ProblemError(Exception):
    def __init__(self, status: int, detail: str, **fields: Any) -> None:
        self.status, self.detail, self.fields = status, detail, fields


@dataclass
class Document:
    id: str
    start: int
    length: int | None
    name: str | None = None
    offset: int = 0
    complete: bool = False
    turn: int = 0


@dataclass
class Session:
    id: str
    wanted: dict[str, Any]
    text: bytearray = field(default_factory=bytearray)
    read_bytes: int = 0
    revision: int = 0
    documents: dict[str, Document] = field(default_factory=dict)

    def read_on(self) -> bool:
        self.read_bytes = min(len(self.text), self.read_bytes + READ_STEP)
        return self.read_bytes == len(self.text)

    def json(self) -> dict[str, Any]:
        read = bytes(self.text[: self.read_bytes])
        return {
            "id": self.id,
            "model": "contract",
            "created_at": TIME,
            "expires_at": TIME,
            "status": "idle" if len(read) == len(self.text) else "reading",
            "focus": self.wanted.get("focus", []),
            "keep_text": self.wanted.get("keep_text", True),
            "auto_snapshots": 0,
            "metadata": self.wanted.get("metadata", {}),
            "accepted_bytes": len(self.text),
            "read_bytes": len(read),
            "tokens": len(read) // 4,
            "segments": len(read) // 4096,
            "state_bytes": 4096,
            "revision": self.revision,
            "digest": hashlib.sha256(read).hexdigest(),
            "documents": len(self.documents),
            "memory_took": "nothing" if b"takes nothing in" in read else None,
            "a_field_of_the_future": True,
        }


@dataclass
class State:
    sessions: dict[str, Session] = field(default_factory=dict)
    snapshots: dict[str, tuple[dict[str, Any], bytes]] = field(default_factory=dict)
    by_key: dict[str, str] = field(default_factory=dict)

    def session(self, sid: str) -> Session:
        if sid not in self.sessions:
            raise ProblemError(404, f"There is no session {sid}.")
        return self.sessions[sid]

    def document(self, sid: str, did: str) -> tuple[Session, Document]:
        session = self.session(sid)
        if did not in session.documents:
            raise ProblemError(404, f"There is no document {did}.")
        return session, session.documents[did]

    def snapshot(self, nid: str) -> tuple[dict[str, Any], bytes]:
        if nid not in self.snapshots:
            raise ProblemError(404, f"There is no snapshot {nid}.")
        return self.snapshots[nid]


def create_app(api_key: str | None = None) -> FastAPI:
    app = FastAPI()
    state = State()

    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> Response:
        body = {"type": "about:blank", "title": "refused", "status": error.status, "detail": error.detail}
        headers = {"X-Request-Id": "r-1"} | ({"Retry-After": "0"} if error.status == 503 else {})
        media = "application/problem+json"
        return JSONResponse(body | error.fields, error.status, headers, media_type=media)

    @app.middleware("http")
    async def door(request: Request, call_next: Any) -> Response:
        if api_key and request.headers.get("authorization") != f"Bearer {api_key}":
            return await problem(request, ProblemError(401, "This server asks for an API key."))
        return await call_next(request)

    add_sessions(app, state)
    add_documents(app, state)
    add_answers(app, state)
    add_snapshots(app, state)

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    return app


def page(items: list[dict[str, Any]], name: str, limit: int, after: str | None) -> dict[str, Any]:
    ids = [item["id"] for item in items]
    begin = ids.index(after) + 1 if after else 0
    part = items[begin : begin + limit]
    return {name: part, "next": part[-1]["id"] if begin + limit < len(items) else None}


def add_sessions(app: FastAPI, state: State) -> None:
    @app.post("/v1/sessions", status_code=201)
    async def create(request: Request) -> Response:
        wanted = await request.json()
        key = request.headers.get("idempotency-key") or secrets.token_hex(8)
        session = Session(state.by_key.setdefault(key, "s" + secrets.token_hex(8)), wanted)
        if "from_snapshot" in wanted:
            kept, content = state.snapshot(wanted["from_snapshot"])
            session.text, session.read_bytes = bytearray(content), len(content)
            session.wanted["focus"] = kept["focus"]
        session = state.sessions.setdefault(session.id, session)
        headers = {"Location": f"/v1/sessions/{session.id}", "ETag": f'"{session.revision}"'}
        return JSONResponse(session.json(), 201, headers)

    @app.get("/v1/sessions")
    async def listing(limit: int = 20, after: str | None = None) -> dict[str, Any]:
        return page([s.json() for s in state.sessions.values()], "sessions", limit, after)

    @app.get("/v1/sessions/{sid}")
    async def get(sid: str) -> dict[str, Any]:
        session = state.session(sid)
        session.read_on()
        return session.json()

    @app.patch("/v1/sessions/{sid}")
    async def update(sid: str, request: Request) -> dict[str, Any]:
        session = state.session(sid)
        if request.headers.get("if-match", f'"{session.revision}"') != f'"{session.revision}"':
            raise ProblemError(412, "The session has changed.")
        session.wanted |= await request.json()
        session.revision += 1
        return session.json()

    @app.delete("/v1/sessions/{sid}", status_code=204)
    async def delete(sid: str) -> None:
        del state.sessions[state.session(sid).id]

    @app.post("/v1/sessions/{sid}/restore")
    async def restore(sid: str, request: Request) -> dict[str, Any]:
        session = state.session(sid)
        _, content = state.snapshot((await request.json())["snapshot"])
        session.text, session.read_bytes = bytearray(content), len(content)
        session.revision += 1
        return session.json()


def headers(document: Document) -> dict[str, str]:
    limits = f"max-size={MAX_DOCUMENT_BYTES}, max-append-size={MAX_APPEND_BYTES}"
    length = {} if document.length is None else {"Upload-Length": str(document.length)}
    complete = "?1" if document.complete else "?0"
    offset = str(document.offset)
    return length | {"Upload-Offset": offset, "Upload-Complete": complete, "Upload-Limit": limits}


def body(session: Session, document: Document) -> dict[str, Any]:
    end = document.start + document.offset
    return {
        "id": document.id,
        "session_id": session.id,
        "name": document.name,
        "start": document.start,
        "offset": document.offset,
        "length": document.offset if document.complete else document.length,
        "complete": document.complete,
        "read": document.complete and session.read_bytes >= end,
    }


def valid(session: Session, document: Document) -> None:
    try:
        session.text[document.start :].decode()
    except UnicodeDecodeError as error:
        if document.complete or error.reason != "unexpected end of data":
            document.offset = error.start
            del session.text[document.start + error.start :]
            raise ProblemError(422, "The text is not UTF-8.", **{"byte-offset": error.start}) from error


async def take(session: Session, document: Document, request: Request) -> None:
    """Keeps the longest prefix, or with a digest all or nothing, until somebody else takes over."""
    document.turn += 1
    turn = document.turn
    digest, held = request.headers.get("content-digest"), b""
    try:
        async for piece in request.stream():
            if document.turn != turn:
                raise ProblemError(409, "A newer request took over.")
            held += piece
            if digest is None:
                keep(session, document, held)
                held = b""
        if digest not in {None, f"sha-256=:{b64encode(hashlib.sha256(held).digest()).decode()}:"}:
            raise ProblemError(400, "Other bytes.", type="urn:rmt-server:problem:digest-mismatch")
        keep(session, document, held)
    except ClientDisconnect:
        return
    document.complete = request.headers.get("upload-complete") == "?1"
    valid(session, document)


def keep(session: Session, document: Document, data: bytes) -> None:
    session.text += data
    document.offset += len(data)


def add_documents(app: FastAPI, state: State) -> None:
    path = "/v1/sessions/{sid}/documents/{did}"

    @app.post("/v1/sessions/{sid}/documents", status_code=201)
    async def create(sid: str, request: Request) -> Response:
        session = state.session(sid)
        length = request.headers.get("upload-length")
        key = request.headers.get("idempotency-key") or secrets.token_hex(8)
        new = Document(
            state.by_key.setdefault(key, "d" + secrets.token_hex(8)),
            len(session.text),
            None if length is None else int(length),
            request.query_params.get("name"),
        )
        document = session.documents.setdefault(new.id, new)
        if document is new:
            await take(session, document, request)
        location = {"Location": f"/v1/sessions/{sid}/documents/{document.id}"}
        return JSONResponse(body(session, document), 201, headers(document) | location)

    @app.head(path, status_code=204)
    async def head(sid: str, did: str) -> Response:
        _, document = state.document(sid, did)
        document.turn += 1
        return Response(status_code=204, headers=headers(document) | {"Cache-Control": "no-store"})

    @app.patch(path, status_code=204)
    async def append(sid: str, did: str, request: Request) -> Response:
        session, document = state.document(sid, did)
        assert request.headers["content-type"] == "application/partial-upload"
        offset = int(request.headers["upload-offset"])
        if offset != document.offset:
            fields = {"expected-offset": document.offset, "provided-offset": offset}
            raise ProblemError(409, "The upload is elsewhere.", **fields)
        if document.complete:
            raise ProblemError(400, "The upload is complete.")
        if int(request.headers["content-length"]) > MAX_APPEND_BYTES:
            raise ProblemError(413, "Too much at once.")
        await take(session, document, request)
        return Response(status_code=204, headers=headers(document))

    @app.get(path)
    async def get(sid: str, did: str) -> dict[str, Any]:
        return body(*state.document(sid, did))

    @app.delete(path, status_code=204)
    async def cancel(sid: str, did: str) -> None:
        session, document = state.document(sid, did)
        del session.documents[document.id]


def add_answers(app: FastAPI, state: State) -> None:
    @app.post("/v1/sessions/{sid}/answers")
    async def answer(sid: str, request: Request) -> Response:
        session, wanted = state.session(sid), await request.json()
        if not session.read_on() and wanted.get("wait", True):
            raise ProblemError(503, "Still reading.")
        answers = [
            {
                "question": question,
                "answer": f"about {session.read_bytes} bytes" if outcome(question) == "answered" else None,
                "outcome": outcome(question),
                "citations": citations(session),
                "verified": "dog" not in question if outcome(question) == "answered" else None,
                "notice": "This text is made up." if b"made up" in session.text else None,
                "guess": f"about {session.read_bytes} bytes",
                "confidence": 0.5,
                "probability": 0.4,
                "margin": 0.3,
                "trace": None,
                "mode": wanted.get("mode", "recall"),
                "lane": wanted.get("lane", 0),
                "finish_reason": "stop",
                "usage": {"prompt_tokens": len(question), "completion_tokens": 3},
            }
            for question in wanted.get("questions") or [wanted["question"]]
        ]
        now = session.json()
        position = {"bytes": now["read_bytes"]} | {n: now[n] for n in ("tokens", "segments", "revision", "digest")}
        found = {"answers": answers, "position": position}
        return (
            Response(streamed(found), media_type="text/event-stream") if wanted.get("stream") else JSONResponse(found)
        )


def outcome(question: str) -> str:
    return "not_supported" if "ummar" in question else "not_found" if "zebra" in question else "answered"


def citations(session: Session) -> list[dict[str, Any]]:
    """The first sentences of the first document, four at most; the last word of each is the answer."""
    document = next(iter(session.documents.values()), None)
    if document is None:
        return []
    text = bytes(session.text[document.start : document.start + document.offset]).decode(errors="ignore")
    found = []
    for number, sentence in enumerate(islice(re.finditer(r"[^\s.][^.]*?(\w+)\.", text), 4)):
        start, end, first, last = (
            document.start + len(text[:at].encode()) for at in (*sentence.span(), *sentence.span(1))
        )
        found.append(
            {
                "document_id": document.id,
                "document": None,
                "start": start,
                "end": end,
                "start_char": sentence.start(),
                "end_char": sentence.end(),
                "answer_start": first,
                "answer_end": last,
                "quote": sentence[0],
                "score": 1.5 - number,
                "page": None,
                "section": None,
            }
        )
    return found


def streamed(found: dict[str, Any]) -> str:
    """An answer's events."""
    (answer,) = found["answers"]
    events: list[tuple[str, dict[str, Any]]] = []
    if answer["answer"] is not None:
        events += [("delta", {"question": 0, "text": word}) for word in re.findall(r"\S+\s*", answer["answer"])]
    events.append(("citations", {"question": 0, "citations": answer["citations"]}))
    events.append(("result", {"status": 200, "headers": {}, "body": found}))
    return "".join(f"event: {kind}\ndata: {json.dumps(data)}\n\n" for kind, data in events)


def add_snapshots(app: FastAPI, state: State) -> None:
    def keep(content: bytes, **known: Any) -> dict[str, Any]:
        snapshot = {
            "id": "n" + secrets.token_hex(8),
            "session_id": None,
            "document_id": None,
            "name": None,
            "metadata": {},
            "created_at": TIME,
            "expires_at": None,
            "model": "contract",
            "focus": [],
            "bytes": len(content),
            "tokens": len(content) // 4,
            "segments": len(content) // 4096,
            "size_bytes": len(content) + 100,
            "digest": hashlib.sha256(content).hexdigest(),
        } | known
        state.snapshots[snapshot["id"]] = snapshot, content
        return snapshot

    @app.post("/v1/sessions/{sid}/snapshots", status_code=201)
    async def create(sid: str, request: Request) -> dict[str, Any]:
        session = state.session(sid)
        focus = session.wanted.get("focus", [])
        known = await request.json()
        return keep(bytes(session.text[: session.read_bytes]), session_id=sid, focus=focus, **known)

    @app.get("/v1/sessions/{sid}/snapshots")
    async def of_session(sid: str, limit: int = 20, after: str | None = None) -> dict[str, Any]:
        kept = [snapshot for snapshot, _ in state.snapshots.values() if snapshot["session_id"] == sid]
        return page(kept, "snapshots", limit, after)

    @app.get("/v1/snapshots")
    async def listing(limit: int = 20, after: str | None = None) -> dict[str, Any]:
        return page([snapshot for snapshot, _ in state.snapshots.values()], "snapshots", limit, after)

    @app.post("/v1/snapshots", status_code=201)
    async def bring(request: Request, name: str | None = None) -> dict[str, Any]:
        head, _, content = (await request.body()).partition(b"\n")
        try:
            focus = json.loads(head)["focus"]
        except (ValueError, KeyError, TypeError) as error:
            raise ProblemError(422, "This is not a snapshot.") from error
        return keep(content, name=name, focus=focus)

    @app.get("/v1/snapshots/{nid}")
    async def get(nid: str) -> dict[str, Any]:
        return state.snapshot(nid)[0]

    @app.delete("/v1/snapshots/{nid}", status_code=204)
    async def delete(nid: str) -> None:
        del state.snapshots[state.snapshot(nid)[0]["id"]]

    @app.get("/v1/snapshots/{nid}/content")
    async def content(nid: str) -> Response:
        snapshot, text = state.snapshot(nid)
        head = json.dumps({"focus": snapshot["focus"]}).encode()
        return Response(head + b"\n" + text, media_type="application/vnd.safetensors")
