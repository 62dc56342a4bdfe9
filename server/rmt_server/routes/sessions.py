"""Sessions: made, listed, looked at, changed, restored, deleted."""

from typing import Annotated

from fastapi import APIRouter, Header, Response

from rmt_server.routes.deps import (
    AfterQuery,
    IdempotencyKey,
    JsonOnly,
    LimitQuery,
    ServiceDep,
    StoreDep,
    TenantDep,
)
from rmt_server.routes.scopes import ScopedRoute
from rmt_server.service.idempotency import Creation
from rmt_server.store import SessionRecord
from rmt_server.wire.schemas import RestoreRequest, SessionBody, SessionPatch, SessionRequest, SessionsBody

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=ScopedRoute)

IfMatch = Annotated[str | None, Header()]


def _etag(if_match: str | None) -> str | None:
    """What the session's ETag must be; None where it may be anything."""
    return None if if_match is None or if_match.strip() == "*" else if_match.strip().strip('"') or "none"


def _body(session: SessionRecord, response: Response) -> SessionBody:
    response.headers["ETag"] = f'"{session.etag}"'
    return SessionBody.of(session)


@router.post("", status_code=201, dependencies=[JsonOnly])
async def create_session(
    body: SessionRequest,
    response: Response,
    service: ServiceDep,
    tenant: TenantDep,
    idempotency_key: IdempotencyKey = None,
) -> SessionBody:
    """Make a session: an empty memory, one lane for each focus; or a fork of a snapshot."""
    session = await service.create_session(
        tenant,
        focus=body.focus,
        model=body.model,
        keep_text=body.keep_text,
        ttl_s=body.ttl_s,
        metadata=body.metadata,
        from_snapshot=body.from_snapshot,
        auto_snapshots=body.auto_snapshots,
        creation=Creation.of(idempotency_key, "session", body.model_dump()),
    )
    response.headers["Location"] = f"/v1/sessions/{session.id}"
    return _body(session, response)


@router.get("")
async def list_sessions(
    store: StoreDep, tenant: TenantDep, limit: LimitQuery = 20, after: AfterQuery = None
) -> SessionsBody:
    """List sessions, the newest first."""
    page = await store.list_sessions(tenant, limit, after)
    return SessionsBody(sessions=[SessionBody.of(one) for one in page.items], next=page.next_cursor)


@router.get("/{sid}")
async def get_session(sid: str, response: Response, store: StoreDep, tenant: TenantDep) -> SessionBody:
    """Look at a session: what was accepted, and how far it has been read."""
    return _body(await store.get_session(tenant, sid), response)


@router.patch("/{sid}", dependencies=[JsonOnly])
async def update_session(
    sid: str,
    body: SessionPatch,
    response: Response,
    service: ServiceDep,
    tenant: TenantDep,
    if_match: IfMatch = None,
) -> SessionBody:
    """Change metadata or time to live; with `If-Match` (an ETag or a revision) only when nothing else has changed."""
    session = await service.update_session(
        tenant, sid, metadata=body.metadata, ttl_s=body.ttl_s, if_etag=_etag(if_match)
    )
    return _body(session, response)


@router.delete("/{sid}", status_code=204)
async def delete_session(sid: str, store: StoreDep, tenant: TenantDep) -> None:
    """Delete a session with its text, documents, memory and automatic snapshots. Those that were asked for stay."""
    await store.delete_session(tenant, sid)


@router.post("/{sid}/restore", dependencies=[JsonOnly])
async def restore_session(
    sid: str,
    body: RestoreRequest,
    response: Response,
    service: ServiceDep,
    tenant: TenantDep,
    if_match: IfMatch = None,
) -> SessionBody:
    """Put a snapshot's memory in the place of the session's; refused while a document is being uploaded or read.

    With `If-Match` (the ETag) only when nothing has changed: a restore that is sent again, or arrives late, forgets
    nothing that came in between.
    """
    return _body(await service.restore(tenant, sid, body.snapshot, if_etag=_etag(if_match)), response)
