"""Ray Serve: the same application in replicas on two machines (here two nodes of one), on one Redis."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Server, free_port, text, wait_for
from tests.tiny_models import write_served_checkpoint

from rmt_client import Client, Session
from rmt_server.redis_process.server import EmbeddedRedis

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    from rmt_server.ray_app import Options, replicas_wanted, service

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TEXT = text(1_200_000)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served_checkpoint(tmp_path_factory.mktemp("ray"))


@pytest.fixture
def start_cluster(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Starts a head and another node of two processors each, with pretended GPUs; `RMT_...` of both is `settings`."""
    with ExitStack() as stack:

        def start(gpus: int = 0, **settings: float) -> Any:
            known = {"checkpoint": checkpoint, "commit_interval_s": 0.05, "max_batch_lanes": 1} | settings
            for name, value in known.items():
                monkeypatch.setenv(f"RMT_{name.upper()}", str(value))
            node = {"num_cpus": 2, "num_gpus": gpus}
            cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
            stack.callback(cluster.shutdown)
            cluster.second = cluster.add_node(**node)
            ray.init(address=cluster.address, log_to_driver=False)
            stack.callback(ray.shutdown)
            return cluster

        yield start


class Application:
    """What Ray serves, and a client of it."""

    def __init__(self, redis_url: str, port: int, rmt: Client) -> None:
        self._redis_url, self._port, self._rmt = redis_url, port, rmt

    def deploy(self, **options: float) -> None:
        """Start it, or replace it."""
        serve.start(http_options={"host": "127.0.0.1", "port": self._port})
        serve.run(service(Options(redis_url=self._redis_url, cpus=1, upscale_delay_s=0.0, **options)), name="rmt")

    def replicas(self) -> int:
        """How many run."""
        return serve.status().applications["rmt"].deployments["rmt"].replica_states.get("RUNNING", 0)

    def read(self) -> list[Session]:
        """Four sessions that each have the text to read."""
        sessions = [self._rmt.create_session() for _ in range(4)]
        for session in sessions:
            self._rmt.read(session.id, TEXT, wait=False)
        return sessions


@pytest.fixture
def rmt() -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{free_port()}") as client:
        yield client


@pytest.fixture
def application(tmp_path: Path, rmt: Client) -> Iterator[Application]:
    with EmbeddedRedis(tmp_path / "redis") as redis:
        yield Application(redis.url, int(rmt.url.rpartition(":")[2]), rmt)
        serve.shutdown()


def look(rmt: Client, sid: str) -> tuple[int, int, str, str | None]:
    """What a session has read, and what it answers."""
    session = rmt.get_session(sid)
    return session.tokens, session.segments, session.digest, rmt.ask(sid, "Where is Mary?").answer


@pytest.fixture(scope="module")
def undisturbed(server: Server) -> tuple[int, int, str, str | None]:
    """The same of a session that one server has read without any trouble."""
    with Client(server.url) as rmt:
        session = rmt.create_session()
        rmt.read(session.id, TEXT)
        return look(rmt, session.id)


def assert_read_like(undisturbed: Any, rmt: Client, sessions: list[Session]) -> None:
    """Each is read to its end, and is what it is where nothing happens."""
    for session in sessions:
        assert rmt.wait_until_read(session.id, timeout_s=200).read_bytes == len(TEXT)
    assert [look(rmt, session.id) for session in sessions] == [undisturbed] * 4


@pytest.mark.timeout(400)
def test_what_waits_adds_replicas_and_a_machine_that_dies_loses_nothing(
    start_cluster: Callable[..., Any], application: Application, rmt: Client, undisturbed: Any
) -> None:
    cluster = start_cluster(lease_s=1.5)
    application.deploy(max_replicas=3, waiting_tokens=2000)
    sessions = application.read()
    wait_for(lambda: application.replicas() == 3, 120, "the waiting text to add replicas")
    cluster.remove_node(cluster.second, allow_graceful=False)
    assert_read_like(undisturbed, rmt, sessions)


@pytest.mark.timeout(400)
def test_replicas_that_are_replaced_put_their_sessions_down(
    start_cluster: Callable[..., Any], application: Application, rmt: Client, undisturbed: Any
) -> None:
    """Nobody would read them on within the test, were their leases not given back."""
    start_cluster(lease_s=3600.0)
    application.deploy(min_replicas=2, max_replicas=2)
    sessions = application.read()
    wait_for(lambda: all(rmt.get_session(session.id).segments for session in sessions), 60, "all to be read")
    application.deploy(min_replicas=2, max_replicas=2, waiting_tokens=1)
    assert "reading" in {rmt.get_session(session.id).status for session in sessions}, "take a longer text"
    assert_read_like(undisturbed, rmt, sessions)


@pytest.mark.timeout(400)
def test_replicas_that_are_no_longer_needed_put_their_sessions_down(
    start_cluster: Callable[..., Any], application: Application, rmt: Client, undisturbed: Any
) -> None:
    """One after another, while the rest of the text is read."""
    start_cluster(lease_s=3600.0)
    application.deploy(max_replicas=2, waiting_tokens=len(TEXT) // 2, downscale_delay_s=0.0)
    sessions = application.read()
    wait_for(lambda: application.replicas() == 2, 120, "the waiting text to add a replica")
    wait_for(lambda: application.replicas() == 1, 200, "a replica to go")
    assert "reading" in {rmt.get_session(session.id).status for session in sessions}, "take a longer text"
    assert_read_like(undisturbed, rmt, sessions)


@pytest.mark.timeout(400)
def test_each_replica_has_a_gpu_of_its_own(
    start_cluster: Callable[..., Any], application: Application, rmt: Client
) -> None:
    """GPUs that are only said to be there: a replica finds none, and computes with what there is."""
    start_cluster(gpus=1)
    application.deploy(gpus=1, min_replicas=2, max_replicas=2)
    assert application.replicas() == 2
    assert ray.cluster_resources()["GPU"] == 2
    wait_for(lambda: ray.available_resources().get("GPU", 0) == 0, 30, "both to be taken")
    session = rmt.create_session()
    assert rmt.read(session.id, "Mary went home.").read


def test_replicas_follow_what_waits() -> None:
    assert replicas_wanted(0, 1000) == 1
    assert replicas_wanted(4000, 1000) == 1
    assert replicas_wanted(4001, 1000) == 2
    assert replicas_wanted(400_000, 1000) == 100  # Ray applies the bounds
