"""An engine of the test's own, what slows it down or stops it, and servers on a Redis of any address."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.server.obstacles import Throttle
from tests.serving import Server

from rmt_model.encoder_checkpoint import load_encoder_checkpoint
from rmt_model.engine import Engine
from rmt_model.span_engine import SpanEngine

StartOn = Callable[..., Server]


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()


@pytest.fixture
def throttle(engine: Engine) -> Iterator[Throttle]:
    throttle = Throttle(engine)
    yield throttle
    throttle.open.set()


@pytest.fixture
def start_on(make_engine: Callable[..., Engine]) -> Iterator[StartOn]:
    """Starts a server on a Redis of any URL: ``start_on(redis_url, **settings)``."""
    with ExitStack() as started:

        def start(redis_url: str, **settings: Any) -> Server:
            return started.enter_context(Server(redis_url, make_engine(), settings))

        yield start


@pytest.fixture(scope="module")
def pointing(service_redis: Any, tiny_encoder_checkpoint: Callable[..., Path]) -> Iterator[Server]:
    """A server whose checkpoint is a tiny encoder that finds an answer to everything."""
    with Server(service_redis.url, SpanEngine(load_encoder_checkpoint(tiny_encoder_checkpoint())), {}) as server:
        yield server
