"""An engine of the test's own, and what slows it down or stops it."""

from collections.abc import Callable, Iterator

import pytest
from tests.server.obstacles import Throttle

from rmt_model.engine import Engine


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()


@pytest.fixture
def throttle(engine: Engine) -> Iterator[Throttle]:
    throttle = Throttle(engine)
    yield throttle
    throttle.open.set()
