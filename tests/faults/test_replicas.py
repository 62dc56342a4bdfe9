"""Processes on one Redis: one that was stopped and wakes up cannot write; all are replaced while they work."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from tests.relay import Relay
from tests.serving import ProcessFactory, Server, ServerProcess, text, wait_for

from rmt_client import Client, Retry, TransportError, UnavailableError

pytestmark = pytest.mark.faults

DOCUMENT = text(60_000, seed=8)
SHORT = text(10_000, seed=9)
CLIENTS = 2


def test_a_process_that_was_stopped_cannot_write_when_it_wakes(server: Server, start_process: ProcessFactory) -> None:
    undisturbed = server.state(server.read(DOCUMENT))
    sleeper = start_process().wait_until_ready()
    sid = sleeper.session()
    sleeper.send(sid, DOCUMENT)
    wait_for(lambda: sleeper.look(sid)["segments"] > 20, 60, "some of the text to be read")
    sleeper.process.send_signal(signal.SIGSTOP)
    other = start_process().wait_until_ready()
    read = other.wait_until_read(sid)
    assert read["segments"] > 20
    sleeper.process.send_signal(signal.SIGCONT)
    # It is refused; or a call that waited for Redis while it was stopped has waited too long, and it gives up itself.
    wait_for(lambda: sleeper.metric("rmt_readings") == 0, 30, "the sleeper to let go")
    assert other.look(sid)["revision"] == read["revision"]
    assert other.state(sid) == undisturbed
    assert sleeper.state(sid) == undisturbed, "it serves on, with what the other one has read"


class Door(Relay):
    """A load balancer: each new connection goes to the first that answers, beginning with another one each time."""

    def __init__(self, ports: list[int]) -> None:
        super().__init__(ports[0])
        self.ports = ports

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.ports.append(self.ports.pop(0))
        for port in list(self.ports):
            self.target = port
            try:
                return await super().open()
            except ConnectionRefusedError:
                continue
        raise ConnectionRefusedError


class Reader:
    """Reads documents and asks, over and over; notes every answer of the server."""

    def __init__(self, url: str, undisturbed: str) -> None:
        self.answers: list[httpx.Response] = []
        self.read = self.refused = 0
        self._undisturbed = undisturbed
        self._client = Client(url, retry=Retry(give_up_s=60, first_pause_s=0.02, longest_pause_s=0.5))
        self._client._http.event_hooks["response"].append(self.answers.append)

    def run(self, ended: threading.Event) -> None:
        with self._client as rmt:
            while not ended.is_set():
                sid = self._session()
                rmt.read(sid, SHORT)
                assert rmt.wait_until_read(sid).digest == self._undisturbed
                rmt.ask(sid, "Where is Mary?")
                self.read += 1

    def _session(self) -> str:
        while True:
            try:
                return self._client.create_session().id
            except (TransportError, UnavailableError):
                self.refused += 1


@contextmanager
def under_load(url: str, undisturbed: str) -> Iterator[list[Reader]]:
    ended = threading.Event()
    readers = [Reader(url, undisturbed) for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(reader.run, ended) for reader in readers]
        try:
            yield readers
        finally:
            ended.set()
        for one in running:
            one.result(90)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_processes_are_replaced_while_they_are_used(server: Server, start_process: ProcessFactory) -> None:
    undisturbed = server.look(server.read(SHORT))["digest"]
    old = [start_process() for _ in range(2)]
    for one in old:
        one.wait_until_ready()
    with Door([port(one) for one in old]) as door, under_load(f"http://127.0.0.1:{door.port}", undisturbed) as readers:
        for one in old:
            wait_for(lambda: all(reader.read for reader in readers), 60, "everybody to have read something")
            new = start_process().wait_until_ready()
            door.ports.append(port(new))
            assert one.stop(signal.SIGTERM) == 0
            door.ports.remove(port(one))
            for reader in readers:
                reader.read = 0
        wait_for(lambda: all(reader.read for reader in readers), 60, "everybody to have read through the new ones")
    answers = [answer for reader in readers for answer in reader.answers]
    failed = [answer for answer in answers if answer.status_code >= 500]
    assert {(answer.status_code, "retry-after" in answer.headers) for answer in failed} <= {(503, True)}
    assert {answer.status_code for answer in answers} & {200, 201, 204}


def port(process: ServerProcess) -> int:
    found = httpx.URL(process.url).port
    assert found is not None
    return found
