"""Who may do what, over the wire: every route asks for a key and its scope, before it reads a byte of the body."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi.routing import APIRoute
from tests.serving import TEXT_PLAIN, Api, Server, wait_for

from rmt_client import Client, UnauthorizedError
from rmt_server.app import openapi
from rmt_server.auth import SCOPES as EVERY_SCOPE
from rmt_server.auth import new_key
from rmt_server.openai.errors import is_openai
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.routes import answers, documents, events, health, openai, search, sessions, snapshots, traces
from rmt_server.routes.page import PAGE_PATHS
from rmt_server.routes.scopes import OPEN_PATHS, SCOPES

CALLS = [tuple(call.split(" ")) for call, scope in SCOPES.items() if scope is not None]
WITH_BODY = [(method, path) for method, path in CALLS if method in ("POST", "PATCH")]
MADE = {scope: new_key("acme", scope) for scope in EVERY_SCOPE}
KEYS = {scope: key for scope, (key, _) in MADE.items()}


@pytest.fixture(scope="module")
def guarded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("guarded")) as redis:
        yield redis


@pytest.fixture(scope="module")
def guarded(guarded_redis: EmbeddedRedis, make_engine: Callable[..., Any]) -> Iterator[Server]:
    """A server that asks for keys."""
    lines = ";".join(line for _, line in MADE.values())
    with Server(guarded_redis.url, make_engine(), {"api_keys": lines}) as server:
        yield server


@pytest.fixture(scope="module")
def callers(guarded: Server) -> Iterator[dict[str, Api]]:
    """Who calls it, by scope."""
    with ExitStack() as stack:
        yield {scope: stack.enter_context(Api(guarded.url, key)) for scope, key in KEYS.items()}


def filled(path: str) -> str:
    return path.format(sid="ses_x", did="doc_x", snapshot_id="snp_x", model="none")


def dump(server: EmbeddedRedis) -> dict[bytes, bytes]:
    """All that is kept for tenants."""
    with redis.Redis.from_url(server.url) as bare:
        return {key: bare.dump(key) for key in bare.keys("rmt:{acme*")}


def test_every_route_has_a_scope() -> None:
    routers = (answers, documents, events, health, openai, search, sessions, snapshots, traces)
    routes = [route for noun in routers for route in noun.router.routes]
    assert all(isinstance(route, APIRoute) for route in routes)
    assert {f"{method} {route.path}" for route in routes for method in route.methods} == SCOPES.keys()


def test_no_route_is_served_beside_those_with_a_scope_and_the_contract(guarded: Server) -> None:
    """A route that is added to the application in another way is not reached without a key either."""
    described = {f"{method.upper()} {path}" for path, calls in openapi()["paths"].items() for method in calls}
    assert described == SCOPES.keys()
    beside = {getattr(route, "path", None) for route in guarded.app.routes} - {None}
    assert beside == {"/docs", "/docs/oauth2-redirect", "/openapi.json", "/", "/web"}
    assert (beside | {"/livez", "/readyz"} | PAGE_PATHS) - {"/web"} == OPEN_PATHS
    assert {"/", "/web/app.js", "/web/rmt-client/index.js"} <= PAGE_PATHS


def test_a_route_without_a_scope_does_not_come_to_be() -> None:
    with pytest.raises(KeyError, match="GET /v1/sessions/surprise"):
        sessions.router.get("/surprise")(lambda: None)
    assert "surprise" not in str(sessions.router.routes)


@pytest.mark.parametrize(("method", "path"), CALLS, ids=" ".join)
def test_every_call_needs_a_key(guarded: Server, method: str, path: str) -> None:
    for headers, challenge in (
        ({}, 'Bearer realm="rmt-server"'),
        ({"Authorization": "Basic eDp5"}, 'Bearer realm="rmt-server"'),
        (
            {"Authorization": f"Bearer {new_key('acme', 'admin')[0]}"},
            'Bearer realm="rmt-server", error="invalid_token"',
        ),
    ):
        answer = guarded.http.request(method, filled(path), headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == challenge
        assert answer.headers["X-Request-Id"]
        if is_openai(path):
            assert answer.json()["error"]["type"] == "authentication_error"
        elif method != "HEAD":
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["type"] == "urn:rmt-server:problem:unauthorized"
            assert answer.json()["instance"] == filled(path)


@pytest.mark.parametrize(("method", "path"), CALLS, ids=" ".join)
def test_every_call_needs_its_scope_and_no_more(
    callers: dict[str, Api], guarded_redis: EmbeddedRedis, method: str, path: str
) -> None:
    needed = SCOPES[f"{method} {path}"]
    assert needed is not None
    before = dump(guarded_redis)
    for scope in EVERY_SCOPE[: EVERY_SCOPE.index(needed)]:
        answer = callers[scope].http.request(method, filled(path))
        assert answer.status_code == 403
        assert f'error="insufficient_scope", scope="{needed}"' in answer.headers["WWW-Authenticate"]
        if method == "HEAD":
            continue
        if is_openai(path):
            assert answer.json()["error"]["type"] == "permission_error"
            assert repr(needed) in answer.json()["error"]["message"]
            continue
        problem = answer.json()
        assert (problem["type"], problem["required-scope"]) == ("urn:rmt-server:problem:missing-scope", needed)
        assert repr(needed) in problem["detail"]
    assert dump(guarded_redis) == before
    for scope in EVERY_SCOPE[EVERY_SCOPE.index(needed) :]:
        answer = callers[scope].http.request(method, filled(path), headers={"Content-Type": "text/none; charset=x"})
        assert answer.status_code not in (401, 403)


@pytest.mark.parametrize(
    ("method", "path", "key"),
    [(*call, None) for call in WITH_BODY]
    + [(*call, KEYS["read"]) for call in WITH_BODY if SCOPES[" ".join(call)] == "write"],
)
def test_nobody_is_asked_for_a_body_who_may_not_send_it(
    guarded: Server, guarded_redis: EmbeddedRedis, method: str, path: str, key: str | None
) -> None:
    """The answer comes while the whole body is still with its sender, and nothing is stored."""
    before = dump(guarded_redis)
    lines = [
        f"{method} {filled(path)} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        "Content-Length: 1000000",
        "Expect: 100-continue",
        *([f"Authorization: Bearer {key}"] if key else []),
    ]
    with socket.create_connection(("127.0.0.1", int(guarded.url.rpartition(":")[2]))) as sender:
        sender.settimeout(30)
        sender.sendall("\r\n".join([*lines, "", ""]).encode())
        assert sender.recv(1000).startswith(b"HTTP/1.1 403" if key else b"HTTP/1.1 401")
    assert dump(guarded_redis) == before


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nobody"}])
def test_health_and_the_contract_are_open(guarded: Server, path: str, headers: dict[str, str]) -> None:
    assert guarded.http.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/web", "/web/", "/web/../app.py", "/nowhere", "/v1/sessions/", "/livez/", "/livez/x", "//livez", "/LIVEZ"],
)
def test_other_paths_need_a_key_whether_they_exist_or_not(guarded: Server, callers: dict[str, Api], path: str) -> None:
    assert guarded.http.get(f"{guarded.url}{path}").status_code == 401
    assert callers["admin"].http.get(f"{guarded.url}{path}").status_code == 404


def test_why_a_server_is_not_ready_is_told_to_callers_with_a_key(
    own_redis: EmbeddedRedis, make_engine: Callable[..., Any]
) -> None:
    with Server(own_redis.url, make_engine(), {"api_keys": MADE["read"][1]}) as server:
        own_redis.stop()
        wait_for(lambda: server.http.get("/readyz").status_code == 503, what="the server to be unready")
        assert server.http.get("/readyz").json() == {"status": "not ready", "detail": None}
        with Api(server.url, KEYS["read"]) as caller:
            assert caller.http.get("/readyz").json()["detail"].startswith("Redis does not answer")


def test_a_key_works_from_a_session_to_its_end(callers: dict[str, Api]) -> None:
    writer, reader = callers["write"], callers["read"]
    sid = writer.read(b"Mary went to the garden. " * 20)
    assert reader.look(sid)["status"] == "idle"
    assert reader.ask(sid, "Where is Mary?")["position"]["bytes"] == 500
    snapshot = writer.snapshot(sid)
    assert reader.content(snapshot)
    assert reader.http.delete(f"/v1/sessions/{sid}").status_code == 403
    assert reader.http.post("/v1/documents", content=b"x", headers=TEXT_PLAIN).status_code == 403
    assert writer.http.delete(f"/v1/sessions/{sid}").status_code == 204


@pytest.mark.parametrize(("key", "told"), [(None, "Send a valid key"), (KEYS["read"], "lacks the scope 'write'")])
def test_the_client_says_what_is_missing_and_what_to_do(guarded: Server, key: str | None, told: str) -> None:
    with Client(guarded.url, api_key=key) as client, pytest.raises(UnauthorizedError, match=told) as caught:
        client.create_session()
    assert "--api-key" in caught.value.hint


def test_a_revoked_key_is_unknown_without_a_restart(
    own_redis: EmbeddedRedis, make_engine: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.touch(0o600)
    file.write_text("\n".join(line for _, line in MADE.values()))
    with (
        Server(own_redis.url, make_engine(), {"api_keys_file": file}) as server,
        Api(server.url, KEYS["read"]) as kept,
        Api(server.url, KEYS["write"]) as revoked,
    ):
        sid = revoked.session()
        file.write_text(MADE["read"][1])
        wait_for(lambda: revoked.http.get("/v1/sessions").status_code == 401, 10, "the key to be unknown")
        assert kept.look(sid)["id"] == sid


def test_the_contract_names_the_scheme_and_the_scope_of_each_call() -> None:
    contract: Any = openapi()
    assert contract["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for call, scope in SCOPES.items():
        method, path = call.split(" ")
        assert contract["paths"][path][method.lower()]["security"] == ([{"key": [scope]}] if scope else [])
