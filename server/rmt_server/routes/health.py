"""Health: for load balancers, Prometheus and people."""

from typing import Any

from fastapi import APIRouter, Request, Response

from rmt_server.routes.deps import StoreDep
from rmt_server.routes.scopes import ScopedRoute
from rmt_server.wire.schemas import HealthBody

router = APIRouter(tags=["operation"], route_class=ScopedRoute)

_NOT: dict[int | str, dict[str, Any]] = {503: {"model": HealthBody, "description": "Not now"}}


@router.get("/livez", responses=_NOT)
async def livez(request: Request, response: Response) -> HealthBody:
    """The process works: 503 when it can read and answer no more, and has to be restarted."""
    if request.app.state.scheduler.failure is None:
        return HealthBody(status="alive")
    response.status_code = 503
    return HealthBody(status="failed")


@router.get("/readyz", responses=_NOT)
async def readyz(request: Request, response: Response, store: StoreDep) -> HealthBody:
    """Whether requests should be sent here: 503 when Redis takes no changes, while stopping, or after a failure.

    Where keys are set, only who has one is told why.
    """
    scheduler = request.app.state.scheduler
    if scheduler.stopping:
        reason = "stopping"
    elif scheduler.failure is not None:
        reason = "the engine has failed; restart this process"
    elif not (reason := await store.trouble()):
        return HealthBody(status="ready")
    response.status_code = 503
    response.headers["Retry-After"] = "1"
    return HealthBody(status="not ready", detail=reason if request.state.caller else None)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    return Response(request.app.state.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")
