"""A tenant calls as often as it may, whichever server it calls."""

import pytest
from tests.conftest import StoreBench
from tests.serving import Api, Server, ServerFactory

from rmt_server.auth import new_key
from rmt_server.errors import RateLimitedError
from rmt_server.keys import RATES
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.settings import Settings

PATHS = ("/v1/sessions", "/v1/snapshots", "/v1/sessions/nothing")


def statuses(api: Api, count: int) -> list[int]:
    """What so many calls are answered with."""
    return [api.http.get(PATHS[index % 3]).status_code for index in range(count)]


def test_two_servers_share_one_limit(start_server: ServerFactory) -> None:
    pair = [start_server(rate_limit="6/hour") for _ in range(2)]
    for server in pair:
        assert statuses(server, 3) == [200, 200, 404]  # what is answered with an error counts, too
    for server in pair:
        refused = server.http.post("/v1/sessions", json={})
        assert refused.status_code == 429
        assert refused.json()["type"] == "urn:rmt-server:problem:rate-limited"
        assert refused.json()["limit"] == "6 per 1 hour"
        assert 1 <= int(refused.headers["Retry-After"]) <= 3600
        for free in ("/livez", "/readyz", "/metrics"):
            assert server.http.get(free).status_code == 200


def test_tenants_have_limits_of_their_own(start_server: ServerFactory) -> None:
    made = {tenant: new_key(tenant, "read") for tenant in ("acme", "other")}
    server = start_server(rate_limit="2/hour", api_keys=";".join(line for _, line in made.values()))
    for key, _ in made.values():
        with Api(server.url, key) as api:
            assert statuses(api, 4) == [200, 200, 429, 429]
    with Api(server.url, "rmt_wrong") as stranger:
        assert statuses(stranger, 4) == [401] * 4  # counts for nobody


def test_without_redis_nothing_is_let_through(start_server: ServerFactory, own_redis: EmbeddedRedis) -> None:
    server = start_server(rate_limit="100/minute")
    assert statuses(server, 1) == [200]
    own_redis.stop()
    refused = server.http.get("/v1/sessions")
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]


def test_without_a_limit_nothing_is_counted(server: Server, start_server: ServerFactory) -> None:
    del server
    free = start_server()
    assert statuses(free, 30) == [200, 200, 404] * 10


async def test_the_window_slides(bench: StoreBench) -> None:
    rates = bench.store.rates("4/minute")
    for _ in range(4):
        await rates.require("t")
    with pytest.raises(RateLimitedError):
        await rates.require("t")
    (current,) = (name for name in bench.names() if name.startswith(RATES))
    assert 60_000 < bench.bare.pttl(current) <= 120_000
    bench.bare.pexpire(current, 35_000)  # the window has come to its end, and 25 s of the next one have passed
    await rates.require("t")
    await rates.require("t")
    with pytest.raises(RateLimitedError):  # two of the four still count
        await rates.require("t")


@pytest.mark.parametrize("rate", ["many", "10", "10/fortnight", "-1/second"])
def test_a_rate_has_a_form(rate: str) -> None:
    with pytest.raises(ValueError, match="rate_limit"):
        Settings(rate_limit=rate)
