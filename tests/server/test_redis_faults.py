"""What Redis does to a service: it is full, slow, cut off, replaced, and forgets scripts. Then all goes on alone."""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
import redis
from tests.relay import Relay
from tests.server.conftest import StartOn
from tests.server.obstacles import Throttle
from tests.serving import ProcessFactory, Server, ServerFactory, text, wait_for

from rmt_model.engine import Engine
from rmt_server.redis_process.server import EmbeddedRedis, find_redis_server

DATA = text(40_000, seed=11)


@pytest.fixture(scope="module")
def whole(server: Server) -> bytes:
    """The memory after an undisturbed reading."""
    return server.state(server.read(DATA))


@contextmanager
def full(server: EmbeddedRedis) -> Iterator[None]:
    with redis.Redis.from_url(server.url) as bare:
        bare.config_set("maxmemory", 1)
        try:
            yield
        finally:
            bare.config_set("maxmemory", 0)


def refused(answer: httpx.Response) -> str:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    problem = answer.json()
    assert problem["type"] == "urn:rmt-server:problem:store-unavailable"
    return str(problem["detail"])


def ready(server: Server) -> bool:
    return server.http.get("/readyz").status_code == 200


def test_in_a_full_redis_reading_goes_on_and_nothing_new_comes_in(
    start_server: ServerFactory, own_redis: EmbeddedRedis, engine: Engine, throttle: Throttle, whole: bytes
) -> None:
    server = start_server(engine, max_unread_bytes=1 << 30)
    throttle.seconds = 0.02
    sid = server.session()
    document = server.open(sid)
    assert server.append(document, DATA[:30_000], 0).status_code == 204
    with full(own_redis):
        assert "full" in refused(server.append(document, DATA[30_000:], 30_000, complete=True))
        assert "full" in refused(server.http.post("/v1/sessions", json={}))
        unready = server.http.get("/readyz")
        assert (unready.status_code, unready.json()["detail"]) == (503, "Redis is full: it has reached its maxmemory.")
        read = wait_for(lambda: (one := server.look(sid))["read_bytes"] == 30_000 and one, what="reading to go on")
        assert read["accepted_bytes"] == 30_000
        assert server.ask(sid, "Where is Mary?")["position"]["bytes"] == 30_000
    assert ready(server)
    assert server.append(document, DATA[30_000:], 30_000, complete=True).status_code == 204
    server.wait_until_read(sid)
    assert server.state(sid) == whole


def test_in_a_full_redis_documents_end_without_snapshots_or_timeline(
    start_server: ServerFactory, own_redis: EmbeddedRedis, engine: Engine, throttle: Throttle, whole: bytes
) -> None:
    server = start_server(engine, max_unread_bytes=1 << 30, commit_interval_s=0.001)
    throttle.open.clear()
    sid = server.session()
    server.send(sid, DATA)
    with full(own_redis):
        throttle.open.set()
        wait_for(lambda: server.look(sid)["read_bytes"] == len(DATA), what="reading to go on")
        session = server.wait_until_read(sid)
        assert (session["auto_snapshots"] > 0, session["documents"]) == (True, 1)
        assert server.http.get(f"/v1/sessions/{sid}/snapshots").json()["snapshots"] == []
        assert server.http.get(f"/v1/sessions/{sid}/timeline").json()["points"] == []
    assert server.state(sid) == whole


def test_a_session_can_be_deleted_from_a_full_redis(start_server: ServerFactory, own_redis: EmbeddedRedis) -> None:
    server = start_server()
    sid = server.read(DATA[:5000])
    with full(own_redis):
        assert server.http.delete(f"/v1/sessions/{sid}").status_code == 204
        assert server.http.get(f"/v1/sessions/{sid}").status_code == 404


def test_a_redis_that_forgets_its_scripts_again_and_again(
    start_server: ServerFactory, own_redis: EmbeddedRedis, whole: bytes
) -> None:
    server = start_server()
    reading = threading.Event()

    def forget() -> None:
        with redis.Redis.from_url(own_redis.url) as bare:
            while not reading.wait(0.01):
                bare.script_flush()

    forgetting = threading.Thread(target=forget)
    forgetting.start()
    try:
        assert server.state(server.read(DATA)) == whole
    finally:
        reading.set()
        forgetting.join()


def test_a_slow_redis_is_waited_for(own_redis: EmbeddedRedis, start_on: StartOn, whole: bytes) -> None:
    with Relay(own_redis.url.removeprefix("unix://")) as relay:
        relay.delay_s = 0.02
        server = start_on(relay.redis_url, max_unread_bytes=1 << 30)
        assert server.state(server.read(DATA)) == whole
        assert ready(server)


def test_connections_to_redis_that_are_cut_are_made_anew(
    own_redis: EmbeddedRedis, start_on: StartOn, whole: bytes
) -> None:
    with Relay(own_redis.url.removeprefix("unix://")) as relay:
        server = start_on(relay.redis_url, max_unread_bytes=1 << 30)
        sid = server.session()
        server.send(sid, DATA)
        while server_is_reading(server, sid):
            relay.cut()
            time.sleep(0.1)
        assert server.state(sid) == whole


def server_is_reading(server: Server, sid: str) -> bool:
    answer = server.http.get(f"/v1/sessions/{sid}")
    if answer.status_code == 503:
        refused(answer)
        return True
    return bool(answer.json()["status"] == "reading")


@contextmanager
def redis_on_port(directory: Path, port: int) -> Iterator["redis.Redis"]:
    """A Redis that listens on a port, as one that has replicas must."""
    directory.mkdir()
    options = f"--port {port} --bind 127.0.0.1 --appendonly yes --appendfsync always --save".split()
    process = subprocess.Popen([find_redis_server(), *options, "", "--dir", directory], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as bare:
            wait_for(lambda: answers(bare), 20, "Redis to start")
            yield bare
    finally:
        process.kill()
        process.wait()


def answers(bare: "redis.Redis") -> bool:
    with suppress(redis.ConnectionError, redis.BusyLoadingError):
        return bool(bare.ping())
    return False


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def test_a_redis_that_fails_over_to_its_replica(tmp_path: Path, start_on: StartOn, whole: bytes) -> None:
    """First the replica is there but takes no changes; then it is promoted."""
    first, second = free_ports()
    with redis_on_port(tmp_path / "a", first) as a, redis_on_port(tmp_path / "b", second) as b, Relay(first) as relay:
        b.replicaof("127.0.0.1", str(first))
        wait_for(lambda: b.info("replication")["master_link_status"] == "up", 30, "the replica to follow")
        server = start_on(relay.redis_url, max_unread_bytes=1 << 30)
        sid = server.session()
        document = server.open(sid)
        assert server.append(document, DATA[:30_000], 0).status_code == 204
        assert a.wait(1, 5000) == 1
        relay.target = second
        relay.cut()
        wait_for(lambda: "replica" in server.http.get("/readyz").text, 20, "the server to see the replica")
        assert "replica" in refused(server.append(document, DATA[30_000:], 30_000, complete=True))
        b.replicaof("NO", "ONE")
        wait_for(lambda: ready(server), 20, "the server to be ready again")
        offset = int(server.http.head(document).headers["Upload-Offset"])
        assert offset == 30_000
        assert server.append(document, DATA[offset:], offset, complete=True).status_code == 204
        server.wait_until_read(sid)
        assert server.state(sid) == whole


@pytest.mark.faults
def test_an_embedded_redis_that_is_killed_comes_back_by_itself(
    start_process: ProcessFactory, tmp_path: Path, whole: bytes
) -> None:
    process = start_process(redis_url="", data_dir=tmp_path / "data").wait_until_ready()
    sid = process.session()
    document = process.open(sid)
    assert process.append(document, DATA[:20_000], 0).status_code == 204
    for _ in range(2):
        (found,) = (one for one in psutil.Process(process.process.pid).children() if "redis-server" in one.name())
        found.send_signal(signal.SIGKILL)
        found.wait(10)
        wait_for(lambda: process.http.get("/readyz").status_code == 200, 30, "Redis to be back")
    assert int(process.http.head(document).headers["Upload-Offset"]) == 20_000
    assert process.append(document, DATA[20_000:], 20_000, complete=True).status_code == 204
    process.wait_until_read(sid)
    assert process.state(sid) == whole
