"""create_app: the service, wired together."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from rmt_model.lane_engine import LaneEngine
from rmt_server.doctor.redis_checks import warn_of_redis
from rmt_server.http.browsers import NoForeignPages, allow_origins
from rmt_server.http.events import EventStreams
from rmt_server.http.middleware import Authentication, BodyLimit, RateLimit, RequestContext
from rmt_server.http.problems import install_problems
from rmt_server.intake.documents import Intake
from rmt_server.intake.inbox import Inbox
from rmt_server.metrics import Metrics
from rmt_server.openai.chat import Chat, ServedModel
from rmt_server.reading.scheduler import Scheduler
from rmt_server.routes import answers, documents, events, health, openai, search, sessions, snapshots, traces
from rmt_server.routes.contract import complete
from rmt_server.routes.page import serve_page
from rmt_server.routes.scopes import OPEN_PATHS
from rmt_server.search.indexes import Indexes
from rmt_server.service.asking import Asking
from rmt_server.service.evidence import Evidence
from rmt_server.service.searching import Searching
from rmt_server.service.sessions import Service
from rmt_server.service.tracing import Tracing
from rmt_server.settings import Settings
from rmt_server.store import Store

__all__ = ["create_app", "openapi"]

_log = logging.getLogger(__name__)
# FastAPI's own would send queries, which may hold a focus, and messages of errors; `traces` says less.
_NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False)
_DESCRIPTION = "Reads documents of any length through a Recurrent Memory Transformer, and answers questions about them."


def create_app(settings: Settings, store: Store, engine: LaneEngine) -> FastAPI:
    """The ASGI application around a store and an engine; its lifespan runs the scheduler, and closes the store."""
    metrics = Metrics()
    store.observe_calls(metrics.redis_call)
    scheduler = Scheduler(store, engine, settings, metrics)
    indexes = Indexes(store, settings, metrics)
    asking = Asking(store, scheduler, Evidence(scheduler, indexes), settings)
    service = Service(store, scheduler, asking, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        examining = asyncio.create_task(warn_of_redis(store))
        indexing = asyncio.create_task(indexes.run())
        reading = asyncio.create_task(scheduler.run())
        try:
            yield
        finally:
            examining.cancel()
            indexing.cancel()
            scheduler.stop()
            await _finish(reading, settings.drain_s)
            await indexes.close()
            await store.close()

    app = _described(lifespan)
    app.state.settings, app.state.store, app.state.metrics = settings, store, metrics
    app.state.scheduler, app.state.service, app.state.asking = scheduler, service, asking
    app.state.searching = Searching(store, asking, indexes)
    app.state.tracing = Tracing(store, scheduler, asking, settings)
    app.state.chat = Chat(store, service, asking, Inbox(store, scheduler, settings, metrics), settings)
    app.state.model = ServedModel(engine.served.name, engine.served.fingerprint, int(time.time()))
    app.state.intake = Intake(store, service, asking, scheduler, settings, metrics)
    app.state.events = EventStreams(store, scheduler, settings, metrics)
    serve_page(app)
    _add_middleware(app, settings, metrics, store)
    return app


def _add_middleware(app: FastAPI, settings: Settings, metrics: Metrics, store: Store) -> None:
    """What a request passes, from the last to the first."""
    keys = settings.key_ring()
    keys.announce()
    app.add_middleware(BodyLimit, limit_bytes=settings.max_json_bytes, idle_s=settings.body_idle_s)
    if settings.rate_limit:
        app.add_middleware(RateLimit, rates=store.rates(settings.rate_limit))
    app.add_middleware(Authentication, keys=keys, open_paths=OPEN_PATHS)
    if settings.trusts_loopback or settings.host_names:
        app.add_middleware(NoForeignPages, origins=settings.origins, hosts=settings.host_names)
    if settings.origins:
        allow_origins(app, settings.origins)
    app.add_middleware(RequestContext, metrics=metrics)


def openapi() -> dict[str, object]:
    """The wire contract, which `docs/openapi.json` holds."""
    return _described(None).openapi()


def _described(lifespan: object) -> FastAPI:
    """The routes and their description, without what serves them."""
    app = FastAPI(
        title="rmt-server",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=lifespan,  # type: ignore[arg-type]
        responses={"4XX": {"description": "A problem"}},  # instead of FastAPI's own form of errors
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    install_problems(app)
    for noun in (sessions, events, documents, answers, search, traces, snapshots, openai, health):
        app.include_router(noun.router)
    app.openapi = cache(partial(complete, app.openapi))  # type: ignore[method-assign]
    return app


async def _finish(reading: "asyncio.Task[None]", drain_s: float) -> None:
    try:
        await asyncio.wait_for(reading, drain_s)
    except TimeoutError:
        _log.error("reading did not stop within %g s; what was not committed is read again", drain_s)
    except Exception:
        _log.exception("reading had failed")
