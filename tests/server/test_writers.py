"""One request writes a document at a time: a new one ends the one before, on whatever server that hangs."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import httpx
import pytest
from tests.server.obstacles import HeldBack, Throttle, in_background
from tests.serving import TEXT_PLAIN, Server, ServerFactory, text, wait_for

from rmt_model.digest import StreamDigest
from rmt_model.engine import Engine

DATA = text(30_000)


def digest_of(data: bytes) -> str:
    digest = StreamDigest()
    digest.update(data)
    return digest.hexdigest()


class Hanging:
    """A request on a connection of its own, of whose body only the beginning comes."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line

    def answer(self) -> bytes:
        """All that the server says before it closes the connection."""
        received = b""
        while piece := self.line.recv(65536):
            received += piece
        return received


@contextmanager
def hanging(server: Server, head: str, declared: int, begun: bytes, **headers: str) -> Iterator[Hanging]:
    address = httpx.URL(server.url)
    lines = {"Host": "localhost", "Content-Length": str(declared), **headers}
    with socket.create_connection((address.host, address.port or 80), timeout=30) as line:
        fields = [f"{name}: {value}" for name, value in lines.items()]
        line.sendall("\r\n".join([f"{head} HTTP/1.1", *fields, "", ""]).encode() + begun)
        yield Hanging(line)


def hanging_patch(
    server: Server, document: str, offset: int, declared: int, begun: bytes, complete: str = "?0"
) -> AbstractContextManager[Hanging]:
    upload = {"Upload-Offset": str(offset), "Upload-Complete": complete, "Content-Type": "application/partial-upload"}
    return hanging(server, f"PATCH {document}", declared, begun, **upload)


def wait_for_offset(server: Server, sid: str, offset: int) -> None:
    """By the session, since asking the upload itself would end what is hanging."""
    wait_for(lambda: server.look(sid)["accepted_bytes"] == offset, what=f"{offset} bytes to be accepted")


@pytest.fixture
def servers(start_server: ServerFactory) -> tuple[Server, Server]:
    """Two servers on one Redis, which know of each other's requests by it alone."""
    return start_server(), start_server()


@pytest.mark.parametrize("takeover", ["patch", "head", "delete"])
def test_a_new_request_ends_one_that_hangs_on_another_server(servers: tuple[Server, Server], takeover: str) -> None:
    first, second = servers
    sid = first.session()
    document = first.open(sid, DATA[:1000])
    with hanging_patch(first, document, 1000, 20_000, DATA[1000:3000]) as hung:
        wait_for_offset(first, sid, 3000)
        if takeover == "patch":
            assert second.append(document, DATA[3000:4000], 3000).status_code == 204
        elif takeover == "head":
            assert second.http.head(document).headers["Upload-Offset"] == "3000"
        else:
            assert second.http.delete(document).status_code == 204
        answer = hung.answer()
    assert answer.startswith(b"HTTP/1.1 409 ")
    assert b"urn:rmt-server:problem:superseded" in answer
    assert b"connection: close" in answer.lower()
    offset = 4000 if takeover == "patch" else 3000
    assert f"upload-offset: {offset}".encode() in answer.lower()
    if takeover != "delete":
        assert second.append(document, DATA[offset:], offset, complete=True).status_code == 204
    end = len(DATA) if takeover != "delete" else 3000
    assert second.wait_until_read(sid)["digest"] == digest_of(DATA[:end])


def test_the_offset_that_was_asked_for_is_final(servers: tuple[Server, Server]) -> None:
    """What an older request still brings after that is refused, although it comes in time and at the right place."""
    first, second = servers
    sid = first.session()
    document = first.open(sid, DATA[:1000])
    with hanging_patch(first, document, 1000, 20_000, DATA[1000:3000]) as late:
        wait_for_offset(first, sid, 3000)
        assert second.http.head(document).headers["Upload-Offset"] == "3000"
        late.line.sendall(DATA[3000:21_000])
        assert late.answer().startswith(b"HTTP/1.1 409 ")
    assert first.http.head(document).headers["Upload-Offset"] == "3000"
    assert second.append(document, DATA[3000:], 3000, complete=True).status_code == 204
    assert first.wait_until_read(sid)["digest"] == digest_of(DATA)


def test_a_creation_that_hangs_is_ended_by_its_repetition(servers: tuple[Server, Server]) -> None:
    first, second = servers
    sid = first.session()
    path = f"/v1/sessions/{sid}/documents"
    keyed = TEXT_PLAIN | {"Idempotency-Key": "again"}
    with hanging(first, f"POST {path}", len(DATA), DATA[:7000], **keyed) as hung:
        wait_for_offset(first, sid, 7000)
        answer = second.http.post(path, content=DATA, headers=keyed)
        assert (answer.status_code, answer.json()["offset"], answer.json()["complete"]) == (202, len(DATA), True)
        assert b"superseded" in hung.answer()
    assert (first.wait_until_read(sid)["digest"], first.look(sid)["documents"]) == (digest_of(DATA), 1)


def test_a_refused_request_ends_nothing(servers: tuple[Server, Server]) -> None:
    first, second = servers
    sid = first.session()
    document = first.open(sid, DATA[:1000])
    with hanging_patch(first, document, 1000, len(DATA) - 1000, DATA[1000:3000], "?1") as slow:
        wait_for_offset(first, sid, 3000)
        assert second.append(document, b"stale", 1000).status_code == 409
        assert second.append(document, b"", 3000, complete=True, **{"Upload-Length": "2"}).status_code == 400
        slow.line.sendall(DATA[3000:])
        assert slow.line.recv(65536).startswith(b"HTTP/1.1 204 ")
    assert first.wait_until_read(sid)["digest"] == digest_of(DATA)


def test_a_request_that_back_pressure_holds_is_ended_too(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    throttle.open.clear()
    first = start_server(engine, max_unread_bytes=10_000, back_pressure_wait_s=20.0)
    second = start_server(engine, max_unread_bytes=10_000, back_pressure_wait_s=20.0)
    sid = first.session()
    document, held = first.open(sid), HeldBack(first.app.state.store)
    with in_background(lambda: first.append(document, DATA, 0)) as answers:
        held.wait_for(1)
        stands = int(second.http.head(document).headers["Upload-Offset"])
    assert (answers[0].status_code, answers[0].json()["expected-offset"]) == (409, stands)
    throttle.open.set()
    assert second.append(document, DATA[stands:], stands, complete=True).status_code == 204
    assert second.wait_until_read(sid)["digest"] == digest_of(DATA)


def test_many_sessions_are_written_at_once_and_each_in_order(servers: tuple[Server, Server]) -> None:
    """Each session is written through both servers by turns, several documents back to back."""
    documents = [text(4_000, seed=seed) for seed in range(3)]
    sessions = [servers[0].session() for _ in range(8)]

    def write(sid: str) -> None:
        for turn, data in enumerate(documents):
            with httpx.Client(base_url=servers[turn % 2].url, timeout=60) as http:
                opened = http.post(f"/v1/sessions/{sid}/documents", headers={"Upload-Complete": "?0"})
                for start in range(0, len(data), 1500):
                    http.base_url = httpx.URL(servers[start % 2].url)
                    last = start + 1500 >= len(data)
                    headers = {
                        "Content-Type": "application/partial-upload",
                        "Upload-Offset": str(start),
                        "Upload-Complete": "?1" if last else "?0",
                    }
                    piece = http.patch(opened.headers["Location"], content=data[start : start + 1500], headers=headers)
                    assert piece.status_code == 204, piece.text

    with ThreadPoolExecutor(len(sessions)) as pool:
        list(pool.map(write, sessions))
    read = [servers[1].wait_until_read(sid) for sid in sessions]
    assert {session["digest"] for session in read} == {digest_of(b"".join(documents))}
    assert {session["documents"] for session in read} == {3}


def test_documents_sent_back_to_back_while_earlier_ones_are_read_follow_in_order(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    server, whole = start_server(engine), [text(500 + 100 * number, seed=number) for number in range(6)]
    undisturbed = server.session()
    for data in whole:
        server.send(undisturbed, data, wait=True)
    throttle.open.clear()
    sid = server.session()
    sent = [server.send(sid, data) for data in whole]
    assert [document["start"] for document in sent] == [sum(map(len, whole[:n])) for n in range(len(whole))]
    assert not server.http.get(f"/v1/sessions/{sid}/documents/{sent[-1]['id']}").json()["read"]
    throttle.open.set()
    assert server.wait_until_read(sid)["digest"] == digest_of(b"".join(whole))
    assert server.state(sid) == server.state(undisturbed)
