"""Search: passages of a session's text."""

from fastapi import APIRouter, Request, Response

from rmt_server.http.progress import PROGRESS, with_progress
from rmt_server.routes.deps import JsonOnly, SearchingDep, TenantDep
from rmt_server.routes.scopes import ScopedRoute
from rmt_server.service.listening import Listener
from rmt_server.wire.schemas import FoundPassageBody, SearchBody, SearchRequest
from rmt_server.wire.sse import EventStream

router = APIRouter(prefix="/v1/sessions/{sid}", tags=["search"], route_class=ScopedRoute)


@router.post("/search", response_model=SearchBody, responses={200: {"content": PROGRESS}}, dependencies=[JsonOnly])
async def search(
    sid: str, body: SearchRequest, request: Request, response: Response, searching: SearchingDep, tenant: TenantDep
) -> SearchBody | EventStream:
    """Find the passages of the text that match a query best: by its words, in all that was accepted."""

    async def finding(listener: Listener) -> SearchBody:
        found = await searching.search(
            tenant, sid, body.query, body.limit, body.documents, wait=body.wait, listener=listener
        )
        return SearchBody(passages=[FoundPassageBody.of(one) for one in found.passages], position=found.position)

    return await with_progress(request, response, finding)
