"""What routes depend on, as `Annotated` aliases."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from rmt_server.auth import Caller
from rmt_server.errors import UnsupportedMediaTypeError
from rmt_server.http.events import EventStreams
from rmt_server.intake.documents import Intake
from rmt_server.openai.chat import Chat, ServedModel
from rmt_server.service.asking import Asking
from rmt_server.service.searching import Searching
from rmt_server.service.sessions import Service
from rmt_server.service.tracing import Tracing
from rmt_server.settings import Settings
from rmt_server.store import Store
from rmt_server.wire.requests import media_type

__all__ = [
    "AfterQuery",
    "AskingDep",
    "ChatDep",
    "EventsDep",
    "IdempotencyKey",
    "IntakeDep",
    "JsonOnly",
    "LimitQuery",
    "ModelDep",
    "SearchingDep",
    "ServiceDep",
    "SettingsDep",
    "StoreDep",
    "TenantDep",
    "TracingDep",
]


# Coroutines all: FastAPI runs a plain function in a thread, and the hop takes longer than all else it does.


async def _tenant(request: Request) -> str:
    """Whose request this is: every session and snapshot is looked up as (tenant, id)."""
    caller: Caller = request.state.caller
    return caller.tenant


async def _settings(request: Request) -> Settings:
    return request.app.state.settings  # type: ignore[no-any-return]


async def _store(request: Request) -> Store:
    return request.app.state.store  # type: ignore[no-any-return]


async def _service(request: Request) -> Service:
    return request.app.state.service  # type: ignore[no-any-return]


async def _asking(request: Request) -> Asking:
    return request.app.state.asking  # type: ignore[no-any-return]


async def _searching(request: Request) -> Searching:
    return request.app.state.searching  # type: ignore[no-any-return]


async def _tracing(request: Request) -> Tracing:
    return request.app.state.tracing  # type: ignore[no-any-return]


async def _chat(request: Request) -> Chat:
    return request.app.state.chat  # type: ignore[no-any-return]


async def _model(request: Request) -> ServedModel:
    return request.app.state.model  # type: ignore[no-any-return]


async def _intake(request: Request) -> Intake:
    return request.app.state.intake  # type: ignore[no-any-return]


async def _events(request: Request) -> EventStreams:
    return request.app.state.events  # type: ignore[no-any-return]


async def _json_only(request: Request) -> None:
    if media_type(request) != "application/json":
        raise UnsupportedMediaTypeError(media_type(request), ("application/json",))


TenantDep = Annotated[str, Depends(_tenant)]
SettingsDep = Annotated[Settings, Depends(_settings)]
StoreDep = Annotated[Store, Depends(_store)]
ServiceDep = Annotated[Service, Depends(_service)]
AskingDep = Annotated[Asking, Depends(_asking)]
SearchingDep = Annotated[Searching, Depends(_searching)]
TracingDep = Annotated[Tracing, Depends(_tracing)]
ChatDep = Annotated[Chat, Depends(_chat)]
ModelDep = Annotated[ServedModel, Depends(_model)]
IntakeDep = Annotated[Intake, Depends(_intake)]
EventsDep = Annotated[EventStreams, Depends(_events)]
JsonOnly = Depends(_json_only)
LimitQuery = Annotated[int, Query(ge=1, le=100, description="Most entries of the page.")]
AfterQuery = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]
IdempotencyKey = Annotated[
    str | None,
    Header(max_length=200, description="Send the same key again, and a creation is not done twice."),
]
