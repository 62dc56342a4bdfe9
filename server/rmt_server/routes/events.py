"""Events: what happens in a session, as it happens."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from rmt_server.routes.deps import EventsDep, TenantDep
from rmt_server.routes.scopes import ScopedRoute
from rmt_server.wire.sse import EventStream, events_content

router = APIRouter(prefix="/v1/sessions/{sid}", tags=["events"], route_class=ScopedRoute)

_ID = "^[0-9]{1,19}-[0-9]{1,19}$"


@router.get("/events", response_class=Response, responses={200: {"content": events_content("event", "id")}})
async def follow_session(
    sid: str,
    request: Request,
    events: EventsDep,
    tenant: TenantDep,
    after: Annotated[str | None, Query(pattern=_ID, description="Instead of `Last-Event-ID`; 0-0 for all.")] = None,
    last_event_id: Annotated[str | None, Header(pattern=_ID, description="What came after it is sent first.")] = None,
) -> EventStream:
    """Follow a session: `progress`, `done`, `snapshot` and `error` events, each with an id; comments in between."""
    return await events.follow(request, tenant, sid, last_event_id or after)
