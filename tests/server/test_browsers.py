"""Browsers: which pages may call, and what every answer tells a browser."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.serving import TEXT_PLAIN, Api, Server

from rmt_server.auth import new_key
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.settings import Settings

KEY, LINE = new_key("acme", "write")
PAGE = "https://app.example.com"
EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v1/sessions", 200),
        ("POST", "/v1/sessions", 415),
        ("GET", "/v1/sessions/none", 404),
        ("HEAD", "/v1/sessions/none/documents/none", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/livez", 405),
        ("GET", "/v1/sessions?limit=x", 422),
    ],
)
def test_every_answer_tells_browsers_to_be_careful(server: Server, method: str, path: str, status: int) -> None:
    answer = server.http.request(method, path)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in EVERY_ANSWER} == EVERY_ANSWER


def test_so_do_answers_to_what_nobody_expected(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(server.app.state.store, "list_sessions", fail)
    answer = server.http.get("/v1/sessions")
    assert answer.status_code == 500
    assert {name: answer.headers.get(name) for name in EVERY_ANSWER} == EVERY_ANSWER


def test_the_page_with_the_contract_may_load_what_it_needs(server: Server) -> None:
    answer = server.http.get("/docs")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; frame-ancestors 'none'; connect-src 'self'; ")
    for source in ("https://cdn.jsdelivr.net", "https://fastapi.tiangolo.com"):
        assert source in policy
        assert f"{source}/" in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/v1/sessions/", "/livez/", "/docs/"])
def test_nobody_is_redirected(server: Server, path: str) -> None:
    """A redirect would repeat the `Host` that the request named."""
    answer = server.http.get(path, headers={"Host": "localhost"})
    assert answer.status_code == 404
    assert "Location" not in answer.headers


# ---------------------------------------------------------------------------- without keys


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "[", ""],
)
def test_a_name_that_was_made_to_point_here_is_refused(server: Server, host: str) -> None:
    """DNS rebinding: a page's own name leads to this machine, so the browser lets the page read the answers."""
    answer = server.http.get("/v1/sessions", headers={"Host": host})
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:rmt-server:problem:cross-site"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost", "LocalHost:8080", "[::1]:8080"])
def test_this_machines_own_names_are_served(server: Server, host: str) -> None:
    assert server.http.get("/v1/sessions", headers={"Host": host}).status_code == 200


def test_a_request_without_a_host_is_no_browsers(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as caller:
        caller.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert caller.recv(1000).startswith(b"HTTP/1.1 200")


def sessions(server: Server) -> list[str]:
    """The newest, by their ids: those of other tests may still be read."""
    return [one["id"] for one in server.http.get("/v1/sessions").json()["sessions"]]


@pytest.mark.parametrize("origin", [PAGE, "null", "http://localhost:1", "https://127.0.0.1", ""])
def test_a_page_of_another_origin_sends_nothing(server: Server, origin: str) -> None:
    """Cross-site request forgery: a browser sends plain text anywhere, and asks nobody first."""
    before = sessions(server)
    answer = server.http.post("/v1/documents", content=b"x", headers=TEXT_PLAIN | {"Origin": origin})
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:rmt-server:problem:cross-site"
    assert sessions(server) == before


def test_a_page_of_this_server_may_call_it(server: Server) -> None:
    assert server.http.post("/v1/sessions", json={}, headers={"Origin": server.url}).status_code == 201


def test_a_server_behind_another_one_goes_by_any_name(
    own_redis: EmbeddedRedis, make_engine: Callable[..., Any]
) -> None:
    headers = {"Host": "rmt.example", "Origin": PAGE}
    with Server(own_redis.url, make_engine(), {"allow_public": True}) as public:
        assert public.http.get("/v1/sessions", headers=headers).status_code == 200
    with Server(own_redis.url, make_engine(), {"api_keys": LINE}) as keyed, Api(keyed.url, KEY) as caller:
        assert caller.http.get("/v1/sessions", headers=headers).status_code == 200


def test_a_server_in_a_container_goes_by_its_names_and_by_addresses(
    own_redis: EmbeddedRedis, make_engine: Callable[..., Any]
) -> None:
    with Server(own_redis.url, make_engine(), {"allow_public": True, "allowed_hosts": "rmt, Rmt.example"}) as server:

        def status(host: str, origin: str | None = None) -> int:
            headers = {"Host": host} | ({"Origin": origin} if origin else {})
            return server.http.get("/v1/sessions", headers=headers).status_code

        assert status("rmt.example") == status("rmt:8080") == status("localhost:8080") == 200
        assert status("192.168.1.4:8080") == status("[fe80::1]:8080") == 200  # no name: nobody can make it point here
        assert status("rmt:8080", "http://rmt:8080") == 200
        assert status("rmt:8080", PAGE) == status("evil.example") == status("rmt.example.evil.example") == 403


# ---------------------------------------------------------------------------- CORS


def test_no_page_may_read_answers_by_default(server: Server) -> None:
    ask = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
    for answer in (
        server.http.options("/v1/sessions", headers=ask),
        server.http.get("/v1/sessions", headers={"Origin": server.url}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.fixture(scope="module")
def listed(service_redis: EmbeddedRedis, make_engine: Callable[..., Any]) -> Iterator[Server]:
    """A server with keys that pages of one origin may call."""
    with Server(service_redis.url, make_engine(), {"api_keys": LINE, "cors_origins": PAGE}) as server:
        yield server


def test_a_listed_origin_may_ask_first_and_then_call(listed: Server) -> None:
    wanted = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization, content-type, upload-offset",
    }
    asked = listed.http.options("/v1/sessions/x/documents/y", headers=wanted)
    assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    assert "PATCH" in asked.headers["Access-Control-Allow-Methods"]
    assert "upload-offset" in asked.headers["Access-Control-Allow-Headers"].lower()
    called = listed.http.get("/v1/sessions", headers={"Origin": PAGE, "Authorization": f"Bearer {KEY}"})
    assert (called.status_code, called.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    assert "Upload-Offset" in called.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in called.headers


def test_a_listed_origin_can_read_why_it_is_refused(listed: Server) -> None:
    refused = listed.http.get("/v1/sessions", headers={"Origin": PAGE})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, PAGE)


def test_another_origin_may_not(listed: Server) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    assert "Access-Control-Allow-Origin" not in listed.http.options("/v1/sessions", headers=asked).headers
    called = listed.http.get(
        "/v1/sessions", headers={"Origin": "https://evil.example", "Authorization": f"Bearer {KEY}"}
    )
    assert "Access-Control-Allow-Origin" not in called.headers


def test_a_listed_origin_may_call_a_server_without_keys(
    own_redis: EmbeddedRedis, make_engine: Callable[..., Any]
) -> None:
    with Server(own_redis.url, make_engine(), {"cors_origins": f"{PAGE}, http://localhost:3000"}) as server:
        assert server.http.get("/v1/sessions", headers={"Origin": PAGE}).status_code == 200
        assert server.http.get("/v1/sessions", headers={"Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "origins", ["app.example.com", "https://a.example/", "ftp://a.example", "https://a.example,*", "null"]
)
def test_what_is_no_origin_is_refused(origins: str) -> None:
    with pytest.raises(ValueError, match="cors_origins"):
        Settings(cors_origins=origins, api_keys=LINE)


def test_every_origin_may_be_listed_where_keys_are_asked_for() -> None:
    with pytest.raises(ValueError, match="set API keys"):
        Settings(cors_origins="*")
    assert Settings(cors_origins="*", api_keys=LINE).origins == ("*",)
