"""A plugin for all tests: real servers with a tiny real model, on a real Redis.

``server`` is one for the whole session, in a thread; ``start_server(**settings)`` starts another that ends with the
test, on a Redis of its own or a given one; ``start_process(**settings)`` starts `rmt-server serve`. Each is an ``Api``.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

from rmt_server.redis_process.server import EmbeddedRedis

if TYPE_CHECKING:
    from rmt_model.engine import Engine
    from rmt_server.reading.scheduler import Scheduler

TEXT_PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
QUICK = {"lease_s": 1.5, "commit_interval_s": 0.05, "poll_s": 0.02, "turn_s": 0.2, "read_wait_s": 60.0, "drain_s": 5.0}
_WORDS = "Mary John Daniel Sandra went travelled journeyed to the bathroom office garden . , ; ?".split()  # noqa: SIM905

ServerFactory = Callable[..., "Server"]
ProcessFactory = Callable[..., "ServerProcess"]


def text(size: int, seed: int = 0) -> bytes:
    """Some text of so many bytes; another one for another seed."""
    source, words, length = random.Random(seed), [], 0
    while length <= size:
        words.append(source.choice(_WORDS))
        length += len(words[-1]) + 1
    return " ".join(words).encode()[:size]


def free_port() -> int:
    """A port that no outgoing connection takes while a server is down."""
    with socket.socket() as probe:
        for _ in range(1000):
            port = 10_000 + int.from_bytes(os.urandom(2)) % 20_000
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def cut(data: bytes, *sizes: int) -> Iterator[bytes]:
    """Pieces of these sizes, again and again."""
    start = index = 0
    while start < len(data):
        yield data[start : start + sizes[index % len(sizes)]]
        start, index = start + sizes[index % len(sizes)], index + 1


def wait_for(condition: Callable[[], Any], timeout_s: float = 30.0, what: str = "") -> Any:
    """What the condition gives, as soon as it is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what or condition}"
        time.sleep(0.01)
    return found


class Api:
    """The calls of a server that tests make over and over."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, timeout=60.0, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def session(self, **body: Any) -> str:
        """A new session's id."""
        answer = self.http.post("/v1/sessions", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def look(self, sid: str) -> dict[str, Any]:
        """A session as it stands."""
        answer = self.http.get(f"/v1/sessions/{sid}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def send(self, sid: str, data: bytes | Iterable[bytes], **params: Any) -> dict[str, Any]:
        """A whole document in one request."""
        answer = self.http.post(f"/v1/sessions/{sid}/documents", content=data, headers=TEXT_PLAIN, params=params)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def open(self, sid: str, data: bytes = b"") -> str:
        """An upload that was begun with some bytes: the document's path."""
        headers = TEXT_PLAIN | {"Upload-Complete": "?0"}
        answer = self.http.post(f"/v1/sessions/{sid}/documents", content=data, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.headers["Location"])

    def append(
        self, document: str, data: bytes | Iterable[bytes], offset: object, *, complete: bool = False, **headers: str
    ) -> httpx.Response:
        """A piece of an upload."""
        headers = {
            "Content-Type": "application/partial-upload",
            "Upload-Offset": str(offset),
            "Upload-Complete": "?1" if complete else "?0",
        } | headers
        return self.http.patch(document, content=data, headers=headers)

    def read(self, data: bytes, **body: Any) -> str:
        """A session that has read a document."""
        sid = self.session(**body)
        self.send(sid, data, wait=True)
        return sid

    def wait_until_read(self, sid: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """The session, when all of its text has been read."""

        def idle() -> dict[str, Any] | None:
            session = self.look(sid)
            return session if session["status"] == "idle" else None

        return dict(wait_for(idle, timeout_s, f"{sid} to be read"))

    def snapshot(self, sid: str, **body: Any) -> str:
        """The id of a new snapshot of the session, when all of its text has been read."""
        answer = self.http.post(f"/v1/sessions/{sid}/snapshots", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def content(self, snapshot: str) -> bytes:
        """A snapshot as a file."""
        answer = self.http.get(f"/v1/snapshots/{snapshot}/content")
        assert answer.status_code == 200, answer.text
        return answer.content

    def state(self, sid: str) -> bytes:
        """All bytes of the session's state, when all of its text has been read."""
        return self.content(self.snapshot(sid))

    def ask(self, sid: str, question: str, **body: Any) -> dict[str, Any]:
        """The answer to a question, and the position it speaks for."""
        answer = self.http.post(f"/v1/sessions/{sid}/answers", json={"question": question, **body})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        return dict(found["answers"][0] | {"position": found["position"]})

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        lines = self.http.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


class Server(Api):
    """A server in a thread of this process."""

    def __init__(self, redis_url: str, engine: Engine, settings: dict[str, Any]) -> None:
        import uvicorn

        from rmt_server.app import create_app
        from rmt_server.http.protocol import http_config
        from rmt_server.settings import Settings
        from rmt_server.store import Quotas, Store

        self.redis_url = redis_url
        known = Settings(**(QUICK | settings))
        self.app = create_app(known, Store.connect(redis_url, timeout_s=2.0, quotas=Quotas.of(known)), engine)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._uvicorn = uvicorn.Server(http_config(self.app, known, log_level="critical"))
        self._thread = threading.Thread(target=self._uvicorn.run, args=([self._listener],), daemon=True)
        super().__init__(f"http://127.0.0.1:{self._listener.getsockname()[1]}")

    @property
    def scheduler(self) -> Scheduler:
        return self.app.state.scheduler  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        self._thread.start()
        wait_for(lambda: self._uvicorn.started, what="the server to start")
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._uvicorn.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server did not stop"


class ServerProcess(Api):
    """`rmt-server serve` in a process of its own."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        with socket.create_server(("127.0.0.1", settings.get("port", 0))) as listener:
            port = listener.getsockname()[1]
        self.log = directory / f"server-{port}.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RMT_")}
        for name, value in (QUICK | settings | {"port": port}).items():
            environment[f"RMT_{name.upper()}"] = str(value)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("rmt-server"), "serve"], env=environment, stdout=log, stderr=log
            )
        super().__init__(f"http://127.0.0.1:{port}")

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def wait_until_ready(self) -> Self:
        """Wait until it answers."""

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return self.http.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, 90, "the process to be ready")
        return self

    def stop(self, how: signal.Signals, timeout_s: float = 30) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(how)
        return self.process.wait(timeout_s)

    @property
    def resident_bytes(self) -> int:
        """Memory that it holds now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes in one thread, so that the servers leave some of the machine to the tests."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def served_checkpoint(tiny_checkpoint: Callable[..., Path]) -> Path:
    """The checkpoint that servers serve unless they are told otherwise."""
    return tiny_checkpoint(base_layers=1, segment_tokens=32)


@pytest.fixture(scope="session")
def make_engine(served_checkpoint: Path) -> Iterator[Callable[..., Engine]]:
    """Builds an engine: ``make_engine(checkpoint=None, slots=64, max_batch_lanes=16)``."""
    from rmt_model.checkpoint import load_checkpoint
    from rmt_model.engine import Engine

    def make(checkpoint: Path | None = None, slots: int = 64, max_batch_lanes: int = 16, **more: int) -> Engine:
        loaded = load_checkpoint(checkpoint or served_checkpoint)
        return Engine(loaded, slots=slots, max_batch_lanes=max_batch_lanes, **more)

    with one_thread():
        yield make


@pytest.fixture(scope="session")
def service_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """The Redis of all servers that ask for none of their own; nobody empties it."""
    with EmbeddedRedis(tmp_path_factory.mktemp("service-redis")) as redis:
        yield redis


@pytest.fixture(scope="session")
def server(service_redis: EmbeddedRedis, make_engine: Callable[..., Engine]) -> Iterator[Server]:
    """The server of most tests."""
    with Server(service_redis.url, make_engine(), {}) as server:
        yield server


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis for one test: two servers that share it see nothing else."""
    with EmbeddedRedis(tmp_path_factory.mktemp("own-redis")) as redis:
        yield redis


@pytest.fixture
def start_server(own_redis: EmbeddedRedis, make_engine: Callable[..., Engine]) -> Iterator[ServerFactory]:
    """Starts a server in a thread: ``start_server(engine=None, **settings)``; all in one test share a Redis."""
    with ExitStack() as stack:

        def start(engine: Engine | None = None, **settings: Any) -> Server:
            return stack.enter_context(Server(own_redis.url, engine or make_engine(), settings))

        yield start


@pytest.fixture
def start_process(own_redis: EmbeddedRedis, served_checkpoint: Path, tmp_path: Path) -> Iterator[ProcessFactory]:
    """Starts `rmt-server serve` on the test's Redis: ``start_process(**settings)``."""
    with ExitStack() as stack:

        def start(**settings: Any) -> ServerProcess:
            known = {"redis_url": own_redis.url, "checkpoint": served_checkpoint, "device": "cpu", "threads": 1}
            return stack.enter_context(ServerProcess(tmp_path, known | settings))

        yield start
