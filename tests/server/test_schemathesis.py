"""The wire contract against a real server that asks for keys: whatever is sent, every answer is as documented.

Data is made from `openapi.json`, with and against it, for every call; to ids that exist, and to others. Quick and the
same each time by default; `RMT_SCHEMATHESIS_EXAMPLES=1000` looks further, at random.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.serving import Api, Server

from rmt_server.app import openapi
from rmt_server.auth import new_key
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.routes.scopes import SCOPES

LONG = "RMT_SCHEMATHESIS_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("RMT_SCHEMATHESIS_EXAMPLES", "6"))
KEY, LINE = new_key("acme", "admin")
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    ignored_auth,
]
SCHEMA = schemathesis.openapi.from_dict(openapi())
MODES = {"fitting": schemathesis.GenerationMode.POSITIVE, "unfitting": schemathesis.GenerationMode.NEGATIVE}

pytestmark = pytest.mark.timeout(3600 if LONG else 120)


@schemathesis.serializer("application/partial-upload", "application/vnd.safetensors")
def as_it_is(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, make_engine: Callable[..., Any]) -> Iterator[Server]:
    with (
        EmbeddedRedis(tmp_path_factory.mktemp("schemathesis")) as redis,
        Server(redis.url, make_engine(), {"api_keys": LINE}) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def caller(guarded: Server) -> Iterator[Api]:
    with Api(guarded.url, KEY) as caller:
        yield caller


def existing(caller: Api, call: str) -> dict[str, str]:
    """Ids of a session, of an open upload in it, of a snapshot, and of the model. One that is followed ends soon."""
    sid = caller.session(**({"ttl_s": 1} if call.endswith("/events") else {}))
    snapshot = caller.snapshot(sid)
    model = caller.http.get("/v1/models").json()["data"][0]["id"]
    return {"sid": sid, "did": caller.open(sid).rpartition("/")[2], "snapshot_id": snapshot, "model": model}


@pytest.mark.parametrize("known", [False, True], ids=["unknown ids", "known ids"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("call", SCOPES)
def test_every_answer_is_as_documented(guarded: Server, caller: Api, call: str, mode: str, known: bool) -> None:
    method, _, path = call.partition(" ")
    if known and "{" not in path:
        pytest.skip("this call names no id")
    operation = SCHEMA[path][method]
    if mode == "unfitting" and not (
        operation.body or operation.query or operation.headers or operation.path_parameters
    ):
        pytest.skip("nothing about this call can be wrong")
    headers = {"Authorization": f"Bearer {KEY}"}

    @settings(
        max_examples=EXAMPLES,
        derandomize=not LONG,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=MODES[mode]))
    def every_answer(case: Any) -> None:
        if known:
            ids = existing(caller, call)
            case.path_parameters = {name: ids[name] for name in case.path_parameters}
        answer = case.call(base_url=guarded.url, headers=headers)
        # "Not now" is an answer, when it says when to come again; any other 5xx is a fault.
        checks = CHECKS if answer.status_code == 503 else [not_a_server_error, *CHECKS]
        case.validate_response(
            answer, checks, headers=headers, transport_kwargs={"base_url": guarded.url, "headers": headers}
        )

    every_answer()
