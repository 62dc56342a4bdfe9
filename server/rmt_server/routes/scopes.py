"""Which scope each call needs; the server does not start with a route that is not named here."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from rmt_server.auth import Caller, Scope
from rmt_server.logs import note
from rmt_server.routes.page import PAGE_PATHS

__all__ = ["OPEN_PATHS", "SCOPES", "ScopedRoute"]

SCOPES: Mapping[str, Scope | None] = {
    "POST /v1/sessions": "write",
    "GET /v1/sessions": "read",
    "GET /v1/sessions/{sid}": "read",
    "PATCH /v1/sessions/{sid}": "write",
    "DELETE /v1/sessions/{sid}": "write",
    "POST /v1/sessions/{sid}/restore": "write",
    "GET /v1/sessions/{sid}/events": "read",
    "POST /v1/documents": "write",
    "POST /v1/sessions/{sid}/documents": "write",
    "OPTIONS /v1/sessions/{sid}/documents": "read",
    "HEAD /v1/sessions/{sid}/documents/{did}": "write",
    "GET /v1/sessions/{sid}/documents/{did}": "read",
    "PATCH /v1/sessions/{sid}/documents/{did}": "write",
    "DELETE /v1/sessions/{sid}/documents/{did}": "write",
    "POST /v1/sessions/{sid}/answers": "read",
    "POST /v1/sessions/{sid}/search": "read",
    "POST /v1/sessions/{sid}/traces": "read",
    "GET /v1/sessions/{sid}/timeline": "read",
    "GET /v1/sessions/{sid}/movements": "read",
    "GET /v1/sessions/{sid}/text": "read",
    "POST /v1/sessions/{sid}/snapshots": "write",
    "GET /v1/sessions/{sid}/snapshots": "read",
    "GET /v1/snapshots": "read",
    "POST /v1/snapshots": "write",
    "GET /v1/snapshots/{snapshot_id}": "read",
    "DELETE /v1/snapshots/{snapshot_id}": "write",
    "GET /v1/snapshots/{snapshot_id}/content": "read",
    "GET /v1/models": "read",
    "GET /v1/models/{model}": "read",
    "POST /v1/chat/completions": "write",
    "POST /v1/completions": "write",
    "GET /metrics": "admin",
    "GET /livez": None,
    "GET /readyz": None,
}
"""The scope of each method and path; None: open to everybody."""

OPEN_PATHS = frozenset(
    {"/docs", "/docs/oauth2-redirect", "/openapi.json"}
    | PAGE_PATHS
    | {call.partition(" ")[2] for call, scope in SCOPES.items() if scope is None}
)
"""Paths that need no key; every other one does, whether a route is there or not."""


class ScopedRoute(APIRoute):
    """A route that refuses callers without its scope before anything of the body is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the check."""
        handle = super().get_route_handler()
        (needed,) = {SCOPES[f"{method} {self.path}"] for method in self.methods or ()}

        async def handle_allowed(request: Request) -> Response:
            note(session_id=request.path_params.get("sid"))
            caller: Caller | None = request.state.caller
            if needed is not None:
                assert caller is not None, "only open paths are served without a caller"  # noqa: S101
                caller.require(needed)
            return await handle(request)

        return handle_allowed
