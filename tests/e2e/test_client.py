"""The Python client and the command `rmt` with a real server: whatever happens on the way, the same memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.clients.faulty_proxy import Cut, Delay, FaultyProxy, LoseAnswer, Refuse, Stall, Twice
from tests.serving import ProcessFactory, ServerProcess, cut, text, wait_for

from rmt_client import Client, Retry, StaleError
from rmt_server.redis_process.server import EmbeddedRedis

QUESTION = "Where is Mary?"
BOOK = "Mary went home; Мэри — домой. 🐘 ".encode() + text(9_000, seed=5)
LONG = text(70_000, seed=7)
"""More than one request may carry."""
ASK = ("ask", QUESTION, "--json", "--session")


@pytest.fixture(scope="module")
def process(served_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`rmt-server serve` for the tests that leave it alone."""
    with EmbeddedRedis(tmp_path_factory.mktemp("client-redis")) as redis:
        settings = {"redis_url": redis.url, "checkpoint": served_checkpoint, "device": "cpu", "threads": 1}
        with ServerProcess(tmp_path_factory.mktemp("client"), settings) as process:
            yield process.wait_until_ready()


@pytest.fixture(scope="module")
def undisturbed(process: ServerProcess) -> Callable[[bytes], bytes]:
    """The memory of a text that was sent in one request, without our client."""
    return cache(lambda data: process.state(process.read(data, focus=[QUESTION])))


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_bytes(BOOK)
    return path


@pytest.fixture
def proxy(process: ServerProcess) -> Iterator[FaultyProxy]:
    with FaultyProxy(*address(process)) as proxy:
        yield proxy


def address(process: ServerProcess) -> tuple[str, int]:
    return process.http.base_url.host, process.http.base_url.port or 80


def start(url: str, *args: object) -> subprocess.Popen[bytes]:
    """`rmt` with pipes for everything."""
    command = [str(Path(sys.executable).with_name("rmt")), *map(str, args)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RMT_")} | {"RMT_URL": url}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)


def rmt(url: str, *args: object, stdin: bytes = b"", code: int = 0) -> tuple[str, str]:
    """What `rmt` says, on standard output and beside it."""
    with start(url, *args) as command:
        out, err = command.communicate(stdin, timeout=90)
    assert command.returncode == code, err.decode()
    return out.decode().strip(), err.decode().strip()


def asked(url: str, sid: str) -> dict[str, Any]:
    """The answer to the question and the place that it speaks for; revisions are a session's own."""
    found = json.loads(rmt(url, *ASK, sid)[0])
    del found["position"]["revision"]
    return dict(found)


def test_a_file_is_read_and_asked(process: ServerProcess, undisturbed: Callable[[bytes], bytes], book: Path) -> None:
    sid, said = rmt(process.url, "read", book, "--focus", QUESTION)
    assert f"Read {len(BOOK):,} bytes; session {sid} has read" in said
    assert process.state(sid) == undisturbed(BOOK)
    found = asked(process.url, sid)
    assert found["answers"][0]["mode"] == process.ask(sid, QUESTION)["mode"]
    assert found["answers"][0]["answer"] == process.ask(sid, QUESTION)["answer"]
    assert found["position"]["bytes"] == len(BOOK)


def test_a_pipe_is_read(process: ServerProcess, undisturbed: Callable[[bytes], bytes]) -> None:
    sid, _ = rmt(process.url, "read", "-", "--focus", QUESTION, stdin=BOOK)
    assert process.state(sid) == undisturbed(BOOK)


def test_a_snapshot_that_went_through_a_file_answers_alike(process: ServerProcess, book: Path, tmp_path: Path) -> None:
    sid, _ = rmt(process.url, "read", book, "--focus", QUESTION)
    file = tmp_path / "memory.safetensors"
    snapshot, _ = rmt(process.url, "snapshots", "create", "--session", sid)
    rmt(process.url, "snapshots", "export", snapshot, "--output", file)
    rmt(process.url, "snapshots", "delete", snapshot)
    imported, _ = rmt(process.url, "snapshots", "import", file)
    assert imported != snapshot
    fork, _ = rmt(process.url, "sessions", "create", "--snapshot", imported)
    assert asked(process.url, fork) == asked(process.url, sid)
    assert process.state(fork) == file.read_bytes()


def test_models_are_listed_and_a_session_that_moved_on_is_not_restored(process: ServerProcess) -> None:
    with Client(process.url) as client:
        [model] = client.list_models()
        session = client.create_session(model=model.id)
        client.read(session.id, "Mary went home.")
        snapshot = client.create_snapshot(session.id)
        known = client.get_session(session.id)
        client.read(session.id, " John stayed.")
        with pytest.raises(StaleError):
            client.restore(session.id, snapshot.id, revision=known.revision)
        now = client.get_session(session.id)
        assert now.read_bytes == len("Mary went home. John stayed.")
        assert client.restore(session.id, snapshot.id, revision=now.revision).digest == known.digest


def test_an_upload_that_nobody_goes_on_with_is_ended_by_the_command(process: ServerProcess, book: Path) -> None:
    session = process.session()
    document = process.open(session).rpartition("/")[2]
    _, refused = rmt(process.url, "read", book, "--session", session, "--give-up-after", 0, code=1)
    assert document in refused
    assert "ends after 0 bytes" in rmt(process.url, "sessions", "cancel", session, document)[1]
    rmt(process.url, "read", book, "--session", session)
    assert process.look(session)["read_bytes"] == len(BOOK)


def test_cut_connections_leave_no_trace(
    process: ServerProcess, proxy: FaultyProxy, undisturbed: Callable[[bytes], bytes]
) -> None:
    proxy.plan("POST", None, LoseAnswer(), Cut(0))
    proxy.plan("PATCH", Cut(100), None, LoseAnswer(), Refuse(503), Cut(0), Cut(2_047), None, LoseAnswer())
    proxy.plan("HEAD", LoseAnswer(), None, Cut(0))
    with Client(proxy.url, retry=Retry(give_up_s=30, first_pause_s=0.01), chunk_bytes=2_048) as client:
        session = client.create_session(focus=[QUESTION])
        assert client.read(session.id, cut(BOOK, 1_000, 7)).offset == len(BOOK)
    assert proxy.exhausted
    assert process.look(session.id)["documents"] == 1
    assert process.state(session.id) == undisturbed(BOOK)


def test_stalls_and_a_random_mix_of_faults_leave_no_trace(
    process: ServerProcess, proxy: FaultyProxy, undisturbed: Callable[[bytes], bytes]
) -> None:
    """A request that hangs at the server is ended by the next one, so nothing waits for it."""
    proxy.plan("POST", Delay(0.1), Stall())
    proxy.plan("PATCH", Stall(100), Delay(0.1), Stall(), None, Stall(0), Cut(500), Twice())
    proxy.plan("HEAD", None, Stall(), Delay(0.1))
    retry = Retry(give_up_s=60, first_pause_s=0.01, silence_s=1.5)
    with Client(proxy.url, retry=retry, chunk_bytes=2_048) as client:
        sid = process.session(focus=[QUESTION])
        assert client.read(sid, cut(BOOK, 1_000, 7)).offset == len(BOOK)
    assert process.look(sid)["documents"] == 1
    assert process.state(sid) == undisturbed(BOOK)


def test_an_upload_that_was_given_up_goes_on(
    process: ServerProcess, proxy: FaultyProxy, undisturbed: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    book = tmp_path / "book.txt"
    book.write_bytes(LONG)
    proxy.plan("PATCH", None, *[Cut(1_000)] * 1_000)
    _, said = rmt(proxy.url, "read", book, "--focus", QUESTION, "--give-up-after", 1, code=1)
    way_on = said.splitlines()[-1].removeprefix("Go on with: rmt ").split()
    sid = way_on[way_on.index("--session") + 1]
    assert 0 < process.look(sid)["accepted_bytes"] < len(LONG)
    assert rmt(process.url, *way_on)[0] == sid
    assert process.state(sid) == undisturbed(LONG)


@pytest.mark.slow
@pytest.mark.faults
def test_a_pipe_goes_on_when_its_server_was_killed(
    proxy: FaultyProxy, start_process: ProcessFactory, undisturbed: Callable[[bytes], bytes]
) -> None:
    """The next process has another port: the proxy is the address that stays."""
    first = start_process().wait_until_ready()
    proxy.target = address(first)
    sid = first.session(focus=[QUESTION])
    with start(proxy.url, "read", "-", "--session", sid, "--give-up-after", 90, "--json") as command:
        assert command.stdin
        command.stdin.write(LONG[:50_001])
        command.stdin.flush()
        wait_for(lambda: first.look(sid)["segments"] > 20, 60, "some of the text to be read")
        before = first.look(sid)
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
        proxy.down()
        command.stdin.write(LONG[50_001:55_000])
        command.stdin.flush()
        second = start_process().wait_until_ready()
        proxy.target = address(second)
        proxy.up()
        out, said = command.communicate(LONG[55_000:], timeout=90)

    assert command.returncode == 0, said.decode()
    assert 0 < before["read_bytes"] < 50_001, "the text was read before the server could be killed"
    assert b"No server answers" in said
    told = json.loads(out)
    assert (told["document"]["offset"], told["document"]["read"]) == (len(LONG), True)
    session = second.look(sid)
    assert session["accepted_bytes"] == session["read_bytes"] == len(LONG)
    assert second.state(sid) == undisturbed(LONG)
