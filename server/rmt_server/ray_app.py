"""The service as a Ray Serve application: replicas on many machines, a GPU for each, as many as the waiting text needs.

    RMT_REDIS_URL=redis://redis:6379/0 serve run rmt_server.ray_app:service gpus=1 max_replicas=8

Each replica is the application that `rmt-server serve` runs, with a scheduler and an engine of its own; settings come
from the environment (`RMT_...`) of the machine that it runs on. All keep their sessions in one Redis, so any replica
answers any request. One that is stopped puts its sessions down for the others when what it serves has ended, for which
Ray waits first. Ray's proxy stands in front of them, with its own bounds on connections instead of those of
`rmt_server.http.protocol`.
"""

import math
import os
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from rmt_server.app import create_app
from rmt_server.errors import StartupError
from rmt_server.logs import configure
from rmt_server.serve import load_engine
from rmt_server.settings import Settings
from rmt_server.store import Quotas, Store
from rmt_server.traces import start_traces

__all__ = ["Options", "replicas_wanted", "service"]

_WAITING_BYTES = "waiting_bytes"
_BYTES_A_TOKEN = 4
_LOOK_EVERY_S = 5.0


class Options(BaseModel, extra="forbid"):
    """How many replicas there are, and what each gets."""

    redis_url: str = Field("", description="Redis that keeps all state; else RMT_REDIS_URL where the replica runs.")
    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(4, ge=1)
    gpus: float = Field(0, ge=0, description="GPUs of each replica; 0 computes on the CPU.")
    cpus: int = Field(2, ge=1, description="Processors of each replica, and without a GPU its threads.")
    waiting_tokens: int = Field(
        100_000, gt=0, description="Unread tokens for each replica: with more of them, a replica is added."
    )
    drain_s: float = Field(20.0, gt=0, description="RMT_DRAIN_S of each; Ray ends one that takes twice that to stop.")
    upscale_delay_s: float = Field(10.0, ge=0)
    downscale_delay_s: float = Field(300.0, ge=0)


def service(options: Options) -> Application:
    """The application, for `serve run` and `serve deploy`."""
    policy = AutoscalingPolicy(  # type: ignore[no-untyped-call]
        policy_function=f"{__name__}:WantedReplicas", policy_kwargs={"waiting_tokens": options.waiting_tokens}
    )
    scaled = AutoscalingConfig(
        min_replicas=options.min_replicas,
        max_replicas=options.max_replicas,
        upscale_delay_s=options.upscale_delay_s,
        downscale_delay_s=options.downscale_delay_s,
        metrics_interval_s=_LOOK_EVERY_S,
        look_back_period_s=2 * _LOOK_EVERY_S,
        policy=policy,
    )
    deploy = serve.deployment(
        name="rmt",
        autoscaling_config=scaled,
        max_ongoing_requests=1024,
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        graceful_shutdown_timeout_s=2 * options.drain_s,
        health_check_period_s=5.0,
    )
    return deploy(Replica).bind(options)


@serve.ingress()
class Replica:
    """One process that reads and answers."""

    def __init__(self, options: Options) -> None:
        given: dict[str, Any] = {"drain_s": options.drain_s}
        if not options.gpus:
            given |= {"device": "cpu", "threads": options.cpus}
        if options.redis_url:
            given["redis_url"] = options.redis_url
        settings = Settings(**given)
        if not settings.redis_url.get_secret_value():
            raise StartupError("replicas share one Redis: give redis_url, or set RMT_REDIS_URL on every machine")
        configure(settings.log_format, settings.log_level)
        start_traces(os.environ)
        self._store = Store.connect(settings.redis_url.get_secret_value(), quotas=Quotas.of(settings))
        self._app = create_app(settings, self._store, load_engine(settings))

    def __serve_build_asgi_app__(self) -> FastAPI:
        """What Ray serves."""
        return self._app

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `replicas_wanted` goes by: the same of every replica, since the queue is all of theirs."""
        return {_WAITING_BYTES: float(await self._store.waiting_bytes())}

    async def check_health(self) -> None:
        """Ray replaces a replica whose engine has failed."""
        failure = self._app.state.scheduler.failure
        if failure is not None:
            raise RuntimeError("the engine has failed") from failure


class WantedReplicas:
    """How many replicas the text that waits is worth; Ray applies bounds and delays."""

    def __init__(self, waiting_tokens: int) -> None:
        self._waiting_tokens = waiting_tokens

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The number, and nothing to remember."""
        told = (context.aggregated_metrics or {}).get(_WAITING_BYTES, {})
        return replicas_wanted(max(told.values(), default=0.0), self._waiting_tokens), {}


def replicas_wanted(waiting_bytes: float, waiting_tokens: int) -> int:
    """Replicas for so much unread text, where each may have so many tokens before it.

    Args:
        waiting_bytes: Accepted text that no memory holds yet, of all sessions; a token is taken for four bytes.
        waiting_tokens: Tokens for each replica.
    """
    return max(1, math.ceil(waiting_bytes / (_BYTES_A_TOKEN * waiting_tokens)))
