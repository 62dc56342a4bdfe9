"""Ray Serve: the same application in replicas on two machines (here two nodes of one), on one Redis."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving import ServerFactory, free_port, text, wait_for
from tests.tiny_models import write_served_checkpoint

from rmt_client import Client
from rmt_server.redis_process.server import EmbeddedRedis

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    from rmt_server.ray_app import Options, replicas_wanted, service

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TEXT = text(800_000)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served_checkpoint(tmp_path_factory.mktemp("ray"))


@pytest.fixture
def cluster(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head and another node; replicas of one processor each, one to a node at first."""
    monkeypatch.setenv("RMT_CHECKPOINT", str(checkpoint))
    monkeypatch.setenv("RMT_COMMIT_INTERVAL_S", "0.05")
    monkeypatch.setenv("RMT_LEASE_S", "1.5")
    monkeypatch.setenv("RMT_MAX_BATCH_LANES", "1")
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        found.second = found.add_node(num_cpus=2)
        ray.init(address=found.address, log_to_driver=False)
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


@pytest.mark.timeout(400)
def test_replicas_on_several_nodes_read_and_answer_as_one_server(
    cluster: Any, tmp_path: Path, start_server: ServerFactory
) -> None:
    port = free_port()
    with EmbeddedRedis(tmp_path / "redis") as redis:
        wanted = Options(redis_url=redis.url, cpus=1, max_replicas=3, waiting_tokens=2000, upscale_delay_s=0.0)
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(service(wanted), name="rmt")
        url = f"http://127.0.0.1:{port}"
        with Client(url) as rmt:
            sessions = [rmt.create_session() for _ in range(4)]
            for session in sessions:
                rmt.read(session.id, TEXT, wait=False)
            wait_for(lambda: _running() == 3, 120, "the waiting text to add replicas")
            cluster.remove_node(cluster.second, allow_graceful=False)  # a machine dies
            for session in sessions:
                assert rmt.wait_until_read(session.id, timeout_s=200).read_bytes == len(TEXT)
            found = [_memory(rmt, session.id) for session in sessions]
            answers = [rmt.ask(session.id, "Where is Mary?").answer for session in sessions]
        serve.shutdown()
    with Client(start_server().url) as rmt:
        undisturbed = rmt.create_session()
        rmt.read(undisturbed.id, TEXT)
        assert found == [_memory(rmt, undisturbed.id)] * 4
        assert answers == [rmt.ask(undisturbed.id, "Where is Mary?").answer] * 4


def _memory(rmt: Client, sid: str) -> tuple[int, int, str]:
    session = rmt.get_session(sid)
    return session.tokens, session.segments, session.digest


def _running() -> int:
    return serve.status().applications["rmt"].deployments["rmt"].replica_states.get("RUNNING", 0)


def test_replicas_follow_what_waits() -> None:
    assert replicas_wanted(0, 1000) == 1
    assert replicas_wanted(4000, 1000) == 1
    assert replicas_wanted(4001, 1000) == 2
    assert replicas_wanted(400_000, 1000) == 100  # Ray applies the bounds
