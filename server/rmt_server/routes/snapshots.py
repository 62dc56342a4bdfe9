"""Snapshots: memories that are kept, exported and imported."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from rmt_server.errors import UnsupportedMediaTypeError
from rmt_server.http.progress import PROGRESS, with_progress
from rmt_server.intake.body import Body
from rmt_server.routes.deps import (
    AfterQuery,
    IdempotencyKey,
    JsonOnly,
    LimitQuery,
    ServiceDep,
    SettingsDep,
    StoreDep,
    TenantDep,
)
from rmt_server.routes.scopes import ScopedRoute
from rmt_server.service.idempotency import Creation
from rmt_server.service.listening import Listener
from rmt_server.store import Page, SnapshotRecord
from rmt_server.wire.requests import media_type
from rmt_server.wire.schemas import SnapshotBody, SnapshotRequest, SnapshotsBody
from rmt_server.wire.sse import EventStream

router = APIRouter(prefix="/v1", tags=["snapshots"], route_class=ScopedRoute)

SAFETENSORS = "application/vnd.safetensors"
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _page(page: Page[SnapshotRecord]) -> SnapshotsBody:
    return SnapshotsBody(snapshots=[SnapshotBody.of(one) for one in page.items], next=page.next_cursor)


@router.post(
    "/sessions/{sid}/snapshots",
    status_code=201,
    response_model=SnapshotBody,
    responses={200: {"description": "Told as events", "content": PROGRESS}},
    dependencies=[JsonOnly],
)
async def create_snapshot(
    sid: str,
    body: SnapshotRequest,
    request: Request,
    response: Response,
    service: ServiceDep,
    tenant: TenantDep,
    idempotency_key: IdempotencyKey = None,
) -> SnapshotBody | EventStream:
    """Keep a session's memory once everything accepted so far has been read."""
    creation = Creation.of(idempotency_key, body.model_dump())

    async def taking(listener: Listener) -> SnapshotBody:
        snapshot = await service.take_snapshot(
            tenant, sid, creation, name=body.name, metadata=body.metadata, ttl_s=body.ttl_s, listener=listener
        )
        response.headers["Location"] = f"/v1/snapshots/{snapshot.id}"
        return SnapshotBody.of(snapshot)

    return await with_progress(request, response, taking)


@router.get("/sessions/{sid}/snapshots")
async def list_session_snapshots(
    sid: str, store: StoreDep, tenant: TenantDep, limit: LimitQuery = 20, after: AfterQuery = None
) -> SnapshotsBody:
    """List a session's snapshots, the newest first."""
    await store.get_session(tenant, sid)
    return _page(await store.list_snapshots(tenant, sid, limit, after))


@router.get("/snapshots")
async def list_snapshots(
    store: StoreDep, tenant: TenantDep, limit: LimitQuery = 20, after: AfterQuery = None
) -> SnapshotsBody:
    """List all snapshots, the newest first."""
    return _page(await store.list_snapshots(tenant, None, limit, after))


@router.post(
    "/snapshots",
    status_code=201,
    openapi_extra={"requestBody": {"required": True, "content": {SAFETENSORS: _BINARY}}},
)
async def import_snapshot(
    request: Request,
    response: Response,
    service: ServiceDep,
    settings: SettingsDep,
    tenant: TenantDep,
    name: Annotated[str, Query(max_length=200)] = "",
    idempotency_key: IdempotencyKey = None,
) -> SnapshotBody:
    """Import a memory that was exported from a server with the same checkpoint."""
    if media_type(request) != SAFETENSORS:
        raise UnsupportedMediaTypeError(media_type(request), (SAFETENSORS,))
    content = await Body(request, settings).whole(service.max_snapshot_bytes)
    creation = Creation.of(idempotency_key, name, hashlib.sha256(content).hexdigest())
    snapshot = await service.import_snapshot(tenant, content, creation, name=name)
    response.headers["Location"] = f"/v1/snapshots/{snapshot.id}"
    return SnapshotBody.of(snapshot)


@router.get("/snapshots/{snapshot_id}")
async def get_snapshot(snapshot_id: str, store: StoreDep, tenant: TenantDep) -> SnapshotBody:
    """Look at a snapshot."""
    return SnapshotBody.of(await store.get_snapshot(tenant, snapshot_id))


@router.delete("/snapshots/{snapshot_id}", status_code=204)
async def delete_snapshot(snapshot_id: str, store: StoreDep, tenant: TenantDep) -> None:
    """Delete a snapshot."""
    await store.delete_snapshot(tenant, snapshot_id)


@router.get(
    "/snapshots/{snapshot_id}/content",
    response_class=Response,
    responses={200: {"content": {SAFETENSORS: _BINARY}}},
)
async def export_snapshot(snapshot_id: str, store: StoreDep, tenant: TenantDep) -> Response:
    """Download a snapshot: one safetensors file."""
    state = await store.snapshot_state(tenant, snapshot_id)
    disposition = {"Content-Disposition": f'attachment; filename="{snapshot_id}.safetensors"'}
    return Response(state.blob, media_type=SAFETENSORS, headers=disposition)
