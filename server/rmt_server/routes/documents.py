"""Documents: sent in one call, or piece by piece."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from rmt_server.errors import UnsupportedMediaTypeError
from rmt_server.http.progress import PROGRESS, with_progress
from rmt_server.intake.coding import CODINGS
from rmt_server.intake.documents import APPEND_BYTES
from rmt_server.routes.answers import answers_body
from rmt_server.routes.deps import AskingDep, IdempotencyKey, IntakeDep, SettingsDep, StoreDep, TenantDep
from rmt_server.routes.scopes import ScopedRoute
from rmt_server.service.listening import Listener
from rmt_server.settings import Settings
from rmt_server.store import DocumentRecord
from rmt_server.wire.requests import media_type
from rmt_server.wire.schemas import DocumentBody, DocumentRequest, ReadBody, SessionBody
from rmt_server.wire.sse import EventStream, accepts_events

router = APIRouter(prefix="/v1", tags=["documents"], route_class=ScopedRoute)

PARTIAL_UPLOAD = "application/partial-upload"
_TEXT = {"schema": {"type": "string"}}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_ONE_CALL_BODY = {
    "required": True,
    "content": {
        "text/plain": _TEXT,
        "application/json": {"schema": {"$ref": "#/components/schemas/DocumentRequest"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "focus": {**_TEXTS, "description": "Focuses; these fields stand in front of the file."},
                    "questions": {**_TEXTS, "description": "Questions, with wait=true."},
                    "file": {"type": "string", "format": "binary"},
                },
            }
        },
    },
}
WaitQuery = Annotated[bool, Query(description="Answer when the document has been read.")]
NameQuery = Annotated[
    str | None,
    Query(
        description="What the document is called, up to 200 characters; of a path its last part. Else the file name in "
        "`Content-Disposition`, of the request or of the form's file."
    ),
]
FocusQuery = Annotated[list[str] | None, Query(description="Focuses; with a JSON body they go there.")]


def _describe(document: DocumentRecord, response: Response, settings: Settings) -> None:
    """Say in headers how far an upload is (draft-ietf-httpbis-resumable-upload)."""
    response.headers["Upload-Offset"] = str(document.offset)
    response.headers["Upload-Complete"] = "?1" if document.complete else "?0"
    response.headers["Upload-Limit"] = _limit(settings, document.expires_in_s)
    response.headers["Cache-Control"] = "no-store"
    if document.known_length is not None:
        response.headers["Upload-Length"] = str(document.known_length)


def _limit(settings: Settings, age_s: int) -> str:
    return f"max-size={settings.max_document_bytes}, max-append-size={APPEND_BYTES}, max-age={max(0, age_s)}"


@router.post(
    "/documents",
    status_code=202,
    response_model=ReadBody,
    responses={200: {"model": ReadBody, "description": "Read, with wait=true", "content": PROGRESS}},
    openapi_extra={"requestBody": _ONE_CALL_BODY},
)
async def create_session_with_document(
    request: Request,
    response: Response,
    store: StoreDep,
    asking: AskingDep,
    intake: IntakeDep,
    tenant: TenantDep,
    wait: WaitQuery = False,
    focus: FocusQuery = None,
    name: NameQuery = None,
    idempotency_key: IdempotencyKey = None,
) -> ReadBody | EventStream:
    """Send a whole document into a session of its own: streamed text, JSON, or a form with a file."""
    asked = DocumentRequest.model_validate({"text": "", "focus": focus or [], "name": name})
    wait = wait or accepts_events(request)
    call = await intake.one_call(request, asked, wait=wait)
    session, document = await intake.receive_whole(tenant, call, idempotency_key)
    response.headers["Location"] = f"/v1/sessions/{session.id}"
    if not wait:
        return ReadBody(session=SessionBody.of(session), document=DocumentBody.of(document))
    response.status_code = 200

    async def reading(listener: Listener) -> ReadBody:
        read = await asking.wait_until_read(tenant, session.id, listener)
        known = await store.get_document(tenant, session.id, document.id)
        answers = None
        if questions := call.options.questions:
            answers = answers_body(questions, await asking.answer(tenant, session.id, questions, listener=listener))
        return ReadBody(session=SessionBody.of(read), document=DocumentBody.of(known), answers=answers)

    return await with_progress(request, response, reading)


@router.post(
    "/sessions/{sid}/documents",
    status_code=202,
    response_model=DocumentBody,
    responses={
        200: {"model": DocumentBody, "description": "Read, with wait=true", "content": PROGRESS},
        201: {"model": DocumentBody, "description": "Opened"},
    },
    openapi_extra={"requestBody": {"content": {"text/plain": _TEXT}}},
)
async def create_document(
    sid: str,
    request: Request,
    response: Response,
    store: StoreDep,
    asking: AskingDep,
    intake: IntakeDep,
    settings: SettingsDep,
    tenant: TenantDep,
    wait: WaitQuery = False,
    name: NameQuery = None,
    idempotency_key: IdempotencyKey = None,
) -> DocumentBody | EventStream:
    """Send a document into a session; with `Upload-Complete: ?0` the body is its first piece and more follow."""
    document, complete = await intake.receive_new(tenant, sid, request, idempotency_key, name)
    response.headers["Location"] = f"/v1/sessions/{sid}/documents/{document.id}"
    _describe(document, response, settings)
    if not complete or not (wait or accepts_events(request)):
        response.status_code = 202 if complete else 201
        return DocumentBody.of(document)
    response.status_code = 200

    async def reading(listener: Listener) -> DocumentBody:
        await asking.wait_until_read(tenant, sid, listener)
        return DocumentBody.of(await store.get_document(tenant, sid, document.id))

    return await with_progress(request, response, reading)


@router.head("/sessions/{sid}/documents/{did}", status_code=204)
async def describe_upload(
    sid: str, did: str, response: Response, intake: IntakeDep, settings: SettingsDep, tenant: TenantDep
) -> None:
    """Where an upload stands: resume it at `Upload-Offset`. A request that still sends some of it is ended."""
    _describe(await intake.locate(tenant, sid, did), response, settings)


@router.options("/sessions/{sid}/documents", status_code=204)
async def describe_uploads(
    sid: str, response: Response, store: StoreDep, settings: SettingsDep, tenant: TenantDep
) -> None:
    """How documents may be uploaded into a session, and how large."""
    session = await store.get_session(tenant, sid)
    age_s = (session.expires_at - datetime.now(UTC)).total_seconds()
    response.headers["Allow"] = "OPTIONS, POST"
    response.headers["Accept-Patch"] = PARTIAL_UPLOAD
    response.headers["Accept-Encoding"] = ", ".join(CODINGS)
    response.headers["Upload-Limit"] = _limit(settings, int(age_s))


@router.patch(
    "/sessions/{sid}/documents/{did}",
    status_code=204,
    openapi_extra={"requestBody": {"content": {PARTIAL_UPLOAD: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def append_to_document(
    sid: str,
    did: str,
    request: Request,
    response: Response,
    intake: IntakeDep,
    settings: SettingsDep,
    tenant: TenantDep,
) -> None:
    """Append a piece at `Upload-Offset`; what arrives before a connection breaks is kept."""
    if media_type(request) != PARTIAL_UPLOAD:
        error = UnsupportedMediaTypeError(media_type(request), (PARTIAL_UPLOAD,))
        error.accept_patch = PARTIAL_UPLOAD
        raise error
    _describe(await intake.append(tenant, sid, did, request), response, settings)


@router.get("/sessions/{sid}/documents/{did}")
async def get_document(sid: str, did: str, store: StoreDep, tenant: TenantDep) -> DocumentBody:
    """Look at a document."""
    return DocumentBody.of(await store.get_document(tenant, sid, did))


@router.delete("/sessions/{sid}/documents/{did}", status_code=204)
async def cancel_document(sid: str, did: str, intake: IntakeDep, tenant: TenantDep) -> None:
    """End an open upload where it stands; what was accepted stays and is read."""
    await intake.cancel(tenant, sid, did)
