"""One suite for both clients, against a real HTTP server.

RMT_TEST_URL (and RMT_TEST_API_KEY) put another server, such as the real one, in the place of the
contract server; faults happen in a proxy before it, so they need nothing from the server.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from rmt_client import AsyncClient, Client, Retry

from .contract_server import create_app
from .faulty_proxy import FaultyProxy

API_KEY = os.environ.get("RMT_TEST_API_KEY")
QUICK = Retry(give_up_s=10, first_pause_s=0.01, longest_pause_s=0.05)


@contextmanager
def run_server(api_key: str | None = None) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(create_app(api_key), log_level="critical", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The server that the suite runs against."""
    if url := os.environ.get("RMT_TEST_URL"):
        yield url
        return
    with run_server() as url:
        yield url


@pytest.fixture(scope="session")
def locked_url() -> Iterator[str]:
    """A contract server that asks for the key "secret"."""
    with run_server("secret") as url:
        yield url


@pytest.fixture
def proxy(server_url: str) -> Iterator[FaultyProxy]:
    url = httpx.URL(server_url)
    with FaultyProxy(url.host, url.port or 80) as proxy:
        yield proxy


class Blocking:
    """An AsyncClient that is called like a Client, so that one suite runs both."""

    def __init__(self, client: AsyncClient) -> None:
        self._client, self._runner = client, asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *args, **options: self._runner.run(method(*args, **options))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


Connect = Callable[..., Client]


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of both kinds, and closes them."""
    opened: list[Any] = []

    def make(url: str, api_key: str | None = API_KEY, **options: Any) -> Any:
        options = {"retry": QUICK} | options
        if request.param == "sync":
            opened.append(Client(url, api_key, **options))
        else:
            opened.append(Blocking(AsyncClient(url, api_key, **options)))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def rmt(connect: Connect, server_url: str) -> Client:
    """A client of the server itself."""
    return connect(server_url)


@pytest.fixture
def shaky(connect: Connect, proxy: FaultyProxy) -> Client:
    """A client of the proxy, with small chunks."""
    return connect(proxy.url, chunk_bytes=1 << 15)
